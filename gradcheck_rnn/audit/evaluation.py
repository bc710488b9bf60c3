"""Evaluation of written equations with the values of names."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from ..derivation.batches import turned, vec
from ..language import numeric
from ..language.linear_systems import solve
from ..language.ops.elementwise import ELEMENTWISE, branches
from ..language.ops.formula import Arithmetic
from ..language.ops.formula import evaluate as evaluate_formula
from .tree import Applied, Constant, Node, Quantity, Time
from .truth import NotEvaluated

__all__ = ["Evaluation", "Steps", "at"]

Array = Any
#: What the index variables of an equation are: ``{"t": 3, "k": 1}``.
Steps = Mapping[str, int]


class Evaluation:
    """Evaluates trees.

    Parameters
    ----------
    steps : mapping
        Time axis → number of steps.
    sizes : mapping
        Dim → size.
    look : callable
        (name, index variables) → value; a Jacobian ∂a/∂b is asked for like a name.
    ascending : bool
        Whether factors of a product over time stand in the order of their index.
    diagonals : bool
        Whether φ′(a), or another vector that does not fit a product, stands for its diagonal.
    heads : int
        The number of heads, which arrays then have as their first axis; 0 for none.
    matrices : bool
        Whether the definition has matrices for every sequence: code then is that of one sequence,
        and sums in it are over entries, elsewhere over the batch.
    """

    def __init__(
        self,
        steps: Mapping[str, int],
        sizes: Mapping[str, int],
        look: Callable[[Quantity | Applied, Steps], Array],
        *,
        ascending: bool = False,
        diagonals: bool = False,
        heads: int = 0,
        matrices: bool = False,
    ) -> None:
        self.steps, self.sizes, self.look, self.ascending = steps, sizes, look, ascending
        self.diagonals, self.heads, self.matrices = diagonals, heads, matrices

    def __call__(self, node: Node, t: Steps) -> Array:
        """The value of a tree at a time.

        Raises
        ------
        NotEvaluated
            Shapes that do not fit, a function that is not known.
        """
        if isinstance(node, Constant):
            return np.array([[node.value]], dtype=object)
        if isinstance(node, Quantity):
            return self._name(node, t)
        if node.op == "jacobian":
            return self.look(node, t)
        if node.op in ("time sum", "time product"):
            return self._over_time(node, t)
        if node.op == "add" and any(_identity(a) for a in node.args):
            return self._with_identity(node, t)
        args = [self(a, t) for a in node.args]
        if node.op == "product" and self.diagonals:
            return functools.reduce(
                _with_diagonals,
                [_diagonal(v) if _slope(a) and 1 in v.shape[-2:] else v
                 for v, a in zip(args, node.args, strict=True)],
            )  # fmt: skip
        if node.op in ("times", "divide") and any(_shaped(a) for a in node.args):
            return np.multiply(*args) if node.op == "times" else np.divide(*args)
        if node.op == "product" and node.data == "code":
            return _numpy_product(*args)
        if node.op in _OPERATIONS:
            return functools.reduce(_OPERATIONS[node.op], args)
        if node.op in _FUNCTIONS:
            return _FUNCTIONS[node.op](*args)
        return self._of_one(node, args[0], t)

    def _of_one(self, node: Applied, held: Array, t: Steps) -> Array:
        """An operation on one value."""
        if node.op == "neg":
            return -held
        if node.op == "transpose":
            return turned(held)
        if node.op == "power" and isinstance(node.data, Fraction) and node.data.denominator == 1:
            return held ** int(node.data)
        if node.op == "superscript":
            return self._raised(held, node.data, t)
        if node.op == "diag":
            return _diagonal(held)
        if node.op == "vec":
            return vec(held)
        if node.op == "unvec" and isinstance(node.data, tuple):
            rows, columns = (self._size(b) for b in node.data)
            if math.prod(held.shape[-2:]) != rows * columns:
                raise NotEvaluated(f"{held.size} entries do not make {rows} × {columns}")
            return turned(held.reshape(*held.shape[:-2], columns, rows))
        if node.op in ("slice", "pad") and isinstance(node.data, tuple):
            start, stop = (self._size(b) for b in node.data)
            return held[..., start:stop, :] if node.op == "slice" else _padded(held, start, stop)
        if node.op == "entry sum":
            return _entry_sum(held, node.data, self.matrices)
        if node.op == "head sum":
            shared = held.ndim < 3 or len(held) != self.heads
            return held * self.heads if shared else held.sum(axis=0, keepdims=True)
        return _function(node.op, held)

    def _with_identity(self, node: Applied, t: Steps) -> Array:
        """A sum in which I is the identity matrix of the size that fits."""
        others = [self(a, t) for a in node.args if not _identity(a)]
        like = functools.reduce(_add, others) if others else np.zeros((1, 2))
        if like.shape[-1] != like.shape[-2]:
            raise NotEvaluated("the size of I is not told: I_n")
        signs = sum(-1 if isinstance(a, Applied) else 1 for a in node.args if _identity(a))
        return like + signs * np.eye(like.shape[-1], dtype=int)

    def _over_time(self, node: Applied, t: Steps) -> Array:
        """A sum or a product over an index variable, empty ones included."""
        assert isinstance(node.data, tuple)
        letter, lower, upper = node.data
        last = max(self.steps.values())
        first = 1 if lower is None else at(lower, t, self.steps)
        until = last if upper is None else at(upper, t, self.steps)
        # A sum that binds no letter of its own is over t.
        values = [self(node.args[0], {**t, letter or "t": k}) for k in range(first, until + 1)]
        if not values:
            like = 0 * self(node.args[0], {**t, letter or "t": max(1, min(first, last))})
            if node.op == "time sum":
                return like
            return like + np.eye(like.shape[-2], dtype=int) if like.shape[-2] > 1 else like + 1
        if node.op == "time sum":
            return functools.reduce(_add, values)
        return functools.reduce(_product, values if self.ascending else values[::-1])

    def _raised(self, held: Array, exponent: object, t: Steps) -> Array:
        """A power; of a square matrix the power of the matrix."""
        n = int(exponent) if isinstance(exponent, Fraction) else None
        if isinstance(exponent, Time):
            n = at(exponent, t, self.steps)
        if n is None:
            raise NotEvaluated(f"the exponent {exponent}")
        if held.shape[-2] != held.shape[-1] or _number(held):
            return held**n
        one = 0 * held + np.eye(held.shape[-1], dtype=int)
        if n < 0:
            held = solve(held, one)
        return functools.reduce(np.matmul, [held] * abs(n), one)

    def _name(self, node: Quantity, t: Steps) -> Array:
        head, _, dim = node.name.partition("_")
        if (
            head in ("I", "ones", "zeros")
            and dim
            and all(n in self.sizes for n in re.findall("[a-z]+", dim))
        ):
            n = self._size(dim)
            column = np.full((n, 1), 1 if head == "ones" else 0)
            return (np.eye(n, dtype=int) if head == "I" else column).astype(object)
        for numbers in (self.sizes, self.steps):
            if node.name in numbers and not node.adjoint and node.time is None:
                return np.array([[numbers[node.name]]], dtype=object)
        return self.look(node, t)

    def _size(self, text: str) -> int:
        """A bound such as ``0``, ``p``, ``2p``, ``p+q``, ``p·q``."""
        plain = re.sub(r"_\{([^{}]*)\}", r"_\1", text).replace(" ", "").replace("−", "-")
        total = 0
        for sign, part in re.findall(r"([+-]?)([^+-]+)", plain):
            size = -1 if sign == "-" else 1
            for factor in re.findall(r"\d+|[^\W\d]\w*|[^\w·*]", part):
                if not factor.isdigit() and factor not in self.sizes:
                    raise NotEvaluated(f"the size {text!r}")
                size *= int(factor) if factor.isdigit() else self.sizes[factor]
            total += size
        return total


def _number(held: Array) -> bool:
    """Whether it is one number, of each head where there are heads."""
    return held.shape[-2:] == (1, 1)


def _diagonal(held: Array) -> Array:
    if 1 not in held.shape[-2:]:
        raise NotEvaluated("diag of something that is no vector")
    flat = held.reshape(*held.shape[:-2], -1)
    n = flat.shape[-1]
    out = np.full((*flat.shape, n), 0 * flat.flat[0], dtype=object)
    out[..., np.arange(n), np.arange(n)] = flat
    return out


def _padded(held: Array, start: int, rows: int) -> Array:
    out = np.full((*held.shape[:-2], rows, held.shape[-1]), 0 * held.flat[0], dtype=object)
    out[..., start : start + held.shape[-2], :] = held
    return out


def at(time: Time | None, t: Steps, steps: Mapping[str, int]) -> int:
    """The step that an index means; a name without one is at t."""
    if time is None:
        return t["t"]
    known = {"": 0, **steps, **t}
    if time.anchor not in known:
        raise NotEvaluated(f"the time index {time.anchor!r}")
    return known[time.anchor] + time.offset


def _scales(a: Array, b: Array) -> bool:
    """Whether a is a number, or a vector with an entry for each row or column of a matrix b."""
    (m, n), (r, s) = a.shape[-2:], b.shape[-2:]
    return m == n == 1 or (1 not in (r, s) and (m, n) in ((r, 1), (1, s)))


def _broadcast(function: Callable[[Array, Array], Array]) -> Callable[[Array, Array], Array]:
    def apply(a: Array, b: Array) -> Array:
        if not (a.shape[-2:] == b.shape[-2:] or _scales(a, b) or _scales(b, a)):
            raise NotEvaluated(
                f"shapes {a.shape} and {b.shape} do not fit an elementwise operation"
            )
        return function(a, b)

    return apply


def _product(a: Array, b: Array) -> Array:
    if _number(a) or _number(b):
        return a * b
    if a.shape[-1] == b.shape[-2]:
        return np.matmul(a, b)
    if a.shape[-2:] == b.shape[-2:]:
        return a * b  # vectors side by side: what notes mean by it is ⊙
    raise NotEvaluated(f"shapes {a.shape} and {b.shape} do not fit a product")


def _identity(node: Node) -> bool:
    """I or −I without a size."""
    if isinstance(node, Applied) and node.op == "neg":
        return _identity(node.args[0])
    return node == Quantity("I")


def _shaped(node: Node) -> bool:
    """Whether code made it a column or a row, so that NumPy's broadcasting is meant."""
    return isinstance(node, Applied) and node.op in ("column", "row")


