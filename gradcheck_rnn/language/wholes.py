"""Sequences that are handed on whole (`Ref.whole`): their names, and the dims that are steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from .dims import Shape
from .scans import Operand, Ref

__all__ = ["dims_in", "named_wholes", "rows_of", "wholes_in"]


def wholes_in(tables: Iterable[Mapping[str, Operand]]) -> dict[str, Ref]:
    """Name → sequence handed on whole, among the operands of scans."""
    operands = (o for table in tables for o in table.values())
    return {o.name: o.ref for o in operands if o.ref.sequence is not None}


def named_wholes(
    bindings: Mapping[str, Any],
    known: Mapping[str, Ref],
    free: Callable[[str], str],
    claim: Callable[[str, str], None],
) -> dict[str, Any]:
    """What is bound, with one name for a sequence that is handed on whole more than once."""
    names = {ref.sequence: ref.name for ref in known.values()}
    out = dict(bindings)
    for own, ref in bindings.items():
        if isinstance(ref, Ref) and ref.sequence is not None:
            if ref.sequence not in names:
                names[ref.sequence] = free(ref.name)
                claim(names[ref.sequence], f"matrix of the steps of {ref.sequence!r}")
            out[own] = replace(ref, name=names[ref.sequence])
    return out


def rows_of(wholes: Iterable[Ref]) -> set[str]:
    """The time axes whose steps are rows, and so dims."""
    return {str(ref.shape.rows.lone) for ref in wholes}


def dims_in(shapes: Iterable[Shape]) -> tuple[str, ...]:
    """The names in some shapes, in order."""
    named = (n for s in shapes for n in (*s.heads.names, *s.rows.names, *s.cols.names))
    return tuple(dict.fromkeys(named))
