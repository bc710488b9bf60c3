"""What a model check could have missed, and why: lags that have vanished, shapes not tried."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..harness.compare import Comparison
from ..harness.plan import Shapes
from ..verdict import Finding
from .domains import assumed_domains

__all__ = ["could_have_missed", "seen_lag"]

Array = NDArray[Any]


def seen_lag(comparison: Comparison) -> tuple[int, int, str]:
    """The largest lag whose share in some gradient exceeds that gradient's bound, the largest
    there is, and the name of the gradient in which the farthest lag was seen.

    Uses the cases with a cotangent at the last step only.
    """
    station, truth = comparison.station, comparison.truth
    best, whose, steps = -1, "", station.steps
    if truth is None:
        return best, steps - 1, whose
    for k, case in enumerate(station.cases):
        if case.step != steps - 1 or not any(case.cotangents):
            continue
        for r in comparison.records:
            if r.case is not case:
                continue
            for piece in station.fitted.pieces[r.user]:
                bound = float(np.median(r.bound.reshape(-1)[piece.index]))
                if piece.name in truth.steps:
                    for _, delta, operand in truth.steps[piece.name]:
                        parts = np.einsum("tbn,tbm->tnm", delta[:, :, k], operand)
                        seen = np.flatnonzero(np.abs(parts).max(axis=(1, 2)) > bound)
                        if len(seen) and steps - 1 - int(seen[0]) > best:
                            best, whose = steps - 1 - int(seen[0]), f"d{piece.name}"
    return best, steps - 1, whose


def could_have_missed(comparisons: Sequence[Comparison], shapes: Shapes | None) -> list[Finding]:
    """One note on lags and one on shapes."""
    out = []
    seen = [seen_lag(c) for c in comparisons]
    reach = max(seen, key=lambda s: s[0], default=(-1, 0, ""))
    longest = max((s[1] for s in seen), default=0)
    if reach[0] >= 0 and longest > 0:
        text = f"contributions up to {reach[0]} steps back were seen ({reach[2]})"
        if reach[0] < longest:
            text += (
                f"; those from {reach[0] + 1} to {longest} steps back are smaller than the bounds "
                "of the gradients they add to: a fault there would not show"
            )
        else:
            text += "; beyond that nothing was run"
        out.append(Finding("could-have-missed", text))
    points = [c.station for c in comparisons]
    network = points[0].network
    names = {n: sorted({p.sizes[n] for p in points}) for n in points[0].sizes}
    sizes = ", ".join(f"{n} = {s[0]}" if len(s) == 1 else f"{n} in {s}" for n, s in names.items())
    batches = sorted({p.batch for p in points})
    steps = sorted({p.steps for p in points})
    told = f" (declared: {', '.join(f'{n}={s}' for n, s in shapes.items())})" if shapes else ""
    text = f"shapes tried: {sizes}; T in {steps}, B in {batches}{told}"
    undeclared = [n for n in network.axes if n not in (shapes or {})]
    if undeclared:
        text += (
            f"; nothing longer than {steps[-1]} steps was run: give chunk= where the code works in "
            f"blocks of steps, or the lengths it takes, shapes={{{undeclared[0]!r}: [...]}}"
        )
    text += "; a fault that needs other shapes (blocks, tails, alignment) was not looked for"
    out.append(Finding("could-have-missed", text))
    return out + assumed_domains(network)
