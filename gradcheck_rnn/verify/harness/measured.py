"""Sizes of a definition's dims, told from the shapes of arrays that a layout places."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ...errors import DimensionError, UsageError
from ...language.network import Network
from .layout import Layout

__all__ = ["sizes_from"]

#: Sizes at which the shapes of a layout are looked at: those of matrices are affine in the sizes.
BASE = 2


def sizes_from(
    network: Network, layout: Layout, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, int]:
    """The sizes by dim at which the layout's parameters have these shapes.

    Parameters
    ----------
    shapes : mapping
        Shapes of the user's arrays by the layout's names; those of parameters count. Dims that no
        parameter has are left out.

    Raises
    ------
    DimensionError
        No sizes give these shapes; the message names an array.
    """
    names = [n for n in layout.parameters if n in shapes]
    dims, lengths = list(network.dims), dict.fromkeys(network.axes, 1)

    def of(sizes: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
        fitted = layout.fit(network, sizes, layout.batch or 1, lengths)
        return {n: fitted.shapes[n] for n in names}

    base = dict.fromkeys(dims, BASE)
    start = of(base)
    for n in names:
        if len(start[n]) != len(shapes[n]):
            raise DimensionError(
                f"{n!r} has shape {shapes[n]}, by the layout {len(start[n])} axes; write how it is "
                "held in the layout"
            )
    axes = [(n, k) for n in names for k in range(len(shapes[n]))]
    slopes = np.zeros((len(axes), len(dims)))
    for j, d in enumerate(dims):
        there = of({**base, d: BASE + 1})
        slopes[:, j] = [there[n][k] - start[n][k] for n, k in axes]
    rest = np.array([shapes[n][k] - start[n][k] for n, k in axes], dtype=float)
    known = [j for j in range(len(dims)) if slopes[:, j].any()]
    solved = np.linalg.lstsq(slopes[:, known], rest, rcond=None)[0] if known else np.zeros(0)
    sizes = {dims[j]: BASE + round(float(x)) for j, x in zip(known, solved, strict=True)}
    if min(sizes.values(), default=1) < 1:
        sizes = {d: max(1, n) for d, n in sizes.items()}
    try:
        found = of({**base, **sizes})
    except (DimensionError, UsageError):
        found = {}
    for n in names:
        if found.get(n) != tuple(shapes[n]):
            raise DimensionError(
                f"{n!r} has shape {tuple(shapes[n])}, which no sizes of {', '.join(dims)} give by "
                f"the layout (nearest: {', '.join(f'{d} = {s}' for d, s in sizes.items())} with "
                f"{found.get(n)}); write how it is held in the layout"
            )
    return sizes
