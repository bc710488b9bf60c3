"""Errors of a gradient in a coarse format, over all points, beside those that rounding leaves.

The bound of an entry is a worst case, several times what rounding does on average: noise of three
percent in a bfloat16 carry stays below it at every entry. Its mean square over hundreds of entries
and points does not. So the derived program is run with every result rounded, up or down at random
in proportion (stochastic rounding): its errors are unbiased, independent from draw to draw, and
their root mean square is √2 times that of rounding to nearest. Of the code under test only the
ratio of the two is judged, array by array, pooled over the points.

Code that rounds n times where the program rounds once reaches √(n/2) of it. Right code in which
every NumPy operation, or every term of every sum, is rounded was seen to reach 1.3.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...calculus import terms as T
from ...calculus.terms import Sym, Term
from ...derivation import Derivation, derive
from ...derivation.evaluate import Run
from ...derivation.numeric_terms import TermEvaluator
from ...derivation.weight_products import SampledProducts, products_only
from ...streams import Stream, generator
from ..harness.arrays import Precision
from ..harness.compare import Comparison, Record
from ..harness.excess import REORDERED
from ..harness.modelpoint import ModelPoint
from ..harness.perturbed import times
from ..verdict import Finding, Verdict
from .stacked_cotangents import pulled_back, stacked_columns

__all__ = ["Typical", "rounding_up_or_down", "typical_errors"]

Array = NDArray[Any]
Chosen = dict[str, tuple[Array, Array]]
DRAWS = 3
#: Times the errors of stochastic rounding that are explained, and that certainly are not: the first
#: takes four, the second eight roundings to nearest for each of the program's.
DOUBTED, REFUSED = 1.5, 2.0
#: Of so few points that one may be an outlier: limits are at least 1 and so much ÷ √points. Single
#: points of right code were seen to reach 1.9.
DOUBTED_ALONE, REFUSED_ALONE = 1.5, 3.0
#: What one point may contribute, so that one ill-conditioned point makes no verdict by itself.
MOST = 4.0
#: Standard deviations that an error along the gradient may have, beside half a unit.
DEVIATIONS = 4.0
#: A weight of more entries is looked at in so many rows and columns, drawn at random: the root mean
#: squares of 4096 entries are known to a few percent.
MOST_ENTRIES, SAMPLED = 2**16, 64
#: Weights of which absolute values are kept.
MOST_KEPT = 16
#: Standard deviation of one rounding to nearest, in units of the format.
NEAREST = 0.29
#: The same of a sum whose terms have been added one by one, ÷ the sum of their absolute values.
SUMMED = 0.25


@dataclass(frozen=True)
class Typical:
    """What is known of one array over all points.

    Attributes
    ----------
    points : int
        How many they are.
    times : float
        Root mean square of its errors ÷ that of stochastic rounding.
    reordered : float
        The same where the steps may be taken in another order.
    error, kept : float
        Both root mean squares, relative to the array.
    found : float
        Relative random error in everything that is carried from step to step that would be found.
    factor, limit : float
        How far the gradient is from one times that of the definition, along itself, and how far
        rounding may carry that.
    """

    user: str
    points: int
    times: float
    reordered: float
    error: float
    kept: float
    found: float
    factor: float
    limit: float

    def verdict(self, chunked: bool) -> Verdict:
        """Fail for what no order of steps explains; `chunked` code declares another order."""
        seen = self.reordered if chunked else self.times
        refused = max(REFUSED, 1 + REFUSED_ALONE / np.sqrt(self.points))
        if self.reordered > refused or abs(self.factor) > self.limit:
            return Verdict.FAIL
        return Verdict.UNDECIDED if seen > _doubted(self.points) else Verdict.PASS

    @property
    def rank(self) -> tuple[bool, float]:
        """Orders values of one array: first what is off along itself, then by its errors."""
        return abs(self.factor) > self.limit, self.times

    @property
    def reason(self) -> str:
        """For a row that does not pass."""
        if abs(self.factor) > self.limit:
            return (
                f"over all points it is {1 + self.factor:.4g} times that of the definition along "
                f"itself, {abs(self.factor):.1%} off where rounding explains {self.limit:.1%}"
            )
        return f"its errors are {self.times:.1f} times those of rounding"


def _doubted(points: int) -> float:
    return max(DOUBTED, 1 + DOUBTED_ALONE / float(np.sqrt(points)))


def rounding_up_or_down(form: Precision, rng: np.random.Generator) -> Callable[[Array], Array]:
    """Stochastic rounding to a format: up or down, in proportion to what is nearer."""

    def rounded(x: Array) -> Array:
        with np.errstate(all="ignore"):
            unit = np.ldexp(1.0, np.frexp(x)[1] - 1 - form.bits)
            unit = np.maximum(unit, form.least)
            moved = np.floor(x / unit + rng.random(np.shape(x))) * unit
        return np.where(np.isfinite(moved), moved, x)

    return rounded


def _evaluator(form: Precision, rng: np.random.Generator) -> type[TermEvaluator]:
    rounded = rounding_up_or_down(form, rng)
    known: dict[tuple[int, ...], tuple[Array, Array]] = {}

    def magnitude(left: Array) -> Array:
        """Absolute values; those of a large weight, which every step reads, are kept."""
        if left.ndim != 2 or left.size <= MOST_ENTRIES:
            return np.abs(left)
        key = (left.__array_interface__["data"][0], *left.shape, *left.strides)
        if key not in known and len(known) == MOST_KEPT:
            return np.abs(left)
        if key not in known:
            known[key] = left, np.abs(left)  # held, so that no other array comes to lie there
        return known[key][1]

    class Rounding(TermEvaluator):
        def __call__(self, term: Term, lookup: Callable[[Sym], Any]) -> Any:
            if isinstance(term, T.Times):
                first, *rest = (self(x, lookup) for x in term.operands)
                for factor in rest:
                    first = self.product(first, factor)
                return first
            found = super().__call__(term, lookup)
            exact = isinstance(term, T.Transpose) or not term.operands
            return found if exact else rounded(found)

        def product(self, left: Array, right: Array) -> Array:
            deviation = SUMMED * form.eps * (1 - 1 / left.shape[-1])
            spread = deviation * times(magnitude(left), np.abs(right))
            return rounded(times(left, right) + spread * rng.standard_normal(spread.shape))

        def summed(self, total: Any) -> Any:
            return rounded(total)

    return Rounding


class _Model:
    """The derived program with rounded results, at one point after another."""

    def __init__(self, derivation: Derivation, seed: int) -> None:
        self.derivation = derivation
        self.rng = generator(seed, Stream.TYPICAL_ERRORS)

    def chosen(self, here: ModelPoint) -> Chosen:
        """Rows and columns, drawn at random, that stand for all of a large weight."""
        large = {
            n for n in products_only(self.derivation)
            if here.values[n].ndim == 2 and here.values[n].size > MOST_ENTRIES
            and all(_apart(here, user) for user in here.fitted.arguments if n in here.parts(user))
        }  # fmt: skip
        found = {}
        for n in sorted(large):
            rows, columns = (self.rng.permutation(k)[:SAMPLED] for k in here.values[n].shape)
            found[n] = rows, columns
        return found

    def rounded(self, here: ModelPoint, chosen: Chosen) -> Iterator[dict[str, Array]]:
        """Deviations of the gradients of all cases by name, (K, \\*shape), draw by draw.

        Of large weights those of the chosen rows and columns.
        """
        columns = here.columns(here.values)
        given, count = stacked_columns(here, here.cases), len(here.cases)
        exact = here.truth(here.oracle, here.cases, sizes=False).of
        exact = {n: _part(a, chosen.get(n)) for n, a in exact.items()}
        weights = partial(SampledProducts, chosen=chosen) if chosen else None
        evaluator = _evaluator(here.form, self.rng)
        for _ in range(DRAWS):
            with np.errstate(all="ignore"):
                run = Run(self.derivation, columns, here.sizes, here.lengths, evaluator)
                found = pulled_back(run, here, given, count, weights=weights)
                # What no cotangent reaches has a zero of full size.
                yield {
                    n: a - exact[n] if a.shape == exact[n].shape else -exact[n]
                    for n, a in found.items()
                }

    def carried(self, here: ModelPoint) -> dict[str, Array]:
        """Deviations under random errors of one unit in carried states and adjoints."""

        def noisy(a: Array) -> Array:
            return np.asarray(a * (1 + here.form.eps * self.rng.standard_normal(np.shape(a))))

        oracle = here.at(here.values)
        for scan in oracle.network.scans:
            for state in scan.states:
                oracle.made[state.name] = noisy(np.asarray(oracle.made[state.name]))
        moved = here.truth(
            oracle, here.cases, carry=lambda name, at, bar: noisy(bar), sizes=False
        ).of
        exact = here.truth(here.oracle, here.cases, sizes=False).of
        return {n: moved[n] - exact[n] for n in moved}


@dataclass(frozen=True)
class _Sample:
    """Root mean squares of one value of one record, relative to the value.

    ``along`` is the error along the value, ``spread`` that of rounding, ``point`` where it was.
    """

    point: str
    along: float
    spread: float
    error: float
    kept: float
    loose: float
    carried: float


def typical_errors(
    comparisons: Sequence[Comparison], seed: int, wanted: Collection[str] | None = None
) -> list[Typical]:
    """For every array of the user, the value in it whose errors are explained least."""
    comparisons = [c for c in comparisons if not c.point.empty]
    if not comparisons:
        return []
    first = comparisons[0].point
    model = _Model(derive(first.network), seed)
    samples: dict[tuple[str, str], list[_Sample]] = {}
    for compared in comparisons:
        here = compared.point
        # What only another form of a function explains is said, and is no rounding to compare with.
        told = {(e.user, e.case) for e in compared.reformed}
        records = [
            r for r in compared.records
            if (wanted is None or r.user in wanted) and (r.user, r.case.label) not in told
        ]  # fmt: skip
        for r, name, at, deviations in _by_value(here, records, model):
            sample = _sample(here, r, at, *deviations)
            if sample is not None:
                samples.setdefault((r.user, name), []).append(sample)
        here.release()
    worst: dict[str, Typical] = {}
    for (user, _), found in samples.items():
        pooled = _pooled(user, found, first.form.eps)
        held = worst.get(user)
        if held is None or pooled.rank > held.rank:
            worst[user] = pooled
    return list(worst.values())


def _by_value(
    here: ModelPoint, records: Sequence[Record], model: _Model
) -> Iterator[tuple[Record, str, Array, tuple[Array, Array, Array]]]:
    """Each value in each record: its flat positions, and deviations there (draws, entries).

    They are: rounded, in another order, carried.
    """
    chosen = model.chosen(here)
    rounded, carried = list(model.rounded(here, chosen)), [model.carried(here)]
    other = here.explained is not here.own
    for r in records:
        k = next(i for i, c in enumerate(here.cases) if c is r.case)
        loose = here.explained.gradients(r.case)[r.user] if other else None
        whole = [
            np.stack([here.fitted.pull(r.user, {n: a[k] for n, a in s.items() if n not in chosen})
                      for s in drawn])
            for drawn in (rounded, carried)
        ]  # fmt: skip
        for piece in here.fitted.pieces[r.user]:
            part, name = chosen.get(piece.name), piece.name
            at = _part(piece.index, part).ravel()
            if part is None:
                own, noise = (a.reshape(len(a), -1)[:, at] for a in whole)
            else:
                own = np.stack([s[name][k].ravel() for s in rounded])
                noise = np.stack([_part(s[name][k], part).ravel() for s in carried])
            reordered = (
                np.zeros_like(own) if loose is None else loose.reshape(len(loose), -1)[:, at]
            )
            yield r, name, at, (own, reordered, noise)


def _part(a: Array, chosen: tuple[Array, Array] | None) -> Array:
    """The chosen rows and columns of (…, n, m)."""
    return a if chosen is None else a[..., chosen[0][:, None], chosen[1]]


def _apart(here: ModelPoint, user: str) -> bool:
    """Whether no two values share an entry of one of the user's arrays."""
    held = np.concatenate(list(here.parts(user).values()))
    return bool(np.bincount(held).max(initial=0) <= 1)


