"""Other arrays of the same content: those of an earlier call, and views that are not contiguous.

As in the checks that know no definition, at one point of the plan. What autograd gives to PyTorch
and JAX code is looked at in `calls`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import of_users_code
from ..guard import close, remembers_arrays, strided_cotangents
from ..harness.compare import Comparison, Record, ratio_of
from ..harness.modelpoint import ModelPoint
from ..harness.modules import JaxCode, TorchCode
from ..harness.subject import Subject
from ..memory import viewed_in_part
from ..verdict import Finding
from .calls import small_point

__all__ = ["ArraysGiven"]

Array = NDArray[Any]
Arrays = dict[str, Array]
#: Relative distance of other numbers, which even coarse formats tell apart.
BESIDE = 2.0**-4


class ArraysGiven:
    """Arrays that are made before any call, so that code cannot have met them, and given later.

    Parameters
    ----------
    places
        Points of the plan; a small one with several steps and sequences is taken.
    subject
        The code.
    code
        What was given as ``module``: to that of a framework nothing is given here.
    """

    def __init__(self, places: Sequence[ModelPoint], subject: Subject, code: Any) -> None:
        framework = isinstance(code, TorchCode | JaxCode)
        self.subject, self.point = subject, None if framework else small_point(places)
        self._held = {} if self.point is None else subject.given(self.point.arrays)

    def look(self, comparisons: Sequence[Comparison]) -> list[Finding]:
        """What is wrong with gradients that are right for new arrays, as `comparisons` tell.

        One call more at the point for each of both questions, and one at other parameters.
        """
        point = self.point
        here = next((c for c in comparisons if c.point is point), None)
        if point is None or here is None or not point.cases:
            return []
        records = [r for r in here.records if r.case is point.cases[0]]
        found = _Look(self.subject, point, records)
        return [*found.rewritten(self._held), *found.viewed()] if records else []


class _Look:
    """The code at a point, and what it gave there for new arrays."""

    def __init__(self, subject: Subject, point: ModelPoint, records: Sequence[Record]) -> None:
        self.subject, self.point, self.records = subject, point, records

    def rewritten(self, held: dict[str, Any]) -> list[Finding]:
        """Arrays that were given for another point before, and have been written to since."""
        here = self.point.arrays
        users = [r.user for r in self.records]
        # what optimisers write to, and so that the same inputs meet other parameters
        own = [u for u in users if u in self.point.fitted.layout.parameters] or users
        there = {n: self._beside(n, a) if n in own else a for n, a in here.items()}
        with self.subject.giving(arrays=lambda arrays: self._written(held, arrays)):
            if self._gradients(there) is None or not any(map(_is_written, held.values())):
                return []
            found = self._gradients(here)
        same = all(
            close(a, self.subject.outputs.get(n, a), self.point.form.eps)
            for n, a in self.point.outputs.items()
        )
        if found is None or not self._wrong(found) or self._wrong(self._gradients(here)):
            return []
        who = "backward" if self.subject.with_cotangents else "the gradient function"
        return [remembers_arrays(who if same else "forward")]

    def viewed(self) -> list[Finding]:
        """Cotangents as views."""
        if not self.subject.with_cotangents:
            return []
        with self.subject.giving(cotangents=_viewed):
            found = self._gradients(self.point.arrays)
        return [strided_cotangents()] if found is not None and self._wrong(found) else []

    def _gradients(self, arrays: Mapping[str, Array]) -> Arrays | None:
        """Gradients for the cotangents of the records; None where the code fails."""
        case = self.records[0].case
        given = self.point.users(case) if self.subject.with_cotangents else None
        try:
            return self.subject.gradients(self.point.fitted, arrays, given)
        except Exception as error:
            if not of_users_code(error):
                raise
            return None  # loud where it happens, so no wrong gradient

    def _wrong(self, found: Arrays | None) -> bool:
        """Whether gradients are not those of new arrays, and beyond their bounds."""
        return found is None or any(
            r.user not in found
            or (
                not close(r.got, found[r.user], self.point.form.eps)
                and bool(np.any(ratio_of(found[r.user], r.want, r.bound) > 1))
            )
            for r in self.records
        )

    def _beside(self, user: str, array: Array) -> Array:
        """The array with other numbers, unless it is of a domain."""
        if any(p.name in self.point.network.domains for p in self.point.fitted.pieces[user]):
            return array
        return self.point.form.quantise(array * (1 + BESIDE))

    def _written(self, held: dict[str, Any], arrays: Mapping[str, Array]) -> dict[str, Any]:
        """The arrays that are held with other numbers in them."""
        for n, new in self.subject.given(arrays).items():
            if _is_written(held[n]):
                (held[n].detach() if hasattr(held[n], "detach") else held[n])[...] = new
            else:
                held[n] = new
        return held


def _is_written(array: Any) -> bool:
    """Whether an array can be written to: numbers, and arrays of JAX, cannot."""
    return hasattr(array, "__setitem__") and not type(array).__module__.startswith("jax")


def _viewed(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """The same numbers in arrays whose axes lie in the reverse order."""
    return {n: _reversed(a) for n, a in arrays.items()}


def _reversed(array: Any) -> Any:
    if isinstance(array, np.ndarray):
        return viewed_in_part(array)
    if hasattr(array, "permute"):
        axes = list(reversed(range(array.ndim)))
        return array.permute(axes).contiguous().permute(axes)
    return array.transpose().copy().transpose() if hasattr(array, "strides") else array
