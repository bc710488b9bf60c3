"""Lines that take the sizes of dims from arrays and check them, the same in every backend."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping

from ...errors import UnsupportedOperation
from ...language.dims import ONE, Dim
from ...language.network import Ref
from ..schedule.kernel_names import Names
from .expressions import dim_text
from .template import lead_axes

__all__ = ["entry_lines", "size_lines", "used_sizes"]


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
        dims = ref.shape.axes
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
    for name, dims in names.entries.items():
        if name in words:
            words.update(n for d in dims for n in d.names)
    return [n for n, local in names.sizes.items() if local in words]


def entry_lines(names: Names, text: str) -> list[str]:
    """Lines that count the entries of the matrices per sequence that a text mentions."""
    words = set(re.findall(r"\w+", text))
    return [
        f"    {name} = {' * '.join(map(_factor, dims))}"
        for name, dims in names.entries.items()
        if name in words
    ]


def _factor(d: Dim) -> str:
    text = dim_text(d)
    return text if d.lone or not d.names else f"({text})"


def _check(name: str, axis: int, d: Dim, known: set[str]) -> list[str]:
    """The size of the dim that an axis tells, and whether the axis fits."""
    size, out = f'arrays["{name}"].shape[{axis}]', []
    new = [n for n in d.names if n not in known]
    if new:
        known.add(new[0])
        factor = d.factor_of(new[0]) or ONE
        rest = d - factor * Dim.of({new[0]: 1})
        whole = size if rest == Dim() else f"({size} - ({_of_sizes(rest)}))"
        parts = f"({_of_sizes(factor)})" if factor.names else str(factor)
        out.append(f'    sizes["{new[0]}"] = {whole} // {parts}')
    wanted = f"expected {dim_text(d)} on axis {axis}"
    return [
        *out,
        f"    if {size} != {_of_sizes(d)}:",
        f'        shape = arrays["{name}"].shape',
        f"        raise ValueError(f\"'{name}' has shape {{shape}}, {wanted}\")",
    ]


def _of_sizes(d: Dim) -> str:
    return re.sub(r"[A-Za-z_]\w*", lambda m: f'sizes["{m[0]}"]', dim_text(d))


#: Name of an array, number of its axis, and the axis as a dim.
Axis = tuple[str, int, Dim]


def _told(d: Dim, known: Collection[str]) -> bool:
    """Whether a dim has at most one name without a size, and that not squared."""
    new = [n for n in d.names if n not in known]
    return not new or (len(new) == 1 and d.factor_of(new[0]) is not None)


def in_solving_order(axes: Iterable[Axis], known: Iterable[str]) -> Iterator[Axis]:
    """The axes, each when at most one of its dims has no size yet.

    Parameters
    ----------
    axes : iterable of (str, int, Dim)
        Axes such as ``d + p`` and ``2*p``.
    known : iterable of str
        Dims whose sizes are known from an axis of their own.

    Raises
    ------
    UnsupportedOperation
        Sizes that no order of the axes tells.
    """
    told, waiting = set(known), list(axes)
    while waiting:
        ready = next((a for a in waiting if _told(a[2], told)), None)
        if ready is None:
            name, _, dim = waiting[0]
            unknown = " and ".join(n for n in dim.names if n not in told)
            raise UnsupportedOperation(f"the sizes of {unknown} do not follow from {name!r}")
        waiting.remove(ready)
        told |= set(ready[2].names)
        yield ready
