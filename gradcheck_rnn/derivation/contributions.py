"""What an edge of the adjoint program gives at one step, as it is or as edits make it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Literal

import numpy as np

from ..calculus.terms import Sym, Term
from .batches import turned, vec
from .editing import (
    Adjoints,
    Bars,
    cotangents_as_used,
    mirrored_values,
    moved_shares,
    pass_by,
    pass_whole,
    pinned_at,
    read_wrongly,
    reads_others,
    target_time,
)
from .edits import Edits, Mask, Rows
from .program import Edge, ScanProgram
from .wholes import rows_given

__all__ = [
    "Form",
    "add_others",
    "add_shares",
    "bar_of",
    "begin_step",
    "contribution",
    "cotangents_inward",
    "finish_step",
    "masked_values",
    "moved_seeds",
    "read",
]

Array = Any
Run = Any  # of `evaluate`, which imports this module
Values = Callable[[Sym], Array]
Form = Literal["matrix", "kronecker"]


@lru_cache(maxsize=4096)
def bar_of(symbol: Sym) -> Sym:
    """The adjoint of a variable, made once."""
    return symbol.with_(mark="bar")


def cotangents_inward(
    run: Run, edits: Edits, label: str, given: Array
) -> Iterator[tuple[int, Array]]:
    """Times and values of an output's cotangent, as arrays of the run, with these edits."""
    ref = run.derivation.network.outputs[label]
    for t, g in cotangents_as_used(edits, label, ref.axis is None, given):
        own = run.inward(ref, g)
        mask = edits.masked_outputs.get(label)
        yield t, own if mask is None else masked_value(run, own, mask)


def read(
    run: Run, program: ScanProgram, edge: Edge, term: Term, edits: Edits, sums: Adjoints, t: int,
    values: Values,
) -> Values:  # fmt: skip
    """What an edge reads at a time, where edits make it read something else."""
    if edge.id in edits.masked:
        return masked_values(run, values, edge, edits)
    if edge.id in edits.received:
        own = sums.received[edits.received[edge.id]]
        return run.lookup(t, {edge.adjoint: values(edge.adjoint) * 0 if own is None else own})
    if edits.rewrites(edge) and reads_others(edge, term):
        return read_wrongly(run, program, edits, t, run.lookup(t, Bars(sums, run, t)))
    if edge.id in edits.mirrored and edge.kind == "param":
        return mirrored_values(run, values, t, run.times(program))
    if edge.id in edits.pinned:
        name, pin = edits.pinned[edge.id]
        return pinned_at(run, values, name, run.times(program)[pin - 1 if pin > 0 else pin])
    return values


