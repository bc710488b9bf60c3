"""What the names of a definition are worth at a random point: values, adjoints, Jacobians.

Vectors are columns ``(n, 1)``, matrices of a sequence ``(n, m)``; where the network has heads all
arrays have an axis of heads in front, of length one for what the heads share. In the prime field
equality at the point is equality but for a probability of 2⁻¹⁰⁰ (see `derivation.proof`);
floating-point numbers show a difference, they prove nothing.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..derivation.assumptions import summing_to_one
from ..derivation.batches import Batches
from ..derivation.evaluate import adjoints, forward
from ..derivation.program import Derivation, EquationProgram
from ..derivation.proof import FieldPoint, Setting, draw
from ..errors import GradcheckError
from ..language.dims import ONE
from ..language.loops import count_of
from ..language.network import Ref
from ..streams import Stream, generator

__all__ = ["READINGS", "Choice", "NotEvaluated", "Reading", "Source", "Truth", "Values", "choose"]

Array = Any
#: What ∂a_t/∂b_s may mean: through everything, through step t alone with earlier states held, or
#: through the equation of a alone.
READINGS: tuple[str, ...] = ("total", "within", "direct")
Reading = str
#: Steps at least: an index that is off by two and a sum cut short must show.
STEPS = 5


class NotEvaluated(GradcheckError):
    """A line that cannot be evaluated; the text says at what."""


@dataclass(frozen=True)
class Choice:
    """The point: values, cotangents that are handed in, and those that are not (zero)."""

    setting: Setting
    given: Mapping[str, Array]


def choose(
    derivation: Derivation,
    seed: int,
    *,
    real: bool = False,
    sizes: Mapping[str, int] | None = None,
    zero_start: bool = False,
    outputs: Sequence[str] | None = None,
) -> Choice:
    """Draw a point; sequences of outputs have cotangents, last states have none.

    A network with a loss is differentiated by its loss, and nothing else is handed in.

    Parameters
    ----------
    real : bool
        Floating-point numbers instead of field elements.
    sizes : mapping, optional
        Dim → size, where others than the defaults are wanted.
    zero_start : bool
        Initial states are zero.
    outputs : sequence of str, optional
        The only outputs that the loss depends on.
    """
    network = derivation.network
    lengths = {axis: STEPS + k for k, axis in enumerate(network.axes)}
    assumed = tuple(summing_to_one(network))
    setting = draw(network, FieldPoint(seed), sizes=sizes, lengths=lengths, assumed=assumed)
    if real:
        rng = generator(seed, Stream.CLAIMED_EQUATIONS)
        drawn: dict[str, Array] = {
            n: rng.standard_normal(a.shape) for n, a in setting.values.items()
        }
        for n, domain in network.domains.items():
            drawn[n] = domain.draw_columns(rng, drawn[n].shape, data=False)
        others: dict[str, Array] = {
            n: rng.standard_normal(a.shape) for n, a in setting.cotangents.items()
        }
        setting = replace(setting, values=drawn, cotangents=others)
    if zero_start:
        starts = {
            s.ref.name for p in derivation.scans for state in p.scan.states
            for s in state.initial if s.ref is not None
        }  # fmt: skip
        zero = {n: 0 * a if n in starts else a for n, a in setting.values.items()}
        setting = replace(setting, values=zero)
    given = {} if network.loss_terms else dict(setting.cotangents)
    finals = [n for n in given if network.outputs[n].axis is None]
    for n in finals if len(finals) < len(given) else ():
        del given[n]
    if outputs is not None:
        given = {n: g for n, g in given.items() if n in outputs}
    return Choice(setting, given)


class Values(ABC):
    """Values and derivatives by name, in the column convention.

    Attributes
    ----------
    values : mapping
        Name → {step: array}; what does not move with time has step 0.
    steps, sizes : mapping
        Time axis → number of steps; dim → size.
    """

    derivation: Derivation
    values: Mapping[str, Mapping[int, Array]]
    steps: Mapping[str, int]
    sizes: Mapping[str, int]

    @abstractmethod
    def adjoint(self, name: str, t: int, loss: int | None) -> Array | None:
        """∂L/∂name at a step, or ∂L_s/∂name of the loss of one step; None where it is zero."""

    @abstractmethod
    def jacobian(self, of: str, t: int, by: str, s: int, reading: Reading) -> Array | None:
        """∂of_t/∂by_s with vec of a matrix by columns; None where there is no dependence."""

    @abstractmethod
    def equal(self, a: Array, b: Array) -> bool:
        """Whether two arrays of one shape are equal."""

    def knows(self, name: str) -> bool:
        """Whether the definition has something of this name, or numbered things of it (``h_``)."""
        if name.endswith("_"):
            return any(n.startswith(name) for n in self.values)
        return name in self.values

    def moves(self, name: str) -> bool:
        """Whether it changes with time."""
        return set(self.values[name]) != {0}

    @functools.cached_property
    def made(self) -> frozenset[str]:
        """Names of all equations."""
        return frozenset(e.name for p in self.derivation.scans for e in p.equations)

    def times(self, name: str) -> range:
        """The steps at which something is computed or given, from 1 on."""
        network = self.derivation.network
        ref = network.inputs.get(name) or network.outputs.get(
            name.removeprefix("cotangent ").removeprefix("g_")
        )
        ref = ref or network.wholes.get(name)
        if ref is not None and name not in self.made:
            axis = ref.axis
        else:
            axis = self.derivation.scan_of(name).scan.axis
        return range(1, (self.steps[axis] if axis else 1) + 1)

    def matrix(self, name: str) -> bool:
        """Whether it is a parameter with more than one column."""
        return name in self.derivation.network.parameters and self.columns(name) > 1

    def columns(self, name: str) -> int:
        """How many columns a value has; more than one where it is a matrix for every sequence."""
        return int(next(iter(self.values[name].values())).shape[-1])

    @property
    def heads(self) -> int:
        """The number of heads, 0 where the network has none."""
        network = self.derivation.network
        cells = (scan.cell.heads for scan in network.scans)
        return next((h.size(self.sizes) for h in cells if h != ONE), 0)

    def single(self, array: Array, ref: Ref | None = None) -> Array:
        """An array of the terms, or one of the caller with its reference, without the batch."""
        return self._batches.single(array if ref is None else self._batches.inward(ref, array))

    @functools.cached_property
    def _batches(self) -> Batches:
        return Batches(self.derivation.network)

    def value(self, name: str, t: int, adjoint: bool, loss: int | None = None) -> Array:
        """A value or an adjoint; adjoints beyond the last step are zero."""
        held = self.values[name]
        at = t if self.moves(name) else 0
        if adjoint:
            found = self.adjoint(name, at, loss)
            return 0 * next(iter(held.values())) if found is None else found
        if at not in held:
            # Out of time only what is multiplied by a zero adjoint may be read: any number.
            return 2 * next(iter(held.values())) + 1
        return held[at]

    def _cotangents(self, choice: Choice) -> dict[str, dict[int, Array]]:
        """Values of the names ``g_h`` of what is handed in, zero for what is not."""
        out: dict[str, dict[int, Array]] = {}
        for n, ref in self.derivation.network.outputs.items():
            g = choice.given.get(n)
            if g is None:
                g = 0 * choice.setting.cotangents[n]
            g = self.single(g, ref) if ref.axis is None else [self.single(a, ref) for a in g]
            # A parameter may have the name of a cotangent (layer norm's gain g_h).
            name = f"cotangent g_{n}" if f"g_{n}" in self.values else f"g_{n}"
            out[name] = {t + 1: a for t, a in enumerate(g)} if ref.axis is not None else {0: g}
        return out


class Truth(Values):
    """What the derivation says."""

    def __init__(self, derivation: Derivation, choice: Choice) -> None:
        self.derivation, self.choice = derivation, choice
        setting = choice.setting
        self.run: Any = forward(derivation, setting.values, setting.sizes, setting.lengths)
        self.values = {
            n: {t: self.single(a) for t, a in line.items()} for n, line in self.run.series.items()
        }
        self.values = {**self.values, **self._cotangents(choice)}
        self.steps, self.sizes = dict(self.run.steps) or {"T": 1}, setting.sizes
        for scan in (p.scan for p in derivation.scans):
            if scan.substeps > 1:
                self.steps[scan.length] = self.steps[str(scan.axis)] * count_of(scan.substeps)
        self._adjoints: dict[int | None, Mapping[str, Mapping[int, Array]]] = {}
        self._tangents: dict[tuple[str, int, str, str], dict[tuple[str, int], Array]] = {}

    @classmethod
    def of(cls, derivation: Derivation, seed: int = 0, **options: Any) -> Truth:
        """At a point drawn by `choose`."""
        return cls(derivation, choose(derivation, seed, **options))

    def equal(self, a: Array, b: Array) -> bool:
        if np.asarray(a).dtype != object:
            return bool(np.allclose(a, b, rtol=1e-9, atol=1e-12))
        return not any(getattr(d, "value", d) for d in np.asarray(a - b, dtype=object).flat)

    def adjoint(self, name: str, t: int, loss: int | None) -> Array | None:
        if loss not in self._adjoints:
            given = self.choice.given
            if loss is not None:
                given = self._of_step(loss)
            self._adjoints[loss] = adjoints(self.run, given)
        found = self._adjoints[loss].get(name, {}).get(t)
        return None if found is None else self.single(found)

    def _of_step(self, step: int) -> dict[str, Array]:
        network = self.derivation.network
        if network.loss_terms:
            raise NotEvaluated("the loss of one step of a network that has its own loss")
        out = {}
        for n, g in self.choice.given.items():
            if network.outputs[n].axis is not None:
                out[n] = [x if t == step else 0 * x for t, x in enumerate(g, 1)]
        return out

    def jacobian(self, of: str, t: int, by: str, s: int, reading: Reading) -> Array | None:
        if not self.moves(by):
            s = 0
        if self.heads:
            raise NotEvaluated("derivatives of one value by another are not judged with heads")
        if of == by and t == s:
            rows = self.values[of][t].size
            return np.eye(rows, dtype=int).astype(object) * (0 * self.values[of][t].flat[0] + 1)
        key = (by, s, reading, "" if reading == "total" else f"{of} {t}")
        if key not in self._tangents:
            self._tangents[key] = self._spread(by, s, reading, of, t)
        return self._tangents[key].get((of, t))

    def _spread(
        self, by: str, s: int, reading: Reading, of: str, t: int
    ) -> dict[tuple[str, int], Array]:
        """∂(everything)/∂by_s, forward through edges."""
        found: dict[tuple[str, int], Array] = {}
        for when, e in self._in_order():
            if (e.name, when) == (by, s):
                continue
            if reading != "total" and when != t:
                continue
            if reading == "direct" and e.name != of:
                continue
            total: Any = None
            for edge in e.edges:
                at = 0 if edge.lag is None else when - edge.lag
                own = (edge.operand.name, at) == (by, s)
                inner: Any = None if own else found.get((edge.operand.name, at))
                if not own and inner is None:
                    continue
                look = self.run.lookup(when)
                part = self.run.terms(edge.jacobian, lambda s, look=look: self.single(look(s)))
                part = part if own else np.matmul(part, inner)
                total = part if total is None else total + part
            if total is not None:
                found[(e.name, when)] = total
        return found

    def _in_order(self) -> Iterator[tuple[int, EquationProgram]]:
        for program in self.derivation.scans:
            for when in self.run.times(program):
                for e in program.equations:
                    yield when, e


class Source:
    """Points of one derivation, each drawn once.

    Parameters
    ----------
    make : callable
        `Truth.of`, or another that takes a derivation, a seed and the options of `choose`.
    """

    def __init__(
        self, derivation: Derivation, seed: int = 0, make: Callable[..., Values] = Truth.of
    ) -> None:
        self.derivation, self.seed, self.make = derivation, seed, make
        self._held: dict[tuple[bool, bool, bool, tuple[str, ...] | None], Values] = {}

    def known(
        self,
        *,
        real: bool = False,
        zero_start: bool = False,
        one_unit: bool = False,
        outputs: tuple[str, ...] | None = None,
    ) -> Values:
        """A point; ``one_unit``: all dims are 1; for the others see `choose`."""
        key = (real, zero_start, one_unit, outputs)
        if key not in self._held:
            options: dict[str, Any] = {"zero_start": zero_start, "outputs": outputs}
            if real:
                options["real"] = True
            if one_unit:
                options["sizes"] = dict.fromkeys(self.derivation.network.dims, 1)
            self._held[key] = self.make(self.derivation, self.seed, **options)
        return self._held[key]

    def losses(self) -> list[tuple[str, ...] | None]:
        """What the loss may depend on: every output, or one sequence of outputs alone."""
        outputs = self.derivation.network.outputs
        moving = [n for n, ref in outputs.items() if ref.axis is not None]
        if self.derivation.network.loss_terms or len(moving) < 2:
            return [None]
        return [None, *((n,) for n in moving)]
