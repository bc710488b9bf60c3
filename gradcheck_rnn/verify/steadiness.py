"""Losses that draw from the generators of the process, and losses that drift from call to call.

A mask of a few units is often the same in a few calls: where a call draws numbers, more are made.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .in_place import beside
from .oracle.noise import Noise
from .outcome import Report
from .reachable import drawn
from .target import Target
from .verdict import Finding, Verdict

__all__ = ["NOISY", "called_again", "tell_drift"]

#: Units in the last place of the loss; noise above may be that of some calls only.
NOISY = 256.0
#: Calls at the point of a loss that draws numbers.
CALLS = 16
#: Standard deviations of its noise that a random loss may be off at the end of a check.
DRIFT = 4.0


def called_again(target: Target, noise: Noise) -> Noise:
    """The noise of a loss, random where it draws numbers at every call and they change its value.

    A loss that seeds its generator itself leaves it in the same state.
    """
    if not noise.deterministic or not target.draws:
        return noise
    before = target.look()
    values = [target.base, target.evaluate(target.tree.leaves)]
    if not drawn(before, target.look()):
        return noise
    values += [target.evaluate(target.tree.leaves) for _ in range(CALLS - 1)]
    if all(v == target.base for v in values):
        return noise
    spread = float(np.std(values, ddof=1))
    return replace(noise, sigma=max(noise.sigma, 1.5 * spread), repeats=spread, random=True)


def tell_drift(target: Target, report: Report) -> None:
    """Leave undecided a loss that differs at the end by more than its noise accounts for.

    Its difference quotients grow without bound, which refutes nothing.
    """
    noise = report.noise
    target.raw(beside(target.tree))  # what it keeps is that of another point
    now = target.evaluate(target.tree.leaves)
    if abs(now - target.base) > DRIFT * noise:
        text = (
            f"{target.nouns.loss} drifts: {target.base:.9g} in its first call and {now:.9g} at the "
            f"same point at the end, where single calls differ by {noise:.1e}. Does it depend "
            "on the time, or on how often it was called? No difference of two calls is "
            "its derivative"
        )
        target.note(Finding("nondeterministic", text, undecided=True))
        for row in report.rows:
            if row.verdict is Verdict.FAIL and not np.isfinite(row.numeric):
                row.verdict = Verdict.UNDECIDED
                row.reasons = (
                    Finding("nondeterministic", f"{target.nouns.loss} drifts from call to call"),
                )
