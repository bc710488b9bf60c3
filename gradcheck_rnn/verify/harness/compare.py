"""The user's gradients beside those of the definition at one place, entry by entry.

The bound of an entry has three parts, all measured or computed for this entry: how far the
gradient under test moves when its inputs move by one unit in the last place of its own number
format; the rounding of a sum, relative to the sum of the absolute values of its terms; and the
same for the oracle in double precision. Entries that fail by little are settled by the oracle in
extended precision, by what rounding does to the definition itself, and then against the noise that
the gradient shows along a line. Noise that the format does not explain is found out (`excess`).
An array that is wrong beyond doubt at two places needs one call in most later cases
(`plainly_wrong`).

Code that claims to accumulate in a finer format than that of its arrays gets the bound of that
format, computed from the definition alone, and one unit of the result's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...streams import Stream, generator
from ..memory import same_values
from ..points import Role
from ..roundoff import spread
from .aggregates import COARSE, over_pieces, whole
from .deviations import deviations, line_noise, neighbour
from .excess import (
    MOST,
    MOST_COARSE,
    Excess,
    Suspect,
    judge_noise,
    lost_precision,
    suspicious,
)
from .modelpoint import ModelPoint
from .perturbed import BELOW
from .plainly_wrong import PlainlyWrong
from .plan import Case
from .records import SPREADS, Comparison, Record, ratio_of, room
from .subject import Subject
from .sweep import Gradients

__all__ = ["Comparison", "ModelPoint", "Record", "compare_gradients", "ratio_of"]

Array = NDArray[Any]
Arrays = dict[str, Array]
Rounding = Callable[["ModelPoint", Case], Mapping[str, Array]]
NEIGHBOURS = 4
UNITS = 4.0
ORACLE_UNITS = 16.0
#: Records that noise does not explain before the others are left as they are: the point fails.
STUBBORN = 2
#: Oracles of double precision are sharper than the bounds of all formats with a larger unit.
FINE = 2.0**-40
#: Most entries of a single step's Jacobian, times the steps, that are repeated in long double.
AFFORDABLE = 20_000_000
#: Errors larger than this share of their array are plain: no second look could change them.
PLAIN = 1e-3


def compare_gradients(
    point: ModelPoint,
    subject: Subject,
    seed: int,
    rounding: Rounding | None = None,
    repeats: int = 0,
    reformed: Rounding | None = None,
    plain: PlainlyWrong | None = None,
) -> Comparison:
    """Every gradient entry of every case; the first one is repeated so many times more.

    ``rounding(point, case)`` gives, by array, deviations under the rounding of saved values; it
    is asked only for what would fail. ``reformed`` gives those of functions in other forms, and is
    asked last. ``plain`` is what the points before have shown.
    """
    form, fitted = subject.form, point.fitted
    plain = plain or PlainlyWrong(form, point.inner)
    users = [u for u in fitted.arguments if _has_gradient(point, u) and point.arrays[u].size]
    out = Comparison(point)
    out.truth = truth = point.truth(point.oracle, point.cases)
    point.known = truth.of
    blind = _blind(truth, len(point.cases))
    # One set of neighbours for all cases: what they share in rounding is seen to be shared.
    rng = generator(seed, Stream.GRADIENT_NEIGHBOURS)
    near = [neighbour(point.arrays, form, rng, fitted) for _ in range(NEIGHBOURS)]
    for k, case in enumerate(point.cases):
        given = point.users(case) if subject.with_cotangents else None
        got = subject.gradients(fitted, point.arrays, given)
        _note_outputs(out, subject)
        want, size = ({n: a[k] for n, a in made.items()} for made in (truth.of, truth.size))
        records = [
            _record(point, user, case, got[user], want, size, blind[k])
            for user in users if user in got
        ]  # fmt: skip
        out.missing += [u for u in users if u not in got and u not in out.missing]
        out.records += records
        if k and plain.judges(point, records):
            continue
        # Cotangents move too: where many of them cancel in a sum, only that shows its rounding.
        bars = [
            None
            if given is None
            else neighbour(given, form, generator(seed, Stream.COTANGENT_NEIGHBOURS, k, j))
            for j in range(NEIGHBOURS)
        ]
        moved = [subject.gradients(fitted, a, g) for a, g in zip(near, bars, strict=True)]
        again = []
        for _ in range(1 + (repeats if not k else 0)):
            again.append(subject.gradients(fitted, point.arrays, given))
            _note_outputs(out, subject)
        for record in records:
            user = record.user
            moves = deviations(moved, user, got[user])
            _add_noise(point, record, moves, deviations(again, user, got[user]))
        if not k:
            plain.begin(records)
        _judge(out, subject, case, list(zip(near, bars, strict=True)), moved, rounding)
    doubtful = [r for r in out.wrong if not plain.is_settled(point, r)]
    _settle(out, doubtful, subject, seed, rounding)
    if point.meaningless is not None and not point.claims:
        for record in _wrong(doubtful):
            _lost(out, record)
    if reformed is not None:
        for record in _wrong(doubtful):
            _reform(out, record, reformed)
    if rounding is not None:
        _settle_wholes(out, rounding, reformed)
    plain.learn(out)
    for record in out.records:  # as large as the gradients, and no longer needed
        record.noise = record.sums = None
    truth.size.clear()
    point.release()
    return out


def _blind(truth: Gradients, count: int) -> Array:
    """What the complex step cannot tell from its own error, by case: it stood for zero."""
    largest = np.zeros(count)
    for size in (a.reshape(count, -1) for a in truth.size.values()):
        np.maximum(largest, np.max(size, axis=1, initial=0.0, where=np.isfinite(size)), out=largest)
    return BELOW * 2.0**52 * largest


def _wrong(records: Sequence[Record]) -> list[Record]:
    return [r for r in records if np.any(r.ratio > 1)]


def _record(
    point: ModelPoint, user: str, case: Case, got: Array, truth: Arrays, sizes: Arrays, blind: float
) -> Record:
    """A record of a case with its bound from the terms of its sums, of which ``blind`` is one."""
    form, inner, fitted = point.form, point.inner, point.fitted
    want = fitted.pull(user, truth)
    size = fitted.pull(user, sizes, absolute=True) + blind
    record = Record(user, case, got, want, want, want)
    with np.errstate(all="ignore"):
        record.sums = spread(size[None])
        bound = (UNITS * inner.eps + ORACLE_UNITS * 2.0**-52) * size + point.sunk
        last = form.eps * np.abs(want) if point.claims else UNITS * form.eps * np.abs(got)
        record.bound = bound + last
    return record


def _add_noise(point: ModelPoint, record: Record, moves: Array, repeats: Array) -> None:
    """Widen a bound by deviations, and keep them if they are suspicious."""
    form, got, want = point.form, record.got, record.want
    sunk, parts, sums = point.sunk, point.parts(record.user), np.asarray(record.sums)
    with np.errstate(all="ignore"):
        most = MOST_COARSE if form.eps > COARSE else MOST
        unit = form.eps * sums + sunk
        suspect = Suspect(moves[:0] if point.claims else moves, repeats, unit, most)
        if point.claims:
            moves = point.explained.gradients(record.case)[record.user]
        samples = moves if point.claims else np.concatenate([moves, repeats])
        calm = bool(np.isfinite(samples).all())
        record.noise = spread(samples if calm else np.nan_to_num(samples, posinf=0.0, neginf=0.0))
        seen = record.noise if calm and not point.claims else None
        # What is not finite fails by itself.
        finite = bool(np.isfinite(got).all() and np.isfinite(want).all())
        if finite and suspicious(suspect, list(parts.values()), seen):
            record.suspect = suspect
        bound = record.bound + SPREADS * record.noise
        record.bound = np.nan_to_num(bound, nan=0.0, posinf=0.0)
        record.ratio = ratio_of(got, want, record.bound)
        record.whole = whole(got, want, moves, point.inner.eps * sums + sunk, form.eps)
        if form.eps > COARSE:
            record.along = over_pieces(parts, got, want, moves, sunk)


def _judge(
    out: Comparison,
    subject: Subject,
    case: Case,
    points: list[tuple[Arrays, Arrays | None]],
    moved: list[Arrays],
    rounding: Rounding | None,
) -> None:
    """Compare the noise of what is suspect in a case with what rounding explains."""
    point = out.point
    calls: dict[int, list[Arrays]] = {}  # by neighbour; one call tells of all arrays
    for record in out.records:
        if record.case is not case or record.suspect is None:
            continue
        user, suspect = record.user, record.suspect
        record.suspect = None
        asked = count()

        def again(j: int, user: str = user, asked: Iterator[int] = asked) -> Array:
            made, k = calls.setdefault(j, []), next(asked)
            if k >= len(made):
                arrays, given = points[j]
                made.append(subject.gradients(point.fitted, arrays, given))
            return np.asarray(made[min(k, len(made) - 1)][user] - moved[j][user])

        _find_excess(out, record, suspect, rounding, again)


def _find_excess(
    out: Comparison,
    record: Record,
    suspect: Suspect,
    rounding: Rounding | None,
    again: Callable[[int], Array] | None,
) -> None:
    point, user, case = out.point, record.user, record.case
    if point.role is Role.ZEROS:
        return  # moves of a unit leave zeros as they are: the definition's own rounding is not seen

    def saved() -> Array:
        nothing = np.zeros((1, *record.got.shape))
        return np.asarray(rounding(point, case)[user]) if rounding else nothing

    def reordered() -> Array:
        if np.any(record.ratio > 1) and _some_plain(record):
            return np.zeros((1, *record.got.shape))  # wrong in any order: none need be allowed for
        return point.explained.gradients(case)[user]

    own, parts = point.own.gradients(case)[user], list(point.parts(user).values())
    found = judge_noise(suspect, parts, record.want, own, reordered, saved, again)
    if found is None or (not found[-1] and np.any(record.ratio > 1) and not np.any(record.want)):
        return  # a wrong array for one that is zero is not known to have lost precision
    out.excess.append(Excess(user, point.label, case.label, *found))


def _note_outputs(out: Comparison, subject: Subject) -> None:
    """How far the outputs that a gradient was taken with are from those of the first call."""
    for name, a in subject.outputs.items():
        first = out.point.outputs.setdefault(name, a)
        if same_values(a, first):
            out.restless.setdefault(name, np.zeros(a.shape))
            continue
        with np.errstate(all="ignore"):
            gap = np.abs(np.where(a == first, 0.0, a - first))  # equal infinities are equal
        out.restless[name] = np.fmax(out.restless.get(name, 0.0), np.nan_to_num(gap, nan=np.inf))


def _has_gradient(point: ModelPoint, user: str) -> bool:
    network = point.network
    refs = {**network.parameters, **network.inputs}
    kinds = {refs[p.name].kind for p in point.fitted.pieces[user]}
    return bool(kinds & {"param", "input", "static"})


def _worst(record: Record) -> float:
    return float(np.max(np.nan_to_num(record.ratio, nan=np.inf)))


def _some_plain(record: Record) -> bool:
    """Whether some error is large beside the array it is in."""
    with np.errstate(all="ignore"):
        error = np.abs(record.got - record.want)[record.ratio > 1]
        return bool(np.any(~(error <= PLAIN * np.max(np.abs(record.want)))))


def _some_close(record: Record) -> bool:
    """Whether some error is small beside the array it is in."""
    with np.errstate(all="ignore"):
        error = np.abs(record.got - record.want)[record.ratio > 1]
        return bool(np.any(error <= PLAIN * np.max(np.abs(record.want))))


def _settle(
    out: Comparison,
    wrong: Sequence[Record],
    subject: Subject,
    seed: int,
    rounding: Rounding | None,
) -> None:
    """Look again at what fails by little, or may.

    Extended precision for the oracle where its error counts, what rounding does to the definition,
    the rounding of saved values, and for what then has small errors only the noise that the
    gradient itself shows.
    """
    point = out.point
    close = [r for r in wrong if _some_close(r)]
    if close and point.inner.eps < FINE and _affordable(point):
        cases = list({id(r.case): r.case for r in close}.values())
        exact = point.truth(point.wide(), cases)
        out.settled = True
        for record in close:
            k = next(i for i, c in enumerate(cases) if c is record.case)
            sharp = point.fitted.pull(record.user, {n: a[k] for n, a in exact.of.items()})
            record.want = np.asarray(sharp, dtype=np.float64)
            record.ratio = ratio_of(record.got, record.want, record.bound)
    if not point.claims:
        for record in (r for r in close if np.any(r.ratio > 1)):
            own = spread(point.explained.gradients(record.case)[record.user])
            _widen(record, SPREADS * np.maximum(own - np.asarray(record.noise), 0.0))
    if rounding is not None:
        # Of all that is wrong: 1 − h ⊙ h of a saturated unit can be rounding and nothing else.
        samples: dict[int, Mapping[str, Array]] = {}
        for record in _wrong(wrong):
            key = id(record.case)
            if key not in samples:
                samples[key] = rounding(point, record.case)
            _widen(record, room(samples[key][record.user]))
    if not close or point.claims:
        return
    noise: dict[int, Arrays] = {}
    stubborn = 0
    for record in sorted(
        (r for r in close if np.any(r.ratio > 1) and not _some_plain(r)), key=_worst
    ):
        key = id(record.case)
        if key not in noise:
            if stubborn >= STUBBORN:
                return
            given = point.users(record.case) if subject.with_cotangents else None
            noise[key] = line_noise(subject, point.fitted, point.arrays, given, seed)
        before = int(np.sum(record.ratio > 1))
        _widen(record, noise[key][record.user])
        stubborn += int(np.sum(record.ratio > 1)) == before
        if np.any(record.ratio > 1):
            continue
        # What passes for noise now is an error none the less: does rounding explain it?
        error = (record.got - record.want)[None]
        unit = point.form.eps * np.asarray(record.sums) + point.sunk
        suspect = Suspect(error, error[:0], unit)
        _find_excess(out, record, suspect, rounding, None)


def _lost(out: Comparison, record: Record) -> None:
    """Call unstable, not wrong, what an order of steps explains that loses all in this format."""
    point = out.point
    assert point.meaningless is not None
    own, loose = (
        spread(e.gradients(record.case)[record.user]) for e in (point.own, point.meaningless)
    )
    if not np.all(ratio_of(record.got, record.want, record.bound + SPREADS * loose) <= 1):
        return
    rest = [r for r in out.excess if (r.user, r.case) == (record.user, record.case.label)]
    if not rest:
        excess = lost_precision(record.got - record.want, record.want, own)
        out.excess.append(Excess(record.user, point.label, record.case.label, *excess))
    record.ratio = np.minimum(record.ratio, 1.0)


def _reform(out: Comparison, record: Record, reformed: Rounding) -> None:
    """Let pass, with a note, what functions lose in forms that round numbers of their range."""
    point = out.point
    loose = spread(reformed(point, record.case)[record.user])
    bound = record.bound + SPREADS * loose
    if not np.all(ratio_of(record.got, record.want, bound) <= 1):
        return
    _note_reformed(out, record)
    record.bound, record.ratio = bound, ratio_of(record.got, record.want, bound)


def _note_reformed(out: Comparison, record: Record) -> None:
    point, case = out.point, record.case
    own = spread(point.own.gradients(case)[record.user])
    excess = lost_precision(record.got - record.want, record.want, own)
    out.reformed.append(Excess(record.user, point.label, case.label, *excess))


def _settle_wholes(out: Comparison, rounding: Rounding, reformed: Rounding | None) -> None:
    """The rounding of saved values, for whole arrays that are in doubt.

    Then that of functions in other forms, where an array as a whole needs it.
    """
    point, last = out.point, out.point.form.eps
    for r in out.records:
        loud = r.whole is not None and r.whole.error > r.whole.bound
        if not r.along or not (loud or any(a.in_doubt(last) for a in r.along.values())):
            continue
        others = np.asarray(rounding(point, r.case)[r.user])
        if r.whole is not None:
            r.whole = r.whole.with_moves(r.want, others)
        saved = over_pieces(point.parts(r.user), r.got, r.want, others, 0.0)
        r.along = {n: a.with_moves(saved[n].moves) for n, a in r.along.items() if n in saved}
        if reformed is None or r.whole is None or r.whole.error <= r.whole.bound:
            continue
        others = np.asarray(reformed(point, r.case)[r.user])
        wider = r.whole.with_moves(r.want, others)
        if wider.error <= wider.bound:
            r.whole = wider
            loose = over_pieces(point.parts(r.user), r.got, r.want, others, 0.0)
            r.along = {n: a.with_moves(loose[n].moves) for n, a in r.along.items() if n in loose}
            _note_reformed(out, r)


def _widen(record: Record, by: Array) -> None:
    record.bound = record.bound + by
    record.ratio = ratio_of(record.got, record.want, record.bound)
    if np.isinf(by).any():  # of an array that is not known throughout there is no whole
        record.whole, record.along = None, {}


def _affordable(point: ModelPoint) -> bool:
    """Whether step Jacobians may be repeated in long double, which no BLAS multiplies."""
    sizes = {**point.sizes, **point.lengths}
    widest = max([e.shape.rows.size(sizes)
                  for s in point.network.scans for e in s.equations] or [1])  # fmt: skip
    steps = point.steps
    return steps * point.batch * widest**3 <= AFFORDABLE
