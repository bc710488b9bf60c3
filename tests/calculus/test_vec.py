"""Every vec identity, against vec of the term itself at pairwise different dims."""

import numpy as np
import pytest

from gradcheck_rnn.calculus import vec as vec_module
from gradcheck_rnn.calculus.printing import to_text
from gradcheck_rnn.calculus.terms import (
    Apply,
    Broadcast,
    Commutation,
    Concat,
    Diag,
    Divide,
    Dot,
    Eye,
    Greater,
    Hadamard,
    HeadSum,
    Kron,
    MapUnits,
    Maximum,
    Neg,
    Num,
    Ones,
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
    symbols_in,
)
from gradcheck_rnn.calculus.vec import IDENTITIES, vec_coefficient
from gradcheck_rnn.errors import MissingRule
from tests.calculus.dense import dense, random_values, shape, vec

DIMS = {"m": 2, "n": 3, "r": 4, "s": 5, "T": 3}
m, n, r, s = (dim(k) for k in "mnrs")
A, B, C, D = Sym("A", m, n), Sym("B", r, s), Sym("C", n, r), Sym("D", n, r)
a, b = Sym("a", n), Sym("b", n)
gamma = Sym("gamma", 1)
dX = Sym("X", n, r, mark="d")
dx = Sym("x", n, mark="d")
dz = Sym("z", 1, mark="d")

CASES = {
    "differential": (dX, dX),
    "sum": (A @ dX + Times(A, Hadamard(C, dX)), dX),
    "sum with zero": (Plus(Zeros(n, r), dX), dX),
    "negation": (Neg(dX) @ B, dX),
    "product": (Times(A, dX, B), dX),
    "product left": (A @ dX, dX),
    "product right": (dX @ B, dX),
    "product outer": (Times(dx, Transpose(Sym("y", r))), dx),
    "product column": (Times(A, dx), dx),
    "product long": (Times(A, Diag(a), dX, B, B.T), dX),
    "product diag right": (Times(dX, Diag(Sym("y", r))), dX),
    "hadamard": (Hadamard(C, dX, D), dX),
    "hadamard column": (Hadamard(a, dx, b), dx),
    "hadamard ones": (Hadamard(Ones(n, r), dX), dX),
    "hadamard number": (Hadamard(Broadcast(Num(3), n, r), dX), dX),
    "hadamard one": (Hadamard(Broadcast(Num(1), n, r), dX), dX),
    "transpose": (Transpose(dX), dX),
    "transpose column": (Times(Transpose(dx), C), dx),
    "transpose inside": (Times(B.T, Transpose(dX), b), dX),
    "transpose twice": (Transpose(A @ dX), dX),
    "scalar factor": (Scale(gamma, A @ dX), dX),
    "scalar times": (Scale(dz, C), dz),
    "scalar times dot": (Scale(Dot(a, dx), C), dx),
    "scalar nested": (Scale(gamma, Scale(Num(0.5), Times(A, Scale(gamma, dX)))), dX),
    "quotient": (Divide(dX, C), dX),
    "quotient column": (Divide(dx, a), dx),
    "broadcast": (Broadcast(dz, n, r), dz),
    "broadcast sum": (Hadamard(C, Broadcast(UnitSum(Hadamard(a, dx)), n, r)), dx),
    "unit sum": (UnitSum(dx), dx),
    "unit sum matrix": (UnitSum(dX @ Sym("y", r)), dX),
    "inner product": (Dot(a, dx), dx),
    "inner product left": (Dot(dX @ Sym("y", r), a), dX),
    "stack": (Concat(Zeros(m, r), dX, Zeros(n, r)), dX),
    "stack first": (Concat(dX, Zeros(m, r), Hadamard(C, dX)), dX),
    "stack column": (Concat(Zeros(n), dx, Zeros(m)), dx),
    "slice": (Slice(Concat(Zeros(n, r), dX, Zeros(n, r)), n, n + 1), dX),
    "slice plain": (Slice(dX, 1, n), dX),
    "map of units": (MapUnits(A @ dX, "cumsum"), dX),
    "map of units column": (MapUnits(dx, "reverse_cumsum"), dx),
    "solution": (Solve(Sym("E", n, n), Hadamard(C, dX)), dX),
    "solution column": (Solve(Sym("E", n, n), dx), dx),
    "pad": (Pad(dX, m, n + m + r), dX),
    "vec of vec": (Vec(dX), dX),
    "unvec": (Unvec(Hadamard(Vec(C), Vec(dX)), r, n), dX),
    "diagonal": (Diag(dx), dx),
    "diagonal between": (Times(Transpose(Ones(n)), Diag(Hadamard(a, dx))), dx),
    "kronecker": (Kron(B, dX), dX),
    "kronecker left": (Kron(dX, B), dX),
    "kronecker vectors": (Kron(Transpose(a), dx), dx),
    "choice": (Where(Greater(C, D), dX, Hadamard(C, dX)), dX),
    "choice zero": (Where(Greater(C, D), Zeros(n, r), dX), dX),
    "time sum": (TimeSum(Times(A, dX), 1, "T"), dX),
    "sum over heads": (HeadSum(Times(A, dX), "T"), dX),
}


