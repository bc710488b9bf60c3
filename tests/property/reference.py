"""Values for a network and its reference gradients, from the definitions alone.

The complex step perturbs every entry at once: entries are stacked on a leading axis of one run
of the definitions. `frozen` values are recorded in the base run and held.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any
from unittest.mock import patch

import numpy as np

from gradcheck_rnn.language import numeric
from gradcheck_rnn.language.domains import Domain
from gradcheck_rnn.language.network import Network, Ref
from gradcheck_rnn.language.numeric import holding_frozen, recording_frozen
from gradcheck_rnn.language.running import array_shape, run, to_columns
from gradcheck_rnn.verify.oracle import Estimate, Lines, differentiate, draw_direction

__all__ = [
    "Case",
    "at_a_kink",
    "central_differences",
    "complex_gradients",
    "decisions",
    "differentiated",
    "draw_case",
    "kinks_within",
    "loss_of",
]

Arrays = dict[str, np.ndarray[Any, Any]]

SIZES = {"d": 2, "p": 3, "q": 4, "H": 2}
LENGTHS = {"T": 4, "S": 3}
#: Decisions on smaller relative gaps are left to rounding.
NEAR = 1e-9
REGIMES = ("ordinary", "tiny", "corner")


@dataclass(frozen=True)
class Case:
    """A network with arrays in columns, cotangents of its outputs, sizes and lengths."""

    network: Network
    values: Arrays
    cotangents: Arrays
    sizes: Mapping[str, int]
    lengths: Mapping[str, int]
    batch: int

    def astype(self, dtype: Any) -> Case:
        """The same numbers in another precision."""
        return Case(
            self.network,
            {n: a.astype(dtype) for n, a in self.values.items()},
            {n: a.astype(dtype) for n, a in self.cotangents.items()},
            self.sizes, self.lengths, self.batch,
        )  # fmt: skip

    def sequence(self, b: int) -> Case:
        """One sequence of the batch."""

        def one(a: np.ndarray[Any, Any], batched: bool) -> np.ndarray[Any, Any]:
            return a[..., b : b + 1] if batched else a

        refs = self.network.parameters | self.network.inputs
        return Case(
            self.network,
            {n: one(a, refs[n].shape.batch) for n, a in self.values.items()},
            {n: one(a, True) for n, a in self.cotangents.items()},
            self.sizes, self.lengths, 1,
        )  # fmt: skip


def differentiated(network: Network) -> list[Ref]:
    """Parameters, inputs and initial states that have a gradient."""
    refs = (*network.parameters.values(), *network.inputs.values())
    return [r for r in refs if r.kind in ("param", "input", "static")]


def _draw(
    ref: Ref, shape: tuple[int, ...], domain: Domain | None, regime: str, rng: np.random.Generator
) -> np.ndarray[Any, Any]:
    if ref.kind in ("data", "static_data") and ref.name.startswith("m"):
        return (rng.random(shape) < 0.6).astype(float)
    if domain is not None and domain.kind == "interval" and np.isinf(domain.high):
        return rng.uniform(domain.low, domain.low + 1.0, shape)
    if domain is not None:
        return domain.draw(rng, shape, data=False)
    reach = 2.0 if ref.shape.batch else 1.0
    if regime == "corner":
        return reach * rng.choice([-1.0, 1.0], shape) * rng.uniform(0.9, 1.0, shape)
    values = reach * np.clip(0.4 * rng.normal(size=shape), -1.0, 1.0)
    return 1e-3 * values if regime == "tiny" else values


def draw_case(
    network: Network,
    seed: int = 0,
    *,
    batch: int = 1,
    regime: str = "ordinary",
    sizes: Mapping[str, int] = SIZES,
    lengths: Mapping[str, int] = LENGTHS,
) -> Case:
    """Random values in the box that definitions are made for; data named ``m…`` are 0 or 1."""
    rng = np.random.default_rng(seed)
    lengths = {a: lengths[a] for a in network.axes}
    values: Arrays = {}
    for ref in (*network.parameters.values(), *network.inputs.values()):
        shape = array_shape(ref, sizes, batch=batch, lengths=lengths)
        array = _draw(ref, shape, network.domains.get(ref.name), regime, rng)
        values[ref.name] = to_columns(ref, array)
    out = run(network, values, lengths)
    cotangents = {n: rng.normal(size=a.shape) for n, a in out.items() if n != "loss"}
    return Case(network, values, cotangents, sizes, lengths, batch)


def loss_of(case: Case, values: Arrays) -> Any:
    """Σ ⟨cotangent, output⟩ plus the network's own loss; stacked axes are kept."""
    out = run(case.network, values, case.lengths)
    total: Any = out.get("loss", 0)
    for n, g in case.cotangents.items():
        shape = case.network.outputs[n].shape
        own = tuple(range(-2 - shape.stack - shape.headed, 0))
        axes = (0, *own) if case.network.outputs[n].axis else own
        stacked = out[n].ndim - g.ndim
        if stacked and case.network.outputs[n].axis:
            g = g.reshape(g.shape[0], *(1,) * stacked, *g.shape[1:])
        total = total + (g * out[n]).sum(axis=axes)
    return total


def perturbed(case: Case, by: Mapping[str, np.ndarray[Any, Any]], dtype: Any) -> Arrays:
    """Values plus perturbations stacked as ``(N, *shape)``, arranged as `run` takes them."""
    values: Arrays = {}
    for n, a in case.values.items():
        ref = (case.network.parameters | case.network.inputs)[n]
        base = a.astype(dtype)
        if n in by:
            stacked = base[None] + by[n]
            base = np.moveaxis(stacked, 0, 1) if ref.axis else stacked
        elif ref.axis:
            base = base[:, None]
        values[n] = base
    return values


