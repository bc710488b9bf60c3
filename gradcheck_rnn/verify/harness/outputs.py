"""Outputs and losses of the user's code beside those of the definition at one place.

The bound of an output contains how far it moves when the inputs move by one unit in the last place.
Code that draws random numbers, or is far less precise than its format, would earn itself a wide
bound by that: noise that the format does not explain is found out, as it is for gradients
(`excess`), and the bound is then that of the definition's own rounding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ...language.running import to_rows
from ...streams import Stream, generator
from ..roundoff import spread
from .aggregates import COARSE
from .arrays import Precision
from .compare import UNITS
from .deviations import deviations, gap, neighbour
from .excess import (
    MOST,
    MOST_COARSE,
    Excess,
    Suspect,
    judge_noise,
    lost_precision,
    suspicious,
)
from .modelpoint import Explained, ModelPoint
from .plan import Case
from .records import SPREADS, Comparison, Record, ratio_of, room
from .subject import Subject
from .sweep import LOSS

__all__ = ["Output", "compare_forward", "compare_loss", "left_by", "unsteady_outputs"]

Array = NDArray[Any]
Arrays = dict[str, Array]
NEIGHBOURS = 4
#: Calls at the point itself, beside the first.
REPEATS = 2
#: In formats of a few digits, how far calls at one point may differ: a sum in another order moves
#: what follows by a unit or two, as the definition's own moves do.
SAME_POINT = 2.0
FORWARD = "forward"
#: Root mean square of rounding to nearest, in units.
HALF_UNIT = 12**-0.5


@dataclass
class Output(Record):
    """An output or a loss, and its noise where that is more than the format explains."""

    excess: Excess | None = None


class OutputRounding(Protocol):
    """What rounds every operation of the definition, asked only for what would fail."""

    def outputs(self, point: ModelPoint) -> Mapping[str, Array]:
        """Deviations (draws, \\*shape in the public layout) of the outputs and the loss by name."""


def compare_forward(
    point: ModelPoint, subject: Subject, seed: int, rounding: OutputRounding
) -> list[Output]:
    """Outputs of the code and of the definition."""
    fitted, form, inner = point.fitted, point.form, point.inner
    found, _, _ = subject.run(fitted, point.arrays)
    point.outputs = dict(found)
    again = [subject.run(fitted, point.arrays)[0] for _ in range(REPEATS)]
    wide = point.wide()
    rng = generator(seed, Stream.FORWARD_NEIGHBOURS)
    near = [
        neighbour(point.arrays, form, rng, fitted) for _ in range(0 if point.claims else NEIGHBOURS)
    ]
    moved = [subject.run(fitted, arrays)[0] for arrays in near]
    outputs = point.network.outputs
    records = []
    for user in (u for u in fitted.outputs if found[u].size):
        names = [p.name for p in fitted.pieces[user]]
        exact, plain = (
            fitted.place(user, {n: to_rows(outputs[n], made[n]) for n in names})
            for made in (wide.outputs, point.oracle.outputs)
        )
        want, got = exact.astype(np.float64), found[user]
        record = Output(user, Case(FORWARD, {}), got, want, want, want)
        suspect = Suspect(
            deviations(moved, user, got), deviations(again, user, got),
            _unit(point, want), _most(point),
        )  # fmt: skip

        def saved(user: str = user) -> Array:
            return _place(point, user, rounding.outputs(point))

        def once_more(j: int, user: str = user) -> Array:
            now = subject.run(fitted, near[j])[0][user]
            return np.asarray(gap(now, moved[j][user]))

        # What is not finite fails by itself.
        if np.isfinite(got).all() and np.isfinite(want).all():
            same = Suspect(suspect.moves[:0], suspect.repeats, suspect.unit, _most_there(point))
            record.excess = _excess(point, user, same, want, saved, None) or _excess(
                point, user, suspect, want, saved, once_more
            )
        with np.errstate(all="ignore"):
            slip = np.abs((plain - exact).astype(np.float64))
            bound = UNITS * inner.eps * np.abs(want) + 4 * slip
            bound = bound + UNITS * inner.eps * float(np.sqrt(np.mean(want**2)))
            if point.claims:
                bound = bound + form.eps * np.abs(want)
            elif record.excess is None:
                bound = bound + SPREADS * _scatter(suspect.moves)
            ratio = ratio_of(got, want, bound)
            if np.any(ratio > 1) or point.claims or record.excess is not None:
                bound = bound + SPREADS * spread(_placed(point, user, reordered=True))
                ratio = ratio_of(got, want, bound)
            if np.any(ratio > 1):
                bound = bound + room(saved())
                ratio = ratio_of(got, want, bound)
        record.bound, record.ratio = bound, ratio
        if np.any(ratio > 1) and point.meaningless is not None and not point.claims:
            _lost(point, record)
        records.append(record)
    return records


def compare_loss(
    point: ModelPoint, subject: Subject, seed: int, rounding: OutputRounding
) -> Output:
    """The loss of the code and of the definition, summed over steps, sequences and scans."""
    form = subject.form
    got = subject.value(point.arrays)
    rng = generator(seed, Stream.FORWARD_NEIGHBOURS)
    near = [neighbour(point.arrays, form, rng, point.fitted) for _ in range(NEIGHBOURS)]
    moved = [subject.value(arrays) for arrays in near]
    again = [subject.value(point.arrays) for _ in range(REPEATS)]
    exact = np.asarray(point.wide().loss)
    want = exact.astype(np.float64).reshape(())
    slip = np.abs(np.asarray(point.oracle.loss) - exact).astype(np.float64).reshape(())
    terms = point.steps * point.batch
    # A sum of so many terms, each rounded; neighbours show how its parts respond.
    unit = form.eps * np.sqrt(terms) * np.abs(want)
    value = np.asarray(got)
    record = Output("loss", Case(FORWARD, {}), value, want, want, want)
    suspect = Suspect(gap(np.array(moved), value), gap(np.array(again), value), unit, _most(point))
    noise = float(_scatter(suspect.moves))

    def saved() -> Array:
        return rounding.outputs(point)[LOSS]

    if suspicious(suspect, [np.zeros(1, np.intp)]):
        own, loose = point.own.losses(), cache(lambda: point.explained.losses())

        def once_more(j: int) -> Array:
            return np.asarray(gap(np.asarray(subject.value(near[j])), np.asarray(moved[j])))

        found = judge_noise(suspect, [np.zeros(1, np.intp)], want, own, loose, saved, once_more)
        if found is not None:
            record.excess = Excess("loss", point.label, FORWARD, *found)
            noise = float(spread(loose()))
    record.bound = SPREADS * noise + UNITS * unit + 4 * slip
    record.ratio = ratio_of(value, want, record.bound)
    if np.any(record.ratio > 1):
        record.bound = record.bound + room(saved())
        record.ratio = ratio_of(value, want, record.bound)
    return record


def _scatter(moves: Array) -> Array:
    """Spread of the code's own deviations; what is no number in the code excuses nothing."""
    return spread(np.nan_to_num(moves, nan=0.0, posinf=0.0, neginf=0.0))