def error(term: Term, d: Sym, coefficient: Term) -> float:
    """Largest entry of vec(term) − J vec(d), both evaluated densely."""
    values = random_values(term, DIMS) | {d: np.random.default_rng(7).normal(size=shape(d, DIMS))}
    values |= {v: values[v] for v in symbols_in(coefficient)}
    got = dense(coefficient, values, DIMS) @ vec(values[d])
    return float(np.abs(got - vec(dense(term, values, DIMS))).max())


@pytest.mark.parametrize("name", CASES)
def test_identity(name):
    term, d = CASES[name]
    coefficient, trace = vec_coefficient(term, d)
    rows, cols = shape(coefficient, DIMS)
    assert (rows, cols) == (np.prod(shape(term, DIMS)), np.prod(shape(d, DIMS)))
    assert d not in symbols_in(coefficient)
    assert error(term, d, coefficient) < 1e-12
    assert set(trace) <= set(IDENTITIES)
    assert trace[-1] == "differential"


def test_every_identity_is_exercised():
    used = {name for term, d in CASES.values() for name in vec_coefficient(term, d)[1]}
    assert used == set(IDENTITIES)
    assert all(i.statement and i.citation for i in IDENTITIES.values())


WRONG = {
    "product": lambda t, k: _wrong_product(t, k),
    "hadamard": lambda t, k: Neg(vec_module.hadamard(t, k)),
    "transpose": lambda t, k: Commutation(*reversed(t.operands[k].shape)),
    "scalar factor": lambda t, k: Eye(t.operands[1].shape[0] * t.operands[1].shape[1]),
    "quotient": lambda t, k: Diag(vec_module.as_column(t.operands[1])),
    "broadcast": lambda t, k: Scale(Num(2), Ones(t.shape[0] * t.shape[1])),
    "unit sum": lambda t, k: Transpose(Pad(Ones(1), 0, t.operands[0].shape[0])),
    "inner product": lambda t, k: Transpose(Ones(t.operands[k].shape[0])),
    "stack": lambda t, k: Kron(Eye(t.shape[1]), Pad(Eye(t.operands[k].shape[0]), 0, t.shape[0])),
    "slice": lambda t, k: Kron(
        Eye(t.shape[1]), Slice(Eye(t.args[0].shape[0]), 0, t.args[2] - t.args[1])
    ),
    "pad": lambda t, k: Kron(Eye(t.shape[1]), Pad(Eye(t.args[0].shape[0]), 0, t.args[2])),
    "map of units": lambda t, k: Kron(Eye(t.shape[1]), MapUnits(Eye(t.shape[0]), "reverse_cumsum")),
    "vec of vec": lambda t, k: Commutation(*t.operands[0].shape),
    "diagonal": lambda t, k: Kron(Ones(t.shape[0]), Eye(t.shape[0])),
    "kronecker": lambda t, k: (
        Kron(vec_module.as_column(t.operands[0]), Eye(n * r))
        if k
        else Kron(Eye(n * r), vec_module.as_column(t.operands[1]))
    ),
}


