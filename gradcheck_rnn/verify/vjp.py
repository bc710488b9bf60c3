"""Vector-Jacobian products of step functions with caches: every output's cotangent alone.

The gradient that flows in through the last states is the one most often lost, and a check of one
scalar loss never asks for it. Here each output gets a random cotangent while the others get zeros,
so that each output has its own rows in the report; that backward is linear covers all others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from .blackbox import check_point, selected
from .budget import Budget
from .factories import MISSED, Shapes, at_shapes, is_factory, one_shape, share_budget
from .guard import Nouns, fails_on_misbehaviour
from .linearity import look_at_linearity
from .options import check_pair_options, parse_seed
from .oracle.directions import content_seed, draw_direction, fresh_seed
from .outcome import Report
from .pairs import ArrayPair, Pair
from .rows import undecided_row
from .target import Target
from .trees import Tree, match_gradient
from .verdict import EntryState, Finding, Row, Verdict
from .zero_rows import look_with_zeros
from .zeros import settle_beside

__all__ = ["check_pair", "check_vjp", "rows_of_nothing", "wrong_lags"]

Array = NDArray[Any]
#: What the functions of a pair are called.
NOUNS = Nouns("forward", "backward")
#: What a step function needs: its forward pass has no slope, and backward claims one.
FLAT = Finding(
    "flat",
    "forward does not change with it around the point; if backward is by intent the derivative of "
    "another function (straight-through), give that as surrogate=: called like forward, with x in "
    "the place of floor(x) or round(x), a sigmoid in that of a threshold, and outputs only",
)
NONE = Finding("none", "backward returns None for it, which counts as zeros")
#: Of what may be constant in pieces, as the derivative of a relu is.
CONSTANT = "; it is constant in pieces, so its derivative is zero within them"
#: Findings that are no matter of one output.
SAID_ONCE = {"mutated-input", "dtype", "alias", "exits", "state", "budget", "digits"}


@fails_on_misbehaviour(lambda title: Report(title, []))
def check_vjp(
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    inputs: Any,
    *,
    cache: bool = True,
    outputs: Iterable[str] | None = None,
    time_axis: int | Mapping[str, int] | None = None,
    mode: str = "auto",
    seed: int | str | None = None,
    budget: int | str | None = None,
    select: str | Iterable[str] | None = None,
    unit: float = 0.0,
    surrogate: Callable[..., Any] | None = None,
    shapes: Shapes | None = None,
    workers: int = 1,
    title: str = "vjp check",
) -> Report:
    """Check a backward function: for each output alone, its cotangent times the Jacobian.

    Then for zeros, for multiples and for all outputs at once, where it has to be linear.

    Parameters
    ----------
    forward
        ``forward(*inputs)`` for a tuple or list, ``forward(**inputs)`` for a dict; returns
        ``(outputs, cache)``, outputs being an array, or a tuple, list or dict of them.
    backward
        ``backward(cotangents, cache)`` returns the gradients of the inputs, in their structure;
        cotangents come in the structure of the outputs, zeros where not probed.
    inputs
        Arrays; integer arrays are passed on as data and need no gradient. Or a function of sizes
        that makes them, with `shapes`.
    cache
        False: forward returns outputs only, and backward is called with the inputs instead.
    outputs
        Names of the outputs to probe, as they appear in the report; all by default.
    time_axis
        The axis along which outputs are stacked over time (those with the most axes: a last state
        has one less than its sequence), or a dict by output name: besides the whole, every step
        then gets a cotangent of its own, so that a fault at one step or beyond one lag is neither
        lost in a sum nor left to be searched for.
    mode, seed, budget, select, unit
        As in `check_gradient`; the budget is shared out over the outputs.
    surrogate
        For a backward that is by intent not the derivative of forward (straight-through, a smooth
        slope for a step): the function whose derivative it is, called like forward; returns outputs
        only.
    shapes
        For inputs that are a function, ``lambda T, B: …``: name → size, sizes, or a `range` (its
        ends, powers of two and their neighbours); all of them are run.
    workers
        As in `check_gradient`: processes that share the runs of forward.

    Returns
    -------
    Report
        Rows are named ``output -> input``, and ``output at step 3 -> input`` (from 1 on).

    Raises
    ------
    UsageError, DimensionError
        As `check_gradient`, and for outputs that are not floating-point arrays.
    """

    def pair(made: Any) -> Pair:
        tree = Tree.of(made, "inputs")
        return ArrayPair(tree, forward, backward, cached=cache, surrogate=surrogate)

    return check_pairs(
        pair, inputs, shapes, "check_vjp", outputs=outputs, time_axis=time_axis, mode=mode,
        seed=seed, budget=budget, select=select, unit=unit, workers=workers, title=title,
    )  # fmt: skip


def check_pairs(
    pair: Callable[[Any], Pair],
    inputs: Any,
    shapes: Shapes | None,
    who: str,
    *,
    check: Callable[..., Report] | None = None,
    budget: int | str | None = None,
    **options: Any,
) -> Report:
    """`check_pair`, or `check`, at the inputs, or at those that a factory makes for all shapes."""
    check = check or check_pair
    check_pair_options(who, options)
    if not is_factory(inputs, shapes, who):
        made = pair(inputs)
        report = check(made, budget=budget, **options)
        report.findings.append(one_shape(x.shape for x in made.tree.leaves))
        return report
    return at_shapes(
        inputs,
        shapes,
        lambda given, n: check(pair(given), budget=share_budget(budget, n), **options),
    )


def check_pair(
    pair: Pair,
    *,
    outputs: Iterable[str] | None = None,
    time_axis: int | Mapping[str, int] | None = None,
    mode: str = "auto",
    seed: int | str | None = None,
    budget: int | str | None = None,
    select: str | Iterable[str] | None = None,
    unit: float = 0.0,
    workers: int = 1,
    title: str = "vjp check",
) -> Report:
    """`check_vjp` at one point, for a pair of any library."""
    tree, outs = pair.tree, pair.begin()
    unit = max(unit, pair.unit)  # begin sees what forward computes in
    if seed is None:
        used = content_seed([*tree.leaves, *outs.leaves])
    else:
        used = fresh_seed() if isinstance(seed, str) and seed == "fresh" else parse_seed(seed)
    report = Report(title, [], seed=used, mode=mode)
    inputs = selected(tree, select)
    if not outs.real and outs.names:
        report.rows, report.findings = rows_of_nothing(pair, inputs), list(pair.findings)
        report.mode, report.gradients, report.evaluations = "entrywise", pair.pulls, pair.runs
        return report
    probed = _probed(outs, outputs, pair.probed)
    probes = list(_cotangents(outs, probed, time_axis, used))
    whole = {k: w for k, step, w in probes if not step}
    pair.protocol(whole)
    parts = []
    for k, step, weight in probes:
        part = check_point(
            _paired(pair, k, weight),
            _pulled(pair, k, weight),
            _named(tree).template,
            mode=mode,
            seed=used,
            budget=share_budget(budget, len(probes)),
            select=select,
            unit=unit,
            workers=workers,
            nouns=NOUNS,
        )
        parts.append((k, step, part))
    positions = {tree.names[i]: i for i in inputs}
    found = [(k, step, positions[row.name], row) for k, step, part in parts for row in part.rows]
    steady = all(part.deterministic for _, _, part in parts)
    for i in inputs:
        settle_beside([row for _, _, j, row in found if j == i])
    reached = {(k, i) for k, _, i, row in found if _depends(row)}
    linear = look_at_linearity(pair, whole, inputs, reached, used, unit)
    for k, step, i, row in found:
        if (k, i) in linear.ignored:
            row.reasons = (Finding("cotangent-ignored", linear.ignored[k, i]),)
        if row.verdict is Verdict.FAIL and (k, i) in pair.none:
            row.reasons = (NONE,)
        elif row.has("never-changes") and reached:
            row.settled()  # an output that nothing moves, beside others that something does
        elif row.in_pieces and pair.constant:
            row.settled(f"{row.missed}{CONSTANT}")
        elif steady and row.verdict is not Verdict.PASS and i not in {j for _, j in reached}:
            row.reasons = (*row.reasons, FLAT)
        name = f"{_called(outs, k, step)} -> {row.name}"
        whose = replace(row, output=outs.names[k], step=step, source=row.name)
        report.rows.append(replace(whose, name=name))
    for k, step, part in parts:
        _take(report, _called(outs, k, step), part)
    if outputs is None:
        report.rows += [
            undecided_row(outs, k, Finding("unprobed", why)) for k, why in pair.unprobed.items()
        ]
    report.findings += [f for f in [*pair.findings, *linear.findings] if f not in report.findings]
    if pair.surrogate is not None:
        who = getattr(pair.surrogate, "__name__", "surrogate")
        text = f"compared with the derivative of the surrogate {who!r}, not of forward as it runs"
        report.findings.append(Finding("surrogate", text))
    together = Target(*_summed(pair, whole), _named(tree), inputs, Budget(None), unit, NOUNS)
    if budget is None:
        look_with_zeros(report, together, check_point, every=True, passes=pair.passes)
    report.gradients = pair.pulls
    if isinstance(time_axis, int):
        report.findings += wrong_lags(report.rows, tree, time_axis)
    return report


def _paired(pair: Pair, k: int, weight: Array) -> Callable[..., Any]:
    """The scalar <weight, output k> as a function of named inputs."""

    def loss(named: dict[str, Array]) -> Any:
        return np.sum(weight * pair.outputs([named[name] for name in pair.tree.names])[k])

    return loss


def _named(tree: Tree) -> Tree:
    """The same leaves as one dict."""
    return Tree.of(dict(zip(tree.names, tree.leaves, strict=True)))


def _summed(
    pair: Pair, weights: Mapping[int, Array]
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The sum of <weight, output> over all outputs as a function of named inputs; its gradient."""
    names = pair.tree.names

    def loss(named: dict[str, Array]) -> Any:
        outputs = pair.outputs([named[name] for name in names])
        return sum(np.sum(weight * outputs[k]) for k, weight in weights.items())

    def gradient(named: dict[str, Array]) -> dict[str, Any]:
        found = pair.pull([named[name] for name in names], weights)
        return {names[i]: g for i, g in found.items()}

    return loss, gradient


