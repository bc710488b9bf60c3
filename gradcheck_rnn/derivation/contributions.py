"""What an edge of the adjoint program gives at one step, as it is or as edits make it."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal

import numpy as np

from ..calculus.terms import Sym, Term
from .batches import turned, vec
from .editing import Adjoints, Bars, mirrored_values, pinned_at, read_wrongly, reads_others
from .edits import Edits
from .program import Edge, ScanProgram

__all__ = ["Form", "add_shares", "bar_of", "contribution", "read"]

Array = Any
Run = Any  # of `evaluate`, which imports this module
Values = Callable[[Sym], Array]
Form = Literal["matrix", "kronecker"]


@lru_cache(maxsize=4096)
def bar_of(symbol: Sym) -> Sym:
    """The adjoint of a variable, made once."""
    return symbol.with_(mark="bar")


def read(
    run: Run, program: ScanProgram, edge: Edge, term: Term, edits: Edits, sums: Adjoints, t: int,
    values: Values,
) -> Values:  # fmt: skip
    """What an edge reads at a time, where edits make it read something else."""
    if edge.id in edits.terms and reads_others(edge, term):
        return read_wrongly(run, program, edits, t, run.lookup(t, Bars(sums, run, t)))
    if edge.id in edits.mirrored and edge.kind == "param":
        return mirrored_values(run, values, t, run.times(program))
    if edge.id in edits.pinned:
        name, pin = edits.pinned[edge.id]
        return pinned_at(run, values, name, run.times(program)[pin - 1 if pin > 0 else pin])
    return values


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


def contribution(
    run: Run, edge: Edge, term: Term, values: Callable[[Sym], Array], bar: Array, form: Form
) -> Array:
    """What an edge gives to its operand's adjoint, from the adjoint of its equation."""
    like = values(edge.operand)
    if form == "matrix":
        return run.batches.fit(run.terms(term, values), like)
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
