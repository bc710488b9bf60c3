"""Rounding of a function by random rounding of its operations: Monte Carlo arithmetic.

Parker, Monte Carlo Arithmetic (1997). A function whose large terms cancel has an error that no
neighbouring point shows: adding 1e8 to a parameter rounds it to the same number at all of them.
Arrays that round every operation at random show it in the spread of a few evaluations.
"""

from __future__ import annotations

import operator
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Counted", "Opposed", "Uniform", "followed", "rounded_at_random", "spread_of_rounding"
]  # fmt: skip

#: Results that are a number among the operands, or exact.
_EXACT = {
    "negative", "positive", "absolute", "fabs", "sign", "maximum", "minimum", "fmax", "fmin",
    "floor", "ceil", "rint", "trunc", "conjugate", "copysign", "heaviside", "ldexp", "clip",
}  # fmt: skip
#: Functions that sum products inside, without the operations of arrays.
_CONTRACTIONS = {"dot", "einsum", "tensordot", "inner", "vdot", "convolve", "correlate", "matvec"}
_IN_PLACE = ("add", "sub", "mul", "truediv", "pow")
#: Of NumPy: what makes plain arrays of those that round, and arrays that results are written into.
_CONVERT = ("array", "asarray", "ascontiguousarray", "asfortranarray")
_MAKE = ("empty", "zeros", "ones", "full")
#: What code in other languages is given of an array.
_HANDED_OUT = ("ctypes", "__array_interface__", "__array_struct__", "__dlpack__")
#: Functions of NumPy are other ones for one call at a time.
_EXCHANGED = threading.RLock()


class Uniform(Protocol):
    """What rounds: uniform numbers, which are taken to whole units in the last place."""

    def uniform(self, low: float, high: float, size: Any) -> Any:
        """Numbers of a shape."""


class Opposed:
    """Every result moves by 1 to 8 units, in random directions, which are opposite for -1 and 1.

    Two values of a function, one of either sign, differ by what rounding does to it, unless by a
    rare chance; of two that are independent, many are equal where one operation alone is rounded.
    """

    def __init__(self, sign: int, signs: np.random.Generator, sizes: np.random.Generator) -> None:
        """Of both signs, ``signs`` must draw the same and ``sizes`` others."""
        self.sign, self.signs, self.sizes = sign, signs, sizes

    def uniform(self, low: float, high: float, size: Any) -> Any:
        """Whole numbers of 1 to 8, with a sign; the bounds are those of a single unit."""
        return self.sign * self.signs.choice([low, high], size) * self.sizes.integers(1, 9, size)


class Counted:
    """Uniform numbers, and whether any operation has asked for one: code in C asks for none.

    `over`: arrays that a function has kept from a call round no more. `inside` a function that is
    `followed`; `left`: there an array was handed to another language, or its results do not round.
    """

    def __init__(self, rng: Uniform) -> None:
        self.rng, self.used, self.over = rng, False, False
        self.inside = self.left = False

    def uniform(self, low: float, high: float, size: Any) -> Any:
        """Numbers of a shape."""
        self.used = True
        return self.rng.uniform(low, high, size)


class RoundedArray(np.ndarray):
    """An array of floating-point or complex numbers that rounds every result at random.

    Every other result moves by a unit in the last place, real and imaginary parts apart; sums and
    products of arrays move what goes into them instead, so that terms that cancel count by their
    own size, and so do products of complex numbers. Sums and differences that are exact stay so.
    """

    rng: Uniform

    def __array_finalize__(self, obj: Any) -> None:
        self.rng = getattr(obj, "rng", None) or np.random.default_rng(0)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        rng, name = self.rng, ufunc.__name__
        plain = [_plain(x) for x in inputs]
        out = kwargs.get("out")
        if out is not None:
            kwargs["out"] = tuple(_plain(x) for x in out)
        summed = method != "__call__" or name == "matmul"
        complexes = name in ("multiply", "divide") and any(np.iscomplexobj(x) for x in plain)
        within = (summed and name not in _EXACT) or complexes
        if within and method in ("__call__", "reduce", "accumulate"):
            plain = [_moved(x, rng) for x in plain]
        result = getattr(ufunc, method)(*plain, **kwargs)
        if isinstance(result, np.ndarray | np.generic) and not within and name not in _EXACT:
            moved = _moved(result, rng)
            if name in ("add", "subtract"):
                moved = _where_inexact(ufunc, plain[0], plain[1], np.asarray(result), moved)
            if out is not None:
                kwargs["out"][0][...] = moved
            result = moved
        if out is not None:
            return out[0] if len(out) == 1 else out
        return _wrap(result, rng)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if func.__name__ in _CONTRACTIONS:
            args = tuple(_moved(_plain(x), self.rng) for x in args)
            return _wrap(func(*args, **kwargs), self.rng)
        return _wrap(super().__array_function__(func, types, args, kwargs), self.rng)

    def __getitem__(self, key: Any) -> Any:
        return _wrap(super().__getitem__(key), self.rng)

    def __iter__(self) -> Iterator[Any]:
        return (self[k] for k in range(len(self)))


def _in_place(name: str) -> Callable[[Any, Any], Any]:
    apply, usual = getattr(operator, name), getattr(np.ndarray, f"__i{name}__")

    def change(self: RoundedArray, other: Any) -> Any:
        # a scalar, which this stands for, is not changed in place
        return apply(self, other) if self.ndim == 0 else usual(self, other)

    return change