def _numpy_product(a: Array, b: Array) -> Array:
    """What ``@`` is for vectors of one axis, which are columns or rows here."""
    if 1 in a.shape[-2:] and 1 in b.shape[-2:] and a.shape == b.shape and not _number(a):
        return _inner(a, b)
    if a.shape[-1] == 1 < b.shape[-1] and a.shape[-2] == b.shape[-2] > 1:
        return turned(np.matmul(turned(a), b))
    if b.shape[-2] == 1 < a.shape[-2] and b.shape[-1] == a.shape[-1] > 1:
        return turned(np.matmul(a, turned(b)))
    return _product(a, b)


def _inner(a: Array, b: Array) -> Array:
    """Σ of the products of all entries."""
    if a.shape[-2:] != b.shape[-2:]:
        raise NotEvaluated(f"shapes {a.shape[-2:]} and {b.shape[-2:]} do not fit an inner product")
    return (a * b).sum(axis=(-2, -1), keepdims=True)


def _outer(a: Array, b: Array) -> Array:
    if 1 not in a.shape[-2:] or 1 not in b.shape[-2:]:
        raise NotEvaluated("an outer product of something that is no vector")
    return np.matmul(vec(a), turned(vec(b)))


def _trace(a: Array) -> Array:
    if a.shape[-1] != a.shape[-2]:
        raise NotEvaluated(f"a trace of {a.shape[-2]} × {a.shape[-1]}")
    return np.asarray(np.trace(a, axis1=-2, axis2=-1))[..., None, None]


