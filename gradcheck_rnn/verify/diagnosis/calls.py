"""What a framework may do to a backward pass, beside one call for each cotangent of the plan.

It is the same as in the checks that know no definition, at one point of the plan: multiples and
sums of cotangents, and for PyTorch and JAX what autograd does (`torch_protocol`, `jax_protocol`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import GradcheckError
from ..harness.modelpoint import ModelPoint
from ..harness.modules import JaxCode, TorchCode
from ..harness.subject import Subject
from ..linearity import COARSE, look_at_linearity
from ..oracle.directions import draw_direction
from ..pairs import Pair
from ..points import Role
from ..trees import Tree
from ..verdict import Finding

__all__ = ["look_at_calls", "small_point"]

Array = NDArray[Any]
#: Points that are left out: saturated, with zeros, with sizes that code may refuse.
FAR = (Role.SATURATED, Role.ZEROS, Role.REVERSED)


def look_at_calls(
    places: Sequence[ModelPoint], subject: Subject, code: Any, seed: int
) -> list[Finding]:
    """What is wrong at calls that the comparison with a definition does not make.

    Parameters
    ----------
    places
        Points of the plan; a small one with several steps and sequences is taken.
    subject
        Code whose gradients are right at all of them; of code without cotangents nothing is asked.
    code
        What was given as ``module``, None for two functions.
    """
    here = small_point(places)
    if here is None or not subject.with_cotangents:
        return []
    found: list[Finding] = []
    if here.form.eps < COARSE:
        pair: Pair = _Handed(here, subject)
        weights = _cotangents(pair, seed)
        reached = [(k, i) for k in weights for i in pair.tree.real]
        found += look_at_linearity(
            pair, weights, pair.tree.real, reached, seed, here.form.eps
        ).findings
    if isinstance(code, TorchCode | JaxCode):
        try:
            pair = code.pair(subject.given(here.arrays))
            pair.begin()
            weights = {k: w for k, w in _cotangents(pair, seed).items() if k in pair.probed}
            pair.protocol(weights)
        except GradcheckError:  # what model mode takes, and these passes do not
            return found
        found += [f for f in pair.findings if f.fatal]
    return found


def small_point(places: Sequence[ModelPoint]) -> ModelPoint | None:
    """One with several steps and sequences, if there is any, and none of these that are far off."""
    able = [s for s in places if s.role not in FAR]
    return min(able, key=lambda s: (s.steps < 2, s.batch < 2, s.steps * s.batch), default=None)


def _cotangents(pair: Pair, seed: int) -> dict[int, Array]:
    """A random one for each output."""
    made = {}
    for k in pair.outs.real:
        leaf = pair.outs.leaves[k]
        weight = draw_direction(leaf.shape, seed, f"cotangent of {pair.outs.names[k]}")
        made[k] = (weight * np.sqrt(weight.size)).astype(leaf.dtype)
    return made


class _Handed(Pair):
    """The subject at a point, pulled as the plan pulls it."""

    def __init__(self, point: ModelPoint, subject: Subject) -> None:
        super().__init__(Tree.of(dict(point.arrays), "arrays"), None)
        self.point, self.subject = point, subject
        shapes = {n: np.zeros(point.fitted.shapes[n]) for n in point.fitted.outputs}
        self.outs = Tree.of(shapes, "outputs")

    def pull(
        self,
        leaves: Sequence[Array],
        cotangents: Mapping[int, Array],
        *,
        undefined: bool | None = None,
    ) -> dict[int, Any]:
        """Gradients by position, of those that the code returns."""
        held = self.point.form.quantise
        given = {
            n: held(cotangents[k]) if k in cotangents else zeros
            for k, (n, zeros) in enumerate(zip(self.outs.names, self.outs.leaves, strict=True))
        }
        arrays = {
            n: held(a) if a.dtype.kind == "f" else a
            for n, a in zip(self.tree.names, leaves, strict=True)
        }
        found = self.subject.gradients(self.point.fitted, arrays, given)
        return {i: found[n] for i, n in enumerate(self.tree.names) if n in found}
