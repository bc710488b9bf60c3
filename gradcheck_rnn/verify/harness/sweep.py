"""The gradient of a definition from its step Jacobians: the oracle of model mode.

A network is a composition of steps. The Jacobian of every step is known by the complex step
(`stepwise`); the gradient for any cotangent is their product, taken from the last step to the
first. Neither the calculus nor automatic differentiation has a part in it, and all cotangents of a
plan share one set of Jacobians. Whether the whole is right is checked on the spot: along random
directions it must equal differences of the whole forward pass (`confirm`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...language.network import Network, Ref, Scan
from ...language.numeric import holding_frozen, recording_frozen
from ...language.running import run, to_rows
from ...language.stacks import entries_of, flat, unflat
from .stepwise import ScanJacobians, scan_jacobians
from .through import Pullback, pull_step

__all__ = ["LOSS", "Gradients", "ModelOracle"]

Array = NDArray[Any]
LOSS = "loss"
Carry = Callable[[str, int, Array], Array]


@dataclass
class Gradients:
    """Gradients of every parameter, input and initial state for K cotangents.

    Attributes
    ----------
    of : dict
        Name → (K, \\*shape of the definition's value in the public layout).
    size : dict
        The same with the absolute values of all summands: what rounding is relative to.
    steps : dict
        Weight → list of (δ, v) by product, (T, B, K, n) and (T, B, m), in running order.
    """

    of: dict[str, Array]
    size: dict[str, Array]
    steps: dict[str, list[tuple[Scan, Array, Array]]] = field(default_factory=dict)


class ModelOracle:
    """A definition at one point: outputs, and the gradient for any cotangents.

    Parameters
    ----------
    network : Network
        The definition.
    values : mapping
        Everything it is given, in ``(…, n, B)``.
    sizes, lengths : mapping
        Of dims and time axes.
    """

    def __init__(
        self,
        network: Network,
        values: Mapping[str, Array],
        sizes: Mapping[str, int],
        lengths: Mapping[str, int],
    ) -> None:
        self.network, self.sizes, self.lengths = network, {**sizes, **lengths}, lengths
        self.values = dict(values)
        self._dtype = np.result_type(np.float64, *(a.dtype for a in self.values.values()))
        with recording_frozen() as tape:
            made = run(network, self.values, lengths, everything=True)
        self.tape = tape
        self.outputs: dict[str, Array] = {n: np.asarray(made[n]) for n in network.outputs}
        self.loss = made.get(LOSS)
        # A matrix for every sequence, and one value a head, are columns from here on.
        shapes = {r.name: r.shape for r in (*network.parameters.values(), *network.inputs.values())}
        for scan in network.scans:
            shapes.update((e.name, e.shape) for e in scan.equations)
            shapes.update((s.final, s.shape) for s in scan.states)
        shapes.update((n, ref.shape) for n, ref in network.wholes.items())
        self.made: dict[Any, Any] = {
            n: flat(a, shapes[n]) if n in shapes else a for n, a in made["everything"].items()
        }
        self.batch = max([self.values[n].shape[-1] for n in network.inputs] or [1])
        self._starts()
        self.evaluations = 1
        self._jacobians: dict[str, ScanJacobians] = {}

    def _starts(self) -> None:
        dtype = np.result_type(*self.values.values())
        for scan in self.network.scans:
            for state in scan.states:
                for start in state.initial:
                    rows = entries_of(state.shape, self.sizes)
                    value = np.zeros((rows, self.batch), dtype)
                    if start.ref is not None:
                        value = self.made[start.ref.name]
                        if not start.ref.shape.batch:  # trained
                            value = np.reshape(value, (rows, 1))
                    self.made["start", scan.name, state.name, start.lag] = np.broadcast_to(
                        value, (rows, self.batch)
                    )

    @property
    def frozen(self) -> bool:
        """Whether the definition holds values back from differentiation."""
        return bool(self.tape.values)

    def jacobians(self, scan: Scan) -> ScanJacobians:
        """The step Jacobians of a scan, made when first asked for."""
        if scan.name not in self._jacobians:
            steps = self.lengths[scan.axis] if scan.axis else 1
            made = self.made if scan.axis else {**self.made}
            if steps and self.batch:
                found = scan_jacobians(scan, made, steps, self.sizes)
            else:
                found = ScanJacobians(scan, steps, (), 0)
            self._jacobians[scan.name] = found
            self.evaluations += found.evaluations
        return self._jacobians[scan.name]

    def gradients(
        self,
        cotangents: Mapping[str, Array],
        *,
        loss: Array | None = None,
        carry: Carry | None = None,
        sizes: bool = True,
    ) -> Gradients:
        """Gradients for K cotangents at once.

        Parameters
        ----------
        cotangents : mapping
            Output → (K, T, n, B) or (K, n, B); outputs left out have none.
        loss : array (K,), optional
            Weights of the network's own loss.
        carry : callable, optional
            Changes the adjoint of a state after each step (name, position, array (B, K, n)):
            the faults that live in the recursion itself, such as clipping.
        sizes : bool
            Also give `size` and `steps`; without, only the gradients.
        """
        given_first = next(iter(cotangents.values()), loss)
        count = 1 if given_first is None else len(given_first)
        bars: dict[str, Array] = {}
        for label, given in cotangents.items():
            ref = self.network.outputs[label]
            _add(bars, ref.name, _inside(flat(given, ref.shape)))
        out = Gradients({}, {})
        for scan in reversed(self.network.scans):
            self._hand_back({e.name for e in scan.equations}, bars)
            self._pull(scan, bars, out, count, loss, carry, sizes)
        self._hand_back(set(self.network.inputs), bars)
        return self._collect(bars, out, count, sizes)

    def _hand_back(self, names: set[str], bars: dict[str, Array]) -> None:
        """Give the adjoints of sequences that were handed on whole to their steps."""
        for name, ref in self.network.wholes.items():
            if ref.sequence in names and name in bars:
                bar, shape = bars[name], ref.shape
                dims = (shape.heads, shape.rows, shape.cols)
                parts = bar.reshape(*bar.shape[:-1], *(d.size(self.sizes) for d in dims))
                steps = np.moveaxis(parts, -2, 0)  # (S, B, K, heads, units)
                _add(bars, ref.sequence, steps.reshape(*steps.shape[:-2], -1))

    def _pull(
        self,
        scan: Scan,
        bars: dict[str, Array],
        out: Gradients,
        count: int,
        loss: Array | None,
        carry: Carry | None,
        sizes: bool,
    ) -> None:
        jac = self.jacobians(scan)
        T, B = jac.steps, self.batch
        if not T:
            self._through_nothing(scan, bars)
            return
        order = list(range(T - 1, -1, -1) if scan.reverse else range(T))
        states = {s.name: s for s in scan.states}
        local: dict[str, Array] = {}
        for name in jac.blocks[0].of if jac.blocks else ():
            rows = entries_of(scan.equation(name).shape, self.sizes)
            bar = np.zeros((T, B, count, rows), self._dtype)
            if name in bars:
                bar += bars[name][order] if scan.axis else bars[name][None]
            if name in states and states[name].final in bars:
                bar[-1] += bars[states[name].final]
            if loss is not None and any(r.name == name for r in self.network.loss_terms):
                bar += np.asarray(loss)[None, None, :, None]
            local[name] = bar
        starts: dict[tuple[str, int], Array] = {}
        carried = [b for b in jac.blocks if b.source[0] == "value" and b.source[1] in states]
        # Whether a Jacobian is zero throughout is asked once: it is as large as all steps.
        felt = []
        for b in carried:
            parts = [(n, j) for n, j in b.of.items() if j.size and j.any()]
            if parts:
                felt.append((b.source[1], b.source[2], Pullback(parts)))
        for at in range(T - 1, -1, -1):
            for name, lag, pullback in felt:
                got = pullback.at(at, local)
                if carry is not None:
                    got = carry(name, at, got)
                if at >= lag:
                    local[name][at - lag] += got
                else:
                    key = (name, lag - at)
                    starts[key] = starts[key] + got if key in starts else got
        for (name, lag), bar in starts.items():
            start = next(s for s in states[name].initial if s.lag == lag)
            if start.ref is not None:
                _add(bars, start.ref.name, bar)
        for block in jac.blocks:
            if block in carried:
                continue
            self._read(scan, block, local, bars, out, order, sizes)

    def _through_nothing(self, scan: Scan, bars: dict[str, Array]) -> None:
        """No step: the last state is the first, and so is its adjoint."""
        for state in scan.states:
            start = next(s for s in state.initial if s.lag == 1)
            if state.final in bars and start.ref is not None:
                _add(bars, start.ref.name, bars[state.final])

    def _read(
        self,
        scan: Scan,
        block: Any,
        local: Mapping[str, Array],
        bars: dict[str, Array],
        out: Gradients,
        order: Sequence[int],
        sizes: bool,
    ) -> None:
        kind, name, _ = block.source
        parts = [pull_step(local[n], j) for n, j in block.of.items() if j.size and j.any()]
        if not parts:
            return
        delta = sum(parts[1:], start=parts[0])  # (T, B, K, in)
        if kind == "product":
            K, n, m = delta.shape[2], delta.shape[3], block.operand.shape[-1]
            v = np.broadcast_to(block.operand, (*delta.shape[:2], m)).reshape(-1, m)
            d = delta.transpose(2, 3, 0, 1).reshape(K * n, -1)
            _add(out.of, name, (d @ v).reshape(K, n, m))
            if not sizes:
                return
            _add(out.size, name, (np.abs(d) @ np.abs(v)).reshape(K, n, m))
            out.steps.setdefault(name, []).append((scan, delta, block.operand))
            return
        if kind == "param":
            shape = self.values[name].shape
            _add(out.of, name, delta.sum((0, 1)).reshape(-1, *shape))
            if not sizes:
                return
            _add(out.size, name, np.abs(delta).sum((0, 1)).reshape(-1, *shape))
            out.steps.setdefault(name, []).append((scan, delta, np.ones((*delta.shape[:2], 1))))
            return
        operand = scan.operands[name]
        if operand.ref.axis is not None:
            moved = np.empty_like(delta)
            moved[list(order)] = delta
            _add(bars, name, moved)
        else:
            _add(bars, name, delta.sum(0))

    def _collect(
        self, bars: Mapping[str, Array], out: Gradients, count: int, sizes: bool
    ) -> Gradients:
        tables = (out.of, out.size) if sizes else (out.of,)
        for ref in (*self.network.parameters.values(), *self.network.inputs.values()):
            if ref.kind not in ("param", "input", "static"):
                continue
            shape = self.values[ref.name].shape
            if ref.name in bars:  # (…, B, K, n) to (K, …, n, B)
                bar = np.moveaxis(bars[ref.name], -2, 0).swapaxes(-1, -2)
                bar = unflat(bar, ref.shape, self.sizes)
                if not ref.shape.batch:  # a trained start
                    _add(out.of, ref.name, bar.sum(-1).reshape(count, *shape))
                    _add(out.size, ref.name, np.abs(bar).sum(-1).reshape(count, *shape))
                else:
                    _add(out.of, ref.name, bar)
                    _add(out.size, ref.name, np.abs(bar))
            for table in tables:
                table.setdefault(ref.name, np.zeros((count, *shape), self._dtype))
                table[ref.name] = to_rows(ref, table[ref.name])
        return out

    def value(self, values: Mapping[str, Array], cotangents: Mapping[str, Array], loss: Any) -> Any:
        """<cotangents, outputs> + loss of the whole forward pass at other values, stacked."""
        with holding_frozen(self.tape):
            made = run(self.network, values, self.lengths)
        total: Any = 0.0
        for label, given in cotangents.items():
            out, ref = made[label], self.network.outputs[label]
            axes = tuple(range(-2 - ref.shape.stack - ref.shape.headed, 0))
            if ref.axis is not None:
                total = total + sum(
                    (g * a).sum(axes) for g, a in zip(given, out, strict=True)
                )  # fmt: skip
            else:
                total = total + (given * out).sum(axes)
        if loss is not None:
            total = total + loss * made[LOSS]
        return total


def _inside(given: Array) -> Array:
    """(K, …, n, B) to (…, B, K, n)."""
    return np.moveaxis(given.swapaxes(-1, -2), 0, -2)


def _add(table: dict[str, Array], name: str, value: Array) -> None:
    table[name] = table[name] + value if name in table else value


def differentiated(network: Network) -> dict[str, Ref]:
    """What has a gradient."""
    return {
        n: r for n, r in {**network.parameters, **network.inputs}.items()
        if r.kind in ("param", "input", "static")
    }  # fmt: skip
