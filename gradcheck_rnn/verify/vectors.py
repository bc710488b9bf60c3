"""Test vectors for code that is not Python: inputs, cotangents, gradients to 30 digits, bounds.

All inputs and cotangents are numbers that bfloat16, float16, float32 and float64 hold exactly, so
that one set of vectors serves every format and no code starts from rounded inputs. The gradients
come from the derivation in 60 digits and are certified by the definition: along a random direction
through everything at once, the complex step of the definition must give the same 30 digits. A
bound says, entry by entry, how far careful arithmetic in a format may end from the true value. It
is measured by Monte Carlo arithmetic (Parker, UCLA CSD-970002, 1997): every operation is put off
by a unit in the last place, up or down at random, because rounding itself may by chance be exact
where another implementation's is not.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import GradcheckError
from ..language.domains import Domain
from ..language.network import Network
from ..language.numeric import holding_frozen, recording_frozen
from ..language.running import run, to_columns, to_rows
from ..streams import Stream, generator
from .harness.aggregates import COARSE
from .harness.arrays import PRECISIONS, Precision
from .oracle.directions import draw_direction
from .points import Point, draw_point

__all__ = ["DIGITS", "Pull", "VectorProbe", "Vectors", "make_vectors", "split", "whole_errors"]

Array = NDArray[Any]
DIGITS = 30
#: Working precision, twice what is promised.
WORKING = 60
#: The complex step: its square is far below the promised digits.
STEP_EXPONENT = -24
#: Runs with errors of their own.
RUNS = 6
SPREADS = 4.0
UNITS = 4.0
#: The smallest normal number of float16; smaller inputs would lose digits there.
SMALLEST = 2.0**-14
#: Up to here every time step of an output has a probe of its own; beyond, the first and the last.
MOST_STEPS = 8


@dataclass(frozen=True)
class Pull:
    """How gradients are computed; arrays are columns, cotangents by output (empty: the loss).

    ``precise(values, cotangents)`` on mpmath numbers; ``rounded(values, slip)`` gives outputs and a
    function from cotangents to gradients, with ``slip`` applied to the result of every operation.
    """

    precise: Callable[..., dict[str, Any]]
    rounded: Callable[..., tuple[dict[str, Any], Callable[..., dict[str, Any]]]]


@dataclass
class VectorProbe:
    """Cotangents (none: the loss) and the gradients that belong to them, in the public layout.

    ``gradients`` are object arrays of mpmath numbers, ``bounds`` by format and name; so are
    ``errors`` (draws, \\*shape) of careful arithmetic, for formats of few digits.
    """

    name: str
    cotangents: dict[str, Array]
    gradients: dict[str, Array] = field(default_factory=dict)
    bounds: dict[str, dict[str, Array]] = field(default_factory=dict)
    errors: dict[str, dict[str, Array]] = field(default_factory=dict)


@dataclass
class Vectors:
    """Everything that is exported; arrays are ``(T, B, n)``, or as the layout has them."""

    cell: str
    seed: int
    sizes: dict[str, int]
    roles: dict[str, str]
    arrays: dict[str, Array]
    outputs: dict[str, Array]
    output_bounds: dict[str, dict[str, Array]]
    probes: list[VectorProbe]
    domains: dict[str, str] = field(default_factory=dict)
    classes: dict[str, Array] = field(default_factory=dict)
    layout: str = ""

    @property
    def labels(self) -> dict[str, Array]:
        """The classes of what is one-hot, for code that takes whole numbers: ``(T, B)``."""
        return self.classes or {
            n: np.argmax(self.arrays[n], axis=-1).astype(np.int64)
            for n, domain in self.domains.items() if domain == "one-hot"
        }  # fmt: skip


def make_vectors(
    network: Network,
    pull: Callable[[Point], Pull],
    *,
    seed: int = 0,
    sizes: Mapping[str, int] | None = None,
    without: Collection[str] = (),
) -> Vectors:
    """Make test vectors of a cell or network.

    Parameters
    ----------
    network : Network
        The definition. One with a loss has the probe ``loss`` only; without, there is a probe for
        all outputs, each output, and each time step of an output.
    pull : callable
        From a point to the ways of computing gradients there.
    seed, sizes
        As in `draw_point`.
    without : collection of str
        Parameters and initial states that are zero, and outputs that get no cotangent, since the
        code under test does not have them.

    Returns
    -------
    Vectors
        With gradients to `DIGITS` digits.

    Raises
    ------
    GradcheckError
        The derivation and the definition do not agree to so many digits.
    """
    import mpmath

    point = draw_point(network, seed, sizes=sizes)
    point = Point(
        network,
        {
            n: np.zeros_like(a) if n in without else _short(a, network.domains.get(n))
            for n, a in point.values.items()
        },
        point.sizes, point.lengths, point.batch,
    )  # fmt: skip
    with mpmath.workdps(WORKING):
        columns = {n: _wide(a) for n, a in point.columns(point.values).items()}
        with recording_frozen() as tape:
            made = run(network, columns, point.lengths)
        ways = pull(point)
        probes = _probes(point, made, seed, without)
        for probe in probes:
            given = {
                n: _wide(to_columns(network.outputs[n], c)) for n, c in probe.cotangents.items()
            }
            found = ways.precise(columns, given)
            probe.gradients = {
                n: np.asarray(to_rows(point.ref(n), g), dtype=object) for n, g in found.items()
            }
        _certify(point, columns, tape, probes, seed)
        vectors = Vectors(
            network.name, seed,
            {**point.sizes, **point.lengths, "B": point.batch},
            {n: point.ref(n).kind for n in point.values},
            dict(point.values),
            {n: _rows(network, n, a) for n, a in made.items()},
            {}, probes,
            {n: str(d) for n, d in network.domains.items()},
        )  # fmt: skip
        for name, form in PRECISIONS.items():
            _bound(vectors, point, ways, name, form)
    return vectors


def _rows(network: Network, name: str, columns: Any) -> Array:
    ref = network.outputs.get(name)
    return np.asarray(columns, dtype=object) if ref is None else to_rows(ref, columns)


def _wide(array: Array) -> Array:
    """As mpmath numbers."""
    import mpmath

    return np.asarray(np.frompyfunc(mpmath.mpf, 1, 1)(np.asarray(array)), dtype=object)


def _short(array: Array, domain: Domain | None = None) -> Array:
    """The nearest numbers that every format holds, inside the domain."""
    if domain is not None and (domain.sums_to_one or domain.kind == "given"):
        return array  # zeros, ones and multiples of a power of two; values that are given
    form = PRECISIONS["bfloat16"]
    short = form.quantise(array)
    small = (np.abs(short) < SMALLEST) & (array != 0)
    short = np.where(small, np.copysign(SMALLEST, array), short)
    if domain is None:
        return short
    unit = 2 * form.eps * np.maximum(np.abs(short), SMALLEST)
    outside = short - domain.clip(short)
    return np.where(outside == 0, short, form.quantise(short - np.sign(outside) * unit))


def _probes(
    point: Point, made: Mapping[str, Any], seed: int, without: Collection[str]
) -> list[VectorProbe]:
    network = point.network
    if network.loss_terms:
        return [VectorProbe("loss", {})]
    whole = {}
    for name, ref in network.outputs.items():
        if name in without:
            continue
        shape = to_rows(ref, made[name]).shape
        direction = draw_direction(shape, seed, f"vectors: cotangent of {name}")
        whole[name] = _short(direction * np.sqrt(direction.size))
    probes = [VectorProbe("all", whole)] if len(whole) > 1 else []
    for name, cotangent in whole.items():
        probes.append(VectorProbe(name, {name: cotangent}))
        if network.outputs[name].axis is None:
            continue
        count = len(cotangent)
        for t in range(count) if count <= MOST_STEPS else (0, count - 1):
            alone = np.zeros_like(cotangent)
            alone[t] = cotangent[t]
            probes.append(VectorProbe(f"{name}[{t}]", {name: alone}))
    return probes


def _certify(
    point: Point, columns: Mapping[str, Array], tape: Any, probes: list[VectorProbe], seed: int
) -> None:
    """<gradient, v> against the complex step of the definition along v, for every probe."""
    import mpmath

    network = point.network
    step = mpmath.mpf(10) ** STEP_EXPONENT
    rng = generator(seed, Stream.VECTOR_DIRECTIONS)
    directions = {n: _wide(rng.standard_normal(a.shape)) for n, a in point.differentiated.items()}
    moved = dict(columns)
    for n, v in directions.items():
        turned = to_columns(point.ref(n), v)
        moved[n] = columns[n] + np.frompyfunc(lambda x: mpmath.mpc(0, step * x), 1, 1)(turned)
    with holding_frozen(tape):
        made = run(network, moved, point.lengths)
    slope = np.frompyfunc(lambda x: mpmath.im(x) / step, 1, 1)
    for probe in probes:
        if probe.cotangents:
            truth = sum(
                np.sum(_wide(c) * slope(to_rows(network.outputs[n], made[n])))
                for n, c in probe.cotangents.items()
            )
        else:
            truth = np.sum(slope(np.asarray(made["loss"], dtype=object)))
        products = [probe.gradients[n] * v for n, v in directions.items()]
        size = sum(np.sum(np.abs(p)) for p in products)
        if abs(sum(np.sum(p) for p in products) - truth) > mpmath.mpf(10) ** -DIGITS * size:
            raise GradcheckError(
                f"{network.name!r}: the gradients for {probe.name!r} and the definition do not "
                f"agree to {DIGITS} digits; a point at a kink? Try another seed"
            )


def split(truth: Array) -> tuple[Array, Array]:
    """The nearest doubles, and the doubles nearest to what is left: 32 digits together."""
    high = np.asarray(truth, dtype=np.float64)
    return high, np.asarray(np.asarray(truth, dtype=object) - high, dtype=np.float64)


def _bound(vectors: Vectors, point: Point, ways: Pull, name: str, form: Precision) -> None:
    """Measure what the format can do, in several runs."""
    network = point.network
    rng = generator(vectors.seed, Stream.VECTOR_BOUNDS)
    columns = point.columns(point.values)

    # tanh in float32 may be off by a unit or two; a narrow format computes it wider and rounds.
    unit = form.eps if form.name in ("float32", "float64") else form.eps / 2

    def rounded(x: Array) -> Array:
        return form.quantise(x * (1 + unit * rng.choice((-1.0, 1.0), size=np.shape(x))))

    runs = [ways.rounded(columns, rounded) for _ in range(RUNS)]
    for probe in vectors.probes:
        given = {n: to_columns(network.outputs[n], c) for n, c in probe.cotangents.items()}
        found = [pull(given) for _, pull in runs]
        errors = {
            n: _errors(truth, [to_rows(point.ref(n), g[n]) for g in found])
            for n, truth in probe.gradients.items()
        }
        probe.bounds[name] = {
            n: _allowed(truth, errors[n], form) for n, truth in probe.gradients.items()
        }
        if form.eps > COARSE:
            probe.errors[name] = errors
    vectors.output_bounds[name] = {
        n: _allowed(
            vectors.outputs[n],
            _errors(vectors.outputs[n], [to_rows(ref, o[n]) for o, _ in runs]),
            form,
        )
        for n, ref in network.outputs.items()
    }


def _errors(truth: Array, samples: list[Array]) -> Array:
    """What the runs are off by, (runs, \\*shape)."""
    high, low = split(truth)
    with np.errstate(all="ignore"):
        return np.stack([(np.asarray(s, dtype=np.float64) - high) - low for s in samples])


def whole_errors(truth: Array, errors: Array) -> Array:
    """Errors of a whole array in every run, relative to it, (2, runs).

    Along itself, ⟨error, gradient⟩ ÷ ⟨gradient, gradient⟩, and their norm. Errors of entries
    average where they are independent, and do not where they have a cause in common: runs show
    which, and one run is one forward pass for all probes. Infinite for an array of zeros, or where
    the format overflows.
    """
    high = split(truth)[0]
    square = float(np.sum(high**2))
    if not square or not np.isfinite(errors).all():
        return np.full((2, len(errors)), np.inf)
    flat = errors.reshape(len(errors), -1)
    return np.stack([flat @ high.ravel() / square, np.sqrt(np.sum(flat**2, axis=1) / square)])


def _allowed(truth: Array, errors: Array, form: Precision) -> Array:
    """Bound of every entry; infinite where the format overflows."""
    high = split(truth)[0]
    with np.errstate(all="ignore"):
        largest = np.max(np.abs(errors), axis=0)
        squares = np.mean(errors**2, axis=0)
        if largest.ndim:
            # Six draws of one entry may all be small by chance; its row and column know better.
            typical = np.min(
                [np.broadcast_to(np.sqrt(squares.mean(axis=k, keepdims=True)), largest.shape)
                 for k in range(largest.ndim)], axis=0,
            )  # fmt: skip
            largest = np.maximum(largest, typical)
        bound = SPREADS * largest + UNITS * form.eps * np.abs(high)
    return np.nan_to_num(bound, nan=np.inf, posinf=np.inf)
