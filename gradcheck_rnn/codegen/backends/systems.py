"""Linear systems as calls of ``linalg.solve``, the same in NumPy and in CuPy.

A matrix that all sequences share is factorised once for all of their vectors.
"""

from __future__ import annotations

from collections.abc import Callable

from ...language.dims import ONE, Dim
from ..schedule.ops import Access, Lead, LinearSystem
from .expressions import dim_text

__all__ = ["solution"]


def solution(
    module: str, s: LinearSystem, access: Callable[[Access], str], lead: Callable[[Access], Lead]
) -> str:
    """The solution as text, its entries as dest has them.

    Parameters
    ----------
    module : str
        ``"np"`` or ``"cp"``; CuPy wants as many matrices as right-hand sides.
    access : callable
        Place → text.
    lead : callable
        Place → the leading axes that it has where the text stands.
    """
    n, columns = dim_text(s.size), dim_text(s.columns)
    ours, theirs = s.heads
    several = [d for d in s.heads if d != ONE][:1]
    end = ", ".join([*lead(s.dest), *map(dim_text, s.dest.buffer.shape[-1:])])
    if not lead(s.dest):
        end = ", ".join(map(dim_text, s.dest.buffer.shape))

    def shaped(a: Access, heads: Dim, last: str) -> str:
        axes = [*lead(a), *([dim_text(heads)] if several else []), n, last]
        plain = not lead(a) and not several and len(a.buffer.shape) == 2
        return access(a) if plain else f"{access(a)}.reshape({', '.join(axes)})"

    matrix = shaped(s.matrix, ours, n) + (".swapaxes(-1, -2)" if s.transposed else "")
    if lead(s.value) and not lead(s.matrix) and s.columns == ONE and ours in (ONE, theirs):
        if ours == ONE:
            matrix = access(s.matrix) + (".T" if s.transposed else "")
            vectors = f"{access(s.value)}.reshape(-1, {n})"
            return f"{module}.linalg.solve({matrix}, {vectors}.T).T.reshape({end})"
        vectors = f"{access(s.value)}.reshape(-1, {dim_text(ours)}, {n})"
        solved = f"{module}.linalg.solve({matrix}, {vectors}.transpose(1, 2, 0))"
        return f"{solved}.transpose(2, 0, 1).reshape({end})"
    value = shaped(s.value, theirs, columns)
    if module == "cp" and (lead(s.matrix) != lead(s.value) or ours != theirs):
        axes = [*lead(s.dest), *map(dim_text, several)]
        matrix, value = (
            f"cp.broadcast_to({text}, ({', '.join([*axes, n, last])}))"
            for text, last in ((matrix, n), (value, columns))
        )
    return f"{module}.linalg.solve({matrix}, {value}).reshape({end})"
