"""Where the wrong entries of a block lie, and what they are: a gate, a row, a swap, a shift.

A pattern is named only if it accounts for every decided entry. `hints` says what is true of
a whole block; this says what is true of a part of it, or of a block whose entries are right but in
other places.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from .hints import common_factor, opposite

__all__ = ["pattern"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
#: Stacked gates: 2 (a minimal gated unit) to 8 (an LSTM in two directions).
BLOCKS = range(2, 9)
#: Beyond this many blocks orders are not tried: 5! are 120.
MOST_ORDERED = 5
#: Bounds above this share of the block say little about where an entry comes from.
SHARP = 1e-3


def pattern(analytic: Floats, numeric: Floats, bound: Floats, wrong: Flags, known: Flags) -> str:
    """A sentence on the wrong entries of a block, or nothing.

    Parameters
    ----------
    analytic, numeric, bound : array
        Gradient under test, difference quotients, and what their difference may be, by entry.
    wrong, known : array of bool
        Entries whose verdict is fail, and those that have a verdict at all.
    """
    if analytic.ndim == 0 or np.count_nonzero(known) < 2:
        return ""
    if not (np.isfinite(analytic).all() and np.isfinite([numeric[known], bound[known]]).all()):
        return ""
    if known.all() and _sharp(numeric, bound):
        for said, place in _rearranged(np.arange(analytic.size).reshape(analytic.shape)):
            own, error = numeric.ravel()[place], bound.ravel()[place]
            if bool(np.all(np.abs(analytic - own) <= bound + error)):
                return said
    return _slab(analytic, numeric, bound, wrong, known)


def _sharp(numeric: Floats, bound: Floats) -> bool:
    return bool(np.linalg.norm(bound) <= SHARP * np.linalg.norm(numeric))


def _rearranged(places: NDArray[np.intp]) -> Iterator[tuple[str, NDArray[np.intp]]]:
    """Ways to put right entries in wrong places: a sentence, and where each entry comes from."""
    shape = places.shape
    if places.ndim == 2 and min(shape) > 1:
        yield (
            (
                "its entries are those of the transpose, read in the order of this shape (a "
                "reshape in place of .T?)"
            ),
            places.T.reshape(shape),
        )
    for axis, n in enumerate(shape):
        if n < 2:
            continue
        along = _along(axis, len(shape))
        yield f"it is in the reverse order along {along}", np.flip(places, axis)
        for shift, where in ((1, "the entry before"), (-1, "the entry after")):
            yield (
                f"along {along} every entry is what belongs to {where} it, around the end",
                np.roll(places, shift, axis),
            )
        for k in BLOCKS:
            if n % k == 0:
                yield from _blocks(places, axis, k)


def _blocks(places: NDArray[np.intp], axis: int, k: int) -> Iterator[tuple[str, NDArray[np.intp]]]:
    """Blocks along an axis in another order, or each square one transposed."""
    parts = np.split(places, k, axis)
    size = places.shape[axis] // k
    along = _along(axis, places.ndim)
    rows, columns = parts[0].shape if places.ndim == 2 else (0, 1)
    if rows == columns and rows > 1:
        yield (
            f"each of the {k} blocks of {size} along {along} is transposed",
            np.concatenate([p.T for p in parts], axis),
        )
    if k > MOST_ORDERED:
        return
    for order in permutations(range(k)):
        if order != tuple(range(k)):
            listed = ", ".join(str(i + 1) for i in order)
            yield (
                (
                    f"the {k} blocks of {size} along {along} are in another order: where 1 to {k} "
                    f"belong stand {listed}"
                ),
                np.concatenate([parts[i] for i in order], axis),
            )


def _slab(analytic: Floats, numeric: Floats, bound: Floats, wrong: Flags, known: Flags) -> str:
    """Wrong entries that fill a range along one axis and leave the rest right."""
    for axis in range(wrong.ndim):
        others = tuple(i for i in range(wrong.ndim) if i != axis)
        hit = np.flatnonzero(wrong.any(axis=others))
        n = wrong.shape[axis]
        if not 0 < hit.size < n:
            continue
        rest = np.setdiff1d(np.arange(n), hit)
        inside, complement = _range(hit), _range(rest)
        part: list[slice | NDArray[np.intp]] = [slice(None)] * wrong.ndim
        part[axis] = hit
        at = tuple(part)
        # An entry that is zero on both sides is right whatever was done to its row.
        silent = (np.abs(analytic[at]) <= bound[at]) & (np.abs(numeric[at]) <= bound[at])
        if not bool(np.all(wrong[at] | silent | ~known[at])):
            continue
        along = _along(axis, wrong.ndim)
        if inside:
            text = f"wrong are exactly {inside} of {n} along {along}{_gate(hit, n)}"
        elif complement:
            text = f"right along {along} are {complement} of {n} alone"
        else:
            text = f"wrong are exactly {_listed(hit)} of {n} along {along}"
        mask = wrong[at] & known[at]
        return text + _size(analytic[at][mask], numeric[at][mask], bound[at][mask])
    return ""


def _range(index: NDArray[np.intp]) -> str:
    """``index 3`` or ``indices 4 to 7`` where they follow one another, else nothing."""
    first, last = int(index[0]), int(index[-1])
    if last - first != index.size - 1:
        return ""
    return f"index {first}" if first == last else f"indices {first} to {last}"


def _listed(index: NDArray[np.intp], most: int = 6) -> str:
    told = [str(int(i)) for i in index[:most]]
    return f"indices {', '.join(told)}{' …' if index.size > most else ''}"


def _gate(hit: NDArray[np.intp], n: int) -> str:
    """Which of the stacked gates a range is, if it can be one."""
    size, first = hit.size, int(hit[0])
    if size < 2 or n % size or first % size or n // size not in BLOCKS:
        return ""
    return f": block {first // size + 1} of {n // size}, a gate if gates are stacked there"


def _size(analytic: Floats, numeric: Floats, bound: Floats) -> str:
    """What the wrong part is, as a multiple of what it should be."""
    if not np.any(analytic):
        return "; there it is zero"
    c = common_factor(analytic, numeric, bound) if analytic.size > 1 else None
    if c is None:
        return ""
    if opposite(analytic, numeric, bound):
        return "; there it has the opposite sign"
    return f"; there it is {c:.6g} times the difference quotients"


def _along(axis: int, ndim: int) -> str:
    if ndim == 1:
        return "the only axis"
    return f"axis {axis}" + (f" ({('rows', 'columns')[axis]})" if ndim == 2 else "")
