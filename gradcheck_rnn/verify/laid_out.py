"""Test vectors in the layout of the code that is to read them: ``"cudnn lstm"``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..language.network import Network
from .harness.layout import Fitted, Layout
from .points import Point
from .vectors import VectorProbe, Vectors

__all__ = ["laid_out", "left_out"]

Array = NDArray[Any]


class _Halves(np.random.Generator):
    """Shares a value between two arrays in halves, which every format holds exactly."""

    def uniform(self, low: Any = 0.0, high: Any = 1.0, size: Any = None) -> Any:
        return np.full(size, 0.5)


def laid_out(vectors: Vectors, network: Network, layout: Layout, name: str) -> Vectors:
    """The same vectors with arrays, outputs, cotangents and gradients as a layout holds them.

    A bound of an array that holds several values is that of each; where two arrays hold parts of
    one value, both have its gradient.

    Raises
    ------
    UsageError, DimensionError
        The layout does not fit the definition.
    """
    lengths = {a: vectors.sizes[a] for a in network.axes}
    sizes = {d: vectors.sizes[d] for d in network.dims}
    fitted = layout.fit(layout.narrowed(network), sizes, vectors.sizes["B"], lengths)
    packed = fitted.pack(vectors.arrays, _Halves(np.random.PCG64(0)))
    roles = {n: "param" if n in layout.parameters else "input" for n in fitted.arguments}
    probes = [
        VectorProbe(
            p.name,
            {n: fitted.place(n, p.cotangents) for n in _given(fitted, p)},
            _gradients(fitted, p.gradients),
            {form: _gradients(fitted, b, absolute=True) for form, b in p.bounds.items()},
        )
        for p in vectors.probes
    ]
    return replace(
        vectors,
        roles=roles, arrays={n: a for n, a in packed.items() if n not in fitted.labels},
        outputs=_outputs(fitted, vectors.outputs),
        output_bounds={
            form: {n: np.abs(a) for n, a in _outputs(fitted, held).items()}
            for form, held in vectors.output_bounds.items()
        },
        probes=probes,
        domains={}, classes={n: packed[n].astype(np.int64) for n in fitted.labels}, layout=name,
    )  # fmt: skip


def left_out(network: Network, layout: Layout, point: Point) -> set[str]:
    """Names of the definition that code in this layout does not have.

    Raises
    ------
    UsageError, DimensionError
        The layout does not fit the definition.
    """
    fitted = layout.fit(layout.narrowed(network), point.sizes, point.batch, point.lengths)
    outputs = {p.name for n in fitted.outputs for p in fitted.pieces[n]}
    return {*network.parameters, *network.inputs, *network.outputs} - fitted.names - outputs


def _given(fitted: Fitted, probe: VectorProbe) -> set[str]:
    """Outputs of which the probe has a cotangent."""
    return {n for n in fitted.outputs if any(p.name in probe.cotangents for p in fitted.pieces[n])}


def _outputs(fitted: Fitted, values: Mapping[str, Array]) -> dict[str, Array]:
    found = {n: fitted.place(n, values) for n in fitted.outputs}
    return found | ({"loss": values["loss"]} if "loss" in values else {})


def _gradients(
    fitted: Fitted, gradients: Mapping[str, Array], *, absolute: bool = False
) -> dict[str, Array]:
    """Of the arguments that hold something differentiated."""
    return {
        n: fitted.pull(n, gradients, absolute=absolute)
        for n in fitted.arguments
        if any(p.name in gradients for p in fitted.pieces[n])
    }