def _wrong_product(term, k):
    """(A ⊗ Bᵀ) has the shape of (Bᵀ ⊗ A), and is wrong."""
    right = vec_module.product(term, k)
    return Kron(right.operands[1], right.operands[0]) if isinstance(right, Kron) else Neg(right)


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_identity_is_caught(name, monkeypatch):
    cls = next(c for c, (rule, _) in vec_module._RULES.items() if rule == name)
    monkeypatch.setitem(vec_module._RULES, cls, (name, WRONG[name]))
    term, d = CASES[name]
    coefficient, trace = vec_coefficient(term, d)
    assert name in trace
    assert error(term, d, coefficient) > 1e-3


def test_the_forms_that_people_write():
    h = Sym("h", "p", kind="state", lag=1)
    w = Sym("W", "p", "p", mark="d")
    out = Sym("h", "p", kind="state", lag=0)
    slope = 1 - Hadamard(out, out)
    coefficient, trace = vec_coefficient(Hadamard(slope, w @ h), w)
    assert to_text(coefficient) == "diag(1 − h_t ⊙ h_t) (h_{t−1}ᵀ ⊗ I_p)"
    assert trace == ("hadamard", "product", "differential")
    dh = h.with_(mark="d")
    assert to_text(vec_coefficient(Sym("W", "p", "p") @ dh, dh)[0]) == "W"
    assert to_text(vec_coefficient(Hadamard(slope, dh), dh)[0]) == "diag(1 − h_t ⊙ h_t)"
    assert vec_coefficient(w.T @ h, w)[0] == Times(Kron(h.T, Eye("p")), Commutation("p", "p"))


@pytest.mark.parametrize(
    ("term", "d", "words"),
    [
        (Apply("tanh", dx), dx, ["Apply", "no vec identity"]),
        (Maximum(dx, a), dx, ["Maximum"]),
        (Hadamard(dx, dx), dx, ["Hadamard", "2 operands"]),
        (Times(dX, dX.T), dX, ["Times"]),
        (Divide(a, dx), dx, ["Divide", "divisor"]),
        (Plus(dx, a), dx, ["Plus", "part a"]),
        (Concat(a, dx), dx, ["Concat", "part a"]),
        (Where(dx, a, b), dx, ["Where", "condition"]),
        (Where(a, dx, b), dx, ["Where", "b"]),
        (Hadamard(a, b), dx, ["Hadamard", "does not occur"]),
        (a, dx, ["Sym"]),
        (dx, Sym("x", n), ["differential"]),
        (TimeSum(dx.with_(lag=0), 1, "T"), dx.with_(lag=0), ["TimeSum", "bound"]),
    ],
)
def test_what_is_not_linear_raises(term, d, words):
    with pytest.raises(MissingRule) as caught:
        vec_coefficient(term, d)
    for word in words:
        assert word in str(caught.value)


def test_simplifications_stay_small():
    assert vec_module.kron(Eye(1), A) == A
    assert vec_module.kron(Eye(m), Eye(n)) == Eye(m * n)
    assert isinstance(vec_module.kron(a.T, Eye(n)), Kron)
    assert vec_module.times(Eye(m), A, Eye(n)) == A
    assert vec_module.times(Commutation(m, n), Commutation(n, m)) == Eye(m * n)
    assert vec_module.times(Commutation(m, n), Commutation(m, n)) != Eye(m * n)
    assert vec_module.diag(Ones(n)) == Eye(n)
