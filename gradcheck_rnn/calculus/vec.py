"""vec and Kronecker identities: from a differential ``dF(dX)`` to ``J`` with vec dF = J vec dX.

One function for each identity, all collected in `IDENTITIES` with their sources. ``vec`` stacks
columns, so the result is the Jacobian in numerator layout (Magnus & Neudecker's DF).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sympy import Expr, Integer

from gradcheck_rnn.calculus.terms import (
    Broadcast,
    Commutation,
    Concat,
    Diag,
    Divide,
    Dot,
    Eye,
    Hadamard,
    HeadSum,
    Kron,
    MapUnits,
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
    subterms,
)
from gradcheck_rnn.errors import MissingRule

__all__ = ["IDENTITIES", "Identity", "as_column", "diag", "kron", "times", "vec_coefficient"]

_LINEAR = "vec is linear; Petersen & Pedersen, The Matrix Cookbook (2012), eqs. (522), (523)"
_PRODUCT = (
    "Magnus & Neudecker, Matrix Differential Calculus (2019), §2.4, Theorem 2.2; "
    "Petersen & Pedersen, The Matrix Cookbook (2012), eq. (520)"
)
_COMMUTATION = (
    "Magnus & Neudecker (2019), §3.7; Henderson & Searle, The vec-permutation matrix, "
    "the vec operator and Kronecker products: a review (1981)"
)


@dataclass(frozen=True)
class Identity:
    """A vec identity: what it says and where it is from."""

    statement: str
    citation: str


# -- constructors with the few simplifications that everyone makes by hand -----------------------


def kron(a: Term, b: Term) -> Term:
    """Kronecker product; a 1×1 identity vanishes and I_m ⊗ I_n is I_mn."""
    if isinstance(a, Eye) and a.is_scalar_term:
        return b
    if isinstance(b, Eye) and b.is_scalar_term:
        return a
    if isinstance(a, Eye) and isinstance(b, Eye):
        return Eye(a.shape[0] * b.shape[0])
    return Kron(a, b)


def times(*factors: Term) -> Term:
    """Matrix product without identities; K_mn K_nm cancels, as K_mnᵀ = K_nm = K_mn⁻¹."""
    if len(factors) == 1:
        return factors[0]
    Times(*factors)  # the shapes are checked before anything is dropped
    kept: list[Term] = []
    for factor in (f for x in factors for f in (x.operands if isinstance(x, Times) else (x,))):
        if isinstance(factor, Eye):
            continue
        inverse = kept and isinstance(factor, Commutation) and isinstance(kept[-1], Commutation)
        if inverse and kept[-1].args == tuple(reversed(factor.args)):
            kept.pop()
        else:
            kept.append(factor)
    return Times(*kept) if kept else Eye(factors[0].shape[0])


def diag(column: Term) -> Term:
    """Diagonal matrix; diag of ones is the identity, diag of a repeated scalar s is s·I."""
    if isinstance(column, Ones):
        return Eye(column.shape[0])
    if isinstance(column, Broadcast):
        scalar = column.operands[0]
        eye = Eye(column.shape[0])
        return eye if scalar == Num(1) else Scale(scalar, eye)
    return Diag(column)


def as_column(x: Term) -> Term:
    """vec x; a column is its own vec, and constant matrices stay constants."""
    if x.shape[1] == 1:
        return x
    if isinstance(x, Ones):
        return Ones(x.shape[0] * x.shape[1])
    if isinstance(x, Broadcast):
        return Broadcast(x.operands[0], x.shape[0] * x.shape[1])
    return x.operands[0] if isinstance(x, Unvec) else Vec(x)


def _is_vector(x: Term) -> bool:
    return bool(x.shape[0] == 1 or x.shape[1] == 1)


def _split(term: Term, d: Sym) -> tuple[int, Term]:
    """Position and operand that contain `d`; more than one would not be linear."""
    found = [(k, x) for k, x in enumerate(term.operands) if _contains(x, d)]
    if len(found) != 1:
        raise MissingRule(
            f"no vec coefficient for {type(term).__name__}: {d} occurs in {len(found)} operands "
            f"of {term}, and the term must be linear in it."
        )
    return found[0]


def _contains(term: Term, d: Sym) -> bool:
    return any(node == d for node in subterms(term))


# -- the identities: matrix M with vec(term) = M vec(X), X the operand that holds d ---------------


def product(term: Term, k: int) -> Term:
    """vec(A X B) = (Bᵀ ⊗ A) vec X."""
    x = term.operands[k]
    left, right = term.operands[:k], term.operands[k + 1 :]
    a = times(*left) if left else Eye(x.shape[0])
    b = times(*right) if right else Eye(x.shape[1])
    return kron(b if isinstance(b, (Eye, Diag)) else Transpose(b), a)


def hadamard(term: Term, k: int) -> Term:
    """vec(A ⊙ X) = diag(vec A) vec X."""
    others = term.operands[:k] + term.operands[k + 1 :]
    return diag(as_column(Hadamard(*others)))


def transpose(term: Term, k: int) -> Term:
    """vec(Xᵀ) = K_mn vec X for X of shape m×n; vec xᵀ = x for a vector."""
    x = term.operands[k]
    return Eye(as_column(x).shape[0]) if _is_vector(x) else Commutation(*x.shape)


def scalar_factor(term: Term, k: int) -> Term:
    """vec(s X) = s vec X, and vec(x A) = vec(A) x for a scalar x."""
    factor, x = term.operands
    if k == 0:
        return as_column(x)
    return Scale(factor, Eye(as_column(x).shape[0]))


def quotient(term: Term, k: int) -> Term:
    """vec(X ⊘ Y) = diag(1 ⊘ vec Y) vec X."""
    if k:
        raise MissingRule(f"no vec coefficient for Divide: {term} is not linear in its divisor.")
    divisor = as_column(term.operands[1])
    return Diag(Divide(Broadcast(Num(1), divisor.shape[0]), divisor))


def broadcast(term: Term, k: int) -> Term:
    """vec(x 1_m 1_nᵀ) = 1_mn x for a scalar x."""
    return Ones(term.shape[0] * term.shape[1])


def unit_sum(term: Term, k: int) -> Term:
    """Σᵢ xᵢ = 1ᵀ x."""
    return Transpose(Ones(term.operands[0].shape[0]))


def inner_product(term: Term, k: int) -> Term:
    """⟨a, x⟩ = aᵀ x."""
    return Transpose(term.operands[1 - k])


def stack(term: Term, k: int) -> Term:
    """vec of a stack of zeros and X at row r is (I ⊗ pad(I; r)) vec X."""
    start: Expr = Integer(0)
    for x in term.operands[:k]:
        start = start + x.shape[0]
    rows = term.operands[k].shape[0]
    return kron(Eye(term.shape[1]), Pad(Eye(rows), start, term.shape[0]))


def slice_rows(term: Term, k: int) -> Term:
    """vec(X[a:b]) = (I ⊗ I[a:b]) vec X."""
    x, start, stop = term.args
    return kron(Eye(x.shape[1]), Slice(Eye(x.shape[0]), start, stop))


def pad_rows(term: Term, k: int) -> Term:
    """vec(pad(X; a)) = (I ⊗ pad(I; a)) vec X."""
    x, start, total = term.args
    return kron(Eye(x.shape[1]), Pad(Eye(x.shape[0]), start, total))


def unit_map(term: Term, k: int) -> Term:
    """vec(L X) = (I ⊗ L) vec X for a constant L."""
    return kron(Eye(term.shape[1]), MapUnits(Eye(term.shape[0]), term.map.name))


def solution(term: Term, k: int) -> Term:
    """vec(A⁻¹ X) = (I ⊗ A⁻¹) vec X."""
    if k == 0:
        raise MissingRule(f"no vec coefficient for Solve: {term} is not linear in its matrix.")
    a, x = term.operands
    return kron(Eye(x.shape[1]), Solve(a, Eye(a.shape[0])))


def vec_of_vec(term: Term, k: int) -> Term:
    """vec(vec X) = vec X, and vec(unvec x) = x."""
    return Eye(as_column(term.operands[0]).shape[0])


def diagonal(term: Term, k: int) -> Term:
    """vec diag(x) = diag(vec I) (1 ⊗ I) x, because diag(x) = I ⊙ (x 1ᵀ)."""
    n = term.shape[0]
    return times(Diag(Vec(Eye(n))), kron(Ones(n), Eye(n)))


def kronecker_right(term: Term, k: int) -> Term:
    """vec(A ⊗ X) and vec(X ⊗ B) through the commutation matrix."""
    a, b = term.operands
    (m, n), (r, s) = a.shape, b.shape
    swap = kron(kron(Eye(n), _commute(s, m)), Eye(r))
    if k == 0:
        return times(swap, kron(Eye(m * n), as_column(b)))
    return times(swap, kron(as_column(a), Eye(r * s)))


def _commute(m: Expr, n: Expr) -> Term:
    return Eye(m * n) if m == 1 or n == 1 else Commutation(m, n)


_RULES: dict[type[Term], tuple[str, Callable[[Term, int], Term]]] = {
    Times: ("product", product),
    Hadamard: ("hadamard", hadamard),
    Transpose: ("transpose", transpose),
    Scale: ("scalar factor", scalar_factor),
    Divide: ("quotient", quotient),
    Broadcast: ("broadcast", broadcast),
    UnitSum: ("unit sum", unit_sum),
    Dot: ("inner product", inner_product),
    Concat: ("stack", stack),
    Slice: ("slice", slice_rows),
    Pad: ("pad", pad_rows),
    MapUnits: ("map of units", unit_map),
    Solve: ("solution", solution),
    Vec: ("vec of vec", vec_of_vec),
    Unvec: ("vec of vec", vec_of_vec),
    Diag: ("diagonal", diagonal),
    Kron: ("kronecker", kronecker_right),
}

IDENTITIES: dict[str, Identity] = {
    "differential": Identity("vec dX = I vec dX", "definition"),
    "sum": Identity("vec(X + Y) = vec X + vec Y", _LINEAR),
    "negation": Identity("vec(−X) = −vec X", _LINEAR),
    "product": Identity("vec(A X B) = (Bᵀ ⊗ A) vec X", _PRODUCT),
    "hadamard": Identity(
        "vec(A ⊙ X) = diag(vec A) vec X", "Magnus & Neudecker (2019), §3.6, entry by entry"
    ),
    "transpose": Identity("vec(Xᵀ) = K_mn vec X, X of shape m×n", _COMMUTATION),
    "scalar factor": Identity("vec(s X) = s vec X; vec(x A) = vec(A) x, x scalar", _LINEAR),
    "quotient": Identity(
        "vec(X ⊘ Y) = diag(1 ⊘ vec Y) vec X", "Magnus & Neudecker (2019), §3.6, entry by entry"
    ),
    "broadcast": Identity("vec(x 1_m 1_nᵀ) = 1_mn x, x scalar", _LINEAR),
    "unit sum": Identity("Σᵢ xᵢ = 1ᵀ x", "definition"),
    "inner product": Identity(
        "⟨a, x⟩ = aᵀ x", "Petersen & Pedersen, The Matrix Cookbook (2012), eq. (521)"
    ),
    "stack": Identity("vec [0; X; 0] = (I ⊗ pad(I; r)) vec X, X at row r", _PRODUCT),
    "slice": Identity("vec X[a:b] = (I ⊗ I[a:b]) vec X", _PRODUCT),
    "pad": Identity("vec pad(X; a) = (I ⊗ pad(I; a)) vec X", _PRODUCT),
    "map of units": Identity("vec(L X) = (I ⊗ L) vec X, L constant", _PRODUCT),
    "solution": Identity("vec(A⁻¹ X) = (I ⊗ A⁻¹) vec X", _PRODUCT),
    "vec of vec": Identity("vec vec X = vec X; vec unvec x = x", "definition"),
    "diagonal": Identity(
        "vec diag(x) = diag(vec I) (1 ⊗ I) x, since diag(x) = I ⊙ (x 1ᵀ)",
        "Magnus & Neudecker (2019), §§2.4, 3.6: product and Hadamard identities",
    ),
    "kronecker": Identity(
        "vec(A ⊗ B) = (I_n ⊗ K_sm ⊗ I_r)(vec A ⊗ vec B), A of shape m×n, B r×s", _COMMUTATION
    ),
    "choice": Identity("vec where(C, X, Y) = diag(vec [C]) vec X + diag(vec [¬C]) vec Y", _LINEAR),
    "time sum": Identity("vec Σ_t X_t = Σ_t vec X_t", _LINEAR),
    "sum over heads": Identity(
        "vec Σ_h X⁽ʰ⁾ = Σ_h vec X⁽ʰ⁾; a block for each h where X⁽ʰ⁾ is the variable", _LINEAR
    ),
}


def vec_coefficient(term: Term, d: Sym) -> tuple[Term, tuple[str, ...]]:
    """Return J with vec(term) = J vec(d), and the names of the identities used, outermost first.

    Parameters
    ----------
    term : Term, m×n
        Linear in `d`: a differential such as ``W dh`` or ``dW h``.
    d : Sym, r×s
        A variable with mark "d".

    Returns
    -------
    Term, mn×rs
        The coefficient, in numerator layout with columns stacked.
    tuple of str
        Keys of `IDENTITIES`.

    Raises
    ------
    MissingRule
        If `d` does not occur, occurs so that the term is not linear in it, or stands under a
        class without an identity; the message names the class.
    """
    if d.mark != "d":
        raise MissingRule(f"{d} is not a differential; give a variable with mark 'd'.")
    trace: list[str] = []
    return _coefficient(term, d, trace), tuple(trace)


def _coefficient(term: Term, d: Sym, trace: list[str]) -> Term:
    if term == d:
        trace.append("differential")
        return Eye(d.shape[0] * d.shape[1])
    if isinstance(term, Plus):
        trace.append("sum")
        return Plus(*[_coefficient(x, d, trace) for _, x in _linear_parts(term, d)])
    if isinstance(term, Neg):
        trace.append("negation")
        return Neg(_coefficient(term.operands[0], d, trace))
    if isinstance(term, Where):
        trace.append("choice")
        return _choice(term, d, trace)
    if isinstance(term, TimeSum):
        if d.lag is not None:
            raise MissingRule(f"no vec coefficient for TimeSum: {d} is bound by its index t.")
        trace.append("time sum")
        return TimeSum(_coefficient(term.x, d, trace), *term.args[1:])
    if isinstance(term, HeadSum):
        trace.append("sum over heads")
        inner = _coefficient(term.x, d, trace)
        return inner if d.heads != 1 else HeadSum(inner, term.heads)
    rule = _RULES.get(type(term))
    if rule is None or not _contains(term, d):
        reason = "there is no vec identity for it" if rule is None else f"{d} does not occur in it"
        raise MissingRule(f"no vec coefficient for {type(term).__name__} {term}: {reason}.")
    name, identity = rule
    trace.append(name)
    if isinstance(term, Concat):
        kept = _linear_parts(term, d)
        return Plus(*[_chain(identity(term, k), _coefficient(x, d, trace)) for k, x in kept])
    k, x = _split(term, d)
    return _chain(identity(term, k), _coefficient(x, d, trace))


def _chain(matrix: Term, inner: Term) -> Term:
    """matrix @ inner, with signs and scalar factors kept in front."""
    if isinstance(inner, Neg):
        return Neg(_chain(matrix, inner.operands[0]))
    if isinstance(matrix, Scale) and isinstance(matrix.operands[1], Eye):
        return inner if matrix.operands[0] == Num(1) else Scale(matrix.operands[0], inner)
    if isinstance(inner, Scale):
        return Scale(inner.operands[0], _chain(matrix, inner.operands[1]))
    return times(matrix, inner)


def _linear_parts(term: Term, d: Sym) -> list[tuple[int, Term]]:
    """Operands of a sum or stack that hold `d`; any other must be zero, or it is not linear."""
    parts = [(k, x) for k, x in enumerate(term.operands) if not isinstance(x, Zeros)]
    for _, x in parts:
        if not _contains(x, d):
            raise MissingRule(
                f"no vec coefficient for {type(term).__name__}: {d} does not occur in its part {x}."
            )
    return parts


def _choice(term: Where, d: Sym, trace: list[str]) -> Term:
    """vec where(C, X, Y) = diag(vec [C]) vec X + diag(vec [¬C]) vec Y."""
    condition, *branches = term.operands
    if _contains(condition, d):
        raise MissingRule(f"no vec coefficient for Where: {term} is not linear in its condition.")
    column = as_column(condition)
    one, zero = (Broadcast(Num(v), column.shape[0]) for v in (1, 0))
    parts: list[Term] = []
    for branch, bits in zip(branches, ((one, zero), (zero, one)), strict=True):
        if isinstance(branch, Zeros):
            continue
        if not _contains(branch, d):
            raise MissingRule(f"no vec coefficient for Where: {d} does not occur in {branch}.")
        inner = _coefficient(branch, d, trace)
        parts.append(_chain(Diag(Where(column, *bits)), inner))
    if not parts:
        raise MissingRule(f"no vec coefficient for Where {term}: {d} does not occur in it.")
    return Plus(*parts)