def masked_value(run: Run, value: Array, mask: Mask) -> Array:
    """An adjoint with only a part of it, or without that part: see `Mask`."""
    which, place, kept = mask
    axis = {"sequence": run.batches.axis, "unit": -2, "head": -3}[which]
    if value.ndim < -axis:
        return value
    if place == "for all":
        return np.broadcast_to(np.take(value, [0], axis), value.shape)
    n = value.shape[axis]
    inside = np.zeros(n, bool)
    inside[
        {"first": slice(0, 1), "last": slice(-1, None), "half": slice(0, (n + 1) // 2)}[place]
    ] = 1
    index = (inside if kept else ~inside).reshape(-1, *[1] * (-axis - 1))
    return np.where(index, value, np.zeros_like(value))


def masked_values(run: Run, values: Values, edge: Edge, edits: Edits) -> Values:
    """The same values, but a part only of the adjoint that an edge reads."""

    def value(s: Sym) -> Array:
        found = values(s)
        return masked_value(run, found, edits.masked[edge.id]) if s == edge.adjoint else found

    return value


def add_shares(
    run: Run, edge: Edge, term: Term, edits: Edits, sums: Adjoints, t: int, index: int,
    values: Values, given: Array,
) -> None:  # fmt: skip
    """Add what an edge gives, with each share of the adjoint it reads by a term of its own."""
    parts = sums.parts(edge.equation.name, t)
    split = edge.kind == "equation" and sums.splits(edge.operand.name)
    split = split and len(run.derivation.readers(edge.operand.name)) == 1
    if not split and not any((source, edge.id) in edits.shares for source in parts):
        sums.add_shares(edge, index, given, {})
        return
    bar, like = bar_of(edge.equation), values(edge.operand)
    shares: dict[str, Array] = {}
    for source, part in parts.items():

        def seen(s: Sym, part: Array = part) -> Array:
            return part if s.mark and s == bar else values(s)

        right = run.batches.fit(run.terms(term, seen), like)
        own = edits.shares.get((source, edge.id), term)
        if own is term:
            shares[source] = right
            continue
        shares[source] = (
            np.zeros_like(right) if own is None else run.batches.fit(run.terms(own, seen), like)
        )
        given = given + (shares[source] - right)
    sums.add_shares(edge, index, given, shares if split else {})


def add_others(
    run: Run, program: ScanProgram, edge: Edge, term: Term | None, edits: Edits, sums: Adjoints,
    t: int,
) -> None:  # fmt: skip
    """Add what an edge gives by a term that reads the adjoints of other equations."""
    if term is None:
        return
    values = run.lookup(t, Bars(sums, run, t))
    seen = read_wrongly(run, program, edits, t, values)
    given = run.batches.fit(run.terms(term, seen), values(edge.operand))
    where = 0 if edge.lag is None else target_time(run, edits, edge, t, run.times(program))
    sums.add(edge.operand.name, where, given, edge.id)


def begin_step(run: Run, program: ScanProgram, edits: Edits, sums: Adjoints, t: int) -> None:
    """What is kept of the adjoints as a step receives them, and what is handed on as it is."""
    if edits.kept:
        pass_by(run, sums, program, t, edits.kept)
    for state in set(edits.received.values()):
        last = state in run.derivation.network.finals
        sums.received[state] = sums.get(state, 0) if last else sums.carried(state, t)


def finish_step(
    run: Run, program: ScanProgram, late: list[tuple[Edge, Term]], edits: Edits, sums: Adjoints,
    t: int,
) -> None:  # fmt: skip
    """What is given once all equations of a step have been pulled back."""
    for edge, term in late:
        add_others(run, program, edge, term, edits, sums, t)
    if edits.passed:
        pass_whole(run, sums, program, edits, t)


def moved_seeds(run: Run, sums: Adjoints, edits: Edits) -> Iterator[tuple[str, int, Array]]:
    """What is added to adjoints where edges are moved, and where blocks are not joined."""
    for program in run.derivation.scans:
        times, border = run.times(program), edits.unjoined.get(program.scan.name)
        for edge in program.edges:
            name, give = edge.operand.name, _giving(run, program, edge, sums, edits)
            if edge.id in edits.moved:
                for where, value in moved_shares(run, times, edge, edits.moved[edge.id], give):
                    yield name, where, value
            if border is not None and edge.kind == "state":
                for t in times[::border]:
                    given = give(t, t)
                    if given is not None:
                        yield name, run.at(name, t, edge.lag), given


def _giving(
    run: Run, program: ScanProgram, edge: Edge, sums: Adjoints, edits: Edits
) -> Callable[[int, int], Array | None]:
    """What an edge gives with the adjoint at one time and the values at another."""
    times = run.times(program)

    def give(at: int, t: int) -> Array | None:
        term = edits.term_of(edge, 1 + times.index(t), len(times))
        bar = sums.get(edge.equation.name, at)
        if term is None or bar is None:
            return None
        values = run.lookup(t, {bar_of(edge.equation): bar})
        seen = read_wrongly(run, program, edits, t, values)
        return contribution(run, edge, term, seen, bar, "matrix")

    return give


def contribution(
    run: Run, edge: Edge, term: Term, values: Callable[[Sym], Array], bar: Array, form: Form,
    rows: Rows | None = None,
) -> Array:  # fmt: skip
    """What an edge gives to its operand's adjoint, from the adjoint of its equation."""
    like = values(edge.operand)
    if form == "matrix":
        given = run.batches.fit(run.terms(term, values), like)
        return given if rows is None else rows_given(given, rows)
    single = run.batches.single
    jacobian = run.terms(edge.jacobian, lambda s: single(values(s)))
    out = np.matmul(turned(jacobian), vec(single(bar)))
    shape = single(like).shape
    if out.ndim > 2:
        shared = shape[0] == 1
        out = (
            out.sum(axis=0, keepdims=True)
            if shared
            else np.broadcast_to(out, (shape[0], *out.shape[1:]))
        )
    return turned(out.reshape(*shape[:-2], shape[-1], shape[-2])).reshape(like.shape)
