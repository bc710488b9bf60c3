"""The adjoint program on adjoints that somebody else computed: what each line alone should be.

Every line is evaluated from the given adjoints of the equations that read its name; where one was
not given, what the program makes of the others stands in for it. A wrong line thus spoils no other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from ..calculus import terms as T
from ..calculus.terms import Sym, Term
from .evaluate import Run
from .numeric_terms import TermEvaluator
from .program import Edge, ScanProgram
from .wholes import rows, wholes_of

__all__ = ["Known", "Local", "Series", "edge_values", "local_lines"]

Array = Any
#: Edge → what its contribution at a time becomes, for studies of wrong passes.
Bends = Mapping[str, Callable[[Array, int], Array]]
Series = dict[str, dict[int, Array]]
#: (Edge, time) → what it gives to its operand from a given adjoint, and the size of that.
Known = dict[tuple[str, int], tuple[Array, Array]]
#: Relative step by which the sensitivity of a function is measured.
STEP = 2.0**-20


@dataclass
class Local:
    """Lines evaluated alone.

    Attributes
    ----------
    want : dict
        Name → {t: what the derived line gives}; what does not move with time has t = 0.
    size : dict
        The sums of the absolute values of their terms.
    bars : dict
        The adjoints that were read: the given ones, and the program's own where none was given.
    outside : dict
        What comes to a name from the loss, from outputs and from final states.
    """

    run: Run
    want: Series = field(default_factory=dict)
    size: Series = field(default_factory=dict)
    bars: Series = field(default_factory=dict)
    outside: dict[str, dict[str, dict[int, Array]]] = field(default_factory=dict)

    def add(self, name: str, t: int, value: Array, size: Array) -> None:
        for table, a in ((self.want, value), (self.size, size)):
            line = table.setdefault(name, {})
            line[t] = line[t] + a if t in line else a

    def from_outside(self, source: str, name: str, t: int, value: Array, size: Array) -> None:
        self.add(name, t, value, size)
        line = self.outside.setdefault(name, {}).setdefault(source, {})
        line[t] = line[t] + value if t in line else value


class _Sizes:
    """The sum of the absolute values of what a term adds up; functions by their sensitivity."""

    def __init__(self, terms: TermEvaluator) -> None:
        self.terms = terms

    def __call__(self, term: Term, lookup: Callable[[Sym], Array]) -> Array:
        if isinstance(term, T.Sym | T.Num):
            return np.abs(self.terms(term, lookup))
        if isinstance(term, T.Neg):
            return self(term.operands[0], lookup)
        if isinstance(term, T.Divide):
            value = np.abs(self.terms(term, lookup))
            low = np.abs(self.terms(term.operands[1], lookup))
            with np.errstate(all="ignore"):
                high = self(term.operands[1], lookup) / low
                return self(term.operands[0], lookup) / low * high + value
        if isinstance(term, T.Solve):
            a, b = term.operands
            matrix, x = self.terms(a, lookup), np.abs(self.terms(term, lookup))
            inverse = np.abs(np.linalg.inv(matrix))
            return np.matmul(inverse, np.matmul(self(a, lookup), x) + self(b, lookup))
        if isinstance(term, T.MapUnits) and not term.map.constant:
            inner = self(term.x, lookup)
            return np.matmul(np.abs(term.map.matrix(inner.shape[-2], inner.dtype)), inner)
        if not isinstance(term, _ADDING):
            return self._function(term, lookup)
        names, bare = _on_names(term)
        held = {s: self(x, lookup) for s, x in zip(names, term.operands, strict=True)}
        return np.abs(self.terms(bare, held.__getitem__))

    def _function(self, term: Term, lookup: Callable[[Sym], Array]) -> Array:
        value = self.terms(term, lookup)
        out = np.abs(value)
        if isinstance(term, T.Apply):
            x = self.terms(term.x, lookup)
            step = self(term.x, lookup) * STEP
            name = Sym("moved", *term.x.shape)
            for moved in (x - step, x + step):
                there = self.terms(T.Apply(term.fname, name), {name: moved}.__getitem__)
                out = np.maximum(out, np.abs(there - value) / STEP)
        return out


_ADDING = (
    T.Plus, T.Hadamard, T.Times, T.Scale, T.Transpose, T.UnitSum, T.Broadcast, T.Dot, T.Slice,
    T.Pad, T.Concat, T.Frozen, T.Power, T.HeadSum, T.Vec, T.Unvec,
)  # fmt: skip


@lru_cache(maxsize=4096)
def _on_names(term: Term) -> tuple[tuple[Sym, ...], Term]:
    """An operation on names of its own in place of what it is applied to."""
    names = tuple(Sym(f"size_{k}", *x.shape) for k, x in enumerate(term.operands))
    rest = [a for a in term.args if not isinstance(a, Term)]
    return names, term.func(*names, *rest)


def _sized(sizes: _Sizes, term: Term, lookup: Callable[[Sym], Array]) -> Array:
    try:
        return sizes(term, lookup)
    except (TypeError, ValueError):  # a node that is not made of its operands alone
        return np.abs(sizes.terms(term, lookup))


def local_lines(
    run: Run, cotangents: Mapping[str, Array], given: Mapping[str, Mapping[int, Array]],
    sized: bool = True, loss: bool = True, bends: Bends | None = None,
    known: Known | None = None,
) -> Local:  # fmt: skip
    """Every line of the adjoint program from the given adjoints.

    Parameters
    ----------
    cotangents : mapping
        As `bptt` takes them.
    given : mapping
        Equation → {t: adjoint}, as terms take it (`Run.inward`); some, all or none.
    sized : bool
        Whether to make `Local.size` too.
    loss : bool
        Whether the definition's own loss counts.
    bends : mapping, optional
        Edge → a function of its contribution and the time, for studies of wrong passes.
    known : mapping, optional
        What given adjoints have made in an earlier call on the same run; filled and read.
    """
    network = run.derivation.network
    out = Local(run)
    for label, g in cotangents.items():
        ref = network.outputs[label]
        steps = [(0, g)] if ref.axis is None else [(t + 1, a) for t, a in enumerate(g)]
        for t, a in steps:
            g_t = run.inward(ref, a)
            out.from_outside(f"g_{label}", ref.name, t, g_t, np.abs(g_t))
    sizes = _Sizes(run.terms) if sized else None
    for program in reversed(run.derivation.scans):
        _scan(out, program, given, sizes, loss, bends or {}, {} if known is None else known)
    _rows(out, network.inputs)
    return out


def _scan(
    out: Local, program: ScanProgram, given: Mapping[str, Mapping[int, Array]],
    sizes: _Sizes | None, loss: bool, bends: Bends, known: Known,
) -> None:  # fmt: skip
    run, times = out.run, out.run.times(program)
    losses = {r.name for r in run.derivation.network.loss_terms} if loss else set()
    for state in program.scan.states:
        final = out.want.get(state.final, {}).get(0)
        if final is not None:
            out.from_outside(
                f"{state.final}", state.name, times[-1], final, out.size[state.final][0]
            )
    _rows(out, {e.name for e in program.equations})
    for t in reversed(times):
        for e in reversed(program.equations):
            if e.name in losses and t == math.ceil(t):
                one = np.ones_like(run.series[e.name][t])
                out.from_outside("the loss", e.name, t, one, one)
            bar = given.get(e.name, {}).get(t)
            size = None if bar is None else np.abs(bar)
            if bar is None:
                bar, size = out.want.get(e.name, {}).get(t), out.size.get(e.name, {}).get(t)
            if bar is None:
                continue
            out.bars.setdefault(e.name, {})[t] = bar
            own = known if bar is given.get(e.name, {}).get(t) else {}
            for edge in e.edges:
                if (edge.id, t) not in own:
                    own[edge.id, t] = _given_by(out, edge, t, bar, size, sizes, bends)
                value, much = own[edge.id, t]
                out.add(edge.operand.name, run.at(edge.operand.name, t, edge.lag), value, much)
    for state in program.scan.states:
        for start in state.initial:
            at = run.before(program, start.lag)
            got = out.want.get(state.name, {}).get(at)
            if start.ref is not None and got is not None:
                like = run.series[start.ref.name][0]
                much = run.batches.fit(out.size[state.name][at], like)
                out.add(start.ref.name, 0, run.batches.fit(got, like), much)


def _rows(out: Local, names: Collection[str]) -> None:
    """What reaches sequences that other scans read whole."""
    for ref in wholes_of(out.run.derivation.network, names):
        whole = out.want.get(ref.name, {}).get(0)
        if whole is not None:
            much = dict(rows(out.run, ref, out.size[ref.name][0]))
            for t, part in rows(out.run, ref, whole):
                out.from_outside(f"rows of {ref.name}", str(ref.sequence), t, part, much[t])


def _given_by(
    out: Local, edge: Edge, t: int, bar: Array, size: Array, sizes: _Sizes | None, bends: Bends
) -> tuple[Array, Array]:
    """What an edge gives to its operand from an adjoint, and its size."""
    run, symbol = out.run, edge.adjoint
    values = run.lookup(t, {symbol: bar})
    like = values(edge.operand)
    value = run.batches.fit(run.terms(edge.pullback, values), like)
    if edge.id in bends:
        value = bends[edge.id](value, t)
    if sizes is None:
        return value, np.abs(value)
    found = _sized(sizes, edge.pullback, run.lookup(t, {symbol: size}))
    whole = np.broadcast_to(found, np.broadcast_shapes(found.shape, (1, 1)))
    return value, run.batches.fit(whole, like)


def edge_values(
    found: Local, edge: Edge, term: Term, steps: slice = slice(None)
) -> dict[int, Array]:
    """What an edge gives to its operand with another term, by the operand's time.

    What lies beyond the sequence counts as zero. ``steps`` are those that take part, in the order
    in which the scan runs.
    """
    run = found.run
    out: dict[int, Array] = {}
    times = run.times(run.derivation.program(edge.scan))
    inside = set(times)

    for t in list(times)[steps]:
        if t not in found.bars.get(edge.equation.name, {}):
            continue

        def value(s: Sym, t: int = t) -> Array:
            at = run.at(s.name, t, s.lag)
            table = found.bars if s.mark == "bar" else run.series
            line = table.get(s.name, {})
            if at in line:
                return line[at]
            like = next(iter(line.values()), None)
            if like is None or (at in inside and s.mark != "bar"):
                raise KeyError(s.name)
            return np.zeros_like(like)

        at = run.at(edge.operand.name, t, edge.lag)
        like = value(edge.operand)
        made = run.batches.fit(run.terms(term, value), like)
        if made.shape[-2:] != np.broadcast_shapes(made.shape[-2:], like.shape[-2:]):
            made = np.broadcast_to(made, like.shape)
        out[at] = out[at] + made if at in out else made
    return out
