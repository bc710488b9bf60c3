"""One slip of the pen in packed code is the same mistake in every gate at once.

Code that packs its gates has one line where a derivation has four equations. What is wrong there is
wrong in all of them: ``dWh = …`` for ``dWh += …`` overwrites the gradient of four weights.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..harness.layout import Fitted
from .candidates import Candidate

__all__ = ["grouped"]


def grouped(single: Sequence[Candidate], fitted: Fitted) -> list[Candidate]:
    """Mutants of one kind and detail, together for all edges of a line of packed code.

    The lines are: the gradient of one array (all weights that it packs), what goes back to one
    state (all products that read it), and all slopes of elementwise functions.
    """
    lines: dict[tuple[str, ...], list[Candidate]] = {}
    holders: dict[str, list[str]] = {}
    for user in fitted.layout.parameters:
        for piece in fitted.pieces[user]:
            holders.setdefault(piece.name, []).append(user)
    for c in single:
        if "<-" not in c.where:
            continue
        operand, detail = c.where.partition("<-")[2].partition("#")[0], _detail(c)
        for user in holders.get(operand, ()):
            lines.setdefault((c.kind, f"d{user}", detail), []).append(c)
        if operand not in holders:
            lines.setdefault((c.kind, f"what goes back to {operand}", detail), []).append(c)
        if c.kind in ("step", "slope"):
            lines.setdefault((c.kind, "all slopes", detail), []).append(c)
    return [_together(key, found) for key, found in lines.items() if len(found) > 1]


def _detail(c: Candidate) -> str:
    """The end of a mutant's id, without the name that differs from gate to gate."""
    end = c.id.removeprefix(f"{c.kind}:{c.where}:")
    return "" if c.kind == "sibling" else end


def _together(key: tuple[str, ...], found: Sequence[Candidate]) -> Candidate:
    edits = found[0].edits
    touches = found[0].touches
    for c in found[1:]:
        edits = edits | c.edits
        touches = None if touches is None or c.touches is None else touches | c.touches
    kind, line, _ = key
    return Candidate(
        "all:" + ":".join(key), kind,
        f"in {line}, for all {len(found)} terms alike: {found[0].says}",
        edits, touches=touches,
    )  # fmt: skip
