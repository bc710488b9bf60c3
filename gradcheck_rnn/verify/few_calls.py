"""A right gradient of a smooth and deterministic loss, in eight losses and four gradients.

Every call serves for several things. Seven values of the loss on one line through all blocks give
the slope there, its error and the noise (`oracle.seven_points`). They are taken in between the
calls of the gradient, in an order in which whatever depends on earlier calls shows:

1.  the loss and the gradient at the point (made before);
2.  four losses on the line, then the gradient at the point: it agrees with the first, and reads
    nothing of what the loss was given last;
3.  the loss and the gradient at a step on the line, in arrays that are then changed in place to
    the point: the gradient there must fit the slope of the loss, so that it is not that of the
    point remembered;
4.  the loss at the point in these arrays: a second value, which must be the same;
5.  the last loss on the line, in other arrays, then the gradient at the point in those that were
    changed: it knows no array again, nor the last point, nor what the loss left.

What must agree does so in every bit. Where anything does not, or the slope is less sharp than is
asked for, nothing is settled: a random loss, kinks, jumps and wrong gradients are for the checks
that measure each by itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import of_users_code
from .ending import LastCalls, loss_in, unless_it_raises
from .memory import same_values
from .oracle.differences import start_exponent
from .oracle.noise import Noise, shown_eps, value_eps
from .oracle.seven_points import OFFSETS, seven_points
from .outcome import Report
from .probes import probe_block
from .repeats import REORDERED, repeat_gradient, tell_rare
from .roundoff import UNITS, largest, measure_gradient_roundoff, unsteady
from .rows import probe_row
from .scales import LARGE, SMALL, all_finite, norm_of
from .steadiness import NOISY
from .suspicions import suspect
from .target import Target
from .together import CommonLine
from .verdict import Row, Verdict

__all__ = ["CALLS", "FewCalls", "in_few_calls"]

Floats = NDArray[np.float64]
EPS = float(np.finfo(np.float64).eps)
#: Calls of the gradient, which must agree.
CALLS = 4


@dataclass
class FewCalls:
    """What came of a few calls.

    `rows` by leaf and the `noise` of the loss, where they settle all; then `answers` says whether
    every gradient was another one beside the point. `last` are the calls that show whether one
    depends on others, `odd` whether something differed in any bit; `line` has been called, and is
    `smooth` where rounding explains its noise.
    """

    line: CommonLine
    last: LastCalls
    odd: bool
    smooth: bool
    rows: dict[int, Row] = field(default_factory=dict)
    noise: float = float("nan")
    answers: bool = False

    def tell(
        self, report: Report, target: Target, g: dict[int, Floats], repeats: int | None
    ) -> None:
        """Report what is settled, once the gradient has been called as often as is asked for."""
        report.rows, report.noise = [self.rows[i] for i in target.select], self.noise
        # of the calls until now one was not at the point
        repeat_gradient(target, g, target.select, 1 + max((repeats or 0) - CALLS + 1, 0))
        suspect(report, target, g, answers=self.answers)
        tell_rare(report, repeats or CALLS)


def in_few_calls(
    target: Target, g: dict[int, Floats], seed: int, resolve: float
) -> FewCalls | None:
    """Rows of a gradient that is right; None where such a check cannot be made of so few calls.

    Parameters
    ----------
    target
        At its point, where loss and gradient `g` have been called once.
    seed, resolve
        Of the directions; the relative size of a fault that must be visible.
    """
    leaves, held = target.tree.leaves, target.held
    if target.draws or not _in_double(target, g):
        return None
    # whatever stays where it is may be remembered
    line = CommonLine(target, g, target.select, seed, all_move=True, watched=False)
    if not SMALL < line.change < LARGE:
        return None
    unit = EPS * max(abs(target.base), line.change)
    # its third power is a unit in the last place, relative, and its fourth is below the noise
    exponent = round((math.log2(unit) - math.log2(line.change)) / 3)
    h = 2.0 ** min(exponent, start_exponent(1.0))
    line(h * np.array([3.0, -3.0, 2.0, -2.0]))
    second = target.gradient(leaves)
    there = target.along(line.directions, h)
    before = line.known[h] = loss_in(target, held.at(there))
    found, beside = _called_beside(line, h)
    claims = line.claims(g)
    answers = bool(found) and all(
        beside.get(i) != claims.get(i) or not same_values(found[i], x)
        for i, x in g.items()
        if x.any()
    )
    if not all(map(same_values, held.leaves, there)):
        _tell_changed(target, there)
    del there  # its memory serves again
    now = loss_in(target, held.here())
    target.unchanged(target.nouns.loss, target.tree.names, held.leaves, leaves)
    line(np.array([-h]))
    again = target.gradient_in(held)
    target.unchanged(target.nouns.gradient, target.tree.names, held.leaves, leaves)
    last = again if all(second[i] is x for i, x in g.items()) else second
    steady = all(last[i] is x for i, x in g.items())
    stale = not steady and line.claims(last) == beside
    values = np.array([line.known.get(h * k, target.base) for k in OFFSETS])
    slope, slope_beside = seven_points(values, h, EPS)
    odd = not (steady and now == target.base)
    smooth = not odd and slope.trusted and slope.noise <= NOISY * unit
    few = FewCalls(line, LastCalls(before, now, last, stale), odd, smooth, answers=answers)
    if not smooth or not found or value_eps(values) != EPS:
        return few
    # the norm of the products by entries is no more
    own = {i: 2 * UNITS * EPS * line.norms[i] * largest(v) for i, v in line.directions.items()}
    probes = line.probes(slope, claims, own, resolve)
    allowed = slope_beside.error + sum(own.values())
    fits = abs(sum(beside.values()) - slope_beside.value) <= allowed
    if fits:
        few.rows = {i: probe_row(target.tree, i, g[i], p, resolve) for i, p in probes.items()}
    if probes and not (fits and len(probes) == len(target.select)):
        _call_again(line, h, beside)
    if few.rows:
        noise = Noise(slope.noise, slope.noise, EPS, 0.0, len(OFFSETS), slope.method)
        others = [i for i in target.select if i not in few.rows]
        few.rows |= _by_themselves(target, g, others, noise, seed, resolve)
        few.noise = noise.sigma
    if any(row.verdict is not Verdict.PASS for row in few.rows.values()):
        few.rows = {}
    return few


def _in_double(target: Target, g: dict[int, Floats]) -> bool:
    """Whether a point and its gradient are finite and show double precision."""
    double = all(target.tree.leaves[i].dtype == np.float64 for i in g)
    whole = double and target.unit == target.value_eps == 0 and all(map(all_finite, g.values()))
    return whole and shown_eps(list(g.values())) == EPS


def _called_beside(line: CommonLine, h: float) -> tuple[dict[int, NDArray[Any]], dict[int, float]]:
    """The gradient at a step on the line, in the held arrays, and what it says of the slope there.

    Nothing where it raises or is not finite, both times that it is called: the point may lie close
    to the border of where it is defined. One call of two is a fault.
    """
    target, held, raised = line.target, line.target.held, None
    found: dict[int, NDArray[Any]] = {}
    try:
        found = target.returned(held.leaves, held.arguments())
        # it may be written to by the next call
        slopes = line.claims(found)
        if math.isfinite(sum(slopes.values())):
            return found, slopes
    except Exception as error:
        if not of_users_code(error):
            raise
        raised = error
    there = target.along(line.directions, h)
    again = unless_it_raises(lambda: target.gradient(there))
    if again is not None and raised is not None:
        raise raised
    if again is not None and all(map(all_finite, again.values())):
        target.see_finite(found, there)
    return {}, {}


def _call_again(line: CommonLine, h: float, first: dict[int, float]) -> None:
    """Fail a gradient that was another one when it was called first at a step on the line."""
    again = line.target.gradient(line.target.along(line.directions, h))
    for i, slope in line.claims(again).items():
        size = line.sizes[i] * max(line.norms[i], norm_of(again[i]))
        if abs(slope - first[i]) > REORDERED * EPS * size:
            unsteady(line.target, i)


def _tell_changed(target: Target, there: Sequence[NDArray[Any]]) -> None:
    """Say which of both functions changes its arguments at another point."""
    held, names = target.held, target.tree.names
    loss_in(target, held.at(there))
    if target.unchanged(target.nouns.loss, names, held.leaves, there):
        unless_it_raises(lambda: target.gradient_in(held.at(there)))
        target.unchanged(target.nouns.gradient, names, held.leaves, there)


def _by_themselves(
    target: Target,
    g: dict[int, Floats],
    blocks: Sequence[int],
    noise: Noise,
    seed: int,
    resolve: float,
) -> dict[int, Row]:
    """Rows of blocks that a line through several says nothing of."""
    if not blocks:
        return {}
    roundoff = measure_gradient_roundoff(target, g, seed, blocks, 0, g)
    rows = {}
    for i in blocks:
        probes = probe_block(target, i, g[i], roundoff, noise, seed, resolve=resolve)
        rows[i] = probe_row(target.tree, i, g[i], probes, resolve)
    return rows
