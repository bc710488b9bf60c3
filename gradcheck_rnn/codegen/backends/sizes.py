"""Lines that take the sizes of dims from arrays and check them, the same in every backend."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping

from ...errors import UnsupportedOperation
from ...language.dims import Dim
from ...language.network import Ref
from ..schedule.naming import Names
from ..schedule.sizes import in_solving_order
from .expressions import dim_text
from .template import lead_axes

__all__ = ["size_lines", "used_sizes"]


def size_lines(
    shapes: Mapping[str, tuple[str, ...]],
    refs: Iterable[Ref],
    free: Iterable[str],
    used: Collection[str],
    local: Mapping[str, str],
) -> list[str]:
    """Checks of axes that are sums or multiples of dims, then the sizes that a routine uses.

    Parameters
    ----------
    shapes : mapping
        Array → its axes.
    free, used : collections of str
        Axes that the caller gives the length of; sizes that the routine needs.
    local : mapping
        Size → the local variable that holds it.

    Raises
    ------
    UnsupportedOperation
        A dim is needed whose size no array tells.
    """
    known = {*free, *(a for axes in shapes.values() for a in axes if a.isidentifier())}
    compounds = []
    for ref in refs:
        first = len(lead_axes(ref))
        dims = (ref.shape.rows, ref.shape.cols)[: len(shapes[ref.name]) - first]
        compounds += [
            (ref.name, axis, d)
            for axis, d in enumerate(dims, first)
            if not dim_text(d).isidentifier()
        ]
    out: list[str] = []
    for name, axis, d in in_solving_order(compounds, known):
        out += _check(name, axis, d, known)
    for n in used:
        if n not in known:
            raise UnsupportedOperation(
                f"no array tells the size of the dim {n!r}: give the definition an input, a "
                f"parameter or an initial state with an axis of it"
            )
    if used:
        values = ", ".join(f'sizes["{n}"]' for n in used)
        out.append(f"    {', '.join(local[n] for n in used)} = {values}")
    return out


def used_sizes(names: Names, text: str) -> list[str]:
    """Which sizes a text mentions, by the user's names."""
    words = set(re.findall(r"\w+", text))
    return [n for n, local in names.sizes.items() if local in words]


def _check(name: str, axis: int, d: Dim, known: set[str]) -> list[str]:
    """The size of the dim that an axis tells, and whether the axis fits."""
    size, out = f'arrays["{name}"].shape[{axis}]', []
    new = [n for n in d.names if n not in known]
    if new:
        known.add(new[0])
        factor = dict(d.terms)[new[0]]
        rest = d - Dim.of({new[0]: factor})
        whole = size if rest == Dim() else f"({size} - ({_of_sizes(rest)}))"
        out.append(f'    sizes["{new[0]}"] = {whole} // {factor}')
    wanted = f"expected {dim_text(d)} on axis {axis}"
    return [
        *out,
        f"    if {size} != {_of_sizes(d)}:",
        f'        shape = arrays["{name}"].shape',
        f"        raise ValueError(f\"'{name}' has shape {{shape}}, {wanted}\")",
    ]


def _of_sizes(d: Dim) -> str:
    return re.sub(r"[A-Za-z_]\w*", lambda m: f'sizes["{m[0]}"]', dim_text(d))
