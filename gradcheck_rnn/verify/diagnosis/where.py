"""At which shapes a gradient is wrong and at which it is right, in a few words."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from ..harness.compare import Comparison
from ..harness.plan import Hint

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
    bad: list[dict[str, int]] = []
    good: list[dict[str, int]] = []
    for c in comparisons:
        point = c.station
        sizes = {**point.lengths, "B": point.batch, **point.sizes}
        (bad if c.wrong or point.label in unsteady else good).append(sizes)
    if not bad or not good:
        return "at every point tried" if bad and len(comparisons) > 1 else ""
    for name in bad[0]:
        said = _by_size({s[name] for s in bad}, {s[name] for s in good}, name)
        block = chunk.get(name) if isinstance(chunk, Mapping) else chunk
        lengths = comparisons[0].station.lengths
        if block is not None and name in lengths and _tail(bad, good, name, block):
            said = f"where the last chunk of {block} steps is not full ({said or name})"
        if said:
            return said
    labels = [c.station.label for c in comparisons if c.wrong]
    return f"at {len(bad)} of {len(bad) + len(good)} points ({', '.join(labels[:3])})"


def _by_size(bad: set[int], good: set[int], name: str) -> str:
    if bad & good:
        return ""
    if min(bad) > max(good):
        return f"from {name} = {min(bad)} on (right up to {name} = {max(good)})"
    if max(bad) == 0:
        return f"for {name} = 0 (right from {name} = {min(good)} on)"
    if max(bad) < min(good):
        return f"up to {name} = {max(bad)} (right from {name} = {min(good)} on)"
    shown, fine = (", ".join(map(str, sorted(s)[:6])) for s in (bad, good))
    return f"for {name} = {shown} (right for {name} = {fine})"


def _tail(
    bad: Sequence[Mapping[str, int]], good: Sequence[Mapping[str, int]], name: str, block: int
) -> bool:
    return all(s[name] % block for s in bad) and all(s[name] % block == 0 for s in good)
