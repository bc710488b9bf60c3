"""Linear systems, and functions whose derivative is declared."""

# mypy: disallow-untyped-defs=False

from __future__ import annotations

from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest

from gradcheck_rnn import Layout, api, check_model
from gradcheck_rnn.calculus.rules import RULES
from gradcheck_rnn.codegen import generate
from gradcheck_rnn.derivation import derive
from gradcheck_rnn.derivation.proof import prove
from gradcheck_rnn.errors import DimensionError
from gradcheck_rnn.language import cell, eye, floor, outer, solve, surrogate, tanh
from gradcheck_rnn.language.linear_systems import solve as solved
from gradcheck_rnn.language.network import as_network
from tests.codegen.support import Case
from tests.language.rooms import decayed, kernels, proved

STEPS = Layout(
    {"A": "A", "w": "w"}, {"x": "x: T B n", "h0": "h0: B n"}, {"h": "h: T B n"}
)  # fmt: skip


@cell(inputs="x: n", states="h: n", params="A: n n; w: n")
def implicit(x, h, A, w):
    """An implicit Euler step of h′ = −(A + 2) h + x, then tanh."""
    return tanh(w * solve(A + 3 * eye("n"), h + x))


@cell(inputs="k: n; v: m", states="S: n m", params="b: n")
def per_sequence(k, v, S, b):
    return solve(outer(k, k) + b * eye("n") + 4 * eye("n"), S) + outer(k, v)


@cell(inputs="x: n", states="S: H n m", params="A: H n n", heads="H")
def by_head(x, S, A):
    return 0.5 * solve(A + 3 * eye("n"), S + outer(x, S.T @ x))


@cell(
    inputs="x: n", states="z: H n; S: H n m", params="A: n n; B: n m; C: m m", heads="H",
    outputs="z y",
)  # fmt: skip
def shared_by_heads(x, z, S, A, B, C):
    """One matrix for all vectors, for all heads, right-hand sides of parameters, one turned."""
    G = solve(A + 3 * eye("n"), B)
    z = solve(A + 3 * eye("n"), z + x)
    S = solve(outer(z, z) + 4 * eye("n"), G) + 0.5 * S
    return {"S": S, "z": z, "y": solve((C + 4 * eye("m")).T, S.T @ x)}


@cell(inputs="x: d", states="v s: p", params="W: p p; U: p d; b: p", outputs="s")
def spiking(x, v, s, W, U, b):
    fires = surrogate(lambda v: v > 1, lambda v: 1 / (1 + 10 * abs(v - 1)) ** 2)
    v = 0.9 * v + W @ s + U @ x + b - s
    s = fires(v)
    return v, s


@pytest.mark.parametrize("definition", [implicit, per_sequence])
def test_systems_are_derived_proved_and_followed(definition: Any) -> None:
    derivation = derive(definition)
    result = prove(derivation)
    assert result.proved, str(result)
    for form in ("latex", "typst", "text"):
        assert api.render(derivation, form)
        assert api.render(derivation, form, form="kronecker")
    decayed(as_network(definition))
    page = api.render(derive(implicit))
    assert "((A + 3 · I_n)ᵀ)^(−1)" in page


@pytest.mark.parametrize("definition", [implicit, per_sequence, by_head, shared_by_heads])
def test_systems_in_kernels(definition: Any, tmp_path: Path) -> None:
    case = Case(as_network(definition))
    case.arrays["A" if "A" in case.arrays else "b"].flat[0] -= 3  # rows have to change places
    kernels(case, tmp_path)


def test_a_shared_matrix_is_factorised_once_for_all_vectors() -> None:
    def steps(x, A):
        return {"y": tanh(solve(A + 3 * eye("n"), x))}

    made = generate(derive(cell(steps, inputs="x: n", params="A: n n", outputs="y")))
    assert "np.linalg.solve(a_y_part, x.reshape(-1, n).T).T" in made


def forward(A: Any, w: Any, x: Any, h0: Any) -> Any:
    M = A + 3 * np.eye(len(A))
    states, inner = [h0], []
    for row in x:
        inner.append(np.linalg.solve(M, (states[-1] + row).T).T)
        states.append(np.tanh(w * inner[-1]))
    return {"h": np.stack(states[1:])}, (M, w, states, inner)


