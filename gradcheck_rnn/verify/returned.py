"""What a gradient function returned: the loss beside, coarse formats, shared memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .guard import coarse_gradient
from .reachable import sharing
from .trees import Tree, is_scalar
from .verdict import Finding

__all__ = ["coarse_formats", "is_pair", "shared_memory"]

Array = NDArray[Any]


def is_pair(raw: Any, tree: Tree) -> bool:
    """Whether a gradient function returned (loss, gradients)."""
    if not (isinstance(raw, tuple) and len(raw) == 2 and is_scalar(raw[0])):
        return False
    if isinstance(raw[1], dict | list | tuple):
        return True
    # two arrays for two parameters, the first a scalar, are gradients
    leaves = [tree.leaves[i] for i in tree.real]
    return not (len(leaves) == 2 and leaves[0].shape == np.shape(raw[0]))


def coarse_formats(found: Mapping[int, Array], tree: Tree) -> Iterator[Finding]:
    """Gradients, by leaf position, in coarser formats than their parameters."""
    for i, array in found.items():
        want = tree.leaves[i].dtype
        if np.finfo(array.dtype).eps > np.finfo(want).eps:
            yield coarse_gradient(tree.names[i], array.dtype, want)


def shared_memory(
    found: Mapping[int, Array], given: Sequence[Array], tree: Tree
) -> Iterator[Finding]:
    """Gradients, by leaf position, that share memory with one another or with what was given."""
    names, count = [tree.names[i] for i in found], len(found)
    for a, b in sharing([*found.values(), *given]):
        if a < count <= b:
            text = (
                f"the gradient of '{names[a]}' shares memory with the parameter "
                f"'{tree.names[b - count]}'; an update in place would change both"
            )
            yield Finding("alias", text)
        elif b < count:
            text = (
                f"the gradients of '{names[a]}' and '{names[b]}' share memory; "
                "scaling one in place would scale both"
            )
            yield Finding("alias", text)
