"""Rounding that moving the parameters does not show: that of constants the functions close over.

An inverse, a solve, a factorisation of a constant matrix is computed with an error of its condition
number times the format's unit, and this error is the same for all parameters. Loss and gradient may
take it by different ways. Their answers for constants one unit in the last place away show how far
such errors may have carried either. The user's data is not touched: functions are rebuilt around
copies. Constants that a function makes within itself are moved where they come into a solver of
`numpy.linalg`.
"""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..streams import Stream, generator
from .budget import OutOfBudget
from .known import tells
from .oracle.differences import Ladder, start_exponent
from .oracle.noise import Noise
from .outcome import Report
from .probes import direction
from .roundoff import GradientRoundoff
from .rows import entry_row, probe_row
from .scales import reach_of, scale_of
from .target import Target
from .verdict import EntryState, Finding, Row, Verdict

__all__ = [
    "DRAWS", "forgive_constants", "looked_at", "moved_along", "relative_gap", "with_moved_constants"
]  # fmt: skip

Floats = NDArray[np.float64]
DRAWS, SPREADS = 3, 4.0
#: Exponent of the steps at which a slope with other constants is compared, in sizes of a leaf.
ALONG = -10
LOOKED_AT = 2
#: Errors relative to their block up to which constants are moved.
SMALL = 2.0**-10
#: Times a first change, and the root of the count of entries, that still counts as near.
NEAR = 64.0
#: Of `numpy.linalg`: what loses digits by the condition number of its first argument.
SOLVERS = ("solve", "inv", "pinv", "lstsq", "tensorsolve", "tensorinv", "matrix_power", "cholesky")


def forgive_constants(
    report: Report,
    target: Target,
    g: dict[int, Floats],
    roundoff: GradientRoundoff,
    noise: Noise,
    seed: int,
    resolve: float,
) -> None:
    """Judge failures that are small anew, with what rounding of constants does in the bounds.

    The spread is that of the slopes of the loss and of the gradient, at a few entries or directions
    of each failing row. What is above the root of the format's unit is undecided if that explains
    it: of an ill-conditioned constant that loses more than half of all digits nothing can be said.
    """
    off = [relative_gap(row, target, g) for row in report.rows]
    rows = [k for k, gap in enumerate(off) if gap <= SMALL]
    if not rows:
        return
    positions = {target.tree.names[i]: i for i in target.select}
    rng = generator(seed, Stream.CONSTANTS)
    try:
        others = [with_moved_constants(target, rng) for _ in range(DRAWS)]
        for k in rows:
            i = positions[report.rows[k].name]
            large = off[k] > np.sqrt(target.format_eps(i))
            if large and not _may_explain(report.rows[k], i, target, others, g, seed, off[k]):
                continue
            own = _spread(report.rows[k], i, target, others, g, noise, seed)
            if own > 0:
                roundoff.bounds[i] = roundoff.bounds[i] + SPREADS * own / _sizes(target, i)
                row = _again(report.rows[k], i, target, g, roundoff, seed, resolve)
                if row.verdict is not Verdict.FAIL and large:
                    text = (
                        f"it is {off[k]:.0e} of the block off, which the rounding of an "
                        "ill-conditioned constant explains: solve with it in more precision, or "
                        "let loss and gradient share what is computed from it"
                    )
                    row.verdict, row.reasons = Verdict.UNDECIDED, (Finding("constant", text),)
                report.rows[k] = row
    except OutOfBudget:
        return
    finally:
        target.evaluations = max(target.evaluations, target.budget.used)


def moved_along(
    target: Target, others: Sequence[Target | None], directions: Mapping[int, Floats]
) -> float:
    """How far rounding of constants moves a derivative along a line, of the gradient or the loss.

    ``others`` are the same functions around moved constants (`with_moved_constants`).
    """
    ends = np.ldexp([1.0, -1.0], ALONG)
    worst = 0.0
    for other in (o for o in others if o is not None):
        there = other.gradient_at(other.tree.leaves)
        claim = sum(np.sum((there[i] - target.first[i]) * v) for i, v in directions.items())
        moved, here = (of.across(dict(directions))(ends) for of in (other, target))
        slope = np.ldexp((moved[0] - moved[1]) - (here[0] - here[1]), -ALONG - 1)
        worst = max([worst, *(abs(float(x)) for x in (claim, slope) if np.isfinite(x))])
    return SPREADS * worst


