"""The complex step: Im f(x + ih)/h has no cancellation, provided that f is analytic.

That is checked, not assumed (Squire & Trapp 1998 give the formula, Martins et al. 2003 the traps):
an array that watches the operations applied to it records those that are not analytic, a warning
about a discarded imaginary part refuses the step, the real part must equal f(x), and the result
must lie within the error of a central difference.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .differences import Estimate
from .noise import Noise

__all__ = ["ComplexStep", "Seen", "WatchedArray", "complex_step", "operations_not_analytic"]

_NOT_ANALYTIC_UFUNCS = {"absolute", "conjugate", "sign", "hypot", "arctan2", "fmod", "floor"}
#: Analytic on either side of a tie, of which complex numbers take the side of their imaginary part.
_CHOICES = {
    "maximum", "minimum", "fmax", "fmin", "greater", "less", "greater_equal", "less_equal",
}  # fmt: skip
_NOT_ANALYTIC_FUNCTIONS = {"vdot", "angle", "imag", "real_if_close", "norm", "vecdot"}
#: Of a real part: what chooses between analytic branches, or tells of a number that it is none.
_COMPARISONS = {"greater", "less", "greater_equal", "less_equal", "equal", "not_equal", "sign",
                "signbit", "heaviside"}  # fmt: skip
_TESTS = {"isfinite", "isnan", "isinf"}


#: Of the extrema over an axis: a tie between the largest entries is one.
_EXTREMA = {"maximum", "minimum", "fmax", "fmin"}
#: Relative distance of the other point at which ties are looked at again.
BESIDE = 2.0**-10


class Seen(set[str]):
    """Names of the operations that are not analytic; `operations` counts all that were applied.

    `ties` are choices between equal values: how many operations came before, which, and where.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0
        self.ties: list[tuple[int, str, NDArray[np.bool_]]] = []

    def chose(self, name: str, equal: Any) -> None:
        """Note where an operation chooses between equal values."""
        if np.any(equal):
            self.ties.append((self.operations, name, np.asarray(equal)))


class WatchedArray(np.ndarray):
    """A complex array that notes operations that are not complex differentiable.

    It sees ufuncs, NumPy functions and the attributes `.real` and `.imag`; code that calls
    `np.asarray` leaves its sight, and is then held by the other checks alone.
    """

    seen: Seen

    def __array_finalize__(self, obj: Any) -> None:
        self.seen = getattr(obj, "seen", None) or Seen()
        if isinstance(obj, WatchedArray):
            self.seen = obj.seen

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        seen = next(
            x.seen for x in (*inputs, *kwargs.get("out", ())) if isinstance(x, WatchedArray)
        )
        seen.operations += 1
        if ufunc.__name__ in _NOT_ANALYTIC_UFUNCS and any(np.iscomplexobj(x) for x in inputs):
            seen.add(ufunc.__name__)
        plain = [_plain(x) for x in inputs]
        if ufunc.__name__ in _CHOICES and len(plain) == 2 and method == "__call__":
            seen.chose(ufunc.__name__, plain[0] == plain[1])
        out = kwargs.get("out")
        if out is not None:
            kwargs["out"] = tuple(_plain(x) for x in out)
        result = getattr(ufunc, method)(*plain, **kwargs)
        if ufunc.__name__ in _EXTREMA and method == "reduce":
            axis = kwargs.get("axis", 0)
            kept = (
                result if kwargs.get("keepdims") or axis is None else np.expand_dims(result, axis)
            )
            seen.chose(ufunc.__name__, np.sum(plain[0] == kept, axis=axis) > 1)
        if out is not None:
            return out[0] if len(out) == 1 else out
        return _rewatch(result, seen)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if func.__name__ == "real" and args and isinstance(args[0], WatchedArray):
            return args[0].real
        if func.__name__ in _NOT_ANALYTIC_FUNCTIONS:
            self.seen.add(func.__name__)
        # What is made of several arrays (concatenate, stack) does not know which of them to ask.
        return _rewatch(super().__array_function__(func, types, args, kwargs), self.seen)

    def __getattribute__(self, name: str) -> Any:
        if name == "imag":
            object.__getattribute__(self, "seen").add(name)
            return getattr(_plain(self), name)
        if name == "real":
            part = _plain(self).real.view(WatchedReal)
            part.seen = object.__getattribute__(self, "seen")
            return part
        return super().__getattribute__(name)


class WatchedReal(np.ndarray):
    """The real part of a watched array, which may choose between branches and nothing else.

    ``np.where(x.real > 0, a, b)`` is analytic on either side of the tie; a value computed from the
    real part has lost its derivative.
    """

    seen: Seen

    def __array_finalize__(self, obj: Any) -> None:
        self.seen = getattr(obj, "seen", None) or Seen()
        if isinstance(obj, WatchedArray | WatchedReal):
            self.seen = obj.seen

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        seen = next(x.seen for x in inputs if isinstance(x, WatchedReal))
        plain = [_plain(x) for x in inputs]
        name = ufunc.__name__
        if name in _COMPARISONS and method == "__call__":
            other = plain[1] if len(plain) == 2 else 0.0
            seen.chose(name, plain[0] == other)
        elif name not in _TESTS and any(x.size for x in plain if isinstance(x, np.ndarray)):
            seen.add("real")
        return getattr(ufunc, method)(*plain, **kwargs)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if func.__name__ not in ("where", "shape", "ndim", "size", "isrealobj", "iscomplexobj"):
            self.seen.add("real")
        return super().__array_function__(func, types, args, kwargs)

    def __bool__(self) -> bool:
        self.seen.add("real")
        return bool(_plain(self))

    def __float__(self) -> float:
        self.seen.add("real")
        return float(_plain(self))


