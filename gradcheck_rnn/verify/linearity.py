"""A backward function is linear in its cotangents: what a check of one output at a time cannot see.

Differences judge the gradient for one cotangent of each output. For all others it follows from
linearity, which is looked at here without any further loss: nothing for zeros, as many times as
much for multiples of the cotangent, far larger and smaller ones too, the sum for outputs together.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..streams import Stream, generator
from .pairs import Pair
from .verdict import Finding

__all__ = ["Linearity", "look_at_linearity"]

Floats = NDArray[np.float64]
Gradients = dict[int, Floats]
#: Factors on cotangents: powers of two, so that right code gives exactly as much. A scaled loss has
#: cotangents of 10⁵, a mean over many steps, or a long way back, has some of 10⁻⁹.
FACTORS = (2.0, -1.0, 2.0**20, 2.0**-30)
#: The spacing of a format, relative, above which its range is too small for the smallest of them.
COARSE = 2.0**-12
NEIGHBOURS = 3
#: Spreads of neighbours, and units of all terms, that sums of cotangents may differ by.
SPREADS, UNITS = 16.0, 16.0


@dataclass
class Linearity:
    """Findings, and a reason for each (output, input) position whose cotangent is ignored."""

    findings: list[Finding]
    ignored: dict[tuple[int, int], str]


def look_at_linearity(
    pair: Pair,
    weights: Mapping[int, NDArray[np.floating]],
    inputs: Collection[int],
    reached: Collection[tuple[int, int]],
    seed: int,
    unit: float = 0.0,
) -> Linearity:
    """Compare what a pair gives for zeros, multiples and sums of cotangents.

    Parameters
    ----------
    weights
        A cotangent by output.
    inputs
        Positions of the inputs whose gradients count.
    reached
        Pairs of an output and an input that it depends on.
    unit
        Of the format computed in, relative, where arrays do not show it.
    """
    look = _Look(pair, weights, inputs, seed, unit)
    return look.judge(reached)


class _Look:
    def __init__(
        self,
        pair: Pair,
        weights: Mapping[int, NDArray[np.floating]],
        inputs: Collection[int],
        seed: int,
        unit: float,
    ) -> None:
        self.pair, self.weights, self.inputs = pair, dict(weights), set(inputs)
        self.rng = generator(seed, Stream.LINEARITY)
        self.unit = max(
            [unit, pair.tree.unit]
            + [float(np.finfo(pair.tree.leaves[i].dtype).eps) for i in inputs]
        )
        self.tiny = max(float(np.finfo(pair.tree.leaves[i].dtype).tiny) for i in inputs)
        self.outputs = {k: pair.outs.names[k] for k in weights}
        self.said: dict[tuple[str, int], Finding] = {}
        self.ignored: dict[tuple[int, int], str] = {}
        self.rests: dict[int, Gradients] = {}

    def _at(self, weights: Mapping[int, NDArray[np.floating]], **how: bool) -> Gradients:
        found = self.pair.pull(self.pair.tree.leaves, weights, **how)
        return self._floats(found)

    def _floats(self, found: Mapping[int, object]) -> Gradients:
        """Copies: what backward returns may be a buffer that its next call fills anew."""
        return {
            i: np.array(g, dtype=np.float64)
            for i, g in found.items()
            if i in self.inputs and g is not None
        }

    def _near(self, x: NDArray[Any]) -> NDArray[Any]:
        """The array with each entry moved by a unit in the last place."""
        if x.dtype.kind != "f":
            return x
        unit = max(self.unit, float(np.finfo(x.dtype).eps))
        return (x * (1 + unit * self.rng.choice([-1.0, 1.0], size=x.shape))).astype(x.dtype)

    def judge(self, reached: Collection[tuple[int, int]]) -> Linearity:
        """All comparisons; of one input only the simplest that fails is said."""
        alone = {k: self._at({k: w}) for k, w in self.weights.items()}
        whole = self._at(self.weights)
        bounds = self._bounds(alone, whole)
        nothing = self._at({k: np.zeros_like(w) for k, w in self.weights.items()}, undefined=False)
        scaled = {
            (k, s): self._at({k: (s * w).astype(w.dtype)})
            for k, w in self.weights.items()
            for s in self._factors(w, alone[k])
        }
        for i in sorted(bounds):
            asked = [k for k in self.weights if (k, i) in reached]
            if not self._ignores(i, asked, alone, scaled) and not self._offset(i, nothing, alone):
                self._multiples(i, alone, scaled, bounds[i])
                self._sums(i, alone, whole, bounds[i])
        return Linearity(list(self.said.values()), self.ignored)

    def _factors(self, weight: NDArray[np.floating], alone: Gradients) -> list[float]:
        """Those that neither overflow nor vanish; in a small range 1024 in place of 2²⁰."""
        top = float(np.max(np.abs(weight), initial=0.0))
        top = max([top, *(float(np.max(np.abs(g), initial=0.0)) for g in alone.values())])
        most = float(np.finfo(weight.dtype).max)
        fit = [s for s in FACTORS if abs(s) * top < most / 64]
        if FACTORS[2] not in fit and 1024.0 * top < most / 64:
            fit.append(1024.0)
        return [s for s in fit if abs(s) >= 1 or self.unit < COARSE]

    def _bounds(self, alone: Mapping[int, Gradients], whole: Gradients) -> Gradients:
        """How much rounding may change the gradient for all outputs together."""
        samples: dict[int, list[Floats]] = {i: [] for i in whole}
        for moved in range(NEIGHBOURS + 1):
            if moved:
                leaves = [self._near(x) for x in self.pair.tree.leaves]
                weights = {k: self._near(w) for k, w in self.weights.items()}
                near = self._floats(self.pair.pull(leaves, weights))
            else:
                near = self._at(self.weights)
            for i in samples:
                if i in near and near[i].shape == whole[i].shape:
                    with np.errstate(all="ignore"):
                        samples[i].append(near[i] - whole[i])
        bounds = {}
        with np.errstate(all="ignore"):
            for i, g in whole.items():
                parts = [a[i] for a in alone.values() if i in a]
                if not all(p.shape == g.shape for p in parts) or not samples[i]:
                    continue
                size = np.sum(np.abs([g, *parts]), axis=0)
                deviations = np.nan_to_num(np.stack(samples[i]))
                typical = np.sqrt(np.mean(deviations**2))
                bounds[i] = SPREADS * np.maximum(np.max(np.abs(deviations), axis=0), typical)
                bounds[i] += UNITS * self.unit * (size + np.sqrt(np.mean(size**2)))
                bounds[i] += UNITS * self.tiny
        return bounds

    def _say(self, kind: str, i: int, text: str) -> None:
        self.said.setdefault((kind, i), Finding(kind, text, fatal=True))

    def _ignores(
        self,
        i: int,
        asked: Collection[int],
        alone: Mapping[int, Gradients],
        scaled: Mapping[tuple[int, float], Gradients],
    ) -> bool:
        """Gradients that are the same for every size of a cotangent do not depend on it."""
        any_ignored = False
        for k in asked:
            output = self.outputs[k]
            others = [g for (j, _), g in scaled.items() if j == k and i in g]
            g = alone[k].get(i)
            if g is None or not np.any(g) or not others:
                continue
            if all(np.array_equal(g, other[i]) for other in others):
                text = (
                    f"backward ignores the cotangent of '{output}' (grad_output): the gradient of "
                    f"'{self.pair.tree.names[i]}' is the same for 1, 2 and −1 times as much"
                )
                self._say("ignores-cotangent", i, text)
                self.ignored[k, i] = "it does not depend on the cotangent (grad_output ignored)"
                any_ignored = True
        return any_ignored

    def _offset(self, i: int, nothing: Gradients, alone: Mapping[int, Gradients]) -> bool:
        g = nothing.get(i)
        if g is None:
            return False
        known = np.logical_and.reduce([np.isfinite(a[i]) for a in alone.values() if i in a])
        if not np.any(g[known]):  # NaN counts as something, but 0 times infinity is none
            return False
        text = (
            "backward is not linear in its cotangents: where all of them are zeros, the gradient "
            f"of '{self.pair.tree.names[i]}' is not (largest entry {np.max(np.abs(g)):.3g})"
        )
        self._say("not-linear", i, text)
        return True

    def _multiples(
        self,
        i: int,
        alone: Mapping[int, Gradients],
        scaled: Mapping[tuple[int, float], Gradients],
        bound: Floats,
    ) -> None:
        for (k, s), found in scaled.items():
            if i not in alone[k] or i not in found or found[i].shape != alone[k][i].shape:
                continue
            g = alone[k][i]
            if self._differ(found[i], s * g, abs(s) * bound + UNITS * self.tiny):
                with np.errstate(all="ignore"):
                    factor = float(np.sum(found[i] * g) / np.sum(g * g))
                times = f" ({factor:.4g} times along it)" if np.isfinite(factor) else ""
                size = f"{s:.0f}" if abs(s) >= 1 else "2⁻³⁰"
                text = (
                    f"backward is not linear in the cotangent of '{self.outputs[k]}': "
                    f"{size} times as much does not give {size} times the gradient of "
                    f"'{self.pair.tree.names[i]}'{times}"
                )
                self._say("not-linear", i, text)
                return

    def _sums(
        self, i: int, alone: Mapping[int, Gradients], whole: Gradients, bound: Floats
    ) -> None:
        """All outputs at once, and all but one."""
        if len(self.weights) < 2 or not all(i in g for g in alone.values()):
            return
        total = np.sum([g[i] for g in alone.values()], axis=0)
        left_out: list[tuple[str, Floats, Floats]] = [("all outputs", whole[i], total)]
        if len(self.weights) > 2:
            for k, output in self.outputs.items():
                rest = self._rest(k)
                if i in rest:
                    left_out.append((f"all outputs but '{output}'", rest[i], total - alone[k][i]))
        for which, found, expected in left_out:
            if self._differ(found, expected, bound):
                text = (
                    f"with cotangents for {which} at once ({self._names()}), the gradient of "
                    f"'{self.pair.tree.names[i]}' is not the sum of those for each alone: a term "
                    "is lost or added where they come together"
                )
                self._say("outputs-together", i, text)
                return

    def _rest(self, k: int) -> Gradients:
        """With cotangents for all outputs but one."""
        if k not in self.rests:
            self.rests[k] = self._at({j: w for j, w in self.weights.items() if j != k})
        return self.rests[k]

    def _names(self) -> str:
        names = [f"'{n}'" for n in self.outputs.values()]
        return ", ".join(names[:4]) + (", …" if len(names) > 4 else "")

    @staticmethod
    def _differ(a: Floats, b: Floats, bound: Floats) -> bool:
        with np.errstate(all="ignore"):
            finite = np.isfinite(a) & np.isfinite(b)
            if not np.array_equal(np.isfinite(a), np.isfinite(b)):
                return True
            return bool(np.any(np.abs(a - b)[finite] > bound[finite]))