def left_by(point: ModelPoint, record: Record, form: Precision) -> Array:
    """What keeping all results in a format leaves of an output, beside the error that it has.

    Returns
    -------
    Array
        (4, entries): the true output, the error, the root mean square of rounding to nearest and
        the bound of that, all in units of the root mean square of the output.
    """
    there = replace(point, inner=form)
    own, loose = (spread(_placed(there, record.user, reordered=r)) for r in (False, True))
    size = float(np.sqrt(np.mean(record.want**2)))
    bound = SPREADS * loose + UNITS * form.eps * (np.abs(record.want) + size)
    found = (record.want, record.got - record.want, HALF_UNIT * own, bound)
    return np.stack([a.reshape(-1) for a in found]) / (size or 1.0)


def unsteady_outputs(compared: Comparison) -> list[Excess]:
    """Outputs that differed between the calls that the gradients at a place were taken with."""
    point, found = compared.point, []
    for user, moved in compared.restless.items():
        first = point.outputs[user]
        if not np.any(moved) or not np.isfinite(first).all():
            continue
        nothing = np.zeros((1, *first.shape))
        suspect = Suspect(nothing[:0], moved[None], _unit(point, first), _most_there(point))
        excess = _excess(point, user, suspect, first, nothing.copy, None)
        found += [] if excess is None else [excess]
    return found


def _excess(
    point: ModelPoint, user: str, suspect: Suspect, want: Array, saved: Any, again: Any
) -> Excess | None:
    parts = list(point.parts(user).values())
    if not suspicious(suspect, parts):
        return None
    own, loose = (partial(_placed, point, user, reordered=r) for r in (False, True))
    found = judge_noise(suspect, parts, want, own(), loose, saved, again)
    return None if found is None else Excess(user, point.label, FORWARD, *found)


def _lost(point: ModelPoint, record: Output) -> None:
    """Call unstable what an order of steps explains that loses all in this format."""
    assert point.meaningless is not None
    loose = spread(_moved_by(point.meaningless, point, record.user))
    if not np.all(ratio_of(record.got, record.want, record.bound + SPREADS * loose) <= 1):
        return
    own = spread(_placed(point, record.user, reordered=False))
    found = lost_precision(record.got - record.want, record.want, own)
    record.excess = record.excess or Excess(record.user, point.label, FORWARD, *found)
    record.ratio = np.minimum(record.ratio, 1.0)


def _placed(point: ModelPoint, user: str, reordered: bool) -> Array:
    """What rounding does to one output of the definition, in the user's layout: (draws, …)."""
    return _moved_by(point.explained if reordered else point.own, point, user)


def _moved_by(explained: Explained, point: ModelPoint, user: str) -> Array:
    return _place(point, user, explained.outputs())


def _place(point: ModelPoint, user: str, made: Mapping[str, Array]) -> Array:
    """Deviations of the definition's outputs in one of the user's arrays: (draws, …)."""
    held = {p.name: made[p.name] for p in point.fitted.pieces[user]}
    draws = range(len(next(iter(held.values()))))
    return np.stack([point.fitted.place(user, {n: a[k] for n, a in held.items()}) for k in draws])


def _unit(point: ModelPoint, want: Array) -> Array:
    """The rounding of an output itself, which is that of the array where the entry is small."""
    with np.errstate(all="ignore"):
        size = np.abs(want) + float(np.sqrt(np.mean(want**2)))
    return np.asarray(point.form.eps * size + point.sunk)


def _most(point: ModelPoint) -> float:
    return MOST_COARSE if point.form.eps > COARSE else MOST


def _most_there(point: ModelPoint) -> float:
    """`_most` of calls at one and the same point."""
    return SAME_POINT if point.form.eps > COARSE else MOST
