"""Term classes: shapes, errors, immutability, and SymPy's algebra kept out."""

import pickle

import numpy as np
import pytest
import sympy
from sympy import Integer, Rational

from gradcheck_rnn.calculus.terms import (
    Abs,
    Apply,
    Block,
    Broadcast,
    Commutation,
    Concat,
    CrossEntropy,
    Diag,
    Divide,
    Dot,
    Eye,
    Frozen,
    Greater,
    Hadamard,
    Kron,
    LogSoftmax,
    Maximum,
    Neg,
    Num,
    Ones,
    Pad,
    Plus,
    Power,
    Scale,
    Sign,
    Size,
    Slice,
    Softmax,
    Solve,
    Surrogate,
    Sym,
    Term,
    TermOperatorError,
    Times,
    TimeSum,
    Transpose,
    UnitSum,
    Unvec,
    Vec,
    Where,
    Zeros,
    dim,
    shift,
    symbols_in,
)
from gradcheck_rnn.errors import DefinitionError, DimensionError, UnsupportedOperation
from tests.calculus.dense import dense, random_values

p, d, q = dim("p"), dim("d"), dim("q")
W, U, V = Sym("W", p, p), Sym("U", p, d), Sym("V", q, p)
b, w, s = Sym("b", p), Sym("w", p), Sym("gamma", 1)
h = Sym("h", p, kind="state", lag=0)
x = Sym("x", d, kind="input", lag=0)
DIMS = {"p": 3, "d": 2, "q": 4}

# Every class once, with the shape it must have.
SHAPES = [
    (Num(2), (1, 1)),
    (Size(4 * p), (1, 1)),
    (Ones(p), (p, 1)),
    (Zeros(p, d), (p, d)),
    (Eye(p), (p, p)),
    (Commutation(p, d), (p * d, p * d)),
    (Plus(h, b), (p, 1)),
    (Neg(U), (p, d)),
    (Times(V, W, U), (q, d)),
    (Hadamard(W, W), (p, p)),
    (Scale(s, U), (p, d)),
    (Divide(h, b), (p, 1)),
    (Power(h, 2), (p, 1)),
    (Apply("tanh", h), (p, 1)),
    (Broadcast(s, p, d), (p, d)),
    (Dot(h, b), (1, 1)),
    (UnitSum(h), (1, 1)),
    (Transpose(U), (d, p)),
    (Concat(h, x, b), (2 * p + d, 1)),
    (Slice(Concat(h, x, b), p, p + d), (d, 1)),
    (Pad(x, p, p + d + q), (p + d + q, 1)),
    (Softmax(h), (p, 1)),
    (LogSoftmax(h), (p, 1)),
    (CrossEntropy(h, b), (1, 1)),
    (Maximum(h, b), (p, 1)),
    (Greater(h, b), (p, 1)),
    (Where(Greater(h, b), h, b), (p, 1)),
    (Abs(h), (p, 1)),
    (Sign(h), (p, 1)),
    (Frozen(h), (p, 1)),
    (Surrogate(Abs(h), Sign(h), h), (p, 1)),
    (Solve(W, U), (p, d)),
    (Diag(h), (p, p)),
    (Kron(V, U), (q * p, p * d)),
    (Vec(U), (p * d, 1)),
    (Unvec(Vec(U), p, d), (p, d)),
    (Block([[W, U], [V, Zeros(q, d)]]), (p + q, p + d)),
]
IDS = [type(term).__name__ for term, _ in SHAPES]


@pytest.mark.parametrize(("term", "shape"), SHAPES, ids=IDS)
def test_shape_and_rebuilding(term, shape):
    assert all(sympy.expand(a - b) == 0 for a, b in zip(term.shape, shape, strict=True))
    assert term.func(*term.args) == term
    assert hash(term.func(*term.args)) == hash(term)
    assert pickle.loads(pickle.dumps(term)) == term
    assert all(isinstance(a, sympy.Basic) for a in term.args)


@pytest.mark.parametrize(("term", "shape"), SHAPES, ids=IDS)
def test_explicit_entries_agree_with_numpy(term, shape):
    """`as_explicit` uses `_entry`; the dense evaluator is written separately."""
    small = term.subs({dim(name): n for name, n in DIMS.items()})
    explicit = small.as_explicit()
    values = random_values(small, DIMS)
    point = {v[i, j]: a[i, j] for v, a in values.items() for i, j in np.ndindex(a.shape)}
    explicit = explicit.replace(sympy.Function("tanh"), sympy.tanh)
    got = np.array(explicit.subs(point).evalf().tolist(), dtype=float)
    np.testing.assert_allclose(got, dense(small, values, DIMS), rtol=1e-12)


