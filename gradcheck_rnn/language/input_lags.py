"""Inputs of earlier steps: x_{t−1} beside x_t in one step (token shift, a causal convolution).

An input that is read at lags gets a state of its own, ``x_last``, which is set to the input and
read at these lags; nothing else in the package knows of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..errors import DefinitionError
from .cell import Cell, Delays

__all__ = ["kept_name", "under_their_states", "with_input_lags"]


def kept_name(own: str) -> str:
    """The state that keeps the past of an input."""
    return f"{own}_last"


def under_their_states(cell: Cell, starts: Mapping[str, Any]) -> dict[str, Any]:
    """Starts by the names of states, where some are by those of inputs."""
    states = {own: state for state, own in cell.kept.items() if state == kept_name(own)}
    return {states.get(own, own): start for own, start in starts.items()}


def with_input_lags(cell: Cell, lags: Mapping[str, tuple[int, ...]]) -> Cell:
    """The cell, with the inputs named in ``lags`` given as ``x[0]``, ``x[1]``, ….

    Parameters
    ----------
    cell : Cell
        Its function takes `Delays` for these inputs.
    lags : mapping
        Input or data → the lags read, 0 being the step's own; one at least is positive.

    Raises
    ------
    DefinitionError
        The cell has a value called ``x_last`` already.
    """
    shapes, kinds, read = dict(cell.shapes), dict(cell.kinds), dict(cell.lags)
    domains = dict(cell.domains)
    back = {own: tuple(k for k in wanted if k) for own, wanted in lags.items()}
    for own, earlier in back.items():
        kept = kept_name(own)
        if kept in shapes or kept in cell.outputs:
            raise DefinitionError(
                f"cell {cell.name!r}: the state that keeps the past of {own!r} is called {kept!r}, "
                "a name that the cell uses; rename that one"
            )
        shapes[kept], kinds[kept], read[kept] = shapes[own], "state", earlier
        if own in domains:
            domains[kept] = domains[own]

    def function(**arguments: Any) -> dict[str, Any]:
        now = {own: arguments[own] for own in back}
        for own, earlier in back.items():
            line = arguments.pop(kept_name(own))
            past = {1: line} if earlier == (1,) else dict(line)
            arguments[own] = Delays(own, {0: now[own], **past})
        made = cell.collect(cell.function(**arguments))
        return {**made, **{kept_name(own): now[own] for own in back}}

    function.__wrapped__ = getattr(cell.function, "__wrapped__", cell.function)  # type: ignore[attr-defined]
    return replace(
        cell, function=function, shapes=shapes, kinds=kinds, lags=read, domains=domains,
        kept={kept_name(own): own for own in back},
    )  # fmt: skip
