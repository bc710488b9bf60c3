"""The forward pass of the code beside that of the definition: the same function or not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..harness.averaged import averaged
from ..harness.compare import Record, compare_forward, compare_loss
from ..harness.plan import Place
from ..harness.station import Station
from ..harness.subject import Subject
from ..verdict import Finding, Verdict
from .tables import row_of

if TYPE_CHECKING:
    from .check import ModelReport

__all__ = ["same_forward"]

#: Up to so many bounds a small difference may be rounding in an order that the bound does not know.
NEAR = 16.0
#: Differences above this share of their array are no rounding of it in any order.
PLAIN = 1e-3


OTHER = (
    "the code computes another function, or the layout does not describe it (gate order, "
    "transposes, signs)"
)


def same_forward(
    report: ModelReport, stations: Sequence[Station], subject: Subject, seed: int
) -> bool:
    """Compare forward passes; where they clearly differ that is said, and gradients are left."""
    bad: list[tuple[Station, Record]] = []
    losses: list[tuple[Place, Record]] = []
    for station in stations:
        if subject.forward is not None and subject.with_cotangents:
            found = compare_forward(station, subject, seed)
        elif subject.loss is not None:
            found = [compare_loss(station, subject, seed)]
            losses.append((station.place, found[0]))
        else:
            break
        bad += [(station, r) for r in found if np.any(r.ratio > 1)]
    if not bad:
        return True
    network = stations[0].place.network.name
    names = ", ".join(sorted({r.user for _, r in bad}))
    where = ", ".join(dict.fromkeys(s.place.label for s, _ in bad))
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
    again = [(s, r) for s, r in bad if _differs(s, r, subject)]
    worst_of: dict[str, tuple[Station, Record]] = {}
    for station, record in bad:
        held = worst_of.get(record.user)
        if held is None or np.max(record.ratio) > np.max(held[1].ratio):
            worst_of[record.user] = (station, record)
    for user, (station, record) in worst_of.items():
        row = row_of(user, [(station, record)])
        row.verdict = Verdict.FAIL
        what = (
            f"another {user}" if np.isfinite(record.got).all() else f"a {user} that is not finite"
        )
        row.reason = f"the forward pass gives {what} ({station.place.label})"
        report.rows.append(row)
    if again:
        report.findings.append(
            Finding(
                "unsteady",
                f"the forward pass is unsteady: two calls at one point give another {names} "
                f"({again[0][0].place.label}); fix the seed of random numbers in it",
                fatal=True,
            )
        )
        return False
    report.findings.append(
        Finding(
            "other-function",
            f"the forward pass differs from the definition {network!r} in {names} ({where}): "
            + (averaged(losses) or OTHER)
            + "; gradients were not compared",
            fatal=True,
        )
    )
    return False


def _near(record: Record, eps: float) -> bool:
    with np.errstate(all="ignore"):
        wrong = record.ratio > 1
        error = np.abs(record.got - record.want)[wrong]
        size = float(np.max(np.abs(record.want), initial=0.0))
        return bool(np.all(record.ratio[wrong] <= NEAR) and np.all(error <= PLAIN * size))


def _differs(station: Station, record: Record, subject: Subject) -> bool:
    """Whether a further call differs from the first by more than the bound."""
    if subject.forward is None or not subject.with_cotangents:
        return False
    found, _, _ = subject.run(station.fitted, station.arrays)
    with np.errstate(all="ignore"):
        return bool(np.any(np.abs(found[record.user] - record.got) > record.bound))
