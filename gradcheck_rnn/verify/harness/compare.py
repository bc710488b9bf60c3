"""The user's code beside the definition at one place: outputs first, then every gradient entry.

The bound of an entry has three parts, all measured or computed for this entry: how far the
gradient under test moves when its inputs move by one unit in the last place of its own number
format; the rounding of a sum, relative to the sum of the absolute values of its terms; and the
same for the oracle in double precision. Entries that fail by little are settled by the oracle in
extended precision, and then against the noise that the gradient shows along a line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...language.running import to_columns, to_rows
from ..verdict import judge
from .arrays import Precision
from .layout import Fitted, Layout
from .plan import Case, Place, cases_of
from .subject import Subject
from .sweep import Gradients, ModelOracle

__all__ = ["Comparison", "Record", "Station", "compare_forward", "compare_gradients"]

Array = NDArray[Any]
Arrays = dict[str, Array]
Rounding = Callable[["Station", Case], Mapping[str, Array]]
NEIGHBOURS = 4
SPREADS = 4.0
UNITS = 4.0
ORACLE_UNITS = 16.0
#: Records that noise does not explain before the others are left as they are: the station fails.
STUBBORN = 2
#: Standard deviations of noise in a bound: four differences estimate one, which can be low by half.
NOISES = 12.0
#: Errors larger than this share of their array are plain: no second look could change them.
PLAIN = 1e-3


@dataclass
class Station:
    """A place in the user's layout: what the code is given, and the definition at that point."""

    place: Place
    fitted: Fitted
    arrays: Arrays
    oracle: ModelOracle
    cases: list[Case]
    doors: Arrays

    @classmethod
    def build(
        cls, place: Place, layout: Layout, form: Precision, subject: Subject, seed: int
    ) -> Station:
        """Pack the place's values, quantise them once, and run the definition on the result."""
        network = place.network
        fitted = layout.fit(network, place.sizes, place.batch, place.lengths)
        rng = np.random.default_rng([seed, 12])
        values = dict(place.values)
        for name in set(network.parameters) | set(network.inputs):
            if name not in fitted.names:
                values[name] = np.zeros_like(values[name])
        packed = fitted.pack(values, rng)
        arrays = {n: form.quantise(a) if a.dtype.kind == "f" else a for n, a in packed.items()}
        doors = {**values, **fitted.unpack(arrays)}
        oracle = cls._oracle(place, doors, np.float64)
        station = cls(place, fitted, arrays, oracle, [], doors)
        if subject.with_cotangents:
            handed = {p.name for u in fitted.outputs for p in fitted.pieces[u]}
            outputs = {
                n: to_rows(network.outputs[n], a)
                for n, a in oracle.outputs.items() if n in handed
            }  # fmt: skip
            station.cases = [
                Case(c.label, {n: form.quantise(g) for n, g in c.cotangents.items()}, c.step)
                for c in cases_of(place, outputs, seed)
            ]
        else:
            station.cases = [Case("the loss", {})]
        return station

    @staticmethod
    def _oracle(place: Place, doors: Mapping[str, Array], dtype: Any) -> ModelOracle:
        network = place.network
        refs = {**network.parameters, **network.inputs}
        columns = {n: to_columns(refs[n], a).astype(dtype) for n, a in doors.items()}
        return ModelOracle(network, columns, place.sizes, place.lengths)

    def wide(self) -> ModelOracle:
        """The oracle in extended precision."""
        return self._oracle(self.place, self.doors, np.longdouble)

    def at(self, doors: Mapping[str, Array]) -> ModelOracle:
        """The oracle at other values of the doors."""
        return self._oracle(self.place, doors, np.float64)

    def columns(self, case: Case) -> Arrays:
        """A case's cotangents for the definition, ``(…, n, B)``."""
        outputs = self.place.network.outputs
        return {n: to_columns(outputs[n], g) for n, g in case.cotangents.items()}

    def truth(self, oracle: ModelOracle, cases: list[Case]) -> Gradients:
        """Gradients of the definition for some cases, at the doors."""
        if not any(c.cotangents for c in cases):
            return oracle.gradients({}, loss=np.ones(len(cases)))
        names = dict.fromkeys(n for c in cases for n in c.cotangents)
        outputs = self.place.network.outputs
        given = {}
        for n in names:
            shape = next(c.cotangents[n] for c in cases if n in c.cotangents).shape
            rows = [to_columns(outputs[n], c.cotangents.get(n, np.zeros(shape))) for c in cases]
            given[n] = np.stack(rows)
        return oracle.gradients(given)

    def users(self, case: Case) -> Arrays:
        """A case's cotangents as the code takes them, zeros where there are none."""
        out = {}
        for user in self.fitted.outputs:
            name = self.fitted.pieces[user][0].name
            given = case.cotangents.get(name)
            if given is None:
                out[user] = np.zeros(self.fitted.shapes[user])
            else:
                out[user] = self.fitted.place(name, given, user)
        return out


@dataclass
class Record:
    """One array of the user in one case: what it is, what it should be, how sure that is."""

    user: str
    case: Case
    got: Array
    want: Array
    bound: Array
    ratio: Array


