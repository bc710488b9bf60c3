"""Is a loss that differs from the definition's a mean of it, over sequences, steps or both?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ..points import Point
from .compare import Record

__all__ = ["averaged"]


def _counts(point: Point) -> Iterator[tuple[str, str, float]]:
    """What a loss is divided by, in symbols and in words."""
    yield "B", "a mean over the sequences", point.batch
    for axis, steps in point.lengths.items():
        yield axis, "a mean over the steps", steps
        yield f"({axis}·B)", "a mean over steps and sequences", steps * point.batch
    for dim, size in point.sizes.items():
        yield dim, f"a mean over the {dim} units", size
    yield "2", "half of it", 2


def averaged(found: Sequence[tuple[Point, Record]]) -> str:
    """``the loss is 1/B of the definition's (…)`` if one such factor explains every point.

    Parameters
    ----------
    found : sequence of (Point, Record)
        The losses at all places, equal ones included, so that a factor 1/T shows at T = 1 too.
    """
    tables = [{n: (said, size) for n, said, size in _counts(point)} for point, _ in found]
    for n in tables[0] if tables else ():
        said = tables[0][n][0]
        sizes = [t[n][1] for t in tables]
        if _fits(found, [1 / s for s in sizes]):
            return f"the loss is 1/{n} of the definition's ({said})"
        if _fits(found, sizes):
            return f"the loss is {n} times the definition's, which is the sum of its terms"
    return ""


def _fits(found: Sequence[tuple[Point, Record]], factors: Sequence[float]) -> bool:
    with np.errstate(all="ignore"):
        return all(
            bool(np.abs(r.got - f * r.want) <= 2 * max(f, 1.0) * r.bound)
            for (_, r), f in zip(found, factors, strict=True)
        )