def _plain(x: Any) -> Any:
    return x.view(np.ndarray) if isinstance(x, WatchedArray | WatchedReal) else x


def _rewatch(result: Any, seen: Seen) -> Any:
    if isinstance(result, tuple) and not hasattr(result, "_fields"):
        return tuple(_rewatch(r, seen) for r in result)
    if isinstance(result, list):
        return [_rewatch(r, seen) for r in result]
    if isinstance(result, np.ndarray | np.generic) and np.iscomplexobj(result):
        watched = np.asarray(result).view(WatchedArray)
        watched.seen = seen
        return watched
    return result


def operations_not_analytic(
    evaluate: Callable[[Sequence[NDArray[Any]]], Any], leaves: list[NDArray[Any]]
) -> Seen:
    """Names of the operations in `evaluate` that are not analytic, as far as can be watched.

    A choice between values that are equal at another point nearby too (the diagonal of a mask, a
    difference of a number and itself) is none that a derivative depends on.
    """
    seen = _watched(evaluate, leaves)
    if seen.ties:
        rng = np.random.default_rng(5)
        beside = [
            x * (1 + BESIDE * rng.uniform(0.5, 1.0, size=x.shape))
            + BESIDE * rng.uniform(-1.0, 1.0, size=x.shape) * (x == 0)
            for x in leaves
        ]
        try:
            other = _watched(evaluate, beside).ties
        except Exception:  # what it cannot do there is no evidence
            other = []
        lasting = {(at, name, where.shape): where for at, name, where in other}
        for at, name, where in seen.ties:
            if not np.all(
                where <= lasting.get((at, name, where.shape), np.zeros(where.shape, bool))
            ):
                seen.add(f"{name} at a tie")
    return seen


def _watched(evaluate: Callable[[Sequence[NDArray[Any]]], Any], leaves: list[NDArray[Any]]) -> Seen:
    seen = Seen()
    watched = []
    for leaf in leaves:
        array = leaf.astype(np.complex128).view(WatchedArray)
        array.seen = seen
        watched.append(array)
    evaluate(watched)
    return seen


@dataclass(frozen=True)
class ComplexStep:
    """Derivative by the complex step, or the reason why there is none.

    `estimate` is None where the step is refused; `reason` then says why in one phrase.
    """

    estimate: Estimate | None
    reason: str = ""


def complex_step(
    phi: Callable[[complex], Any],
    centre: float,
    noise: Noise,
    reference: Estimate,
    *,
    scale: float = 1.0,
    step: float | None = None,
) -> ComplexStep:
    """Derivative of phi at 0 from one complex evaluation, checked against a real estimate.

    Parameters
    ----------
    phi
        Function of a complex number; it must return a complex scalar.
    centre
        phi(0) from a real evaluation.
    noise
        Measured noise of phi.
    reference
        Central-difference estimate of the same derivative; the complex one must agree with it.
    scale
        Size of the argument; the step is 2^-80 of it, so that its square is lost in the real part.

    Returns
    -------
    The step's roundoff is taken as 64 units of the value plus the noise's share of the argument:
    there is no subtraction, so that relative errors stay those of the forward evaluation.
    """
    h = step if step is not None else scale * 2.0**-80
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("error", np.exceptions.ComplexWarning)
        try:
            raw = phi(1j * h)
        except np.exceptions.ComplexWarning:
            return ComplexStep(None, "it discards imaginary parts")
        except Exception as raised:  # the user's code need not support complex numbers at all
            return ComplexStep(None, f"it does not take complex input ({type(raised).__name__})")
    array = np.asarray(raw)
    if array.size != 1 or array.dtype.kind != "c":
        return ComplexStep(None, "its value is not complex for complex input")
    value = complex(array.reshape(()))
    if not (np.isfinite(value.real) and np.isfinite(value.imag)):
        return ComplexStep(None, "its value is not finite for complex input")
    unit = float(np.finfo(np.float64).eps)
    if abs(value.real - centre) > 8 * noise.sigma + 8 * unit * abs(centre):
        return ComplexStep(None, "its real part differs from the value for real input")
    derivative = value.imag / h
    relative = 64 * unit
    if centre != 0:
        relative = max(relative, min(4 * noise.sigma / abs(centre), 1e-6))
    error = relative * abs(derivative)
    if not abs(derivative - reference.value) <= reference.error + error:
        return ComplexStep(None, "it disagrees with central differences: not analytic")
    return ComplexStep(
        Estimate(derivative, 0.0, error, noise.sigma, error, 1, True, "complex step", h)
    )
