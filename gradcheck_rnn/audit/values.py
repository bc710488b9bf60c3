"""Evaluation of written equations with the values of names."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from ..language import numeric
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
    """

    def __init__(
        self,
        steps: Mapping[str, int],
        sizes: Mapping[str, int],
        look: Callable[[Quantity | Applied, Steps], Array],
        *,
        ascending: bool = False,
        diagonals: bool = False,
    ) -> None:
        self.steps, self.sizes, self.look, self.ascending = steps, sizes, look, ascending
        self.diagonals = diagonals

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
        args = [self(a, t) for a in node.args]
        if node.op == "product" and self.diagonals:
            return functools.reduce(
                _with_diagonals,
                [_diagonal(v) if _slope(a) and 1 in v.shape else v
                 for v, a in zip(args, node.args, strict=True)],
            )  # fmt: skip
        if node.op in _OPERATIONS:
            return functools.reduce(_OPERATIONS[node.op], args)
        if node.op in _FUNCTIONS:
            return _FUNCTIONS[node.op](*args)
        (held,) = args
        if node.op == "neg":
            return -held
        if node.op == "transpose":
            return held.T
        if node.op == "power" and isinstance(node.data, Fraction) and node.data.denominator == 1:
            return held ** int(node.data)
        if node.op == "superscript":
            return self._raised(held, node.data, t)
        if node.op == "diag":
            return _diagonal(held)
        if node.op == "vec":
            return held.reshape(-1, 1, order="F")
        if node.op == "unvec" and isinstance(node.data, tuple):
            rows, columns = (self._size(b) for b in node.data)
            if held.size != rows * columns:
                raise NotEvaluated(f"{held.size} entries do not make {rows} × {columns}")
            return held.reshape(rows, columns, order="F")
        if node.op in ("slice", "pad") and isinstance(node.data, tuple):
            start, stop = (self._size(b) for b in node.data)
            return held[start:stop] if node.op == "slice" else _padded(held, start, stop)
        return _function(node.op, held)

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
            return like + np.eye(len(like), dtype=int) if like.shape[0] > 1 else like + 1
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
        if held.shape[0] != held.shape[1] or held.size == 1:
            return held**n
        if n < 0:
            raise NotEvaluated("a negative power of a matrix")
        one = 0 * held + np.eye(len(held), dtype=int)
        return functools.reduce(np.matmul, [held] * n, one)

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
        """A bound such as ``0``, ``p``, ``2p``, ``p+q``."""
        total = 0
        for part in (
            re.sub(r"_\{([^{}]*)\}", r"_\1", text)
            .replace("·", "")
            .replace("*", "")
            .replace(" ", "")
            .split("+")
        ):
            m = re.fullmatch(r"(\d*)([^\W\d]\w*)?", part)
            if not m or (m.group(2) and m.group(2) not in self.sizes):
                raise NotEvaluated(f"the size {text!r}")
            total += int(m.group(1) or 1) * (self.sizes[m.group(2)] if m.group(2) else 1)
        return total


def _diagonal(held: Array) -> Array:
    if 1 not in held.shape:
        raise NotEvaluated("diag of something that is no vector")
    flat = held.ravel()
    out = np.full((flat.size, flat.size), 0 * flat[0], dtype=object)
    out[np.arange(flat.size), np.arange(flat.size)] = flat
    return out


def _padded(held: Array, start: int, rows: int) -> Array:
    out = np.full((rows, held.shape[1]), 0 * held.flat[0], dtype=object)
    out[start : start + len(held)] = held
    return out


def at(time: Time | None, t: Steps, steps: Mapping[str, int]) -> int:
    """The step that an index means; a name without one is at t."""
    if time is None:
        return t["t"]
    known = {"": 0, **steps, **t}
    if time.anchor not in known:
        raise NotEvaluated(f"the time index {time.anchor!r}")
    return known[time.anchor] + time.offset


def _broadcast(function: Callable[[Array, Array], Array]) -> Callable[[Array, Array], Array]:
    def apply(a: Array, b: Array) -> Array:
        if a.shape != b.shape and a.size > 1 and b.size > 1:
            raise NotEvaluated(
                f"shapes {a.shape} and {b.shape} do not fit an elementwise operation"
            )
        return function(a, b)

    return apply


def _product(a: Array, b: Array) -> Array:
    if a.size == 1 or b.size == 1:
        return a * b
    if a.shape[1] == b.shape[0]:
        return np.matmul(a, b)
    if a.shape == b.shape:
        return a * b  # vectors side by side: what notes mean by it is ⊙
    raise NotEvaluated(f"shapes {a.shape} and {b.shape} do not fit a product")


def _slope(node: Node) -> bool:
    return isinstance(node, Applied) and node.op.endswith("'")


def _with_diagonals(a: Array, b: Array) -> Array:
    if a.shape[1] == 1 and b.shape[0] == a.shape[0] > 1 and b.shape[1] > 1:
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
    "dot": numeric.dot,
    "sum": numeric.unit_sum,
    "frozen": lambda x: x,
}
_add = _broadcast(np.add)
_OPERATIONS: dict[str, Callable[[Array, Array], Array]] = {
    "add": _add,
    "times": _broadcast(np.multiply),
    "divide": _broadcast(np.divide),
    "product": _product,
    "kron": lambda a, b: np.kron(a, b),
    "greater": numeric.greater,
    "concat": lambda a, b: np.concatenate([a, b]),
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
