"""A wrong version of every vec identity is found by applying it to all unit differentials.

``vec F(dX) = J vec dX`` is linear, so it holds if it holds for dX with a single 1: the term is
evaluated on each of them and compared with the column of J.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sympy

from gradcheck_rnn.calculus import vec
from gradcheck_rnn.calculus.terms import (
    Broadcast,
    Concat,
    Diag,
    Divide,
    Dot,
    Hadamard,
    HeadSum,
    Kron,
    MapUnits,
    Neg,
    Num,
    Pad,
    Plus,
    Scale,
    Slice,
    Solve,
    Sym,
    Term,
    Times,
    TimeSum,
    Transpose,
    UnitSum,
    Unvec,
    Vec,
    Where,
    Zeros,
    dim,
)
from gradcheck_rnn.derivation.numeric_terms import TermEvaluator
from gradcheck_rnn.errors import MissingRule

SIZES = {"d": 2, "p": 3, "q": 4}
P, Q, D, ONE = dim("p"), dim("q"), dim("d"), sympy.Integer(1)


def _variable(name: str, rows: Any, cols: Any, mark: str = "") -> Sym:
    return Sym(name, rows, cols, "param", None, mark)


dX, dx, ds = (_variable(n, r, c, "d") for n, r, c in (("X", P, Q), ("x", P, ONE), ("s", ONE, ONE)))
A, B, C = _variable("A", D, P), _variable("B", Q, D), _variable("C", P, Q)
a, s = _variable("a", P, ONE), _variable("s", ONE, ONE)
bits = _variable("m", P, Q)

#: Identity → (term linear in the differential, the differential).
EXAMPLES: dict[str, tuple[Term, Sym]] = {
    "differential": (dX, dX),
    "sum": (Plus(dX, Hadamard(C, dX)), dX),
    "negation": (Neg(dX), dX),
    "sum over heads": (HeadSum(Times(A, dX), "q"), dX),
    "product": (Times(A, dX, B), dX),
    "hadamard": (Hadamard(C, dX), dX),
    "transpose": (Transpose(dX), dX),
    "scalar factor": (Plus(Scale(s, dx), Scale(UnitSum(dx), a)), dx),
    "quotient": (Divide(dX, C), dX),
    "broadcast": (Broadcast(ds, P, Q), ds),
    "unit sum": (UnitSum(Hadamard(a, dx)), dx),
    "inner product": (Dot(a, dx), dx),
    "stack": (Concat(Zeros(D, Q), dX), dX),
    "slice": (Slice(dX, sympy.Integer(1), P), dX),
    "map of units": (MapUnits(Hadamard(C, dX), "cumsum"), dX),
    "solution": (Solve(_variable("F", P, P), Hadamard(C, dX)), dX),
    "pad": (Pad(dX, D, P + D), dX),
    "vec of vec": (Times(Transpose(Vec(C)), Vec(dX)), dX),
    "diagonal": (Diag(Hadamard(a, dx)), dx),
    "kronecker": (Plus(Kron(A, dX), Kron(_variable("E", D, P), dX)), dX),
    "choice": (Where(bits, dX, Hadamard(C, dX)), dX),
}


def gap(term: Term, d: Sym) -> float:
    """The largest difference between the term on unit differentials and the columns of J."""
    rng = np.random.default_rng(1)
    ev = TermEvaluator(SIZES, np.float64)
    values: dict[Sym, Any] = {}

    def lookup(symbol: Sym) -> Any:
        if symbol not in values:
            shape = tuple(ev.size(n) for n in symbol.shape)
            drawn = rng.normal(size=shape)
            values[symbol] = (drawn > 0).astype(float) if symbol.name == "m" else drawn
        return values[symbol]

    coefficient, _ = vec.vec_coefficient(term, d)
    jacobian = ev(coefficient, lookup)
    rows, cols = (ev.size(n) for n in d.shape)
    columns = []
    for k in range(rows * cols):
        unit = np.zeros(rows * cols)
        unit[k] = 1.0
        values[d] = unit.reshape(cols, rows).T
        columns.append(ev(term, lookup).T.ravel())
    expected = np.stack(columns, axis=1)
    if jacobian.shape != expected.shape:
        return float("inf")
    return float(np.max(np.abs(jacobian - expected)))


def test_every_identity_has_its_example() -> None:
    """TimeSum is a display form that nothing evaluates; its identity is held by its text."""
    assert set(EXAMPLES) == set(vec.IDENTITIES) - {"time sum"}
    for name, (term, d) in EXAMPLES.items():
        assert gap(term, d) < 1e-13, name
        assert name in vec.vec_coefficient(term, d)[1]
    kron_left = Kron(dX, A)
    assert gap(kron_left, dX) < 1e-13
    assert gap(Unvec(Times(Kron(Transpose(B), A), Vec(dX)), D, D), dX) < 1e-13


def _wrong_versions(right: Any) -> dict[str, Any]:
    def transposed(term: Term, k: int) -> Term:
        made: Term = right(term, k)
        return Transpose(made) if made.shape[0] == made.shape[1] else Neg(made)

    def swapped(term: Term, k: int) -> Term:
        made: Term = right(term, k)
        if isinstance(made, Kron):
            left, second = made.operands
            return Kron(second, left)
        return Scale(Num(3), made)

    return {
        "negated": lambda term, k: Neg(right(term, k)),
        "doubled": lambda term, k: Scale(Num(2), right(term, k)),
        "factors swapped": swapped,
        "transposed": transposed,
    }


SYMMETRIC = {
    ("hadamard", "transposed"),  # a diagonal matrix
    ("quotient", "transposed"),
    ("scalar factor", "transposed"),
    ("vec of vec", "transposed"),  # the identity
}


@pytest.mark.parametrize(
    ("kind", "name"),
    [(k, n) for k, (n, _) in vec._RULES.items()],
    ids=lambda v: getattr(v, "__name__", v),
)
def test_wrong_versions_are_found(
    kind: type[Term], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    term, d = EXAMPLES[name]
    if kind is Unvec:
        term = Unvec(Vec(dX), P, Q)
    right = vec._RULES[kind][1]
    for fault, wrong in _wrong_versions(right).items():
        if (name, fault) in SYMMETRIC:
            continue
        monkeypatch.setitem(vec._RULES, kind, (name, wrong))
        try:
            found = not gap(term, d) < 1e-13
        except (MissingRule, ValueError):
            found = True
        assert found, fault
        monkeypatch.setitem(vec._RULES, kind, (name, right))


def _patched_class(original: type[Term], make: Any) -> Any:
    """A stand-in for a term class: instances are recognised as before, new ones are made wrong."""

    class Meta(type):
        def __instancecheck__(cls, value: Any) -> bool:
            return isinstance(value, original)

        def __call__(cls, *arguments: Any) -> Any:
            return make(*arguments)

    return Meta(original.__name__, (), {})


def test_wrong_versions_of_the_built_in_identities_are_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def found(name: str) -> bool:
        return not gap(*EXAMPLES[name]) < 1e-13

    with monkeypatch.context() as m:
        m.setattr(vec, "Neg", _patched_class(Neg, lambda x: x))
        assert found("negation")
    with monkeypatch.context() as m:
        m.setattr(
            vec, "Eye", _patched_class(vec.Eye, lambda n: Scale(Num(2), vec.Diag(vec.Ones(n))))
        )
        assert found("differential")
    with monkeypatch.context() as m:
        m.setattr(vec, "Plus", _patched_class(Plus, lambda first, *rest: first))
        assert found("sum")
        assert found("choice")
    with monkeypatch.context() as m:
        right = vec._choice

        def other(term: Where, d: Sym, trace: list[str]) -> Term:
            condition, first, second = term.operands
            return right(Where(condition, second, first), d, trace)

        m.setattr(vec, "_choice", other)
        assert found("choice")


def test_time_sum_is_taken_out_and_a_bound_variable_refused() -> None:
    summed = TimeSum(Times(A, dX), sympy.Integer(1), sympy.Integer(3))
    coefficient, trace = vec.vec_coefficient(summed, dX)
    assert isinstance(coefficient, TimeSum)
    assert trace[0] == "time sum"
    assert coefficient.x == vec.vec_coefficient(Times(A, dX), dX)[0]
    bound = Sym("X", P, Q, "input", 0, "d")
    with pytest.raises(MissingRule, match="bound"):
        vec.vec_coefficient(TimeSum(Times(A, bound), *summed.args[1:]), bound)