def _pulled(pair: Pair, k: int, weight: Array) -> Callable[..., Any]:
    """The backward function for the cotangent of output k alone, as a dict by input name."""

    def gradient(named: dict[str, Array]) -> dict[str, Any]:
        found = pair.pull([named[name] for name in pair.tree.names], {k: weight})
        return {pair.tree.names[i]: g for i, g in found.items()}

    return gradient


def _take(report: Report, name: str, part: Report) -> None:
    """Counts and findings of the check of one output."""
    report.evaluations += part.evaluations
    report.mode, report.deterministic = part.mode, report.deterministic and part.deterministic
    report.noise = part.noise if np.isnan(report.noise) else max(report.noise, part.noise)
    for finding in part.findings:
        if finding.kind == MISSED:
            continue
        text = finding.message
        if finding.kind not in SAID_ONCE:
            text = f"output '{name}': {text}"
        finding = replace(finding, message=text)
        if finding not in report.findings:
            report.findings.append(finding)


def _depends(row: Row) -> bool:
    """Whether differences saw the output change with the input."""
    if row.check is None:
        return bool(row.numeric != 0)
    if row.states is not None and np.any(row.states == EntryState.KINK):
        return True  # it changes, though not smoothly
    known = np.isfinite(row.check.value) & (np.abs(row.check.value) > row.check.error)
    return bool(np.any(known))


