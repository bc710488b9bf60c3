"""Cells and networks as HTML, for notebooks: arrays with their dims, and the definitions."""

from __future__ import annotations

import contextlib
import inspect
import textwrap
from typing import Any

__all__ = ["ShownNetwork", "cell_html"]


def cell_html(cell: Any) -> str:
    """What it is, its arrays, and its definition as it was written."""
    from .. import html

    kinds: dict[str, dict[str, list[str]]] = {}
    for name, kind in cell.kinds.items():
        kinds.setdefault(kind, {}).setdefault(str(cell.shapes[name]), []).append(name)
    rows = [
        (kind, " ".join(names), shape)
        for kind, shapes in kinds.items()
        for shape, names in shapes.items()
    ]
    parts = [html.paragraph(f"cell {cell.name}", bold=True)]
    parts += [html.paragraph(cell.what)] if cell.what else []
    parts.append(html.table(("kind", "names", "dims"), rows))
    with contextlib.suppress(OSError, TypeError):  # what was typed in may have no text
        parts.append(html.block(textwrap.dedent(inspect.getsource(cell.function)).rstrip()))
    return "".join(parts)


class ShownNetwork:
    """Shows a network in a notebook."""

    def _repr_html_(self: Any) -> str:
        return _network_html(self)


def _network_html(network: Any) -> str:
    from .. import html

    tables = (
        ("parameter", network.parameters), ("input", network.inputs), ("output", network.outputs)
    )  # fmt: skip
    rows = [(what, name, str(ref.shape)) for what, table in tables for name, ref in table.items()]
    parts = [html.paragraph(f"network {network.name}", bold=True)]
    parts += [html.paragraph(network.what)] if network.what else []
    parts.append(html.table(("kind", "name", "dims"), rows))
    cells = {scan.cell.name: scan.cell for scan in network.scans}
    for name, cell in cells.items():
        own = [s for s in network.scans if s.cell.name == name]
        scans = ", ".join(s.name + (" (backwards)" if s.reverse else "") for s in own)
        parts.append(html.details(f"cell {name}: {scans}", cell_html(cell)))
    return "".join(parts)
