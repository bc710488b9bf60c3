"""What people write who know NumPy: taken where it is clear, else refused with what to write."""

# mypy: disallow-untyped-defs=False

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import gradcheck_rnn.language as words
from gradcheck_rnn.derivation import derive
from gradcheck_rnn.derivation.proof import prove
from gradcheck_rnn.errors import GradcheckError
from gradcheck_rnn.language import Cell, cell

WORDS = {"np": np, **{n: getattr(words, n) for n in words.__all__}}
VECTORS = {"inputs": "x: p; q: m", "states": "h: p", "params": "W: p p; U: p m; b: p; g: "}
MATRICES = {"inputs": "k: n; v: m; x: n*m", "states": "S: n m", "params": "A: n n; b: n"}

#: Text → the same in NumPy on columns (n, 1) and matrices of one sequence.
TAKEN = {
    "np.concatenate([h[:1], x[1:]])": None,
    "h.sum() * x": None,
    "np.sum(h, axis=0) * x": "h.sum() * x",
    "np.where(h > 0, h, x)": None,
    "h[0] * x": None,
    "h.clip(-1, 1) + x": None,
    "h % 1 + x": None,
    "h % 0.7 + x": None,
    "np.linalg.solve(W + 3 * eye('p'), h + x)": "np.linalg.solve(W + 3 * np.eye(3), h + x)",
    "np.cumsum(h) * x": "np.cumsum(h)[:, None] * x",
    "h.cumsum() * x": "np.cumsum(h)[:, None] * x",
    "x.copy() + h": None,
    "S + np.outer(k, v)": None,
    "np.diag(k) @ S": "np.diag(k[:, 0]) @ S",
    "S.max() * S": None,
    "np.min(S) * S": None,
    "S / np.linalg.norm(S)": None,
    "np.trace(S @ S.transpose()) * S": None,
    "exp(S) / (exp(S) @ ones('m'))": "np.exp(S) / np.exp(S).sum(1, keepdims=True)",
    "S * x.max() + unvec(x, 'm n').T": "S * x.max() + x.reshape(4, 5)",
}

REFUSED = {
    "np.linalg.inv(W) @ h + x": "write solve(A, b) for inv(A) @ b",
    "np.stack([h, x])[0]": "write concat(a, b)",
    "np.sort(h) + x": "write max(x) and min(x)",
    "np.argmax(h) * x": "write one_hot_max(x), which is 1 at the largest unit",
    "np.prod(h) * x": "write exp(sum(log(x))) for positive x",
    "np.cumprod(h) + x": "write exp(cumsum(log(x))) for positive x",
    "np.diff(h) + x": "write x[1:] - x[:-1]",
    "np.pad(h, 1) + x": "write concat(0 * x[:1], x)",
    "np.tile(h, 2) + x": "write concat(x, x)",
    "np.repeat(h, 2) + x": "write P @ x with a fixed 0/1 matrix P",
    "np.convolve(h, x)": "write a sum of w[k] * shift(x, k)",
    "np.clip(h, None, 1) + x": "write minimum(x, high) or maximum(x, low)",
    "h @ W.T + x": "weights stand on the left: write W @ h[t-1]",
    "np.fft.fft(h) + x": "fixed matrices of cosines and sines",
    "np.tril(A) @ S": "write A * M with a fixed 0/1 matrix M",
    "np.swapaxes(S, 0, 1)": "write S.T",
    "np.diagonal(A) * S": '(A * eye("n")) @ ones("n")',
    "np.diag(A) * S": '(A * eye("n")) @ ones("n")',
    "softmax(S)": 'write e / (e @ ones("m")) with e = exp(S[t-1]) for its rows',
    "S.transpose(1, 0)": "transpose with axes (1, 0) is not in the language; write x.T",
    "S.reshape(-1)": "vec(S.T) for its rows in a vector",
}


def _cell(text: str) -> Cell:
    declared = MATRICES if re.search(r"\bS\b", text) else VECTORS
    names = [
        n for kind in ("inputs", "states", "params") for group in declared[kind].split(";")
        for n in group.partition(":")[0].split()
    ]  # fmt: skip
    state = "S" if declared is MATRICES else "h"
    parts = " + ".join(f"dot({n}, {n})" for n in names if n != state)
    if declared is VECTORS:  # dot takes vectors there
        parts = "dot(W @ x + U @ q, b) * g"
    made: dict[str, Any] = {}
    body = f"def step({', '.join(names)}):\n    return {{'{state}': {text}, 's': {parts}}}"
    exec(body, dict(WORDS), made)
    return cell(made["step"], **declared, outputs="s", name="habit")


@pytest.mark.parametrize("text", TAKEN)
def test_it_is_what_numpy_makes_of_it(text: str) -> None:
    definition = _cell(text)
    assert prove(derive(definition)).proved
    rng = np.random.default_rng(3)
    sizes = {"p": 3, "m": 5, "n": 4}
    values = {n: rng.normal(size=tuple(d.size(sizes) for d in (s.rows, s.cols)))
              for n, s in definition.shapes.items()}  # fmt: skip
    expected = eval(TAKEN[text] or text, {"np": np, **values})
    batched = {n: a[..., None] if definition.shapes[n].stack else a for n, a in values.items()}
    (state,) = definition.states
    made = definition.step(batched)[state]
    np.testing.assert_allclose(made[..., 0] if made.ndim > 2 else made, expected, rtol=1e-12)


@pytest.mark.parametrize("text", REFUSED)
def test_it_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(GradcheckError, match=re.escape(REFUSED[text])) as said:
        derive(_cell(text))
    assert "\n" not in str(said.value)
