"""Transforms of definitions: a cell in, a cell out, nothing special downstream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import DefinitionError
from .cell import Cell, Delays
from .dims import ONE, Shape
from .domains import Domain
from .primitives import name

__all__ = ["masked"]


def masked(cell: Cell, *, outputs: bool = False) -> Cell:
    """The cell with a 0/1 data scalar ``mask`` per step; where it is 0 every state is held.

    The whole delay line is held: a state read at lags up to K becomes K explicit states
    ``h, h_back1, …, h_back{K−1}``, so that a masked step does not shift the line. Scalar outputs
    named ``loss`` are multiplied by the mask; the loss stays a plain sum (its normaliser is 1).
    With ``outputs`` all that are no states are.

    Raises
    ------
    DefinitionError
        The cell already uses the name ``mask``.
    """
    if "mask" in cell.shapes:
        raise DefinitionError(f"cell {cell.name!r} already has an argument 'mask'")
    depth = {s: max(cell.lags[s]) for s in cell.states}
    shapes, kinds, lags = dict(cell.shapes), dict(cell.kinds), dict(cell.lags)
    for s in cell.states:
        lags[s] = (1,)
        for k in range(1, depth[s]):
            back = f"{s}_back{k}"
            shapes[back], kinds[back], lags[back] = cell.shapes[s], "state", (1,)
    shapes["mask"], kinds["mask"] = Shape(ONE, ONE, True), "data"

    def function(**arguments: Any) -> dict[str, Any]:
        mask = arguments.pop("mask")
        lines: dict[str, list[Any]] = {}
        for s in cell.states:
            lines[s] = [
                arguments.pop(s),
                *(arguments.pop(f"{s}_back{k}") for k in range(1, depth[s])),
            ]
            if cell.lags[s] == (1,):
                arguments[s] = lines[s][0]
            else:
                arguments[s] = Delays(s, {k: lines[s][k - 1] for k in cell.lags[s]})
        made = cell.collect(cell.function(**arguments))
        held: dict[str, Any] = {}
        for s in cell.states:
            moved = [name(made[s], f"{s}_free"), *lines[s][:-1]]
            for k, (new, old) in enumerate(zip(moved, lines[s], strict=True)):
                held[f"{s}_back{k}" if k else s] = mask * new + (1 - mask) * old
        for o in cell.outputs:
            if o not in held:
                silent = outputs or o == "loss"
                held[o] = mask * name(made[o], f"{o}_free") if silent else made[o]
        return held

    function.__wrapped__ = getattr(cell.function, "__wrapped__", cell.function)  # type: ignore[attr-defined]
    return Cell(
        f"{cell.name}_masked",
        function,
        shapes,
        kinds,
        lags,
        cell.outputs,
        f"{cell.what} Masked: states held where mask is 0.",
        cell.source,
        {**cell.domains, **_line_domains(cell, depth), "mask": Domain("integers", 0, 1)},
        cell.heads,
        {
            back: cell.kept[s]
            for s in cell.kept
            for back in (s, *(f"{s}_back{k}" for k in range(1, depth[s])))
        },
    )


def _line_domains(cell: Cell, depth: Mapping[str, int]) -> dict[str, Domain]:
    return {
        f"{s}_back{k}": cell.domains[s]
        for s in cell.states
        if s in cell.domains
        for k in range(1, depth[s])
    }