def _probed(outs: Tree, wanted: Iterable[str] | None, default: list[int]) -> list[int]:
    if wanted is None:
        return default
    known = {outs.names[i]: i for i in outs.real}
    names = [wanted] if isinstance(wanted, str) else list(wanted)
    for name in names:
        if name not in known:
            raise UsageError(f"there is no output '{name}'; outputs are {', '.join(known)}")
    if not names:
        raise UsageError("outputs is empty; name at least one output or leave it out")
    return [known[name] for name in names]


def _cotangents(
    outs: Tree, probed: list[int], time_axis: int | Mapping[str, int] | None, seed: int
) -> Iterator[tuple[int, int, Array]]:
    """Each probe's output, step and cotangent: the whole output (0), then its steps from 1 on."""
    if isinstance(time_axis, Mapping):
        for name in time_axis:
            if name not in outs.names:
                raise UsageError(f"time_axis names '{name}'; outputs are {', '.join(outs.names)}")
    # A sequence of no steps is not probed, and still is the one that runs along time.
    empty = [k for k, leaf in enumerate(outs.leaves) if not leaf.size]
    most = max((outs.leaves[k].ndim for k in (*probed, *empty)), default=0)
    for k in probed:
        name, leaf = outs.names[k], outs.leaves[k]
        weight = draw_direction(leaf.shape, seed, f"cotangent of {name}")
        weight = (weight * np.sqrt(weight.size)).astype(leaf.dtype)
        yield k, 0, weight
        if isinstance(time_axis, Mapping):
            axis = time_axis.get(name)
        else:
            axis = time_axis if leaf.ndim == most else None
        if axis is None:
            continue
        if not -leaf.ndim <= axis < leaf.ndim:
            raise UsageError(f"time_axis {axis}: the output '{name}' has {leaf.ndim} axes")
        steps = leaf.shape[axis]
        for t in range(steps) if steps > 1 else ():
            alone = np.zeros_like(weight)
            at = (slice(None),) * (axis % leaf.ndim) + (t,)
            alone[at] = weight[at]
            yield k, t + 1, alone