def test_dims_compare_as_expressions():
    assert Plus(Sym("a", p + p), Sym("c", 2 * p)).shape == (2 * p, 1)
    assert Times(Sym("A", q, 2 * p + 2 * d), Sym("c", 2 * (p + d))).shape == (q, 1)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: W @ x, ["W", "p×p", "x_t", "d×1"]),
        (lambda: W + h, ["W", "p×p", "h_t", "p×1"]),
        (lambda: Hadamard(h, x), ["h_t", "x_t"]),
        (lambda: Divide(h, U), ["h_t", "U", "p×d"]),
        (lambda: Times(Dot(h, b), h), ["1×1", "Scale(s, x)"]),
        (lambda: Scale(h, W), ["Scale", "h_t", "p×1"]),
        (lambda: Dot(W, W), ["column", "W", "p×p"]),
        (lambda: Dot(h, x), ["h_t", "x_t"]),
        (lambda: UnitSum(W), ["column", "W"]),
        (lambda: Softmax(h.T), ["Softmax", "h_tᵀ", "1×p"]),
        (lambda: CrossEntropy(h, x), ["h_t", "x_t"]),
        (lambda: Concat(h, W), ["h_t", "W", "p×p"]),
        (lambda: Slice(h, p, p), ["rows p to p", "h_t"]),
        (lambda: Slice(h, 0, 2 * p), ["h_t", "p×1"]),
        (lambda: Pad(h, p, p), ["h_t", "row p"]),
        (lambda: Diag(W), ["Diag", "W"]),
        (lambda: Unvec(h, p, d), ["p×d", "h_t"]),
        (lambda: Block([[W, U], [V, V]]), ["width", "U", "V"]),
        (lambda: Block([[W, V]]), ["height", "W", "V"]),
        (lambda: Block([[W], [W, W]]), ["equally many"]),
        (lambda: Where(h, h, x), ["h_t", "x_t"]),
        (lambda: Plus(), ["Plus"]),
        (lambda: Sym("a", -1), ["-1"]),
        (lambda: Sym("a", Rational(1, 2)), ["1/2"]),
        (lambda: dim("2p"), ["2p"]),
    ],
)
def test_wrong_shapes_name_operands_and_dims(build, words):
    with pytest.raises(DimensionError) as error:
        build()
    for word in words:
        assert word in str(error.value)


def test_transposed_product_is_refused_only_when_dims_differ():
    """The check itself can fail: with p and d named alike, the wrong product passes."""
    with pytest.raises(DimensionError):
        Times(U, h)
    assert Times(U.subs({d: p}), h).shape == (p, 1)


@pytest.mark.parametrize(
    "build",
    [lambda: W * h, lambda: 2 * h, lambda: p * W, lambda: h * 2, lambda: sympy.Symbol("a") @ W],
)
def test_star_is_refused_with_the_way_out(build):
    with pytest.raises(TypeError) as error:
        build()
    assert isinstance(error.value, UnsupportedOperation)


def test_star_names_the_alternatives():
    with pytest.raises(TermOperatorError, match=r"Hadamard.*Scale.*@"):
        W * h


@pytest.mark.parametrize(
    "build",
    [
        lambda: h + "x",
        lambda: W @ 2,
        lambda: Plus(h, 1),
        lambda: Num(float("nan")),
        lambda: Num(1j),
        lambda: 2**h,
        lambda: h.diff(p),
        lambda: sympy.diff(h, p),
    ],
)
def test_other_operators_raise(build):
    with pytest.raises(TermOperatorError):
        build()


def test_words_are_checked():
    with pytest.raises(DefinitionError, match="unknown kind 'weight'"):
        Sym("W", p, p, kind="weight")
    with pytest.raises(DefinitionError, match="unknown mark 'hat'"):
        Sym("W", p, p, mark="hat")
    with pytest.raises(DefinitionError, match="lag"):
        Sym("W", p, p, lag=0.5)
    with pytest.raises(DefinitionError, match="function name"):
        Apply("1 + 1", h)


def test_order_is_kept_and_sympy_does_not_rearrange():
    z = U @ x + W @ h.at(-1) + b
    assert str(z) == "U x_t + W h_{t−1} + b"
    assert z.operands == (U @ x, W @ h.at(-1), b)
    assert Hadamard(h, b) != Hadamard(b, h)
    for same in (z.doit(), z.simplify(), sympy.simplify(z), z.expand(), sympy.expand(z)):
        assert same is z
    assert (h - h).operands == (h, Neg(h))


def test_flattening_and_involutions():
    assert Plus(Plus(h, b), w) == Plus(h, b, w)
    assert Times(Times(V, W), U).operands == (V, W, U)
    assert Hadamard(h, Hadamard(b, w)).operands == (h, b, w)
    assert Plus(h) is h
    assert Times(h) is h
    assert Neg(Neg(h)) is h
    assert h.T.T is h


def test_numbers_are_exact():
    assert Num(0.1).value == Rational(1, 10)
    assert Num(3).value == Integer(3)
    assert Num(np.float32(0.5)).value == Rational(1, 2)
    assert Power(h, 0.5).exponent == Rational(1, 2)
    assert 1 - h == Plus(Broadcast(Num(1), p), Neg(h))
    assert h / 2 == Divide(h, Broadcast(Num(2), p))


def test_time():
    assert h.at(-1).lag == 1
    assert h.at(-1).at(+1) == h
    assert W.at(5) is W
    z = W @ h.at(-1) + U @ x
    assert shift(z, 1) == W @ h + U @ x.at(1)
    assert shift(Block([[h, h]]), -1) == Block([[h.at(-1), h.at(-1)]])
    total = TimeSum(h, 1, "T")
    assert shift(Plus(total, h), 1) == Plus(total, h.at(1))
    assert symbols_in(z) == (W, h.at(-1), U, x)


def test_xreplace_and_subs():
    z = Apply("tanh", W @ h.at(-1) + b)
    assert z.xreplace({h.at(-1): b}) == Apply("tanh", W @ b + b)
    assert z.subs({p: 3}).shape == (3, 1)
    assert z.subs({W: Diag(b)}) == Apply("tanh", Diag(b) @ h.at(-1) + b)
    with pytest.raises(DimensionError):
        z.xreplace({h.at(-1): x})


def test_attributes_of_a_variable():
    assert (h.name, h.kind, h.lag, h.mark) == ("h", "state", 0, "")
    assert h.with_(mark="bar", lag=2) == Sym("h", p, 1, "state", 2, "bar")
    assert isinstance(h, Term)
    assert W.lag is None
