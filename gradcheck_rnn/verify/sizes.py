"""Which sizes are run of those that are declared."""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import UsageError

__all__ = ["around", "listed_sizes"]


def listed_sizes(spec: int | Iterable[int]) -> list[int]:
    """The sizes to run of a declaration, ascending.

    Parameters
    ----------
    spec : int, sequence of int, or range
        Of a list every size; of a range its ends, the powers of two and their neighbours.

    Raises
    ------
    UsageError
        Something else, no size at all, or one below 1.
    """
    if isinstance(spec, bool | str | bytes | float):
        raise UsageError(f"{spec!r} is no size; give an integer, a list or a range of integers")
    if isinstance(spec, range):
        marks = {spec[0], spec[-1]} if len(spec) else set()
        power = 1
        while spec and power <= max(marks) + 1:
            marks |= {n for n in (power - 1, power, power + 1) if n in spec}
            power *= 2
        found = marks
    else:
        try:
            given = list(spec) if isinstance(spec, Iterable) else [spec]
            found = {int(n) for n in given}
        except (TypeError, ValueError):
            raise UsageError(f"{spec!r} is no list of sizes; give integers") from None
        if any(n != m for n, m in zip(sorted(found), sorted(set(given)), strict=False)):
            raise UsageError(f"{spec!r} has sizes that are no integers")
    if not found:
        raise UsageError(f"{spec!r} allows no size at all")
    if min(found) < 1:
        raise UsageError(f"{min(found)} is no size; sizes begin at 1")
    return sorted(found)


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