def relative_gap(row: Row, target: Target, g: dict[int, Floats]) -> float:
    """The largest error of a row that fails, relative to its block; infinite for other rows."""
    if row.verdict is not Verdict.FAIL or (row.check is None and not row.probes):
        return float("inf")
    if row.check is not None and not np.any(row.check.state == EntryState.FAIL):
        return float("inf")  # along a line alone
    i = target.tree.names.index(row.name)
    if row.check is not None:
        wrong, sizes = row.check.state == EntryState.FAIL, _sizes(target, i).ravel()
        gap, top = np.abs(row.check.value - g[i].ravel()) * sizes, np.abs(g[i].ravel()) * sizes
        off, size = gap[wrong], np.max(top)
    else:
        off = np.array([abs(p.analytic - p.estimate.value) for p in row.probes])
        size = np.max(np.abs(g[i]))
    return float(np.max(off) / size) if size else float("inf")


def _sizes(target: Target, block: int) -> Floats:
    """Sizes of a leaf's entries relative to its own; 1 but where they differ by magnitudes."""
    reach = reach_of(target.tree.leaves[block])
    return np.asarray(reach / np.max(reach))


def _may_explain(
    row: Row,
    block: int,
    target: Target,
    others: Sequence[Target | None],
    g: dict[int, Floats],
    seed: int,
    off: float,
) -> bool:
    """Whether constants come near an error, by their gradients and two losses each.

    What they do to those is far below the error of most gradients that are simply wrong.
    """
    sizes = _sizes(target, block)
    vectors, along, scale = looked_at(row, block, target, g, seed)
    ends = np.ldexp([[scale], [-scale]], ALONG)

    def slope(of: Target) -> float:
        there = of.lines(block, vectors[:1])(ends)[:, 0]
        return float((there[0] - there[1]) / (ends[0, 0] - ends[1, 0]))

    here, n = slope(target), np.sqrt(target.tree.leaves[block].size)
    gap = off * np.max(np.abs(g[block]) * (sizes if row.check is not None else 1.0))
    for other in (o for o in others if o is not None):
        there = other.gradient_at(other.tree.leaves)[block]
        change = max(np.max(np.abs(there - g[block]) * sizes), abs(slope(other) - here) * along[0])
        if not change * NEAR * n <= gap:
            return True
    return False


def looked_at(
    row: Row, block: int, target: Target, g: dict[int, Floats], seed: int
) -> tuple[Any, Floats, float]:
    """A few failing entries, the worst first, or a direction; what they count; size of a step."""
    leaf, sizes = target.tree.leaves[block], _sizes(target, block).ravel()
    if row.check is None:
        vector = direction(target, block, seed, row.probes[0].number)
        return vector[None], np.ones(1), scale_of(leaf) * float(np.sqrt(leaf.size))
    failing = np.flatnonzero(row.check.state == EntryState.FAIL)
    gap = np.abs(row.check.value - g[block].ravel()) * sizes
    vectors = failing[np.argsort(-gap[failing])[:LOOKED_AT]].astype(np.intp)
    return vectors, sizes[vectors], scale_of(leaf)


def _spread(
    row: Row,
    block: int,
    target: Target,
    others: list[Target | None],
    g: dict[int, Floats],
    noise: Noise,
    seed: int,
) -> float:
    """Largest change of an entry of the gradient, or of a slope of the loss, between constants.

    Each counts by the size of its entry (`_sizes`).
    """
    sizes, worst = _sizes(target, block), 0.0
    vectors, along, scale = looked_at(row, block, target, g, seed)

    def slopes(of: Target) -> Floats:
        of.base = of.value(of.tree.leaves)
        ladder = Ladder(of.lines(block, vectors), of.base, noise, start_exponent(scale), scale)
        return np.array([e.value for e in ladder.settle(0.0)])

    here = slopes(target)
    for other in others:
        if other is None:
            continue
        there = other.gradient_at(other.tree.leaves)[block]
        changes = [
            np.max(np.abs(there - g[block]) * sizes),
            np.max(np.abs(slopes(other) - here) * along),
        ]
        worst = max([worst, *(float(c) for c in changes if np.isfinite(c))])
    return worst


