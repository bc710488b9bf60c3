"""Suspicions: functions that ignore their argument, factors common to all, lines that contradict.

A line through many entries is known to about 10⁻¹¹ of the loss, an entry to 10⁻⁹: what no entry
shows by itself (a carry in single precision, 10⁻¹⁰ in one place) a line can. Two others are drawn
for every leaf, and then for all together, and only what contradicts them all is a fault.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ..streams import Stream, generator
from .cancelling import rounding_noise
from .constants import DRAWS, moved_along, with_moved_constants
from .hints import common_factor
from .oracle.differences import Ladder, start_exponent
from .oracle.line_functions import Lines
from .oracle.noise import Noise, measure_noise, narrow_format
from .outcome import Report
from .probes import probe_block
from .roundoff import GradientRoundoff, measure_gradient_roundoff
from .steps_of_losses import step_between
from .survey import Survey, survey
from .target import Target
from .verdict import EntryState, Finding, Row, Verdict

__all__ = ["judge_along_lines", "suspect", "tell_noise"]

Floats = NDArray[np.float64]


def suspect(report: Report, target: Target, g: dict[int, Floats], *, answers: bool) -> None:
    """Add findings that explain a report, or that it could not see at one point.

    `answers` says whether the gradient of every block is another one close by, so that it remembers
    nothing, unless it keeps something by a part of its arguments alone.
    """
    if not target.responds and any(np.any(g[i]) for i in target.select):
        target.find(
            "loss-ignores-argument",
            f"{target.nouns.loss} never changed, whatever parameter was moved; does it read "
            "captured arrays instead of its argument?",
        )
        return
    failing = [row for row in report.rows if row.verdict is Verdict.FAIL]
    if len(failing) > 1 and len(failing) == len(report.rows):
        a = np.array([row.analytic for row in failing])
        f = np.array([row.numeric for row in failing])
        e = np.array([row.bound for row in failing])
        factor = common_factor(a, f, e) if np.isfinite([a, f, e]).all() else None
        if factor is not None:
            guess = (
                f"; is a sum over steps or sequences taken for a mean, {target.nouns.loss} "
                "scaled, or the gradient clipped by its norm?"
            )
            target.find(
                "common-factor",
                f"all gradients are {factor:.6g} times the difference quotients"
                f"{guess if factor > 0 else ''}",
            )
    _clipped(target, g, failing)
    _few_digits(target, g)
    if not failing:
        passed = {row.name for row in report.rows if row.verdict is Verdict.PASS}
        _stale(target, g, report.seed, passed, answers=answers)


def _few_digits(target: Target, g: dict[int, Floats]) -> None:
    """Note gradients that hold digits of a coarser format only, where the parameters hold more.

    It fails nothing: such a format may be meant, and errors beyond the bounds fail without it.
    """
    leaves, mine = target.tree.leaves, [i for i in target.select if np.isfinite(g[i]).all()]
    eps = max(target.format_eps(i) for i in mine)
    name, held = narrow_format({i: g[i] for i in mine}, eps)
    given = {i: np.asarray(leaves[i], np.float64) for i in target.tree.real}
    if not held or narrow_format(given, eps)[0] or any(f.kind == "dtype" for f in target.findings):
        return
    names = ", ".join(f"'{target.tree.names[i]}'" for i in held[:3])
    more = ", …" if len(held) > 3 else ""
    target.find(
        "digits",
        f"the gradient of {names}{more} is returned in {leaves[held[0]].dtype} and holds {name} "
        f"digits only: something in {target.nouns.gradient} is computed in {name}, or cast to it",
    )


def _clipped(target: Target, g: dict[int, Floats], failing: list[Row]) -> None:
    """Wrong entries that all have one size, which no other exceeds, have been clipped to it."""
    positions = {target.tree.names[i]: i for i in target.select}
    sizes: list[Floats] = []
    for row in failing:
        if row.states is None or row.check is None:
            return
        wrong = row.states.ravel() == EntryState.FAIL
        own, want = g[positions[row.name]].ravel()[wrong], row.check.value[wrong]
        if np.any(np.abs(want) <= np.abs(own)) or np.any(own * want < 0):
            return
        sizes.append(np.abs(own))
    found = np.concatenate(sizes) if sizes else np.zeros(0)
    if found.size < 2 or found[0] == 0 or np.any(found != found[0]):
        return
    if all(np.max(np.abs(g[i]), initial=0.0) <= found[0] for i in positions.values()):
        target.find(
            "clipped",
            f"the wrong entries are all ±{found[0]:.6g} and should be larger; is the gradient "
            f"clipped?",
        )


def _stale(
    target: Target, g: dict[int, Floats], seed: int, passed: set[str], *, answers: bool
) -> None:
    """Find a gradient that is right here because it remembers this point, and wrong elsewhere.

    Of what has passed: where nothing shows that it is right here, it may be that of another
    function by intent, as a straight-through gradient is.
    """
    for i in target.select if target.keeps and len(target.select) > 1 else ():
        _remembered(target, g, [i], seed, passed, whole=True)
    if not answers:
        _remembered(target, g, target.select, seed, passed)


def _remembered(
    target: Target,
    g: dict[int, Floats],
    moved_blocks: Sequence[int],
    seed: int,
    passed: set[str],
    *,
    whole: bool = False,
) -> None:
    """Find gradients that stay the same, where some blocks move, and are wrong there.

    With `whole` only where all of them stay: a term of one block leaves others alone.
    """
    rng = generator(seed, Stream.OTHER_POINT)
    leaves = [
        (x + np.where(x == 0, target.scale(i), x) * rng.uniform(-0.05, 0.05, x.shape)).astype(
            x.dtype
        )
        if i in moved_blocks
        else x
        for i, x in enumerate(target.tree.leaves)
    ]
    there = target.gradient_at(leaves)
    same = [
        i
        for i in target.select
        if target.tree.names[i] in passed and np.array_equal(g[i], there[i]) and np.any(g[i])
    ]
    if whole and len(same) < len(target.select):
        return
    if not same or not all(np.isfinite(there[i]).all() for i in target.select):
        return
    # a loss that is linear in a parameter has a constant gradient; differences tell
    moved = target.moved(leaves)
    moved.base = moved.value(leaves)
    if np.isfinite(moved.base):
        eps = max(float(np.finfo(leaves[i].dtype).eps) for i in same)
        directions = {i: rng.standard_normal(leaves[i].shape) for i in same}
        noise = measure_noise(moved.across(directions), 1.0, eps, target.value_eps)
        noise = rounding_noise(moved, noise, seed) or noise
        roundoff = measure_gradient_roundoff(moved, there, seed, same)
        for i in same:
            probes = probe_block(moved, i, there[i], roundoff, noise, seed, 1)
            if any(p.ratio > 1 and p.kink is None for p in probes):
                target.find(
                    "gradient-ignores-argument",
                    f"the gradient of '{target.tree.names[i]}' is the same at other parameters, "
                    f"where it is wrong; does it read a stale cache or captured arrays?",
                    fatal=True,
                )
    target.evaluations += moved.evaluations
    target.gradients += moved.gradients


def tell_noise(target: Target, noise: Noise) -> None:
    """Findings on a loss whose values are not those of a smooth function."""
    if noise.rounded_inside:
        target.find(
            "rounded-loss",
            f"something is rounded inside {target.nouns.loss}, or cast to a narrow format: its "
            f"values are off by {noise.sigma:.1e}, many of the steps of {noise.quantum:.1e} in "
            "which it comes out; this is part of every bound: compute it in one format",
        )
    elif noise.quantum:
        target.find(
            "rounded-loss",
            f"{target.nouns.loss} takes values in steps of {noise.quantum:.3g} (rounded, cast to a "
            "narrow format, counted, or flat between steps); this is part of every bound: return "
            "it as computed",
        )
    if noise.random:
        target.find(
            "nondeterministic",
            f"{target.nouns.loss} draws random numbers: it differs between calls at one point by "
            f"{noise.repeats:.1e}, more than rounding can. Fix the seed inside {target.nouns.loss} "
            "and the gradient, or pass what is drawn (a dropout mask, noise) as an argument",
        )
    elif not noise.deterministic:
        target.find(
            "nondeterministic",
            f"{target.nouns.loss} differs between calls at one point by {noise.repeats:.1e}; "
            "this noise is part of every bound",
        )


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
        if len(known) < LINES or any(explained(s) for s in known):
            continue
        if not all(_refutes(target, s, noise) for s in known):
            continue
        told = True
        steps = next(filter(None, (_on_a_step(target, s, noise) for s in known)), "")
        if steps:
            row.verdict, row.reasons = Verdict.UNDECIDED, (Finding("steps", steps),)
        else:
            _fail(row, known[0])
    if told:
        return
    known = [s for s in seen([names.index(row.name) for row in report.rows]) if s is not None]
    refuted = len(known) == LINES and not any(explained(s) for s in known)
    if refuted and not all(_refutes(target, s, noise) for s in known):
        return
    if refuted and any(_on_a_step(target, s, noise) for s in known):
        refuted = False
    some = "random lines through all parameters" if refuted else "a line through all parameters"
    text = (
        f"along {some} the derivative of {target.nouns.loss} is not that of the gradient, "
        "though every entry agrees within its bound"
    )
    text += f": {line.gap:.1e} off where errors explain {line.bound:.1e}"
    target.note(Finding("along-a-line", text, fatal=refuted, undecided=not refuted))


def _refutes(target: Target, line: Survey, noise: Noise) -> bool:
    """Whether differences at all steps down to the noise contradict the gradient along a line.

    A few steps cannot tell a slope from a mean over a scale on which the loss varies: that of
    entries that are zero beside others of a million.
    """
    along = target.across(dict(line.directions))
    lines = Lines(lambda eps: along(eps[:, 0])[:, None])
    ladder = Ladder(lines, target.base, noise, start_exponent(1.0))
    ladder.settle(0.0)
    ladder.exhaust(line.claim)
    slack = line.bound - line.error
    found = ladder.contest(line.claim, slack)
    return found.trusted and abs(found.value - line.claim) > found.error + slack


def _on_a_step(target: Target, line: Survey, noise: Noise) -> str:
    """Why the derivative along a line may be that of one step of the loss, '' if it is not."""
    along = target.across(dict(line.directions))
    return step_between(along, 1.0, target.base, line.claim, line.value, noise.sigma)


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
