"""What there is to start from: one cell with its arrays and equations, the ready layouts."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from gradcheck_rnn.checks import check_text

from .definitions import derive, load

if TYPE_CHECKING:
    from gradcheck_rnn.language.cell import Cell
    from gradcheck_rnn.language.network import Network
    from gradcheck_rnn.language.scans import Ref

__all__ = ["describe_cell", "layout_source", "layouts"]


def describe_cell(
    target: str | os.PathLike[str] | Cell | Network, *, loss: str | None = None
) -> dict[str, Any]:
    """One cell: its arrays with their shapes, and its equations.

    Parameters
    ----------
    target, loss
        As in `api.load`.

    Returns
    -------
    dict
        Keys name, what, source; parameters, inputs and outputs, each name → dims of the array in
        checks and generated modules (T steps, B sequences); text, the equations for people.

    Raises
    ------
    GradcheckError
        The target is unknown or its definition malformed.
    """
    from gradcheck_rnn.derivation.render import render_definition

    derivation = derive(target, loss=loss)
    network = derivation.network
    tables = {
        "parameters": network.parameters,
        "inputs": network.inputs,
        "outputs": network.outputs,
    }
    return {
        "name": network.name,
        "what": network.what,
        "source": network.source,
        **{key: {n: _dims(r) for n, r in table.items()} for key, table in tables.items()},
        "text": render_definition(derivation),
    }


def _dims(ref: Ref) -> list[str]:
    """As `language.running.array_shape`, with the dims by name."""
    shape = ref.shape
    if shape.batch or ref.kind in ("sequence", "final", "once"):
        lead = [ref.axis, "B"] if ref.axis else ["B"]
        return [*lead, *map(str, shape.axes)]
    return [*map(str, shape.axes)]


def layouts() -> list[dict[str, str]]:
    """The ready layouts as rows with the keys name, cell and what."""
    from gradcheck_rnn.verify.harness.ready import catalogue

    return catalogue()


def layout_source(
    name: str, definition: str | os.PathLike[str] | Cell | Network | None = None
) -> str:
    """A ready layout as Python text, to be changed and kept.

    Parameters
    ----------
    name : str
        Of the layout.
    definition : str, os.PathLike, Cell or Network, optional
        As in `load`: what ``"own"`` is a layout of.

    Raises
    ------
    UsageError
        There is no such layout.
    """
    from gradcheck_rnn.verify.harness.ready import ready, source

    text = check_text(name, "name", 'the name of a layout, as "pytorch lstm"')
    return source(ready(text, None if definition is None else load(definition)))