def _sample(
    here: ModelPoint, record: Record, at: Array, own: Array, loose: Array, noise: Array
) -> _Sample | None:
    """None where the value is zero, or lost in underflow, or something is not finite."""

    def rms(a: Array) -> float:
        return float(np.sqrt(np.mean(a**2)))

    wrong = (record.got - record.want).reshape(-1)[at]
    with np.errstate(all="ignore"):
        value = record.want.reshape(-1)[at]
        size = rms(value)
        if not np.isfinite(size) or size <= here.sunk / here.form.eps:
            return None
        found = [rms(a) for a in (wrong, own, loose, noise)]
        square = float(np.sum(value * value))
        along = float(np.sum(wrong * value)) / square
        moves = np.sum(own * value, axis=1) / square
        spread = float(np.sqrt(np.mean(moves**2)))
    if not np.isfinite([along, spread, *found]).all():
        return None
    rms_error, kept, other, carried = (a / size for a in found)
    # The result itself is rounded in any case, also where the program has nothing to round.
    return _Sample(
        here.label, along, spread, rms_error, kept + NEAREST * here.form.eps, other,
        carried,
    )  # fmt: skip


def _pooled(user: str, samples: Sequence[_Sample], eps: float) -> Typical:
    def over(ratios: Iterator[float]) -> float:
        return float(np.sqrt(np.mean(np.minimum(list(ratios), MOST) ** 2)))

    times = over(s.error / s.kept for s in samples)
    reordered = over(s.error / max(s.kept, REORDERED * s.loose / REFUSED) for s in samples)
    noise = over(s.carried / s.kept for s in samples)
    points = len({s.point for s in samples})
    return Typical(
        user, points, times, reordered,
        float(np.sqrt(np.mean([s.error**2 for s in samples]))),
        float(np.sqrt(np.mean([s.kept**2 for s in samples]))),
        eps * _doubted(points) / noise if noise else float("inf"), *_factor(samples, eps),
    )  # fmt: skip