def complex_gradients(case: Case) -> Arrays:
    """Gradients of `loss_of` by the complex step in extended precision, every entry alone."""
    case = case.astype(np.longdouble)
    refs = differentiated(case.network)
    total = sum(case.values[r.name].size for r in refs)
    # So small that its square is 0: a decision at a tie must not see second-order terms.
    step = np.longdouble(2.0) ** -9000
    by: Arrays = {}
    start = 0
    for ref in refs:
        a = case.values[ref.name]
        block = np.zeros((total, a.size), dtype=np.clongdouble)
        block[start : start + a.size] = 1j * step * np.eye(a.size)
        by[ref.name] = block.reshape(total, *a.shape)
        start += a.size
    # The base run is complex too, so that a value compared with itself frozen stays a tie.
    with recording_frozen() as tape:
        loss_of(case, perturbed(case, {}, np.clongdouble))
    with holding_frozen(tape):
        slopes = loss_of(case, perturbed(case, by, np.clongdouble)).imag / step
    slopes = np.broadcast_to(slopes, (total,))
    out: Arrays = {}
    start = 0
    for ref in refs:
        a = case.values[ref.name]
        out[ref.name] = slopes[start : start + a.size].reshape(a.shape)
        start += a.size
    return out


@dataclass
class Decisions:
    """What the comparisons, maxima, absolute values and relus of a run decide on.

    ``rounded`` says that some decision lies within rounding: a definition compares a number with
    itself computed in another way, and every order of operations decides for itself. ``ties``
    counts exact ties; ``signs`` says how each decision fell.
    """

    rounded: bool = False
    ties: int = 0
    signs: list[np.ndarray[Any, Any]] = field(default_factory=list)

    def see(self, a: Any, b: Any) -> None:
        first, second = np.broadcast_arrays(a, b)
        largest = np.maximum(np.abs(first), np.abs(second))
        gap = np.abs(first - second)
        self.signs.append(np.sign(np.real(first - second)))
        self.ties += int(np.sum(gap == 0))
        # A value compared with its very self is a tie in every order of operations, and so are
        # two exact zeros.
        if np.any(gap):
            self.rounded |= bool(np.any((gap <= NEAR * largest) & (largest > 0)))


def decisions(case: Case, frozen: Any = None) -> Decisions:
    """Watch the decisions of one run; ``frozen`` is a tape of values to hold."""
    seen = Decisions()

    def two(a: Any, b: Any, decide: Any = numeric.greater) -> Any:
        seen.see(a, b)
        return decide(a, b)

    def one(a: Any, decide: Any) -> Any:
        seen.see(a, 0.0)
        return decide(a)

    relu = partial(one, decide=numeric.ELEMENTWISE["relu"])
    absolute = partial(one, decide=numeric.absolute)
    with (
        patch.object(numeric, "greater", two),
        patch.object(numeric, "absolute", absolute),
        patch.dict(numeric.RUN, {"greater": two, "abs": absolute}),
        patch.dict(numeric.ELEMENTWISE, {"relu": relu}),
        holding_frozen(frozen) if frozen is not None else nullcontext(),
    ):
        loss_of(case, case.values)
    return seen


def at_a_kink(case: Case, seed: int) -> bool:
    """Whether there is a tie that does not last when everything moves a little.

    There the gradient is a convention and not the slope along a direction, and kinks of opposite
    sign at one point can cancel in what differences see.
    """
    ties = decisions(case).ties
    if not ties:
        return False
    with recording_frozen() as tape:
        loss_of(case, case.values)
    values = dict(case.values)
    for ref in differentiated(case.network):
        step = 1e-3 * draw_direction(values[ref.name].shape, seed, ref.name)
        values[ref.name] = values[ref.name] + step
    return decisions(replace(case, values=values), tape).ties != ties


def kinks_within(case: Case, directions: Mapping[str, np.ndarray[Any, Any]], reach: float) -> bool:
    """Whether a decision falls in another way within ``reach`` along a direction."""
    with recording_frozen() as tape:
        loss_of(case, case.values)
    seen = []
    for step in (0.0, -reach, reach):
        values = {n: a + step * directions.get(n, 0.0) for n, a in case.values.items()}
        seen.append(decisions(replace(case, values=values), tape).signs)
    here, *there = seen
    return any(not np.array_equal(a, b) for s in there for a, b in zip(here, s, strict=True))


def central_differences(
    case: Case, seed: int, count: int = 4, dtype: Any = np.float64
) -> tuple[list[Estimate], dict[str, np.ndarray[Any, Any]]]:
    """Derivatives along random unit directions, with their errors, and the directions.

    A direction perturbs everything at once; all steps and directions run as one stack. The loss
    is computed in ``dtype`` and handed over in double precision.
    """
    refs = differentiated(case.network)
    directions = {
        r.name: np.stack(
            [draw_direction(case.values[r.name].shape, seed, r.name, k) for k in range(count)]
        )
        for r in refs
    }
    with recording_frozen() as tape:
        loss_of(case, case.values)

    def evaluate(eps: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        flat = eps.ravel()
        which = np.tile(np.arange(count), len(eps))
        by = {n: v[which] * flat.reshape(-1, *(1,) * (v.ndim - 1)) for n, v in directions.items()}
        with holding_frozen(tape), np.errstate(all="ignore"):
            out = loss_of(case, perturbed(case.astype(dtype), by, dtype)).astype(np.float64)
        return np.broadcast_to(out, flat.shape).reshape(eps.shape)

    found = differentiate(Lines(evaluate, count), scale=1.0)
    if isinstance(found, Estimate):
        found = [found]
    return found, directions
