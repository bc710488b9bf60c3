"""A point in the user's layout: what the code is given, the definition there, and its rounding.

`Explained` is how far rounding in a format carries the definition's own gradient. Everything that a
step reads is moved by about one unit: what the code is given, the states that a forward pass saves,
the adjoint that is carried from step to step. Only the spread of the results is used. It tells what
a stable evaluation reaches in that format, whatever the code under test does, so that noise of the
code's own is no excuse for its errors.

Where a state is carried unit by unit (h = a ⊙ h + …), code may take the steps together: sums over
steps in another order, products of decays as differences of prefix sums of their logarithms. A sum
of n terms is then off by about √n units, and a prefix sum G by units of |G|, which is a relative
error of exp(G). There the moves are as many units as that.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import GradcheckError
from ...language.network import Network, Scan
from ...language.running import to_columns, to_rows
from ...streams import Stream, generator, random_signs
from ..points import Point, Role
from .arrays import Precision
from .layout import Fitted, Layout
from .packed import MASK
from .plan import Case, cases_of
from .subject import Subject
from .sweep import Carry, Gradients, ModelOracle
from .through import Through

__all__ = ["Explained", "ModelPoint"]

Array = NDArray[Any]
Arrays = dict[str, Array]
#: Relative rounding beyond which a result means nothing.
MEANINGLESS = 2.0**-4
DRAWS = 4
#: Where frames of this code lie, and of what it calls.
OURS = (str(Path(__file__).parents[2]), str(Path(np.__file__).parent), functools.__file__)
#: How far below the largest number of a format gradients must lie, for terms that cancel in them.
ROOM = 64.0
#: A decay below this is no product that code would take by logarithms: it is zero.
LEAST_DECAY = 1e-30


@dataclass(eq=False, kw_only=True)
class ModelPoint(Point):
    """A point in the user's layout: what the code is given, and the definition there.

    `values` are those that the code's arrays hold after rounding to its format.
    """

    fitted: Fitted
    arrays: Arrays
    form: Precision
    inner: Precision
    seed: int
    cases: list[Case] = field(default_factory=list)
    #: Outputs of the code at this point, from its first call there.
    outputs: Arrays = field(default_factory=dict, repr=False)
    #: Gradients of the definition for all cases, while they are compared.
    known: Arrays = field(default_factory=dict, repr=False)
    #: What the code raises at sizes in the other order, for which the point is left out.
    refused: str = ""
    #: Whether the forward pass ran there before it.
    ran_forward: bool = False

    @classmethod
    def build(
        cls,
        point: Point,
        layout: Layout,
        form: Precision,
        subject: Subject,
        seed: int,
        inner: Precision | None = None,
    ) -> ModelPoint:
        """Pack a point's values, quantise them once, and run the definition on the result.

        ``inner`` is the format that the code claims to compute in, by default that of its arrays.
        """
        network = point.network
        fitted = layout.fit(network, point.sizes, point.batch, point.lengths)
        rng = generator(seed, Stream.UNUSED_ENTRIES)
        values = dict(point.values)
        held = None
        if subject.packing is not None:
            held = subject.packing.mask(point.steps, point.batch)
            values[MASK] = held.reshape(values[MASK].shape)
        given = {n for n, domain in network.domains.items() if domain.kind == "given"}
        for name in set(network.parameters) | set(network.inputs):
            if name not in fitted.names and name not in given:
                values[name] = np.zeros_like(values[name])
        packed = fitted.pack(values, rng)
        arrays = {n: form.quantise(a) if a.dtype.kind == "f" else a for n, a in packed.items()}
        made = cls(
            network, {**values, **fitted.unpack(arrays)}, point.sizes, point.lengths, point.batch,
            point.role, point.label, point.single_steps, point.without_zeros,
            fitted=fitted, arrays=arrays, form=form, inner=inner or form, seed=seed,
        )  # fmt: skip
        if subject.with_cotangents:
            handed = {p.name for u in fitted.outputs for p in fitted.pieces[u]}
            outputs = {
                n: to_rows(network.outputs[n], a)
                for n, a in made.oracle.outputs.items() if n in handed
            }  # fmt: skip
            cases = [
                Case(c.label, {n: form.quantise(g) for n, g in c.cotangents.items()}, c.step)
                for c in cases_of(point, outputs, seed)
            ]
            if held is not None:
                cases = [_within(network, c, held) for c in cases]
            made.cases = [made._within_range(c) if c.loud else c for c in cases]
        else:
            made.cases = [Case("the loss", {})]
        return made

    def _within_range(self, case: Case) -> Case:
        """Large cotangents, or smaller ones whose gradients the format holds with room to spare."""
        top = max(float(np.max(np.abs(g), initial=0.0))
                  for g in self.truth(self.oracle, [case]).of.values())  # fmt: skip
        most = float(np.finfo(self.form.holder).max)
        if not top * ROOM > most or not np.isfinite(top):
            return case
        by = 2.0 ** np.ceil(np.log2(top * ROOM / most))
        return Case(case.label, {n: g / by for n, g in case.cotangents.items()}, case.step)

    @cached_property
    def oracle(self) -> ModelOracle:
        """The definition at this point, in float64."""
        return self._oracle(self.values, np.float64)

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
        return _reordered_units(self.oracle)

    @contextmanager
    def left_out_where_refused(self) -> Iterator[None]:
        """At sizes in the other order: note what the code raises, for sizes may be written in it.

        All other points come before this one, so what raises everywhere has been raised there.
        """
        try:
            yield
        except Exception as error:
            if self.role is not Role.REVERSED or not _raised_outside(error):
                raise
            self.refused = f"{type(error).__name__}: {error}"

    def release(self) -> None:
        """Forget what rounding does here; it is made again when asked for."""
        self.known = {}
        for name in ("own", "explained", "meaningless"):
            self.__dict__.pop(name, None)

    @property
    def sunk(self) -> float:
        """What underflow may lose: the least number in every product of every step."""
        return self.form.least * sum(self.sizes.values()) * self.steps * self.batch

    def parts(self, user: str) -> dict[str, Array]:
        """Flat positions of the definition's values in one of the user's arrays."""
        return {p.name: p.index.ravel() for p in self.fitted.pieces[user]}

    @property
    def claims(self) -> bool:
        """Whether the code says that it computes in another format than that of its arrays."""
        return self.inner is not self.form

    def wide(self) -> ModelOracle:
        """The oracle in extended precision."""
        return self._oracle(self.values, np.longdouble)

    def at(self, values: Mapping[str, Array]) -> ModelOracle:
        """The oracle at other values."""
        return self._oracle(values, np.float64)

    def _oracle(self, values: Mapping[str, Array], dtype: Any) -> ModelOracle:
        columns = {n: a.astype(dtype) for n, a in self.columns(values).items()}
        return ModelOracle(self.network, columns, self.sizes, self.lengths)

    def cotangents(self, case: Case) -> Arrays:
        """A case's cotangents for the definition, ``(…, n, B)``."""
        outputs = self.network.outputs
        return {n: to_columns(outputs[n], g) for n, g in case.cotangents.items()}

    def truth(
        self,
        oracle: ModelOracle,
        cases: list[Case],
        carry: Carry | None = None,
        *,
        sizes: bool = True,
    ) -> Gradients:
        """Gradients of the definition for some cases by name, ``(K, …)``."""
        if not any(c.cotangents for c in cases):
            return oracle.gradients({}, loss=np.ones(len(cases)), carry=carry, sizes=sizes)
        names = dict.fromkeys(n for c in cases for n in c.cotangents)
        outputs = self.network.outputs
        given = {}
        for n in names:
            shape = next(c.cotangents[n] for c in cases if n in c.cotangents).shape
            rows = [to_columns(outputs[n], c.cotangents.get(n, np.zeros(shape))) for c in cases]
            given[n] = np.stack(rows)
        return oracle.gradients(given, carry=carry, sizes=sizes)

    def users(self, case: Case) -> Arrays:
        """A case's cotangents as the code takes them, zeros where there are none."""
        return {u: self.fitted.place(u, case.cotangents) for u in self.fitted.outputs}