def _entry_sum(a: Array, data: object, matrices: bool) -> Array:
    """NumPy's sum of a value of one sequence; over the batch, of one, without matrices."""
    if not matrices:
        return a
    assert isinstance(data, tuple)
    axis, kept = data
    if axis is None or 1 in a.shape[-2:]:
        return a.sum(axis=(-2, -1), keepdims=True)
    found = a.sum(axis=-2 if axis in (0, -2) else -1, keepdims=True)
    return found if kept else vec(found)


def _slope(node: Node) -> bool:
    return isinstance(node, Applied) and node.op.endswith("'")


def _with_diagonals(a: Array, b: Array) -> Array:
    if a.shape[-1] == 1 and b.shape[-2] == a.shape[-2] > 1 and b.shape[-1] > 1:
        a = _diagonal(a)
    return _product(a, b)


_FUNCTIONS: dict[str, Callable[..., Array]] = {
    "abs": numeric.absolute,
    "softmax": numeric.softmax,
    "log_softmax": numeric.log_softmax,
    "cross_entropy": numeric.cross_entropy,
    "CE": numeric.cross_entropy,
    "max": numeric.maximum,
    "sign": lambda x: 2 * numeric.greater(x, np.zeros_like(x)) - 1,
    "where": numeric.where,
    "dot": _inner,
    "inner": _inner,
    "outer": _outer,
    "trace": _trace,
    "column": vec,
    "row": lambda x: turned(vec(x)),
    "sum": numeric.unit_sum,
    "frozen": lambda x: x,
    "surrogate": lambda value, slope, x: value,
    "solve": solve,
}


def _kron(a: Array, b: Array) -> Array:
    (m, n), (r, s) = a.shape[-2:], b.shape[-2:]
    made = a[..., :, None, :, None] * b[..., None, :, None, :]
    return made.reshape(*made.shape[:-4], m * r, n * s)


_add = _broadcast(np.add)
_OPERATIONS: dict[str, Callable[[Array, Array], Array]] = {
    "add": _add,
    "times": _broadcast(np.multiply),
    "divide": _broadcast(np.divide),
    "product": _product,
    "kron": _kron,
    "greater": numeric.greater,
    "concat": lambda a, b: np.concatenate([a, b], axis=-2),
}


def _function(name: str, x: Array) -> Array:
    base = name.rstrip("'")
    if base not in ELEMENTWISE or len(name) - len(base) > 1:
        raise NotEvaluated(f"the function {name!r} is not known")
    known = ELEMENTWISE[base]
    y = known.on_arrays(x)
    if base == name:
        return y

    def call(n: str, v: Any) -> Any:
        return branches(n, v) if n in ("abs", "positive_bit") else getattr(v, n)()

    def slope(a: Any, b: Any) -> Any:
        return evaluate_formula(known.slope, Arithmetic({"x": a, "y": b}, call))

    return np.asarray(np.frompyfunc(slope, 2, 1)(x, y), dtype=object)
