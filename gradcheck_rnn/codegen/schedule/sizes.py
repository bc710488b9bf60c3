"""In which order axes that are sums or multiples of dims tell the sizes of the dims."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ...errors import UnsupportedOperation
from ...language.dims import Dim

__all__ = ["in_solving_order"]

#: Name of an array, number of its axis, and the axis as a dim.
Axis = tuple[str, int, Dim]


def in_solving_order(axes: Iterable[Axis], known: Iterable[str]) -> Iterator[Axis]:
    """The axes, each when at most one of its dims has no size yet.

    Parameters
    ----------
    axes : iterable of (str, int, Dim)
        Axes such as ``d + p`` and ``2*p``.
    known : iterable of str
        Dims whose sizes are known from an axis of their own.

    Raises
    ------
    UnsupportedOperation
        Sizes that no order of the axes tells.
    """
    told, waiting = set(known), list(axes)
    while waiting:
        ready = next((a for a in waiting if len(set(a[2].names) - told) <= 1), None)
        if ready is None:
            name, _, dim = waiting[0]
            unknown = " and ".join(n for n in dim.names if n not in told)
            raise UnsupportedOperation(f"the sizes of {unknown} do not follow from {name!r}")
        waiting.remove(ready)
        told |= set(ready[2].names)
        yield ready
