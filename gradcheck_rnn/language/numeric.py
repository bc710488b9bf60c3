"""The primitives on arrays of any dtype: float32, float64, longdouble, complex, and objects.

Vectors are ``(…, n, B)``: units on axis −2, batch on axis −1, leading axes are stacked
perturbations. Complex input branches on the real part, so that the complex step sees the branch
the real function takes. Objects (mpmath numbers, exact field elements, tracing scalars) use their
own methods, then mpmath.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from fractions import Fraction
from typing import Any

import numpy as np

from ..errors import UnsupportedOperation
from .dims import sequences_in_front
from .linear_systems import solve

__all__ = [
    "BRANCHES", "ELEMENTWISE", "RUN", "UNIT_MAPS", "branch_watcher", "frozen", "holding_frozen",
    "recording_frozen",
]  # fmt: skip

Array = np.ndarray[Any, Any]


def constant(value: Any, like: Array) -> Any:
    """A constant in the type of a run on objects: mpmath numbers do not divide fractions.

    A float becomes the decimal that it prints as, as in a derivation (0.1 is 1/10).
    """
    sample = like.flat[0] if like.size else 0
    if hasattr(sample, "_mpf_") or hasattr(sample, "_mpc_"):
        if isinstance(value, float) and np.isfinite(value):
            value = Fraction(repr(float(value)))
        if isinstance(value, Fraction):
            return type(sample)(value.numerator) / value.denominator
    return value


#: Elementwise functions by name; each keeps the dtype of its input. Entered by `ops.elementwise`
#: for those of the language, by `primitives.elementwise` for those of users.
ELEMENTWISE: dict[str, Callable[[Any], Array]] = {}
#: Linear maps of units by name; entered by `ops.unit_maps`.
UNIT_MAPS: dict[str, Callable[[Array], Array]] = {}


def _object_binary(function: Callable[[Any, Any], Any]) -> Callable[[Array, Array], Array]:
    loop = np.frompyfunc(function, 2, 1)
    return lambda a, b: np.asarray(loop(a, b), dtype=object)


def _bit(a: Any, b: Any) -> Any:
    decide = getattr(a - b, "positive_bit", None)
    if decide is not None:
        return decide()
    return 1 if getattr(a, "real", a) > getattr(b, "real", b) else 0


_greater_objects = _object_binary(_bit)


def greater(a: Array, b: Array) -> Array:
    """Indicator [a > b] as 0 and 1; on ties it is 0."""
    if a.dtype == object or b.dtype == object:
        return _greater_objects(a, b)
    return (a.real > b.real).astype(np.result_type(a.real, b.real))


def where(condition: Array, a: Array, b: Array) -> Array:
    """``a`` where the condition is not 0, else ``b``; objects choose by multiplication."""
    if condition.dtype == object:
        return condition * a + (1 - condition) * b
    return np.where(condition.real != 0, a, b)


def maximum(a: Array, b: Array) -> Array:
    """The larger entry; on ties the second, and so does its derivative."""
    return where(greater(a, b), a, b)


def absolute(x: Array) -> Array:
    """|x|, branching on the real part; its derivative at 0 is taken as 0."""
    if x.dtype == object:
        return where(greater(x, np.zeros_like(x)), x, -x)
    return np.sign(x.real) * x


def unit_sum(x: Array) -> Array:
    """Sum over units, axis −2, which is kept with length 1; of a matrix over all its entries."""
    return x.sum(axis=(-2, -1) if sequences_in_front.get() else -2, keepdims=True)


def dot(a: Array, b: Array) -> Array:
    """Σ a ⊙ b over units."""
    return unit_sum(a * b)


def matmul(a: Array, b: Array) -> Array:
    """Matrix product of the last two axes; leading axes broadcast."""
    return np.matmul(a, b)


def _shifted(x: Array) -> Array:
    return x if x.dtype == object else x - x.real.max(axis=-2, keepdims=True)


def softmax(x: Array) -> Array:
    """Softmax over units, shifted by the maximum (objects are exact or wide enough without)."""
    weights = ELEMENTWISE["exp"](_shifted(x))
    return weights / unit_sum(weights)


def log_softmax(x: Array) -> Array:
    """x − log Σ exp x over units, shifted by the maximum."""
    shifted = _shifted(x)
    return shifted - ELEMENTWISE["log"](unit_sum(ELEMENTWISE["exp"](shifted)))


def cross_entropy(y: Array, target: Array) -> Array:
    """−Σ target ⊙ log softmax(y) over units."""
    return -dot(target, log_softmax(y))


def concat(*parts: Array) -> Array:
    """Stack along units; parameters without the batch or the stack axes are repeated."""
    lead = np.broadcast_shapes(*(p.shape[:-2] for p in parts))
    cols = max(p.shape[-1] for p in parts)
    return np.concatenate([np.broadcast_to(p, (*lead, p.shape[-2], cols)) for p in parts], axis=-2)


def transpose(x: Array) -> Array:
    """The last two axes exchanged."""
    return x.swapaxes(-1, -2)


def declared(value: Array, slope: Array, x: Array) -> Array:
    """``value``, which moves with ``x`` by ``slope``: both are held where a tape runs."""
    value, slope, held = frozen(value), frozen(slope), frozen(x)
    if x.dtype.kind == "c":  # a comparison is real
        value = value.astype(x.dtype)
    return value if _tape.get() is None else value + slope * (x - held)


def vec(x: Array) -> Array:
    """The columns of a matrix below each other, from left to right."""
    return np.swapaxes(x, -1, -2).reshape(*x.shape[:-2], -1, 1)


def unvec(x: Array, rows: int, cols: int) -> Array:
    """A column filled into a matrix column by column."""
    return np.swapaxes(x.reshape(*x.shape[:-2], cols, rows), -1, -2)


class _Tape:
    """Values of ``frozen`` expressions in the order in which a base run met them."""

    def __init__(self) -> None:
        self.values: list[Array] = []
        self.recording = True
        self.cursor = 0

    def pass_value(self, x: Array) -> Array:
        if self.recording:
            self.values.append(np.array(x))
            return x
        if self.cursor >= len(self.values):
            raise UnsupportedOperation(
                "frozen: this run meets more frozen values than its base run"
            )
        value = self.values[self.cursor]
        self.cursor += 1
        return value


_tape: ContextVar[_Tape | None] = ContextVar("frozen_tape", default=None)


def frozen(x: Array) -> Array:
    """``x`` itself, recorded or held when a tape runs (see `recording_frozen`)."""
    tape = _tape.get()
    return x if tape is None else tape.pass_value(x)


@contextmanager
def recording_frozen() -> Iterator[_Tape]:
    """Record every ``frozen`` value met inside the block; gives the tape to hold later runs by."""
    tape = _Tape()
    token = _tape.set(tape)
    try:
        yield tape
    finally:
        _tape.reset(token)
        tape.recording = False


@contextmanager
def holding_frozen(tape: _Tape) -> Iterator[None]:
    """Inside the block every ``frozen`` expression has the value it had in the base run."""
    tape.cursor = 0
    token = _tape.set(tape)
    try:
        yield
    finally:
        _tape.reset(token)


def without_slope(x: Array, value: Array, at: float = 0.0, *, ends: bool = True) -> Array:
    """A function's value at x, not a number where the complex step would take a branch for a slope.

    The function has no derivative where x is ``at``, and, where it ``ends`` there, no value below.
    """
    if value.dtype.kind != "c" or (x.real > at).all():
        return value
    lost = (x.real == at) & (x.imag != 0)
    return np.where(lost | (x.real < at) if ends else lost, complex(np.nan, np.nan), value)


def divide(a: Any, b: Any) -> Any:
    """The elementwise quotient."""
    value = a / b
    return without_slope(b, value, ends=False) if np.iscomplexobj(b) else value


def _pow(x: Any, exponent: int | float | Fraction) -> Any:
    if x.dtype == object:
        return x**exponent
    value = x ** (float(exponent) if isinstance(exponent, Fraction) else exponent)
    whole = exponent == int(exponent)
    return value if whole and exponent >= 0 else without_slope(x, value, ends=not whole)


def _slice(x: Any, start: int, stop: int) -> Any:
    if not 0 <= start <= stop <= x.shape[-2]:
        raise ValueError(f"slice [{start}:{stop}] of {x.shape[-2]} units")
    return x[..., start:stop, :]


def sum_heads(x: Array) -> Array:
    """Sum over heads, axis −3, which is kept with length 1."""
    return np.asarray(x.sum(axis=-3, keepdims=True))


def split_heads(x: Array, heads: int, units: int) -> Array:
    """The units of every head from a vector of all of them."""
    if x.shape[-3:] != (1, heads * units, 1):
        raise ValueError(f"{x.shape[-2]} units are not {units} of each of {heads} heads")
    return x.reshape(*x.shape[:-3], heads, units, 1)


def merge_heads(x: Array) -> Array:
    """One vector of the units of all heads."""
    return x.reshape(*x.shape[:-3], 1, x.shape[-3] * x.shape[-2], 1)


#: Operations that may take another side for other numbers, and what is told of each of them in a
#: run: the operation, its result, its operands, and the function that it applies.
BRANCHES = frozenset({"maximum", "greater", "where", "abs", "apply"})
branch_watcher: ContextVar[Callable[..., None] | None] = ContextVar("branch_watcher", default=None)

#: Every operation of the language on arrays, by name.
RUN: dict[str, Callable[..., Any]] = {
    "add": lambda a, b: a + b,
    "neg": lambda a: -a,
    "mul": lambda a, b: a * b,
    "div": divide,
    "matmul": matmul,
    "pow": _pow,
    "abs": absolute,
    "transpose": transpose,
    "vec": vec,
    "unvec": unvec,
    "apply": lambda a, function: _function(function)(a),
    "maximum": maximum,
    "greater": greater,
    "where": where,
    "sum": unit_sum,
    "sum_heads": sum_heads,
    "split_heads": split_heads,
    "merge_heads": merge_heads,
    "mean": lambda a: (
        unit_sum(a) / (a.shape[-2] * (a.shape[-1] if sequences_in_front.get() else 1))
    ),
    "dot": dot,
    "concat": concat,
    "slice": _slice,
    "softmax": softmax,
    "log_softmax": log_softmax,
    "cross_entropy": cross_entropy,
    "frozen": frozen,
    "surrogate": declared,
    "solve": solve,
    "unit_map": lambda a, function: UNIT_MAPS[function](a),
}


def _function(name: str) -> Callable[[Any], Any]:
    try:
        return ELEMENTWISE[name]
    except KeyError:
        raise UnsupportedOperation(
            f"unknown elementwise function {name!r}; make one with elementwise(name, expression)"
        ) from None
