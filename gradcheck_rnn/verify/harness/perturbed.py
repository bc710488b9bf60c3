"""The steps of a scan evaluated all at once, with chosen values or products perturbed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...language.cell import Delays
from ...language.dims import ONE, Dim
from ...language.network import Scan
from ...language.numeric import holding_frozen, recording_frozen
from ...language.stacks import flat, to_back, to_front, unflat
from ...language.values import ArrayValue, Expr, Weight

__all__ = ["BELOW", "PerturbedSteps", "Tap", "by_products_only", "over_step", "times"]

Array = NDArray[Any]
#: The imaginary step: its square is lost in any real part, its products do not underflow.
STEP = 2.0**-100
#: Share of the largest derivative below which one is the error of the step, its square times a
#: third derivative: it stands for zero.
BELOW = STEP**2 * 2.0**40


class _Weight(Weight):
    """A weight that notes the products it enters by and can have one of them perturbed."""

    tap: Tap | None

    def __array_finalize__(self, obj: Any) -> None:
        self.tap = None

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        plain = [x.view(np.ndarray) if isinstance(x, _Weight) else x for x in inputs]
        if ufunc is np.matmul and self.tap is not None and inputs[0] is self:
            return self.tap.product(plain[0], plain[1])
        return getattr(ufunc, method)(*plain, **kwargs)


class Tap:
    """Products of one weight during one evaluation."""

    def __init__(
        self,
        by: Mapping[int, Array] | None = None,
        held: Sequence[Array] | None = None,
    ) -> None:
        self.held = held  # what the products are, whatever their operands
        self.operands: list[Array] = []
        self.rows = 0
        self.by = by or {}  # perturbations by the number of the product

    def product(self, weight: Array, operand: Array) -> Array:
        number = len(self.operands)
        self.operands.append(operand)
        self.rows = weight.shape[-2]
        if self.held is not None:
            return self.held[number]
        out = times(weight, operand)
        return out + self.by[number] if number in self.by else out


def over_step(imaginary: Array) -> Array:
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


class PerturbedSteps:
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
        entering = set() if scan.cell.front else by_products_only(scan)
        self.weights = {
            own for own, kind in scan.cell.kinds.items()
            if kind == "param" and scan.arguments[own] in entering
        }  # fmt: skip
        self.evaluations = 0
        self.tape: Any = None
        self.taps: dict[str, Tap] = {}
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
        self, moved: Mapping[tuple[str, int], Array], taps: Mapping[str, Tap]
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
                weight.tap = self.taps[own] = taps.get(own) or Tap()
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
