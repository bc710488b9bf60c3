"""Vectors of the units of all heads, split into those of each and merged."""

# mypy: disallow-untyped-defs=False

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradcheck_rnn import api
from gradcheck_rnn.codegen import generate
from gradcheck_rnn.derivation import derive
from gradcheck_rnn.derivation.proof import prove
from gradcheck_rnn.errors import GradcheckError
from gradcheck_rnn.language import cell, merge_heads, numeric, outer, split_heads, tanh
from gradcheck_rnn.language.network import as_network
from tests.codegen.support import Case
from tests.language.rooms import rooms


@cell(
    heads="H", inputs="x: d", states="S: H n m", outputs="S y",
    params="Q K: H*n d; V: H*m d; Z: d H*m; b: H*m",
)  # fmt: skip
def packed(x, S, Q, K, V, Z, b):
    """Queries, keys and values of all heads from one product each, as kernels have them."""
    q, k = split_heads(Q @ x, "H n"), split_heads(K @ x, "H n")
    S = 0.9 * S + outer(k, split_heads(V @ x, "H m"))
    y = Z @ tanh(merge_heads(S.T @ q) + b)
    return {"S": S, "y": y}


@cell(heads="H", inputs="x: H*n", states="h: H n", params="W: H n n; c p: H*n", outputs="h y")
def gated(x, h, W, c, p):
    """An input of all heads, and a parameter of them."""
    g = split_heads(x * p, "H n")
    h = tanh(W @ h + g * split_heads(c, "H n"))
    return {"h": h, "y": x * merge_heads(h * g)}


@pytest.mark.parametrize("definition", [packed, gated])
def test_they_go_through_every_room(definition: Any, tmp_path: Path) -> None:
    rooms(definition, tmp_path)


def test_pages_and_kernels() -> None:
    derivation = derive(packed)
    text = api.render(derivation, "text")
    for line in (
        "I⁽ʰ⁾ has the columns of I, the identity, that belong to head h",
        "q⁽ʰ⁾_t     = I⁽ʰ⁾ᵀ v_t",
        "δv_t        = Σ_{h=1}^{H} I⁽ʰ⁾ δq⁽ʰ⁾_t",
    ):
        assert line in text
    # The units of all heads lie as those of one vector: nothing is multiplied to split or merge.
    assert generate(derivation).count("einsum") + generate(derivation).count("matmul") <= 14


def test_beside_autograd_of_pytorch() -> None:
    torch = pytest.importorskip("torch")
    case = Case(as_network(packed))
    a = {n: torch.tensor(v, requires_grad=True) for n, v in case.arrays.items()}
    S, states, rows = a["S0"], [], []
    B, H, _, m = S.shape
    for x in a["x"]:
        q, k, v = ((x @ a[w].T).view(B, H, -1) for w in "QKV")
        S = 0.9 * S + k[..., :, None] * v[..., None, :]
        states.append(S)
        rows.append(torch.tanh((q[..., None, :] @ S).reshape(B, H * m) + a["b"]) @ a["Z"].T)
    made = {"S": torch.stack(states), "y": torch.stack(rows), "S_final": S}
    given = case.cotangents()
    outputs, saved = case.forward()
    for label, value in made.items():
        np.testing.assert_allclose(outputs[label], value.detach(), rtol=1e-12, atol=1e-13)
    loss = sum((torch.tensor(given[n]) * v).sum() for n, v in made.items())
    gradients = case.backward(saved, given)
    wanted = torch.autograd.grad(loss, [a[n] for n in gradients])
    for (name, own), value in zip(gradients.items(), wanted, strict=True):
        assert np.max(np.abs(own - value.numpy())) <= 1e-12 * float(abs(value).max()), name


def _strided(x: Any, heads: int, units: int) -> Any:
    return x.reshape(*x.shape[:-3], units, heads, 1).swapaxes(-3, -2)


FAULTS = {
    "split_heads": _strided,
    "merge_heads": lambda x: x.swapaxes(-3, -2).reshape(*x.shape[:-3], 1, -1, 1),
}


@pytest.mark.parametrize("operation", FAULTS)
def test_units_taken_with_a_stride_are_found(
    operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of x.reshape(n, H): the proof sees it at sizes that differ."""
    monkeypatch.setitem(numeric.RUN, operation, FAULTS[operation])
    assert not prove(gated).proved


MISUSE = {
    "other units": (
        lambda x, h, W, c: split_heads(x, "H m") + h,
        "which is not m units of each of H heads; declare it with H*m units",
    ),
    "twice": (lambda x, h, W, c: split_heads(h, "H n"), "is one of every head already"),
    "merged twice": (lambda x, h, W, c: merge_heads(x), "is the same for all heads"),
}


@pytest.mark.parametrize("case", MISUSE)
def test_misuse_is_one_line(case: str) -> None:
    function, said = MISUSE[case]
    with pytest.raises(GradcheckError, match=re.escape(said)):
        derive(
            cell(
                function, heads="H", inputs="x: H*n", states="h: H n", params="W: H n n; c: m",
                name="heads",
            )
        )  # fmt: skip
