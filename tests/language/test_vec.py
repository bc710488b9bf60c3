"""vec and unvec, and dims that are products."""

# mypy: disallow-untyped-defs=False

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradcheck_rnn import Layout, check_model
from gradcheck_rnn.derivation import derive
from gradcheck_rnn.errors import DimensionError, GradcheckError, UnsupportedOperation
from gradcheck_rnn.language import cell, dim, dot, outer, softmax, tanh, unvec, vec
from gradcheck_rnn.language.dims import Dim, parse_dim, parse_shape
from gradcheck_rnn.language.network import as_network
from gradcheck_rnn.language.running import sizes_of
from tests.codegen.support import Case
from tests.language.rooms import rooms


@cell(
    inputs="x: n*m; q: m", states="S: n m; c: n*m", outputs="y S c",
    params="W: n*m n*m; U: n n; V: p (n*m)",
)  # fmt: skip
def folded(x, q, S, c, W, U, V):
    """A dense map of all entries of a state; a vector that has the entries of another one."""
    S = tanh(U @ S + 0.5 * unvec(W @ vec(S) + x, "n m") + outer(S @ q, q))
    c = tanh(c * vec(S) + 0.3 * vec(unvec(x, "m n").T) + 0.1 * dot(vec(S), x))
    return S, c, V @ c


@cell(inputs="x: d*n + p", states="h: p", params="W: n*d; G: d n; b: p")
def shared(x, h, W, G, b):
    """No matrix is declared; weights are folded, and a part of the input is a matrix."""
    X = unvec(x[: -dim("p")], "d n")
    return tanh(b * h + x[-dim("p") :] + dot(X, unvec(W, "n d").T) + dot(vec(G), vec(X)))


@cell(inputs="x: n*m", states="S: n m", params="w: n")
def filled(x, S, w):
    return tanh(w * S + unvec(x, "n m"))


@cell(heads="H", inputs="x: d", states="S: H n m", params="W: H n*m d; g: H n", outputs="S y")
def headed(x, S, W, g):
    """The columns of every head's matrix from one product."""
    S = g * S + unvec(tanh(W @ x), "n m")
    return S, softmax(vec(S.T))


def torch_folded(torch, x, q, S, c, W, U, V):
    """The same in PyTorch, vec written with its reshape of the transpose."""
    n, m = S.shape[1:]
    rows, filled, entries = [], [], []
    for x_t, q_t in zip(x, q, strict=True):
        moved = S.transpose(1, 2).reshape(len(S), -1) @ W.T + x_t
        moved = moved.reshape(-1, m, n).transpose(1, 2)
        S = torch.tanh(U @ S + 0.5 * moved + torch.einsum("bij,bj,bk->bik", S, q_t, q_t))
        inner = (S.transpose(1, 2).reshape(len(S), -1) * x_t).sum(1, keepdim=True)
        turned = x_t.reshape(-1, n, m).transpose(1, 2).reshape(len(S), -1)
        c = torch.tanh(c * S.transpose(1, 2).reshape(len(S), -1) + 0.3 * turned + 0.1 * inner)
        filled.append(S)
        entries.append(c)
        rows.append(c @ V.T)
    return [torch.stack(a) for a in (filled, entries, rows)]


@pytest.mark.parametrize("definition", [folded, shared, headed])
def test_they_go_through_every_room(definition: Any, tmp_path: Path) -> None:
    rooms(definition, tmp_path)


def test_beside_autograd_of_pytorch() -> None:
    torch = pytest.importorskip("torch")
    case = Case(as_network(folded))
    names = ("x", "q", "S0", "c0", "W", "U", "V")
    leaves = [torch.tensor(case.arrays[n], requires_grad=True) for n in names]
    made = torch_folded(torch, *leaves)
    given = case.cotangents()
    outputs, saved = case.forward()
    for label, value in zip(("S", "c", "y"), made, strict=True):
        np.testing.assert_allclose(outputs[label], value.detach(), rtol=1e-12, atol=1e-13)
    loss = sum(
        (torch.tensor(given[n]) * v).sum() for n, v in zip(("S", "c", "y"), made, strict=True)
    )
    loss = loss + (torch.tensor(given["S_final"]) * made[0][-1]).sum()
    loss = loss + (torch.tensor(given["c_final"]) * made[1][-1]).sum()
    gradients = case.backward(saved, given)
    for name, wanted in zip(names, torch.autograd.grad(loss, leaves), strict=True):
        scale = float(abs(wanted).max())
        assert np.max(np.abs(gradients[name] - wanted.numpy())) <= 1e-12 * scale, name