@dataclass
class Comparison:
    """All records of a station, and the definition's gradients they were made from."""

    station: Station
    records: list[Record] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    settled: bool = False
    truth: Gradients | None = None

    @property
    def wrong(self) -> list[Record]:
        return [r for r in self.records if np.any(r.ratio > 1)]


def neighbour(
    arrays: Mapping[str, Array],
    form: Precision,
    rng: np.random.Generator,
    fitted: Fitted | None = None,
) -> Arrays:
    """The arrays with every entry moved by one unit in the last place, inside its domain."""
    moved = {
        n: form.quantise(a * (1 + rng.choice([-1.0, 1.0], size=a.shape) * form.eps))
        for n, a in arrays.items()
    }
    return moved if fitted is None else fitted.inside(moved, arrays)


def _spread(samples: Array) -> Array:
    """Largest deviation of each entry, but not below the typical one of its row or column."""
    largest = np.max(np.abs(samples), axis=0)
    if largest.ndim == 0:
        return np.asarray(largest)
    squares = np.mean(samples**2, axis=0)
    typical = np.min(
        [np.broadcast_to(np.sqrt(squares.mean(axis=k, keepdims=True)), largest.shape)
         for k in range(largest.ndim)], axis=0,
    )  # fmt: skip
    return np.asarray(np.maximum(largest, typical))


def compare_forward(station: Station, subject: Subject, seed: int) -> list[Record]:
    """Outputs of the code and of the definition."""
    fitted, form = station.fitted, subject.form
    found, _, _ = subject.run(fitted, station.arrays)
    wide = station.wide()
    rng = np.random.default_rng([seed, 13])
    moved = [
        subject.run(fitted, neighbour(station.arrays, form, rng, fitted))[0]
        for _ in range(NEIGHBOURS)
    ]
    outputs = station.place.network.outputs
    records = []
    for user in fitted.outputs:
        name = fitted.pieces[user][0].name
        exact = fitted.place(name, to_rows(outputs[name], wide.outputs[name]), user)
        plain = fitted.place(name, to_rows(outputs[name], station.oracle.outputs[name]), user)
        want, got = exact.astype(np.float64), found[user]
        with np.errstate(all="ignore"):
            spread = _spread(np.stack([m[user] - got for m in moved]))
            slip = np.abs((plain - exact).astype(np.float64))
            bound = SPREADS * spread + UNITS * form.eps * np.abs(want) + 4 * slip
            floor = UNITS * form.eps * float(np.sqrt(np.mean(want**2)))
        ratio = judge(got, want, bound + floor)
        ratio = np.where(np.isfinite(want) & ~np.isfinite(got), np.inf, ratio)
        records.append(Record(user, Case("forward", {}), got, want, bound + floor, ratio))
    return records


def compare_loss(station: Station, subject: Subject, seed: int) -> Record:
    """The loss of the code and of the definition, summed over steps, sequences and scans."""
    form = subject.form
    got = subject.value(station.arrays)
    rng = np.random.default_rng([seed, 13])
    moved = [
        subject.value(neighbour(station.arrays, form, rng, station.fitted))
        for _ in range(NEIGHBOURS)
    ]
    exact = np.asarray(station.wide().loss)
    want = exact.astype(np.float64).reshape(())
    slip = np.abs(np.asarray(station.oracle.loss) - exact).astype(np.float64).reshape(())
    spread = np.max(np.abs(np.array(moved) - got))
    terms = max(station.place.lengths.values(), default=1) * station.place.batch
    # A sum of so many terms, each rounded; neighbours show how its parts respond.
    bound = SPREADS * spread + UNITS * form.eps * np.sqrt(terms) * np.abs(want) + 4 * slip
    value = np.asarray(got)
    return Record("loss", Case("forward", {}), value, want, bound, _ratio(value, want, bound))


def compare_gradients(
    station: Station, subject: Subject, seed: int, rounding: Rounding | None = None
) -> Comparison:
    """Every gradient entry of every case.

    ``rounding(station, case)`` gives, by array, deviations under the rounding of saved values; it
    is asked only for what would fail.
    """
    form, fitted = subject.form, station.fitted
    out = Comparison(station)
    # What underflows is lost: at most the least number in every product of every step.
    units = sum(station.place.sizes.values())
    steps = max(station.place.lengths.values(), default=1)
    sunk = form.least * units * steps * station.place.batch
    out.truth = truth = station.truth(station.oracle, station.cases)
    for k, case in enumerate(station.cases):
        given = station.users(case) if subject.with_cotangents else None
        got = subject.gradients(fitted, station.arrays, given)
        rng = np.random.default_rng([seed, 14, k])
        # Cotangents move too: where many of them cancel in a sum, only that shows its rounding.
        moved = [
            subject.gradients(
                fitted,
                neighbour(station.arrays, form, rng, fitted),
                None if given is None else neighbour(given, form, rng),
            )
            for _ in range(NEIGHBOURS)
        ]
        again = subject.gradients(fitted, station.arrays, given)
        for user in fitted.arguments:
            if not _has_gradient(station, user):
                continue
            if user not in got:
                if user not in out.missing:
                    out.missing.append(user)
                continue
            want = fitted.pull(user, {n: a[k] for n, a in truth.of.items()})
            size = fitted.pull(user, {n: a[k] for n, a in truth.size.items()}, absolute=True)
            with np.errstate(all="ignore"):
                samples = np.stack([m[user] - got[user] for m in (*moved, again)])
                spread = _spread(np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0))
                bound = SPREADS * spread + UNITS * form.eps * np.abs(got[user])
                bound = bound + (UNITS * form.eps + ORACLE_UNITS * 2.0**-52) * size + sunk
            bound = np.nan_to_num(bound, nan=0.0, posinf=0.0)
            record = Record(user, case, got[user], want, bound, _ratio(got[user], want, bound))
            out.records.append(record)
    _settle(out, subject, seed, rounding)
    return out


