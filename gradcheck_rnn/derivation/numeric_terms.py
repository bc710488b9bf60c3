"""Evaluate a term on arrays of any dtype: floats, complex, or exact field elements.

Columns are ``(n, B)``; a sum over the batch happens by itself in products such as ``δ hᵀ``.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
from sympy import Expr as Scalar
from sympy import Integer

from ..calculus import terms as T
from ..errors import DimensionError, MissingRule
from ..language import numeric
from ..language.linear_systems import solve
from .batches import OverSequences

__all__ = ["TermEvaluator"]

Array = Any
Compiled = Callable[["TermEvaluator", Any], Array]


class TermEvaluator:
    """Evaluates terms for given sizes of the dims and one dtype.

    Parameters
    ----------
    sizes : mapping
        Dim name → size.
    dtype : numpy dtype
        Of constants; object arrays get exact integers and fractions.
    """

    def __init__(self, sizes: Mapping[str, int], dtype: Any) -> None:
        self._sizes = {T.dim(n): Integer(s) for n, s in sizes.items()}
        self.dtype = np.dtype(dtype)
        self.batch_axis = -1  #: of the arrays that terms are evaluated on, see `Batches`
        self._dims: dict[Scalar, int] = {}
        self._constants: dict[int, tuple[T.Term, Array]] = {}  # by identity, as terms below
        self._plain = type(self).__call__ is TermEvaluator.__call__

    def size(self, d: Scalar) -> int:
        """The size of a dim; raises DimensionError if a name in it has none."""
        found = self._dims.get(d)
        if found is None:
            value = d.xreplace(self._sizes) if not d.is_Integer else d
            if not value.is_Integer:
                raise DimensionError(f"dim {d} has no size")
            found = self._dims[d] = int(value)
        return found

    @property
    def exact(self) -> bool:
        """Whether constants are exact integers and fractions."""
        return self.dtype.kind == "O" and isinstance(self.number(Integer(1)), int)

    def number(self, value: Any) -> Any:
        """An exact number in the dtype of the run."""
        if self.dtype.kind == "O":
            return int(value) if value.is_Integer else Fraction(int(value.p), int(value.q))
        if self.dtype == np.longdouble:
            return np.longdouble(int(value.p)) / np.longdouble(int(value.q))
        return float(value)

    def filled(self, shape: tuple[int, ...], value: int) -> Array:
        return np.full(shape, value, dtype=self.dtype)

    def constant(self, term: T.Term, make: Callable[[TermEvaluator, T.Term], Array]) -> Array:
        """The value of a term without variables, made once."""
        found = self._constants.get(id(term))
        if found is None:
            found = self._constants[id(term)] = term, make(self, term)
            found[1].flags.writeable = False
        return found[1]

    def summed(self, total: Array) -> Array:
        """A sum of contributions as it is kept: evaluators that round do so here too."""
        return total

    def product(self, left: Array, right: Array) -> Array:
        """A matrix product, as the value of a term has it."""
        return _times(left, right)

    def __call__(self, term: T.Term, lookup: Callable[[T.Sym], Array]) -> Array:
        """The value of a term; ``lookup`` gives the array of each variable."""
        if self._plain:
            return _compiled(term)(self, lookup)
        return _handler(term)(self, term, lookup)

    def stepwise(
        self,
        term: T.Term,
        series: Mapping[str, Mapping[int, Array]] | None,
        values: Callable[[int, Array], Callable[[T.Sym], Array]],
        bar: str = "",
    ) -> Callable[[int, Array], Array]:
        """The value of a term as a function of the time and, by its name, of an adjoint then.

        ``values`` gives all that is read at one time; ``series``, where it is given, holds what
        lies there by name and time.
        """
        if series is None or not self._plain:
            return lambda t, given: self(term, values(t, given))
        known = _STEPWISE.get((id(term), bar))
        if known is None:
            if len(_STEPWISE) >= MOST_KNOWN:
                _STEPWISE.clear()
            held: dict[str, Any] = {"times": _times, "applied": _applied}
            text = _text(term, held, bar)
            made = eval(f"lambda ev, series, values, t, bar: {text}", held)
            known = _STEPWISE[id(term), bar] = term, made
        return partial(known[1], self, series, values)


def _handler(term: T.Term) -> Any:
    """How a term is evaluated, from the values of its operands."""
    handler = _HANDLERS.get(type(term))
    if handler is None:
        raise MissingRule(f"no way to evaluate a {type(term).__name__}, met in {term}")
    return handler


#: Terms and their functions by identity: to compare equal ones would take longer than to run them.
_KNOWN: dict[int, tuple[T.Term, Compiled]] = {}
_STEPWISE: dict[tuple[int, str], tuple[T.Term, Callable[..., Array]]] = {}
MOST_KNOWN = 2**14
#: Depth of a term up to which it is one expression.
DEEPEST = 50


def _compiled(term: T.Term) -> Compiled:
    """A term as one function of an evaluator that has no way of its own with parts of it."""
    found = _KNOWN.get(id(term))
    if found is None:
        if len(_KNOWN) >= MOST_KNOWN:
            _KNOWN.clear()
        found = _KNOWN[id(term)] = term, _compile(term)
    return found[1]


def _compile(term: T.Term) -> Compiled:
    if isinstance(term, T.Sym):
        return lambda ev, lookup: lookup(term)
    step = _STEPS.get(type(term))
    if not T.symbols_in(term):
        make = partial(_handler(term), lookup=None)
        return lambda ev, lookup: ev.constant(term, make)
    if step is None:
        handler = _handler(term)
        return lambda ev, lookup: handler(ev, term, lookup)
    parts = [_compiled(x) for x in term.operands]
    if len(parts) == 1:
        (one,) = parts
        return lambda ev, lookup: step(one(ev, lookup))
    if len(parts) == 2:
        left, right = parts
        return lambda ev, lookup: step(left(ev, lookup), right(ev, lookup))

    def folded(ev: TermEvaluator, lookup: Any) -> Array:
        out = parts[0](ev, lookup)
        for part in parts[1:]:
            out = step(out, part(ev, lookup))
        return out

    return folded


def _text(term: T.Term, held: dict[str, Any], bar: str, depth: int = 0) -> str:
    """A term at time t as an expression of Python, with the objects in it held by name."""
    if isinstance(term, T.Sym):
        name, lag, mark, _ = term.plain
        if mark == "bar" and name == bar:
            return "bar"
        return f"series[{name!r}][{0 if lag is None else f't - {lag}'}]"

    def operand(at: int) -> str:
        return _text(term.operands[at], held, bar, depth + 1)

    kind = type(term)
    if depth < DEEPEST and T.symbols_in(term):
        if kind in _SIGNS:
            return f"({_SIGNS[kind].join(map(operand, range(len(term.operands))))})"
        if kind in _FORMS:
            return _FORMS[kind].format(*map(operand, range(len(term.operands))))
        if isinstance(term, T.Apply):
            return f"applied(ev, {term.fname!r}, {operand(0)})"
        if isinstance(term, T.Power) and term.exponent.is_Integer and term.exponent > 0:
            return f"({operand(0)} ** {term.exponent})"
    name = f"f{len(held)}"
    held[name] = _compiled(term)
    return f"{name}(ev, values(t, bar))"


def _operands(ev: TermEvaluator, term: T.Term, lookup: Any) -> list[Array]:
    return [ev(x, lookup) for x in term.operands]


def _fold(step: Callable[..., Array]) -> Any:
    def handler(ev: TermEvaluator, term: T.Term, lookup: Any) -> Array:
        first, *others = term.operands
        out = ev(first, lookup)
        if not others:
            return step(out)
        for other in others:
            out = step(out, ev(other, lookup))
        return out

    return handler


def _map(function: Callable[..., Array]) -> Any:
    return lambda ev, term, lookup: function(*_operands(ev, term, lookup))


def _constant(make: Callable[[TermEvaluator, Any], Array]) -> Any:
    return lambda ev, term, lookup: ev.constant(term, make)


def _times(left: Array, right: Array) -> Array:
    """A product; in one over the sequences, what all of them share is there for each.

    A derived term has no such product, a mistaken one may: δ bᵀ in place of δ hᵀ.
    """
    inner, outer = left.shape[-1], right.shape[-2]
    if inner != outer:
        if inner == 1:
            left = np.broadcast_to(left, (*left.shape[:-1], outer))
        elif outer == 1:
            right = np.broadcast_to(right, (*right.shape[:-2], inner, right.shape[-1]))
    return np.matmul(left, right)


def _broadcast(ev: TermEvaluator, term: T.Term, lookup: Any) -> Array:
    s = ev(term.operands[0], lookup)
    rows, cols = ev.size(term.shape[0]), ev.size(term.shape[1])
    return np.broadcast_to(s, (*s.shape[:-2], rows, max(cols, s.shape[-1])))


def _slice(ev: TermEvaluator, term: T.Term, lookup: Any) -> Array:
    x = ev(term.operands[0], lookup)
    return x[..., ev.size(term.args[1]) : ev.size(term.args[2]), :]


def _pad(ev: TermEvaluator, term: T.Term, lookup: Any) -> Array:
    x = ev(term.operands[0], lookup)
    start, total = ev.size(term.args[1]), ev.size(term.args[2])
    out = np.zeros((*x.shape[:-2], total, x.shape[-1]), dtype=x.dtype)
    out[..., start : start + x.shape[-2], :] = x
    return out


def _diag(ev: TermEvaluator, term: T.Term, lookup: Any) -> Array:
    x = ev(term.operands[0], lookup)
    if x.shape[-1] != 1:
        raise DimensionError(f"{term} is a Jacobian of one sequence; its operand has a batch")
    out = np.zeros((*x.shape[:-1], x.shape[-2]), dtype=x.dtype)
    entries = np.arange(x.shape[-2])
    out[..., entries, entries] = x[..., 0]
    return out


def _unvec(ev: TermEvaluator, term: T.Term, lookup: Any) -> Array:
    return numeric.unvec(ev(term.operands[0], lookup), *map(ev.size, term.shape))


def _commutation(ev: TermEvaluator, term: T.Term, lookup: Any) -> Array:
    m, n = (ev.size(a) for a in term.args)
    out = ev.filled((m * n, m * n), 0)
    for i in range(m):
        for j in range(n):
            out[i * n + j, j * m + i] = 1
    return out


def _block(ev: TermEvaluator, term: T.Term, lookup: Any) -> Array:
    rows = [[ev(x, lookup) for x in row] for row in term.rows_of_terms]
    return np.concatenate([np.concatenate(row, axis=1) for row in rows], axis=0)


def _head_block(ev: TermEvaluator, term: T.Term, lookup: Any) -> Array:
    n, heads = (ev.size(a) for a in term.args)
    columns = np.eye(heads * n, dtype=ev.dtype).reshape(heads * n, heads, n)
    return columns.swapaxes(0, 1)


def _head_sum(ev: TermEvaluator, term: T.Term, lookup: Any) -> Array:
    x, heads = ev(term.x, lookup), ev.size(term.heads)
    # What does not differ from head to head is there once.
    return x * heads if x.ndim < 3 or x.shape[-3] != heads else numeric.sum_heads(x)


def _sign(x: Array) -> Array:
    if x.dtype == object:
        zero = np.zeros_like(x)
        return 2 * numeric.greater(x, zero) - 1
    return np.sign(x.real).astype(x.dtype)


def _apply(ev: TermEvaluator, term: T.Term, lookup: Any) -> Array:
    return _applied(ev, str(term.args[0].name), ev(term.args[1], lookup))


def _applied(ev: TermEvaluator, name: str, x: Array) -> Array:
    if x.dtype == object and ev.exact and all(isinstance(v, int | Fraction) for v in x.flat):
        x = x.astype(float)  # of constants alone, as the definition computes it
    return numeric.ELEMENTWISE[name](x)


def _kron(a: Array, b: Array) -> Array:
    made = a[..., :, None, :, None] * b[..., None, :, None, :]
    (m, n), (r, s) = a.shape[-2:], b.shape[-2:]
    return made.reshape(*made.shape[:-4], m * r, n * s)


def _exact(x: Array) -> Array:
    """Integers among objects as fractions: 1 / 3 and 3 ** -1 must not become floats."""
    if x.dtype != object:
        return x
    return np.frompyfunc(lambda v: Fraction(v) if isinstance(v, int) else v, 1, 1)(x)


def _divide(x: Array, y: Array) -> Array:
    whole = x.dtype == object and all(isinstance(v, int) for v in (*x.flat, *y.flat))
    return _exact(x) / y if whole else x / y


def _power(ev: TermEvaluator, term: T.Term, lookup: Any) -> Array:
    x, n = ev(term.operands[0], lookup), term.args[1]
    if n.is_Integer and n < 0:
        x = _exact(x)
    return x ** (int(n) if n.is_Integer else ev.number(n))


#: What takes the values of one operand, or of two, or of more one after another.
_STEPS: dict[type[T.Term], Callable[..., Array]] = {
    T.Plus: operator.add, T.Hadamard: operator.mul, T.Times: _times, T.Neg: operator.neg,
    T.Scale: operator.mul, T.Divide: _divide, T.Transpose: numeric.transpose,
    T.Dot: numeric.dot, T.UnitSum: numeric.unit_sum, T.Abs: numeric.absolute,
}  # fmt: skip
#: Those of them that Python has a sign for, and how others are written.
_SIGNS: dict[type[T.Term], str] = {
    T.Plus: " + ", T.Hadamard: " * ", T.Scale: " * ",
}  # fmt: skip
_FORMS: dict[type[T.Term], str] = {
    T.Neg: "(-{})", T.Transpose: "{}.swapaxes(-1, -2)",
}  # fmt: skip
_HANDLERS: dict[type[T.Term], Any] = {
    T.Sym: lambda ev, term, lookup: lookup(term),
    T.Num: _constant(lambda ev, term: np.full((1, 1), ev.number(term.value), dtype=ev.dtype)),
    T.Size: _constant(lambda ev, term: ev.filled((1, 1), ev.size(term.size))),
    T.Ones: _constant(lambda ev, term: ev.filled(tuple(map(ev.size, term.shape)), 1)),
    T.Zeros: _constant(lambda ev, term: ev.filled(tuple(map(ev.size, term.shape)), 0)),
    T.Eye: _constant(lambda ev, term: np.eye(ev.size(term.shape[0]), dtype=ev.dtype)),
    **{kind: _fold(step) for kind, step in _STEPS.items()},
    T.Power: _power,
    T.Apply: _apply,
    T.Broadcast: _broadcast,
    T.Concat: _map(numeric.concat),
    T.Slice: _slice,
    T.Pad: _pad,
    T.ChooseUnits: lambda ev, term, lookup: term.map.array(ev(term.x, lookup)),
    T.MapUnits: lambda ev, term, lookup: term.map.array(ev(term.x, lookup)),
    T.Softmax: _map(numeric.softmax),
    T.LogSoftmax: _map(numeric.log_softmax),
    T.CrossEntropy: _map(numeric.cross_entropy),
    T.Maximum: _map(numeric.maximum),
    T.Greater: _map(numeric.greater),
    T.Where: _map(numeric.where),
    T.Surrogate: lambda ev, term, lookup: ev(term.operands[0], lookup),
    T.Solve: _map(solve),
    T.Sign: _map(_sign),
    T.Frozen: _map(lambda x: x),
    T.Diag: _diag,
    T.Kron: _map(_kron),
    T.Vec: _map(numeric.vec),
    T.Unvec: _unvec,
    T.HeadBlock: _head_block,
    T.Commutation: _commutation,
    T.Block: _block,
    T.HeadSum: _head_sum,
    OverSequences: lambda ev, term, lookup: term.of(ev(term.x, lookup), ev.batch_axis),
    T.PerHead: lambda ev, term, lookup: ev(term.x, lookup),
}