@pytest.mark.parametrize("fault", ["", "rows for columns"])
def test_code_that_fills_row_by_row_is_found(fault: str) -> None:
    layout = Layout(
        {"w": "w"}, {"x": "x: T B n*m", "S0": "S0: B n m"}, {"S": "S: T B n m"}
    )  # fmt: skip

    def run(w: Any, x: Any, S0: Any) -> Any:
        states = [S0]
        for row in x:
            X = np.swapaxes(row.reshape(-1, *S0.shape[:0:-1]), 1, 2)
            states.append(np.tanh(w[:, None] * states[-1] + X))
        return {"S": np.stack(states[1:])}, (w, states)

    def back(cotangents: Any, saved: Any) -> Any:
        w, states = saved
        carry, dw, dx = np.zeros_like(states[0]), np.zeros_like(w), []
        for t in reversed(range(len(states) - 1)):
            da = (cotangents["S"][t] + carry) * (1 - states[t + 1] ** 2)
            dw += (da * states[t]).sum((0, 2))
            # The adjoint of unvec: columns below each other.
            flat = da if fault else np.swapaxes(da, 1, 2)
            dx.append(flat.reshape(len(da), -1))
            carry = w[:, None] * da
        return {"w": dw, "x": np.stack(dx[::-1]), "S0": carry}

    made = check_model(filled, forward=run, backward=back, layout=layout)
    assert made.passed == (not fault), str(made)
    if fault:
        assert "row by row, not column by column" in str(made)


def test_dims_that_are_products() -> None:
    H, n, p = (Dim.of({name: 1}) for name in ("H", "n", "p"))
    assert parse_dim("n*H") == parse_dim("(H*n)") == H * n
    assert parse_dim("2*(H + 1)*n + p") == H * n * 2 + n * 2 + p
    assert str(parse_dim("4*n*H + p")) == "4*H*n + p"
    assert parse_dim("H*n").size({"H": 3, "n": 4}) == 12
    assert parse_dim("n*n").names == ("n",)
    assert parse_shape("p (H * n)").cols == H * n
    assert (H * n).rename({"n": p + 1}) == H * p + H
    assert (H * n + p).solved("H", {"n": 4, "p": 3}, 15) == 3
    assert (H * n + p).solved("H", {"n": 4, "p": 3}, 14) is None
    assert (n * n).solved("n", {}, 9) == 3
    assert (n * n).solved("n", {}, 8) is None
    for wrong in ("n m", "2 3", "n**2", "(n*m", "n*", "*n", "n*T"):
        with pytest.raises(DimensionError):
            parse_dim(wrong)


def test_sizes_are_told_by_products() -> None:
    @cell(inputs="x: n*m", states="h: m", params="w: n", name="folds")
    def folds(x, h, w):
        return tanh(unvec(x, "n m").T @ w + h)

    network = as_network(folds)
    arrays = {"x": np.ones((3, 2, 20)), "h0": np.ones((2, 5)), "w": np.ones(4)}
    assert sizes_of(network, arrays) == {"n": 4, "m": 5}
    assert sizes_of(network, {**arrays, "h0": np.ones((2, 4)), "w": np.ones(5)})["m"] == 4
    with pytest.raises(DimensionError, match=r"dim m\*n is 15 by 'h0'"):
        sizes_of(network, {**arrays, "h0": np.ones((2, 3)), "w": np.ones(5)})


REFUSED = {
    "unvec(x, 'n n')": "unvec: x has shape (m*n), which is no n times n entries",
    "x.reshape(2, 3)": 'unvec(x, "m n").T for a matrix of n*m units',
    "np.kron(S, S)": "vec(A @ X @ B.T) for kron(B, A) @ vec(X)",
    "unvec(S, 'n m')": "unvec acts on the units of a vector; S[t-1] is a matrix",
    "unvec(x, 'n k')": "dim 'k' is not declared",
}


@pytest.mark.parametrize("written", REFUSED)
def test_what_is_no_vec_is_refused(written: str) -> None:
    def step(x, S):
        return eval(written, {"np": np, "unvec": unvec}, {"x": x, "S": S})

    definition = cell(step, inputs="x: n*m", states="S: n m")
    with pytest.raises(GradcheckError, match=re.escape(REFUSED[written])):
        derive(definition)


def test_in_cells_of_vectors_they_are_refused() -> None:
    def step(x, h, W):
        return h + x * vec(W).T @ vec(W)

    definition = cell(step, inputs="x: n", states="h: n", params="W: n n")
    with pytest.raises(UnsupportedOperation, match="vec is of cells that have a matrix"):
        derive(definition)
