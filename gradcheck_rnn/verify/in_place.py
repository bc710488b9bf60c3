"""Arrays that are written to between calls, as an optimiser writes to its parameters.

Code that knows arrays again by their `id`, by their address or by a reference to them takes new
content for the old one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .trees import Tree

__all__ = ["Held", "beside"]

Array = NDArray[Any]
#: Relative distance of the other points, by which all numbers are larger.
BESIDE = 2.0**-8


def beside(tree: Tree, times: int = 1) -> list[Array]:
    """New arrays at another point, so many times `BESIDE` away."""
    return [
        np.asarray(x * x.dtype.type(1 + times * BESIDE)) if x.dtype.kind == "f" else x.copy()
        for x in tree.leaves
    ]


class Held:
    """Arrays of one identity that will hold the point of a tree, and others nearby.

    Made before the first call, they are none that a function has met and forgotten.

    Attributes
    ----------
    leaves : list of ndarray
        The arrays themselves, with nothing written to them yet.
    """

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.leaves = [np.empty_like(x) if x.dtype.kind == "f" else x.copy() for x in tree.leaves]
        # what contains them stays the same as well, unless it holds numbers
        self._arguments = tree.arguments(self.leaves) if tree.all_arrays else None

    def arguments(self) -> tuple[Any, ...]:
        """The arrays in the structure of the user's parameters."""
        return self._arguments or self.tree.arguments(self.leaves)

    def here(self) -> Held:
        """At the point."""
        return self.at(self.tree.leaves)

    def at(self, leaves: Sequence[Array]) -> Held:
        """At any point."""
        for array, x in zip(self.leaves, leaves, strict=True):
            array[...] = x
        return self

    def beside(self) -> Held:
        """At another point, `BESIDE` away."""
        for array, x in zip(self.leaves, self.tree.leaves, strict=True):
            if x.dtype.kind == "f":
                np.multiply(x, x.dtype.type(1 + BESIDE), out=array)
        return self
