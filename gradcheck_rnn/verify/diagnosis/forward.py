"""The forward pass of the code beside that of the definition: the same function or not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..harness.arrays import PRECISIONS
from ..harness.compare import Comparison, Record
from ..harness.excess import Excess
from ..harness.modelpoint import ModelPoint
from ..harness.outputs import (
    Output,
    OutputRounding,
    compare_forward,
    compare_loss,
    left_by,
    unsteady_outputs,
)
from ..harness.subject import Subject
from ..harness.sweep import LOSS
from ..outcome import Report
from ..points import Point
from ..verdict import Finding, Verdict
from .tables import row_of

__all__ = ["averaged", "of_other_labels", "same_forward", "still_same_forward"]

Array = NDArray[Any]
#: Up to so many bounds a small difference may be rounding in an order that the bound does not know.
NEAR = 16.0
#: Differences above this share of their array are no rounding of it in any order.
PLAIN = 1e-3
#: By what factor errors may differ from what rounding to a format leaves, to come from it; and how
#: far they may point along the output, as rounding does not.
MOST_OFF, MOST_ALONG = 4.0, 0.5


OTHER = (
    "the code computes another function, or the layout does not describe it (gate order, "
    "transposes, signs)"
)
OVERFLOWS = (
    "entries are not finite: something leaves the range of {} (the exponential of a sum over many "
    "steps), or is divided by zero"
)
NOISY = (
    "neighbouring points scatter far more than rounding does: it draws numbers by its inputs, or "
    "computes in a coarser format than that of its arrays"
)


def same_forward(
    report: Report,
    places: Sequence[ModelPoint],
    subject: Subject,
    seed: int,
    rounding: OutputRounding,
) -> bool:
    """Compare forward passes; where they clearly differ that is said, and gradients are left."""
    bad: list[tuple[ModelPoint, Output]] = []
    noisy: list[tuple[ModelPoint, Output]] = []
    losses: list[tuple[ModelPoint, Record]] = []
    for here in places:
        found: Sequence[Output] = ()
        with here.left_out_where_refused():
            if subject.forward is not None and subject.with_cotangents:
                found = compare_forward(here, subject, seed, rounding)
                here.ran_forward = True
            elif subject.loss is not None:
                found = [compare_loss(here, subject, seed, rounding)]
                losses.append((here, found[0]))
                here.ran_forward = True
        bad += [(here, r) for r in found if np.any(r.ratio > 1)]
        noisy += [(here, r) for r in found if r.excess is not None]
    network = places[0].network.name
    chance = [(s, r) for s, r in noisy if r.excess is not None and r.excess.chance]
    if chance:
        _add_rows(report, chance)
        report.findings.append(_unsteady([r.excess for _, r in chance if r.excess], subject))
        return False
    if not bad:
        report.findings += _loud([r.excess for _, r in noisy if r.excess], subject)
        return True
    names = ", ".join(sorted({r.user for _, r in bad}))
    where = ", ".join(dict.fromkeys(s.label for s, _ in bad))
    if all(_near(r, s.form.eps) for s, r in bad):
        worst = max(float(np.nanmax(r.ratio)) for _, r in bad)
        report.findings.append(
            Finding(
                "forward-rounding",
                f"the forward pass differs from the definition {network!r} in {names} ({where}) by "
                f"{worst:.1f} times the rounding that this bound knows, and by no more than "
                "rounding in another order might: undecided whether it is the same function",
                undecided=True,
            )
        )
        return True
    _add_rows(report, bad)
    loud = any(r.excess is not None for _, r in bad)
    if all(not np.isfinite(r.got).all() for _, r in bad):
        kind = OVERFLOWS.format(places[0].inner.name)
    else:
        kind = (
            averaged(losses)
            or of_other_labels(losses)
            or (NOISY if loud else _coarser(bad) or OTHER)
        )
    report.findings.append(
        Finding(
            "other-function",
            f"the forward pass differs from the definition {network!r} in {names} ({where}): "
            f"{kind}; gradients were not compared",
            fatal=True,
        )
    )
    return False


def _coarser(bad: Sequence[tuple[ModelPoint, Output]]) -> str:
    """The format that explains all errors best where states are kept in it; '' if none does."""
    inner, outer = bad[0][0].inner, bad[0][0].form
    if any(r.user == LOSS for _, r in bad):
        return ""
    claim, forms = inner.name, [f for f in PRECISIONS.values() if f.eps > inner.eps]
    if inner is not outer:
        claim, forms = f"accumulate='{inner.name}'", [outer]
    best, said = np.log(MOST_OFF), ""
    for form in forms:
        with np.errstate(all="ignore"):
            found = np.hstack([left_by(here, r, form) for here, r in bad])
            want, error, rounding = np.sqrt(np.mean(found[:3] ** 2, axis=1))
            along = abs(float(np.mean(found[0] * found[1]))) / (want * error)
            off = abs(np.log(error / rounding))
        if np.all(np.abs(found[1]) <= found[3]) and along < MOST_ALONG and off < best:
            best, names = off, " or ".join(f.name for f in forms if f.eps == form.eps)
            said = (
                f"its error of {error:.1e} fits states kept in {names} between steps (rounding "
                f"leaves {rounding:.1e} there), where {claim} was claimed; if they are in "
                f"{inner.name}, the code computes another function that differs by no more"
            )
    return said


def _near(record: Record, eps: float) -> bool:
    with np.errstate(all="ignore"):
        wrong = record.ratio > 1
        error = np.abs(record.got - record.want)[wrong]
        size = float(np.max(np.abs(record.want), initial=0.0))
        return bool(np.all(record.ratio[wrong] <= NEAR) and np.all(error <= PLAIN * size))


def still_same_forward(report: Report, comparisons: Sequence[Comparison], subject: Subject) -> None:
    """Say so where the outputs changed between the calls that the gradients were taken with."""
    found = [e for c in comparisons for e in unsteady_outputs(c)]
    if found:
        report.findings.append(_unsteady(found, subject))


def _unsteady(found: Sequence[Excess], subject: Subject) -> Finding:
    names = ", ".join(dict.fromkeys(e.user for e in found))
    times, form = max(e.times for e in found), subject.form.name
    what = "the forward pass is" if subject.with_cotangents else "the loss is"
    return Finding(
        "unsteady-forward",
        f"{what} unsteady: calls at one and the same point give another {names} "
        f"({_places(found)}), by {times:.0e} times what rounding in {form} explains. Random "
        "numbers (fix their seed), a race, memory that is not initialised, or an update that is "
        "lost now and then",
        fatal=True,
    )


def _loud(found: Sequence[Excess], subject: Subject) -> list[Finding]:
    """What is no more than unstable could be right: undecided."""
    if not found:
        return []
    worst = max(found, key=lambda e: e.times)
    return [
        Finding(
            "forward-rounding",
            f"{worst.user} of the forward pass is unstable ({_places(found)}): where inputs move "
            f"by one unit it moves by {worst.noise:.1e} of itself, the definition's own formula by "
            f"{worst.kept:.1e} in {subject.form.name}: undecided whether it is the same function",
            undecided=True,
        )
    ]


def _places(found: Sequence[Excess]) -> str:
    places = list(dict.fromkeys(e.place for e in found))
    return places[0] + (f" and {len(places) - 1} more" if len(places) > 1 else "")


def _add_rows(report: Report, bad: Sequence[tuple[ModelPoint, Output]]) -> None:
    """A failing row for each output, from the worst place."""
    worst_of: dict[str, tuple[ModelPoint, Output]] = {}
    for here, record in bad:
        held = worst_of.get(record.user)
        if held is None or np.max(record.ratio) > np.max(held[1].ratio):
            worst_of[record.user] = (here, record)
    for user, (here, record) in worst_of.items():
        row = row_of(user, [(here, record)])
        row.verdict = Verdict.FAIL
        what = (
            f"another {user}" if np.isfinite(record.got).all() else f"a {user} that is not finite"
        )
        said = f"the forward pass gives {what} ({here.label})"
        row.reasons = (Finding("forward", said),)
        report.rows.append(row)


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


#: What labels are taken for: the class or the step beside, what is beyond the ends left out or not.
BESIDE = {
    "of the class after it": (-1, 1),
    "of the class before it": (-1, -1),
    "of the step before": (0, 1),
    "of the step after": (0, -1),
}


def of_other_labels(found: Sequence[tuple[ModelPoint, Record]]) -> str:
    """``the loss is that of smoothed labels`` if these, or those beside, explain every point."""
    if not found:
        return ""
    network = found[0][0].network
    for name, domain in network.domains.items():
        moving = name in network.inputs and network.inputs[name].axis is not None
        if domain.kind != "one-hot" or name not in network.inputs:
            continue
        for words, (axis, by) in BESIDE.items():
            for turned, beyond in ((True, ", counted round the ends"), (False, "")):
                if axis or moving:
                    losses = [_loss_at(p, name, _beside(p.values[name], axis, by, turned))
                              for p, _ in found]  # fmt: skip
                    if _are(found, losses):
                        return f"the loss is that of the definition with {name} {words}{beyond}"
        own = np.array([float(r.want) for _, r in found])
        even = [np.full_like(p.values[name], 1 / p.values[name].shape[-1]) for p, _ in found]
        other = np.array([_loss_at(p, name, a) for (p, _), a in zip(found, even, strict=True)])
        got = np.array([float(r.got) for _, r in found])
        share = float((got - own) @ (other - own) / max((other - own) @ (other - own), 1e-300))
        if 0 < share < 1 and _are(found, own + share * (other - own)):
            return (
                f"the loss is that of smoothed labels, {1 - share:.4g} times {name} and "
                f"{share:.4g} shared by all classes"
            )
    return ""


def _beside(a: Array, axis: int, by: int, turned: bool) -> Array:
    """An array moved along an axis; what lies beyond its end comes in at the other end, or not."""
    out = np.roll(a, by, axis)
    if not turned:
        np.moveaxis(out, axis, 0)[0 if by > 0 else -1] = 0
    return out


def _loss_at(point: ModelPoint, name: str, array: Array) -> float:
    loss = point.at({**point.values, name: array}).loss
    assert loss is not None  # of a model with a loss
    return float(loss)


def _are(found: Sequence[tuple[ModelPoint, Record]], losses: Sequence[float] | Array) -> bool:
    """Whether the code's losses are these, within twice their bounds."""
    return all(
        bool(np.abs(r.got - loss) <= 2 * r.bound)
        for (_, r), loss in zip(found, losses, strict=True)
    )


def _fits(found: Sequence[tuple[Point, Record]], factors: Sequence[float]) -> bool:
    with np.errstate(all="ignore"):
        return all(
            bool(np.abs(r.got - f * r.want) <= 2 * max(f, 1.0) * r.bound)
            for (_, r), f in zip(found, factors, strict=True)
        )
