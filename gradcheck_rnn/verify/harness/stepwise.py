"""Jacobians of single steps of a definition by the complex step, all steps at once.

The definition is called; nothing is differentiated. What is perturbed, on a stacked leading axis:
every unit of what a step reads (states at each lag, inputs) and, for weights, every unit of the
product that they enter by (`W @ v`). A perturbation of the product's unit k by ε changes what
follows as a perturbation of row k of W would per unit of v: p perturbations stand for p² weights.
A weight that enters in any other way is perturbed entry by entry.

The sequences of a batch do not mix (the language forbids it), so all columns are perturbed at once.
Where a perturbed unit reaches only the unit of the same number (the gates of an LSTM), two
directions do for all units; that it is so is seen in their values, not assumed. Where arrays are
small, one evaluation has these of all that a step reads, each on rows of the stack of their own.
Many units that reach others through products only are taken by factors (`through`). A matrix for
every sequence is a column of its entries here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...language.network import Scan
from .perturbed import STEP, PerturbedSteps, Tap, over_step, times
from .through import Jacobian, Summand, Through, diagonal_of

__all__ = ["ScanJacobians", "StepBlock", "scan_jacobians"]

Array = NDArray[Any]
#: Most numbers that one stacked evaluation may hold.
CHUNK = 2_000_000
#: Most numbers of all equations up to which the first directions of all that a step reads share one
#: evaluation: there operations cost more than their arrays.
AT_ONCE = 2**16
#: From so many units on, factors instead of matrices of all units by all units.
FACTORED = 32


@dataclass(frozen=True)
class StepBlock:
    """Derivatives of what a step hands out by one thing it reads, per sequence.

    ``source``: ("value", name, lag), ("param", name, 0), or ("product", name, which product).
    ``of`` has by output an array (T, B, out, in), or (T, B, n) if only the diagonal is not zero, or
    factors of such matrices.
    ``operand`` is v of a product ``W @ v``: (T, B, m).
    """

    source: tuple[str, str, int]
    of: Mapping[str, Jacobian]
    operand: Array | None = None


@dataclass(frozen=True)
class ScanJacobians:
    """All blocks of a scan; ``index`` of an array is the position of a step in running order."""

    scan: Scan
    steps: int
    blocks: tuple[StepBlock, ...]
    evaluations: int


def scan_jacobians(
    scan: Scan,
    made: Mapping[Any, Any],
    steps: int,
    sizes: Mapping[str, int],
    wanted: Sequence[str] | None = None,
) -> ScanJacobians:
    """Jacobians of every step of a scan.

    Parameters
    ----------
    made : mapping
        Values by global name in ``(n, B)``; sequences as lists over time; starts of states under
        ``("start", scan, state, lag)``.
    steps : int
        Number of steps.
    sizes : mapping
        Sizes of the network's dims.
    wanted : sequence of str, optional
        Global names of the parameters to differentiate by; all by default.
    """
    work = PerturbedSteps(scan, made, steps, sizes)
    probes = _probes(work, wanted)
    _answer_at_once(work, list(probes.values()))
    products = {
        (own, number): _by_units(work, probes[own, 0, number])
        for own in work.weights for number in range(len(work.products.get(own, ())))
    }  # fmt: skip
    blocks: list[StepBlock] = []
    for own, kind in scan.cell.kinds.items():
        name = scan.arguments.get(own, own)
        if kind in ("data", "fixed"):
            continue
        if kind == "param" and wanted is not None and name not in wanted:
            continue
        if own in work.weights:
            for number, operand in enumerate(work.products[own]):
                held = np.broadcast_to(
                    operand, (*operand.shape[:-1], work.batch)
                ).reshape(-1, operand.shape[-2], work.batch)  # fmt: skip
                held = np.broadcast_to(held, (steps, *held.shape[1:])).transpose(0, 2, 1)
                of: Mapping[str, Jacobian] = products[own, number]
                blocks.append(StepBlock(("product", name, number), of, held))
            continue
        for lag in scan.cell.lags.get(own, (0,)):
            factors = _through(work, own, lag, products) if kind != "param" else None
            of = factors or _by_units(work, probes[own, lag, None])
            blocks.append(StepBlock(("param" if kind == "param" else "value", name, lag), of))
    return ScanJacobians(scan, steps, tuple(blocks), work.evaluations)


class _Probe:
    """One thing that a step reads, and what answers to perturbations of it.

    ``directions`` (k, rows, cols) are the first that are tried: all units where they are few, else
    two that show whether only the unit of the same number answers; None where neither applies.
    """

    def __init__(self, work: PerturbedSteps, own: str, lag: int, product: int | None) -> None:
        self.work, self.own, self.lag, self.product = work, own, lag, product
        if product is not None:
            self.shape: tuple[int, ...] = (work.rows[own], 1)
        else:
            declared = work.scan.cell.shapes[own]
            shape = work.values[own, lag].shape
            self.shape = (shape[-2], 1) if declared.batch else shape[-2 - declared.headed :]
        self.count = math.prod(self.shape)
        self.directions: Array | None = None
        self.answers: dict[str, Array] | None = None
        if self.shape[1:] == (1,) and self.count:
            few = self.count <= 3
            two = [np.ones(self.count), _signed(self.count)]
            self.directions = np.stack(list(np.eye(self.count)) if few else two)[:, :, None]

    def respond(self, directions: Array) -> dict[str, Array]:
        """Imaginary parts ÷ step for directions (k, rows, cols): (T, k, out, B) by output."""
        by = 1j * STEP * directions
        if self.product is not None:
            made = self.work.evaluate({}, {self.own: Tap({self.product: by})})
        else:
            key = self.own, self.lag
            made = self.work.evaluate({key: self.work.values[key] + by}, {})
        return {n: self.part(a, slice(0, len(by)), len(by)) for n, a in made.items()}

    def part(self, a: Array, at: slice, count: int) -> Array:
        """The derivatives (T, k, out, B) in some rows of a stack of so many."""
        a = a.reshape((1,) * (4 - a.ndim) + a.shape)
        a = a[:, at] if a.shape[1] == count else a
        full = (self.work.steps, at.stop - at.start, a.shape[-2], self.work.batch)
        part = over_step(a.imag) if np.iscomplexobj(a) else np.zeros(a.shape, a.dtype)
        return np.broadcast_to(part, full)


def _probes(
    work: PerturbedSteps, wanted: Sequence[str] | None
) -> dict[tuple[str, int, int | None], _Probe]:
    """By own name, lag and number of a product, all that is perturbed."""
    found: dict[tuple[str, int, int | None], _Probe] = {}
    for own, kind in work.scan.cell.kinds.items():
        if own in work.weights:
            for number in range(len(work.products.get(own, ()))):
                found[own, 0, number] = _Probe(work, own, 0, number)
        elif kind not in ("data", "fixed") and not (
            kind == "param" and wanted is not None and work.scan.arguments[own] not in wanted
        ):
            for lag in work.scan.cell.lags.get(own, (0,)):
                found[own, lag, None] = _Probe(work, own, lag, None)
    return found


def _answer_at_once(work: PerturbedSteps, probes: Sequence[_Probe]) -> None:
    """The answers to the first directions of many probes by one evaluation, where arrays are small.

    Every probe has rows of the stack of its own, in which nothing else is perturbed.
    """
    probes = [p for p in probes if p.directions is not None and p.count < FACTORED]
    count = sum(len(p.directions) for p in probes if p.directions is not None)
    rows = sum(a.shape[-2] for a in work.base.values())
    if len(probes) < 2 or rows * work.steps * work.batch * count > AT_ONCE:
        return
    moved: dict[tuple[str, int], Array] = {}
    by: dict[str, dict[int, Array]] = {}
    ranges: list[slice] = []
    for probe in probes:
        assert probe.directions is not None
        start = ranges[-1].stop if ranges else 0
        ranges.append(slice(start, start + len(probe.directions)))
        change = np.zeros((count, *probe.shape), np.complex128)
        change[ranges[-1]] = 1j * STEP * probe.directions
        if probe.product is not None:
            by.setdefault(probe.own, {})[probe.product] = change
        else:
            key = probe.own, probe.lag
            moved[key] = work.values[key] + change
    made = work.evaluate(moved, {own: Tap(one) for own, one in by.items()})
    if not all(np.isfinite(a).all() for a in made.values()):
        return  # ∞ · 0 in rows that do not perturb it
    for probe, at in zip(probes, ranges, strict=True):
        probe.answers = {n: probe.part(a, at, count) for n, a in made.items()}


def _by_units(work: PerturbedSteps, probe: _Probe) -> dict[str, Array]:
    """Derivatives by every unit of one thing, by two directions where they suffice."""
    count, first = probe.count, probe.answers
    if count > 3 and probe.directions is not None:
        diagonal = _diagonal(first or probe.respond(probe.directions), count, work)
        if diagonal is not None:
            return diagonal
    elif first is not None:
        return {n: np.array(a).transpose(0, 3, 2, 1) for n, a in first.items()}
    size = sum(a.shape[-2] for a in work.base.values()) * work.steps * work.batch
    size = max(size, 1) * 4
    per = max(1, min(count, CHUNK // size))
    parts: dict[str, list[Array]] = {n: [] for n in work.base}
    for start in range(0, count, per):
        chosen = np.arange(start, min(start + per, count))
        directions = np.zeros((len(chosen), count))
        directions[np.arange(len(chosen)), chosen] = 1.0
        for n, a in probe.respond(directions.reshape(-1, *probe.shape)).items():
            parts[n].append(a)
    return {n: np.concatenate(a, axis=1).transpose(0, 3, 2, 1) for n, a in parts.items()}


def _diagonal(
    found: Mapping[str, Array], count: int, work: PerturbedSteps
) -> dict[str, Array] | None:
    """Diagonals (T, B, n), if the answers to 1 and to v show that nothing else is there.

    With D diagonal, D v = v ⊙ D 1 for any v. Random v of the size of one make any other entry show.
    """
    v = _signed(count)
    out = {}
    for n, a in found.items():
        if not a.any():
            out[n] = np.zeros((work.steps, work.batch, count if a.shape[2] == count else 0))
            if a.shape[2] != count:
                out[n] = np.zeros((work.steps, work.batch, a.shape[2], count))
            continue
        if a.shape[2] != count:
            return None
        row, other = a[:, 0], a[:, 1]
        if not diagonal_of(row, other, v):
            return None
        out[n] = row.transpose(0, 2, 1)
    return out


@lru_cache(maxsize=256)
def _signed(count: int) -> Array:
    rng = np.random.default_rng(20)
    made = rng.uniform(0.5, 1.5, size=count) * rng.choice([-1.0, 1.0], size=count)
    made.flags.writeable = False
    return made


def _through(
    work: PerturbedSteps,
    own: str,
    lag: int,
    products: Mapping[tuple[str, int], Mapping[str, Array]],
) -> dict[str, Jacobian] | None:
    """Factors of the derivatives by a value of many units; None where one of them is a matrix."""
    value = work.values[own, lag]
    count = value.shape[-2]
    if count < FACTORED or not work.scan.cell.shapes[own].batch:
        return None
    v = _signed(count)
    by = 1j * STEP * np.stack([np.ones(count), v])[:, :, None]
    cut = {
        n: Tap(held=[times(work.values[n, 0], u) for u in work.products[n]]) for n in work.products
    }
    made = work.evaluate({(own, lag): value + by}, cut)

    def diagonal(a: Array) -> tuple[bool, Array | None]:
        """Whether a derivative is diagonal, and the diagonal (T, B, n), None if it is zero."""
        a = a.reshape((1,) * (4 - a.ndim) + a.shape)
        if not np.iscomplexobj(a) or not a.imag.any():
            return True, None
        if a.shape[2] != count or a.shape[1] != len(by):
            return False, None
        a = np.broadcast_to(over_step(a.imag), (work.steps, len(by), count, work.batch))
        return diagonal_of(a[:, 0], a[:, 1], v), a[:, 0].transpose(0, 2, 1)

    direct = {n: diagonal(a) for n, a in made.items()}
    inner = {(n, k): diagonal(u) for n, tap in cut.items() for k, u in enumerate(tap.operands)}
    if not all(fine for fine, _ in (*direct.values(), *inner.values())):
        return None
    found: dict[str, Jacobian] = {}
    for n, (_, own_part) in direct.items():
        terms = [
            Summand(outer[n], work.values[key[0], 0], part)
            for key, (_, part) in inner.items() if part is not None
            for outer in (products[key],) if outer[n].any()
        ]  # fmt: skip
        if terms:
            found[n] = Through(own_part, terms)
        else:
            found[n] = np.zeros((work.steps, work.batch, 0)) if own_part is None else own_part
    return found
