"""Clipping: of finished gradients, or of what is carried from step to step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..harness.compare import Comparison, ModelPoint
from ..harness.plan import Case
from .candidates import After, Arrays, Candidate

__all__ = ["clips"]

Array = NDArray[Any]
#: Bounds at which clipping is usually set.
USUAL_CLIPS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 50.0, 100.0)


def clips(comparison: Comparison, wrong: set[str]) -> Iterator[Candidate]:
    """Clipping of the finished gradients, or of what is carried from step to step."""
    tops: dict[str, list[float]] = {}
    for r in comparison.wrong:
        # What is zero but for rounding has not been clipped to that.
        seen = (r.ratio > 1) & ~(np.abs(r.got) <= r.bound)
        top = float(np.max(np.abs(np.where(seen, r.got, 0.0))))
        if np.isfinite(top) and top > 0:
            tops.setdefault(r.user, []).append(top)
    yield from _clipped_alone(tops)
    values = dict.fromkeys([*(max(t) for t in tops.values()), *USUAL_CLIPS])
    for c in values:

        def clip(point: ModelPoint, case: Case, arrays: Arrays, c: float = c) -> Arrays:
            return {u: np.clip(a, -c, c) for u, a in arrays.items()}

        def each(point: ModelPoint, case: Case, arrays: Arrays, c: float = c) -> Arrays:
            return {u: a * min(1.0, c / max(_norm(a), 1e-300)) for u, a in arrays.items()}

        def together(point: ModelPoint, case: Case, arrays: Arrays, c: float = c) -> Arrays:
            size = float(np.sqrt(sum(_norm(a) ** 2 for a in arrays.values())))
            return {u: a * min(1.0, c / max(size, 1e-300)) for u, a in arrays.items()}

        def parameters(point: ModelPoint, case: Case, arrays: Arrays, clip: After = clip) -> Arrays:
            clipped = clip(point, case, arrays)
            held = point.fitted.layout.parameters
            return {u: clipped[u] if u in held else a for u, a in arrays.items()}

        yield Candidate(
            f"clip:{c}",
            "clip",
            f"every gradient clipped to ±{c:.6g}",
            after=(clip,),
            family="clip",
            fitted=True,
        )
        yield Candidate(
            f"clip-parameters:{c}", "clip",
            f"the gradient of every parameter clipped to ±{c:.6g}", after=(parameters,),
            family="clip-parameters", fitted=True,
        )  # fmt: skip
        yield Candidate(
            f"clip-norm:{c}",
            "clip",
            f"each gradient clipped to the norm {c:.6g}",
            after=(each,),
            family="clip-norm",
            fitted=True,
        )
        yield Candidate(
            f"clip-global:{c}", "clip",
            f"all gradients clipped to the common norm {c:.6g}", after=(together,),
            family="clip-global", fitted=True,
        )  # fmt: skip
        states = {s.name for scan in comparison.point.network.scans for s in scan.states}
        for names in (states, *({s} for s in states if len(states) > 1)):

            def carry(
                name: str, at: int, bar: Array, c: float = c, names: set[str] = names
            ) -> Array:
                return np.clip(bar, -c, c) if name in names else bar

            which = " and ".join(f"δ{n}" for n in sorted(names))
            yield Candidate(
                f"clip-carry:{c}:{which}", "clip",
                f"{which} clipped to ±{c:.6g} between steps, inside the backward pass",
                carry=carry, family=f"clip-carry:{which}", fitted=True,
            )  # fmt: skip


def _clipped_alone(tops: dict[str, list[float]]) -> Iterator[Candidate]:
    """One array clipped at the largest entry that it has where it is wrong."""
    for user, found in tops.items():
        c = max(found)

        def clip(
            point: ModelPoint, case: Case, arrays: Arrays, user: str = user, c: float = c
        ) -> Arrays:
            return {**arrays, user: np.clip(arrays[user], -c, c)}

        yield Candidate(
            f"clip-alone:{user}:{c}",
            "clip",
            f"d{user} clipped to ±{c:.6g}",
            after=(clip,),
            family=f"clip-alone:{user}",
            fitted=True,
        )


def _norm(a: Array) -> float:
    return float(np.linalg.norm(a))