def _again(
    row: Row,
    block: int,
    target: Target,
    g: dict[int, Floats],
    roundoff: GradientRoundoff,
    seed: int,
    resolve: float,
) -> Row:
    if row.check is None:
        probes = [
            replace(
                p,
                roundoff=roundoff.along(block, g[block], direction(target, block, seed, p.number)),
            )
            for p in row.probes
        ]
        return probe_row(target.tree, block, g[block], probes, resolve)
    check, bounds = row.check, roundoff.bounds[block]
    ratio = check.ratio(g[block], bounds)
    check.state[(check.state == EntryState.FAIL) & (ratio <= 1)] = EntryState.PASS
    check.methods.add("rounding of constants measured")
    return entry_row(target.tree, check, g[block], bounds, resolve)


def with_moved_constants(target: Target, rng: np.random.Generator) -> Target | None:
    """The same functions around constants moved by one unit each; None if there are none."""
    memo: dict[int, Any] = {}
    count, entered, number = [0], [False], int(rng.integers(2**31))
    solvers = [getattr(np.linalg, n) for n in SOLVERS]

    def moved(item: Any) -> Any:
        if id(item) in memo:
            return memo[id(item)]
        found = item
        if isinstance(item, np.ndarray) and item.dtype.kind == "f" and item.size:
            signs = rng.choice([-1.0, 1.0], size=item.shape)
            found = (item * (1 + signs * np.finfo(item.dtype).eps)).astype(item.dtype)
            count[0] += 1
        elif type(item) in (list, tuple):
            found = type(item)(moved(x) for x in item)
        elif type(item) is dict:
            found = {k: moved(x) for k, x in item.items()}
        elif any(item is solver for solver in solvers):  # imported by its name
            found = _around(item, number, entered)
        elif isinstance(item, types.FunctionType) and item.__module__ is not None:
            found = _rebuilt(item, moved, memo)
        memo[id(item)] = found
        return found

    loss, gradient = moved(target.loss), moved(target.gradient_function)
    loss = _with_moved_matrices(loss, number, entered)
    if gradient is not None:
        gradient = _with_moved_matrices(gradient, number, entered)
    for function in () if count[0] else (loss, gradient):
        if function is not None:
            function(*target.tree.arguments([x.copy() for x in target.tree.leaves]))
    if not count[0] and not entered[0]:
        return None
    other = Target(
        loss, gradient, target.tree, target.select, target.budget, target.unit, target.nouns
    )
    other.value_eps, other.random = target.value_eps, target.random
    return other


def _rebuilt(function: types.FunctionType, moved: Any, memo: dict[int, Any]) -> Any:
    """A user's function around other cells and globals; functions of libraries stay as they are."""
    if function.__module__.split(".")[0] in ("numpy", "scipy", "torch", "gradcheck_rnn"):
        return function
    memo[id(function)] = function  # a recursive one meets itself
    cells = []
    for cell in function.__closure__ or ():
        try:
            cells.append(types.CellType(moved(cell.cell_contents)))
        except ValueError:  # not assigned yet
            cells.append(types.CellType())
    names = set(function.__code__.co_names) & function.__globals__.keys()
    known = {**function.__globals__, **{n: moved(function.__globals__[n]) for n in names}}
    defaults = tuple(moved(x) for x in function.__defaults__ or ()) or None
    other = types.FunctionType(function.__code__, known, function.__name__, defaults, tuple(cells))
    other.__kwdefaults__ = function.__kwdefaults__
    return other


def _with_moved_matrices(function: Any, number: int, entered: list[bool]) -> Any:
    """A function whose calls of `numpy.linalg` get matrices moved by one unit, always the same."""
    if tells(function, "many"):
        return function  # a definition: its constants are its own

    def wrapped(*args: Any, **options: Any) -> Any:
        kept = {n: getattr(np.linalg, n) for n in SOLVERS}
        for n, solver in kept.items():
            setattr(np.linalg, n, _around(solver, number, entered))
        try:
            return function(*args, **options)
        finally:
            for n, solver in kept.items():
                setattr(np.linalg, n, solver)

    return wrapped


def _around(solver: Any, number: int, entered: list[bool]) -> Any:
    """A solver that moves its first argument."""

    def called(matrix: Any, *rest: Any, **options: Any) -> Any:
        given = np.asarray(matrix)
        if given.dtype.kind == "f":
            entered[0] = True
            signs = np.random.default_rng([number, *given.shape]).choice(
                [-1.0, 1.0], size=given.shape
            )
            matrix = (given * (1 + signs * np.finfo(given.dtype).eps)).astype(given.dtype)
        return solver(matrix, *rest, **options)

    return called
