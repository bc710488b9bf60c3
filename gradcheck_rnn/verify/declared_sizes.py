"""Which of the declared sizes are run: all that are listed, of a range those where code changes."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from typing import Any

from ..errors import UsageError

__all__ = ["around", "listed_sizes", "size_combinations"]

#: Ranges up to this many sizes are run whole.
SHORT = 8
#: Combinations of several named sizes up to which all are run.
MOST_COMBINATIONS = 24


def listed_sizes(spec: Any, cap: int | None = None, least: int = 0) -> list[int]:
    """Sizes to run, sorted.

    Of a `range`: its ends, the powers of two in it and their neighbours, which is where blocks and
    tails begin. Of anything else all.

    Parameters
    ----------
    spec : int, range or iterable of int
        Sizes.
    cap : int, optional
        Sizes above are left out, unless none is left.
    least : int
        The least size there is: 0 for a number of steps or of sequences, 1 for units.

    Raises
    ------
    UsageError
        No size, or one that is no integer from ``least`` on.
    """
    if isinstance(spec, range):
        sizes = _of_range(spec)
    elif isinstance(spec, Iterable) and not isinstance(spec, str | bytes):
        sizes = [_size(n) for n in spec]
    else:
        sizes = [_size(spec)]
    if not sizes:
        raise UsageError(f"sizes {spec!r} allow no size at all")
    if min(sizes) < least:
        wanted = "positive" if least else "a number of anything"
        raise UsageError(f"size {min(sizes)} is not {wanted}")
    found = sorted(set(sizes))
    return found if cap is None else [n for n in found if n <= cap] or found[:1]


def _size(n: Any) -> int:
    try:
        if isinstance(n, bool) or int(n) != n:
            raise ValueError
    except (TypeError, ValueError):
        raise UsageError(f"size {n!r} is no integer") from None
    return int(n)


def _of_range(spec: range) -> list[int]:
    if len(spec) <= SHORT:
        return list(spec)
    wanted = {spec[0], spec[-1]}
    power = 1
    while power <= max(spec[0], spec[-1]) + 1:
        wanted |= {power - 1, power, power + 1}
        power *= 2
    return [n for n in wanted if n in spec]


def size_combinations(sizes: dict[str, list[int]]) -> list[dict[str, int]]:
    """Sizes by name, each size of each name at least once.

    All combinations where they are few; otherwise every size beside others that alternate, and the
    smallest and largest of all.
    """
    names = list(sizes)
    total = 1
    for options in sizes.values():
        total *= len(options)
    if total <= MOST_COMBINATIONS:
        return [dict(zip(names, at, strict=True)) for at in product(*sizes.values())]
    longest = max(len(options) for options in sizes.values())
    chosen = [tuple(o[(k + j) % len(o)] for j, o in enumerate(sizes.values()))
              for k in range(longest)]  # fmt: skip
    chosen += [tuple(o[0] for o in sizes.values()), tuple(o[-1] for o in sizes.values())]
    return [dict(zip(names, at, strict=True)) for at in dict.fromkeys(chosen)]


def around(block: int) -> list[int]:
    """Sizes at which a block of that size can go wrong: 1, C − 1, C, C + 1, 2C + 1.

    Raises
    ------
    UsageError
        A block below 1.
    """
    if isinstance(block, bool) or not isinstance(block, int) or block < 1:
        raise UsageError(f"{block!r} is no size of a chunk or tile; give an integer from 1 on")
    return sorted({1, max(1, block - 1), block, block + 1, 2 * block + 1})
