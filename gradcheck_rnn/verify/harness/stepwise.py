"""Jacobians of single steps of a definition by the complex step, all steps at once.

The definition is called; nothing is differentiated. What is perturbed, on a stacked leading axis:
every unit of what a step reads (states at each lag, inputs) and, for weights, every unit of the
product that they enter by (`W @ v`). A perturbation of the product's unit k by ε changes what
follows as a perturbation of row k of W would per unit of v: p perturbations stand for p² weights.
A weight that enters in any other way is perturbed entry by entry.

The sequences of a batch do not mix (the language forbids it), so all columns are perturbed at once.
Where a perturbed unit reaches only the unit of the same number (the gates of an LSTM), two
evaluations do for all units; that it is so is seen in their values, not assumed. Many units that
reach others through products only are taken by factors (`through`). A matrix for every sequence is
a column of its entries here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...language.cell import Delays
from ...language.dims import ONE, Dim
from ...language.network import Scan
from ...language.numeric import holding_frozen, recording_frozen
from ...language.stacks import flat, to_back, to_front, unflat
from ...language.values import ArrayValue, Expr, Weight
from .through import Jacobian, Summand, Through, diagonal_of

__all__ = ["ScanJacobians", "StepBlock", "by_products_only", "scan_jacobians", "times"]

Array = NDArray[Any]
#: The imaginary step: its square is lost in any real part, its products do not underflow.
STEP = 2.0**-100
#: Share of the largest derivative below which one is the error of the step, its square times a
#: third derivative: it stands for zero.
BELOW = STEP**2 * 2.0**40
#: Most numbers that one stacked evaluation may hold.
CHUNK = 2_000_000
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


class _Weight(Weight):
    """A weight that notes the products it enters by and can have one of them perturbed."""

    tap: _Tap | None

    def __array_finalize__(self, obj: Any) -> None:
        self.tap = None

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        plain = [x.view(np.ndarray) if isinstance(x, _Weight) else x for x in inputs]
        if ufunc is np.matmul and self.tap is not None and inputs[0] is self:
            return self.tap.product(plain[0], plain[1])
        return getattr(ufunc, method)(*plain, **kwargs)


class _Tap:
    """Products of one weight during one evaluation."""

    def __init__(
        self,
        perturbed: int | None = None,
        by: Array | None = None,
        held: Sequence[Array] | None = None,
    ) -> None:
        self.held = held  # what the products are, whatever their operands
        self.operands: list[Array] = []
        self.rows = 0
        self.perturbed, self.by = perturbed, by

    def product(self, weight: Array, operand: Array) -> Array:
        number = len(self.operands)
        self.operands.append(operand)
        self.rows = weight.shape[-2]
        if self.held is not None:
            return self.held[number]
        out = times(weight, operand)
        return out + self.by if number == self.perturbed and self.by is not None else out


def _over_step(imaginary: Array) -> Array:
    """Derivatives from what a complex step has put into the imaginary part."""
    made: Array = imaginary / STEP
    size = np.abs(made)
    made[size < BELOW * np.max(size, initial=0.0)] = 0.0
    return made


def times(weight: Array, operand: Array) -> Array:
    """One product for the whole stack: BLAS likes one large matrix better than many small ones."""
    if operand.ndim == 2 or weight.dtype == object or weight.ndim != 2:
        return np.asarray(np.matmul(weight, operand))
    lead, cols = operand.shape[:-2], operand.shape[-1]
    flat = np.moveaxis(operand, -2, 0).reshape(operand.shape[-2], -1)
    if np.iscomplexobj(flat) and not np.iscomplexobj(weight):
        # two real products cost half of a complex one
        out = np.empty((weight.shape[0], flat.shape[1]), flat.dtype)
        out.real, out.imag = weight @ flat.real, weight @ flat.imag
    else:
        out = weight @ flat
    return np.moveaxis(out.reshape(weight.shape[0], *lead, cols), 0, -2)


def by_products_only(scan: Scan) -> set[str]:
    """The scan's weights all of whose uses are ``W @ v`` with a vector v."""
    good: set[str] = set()
    bad: set[str] = set()

    def walk(e: Expr) -> None:
        if e.op == "symbol":
            bad.add(e.symbol.name)
            return
        args = list(e.args)
        if e.op == "matmul" and args[0].op == "symbol":
            vector = args[1].shape.batch or args[1].shape.cols == ONE
            (good if vector else bad).add(args[0].symbol.name)
            args = args[1:]
        for a in args:
            walk(a)

    for equation in scan.equations:
        walk(equation.rhs)
    return good - bad