def _called(outs: Tree, k: int, step: int) -> str:
    return f"{outs.names[k]} at step {step}" if step else outs.names[k]


def wrong_lags(rows: Sequence[Row], tree: Tree, axis: int) -> list[Finding]:
    """One finding an output and input of equally many steps, where only some lags are wrong.

    Parameters
    ----------
    rows
        Of a vector-Jacobian check; others than of single steps are passed over.
    tree
        The inputs.
    axis
        The axis of time, of outputs and inputs alike.
    """
    leaves = dict(zip(tree.names, tree.leaves, strict=True))
    found: dict[tuple[str, str], dict[int, Row]] = {}
    for row in rows:
        if row.step and row.states is not None:
            found.setdefault((row.output, row.source), {})[row.step - 1] = row
    said = []
    for (output, name), by_step in found.items():
        leaf, steps = leaves[name], len(by_step)
        if leaf.ndim <= axis or leaf.shape[axis] != steps:
            continue
        wrong, looked = set(), set()
        for at, row in by_step.items():
            states = np.moveaxis(np.asarray(row.states), axis, 0).reshape(steps, -1)
            for t in range(steps):
                if np.any(states[t] == EntryState.FAIL):
                    wrong.add((at, t))
                if np.any(states[t] != EntryState.UNPROBED):
                    looked.add((at, t))
        sentence = _sentence(wrong, looked)
        if sentence:
            said.append(Finding("lags", f"the gradient of '{name}' from '{output}' {sentence}"))
    return said


def _sentence(wrong: set[tuple[int, int]], looked: set[tuple[int, int]]) -> str:
    """What the wrong pairs (step of the output, step of the input) have in common, or nothing."""
    if not wrong:
        return ""
    lags, right = ({at - t for at, t in pairs} for pairs in (wrong, looked - wrong))
    if not lags & right:
        shortest, longest = min(lags), max(at - t for at, t in looked)
        plural = "s" if shortest != 1 else ""
        if len(lags) == 1:
            return f"is wrong {shortest} step{plural} back only"
        if shortest > 0 and lags == set(range(shortest, longest + 1)):
            return f"is wrong {shortest} step{plural} back and more, right before"
    for s in {at for at, _ in looked}:
        if wrong == {(at, t) for at, t in looked if t < s <= at}:
            return f"is wrong wherever it goes back from step {s + 1} to step {s}"
    for which, who in ((1, "to"), (0, "from")):
        steps = {pair[which] for pair in wrong}
        if len(steps) == 1:
            return f"is wrong {who} step {steps.pop() + 1} only"
    return ""


def rows_of_nothing(pair: Pair, inputs: Iterable[int]) -> list[Row]:
    """A row for each of these inputs: what backward gives for cotangents without an entry.

    Raises
    ------
    UsageError, DimensionError
        A gradient is missing or of another shape than its input.
    """
    tree, outs = pair.tree, pair.outs
    given = {k: y for k, y in enumerate(outs.leaves) if y.dtype.kind == "f"}
    raw = {tree.names[i]: g for i, g in pair.pull(tree.leaves, given).items()}
    found = match_gradient(raw, tree, list(inputs))
    whose = outs.names[0] if len(outs.names) == 1 else "outputs"
    return [_row(whose, tree.names[i], np.asarray(g, np.float64)) for i, g in found.items()]


def _row(whose: str, name: str, gradient: Array) -> Row:
    wrong = gradient != 0  # NaN is not zero
    at = int(np.argmax(np.nan_to_num(np.abs(gradient), nan=np.inf)))
    bad = int(np.sum(wrong))
    reason = Finding("empty", "the outputs have no entry, so that nothing depends on it")
    return Row(
        f"{whose} -> {name}", gradient.shape,
        Verdict.FAIL if bad else Verdict.PASS, float("inf") if bad else 0.0,
        str([int(i) for i in np.unravel_index(at, gradient.shape)]),
        float(gradient.reshape(-1)[at]), 0.0, 0.0, 0.0,
        failing=bad, entries=gradient.size, source=name, reasons=(reason,) if bad else (),
    )  # fmt: skip
