"""A gradient whose entries all agree, and whose derivative along a line does not.

A line through many entries is known to about 10⁻¹¹ of the loss, an entry to 10⁻⁹: what no entry
shows by itself (a carry in single precision, 10⁻¹⁰ in one place) a line can. Two others are drawn
for every leaf, and then for all together, and only what contradicts them all is a fault.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from .constants import DRAWS, moved_along, with_moved_constants
from .oracle.noise import Noise
from .outcome import Report
from .roundoff import GradientRoundoff
from .survey import Survey, survey
from .target import Target
from .verdict import Finding, Row, Verdict

__all__ = ["judge_along_lines"]

Floats = NDArray[np.float64]
#: Further lines, each with directions of its own.
LINES = 2


def judge_along_lines(
    report: Report,
    target: Target,
    g: Mapping[int, Floats],
    roundoff: GradientRoundoff,
    noise: Noise,
    rng: np.random.Generator,
    line: Survey | None,
) -> None:
    """Fail what further lines contradict too; leave undecided what they do not settle.

    Nothing is done unless ``line``, through all blocks, contradicts the gradient and all rows pass.
    """
    if line is None or line.agrees or any(row.verdict is not Verdict.PASS for row in report.rows):
        return
    gradient, others = dict(g), [with_moved_constants(target, rng) for _ in range(DRAWS)]

    def explained(s: Survey) -> bool:
        """Within its bound, and what rounding of ill-conditioned constants adds to that."""
        return s.agrees or s.gap <= s.bound + moved_along(target, others, s.directions)

    if explained(line):
        return

    def seen(blocks: Sequence[int]) -> list[Survey | None]:
        return [survey(target, gradient, blocks, roundoff, noise, rng) for _ in range(LINES)]

    names, told = target.tree.names, False
    for row in report.rows:
        known = [s for s in seen([names.index(row.name)]) if s is not None]
        if len(known) == LINES and not any(explained(s) for s in known):
            _fail(row, known[0])
            told = True
    if told:
        return
    known = [s for s in seen([names.index(row.name) for row in report.rows]) if s is not None]
    refuted = len(known) == LINES and not any(explained(s) for s in known)
    some = "random lines through all parameters" if refuted else "a line through all parameters"
    text = (
        f"along {some} the derivative of the loss is not that of the gradient, "
        "though every entry agrees within its bound"
    )
    text += f": {line.gap:.1e} off where errors explain {line.bound:.1e}"
    target.note(Finding("along-a-line", text, fatal=refuted, undecided=not refuted))


def _fail(row: Row, line: Survey) -> None:
    row.verdict = Verdict.FAIL
    row.ratio = line.gap / line.bound if line.bound else float("inf")
    row.worst, row.numeric, row.bound = "along a line", line.value, line.bound
    row.analytic = line.claim
    row.method = "differences along a line"
    row.reasons = (
        Finding(
            "along-a-line",
            f"along {LINES} random lines through it the derivative of the loss is not that of the "
            f"gradient ({line.gap:.1e} off where errors explain {line.bound:.1e}); every entry "
            "by itself agrees within its bound, so it is off by little, perhaps everywhere: "
            "something held in a coarser format?",
        ),
    )