for _name in _IN_PLACE:
    setattr(RoundedArray, f"__i{_name}__", _in_place(_name))


def _handed_out(name: str) -> property:
    usual = getattr(np.ndarray, name)

    def get(self: RoundedArray) -> Any:
        if isinstance(self.rng, Counted):
            self.rng.left |= self.rng.inside
        return usual.__get__(self, type(self))

    return property(get)


for _name in _HANDED_OUT:
    setattr(RoundedArray, _name, _handed_out(_name))


def _plain(x: Any) -> Any:
    return x.view(np.ndarray) if isinstance(x, RoundedArray) else x


def _wrap(result: Any, rng: Uniform) -> Any:
    if isinstance(result, tuple) and not hasattr(result, "_fields"):
        return tuple(_wrap(r, rng) for r in result)
    if isinstance(result, list):
        return [_wrap(r, rng) for r in result]
    if isinstance(result, np.ndarray | np.generic) and result.dtype.kind in "fc":
        return rounded_at_random(result, rng)
    return result


def _moved(x: Any, rng: Uniform) -> Any:
    """Numbers half of which move by one unit, as an array; what has no such numbers as it is."""
    if not isinstance(x, np.ndarray | np.generic) or x.dtype.kind not in "fc":
        return x
    if isinstance(rng, Counted) and rng.over:
        return x
    x = np.array(x)
    parts = [x.real, x.imag] if x.dtype.kind == "c" else [x]
    with np.errstate(all="ignore"):
        for part in parts:
            units = np.rint(rng.uniform(-1.0, 1.0, part.shape)).astype(part.dtype)
            exact = (part == 0) | ~np.isfinite(part)  # an infinite unit would make NaN of -inf
            part += np.where(exact, 0, units * np.spacing(np.abs(part)))
    return x


def _where_inexact(ufunc: Any, a: Any, b: Any, total: NDArray[Any], moved: Any) -> Any:
    """Sums as they moved where their rounding error (Knuth's TwoSum) is not zero."""
    a = np.asarray(a)
    b = np.asarray(b) if ufunc.__name__ == "add" else -np.asarray(b)
    with np.errstate(all="ignore"):
        part = total - a
        lost = (a - (total - part)) + (b - part)
    if total.dtype.kind != "c":
        return np.where(lost != 0, moved, total)
    found = np.array(total)
    found.real = np.where(lost.real != 0, moved.real, total.real)
    found.imag = np.where(lost.imag != 0, moved.imag, total.imag)
    return found


def rounded_at_random(x: Any, rng: Uniform) -> Any:
    """The same numbers in an array whose operations round at random."""
    array = np.asarray(x).view(RoundedArray)
    array.rng = rng
    return array


def spread_of_rounding(
    evaluate: Callable[[Sequence[NDArray[Any]]], Any],
    leaves: Sequence[NDArray[Any]],
    rng: Uniform,
    draws: int = 8,
) -> Any:
    """Values of a function of arrays, (draws, …), each with its operations rounded at random.

    None where the function does not take such arrays.
    """
    found = []
    with np.errstate(all="ignore"):
        for _ in range(draws):
            given = [rounded_at_random(x.copy(), rng) if x.dtype.kind in "fc" else x.copy()
                     for x in leaves]  # fmt: skip
            try:
                found.append(_plain(np.asarray(evaluate(given))))
            except Exception:  # code that cannot carry such arrays shows nothing
                return None
    return np.array(found)


def followed(function: Callable[..., Any], rng: Counted) -> Callable[..., Any]:
    """A function that gets arrays that round, and loses none in NumPy's conversions.

    `np.asarray` makes plain arrays, and so are those that a function makes to write results into.
    During its calls these are arrays that round, too; but for what NumPy makes within.
    """

    def called(*args: Any, **options: Any) -> Any:
        owner = threading.get_ident()

        def exchanged(usual: Any, converts: bool) -> Any:
            def made(*given: Any, **how: Any) -> Any:
                found = usual(*given, **how)
                caller = str(sys._getframe(1).f_globals.get("__name__", ""))
                within = caller == __name__ or caller.split(".")[0] == "numpy"
                if within or threading.get_ident() != owner or found.dtype.kind not in "fc":
                    return found
                rounds = not converts or ("subok" not in how and _any_rounded(given))
                return rounded_at_random(found, rng) if rounds else found

            return made

        with _EXCHANGED:
            kept = {n: getattr(np, n) for n in (*_CONVERT, *_MAKE)}
            for n, usual in kept.items():
                setattr(np, n, exchanged(usual, n in _CONVERT))
            rng.inside = True
            try:
                found = function(*args, **options)
            finally:
                rng.inside = False
                for n, usual in kept.items():
                    setattr(np, n, usual)
        rng.left |= not _all_rounded(found)
        return found

    return called


def _any_rounded(given: Sequence[Any]) -> bool:
    """Whether the first argument is, or is a list of, arrays that round."""
    first = given[0] if given else None
    if isinstance(first, list | tuple):
        return any(_any_rounded((x,)) for x in first)
    return isinstance(first, RoundedArray)


def _all_rounded(found: Any) -> bool:
    """Whether all arrays of numbers in a result round."""
    if isinstance(found, Mapping):
        return all(map(_all_rounded, found.values()))
    if isinstance(found, list | tuple):
        return all(map(_all_rounded, found))
    plain = isinstance(found, np.ndarray) and found.dtype.kind in "fc"
    return not plain or isinstance(found, RoundedArray)