def backward(cotangents: Any, saved: Any, fault: str = "") -> Any:
    M, w, states, inner = saved
    dA, dw, dx = np.zeros_like(M), np.zeros_like(w), np.zeros_like(cotangents["h"])
    carry = np.zeros_like(states[0])
    for t in reversed(range(len(dx))):
        da = (cotangents["h"][t] + carry) * (1 - states[t + 1] ** 2)
        dw += (da * inner[t]).sum(0)
        turned = M if fault == "not transposed" else M.T
        carry = dx[t] = np.linalg.solve(turned, (da * w).T).T
        if fault != "no dA":
            dA -= carry.T @ inner[t]
    return {"A": dA, "w": dw, "x": dx, "h0": carry}


@pytest.mark.parametrize("fault", ["", "not transposed", "no dA"])
def test_code_that_solves_is_judged(fault: str) -> None:
    made = check_model(
        implicit, forward=forward, backward=lambda g, s: backward(g, s, fault), layout=STEPS
    )
    assert made.passed == (not fault), str(made)


def test_systems_in_every_number_format() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 3, 3)), rng.normal(size=(3, 4))
    a[:, 0, 0] = 0  # a pivot has to be looked for
    expected = np.linalg.solve(a, np.broadcast_to(b, (2, 3, 4)))
    for dtype in (np.float32, np.float64, np.longdouble, np.complex128, np.clongdouble):
        made = solved(a.astype(dtype), b.astype(dtype))
        assert made.dtype == dtype
        np.testing.assert_allclose(made, expected, rtol=1e-3 if dtype == np.float32 else 1e-10)
    exact = solved(np.array([[0, 2], [3, 1]], dtype=object), np.array([[1], [1]], dtype=object))
    assert [str(v) for v in exact[:, 0]] == ["1/6", "1/2"]
    wide = np.frompyfunc(mpmath.mpf, 1, 1)
    np.testing.assert_allclose(solved(wide(a), wide(b)).astype(float), expected, rtol=1e-10)
    with pytest.raises(np.linalg.LinAlgError, match="Singular"):
        solved(np.ones((2, 2), dtype=np.longdouble), np.ones((2, 1), dtype=np.longdouble))


def test_a_declared_derivative_goes_through_the_rooms(tmp_path: Path) -> None:
    case = Case(as_network(spiking))
    proved(case)
    kernels(case, tmp_path)
    assert "frozen" in str(prove(case.derivation))
    assert api.verify(spiking, shape=2).passed


def test_pages_say_what_derivatives_are_by_convention() -> None:
    said = "The derivative of surrogate(f, s, v) by v is s: declared, by intent not that of f."
    for markup in ("text", "latex", "typst"):
        assert said in api.render(derive(spiking), markup)
    assert "by declaration" in str([r.citation for r in RULES if r.name == "declared derivative"])

    @cell(inputs="x: n", params="w: n", outputs="y")
    def stairs(x, w):
        return {"y": x - floor(w * x)}

    page = api.render(derive(stairs))
    assert "The derivative of floor is 0, at its jumps too." in page
    assert "surrogate" not in page


def test_code_is_held_to_the_declared_derivative() -> None:
    fires = surrogate(lambda v: v > 0, lambda v: 1 / (1 + v * v))

    @cell(inputs="x: n", params="w: n", outputs="y")
    def declared(x, w):
        return {"y": fires(w * x) * x}

    layout = Layout({"w": "w"}, {"x": "x: T B n"}, {"y": "y: T B n"})

    def judged(width: float) -> bool:
        def run(w: Any, x: Any) -> Any:
            return {"y": (w * x > 0) * x}, (w, x)

        def back(cotangents: Any, saved: Any) -> Any:
            (w, x), dy = saved, cotangents["y"]
            da = dy * x / (1 + width * (w * x) ** 2)
            return {"w": (da * x).sum((0, 1)), "x": da * w + dy * (w * x > 0)}

        return bool(check_model(declared, forward=run, backward=back, layout=layout).passed)

    assert judged(1.0)
    assert not judged(1.1)


def test_systems_that_do_not_fit_are_named() -> None:
    with pytest.raises(DimensionError, match=r"solve: A has shape \(n, m\), which is not square"):
        derive(cell(inputs="x: n", params="A: n m", outputs="y")(lambda x, A: {"y": solve(A, x)}))
    with pytest.raises(DimensionError, match="solve: A has shape"):
        derive(cell(inputs="x: n", params="A: m m", outputs="y")(lambda x, A: {"y": solve(A, x)}))
