"""True values as a file of vectors holds them, refused where a part is missing or damaged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError

__all__ = ["OUTPUTS", "VectorFile", "check_whole", "damaged"]

Array = NDArray[Any]
#: The group of arrays that are no gradients.
OUTPUTS = "outputs"


@dataclass
class VectorFile:
    """What a file of vectors says of the true values: probe or ``outputs`` → name → array.

    ``high`` and ``low`` add up to it; ``bounds`` is by format first, ``cotangents`` by probe.
    ``whole`` are errors of whole arrays (`vectors.whole_errors`) in formats of few digits.
    """

    cell: str
    high: dict[str, dict[str, Array]] = field(default_factory=dict)
    low: dict[str, dict[str, Array]] = field(default_factory=dict)
    bounds: dict[str, dict[str, dict[str, Array]]] = field(default_factory=dict)
    whole: dict[str, dict[str, dict[str, Array]]] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    arrays: dict[str, Array] = field(default_factory=dict)
    cotangents: dict[str, dict[str, Array]] = field(default_factory=dict)
    layout: str = ""


def check_whole(path: Path, known: VectorFile) -> None:
    """Refuse vectors of which a part is missing or damaged: it would not be judged.

    Raises
    ------
    UsageError
        A number without its last digits or its bounds, other shapes, values that are not finite,
        bounds that are none.
    """
    if not any(g != OUTPUTS for g in known.high) or not known.bounds:
        raise damaged(path, "it holds no gradients with bounds")
    names = _names(known.high)
    for other in (known.low, *known.bounds.values()):
        lost = _names(other) - names
        if lost:
            raise damaged(path, f"{min(lost)} is missing")
    for group, arrays in known.high.items():
        for name, high in arrays.items():
            what = f"{group}/{name}"
            low = known.low.get(group, {}).get(name)
            if low is None:
                raise damaged(path, f"the last digits of {what} are missing")
            _check_numbers(path, what, high)
            _check_numbers(path, what, low, high.shape)
            bounds = [held.get(group, {}).get(name) for held in known.bounds.values()]
            # The loss is exported for information, without bounds.
            if group == OUTPUTS and name == "loss" and not any(b is not None for b in bounds):
                continue
            for bound in bounds:
                if bound is None:
                    raise damaged(path, f"bounds of {what} are missing")
                _check_bound(path, what, bound, high.shape)
            # vectors of earlier versions have none
            for limits in known.whole.values() if group != OUTPUTS else ():
                found = limits.get(group, {}).get(name)
                if found is None:
                    raise damaged(path, f"errors of {what} as a whole are missing")
                _check_bound(path, what, np.abs(found), (2, *found.shape[1:2]))


def _names(arrays: Mapping[str, Mapping[str, Array]]) -> set[str]:
    return {f"{group}/{name}" for group, held in arrays.items() for name in held}


def _check_numbers(
    path: Path, what: str, array: Array, shape: tuple[int, ...] | None = None
) -> None:
    if array.dtype.kind != "f" or array.shape != (array.shape if shape is None else shape):
        raise damaged(path, f"{what} is {array.dtype} of shape {array.shape}")
    if not np.isfinite(array).all():
        raise damaged(path, f"{what} has values that are not finite")


def _check_bound(path: Path, what: str, bound: Array, shape: tuple[int, ...]) -> None:
    if bound.dtype.kind != "f" or bound.shape != shape:
        raise damaged(path, f"the bound of {what} is {bound.dtype} of shape {bound.shape}")
    if not (bound >= 0).all():
        raise damaged(path, f"bounds of {what} are negative or no numbers")


def damaged(path: Path, why: str) -> UsageError:
    """What is raised for a file that is not whole."""
    return UsageError(f"{path} is a damaged file of vectors: {why}; make it anew")