def _within(network: Network, case: Case, held: Array) -> Case:
    """A case without cotangents beyond the end of a sequence."""
    cut = {
        n: g * held.reshape(*held.shape, *[1] * (g.ndim - 2)) if network.outputs[n].axis else g
        for n, g in case.cotangents.items()
    }
    return replace(case, cotangents=cut)


def _reordered_units(oracle: ModelOracle) -> float:
    """Units of rounding that taking the steps of a point in another order may cost, at least 1."""
    return max([1.0, *(_of_scan(oracle, scan) for scan in oracle.network.scans)])


def _of_scan(oracle: ModelOracle, scan: Scan) -> float:
    """√n and the largest |Σ log|decay|| of a scan that carries unit by unit, else 1."""
    jac = oracle.jacobians(scan)
    states = {s.name for s in scan.states}
    worst = 1.0
    for block in jac.blocks:
        if block.source[0] != "value" or block.source[1] not in states:
            continue
        for jacobian in block.of.values():
            if isinstance(jacobian, Through) and jacobian.mixes:
                return 1.0  # there is no other order
            of = jacobian.dense() if isinstance(jacobian, Through) else jacobian
            if not of.size or not of.any():
                continue
            if of.ndim == 4:
                rows = min(of.shape[2:])
                if of.shape[2] != of.shape[3] or rows > 1:
                    off = of * (1 - np.eye(of.shape[2], of.shape[3]))
                    if off.any():
                        return 1.0  # units mix: there is no other order
                of = of[..., np.arange(rows), np.arange(rows)]
            logs = np.log(np.maximum(np.abs(of.astype(np.float64)), LEAST_DECAY))
            worst = max(worst, float(np.max(np.abs(np.cumsum(logs, axis=0)))))
    return worst + float(np.sqrt(jac.steps))


