"""Black-box gradient check: the user's own loss and gradient, nothing else known.

``check_gradient(loss, gradient, {"W": W, "b": b}).raise_for_failure()``
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..checks import check_names
from ..errors import UsageError
from ..streams import Stream, generator
from .budget import Budget, OutOfBudget
from .cancelling import doubt_cancelling_terms
from .constants import forgive_constants
from .ending import check_returned_value, come_to_rest, finish
from .entries import Begun, begin_entries, check_entries
from .factories import Shapes, at_shapes, is_factory, one_shape, share_budget
from .fallback import use_fallback_oracles
from .few_calls import CALLS, FewCalls, in_few_calls
from .guard import LOSS_AND_GRADIENT, Nouns, fails_on_misbehaviour
from .jumping import doubt_stairs
from .kinked import judge_kinks, settle_beside_kinks
from .known import KnownLoss
from .levels import call_gradient, look_at_loss
from .offered import offers_derivatives
from .onesided import worth
from .options import check_options, parse_seed
from .oracle.directions import content_seed, fresh_seed
from .oracle.noise import Noise
from .outcome import Report
from .probes import direction, probe_block
from .repeats import tell_rare
from .roundoff import GradientRoundoff, measure_gradient_roundoff
from .rows import entry_row, failed_row, probe_row, undecided_row
from .singular import settle_singular
from .survey import Survey, survey
from .suspicions import judge_along_lines, suspect
from .target import Target
from .together import settled_at_once
from .trees import Tree
from .verdict import Finding, Row, Verdict
from .zero_rows import look_with_zeros
from .zeros import settle_zeros

__all__ = ["check_gradient", "check_point", "selected"]

Floats = NDArray[np.float64]
MOST_ENTRIES = 10_000
RESOLVE = 0.1
#: Bounds of a line that a fault must exceed to be seen on it: the next line has another bound.
SURELY = 4.0
#: Evaluations an entry that a budget must allow; most need one or two.
PLANNED = 4


@fails_on_misbehaviour(lambda title: Report(title, []))
def check_gradient(
    loss: Callable[..., Any],
    gradient: Callable[..., Any] | None,
    parameters: Any,
    *,
    mode: str = "auto",
    seed: int | str | None = None,
    budget: int | str | None = None,
    select: str | Iterable[str] | None = None,
    resolve: float = RESOLVE,
    unit: float = 0.0,
    repeats: int | None = None,
    shapes: Shapes | None = None,
    workers: int = 1,
    title: str = "gradient check",
) -> Report:
    """Check a gradient against finite differences of its loss, with a bound for every entry.

    Parameters
    ----------
    loss
        Maps the parameters to a real scalar: ``loss(parameters)`` for a dict or an array,
        ``loss(*parameters)`` for a tuple or list.
    gradient
        Called like the loss; returns gradients in the structure of the parameters, or a dict by
        name (``W`` or ``dW``), or (value, gradients). None: the loss itself returns that pair.
    parameters
        Floating-point arrays; integer arrays among them are passed on as data. Never modified. Or
        a function of sizes that makes them, with `shapes`.
    mode
        ``"entrywise"``, ``"directional"`` or ``"auto"``: entrywise up to 10,000 entries, or as
        far as the budget allows four evaluations an entry.
    seed
        Of the directions; by default derived from parameters and gradient, ``"fresh"`` draws one.
    budget
        Loss evaluations (a count), or seconds as ``"10s"``. A count may be exceeded by a fifth to
        finish an entry or direction; seconds end the check with the call that exceeds them. What
        is not finished then is undecided.
    select
        Names of the parameters to check; all by default.
    resolve
        Relative size of a fault of a whole block that must be visible; a block in which it could
        hide is undecided. A demand on the check's power, no tolerance: it never lets a visible
        difference pass. More than 0 and at most 1.
    unit
        Unit in the last place of the format that the functions compute in, relative, where their
        arrays do not show it: ``2**-7`` for bfloat16 behind float32 arrays.
    repeats
        Calls of the gradient alone, at the point itself, which must agree bitwise or within the
        rounding of sums in another order. By default six, more where entries are many, up to 50;
        along directions three, and one beside the point, where the loss is smooth.
        What comes once in more calls than that is not seen; the report says with what chance.
    shapes
        For parameters that are a function, ``lambda T, B: …``: name → size, sizes, or a `range`
        (its ends, powers of two and their neighbours); all of them are run.
    workers
        Processes that share the losses of an entrywise check without a budget, by forks of this
        one (Linux). Each has what the loss has changed so far, and its own of what it changes.
    title
        First words of the report.

    Returns
    -------
    Report
        With `.passed`, `.verdict`, `.rows`, `.findings`, `.raise_for_failure()`, `.to_json()`.

    Raises
    ------
    UsageError, DimensionError
        Misuse: no floating-point parameters, a loss that is no scalar, missing, extra or misshapen
        gradients. Exceptions of `loss` and `gradient` propagate unchanged.
    """
    check_options(mode, resolve, unit, repeats)
    if is_factory(parameters, shapes, "check_gradient"):
        return at_shapes(
            parameters,
            shapes,
            lambda made, n: check_gradient(
                loss, gradient, made, mode=mode, seed=seed, budget=share_budget(budget, n),
                select=select, resolve=resolve, unit=unit, repeats=repeats, workers=workers,
                title=title,
            ),
        )  # fmt: skip
    report, target = _checked(
        loss, gradient, parameters, mode=mode, seed=seed, budget=budget, select=select,
        resolve=resolve, unit=unit, repeats=repeats, workers=workers, title=title,
        in_place=not isinstance(loss, KnownLoss),
    )  # fmt: skip
    look_with_zeros(report, target, check_point)
    return report


def check_point(
    loss: Callable[..., Any], gradient: Callable[..., Any] | None, parameters: Any, **options: Any
) -> Report:
    """`check_gradient` at the given point alone, with the same options but `shapes`."""
    return _checked(loss, gradient, parameters, **options)[0]


def _checked(
    loss: Callable[..., Any],
    gradient: Callable[..., Any] | None,
    parameters: Any,
    *,
    mode: str = "auto",
    seed: int | str | None = None,
    budget: int | str | None = None,
    select: str | Iterable[str] | None = None,
    resolve: float = RESOLVE,
    unit: float = 0.0,
    repeats: int | None = None,
    workers: int = 1,
    title: str = "gradient check",
    nouns: Nouns = LOSS_AND_GRADIENT,
    beside: bool = True,
    in_place: bool = False,
) -> tuple[Report, Target]:
    blocks = selected(tree := Tree.of(parameters), select)
    target = Target(loss, gradient, tree, blocks, Budget(budget), max(unit, tree.unit), nouns)
    if workers != 1:
        from .parallel import check_workers

        target.workers = check_workers(workers)
    report = Report(title, [], mode=mode)
    try:
        target.base = target.value(tree.leaves)
        g = target.gradient_at(tree.leaves)
        report.seed, report.loss = _seed(seed, [*tree.leaves, *(g[i] for i in blocks)]), target.base
        few = None
        if np.isfinite(target.base):
            check_returned_value(target)
            if in_place and target.budget.unlimited and (repeats is None or repeats >= CALLS - 1):
                report.mode = _mode(report.mode, target, blocks)
                if report.mode == "directional":
                    few = in_few_calls(target, g, report.seed, resolve)
        if few is not None and few.rows:
            few.tell(report, target, g, repeats)
        elif np.isfinite(target.base):
            if few is not None and few.odd:
                come_to_rest(target)
            second = None if repeats == 1 else target.gradient_at(tree.leaves, look=few is not None)
            doubt = _judge(report, target, g, second, resolve, repeats, few)
            settle_singular(report, target, check_point, mode=mode, resolve=resolve)
            if beside and doubt is not None:
                settle_beside_kinks(report, target, doubt, check_point, mode=mode, resolve=resolve)
        else:
            reason = Finding("not-finite", f"{nouns.loss} is {target.base} at the given parameters")
            report.rows = [undecided_row(tree, i, reason) for i in blocks]
        last, odd = (few.last, few.odd) if few is not None else (None, False)
        finish(target, report, in_place=in_place, last=last, odd=odd)
        blind = report.verdict is Verdict.UNDECIDED and any(r.without_value for r in report.rows)
        if blind and target.outside is not None:
            raise target.outside
    except OutOfBudget:
        reason = Finding("budget", "the budget was spent before it was checked")
        done = {row.name for row in report.rows}
        report.rows += [undecided_row(tree, i, reason) for i in blocks if tree.names[i] not in done]
    report.findings = [*target.findings, one_shape(x.shape for x in target.tree.leaves)]
    report.evaluations, report.gradients = target.evaluations, target.gradients
    return report, target


def _judge(
    report: Report,
    target: Target,
    g: dict[int, Floats],
    second: dict[int, Floats] | None,
    resolve: float,
    repeats: int | None,
    few: FewCalls | None,
) -> Noise | None:
    """Rows and findings at a point where the loss is finite, and `few` calls have not settled them.

    Returns the noise of a deterministic loss, unless a line through the point has met no kink.
    """
    tree, blocks, used = target.tree, target.select, report.seed
    rng, smooth = generator(used, Stream.NOISE_OF_LOSS), few is not None and few.smooth
    noise, jumps = look_at_loss(report, target, rng, smooth=smooth)
    common = few.line if few is not None and not few.odd and noise.deterministic else None
    if common is not None and not smooth:
        common.call_again()  # some calls alone may be off
    finite = [i for i in blocks if np.isfinite(g[i]).all()]
    report.mode = _mode(report.mode, target, finite)
    entrywise, offered = report.mode == "entrywise", offers_derivatives(target)
    agreed = 0 if few is None or few.odd else CALLS - 2
    called = roundoff = None
    if finite:  # neighbours show the roundoff; gradients that are not finite fail anyway
        called = call_gradient(
            target, g, finite, second, used, entrywise=entrywise, repeats=repeats, agreed=agreed
        )
        roundoff = called.roundoff
    line: Survey | None = None
    known: dict[int, Row] = {}
    if roundoff is not None and jumps is None:
        if entrywise or offered:
            line = _line(target, g, finite, roundoff, noise, rng)
        if line is not None or not (entrywise or offered):
            known = settled_at_once(target, g, finite, roundoff, noise, line, used, resolve, common)
    mine = [i for i in finite if i not in known]
    begun = begin_entries(target, g, mine, roundoff, noise, rng, line if entrywise else None)
    for i in blocks:
        if i not in finite or roundoff is None:
            report.rows.append(failed_row(tree, i, g[i]))
        elif i in known:
            report.rows.append(known[i])
        elif entrywise:
            share = g[i].size / sum(g[k].size for k in finite if k >= i)
            done = begun.get(i)
            row = _entrywise(target, i, g[i], roundoff, noise, rng, resolve, line, share, done)
            report.rows.append(row)
        else:
            row = _directional(target, i, g[i], roundoff, noise, used, resolve)
            if row.verdict is not Verdict.PASS and called is not None and not called.measured:
                roundoff = measure_gradient_roundoff(target, g, used, finite, again=called.again)
                called = replace(called, roundoff=roundoff, measured=True)
                row = _with_roundoff(target, i, g[i], roundoff, row, used, resolve) or _directional(
                    target, i, g[i], roundoff, noise, used, resolve
                )
            report.rows.append(row)
    if all(row.check is not None for row in report.rows):
        report.mode = "entrywise"
    if roundoff is not None:
        failed = any(row.verdict is Verdict.FAIL for row in report.rows)
        if entrywise and line is not None and not line.agrees and not failed:
            # what is wrong, if anything, is less than one side can see
            rows = [_entrywise(target, i, g[i], roundoff, noise, rng, resolve) for i in blocks]
            report.rows = rows
        forgive_constants(report, target, g, roundoff, noise, used, resolve)

        def judge(
            there: Target, i: int, own: Floats, rounded: GradientRoundoff, level: Noise
        ) -> Row:
            if entrywise:
                return _entrywise(there, i, own, rounded, level, rng, resolve)
            return _directional(there, i, own, rounded, level, used, resolve)

        doubt_cancelling_terms(report, target, g, roundoff, noise, used, resolve, judge, line)
        use_fallback_oracles(report, target, g, roundoff, noise, used, resolve)
        settle_zeros(report, target, roundoff, noise, used, judge)
        judge_along_lines(report, target, g, roundoff, noise, rng, line if entrywise else None)
        suspect(report, target, g, answers=called is not None and called.answers(g))
    if jumps is not None:
        jumps.tell(report, target)
    tell_rare(report, called.calls if called is not None else 1)
    return noise if noise.deterministic and line is None else None


def selected(tree: Tree, select: str | Iterable[str] | None) -> list[int]:
    """Positions of the leaves to check.

    Raises
    ------
    UsageError
        A name that is no parameter, or none at all.
    """
    if select is None:
        return tree.real
    wanted = check_names(select, "select")
    known = {tree.names[i]: i for i in tree.real}
    for name in wanted:
        if name not in known:
            raise UsageError(
                f"select names '{name}', which is no parameter; choose from {', '.join(known)}"
            )
    if not wanted:
        raise UsageError("select is empty; name at least one parameter or leave it out")
    return [known[name] for name in dict.fromkeys(wanted)]


def _seed(seed: int | str | None, content: list[NDArray[Any]]) -> int:
    if seed is None:
        return content_seed(content)
    return fresh_seed() if isinstance(seed, str) and seed == "fresh" else parse_seed(seed)


def _mode(mode: str, target: Target, blocks: list[int]) -> str:
    if mode != "auto":
        return mode
    entries = sum(target.tree.leaves[i].size for i in blocks)
    cost = PLANNED * entries + 64 * len(blocks)
    affordable = cost <= target.budget.left(target.evaluations)
    return "entrywise" if entries <= MOST_ENTRIES and affordable else "directional"


def _line(
    target: Target,
    g: dict[int, Floats],
    blocks: list[int],
    roundoff: GradientRoundoff,
    noise: Noise,
    rng: np.random.Generator,
) -> Survey | None:
    """A line without kinks through all blocks, where differences on one side may do for some."""
    if not any(worth(target, i, g[i], noise) for i in blocks):
        return None
    return survey(target, g, blocks, roundoff, noise, rng)


def _entrywise(
    target: Target,
    block: int,
    gradient: Floats,
    roundoff: GradientRoundoff,
    noise: Noise,
    rng: np.random.Generator,
    resolve: float,
    line: Survey | None = None,
    share: float = 1.0,
    begun: Begun | None = None,
) -> Row:
    bounds = roundoff.bounds[block]
    check = check_entries(target, block, gradient, bounds, noise, rng, line, share, begun)
    doubt_stairs(target, check, gradient)
    judge_kinks(target, check, gradient, bounds, rng)
    row = entry_row(target.tree, check, gradient, bounds, resolve)
    if line is not None and line.agrees and row.verdict is Verdict.PASS:
        # it moves every entry by the size of its leaf at least
        least = SURELY * line.bound / target.scale(block)
        row.missed += f"; a fault of one entry alone above {least:.1e} shows on a line through all"
    return row


def _directional(
    target: Target,
    block: int,
    gradient: Floats,
    roundoff: GradientRoundoff,
    noise: Noise,
    seed: int,
    resolve: float,
) -> Row:
    probes = probe_block(target, block, gradient, roundoff, noise, seed, resolve=resolve)
    return probe_row(target.tree, block, gradient, probes, resolve)


def _with_roundoff(
    target: Target,
    block: int,
    gradient: Floats,
    roundoff: GradientRoundoff,
    row: Row,
    seed: int,
    resolve: float,
) -> Row | None:
    """The same directions, judged with the roundoff since measured, if they still fail."""
    probes = [
        replace(
            p, roundoff=roundoff.along(block, gradient, direction(target, block, seed, p.number))
        )
        for p in row.probes
    ]
    if not any(p.ratio > 1 and p.kink is None for p in probes):
        return None
    return probe_row(target.tree, block, gradient, probes, resolve)