class _Steps:
    """The steps of one scan, evaluated all at once on a leading axis."""

    def __init__(self, scan: Scan, made: Mapping[Any, Any], steps: int, sizes: Mapping[str, int]):
        self.scan, self.steps = scan, steps
        self.order = list(range(steps - 1, -1, -1) if scan.reverse else range(steps))
        self.values: dict[tuple[str, int], Array] = {}
        self.sizes = {n: (scan.dims.get(n) or Dim.of({n: 1})).size(sizes) for n in scan.cell.dims}
        for own, kind in scan.cell.kinds.items():
            if kind == "state":
                for lag in scan.cell.lags[own]:
                    self.values[own, lag] = self._line(own, lag, made)
            else:
                operand = scan.operands[scan.arguments[own]]
                held = made[operand.name]
                if operand.ref.axis is not None:
                    held = np.stack([held[t] for t in self.order])[:, None]
                self.values[own, 0] = np.asarray(held)
        self.batch = max(
            [a.shape[-1] for (own, _), a in self.values.items()
             if scan.cell.shapes[own].batch] or [1]
        )  # fmt: skip
        self.weights = {
            own for own, kind in scan.cell.kinds.items()
            if kind == "param" and scan.arguments[own] in by_products_only(scan)
            and not scan.cell.front
        }  # fmt: skip
        self.evaluations = 0
        self.tape: Any = None
        self.taps: dict[str, _Tap] = {}
        with recording_frozen() as tape:
            self.base = self.evaluate({}, {})
        self.tape = tape
        self.products = {own: list(tap.operands) for own, tap in self.taps.items()}
        self.rows = {own: tap.rows for own, tap in self.taps.items()}

    def _line(self, own: str, lag: int, made: Mapping[Any, Any]) -> Array:
        """The state as read at a lag: (T, 1, n, B), positions in running order."""
        state = next(s for s in self.scan.states if s.name == self.scan.arguments[own])
        series = made[state.name]
        rows: list[Array] = []
        for position in range(self.steps):
            if position >= lag:
                rows.append(series[self.order[position - lag]])
            else:
                rows.append(made["start", self.scan.name, state.name, lag - position])
        return np.stack(np.broadcast_arrays(*rows))[:, None]

    def evaluate(
        self, moved: Mapping[tuple[str, int], Array], taps: Mapping[str, _Tap]
    ) -> dict[str, Array]:
        """One step of every position; `moved` replaces what is read, `taps` perturbs products."""
        cell = self.scan.cell
        arguments: dict[str, Any] = {}
        self.taps = {}
        for own in cell.shapes:
            if own in cell.lags:
                line = {
                    k: ArrayValue(self._inside(own, moved.get((own, k), self.values[own, k])))
                    for k in cell.lags[own]
                }
                single = cell.lags[own] == (1,)
                arguments[own] = line[1] if single else Delays(own, line)
                continue
            held = moved.get((own, 0), self.values[own, 0])
            arguments[own] = value = ArrayValue(self._inside(own, held))
            if own in self.weights and (own, 0) not in moved:
                weight = value.array.view(_Weight)
                weight.tap = self.taps[own] = taps.get(own) or _Tap()
                value.array = weight
        self.evaluations += 1
        frozen = nullcontext() if self.tape is None else holding_frozen(self.tape)
        with cell.running(self.sizes), frozen:
            returned = cell.collect(cell.function(**arguments))
        return {
            self.scan.arguments[n]: self._outside(
                n, v.array if isinstance(v, ArrayValue) else np.asarray(v)
            )
            for n, v in returned.items()
        }

    def _inside(self, own: str, array: Array) -> Array:
        """A value as the definition takes it."""
        cell = self.scan.cell
        if not cell.front:
            return array
        shape = cell.shapes[own]
        return to_front(unflat(array, shape, self.sizes), shape, cell.heads != ONE)

    def _outside(self, own: str, array: Array) -> Array:
        """What the definition gives, as a column of entries."""
        cell = self.scan.cell
        if not cell.front:
            return array
        shape = self.scan.equation(self.scan.arguments[own]).shape
        return flat(to_back(array, shape.stack, cell.heads != ONE, shape.headed), shape)


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
    work = _Steps(scan, made, steps, sizes)
    products = {
        (own, number): _by_units(work, own, 0, number)
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
            of = factors or _by_units(work, own, lag)
            blocks.append(StepBlock(("param" if kind == "param" else "value", name, lag), of))
    return ScanJacobians(scan, steps, tuple(blocks), work.evaluations)


def _by_units(work: _Steps, own: str, lag: int, product: int | None = None) -> dict[str, Array]:
    """Derivatives by every unit of one thing, by two evaluations where they suffice."""
    if product is not None:
        shape: tuple[int, ...] = (work.rows[own], 1)
    else:
        declared = work.scan.cell.shapes[own]
        shape = work.values[own, lag].shape
        shape = (shape[-2], 1) if declared.batch else shape[-2 - declared.headed :]
    count = math.prod(shape)

    def respond(directions: Array) -> dict[str, Array]:
        """Imaginary parts ÷ step for directions (k, rows, cols): (T, k, out, B) by output."""
        by = 1j * STEP * directions
        if product is not None:
            made = work.evaluate({}, {own: _Tap(product, by)})
        else:
            made = work.evaluate({(own, lag): work.values[own, lag] + by}, {})
        out = {}
        for n, a in made.items():
            a = a.reshape((1,) * (4 - a.ndim) + a.shape)
            full = (work.steps, len(directions), a.shape[-2], work.batch)
            part = _over_step(a.imag) if np.iscomplexobj(a) else np.zeros(a.shape, a.dtype)
            out[n] = np.broadcast_to(part, full)
        return out

    if count > 3 and shape[1:] == (1,):
        diagonal = _diagonal(respond, count, work)
        if diagonal is not None:
            return diagonal
    size = sum(a.shape[-2] for a in work.base.values()) * work.steps * work.batch
    size = max(size, 1) * 4
    per = max(1, min(count, CHUNK // size))
    parts: dict[str, list[Array]] = {n: [] for n in work.base}
    for start in range(0, count, per):
        chosen = np.arange(start, min(start + per, count))
        directions = np.zeros((len(chosen), count))
        directions[np.arange(len(chosen)), chosen] = 1.0
        for n, a in respond(directions.reshape(-1, *shape)).items():
            parts[n].append(a)
    return {n: np.concatenate(a, axis=1).transpose(0, 3, 2, 1) for n, a in parts.items()}


def _diagonal(respond: Any, count: int, work: _Steps) -> dict[str, Array] | None:
    """Diagonals (T, B, n), if two directions show that nothing else is there.

    With D diagonal, D v = v ⊙ D 1 for any v. Random v of the size of one make any other entry show.
    """
    v = _signed(count)
    found = respond(np.stack([np.ones(count), v])[:, :, None])
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


def _signed(count: int) -> Array:
    rng = np.random.default_rng(20)
    return rng.uniform(0.5, 1.5, size=count) * rng.choice([-1.0, 1.0], size=count)


def _through(
    work: _Steps, own: str, lag: int, products: Mapping[tuple[str, int], Mapping[str, Array]]
) -> dict[str, Jacobian] | None:
    """Factors of the derivatives by a value of many units; None where one of them is a matrix."""
    value = work.values[own, lag]
    count = value.shape[-2]
    if count < FACTORED or not work.scan.cell.shapes[own].batch:
        return None
    v = _signed(count)
    by = 1j * STEP * np.stack([np.ones(count), v])[:, :, None]
    cut = {
        n: _Tap(held=[times(work.values[n, 0], u) for u in work.products[n]]) for n in work.products
    }
    made = work.evaluate({(own, lag): value + by}, cut)

    def diagonal(a: Array) -> tuple[bool, Array | None]:
        """Whether a derivative is diagonal, and the diagonal (T, B, n), None if it is zero."""
        a = a.reshape((1,) * (4 - a.ndim) + a.shape)
        if not np.iscomplexobj(a) or not a.imag.any():
            return True, None
        if a.shape[2] != count or a.shape[1] != len(by):
            return False, None
        a = np.broadcast_to(_over_step(a.imag), (work.steps, len(by), count, work.batch))
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
