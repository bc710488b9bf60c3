"""At which shapes a gradient is wrong and at which it is right, in a few words."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from ..harness.compare import Comparison
from ..harness.plan import Hint
from ..points import Point, Role

__all__ = ["pattern"]


def pattern(
    comparisons: Sequence[Comparison],
    unsteady: Collection[str] = (),
    chunk: Hint | None = None,
) -> str:
    """What separates points with errors from those without, empty if nothing does.

    Parameters
    ----------
    unsteady : collection of str
        Labels of points at which the gradient has noise.
    chunk : int or mapping, optional
        Steps in a block, as declared: tells a fault of the tail.
    """
    points: dict[bool, list[Point]] = {True: [], False: []}
    for c in comparisons:
        points[bool(c.wrong) or c.station.label in unsteady].append(c.station)
    bad, good = ([_sizes(point) for point in points[ill]] for ill in (True, False))
    if not bad or not good:
        return "at every point tried" if bad and len(comparisons) > 1 else ""
    lengths = points[True][0].lengths
    for name in bad[0]:
        block = chunk.get(name) if isinstance(chunk, Mapping) else chunk
        if block is not None and name in lengths and _tail(bad, good, name, block):
            said = _apart(bad, good, name)
            return f"where the last chunk of {block} steps is not full ({said or name})"
    ordered = (_beyond({s[name] for s in bad}, {s[name] for s in good}, name) for name in bad[0])
    if said := next(filter(None, ordered), ""):
        return said
    said = next(filter(None, (_apart(bad, good, name) for name in bad[0])), "")
    if said and any(point.role is Role.SIZE for point in points[True]):
        return f"for {said}"
    # Points of the plan differ in more than a size: units are saturated, there is one sequence.
    labels = ", ".join(point.label for point in points[True][:3])
    return f"at {len(bad)} of {len(comparisons)} points ({labels}{said and f': {said}'})"


def _sizes(point: Point) -> dict[str, int]:
    return {**point.lengths, "B": point.batch, **point.sizes}


def _beyond(bad: set[int], good: set[int], name: str) -> str:
    """The size from which on, or up to which, it is wrong."""
    if min(bad) > max(good):
        return f"from {name} = {min(bad)} on (right up to {name} = {max(good)})"
    if max(bad) < min(good):
        least = "for" if len(bad) == 1 else "up to"
        return f"{least} {name} = {max(bad)} (right from {name} = {min(good)} on)"
    return ""


def _apart(bad: Sequence[Mapping[str, int]], good: Sequence[Mapping[str, int]], name: str) -> str:
    """The sizes of one name at which it is wrong, if it is right at none of them."""
    ill, fine = ({s[name] for s in some} for some in (bad, good))
    if ill & fine:
        return ""
    shown, rest = (", ".join(map(str, sorted(some)[:6])) for some in (ill, fine))
    return f"{name} = {shown}, right for {name} = {rest}"


def _tail(
    bad: Sequence[Mapping[str, int]], good: Sequence[Mapping[str, int]], name: str, block: int
) -> bool:
    return all(s[name] % block for s in bad) and all(s[name] % block == 0 for s in good)