def _has_gradient(station: Station, user: str) -> bool:
    network = station.place.network
    refs = {**network.parameters, **network.inputs}
    kinds = {refs[p.name].kind for p in station.fitted.pieces[user]}
    return bool(kinds & {"param", "input", "static"})


def _ratio(got: Array, want: Array, bound: Array) -> Array:
    ratio = judge(got, want, bound)
    return np.where(np.isfinite(want) & ~np.isfinite(got), np.inf, ratio)


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


def _settle(out: Comparison, subject: Subject, seed: int, rounding: Rounding | None) -> None:
    """Look again at what fails by little.

    Extended precision for the oracle, the rounding of saved values, and for what then has small
    errors only the noise that the gradient itself shows.
    """
    station = out.station
    close = [r for r in out.wrong if _some_close(r)]
    if close:
        cases = list({id(r.case): r.case for r in close}.values())
        exact = station.truth(station.wide(), cases)
        out.settled = True
        for record in close:
            k = next(i for i, c in enumerate(cases) if c is record.case)
            sharp = station.fitted.pull(record.user, {n: a[k] for n, a in exact.of.items()})
            record.want = np.asarray(sharp, dtype=np.float64)
            record.ratio = _ratio(record.got, record.want, record.bound)
    if rounding is not None:
        # Of all that is wrong: 1 − h ⊙ h of a saturated unit can be rounding and nothing else.
        samples: dict[int, Mapping[str, Array]] = {}
        for record in out.wrong:
            key = id(record.case)
            if key not in samples:
                samples[key] = rounding(station, record.case)
            record.bound = record.bound + SPREADS * _spread(samples[key][record.user])
            record.ratio = _ratio(record.got, record.want, record.bound)
    if not close:
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
            noise[key] = line_noise(station, subject, record.case, seed)
        before = int(np.sum(record.ratio > 1))
        record.bound = record.bound + noise[key][record.user]
        record.ratio = _ratio(record.got, record.want, record.bound)
        stubborn += int(np.sum(record.ratio > 1)) == before


def line_noise(station: Station, subject: Subject, case: Case, seed: int) -> Arrays:
    """Noise of every entry along a random line, by high differences (Moré and Wild).

    Finds what one unit in the last place cannot: a saturated 1 − h·h keeps its rounding error for
    all neighbours that leave h itself unchanged. A level counts as noise if the fifth and the
    sixth differences agree on it; a wrong but smooth gradient has none.
    """
    rng = np.random.default_rng([seed, 15])
    signs = {n: rng.choice([-1.0, 1.0], size=a.shape) for n, a in station.arrays.items()}
    given = station.users(case) if subject.with_cotangents else None
    worst: Arrays = {}
    # From ten units to a thousandth, a hundredfold each; coarse formats have one distance only.
    count = 1 + max(0, int(np.log(2e-3 / (8.0 * subject.form.eps)) / np.log(100.0)))
    for distance in 8.0 * subject.form.eps * 100.0 ** np.arange(count):
        values: list[Arrays] = []
        for k in range(-5, 5):
            arrays = {
                n: subject.form.quantise(a * (1 + k * distance * signs[n]))
                for n, a in station.arrays.items()
            }
            arrays = station.fitted.inside(arrays, station.arrays)
            values.append(subject.gradients(station.fitted, arrays, given))
        for user in values[0]:
            series = np.stack([v[user] for v in values])
            fifth, sixth = (_level(series, order) for order in (5, 6))
            level = np.where(fifth <= 4 * sixth, sixth, 0.0)
            worst[user] = np.maximum(worst.get(user, 0.0), level)
    return {user: NOISES * _spread(level[None]) for user, level in worst.items()}


def _level(values: Array, order: int) -> Array:
    gamma = float(np.prod([0.5 * k / (2 * k - 1) for k in range(1, order + 1)]))
    with np.errstate(all="ignore"):
        differences = np.diff(values, n=order, axis=0)
        level = np.sqrt(gamma * np.mean(differences**2, axis=0))
    return np.asarray(np.nan_to_num(level, nan=0.0, posinf=0.0, neginf=0.0))