def _factor(samples: Sequence[_Sample], eps: float) -> tuple[float, float]:
    """The error along the gradient over all points, and the most that rounding makes of it.

    Cases of one point share what the forward pass rounds, which does not average over them.
    """
    points: dict[str, list[_Sample]] = {}
    for s in samples:
        points.setdefault(s.point, []).append(s)
    values = np.array([np.mean([s.along for s in found]) for found in points.values()])
    noises = np.array([np.mean([s.spread for s in found]) for found in points.values()])
    weights = 1 / (noises**2 + (eps / 8) ** 2)
    value = float(np.sum(weights * values) / np.sum(weights))
    return value, DEVIATIONS / float(np.sqrt(np.sum(weights))) + eps / 2


def findings(found: Sequence[Typical], form: Precision, chunked: bool) -> list[Finding]:
    """What fails or is in doubt, by name; of what passes, how large an error would be found."""
    out = []
    for verdict in (Verdict.FAIL, Verdict.UNDECIDED):
        told = [t for t in found if t.verdict(chunked) is verdict]
        told = [t for t in told if abs(t.factor) <= t.limit]  # said in its row
        if not told:
            continue
        worst = max(told, key=lambda t: t.times)
        names = ", ".join(f"d{t.user}" for t in told) + (" is" if len(told) == 1 else " are")
        text = (
            f"{names} off, over all points, by {worst.times:.1f} times what rounding every "
            f"operation to {form.name} leaves (d{worst.user}: a root mean square of "
            f"{worst.error:.1%} of the array, where the definition's own formula keeps "
            f"{worst.kept:.1%})"
        )
        if verdict is Verdict.FAIL:
            text += ": random errors, something held in a coarser format, or a difference of "
            text += "large numbers"
        elif not chunked and worst.reordered <= _doubted(worst.points):
            text += (
                ": steps taken in another order (prefix sums in blocks) may lose that much, and so "
                "may a fault; give chunk= if the code works so"
            )
        else:
            text += ": code that rounds four times as often loses that much, and so may a fault"
        fatal = verdict is Verdict.FAIL
        out.append(Finding("lost-precision", text, fatal=fatal, undecided=not fatal))
    finest = min((t.found for t in found), default=float("inf"))
    passed = all(t.verdict(chunked) is Verdict.PASS for t in found)
    if passed and finest < 1:
        out.append(
            Finding(
                "could-have-missed",
                f"random errors below {finest:.2g} of all that is carried, at every step, and "
                f"factors within {max(t.limit for t in found):.2g} of 1 would pass: rounding in "
                f"{form.name} explains as much; accumulate='float32' finds finer ones, if that is "
                "what the code claims",
            )
        )
    return out
