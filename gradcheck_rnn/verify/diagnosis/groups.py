"""Correlated gate faults: one mistake in packed code is the same mistake in every gate at once.

Code that packs its gates has one line where a derivation has four equations. What is wrong there is
wrong in all of them: ``dWh = …`` for ``dWh += …`` overwrites the gradient of four weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import takewhile

from ...calculus.printing.text import to_text
from ...calculus.terms import symbols_in
from ...derivation import Derivation
from ...derivation.mistaken_axes import fixed_matrices
from ..harness.layout import Fitted
from .candidates import Candidate

__all__ = ["grouped"]


def grouped(single: Sequence[Candidate], fitted: Fitted, derivation: Derivation) -> list[Candidate]:
    """Mutants of one kind and detail, together for all edges of a line of packed code.

    The lines are: the gradient of one array (all weights that it packs), all gradients made with
    one value (``d_a.T @ h`` for all gates), what goes back to one state (all products that read
    it, with one gate's weights, or those of the taps of a convolution), and all slopes of
    elementwise functions.
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
            bar = to_text(derivation.edge(c.where).operand.with_(mark="bar"))
            lines.setdefault((c.kind, bar, detail), []).append(c)
            for line, own in _of_one_factor(c, bar, derivation):
                lines.setdefault((c.kind, line, own), []).append(c)
        for value, own in (*_read_with(c, detail, derivation), *_wherever_read(c, derivation)):
            lines.setdefault((c.kind, value, own), []).append(c)
        if c.kind == "in-place" or "bar*" in detail:
            edge = derivation.edge(c.where)
            name = to_text(edge.adjoint)
            lines.setdefault((c.kind, f"all that {name} is read for", detail), []).append(c)
            if edge.kind != "state":
                line = f"all that {name} is read for within the step"
                lines.setdefault((c.kind, line, detail), []).append(c)
        if c.kind in ("step", "slope"):
            lines.setdefault((c.kind, "all slopes", detail), []).append(c)
    found: dict[frozenset[str], Candidate] = {}
    for key, some in lines.items():
        if len({c.where for c in some}) == len(some) > 1:
            found.setdefault(frozenset(c.id for c in some), _together(key, some))
    return list(found.values())


def _read_with(c: Candidate, detail: str, derivation: Derivation) -> Iterator[tuple[str, str]]:
    """Lines by what the adjoint is multiplied with in the gradient of a parameter."""
    edge = derivation.edge(c.where)
    if edge.kind != "param":
        return
    values = [to_text(s) for s in symbols_in(edge.pullback) if not s.mark]
    made = f"made with {', '.join(values)}" if values else "of a bias"
    yield f"every gradient {made} in scan {edge.scan}", detail
    if c.kind in ("time", "wrapped", "pinned"):
        yield f"every gradient in scan {edge.scan} that reads it", detail


def _wherever_read(c: Candidate, derivation: Derivation) -> Iterator[tuple[str, str]]:
    """All that reads a value under one wrong name, or any state before at another step.

    Code that goes through all steps at once slices its states once: what is one step beside there
    is so for whatever reads them.
    """
    if c.kind not in ("time", "value", "sibling"):
        return
    edge, end = derivation.edge(c.where), c.id.removeprefix(f"{c.kind}:{c.where}:")
    every = f"all of scan {edge.scan} that reads"
    yield f"{every} it", end
    states = {s.name for s in derivation.program(edge.scan).scan.states}
    if c.kind != "time" or edge.kind == "state" or end[:-2].rstrip("-") not in states:
        return
    some = "every gradient" if edge.kind == "param" else "every adjoint"
    for line in (every, f"{some} of scan {edge.scan} that reads"):
        yield f"{line} a state", end[-2:]
    if edge.kind == "equation":
        yield f"{some} of scan {edge.scan} that reads it", end


def _of_one_factor(c: Candidate, bar: str, derivation: Derivation) -> Iterator[tuple[str, str]]:
    """Lines and details of what goes back with a fixed matrix, or with the weights of one gate."""
    end = c.id.removeprefix(f"{c.kind}:{c.where}:")
    if c.kind == "dropped":
        for s in fixed_matrices(derivation.edge(c.where).pullback):
            yield f"{bar}, of the terms with {to_text(s)}", end
    elif c.kind in ("flipped", "shifted") and derivation.edge(c.where).kind != "param":
        yield f"all that goes back through {end}", end
    elif c.kind == "sibling" and "_" in end:
        one, other = end.split(">")
        start = _alike_for(one, other)
        stop = len(other) - _alike_for(one[start:][::-1], other[start:][::-1])
        yield bar, f">{other[start:stop]}"


def _alike_for(one: str, other: str) -> int:
    return len(list(takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))))


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
        edits, touches=touches, members=tuple(c.id for c in found),
    )  # fmt: skip