class Explained:
    """Spreads of the definition's outputs and gradients under rounding, made when asked for.

    Parameters
    ----------
    point : ModelPoint
        The point.
    form : Precision
        The format in which everything is held.
    seed : int
        Of the moves.
    units : float
        So many units everything is moved by.
    """

    def __init__(self, point: ModelPoint, form: Precision, seed: int, units: float) -> None:
        self.point, self.form, self.seed = point, form, seed
        self.units = units
        self._outputs: dict[str, Array] | None = None
        self._gradients: list[Arrays] | None = None
        self._latest: tuple[int, Arrays] | None = None

    def _moved(self) -> Iterator[ModelOracle]:
        """Oracles at moved points, one at a time: each holds the Jacobians of all steps."""
        rng = generator(self.seed, Stream.EXPLAINED)
        for _ in range(DRAWS):
            values = {n: self._noisy(a, rng) for n, a in self.point.values.items()}
            oracle = self.point.at(values)
            for scan in oracle.network.scans:
                for state in scan.states:
                    held = np.asarray(oracle.made[state.name])
                    oracle.made[state.name] = self._noisy(held, rng)
            yield oracle

    def _noisy(self, a: Array, rng: np.random.Generator) -> Array:
        signs = random_signs(rng, np.shape(a))
        return np.asarray(a * (1 + self.units * self.form.eps * signs))

    def outputs(self) -> Mapping[str, Array]:
        """Deviations (draws, \\*shape in the public layout) of the definition's outputs."""
        if self._outputs is None:
            base, refs = self.point.oracle.outputs, self.point.network.outputs
            moved = [m.outputs for m in self._moved()]
            self._outputs = {
                n: np.stack([to_rows(refs[n], m[n] - base[n]) for m in moved]) for n in refs
            }
        return self._outputs

    def losses(self) -> Array:
        """Deviations (draws,) of the definition's loss."""
        base = np.asarray(self.point.oracle.loss, np.float64)
        return np.array([np.asarray(m.loss, np.float64) - base for m in self._moved()])

    def gradients(self, case: Case) -> Arrays:
        """Deviations (draws, \\*shape) of a case's gradients by the user's array."""
        if self._gradients is None:
            self._gradients = self._pull()
        fitted = self.point.fitted
        k = next(i for i, c in enumerate(self.point.cases) if c is case)
        if self._latest is None or self._latest[0] != k:  # one case after another is asked for
            draws = [{n: a[k] for n, a in s.items()} for s in self._gradients]
            self._latest = (
                k,
                {u: np.stack([fitted.pull(u, s) for s in draws]) for u in fitted.arguments},
            )
        return self._latest[1]

    def _pull(self) -> list[Arrays]:
        """By draw, the deviations of the definition's gradients of all cases."""
        point, cases = self.point, self.point.cases
        rng = generator(self.seed, Stream.EXPLAINED_COTANGENTS)
        base = point.known or point.truth(point.oracle, cases, sizes=False).of
        found = []
        for oracle in self._moved():
            near = [
                Case(c.label, {n: self._noisy(g, rng) for n, g in c.cotangents.items()}, c.step)
                for c in cases
            ]
            made = point.truth(
                oracle, near, carry=lambda name, at, bar: self._noisy(bar, rng), sizes=False
            ).of
            found.append({n: np.subtract(a, base[n], out=a) for n, a in made.items()})
        return found


def _raised_outside(error: Exception) -> bool:
    """Whether code under test has raised, or has given what it must not: no fault of this one."""
    if isinstance(error, GradcheckError):
        return True
    trace = error.__traceback__
    while trace is not None:
        if not trace.tb_frame.f_code.co_filename.startswith(OURS):
            return True
        trace = trace.tb_next
    return False
