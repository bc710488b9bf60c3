"""A place in the user's layout: what the code is given, and the definition at that point."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...language.running import to_columns, to_rows
from .arrays import Precision
from .explained import Explained, reordered_units
from .layout import Fitted, Layout
from .plan import Case, Place, cases_of
from .subject import Subject
from .sweep import Carry, Gradients, ModelOracle

__all__ = ["Station"]

Array = NDArray[Any]
Arrays = dict[str, Array]
#: Relative rounding beyond which a result means nothing.
MEANINGLESS = 2.0**-4


@dataclass
class Station:
    """A place in the user's layout: what the code is given, and the definition at that point."""

    place: Place
    fitted: Fitted
    arrays: Arrays
    oracle: ModelOracle
    cases: list[Case]
    doors: Arrays
    form: Precision
    inner: Precision
    seed: int
    #: Outputs of the code at this point, from its first call there.
    outputs: Arrays = field(default_factory=dict, repr=False)

    @classmethod
    def build(
        cls,
        place: Place,
        layout: Layout,
        form: Precision,
        subject: Subject,
        seed: int,
        inner: Precision | None = None,
    ) -> Station:
        """Pack the place's values, quantise them once, and run the definition on the result.

        ``inner`` is the format that the code claims to compute in, by default that of its arrays.
        """
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
        station = cls(place, fitted, arrays, oracle, [], doors, form, inner or form, seed)
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

    @cached_property
    def own(self) -> Explained:
        """What rounding in the format of the computation does to the definition, step by step."""
        return Explained(self, self.inner, self.seed, 1.0)

    @cached_property
    def explained(self) -> Explained:
        """The same for steps that are taken in any order, where the definition allows another."""
        # An order that costs a sixteenth of a number is none to compute in this format.
        units = min(self._units, max(1.0, MEANINGLESS / self.inner.eps))
        return self.own if units == 1 else Explained(self, self.inner, self.seed, units)

    @cached_property
    def meaningless(self) -> Explained | None:
        """The same for an order that is none to compute in this format; None if there is none."""
        if self._units * self.inner.eps <= max(self.inner.eps, MEANINGLESS):
            return None
        return Explained(self, self.inner, self.seed, self._units)

    @cached_property
    def _units(self) -> float:
        return reordered_units(self.oracle)

    def release(self) -> None:
        """Forget what rounding does here; it is made again when asked for."""
        for name in ("own", "explained", "meaningless"):
            self.__dict__.pop(name, None)

    @property
    def sunk(self) -> float:
        """What underflow may lose: the least number in every product of every step."""
        units, steps = sum(self.place.sizes.values()), max(self.place.lengths.values(), default=1)
        return self.form.least * units * steps * self.place.batch

    def parts(self, user: str) -> dict[str, Array]:
        """Flat positions of the definition's values in one of the user's arrays."""
        return {p.name: p.index.ravel() for p in self.fitted.pieces[user]}

    @property
    def claims(self) -> bool:
        """Whether the code says that it computes in another format than that of its arrays."""
        return self.inner is not self.form

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

    def truth(
        self, oracle: ModelOracle, cases: list[Case], carry: Carry | None = None
    ) -> Gradients:
        """Gradients of the definition for some cases, at the doors."""
        if not any(c.cotangents for c in cases):
            return oracle.gradients({}, loss=np.ones(len(cases)), carry=carry)
        names = dict.fromkeys(n for c in cases for n in c.cotangents)
        outputs = self.place.network.outputs
        given = {}
        for n in names:
            shape = next(c.cotangents[n] for c in cases if n in c.cotangents).shape
            rows = [to_columns(outputs[n], c.cotangents.get(n, np.zeros(shape))) for c in cases]
            given[n] = np.stack(rows)
        return oracle.gradients(given, carry=carry)

    def users(self, case: Case) -> Arrays:
        """A case's cotangents as the code takes them, zeros where there are none."""
        return {u: self.fitted.place(u, case.cotangents) for u in self.fitted.outputs}
