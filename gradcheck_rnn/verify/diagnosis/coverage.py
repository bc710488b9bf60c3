"""What was run: all that is declared, enough for a verdict, and what could have been missed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...language.network import Network
from ..harness.arrays import Precision
from ..harness.compare import Comparison
from ..harness.modelpoint import ModelPoint
from ..harness.plan import Hint, Shapes, wanted_sizes
from ..points import Point, Role
from ..verdict import Finding
from .declared_data import assumed_domains
from .unseen import sizes_seen, unseen_branches

__all__ = [
    "could_have_missed", "coverage", "first_above", "not_judged", "seen_lag", "sizes_refused",
]  # fmt: skip


def coverage(
    network: Network,
    points: Sequence[Point],
    shapes: Shapes | None,
    chunk: Hint | None = None,
    tile: Hint | None = None,
) -> list[Finding]:
    """Findings that leave a verdict undecided: declared sizes and recurrent steps not run."""
    reached: dict[str, set[int]] = {}
    for point in points:
        for name, size in (*point.sizes.items(), *point.lengths.items(), ("B", point.batch)):
            reached.setdefault(name, set()).add(size)
    out = []
    for name, wanted in wanted_sizes(network, shapes or {}, chunk, tile).items():
        left = [n for n in wanted if n not in reached.get(name, ())]
        if left:
            out.append(
                _undecided(
                    f"{name} = {_listed(left)} {'is' if len(left) == 1 else 'are'} declared and "
                    f"not run (run: {_listed(sorted(reached.get(name, ())))}); use the full plan, "
                    "or declare what is to be checked"
                )
            )
    for name in network.axes:
        block = chunk.get(name) if isinstance(chunk, Mapping) else chunk
        if block is not None and max(reached[name]) <= block:
            out.append(
                _undecided(
                    f"no {name} above the chunk of {block} is declared: nothing was carried from "
                    "one chunk to the next"
                )
            )
    return out + _recurrence(network, reached)


def _recurrence(network: Network, reached: dict[str, set[int]]) -> list[Finding]:
    out = []
    for scan in network.scans:
        lags = [lag for state in scan.states for lag in state.lags]
        if scan.axis is None or not lags:
            continue
        longest = max(reached[scan.axis])
        if longest <= max(lags):
            out.append(
                _undecided(
                    f"{scan.axis} = {longest} is the longest that was run: no recurrent step"
                    + (f" at lag {max(lags)}" if max(lags) > 1 else "")
                    + f", no gradient is carried; declare {scan.axis} ≥ {max(lags) + 1}"
                )
            )
    if reached["B"] == {0}:
        out.append(_undecided("B = 0 is all that was run: no sequence; declare B ≥ 2"))
    if reached["B"] == {1}:
        out.append(
            Finding(
                "one-sequence",
                "only B = 1 was run, as declared: sums over the batch were not seen",
            )
        )
    return list(dict.fromkeys(out))


def _undecided(message: str) -> Finding:
    return Finding("not-run", message, undecided=True)


def _listed(sizes: Sequence[int]) -> str:
    shown = ", ".join(map(str, sizes[:8]))
    return shown + (f" and {len(sizes) - 8} more" if len(sizes) > 8 else "")


Array = NDArray[Any]


def seen_lag(comparison: Comparison) -> tuple[int, int, str]:
    """The largest lag whose share in some gradient exceeds that gradient's bound, the largest
    there is, and the name of the gradient in which the farthest lag was seen.

    Uses the cases with a cotangent at the last step only.
    """
    here, truth = comparison.point, comparison.truth
    best, whose, steps = -1, "", here.steps
    if truth is None:
        return best, steps - 1, whose
    for k, case in enumerate(here.cases):
        if case.step != steps - 1 or not any(case.cotangents):
            continue
        for r in comparison.records:
            if r.case is not case:
                continue
            for piece in here.fitted.pieces[r.user]:
                bound = float(np.median(r.bound.reshape(-1)[piece.index]))
                if piece.name in truth.steps:
                    for _, delta, operand in truth.steps[piece.name]:
                        last = len(delta) - 1  # an axis may be shorter than the longest
                        first = first_above(delta[:, :, k], operand, bound, last - best)
                        if first is not None:
                            best, whose = last - first, f"d{piece.name}"
    return best, steps - 1, whose


def first_above(delta: Array, operand: Array, bound: float, end: int) -> int | None:
    """The first step before `end` that adds more than a bound to some entry of Σ δₜ vₜᵀ.

    A step at a time, and of most only the largest factors: the parts of all steps would be as
    large as the weight times the steps.
    """
    operand = np.broadcast_to(operand, (*delta.shape[:2], operand.shape[-1]))
    most = np.abs(delta).max(-1) * np.abs(operand).max(-1)  # (T, B): no entry has more
    for t in range(end):
        if most[t].sum() > bound and np.abs(delta[t].T @ operand[t]).max() > bound:
            return t
    return None


def could_have_missed(comparisons: Sequence[Comparison], shapes: Shapes | None) -> list[Finding]:
    """Notes on lags, shapes, sizes, and sides of branches."""
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
    points = [c.point for c in comparisons]
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
    filled = [c for c in comparisons if not c.point.empty]
    out += [*sizes_seen(filled), *unseen_branches(c.point for c in filled)]
    return out + _without_zeros(points) + assumed_domains(network)


def not_judged(
    comparisons: Sequence[Comparison],
    edges: Callable[[ModelPoint], Sequence[str]],
    form: Precision,
    wanted: Collection[str] | None = None,
) -> list[Finding]:
    """One note on the places and arrays in which entries have no bound, and why."""
    names: dict[str, None] = {}
    lost: dict[str, None] = {}
    places: dict[str, None] = {}
    for c in comparisons:
        left = [r.user for r in c.records if np.isnan(r.ratio).any()]
        left = [n for n in left if wanted is None or n in wanted]
        if left:
            names |= dict.fromkeys(f"d{n}" for n in left)
            places[c.point.label] = None
            lost |= dict.fromkeys(edges(c.point))
    if not names:
        return []
    why = "the definition has no derivative there (a root of zero, 0/0)"
    if lost:
        why = (
            f"rounding in {form.name} leaves no digit of {' or '.join(sorted(lost, key=len)[:2])} "
            "there, which a root, a logarithm or a quotient is taken of"
        )
    text = f"entries of {', '.join(names)} were not judged at {', '.join(places)}: {why}"
    return [Finding("not-judged", text)]


def sizes_refused(points: Sequence[ModelPoint]) -> list[Finding]:
    """What the code raises with sizes in the other order: a note, or a fault of the gradient.

    Where its forward pass runs there, the gradient alone is to blame.
    """
    out = []
    for point in (p for p in points if p.refused):
        sizes = sorted(points[0].sizes.items(), key=lambda item: item[1])
        order = " < ".join(n for n, _ in sizes)
        declared = ", ".join(f"{n!r}: {s}" for n, s in sizes)
        declare = f"Where sizes are written in the code, declare them: shapes={{{declared}}}"
        if point.ran_forward:
            text = (
                f"the gradient raises at {point.label}: {point.refused}; the forward pass runs "
                f"there, and with {order} both do. {declare}"
            )
            out.append(Finding("raises", text, fatal=True))
            continue
        text = (
            f"sizes tried: {order} only; at {point.label} the code raises {point.refused}: a fault "
            f"that needs the other order would pass. {declare}"
        )
        out.append(Finding("could-have-missed", text))
    return out


def _without_zeros(points: Sequence[Point]) -> list[Finding]:
    """What had no rows of zeros anywhere, and why."""
    zeros = [p for p in points if p.role is Role.ZEROS]
    if not zeros:
        return []
    left = [f"{n} ({why})" for n, why in zeros[0].without_zeros.items()]
    text = f"rows of zeros were not tried in {', '.join(left)}: a fault that needs them would pass"
    return [Finding("could-have-missed", text)] if left else []
