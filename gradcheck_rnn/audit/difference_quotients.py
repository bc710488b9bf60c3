"""Values and derivatives of a definition by finite differences: no derivative is derived here.

Every named value is moved by ±ε in the middle of the forward pass, and everything after it is
computed anew by the definition's equations. A second opinion on every verdict of the audit.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..derivation.batches import vec
from ..derivation.evaluate import Run
from ..derivation.program import Derivation, ScanProgram
from .truth import Choice, NotEvaluated, Reading, Values, choose

__all__ = ["Differences"]

Array = Any
#: Step of the central difference: its truncation ~ε² and its roundoff ~2⁻⁵²/ε are both near 1e-10.
EPS = 1e-5
#: Equal means within this much of the largest entry.
TOLERANCE = 1e-6


class _Moved(Run):
    """A forward pass in which one entry of one value at one step is moved.

    Parameters
    ----------
    move : (name, step, entry, by), optional
        Entries count by columns, as vec does.
    """

    def __init__(self, move: tuple[str, int, int, float] | None, *args: Any) -> None:
        self.move = move
        super().__init__(*args)

    def computed(self, name: str, t: int) -> None:
        if self.move is None or (name, t) != self.move[:2]:
            return
        held = np.array(self.series[name][t], dtype=float)
        flat = held.ravel(order="F")
        flat[self.move[2]] += self.move[3]
        self.series[name][t] = flat.reshape(held.shape, order="F")

    def _forward(self, program: ScanProgram) -> None:
        if self.move is not None and program is self.derivation.scans[0]:
            for name, line in self.series.items():
                for t in list(line):
                    self.computed(name, t)
        super()._forward(program)


class Differences(Values):
    """What finite differences of the definition say, in float64."""

    def __init__(self, derivation: Derivation, choice: Choice) -> None:
        self.derivation, self.choice = derivation, choice
        self.base = base = self._run(None)
        self.series = base.series
        self.values = {
            n: {t: self.single(a) for t, a in line.items()} for n, line in base.series.items()
        }
        self.values = {**self.values, **self._cotangents(choice)}
        self.steps, self.sizes = dict(base.steps) or {"T": 1}, choice.setting.sizes
        self._slopes: dict[tuple[str, int], list[dict[tuple[str, int], Array]]] = {}
        self._known: dict[tuple[str, int, str, int, Reading], Array | None] = {}

    @classmethod
    def of(cls, derivation: Derivation, seed: int = 0, **options: Any) -> Differences:
        """At a point of floating-point numbers drawn by `choose`."""
        return cls(derivation, choose(derivation, seed, real=True, **options))

    def _run(self, move: tuple[str, int, int, float] | None) -> _Moved:
        s = self.choice.setting
        return _Moved(move, self.derivation, s.values, s.sizes, s.lengths)

    def equal(self, a: Array, b: Array) -> bool:
        a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
        size = max(1e-3, float(np.max(np.abs(b), initial=0)))
        return bool(np.max(np.abs(a - b), initial=0) <= TOLERANCE * size)

    def _by(self, name: str, s: int) -> list[dict[tuple[str, int], Array]]:
        """For each entry of a value: the slope of every value at every step."""
        key = (name, s)
        if key not in self._slopes:
            entries = self.values[name][s].size
            out = []
            for k in range(entries):
                up, down = (self._run((name, s, k, sign * EPS)).series for sign in (1, -1))
                out.append(
                    {
                        (n, t): self.single((up[n][t] - down[n][t]) / (2 * EPS))
                        for n, line in up.items() for t in line
                    }
                )  # fmt: skip
            self._slopes[key] = out
        return self._slopes[key]

    def _loss(self, slope: dict[tuple[str, int], Array], step: int | None) -> float:
        network = self.derivation.network
        total = 0.0
        for ref in network.loss_terms:
            if step is not None:
                raise NotEvaluated("the loss of one step of a network that has its own loss")
            total += sum(float(np.sum(v)) for (n, _), v in slope.items() if n == ref.name)
        for label, g in self.choice.given.items():
            ref = network.outputs[label]
            if ref.axis is None:
                handed = self.single(g, ref)
                total += float(np.sum(handed * slope[(ref.name, 0)])) if step is None else 0.0
                continue
            for t, row in enumerate(g, 1):
                if step in (None, t):
                    total += float(np.sum(self.single(row, ref) * slope[(ref.name, t)]))
        return total

    def adjoint(self, name: str, t: int, loss: int | None) -> Array | None:
        if name not in self.series or t not in self.series[name]:
            return None
        like = np.asarray(self.values[name][t])
        found = np.array([self._loss(slope, loss) for slope in self._by(name, t)])
        return found.reshape(like.shape, order="F")

    def jacobian(self, of: str, t: int, by: str, s: int, reading: Reading) -> Array | None:
        if not self.moves(by):
            s = 0
        key = (of, t, by, s, reading)
        if key not in self._known:
            self._known[key] = self._jacobian(of, t, by, s, reading)
        return self._known[key]

    def _jacobian(self, of: str, t: int, by: str, s: int, reading: Reading) -> Array | None:
        if s not in self.values[by] or t not in self.values[of]:
            return None
        if reading == "total" or (of, t) == (by, s):
            columns = [slope[(of, t)] for slope in self._by(by, s)]
        else:
            columns = [self._of_one_step(of, t, by, s, k, reading)
                       for k in range(self.values[by][s].size)]  # fmt: skip
        found = np.hstack([vec(np.asarray(c, dtype=float)) for c in columns])
        return found if np.any(found) else None

    def _of_one_step(self, of: str, t: int, by: str, s: int, k: int, reading: Reading) -> Array:
        """The slope of one value when others of earlier steps, or all others, are held."""
        ends = []
        program = self.derivation.scan_of(of)
        base = self.base
        for sign in (1, -1):
            changed: dict[tuple[str, int], Array] = {}
            held = np.array(base.series[by][s], dtype=float)
            flat = held.ravel(order="F")
            flat[k] += sign * EPS
            changed[(by, s)] = flat.reshape(held.shape, order="F")

            def look(symbol: Any, changed: dict[tuple[str, int], Array] = changed) -> Array:
                at = 0 if symbol.lag is None else t - symbol.lag
                return changed.get((symbol.name, at), base.series[symbol.name][at])

            for e in program.equations:
                if (e.name, t) == (by, s) or (reading == "direct" and e.name != of):
                    continue
                changed[(e.name, t)] = base.terms(e.rhs, look)
            ends.append(np.asarray(changed[(of, t)], dtype=float))
        return self.single((ends[0] - ends[1]) / (2 * EPS))
