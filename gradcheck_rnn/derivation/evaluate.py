"""Run a derivation on arrays: forward values, BPTT by either form (RTRL: `rtrl`).

For proofs (exact field elements), mutants and dynamics; no code is generated for these.
Arrays are columns ``(n, B)``; sequences have time first. A network with a matrix for every
sequence keeps the batch in front, ``(B, n, 1)`` and ``(B, n, m)``: what goes in and comes out has
it last, as everywhere (see `language.stacks`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from fractions import Fraction
from functools import partial
from typing import Any, cast

import numpy as np

from ..calculus.terms import Sym, Term
from ..errors import DimensionError, UsageError
from ..language.loops import count_of
from ..language.network import Ref, State
from .batches import Batches
from .contributions import (
    Form,
    add_others,
    add_shares,
    begin_step,
    contribution,
    cotangents_inward,
    finish_step,
    moved_seeds,
    read,
)
from .editing import (
    Adjoints,
    add_finals,
    cotangents_taken,
    in_order,
    is_cut,
    pass_by,
    read_wrongly,
    reads_others,
    split_names,
    target_time,
)
from .edits import NO_EDITS, Edits
from .numeric_terms import TermEvaluator
from .plain_edges import PlainEdges
from .program import Derivation, Edge, ScanProgram
from .weight_products import WeightProducts
from .wholes import add_rows, stacked, wholes_read

__all__ = ["Run", "adjoints", "bptt", "forward", "gathered"]

Array = Any
Values = Callable[[Sym], Array]


class Run:
    """The forward pass of a derivation on given arrays.

    Attributes
    ----------
    series : dict
        Name → {t: array}, t = 1…T, states also before the start; what does not move has t = 0.
    steps : dict
        Time axis → number of steps.
    substeps : dict
        Name made by a scan whose steps have substeps → how many. The substeps of step t lie at
        t − 1 + 1/n, …, t, so that what others read of them is at t.
    """

    def __init__(
        self,
        derivation: Derivation,
        values: Mapping[str, Array],
        sizes: Mapping[str, int],
        lengths: Mapping[str, int] | None = None,
        evaluator: type[TermEvaluator] = TermEvaluator,
    ) -> None:
        self.derivation = derivation
        first = np.asarray(next(iter(values.values())))
        self.dtype = np.result_type(*(np.asarray(v).dtype for v in values.values()))
        self.steps = dict(lengths or {})
        self.substeps: dict[str, int] = {}
        for scan in (p.scan for p in derivation.scans):
            if (count := count_of(scan.substeps)) > 1:
                self.substeps.update(dict.fromkeys([e.name for e in scan.equations], count))
        self._fractions: dict[tuple[str, int], list[int]] = {}  # times of substeps
        self.series: dict[str, dict[int, Array]] = {}
        network = derivation.network
        self.batches = Batches(network)
        for ref in (*network.parameters.values(), *network.inputs.values()):
            if ref.name not in values:
                raise UsageError(f"network {network.name!r}: no array for {ref.kind} {ref.name!r}")
            array = self.inward(ref, values[ref.name])
            if ref.axis is None:
                self.series[ref.name] = {0: array}
            else:
                if self.steps.setdefault(ref.axis, len(array)) != len(array):
                    raise DimensionError(
                        f"network {network.name!r}: {ref.name!r} has {len(array)} steps along "
                        f"{ref.axis!r}, others have {self.steps[ref.axis]}"
                    )
                self.series[ref.name] = {t + 1: a for t, a in enumerate(array)}
        self.sizes = {**sizes, **self.steps}
        self.terms = evaluator(self.sizes, self.dtype if first.dtype != object else object)
        self.terms.batch_axis = self.batches.axis
        batched = [next(iter(r.values())) for n, r in self.series.items() if self._batched(n)]
        self.batch = max([a.shape[self.batches.axis] for a in batched] or [1])
        for program in derivation.scans:
            self._forward(program)

    def inward(self, ref: Ref, array: Array) -> Array:
        """An array of the caller as the terms take it."""
        return self.batches.inward(ref, array)

    def outward(self, ref: Ref, array: Array) -> Array:
        """An array of the terms as the caller takes it."""
        return self.batches.outward(ref, array)

    def _batched(self, name: str) -> bool:
        ref = self.derivation.network.inputs.get(name)
        return ref is not None and ref.shape.batch

    def times(self, program: ScanProgram) -> Sequence[int]:
        """The steps of a scan in the order in which it runs; a scan without axis has step 0.

        Where steps have substeps it is these, at fractions of a step.
        """
        axis = program.scan.axis
        if axis is None:
            return range(1)
        if axis not in self.steps:
            raise UsageError(f"nothing tells the number of steps along {axis!r}; give lengths")
        n = self.steps[axis]
        if (count := count_of(program.scan.substeps)) > 1:
            if (axis, count) not in self._fractions:
                self._fractions[axis, count] = [_time(k, count) for k in range(1, n * count + 1)]
            return self._fractions[axis, count]
        return range(n, 0, -1) if program.scan.reverse else range(1, n + 1)

    def before(self, program: ScanProgram, lag: int) -> int:
        """The time index of a state's start at ``lag`` steps before the scan's first step."""
        if (count := count_of(program.scan.substeps)) > 1:
            return _time(1 - lag, count)
        return self.times(program)[0] + lag if program.scan.reverse else 1 - lag

    def at(self, name: str, t: int, lag: int | None) -> int:
        """The time at which a value lies that an equation at time t reads at a lag."""
        if lag is None or not self.substeps:
            return 0 if lag is None else t - lag
        count = self.substeps.get(name)
        if count is None:  # of the step that a substep is in
            return math.ceil(t) - lag
        return t - _time(lag, count) if lag else t

    def start(self, program: ScanProgram, state: State, ref: Ref | None) -> Array:
        if ref is not None:
            # A trained start is the same for all sequences; the state it starts is not.
            return self.batches.spread(self.series[ref.name][0], self.batch)
        from .to_terms import lower_dim

        shape = self.batches.shape(state, lambda d: self.terms.size(lower_dim(d)), self.batch)
        if self.terms.dtype != object:
            return self.terms.filled(shape, 0)
        # Objects compute in their own arithmetic, and so must the zeros they meet.
        sample = next(a.flat[0] for line in self.series.values() for a in line.values() if a.size)
        return np.full(shape, 0 * sample, dtype=object)

    def lookup(self, t: int, also: Mapping[Sym, Array] | None = None) -> Callable[[Sym], Array]:
        """Values of the variables of an equation at time t."""
        series, substeps = self.series, self.substeps

        def value(s: Sym) -> Array:
            name, lag, mark, _ = s.plain
            if also is not None and mark and s in also:
                return also[s]
            if substeps:
                return series[name][self.at(name, t, lag)]
            return series[name][0 if lag is None else t - lag]

        return value

    def beside(self, t: int, bar: Array, name: str) -> Callable[[Sym], Array]:
        """Values of the variables of an equation at time t, and the adjoint of it, by its name."""
        plain = self.lookup(t)

        def value(s: Sym) -> Array:
            own, _, mark, _ = s.plain
            return bar if mark == "bar" and own == name else plain(s)

        return value

    def stepwise(self, term: Term, name: str = "") -> Callable[[int, Array], Array]:
        """A term as a function of the time and the adjoint of an equation, by its name."""
        series = None if self.substeps else self.series
        return self.terms.stepwise(term, series, partial(self.beside, name=name), name)

    def computed(self, name: str, t: int) -> None:
        """Called with every start and every value of an equation, before anything reads it."""

    def _forward(self, program: ScanProgram) -> None:
        scan = program.scan
        for ref in wholes_read(scan):
            self.series[ref.name] = {0: stacked(self, ref)}
        for e in program.equations:
            self.series.setdefault(e.name, {})
        for state in scan.states:
            for start in state.initial:
                at = self.before(program, start.lag)
                self.series[state.name][at] = self.start(program, state, start.ref)
                self.computed(state.name, at)
        times = self.times(program)
        made = [(e.name, self.series[e.name], self.stepwise(e.rhs)) for e in program.equations]
        for t in times:
            for name, line, function in made:
                line[t] = function(t, None)
                self.computed(name, t)
        for state in scan.states:
            self.series[state.final] = {0: self.series[state.name][times[-1]]}

    def output(self, label: str) -> Array:
        """An output of the network: a sequence with time first, or one array."""
        ref = self.derivation.network.outputs[label]
        held = self.series[ref.name]
        if ref.axis is None:
            return self.outward(ref, held[0])
        steps = range(1, self.steps[ref.axis] + 1)
        return np.stack([self.outward(ref, held[t]) for t in steps])


def _time(k: int, count: int) -> int:
    """The time of a substep, an integer where it is the last one of a step.

    Fractions compare and add with integers and are equal to them as keys.
    """
    t = Fraction(k, count)
    return t.numerator if t.denominator == 1 else cast(int, t)


def forward(
    derivation: Derivation,
    values: Mapping[str, Array],
    sizes: Mapping[str, int],
    lengths: Mapping[str, int] | None = None,
) -> Run:
    """Run the equations of a derivation; see `Run`."""
    return Run(derivation, values, sizes, lengths)


def bptt(
    run: Run,
    cotangents: Mapping[str, Array],
    *,
    form: Form = "matrix",
    truncate: int | None = None,
    edits: Edits = NO_EDITS,
    seeds: Mapping[str, Mapping[int, Array]] | None = None,
    weights: Callable[[Run], WeightProducts] | None = None,
) -> dict[str, Array]:
    """Gradients by the adjoint program.

    Parameters
    ----------
    cotangents : mapping
        Output label → ∂L/∂output, shaped like the output; an output left out has none. Several
        at once have an axis before the last two, as their gradients then have.
    form : {"matrix", "kronecker"}
        Pull back by the matrix rules, or multiply by the transposed Kronecker Jacobians.
    truncate : int, optional
        Cut the recursion between blocks of this many steps, as truncated BPTT does.
    edits : Edits
        What to do differently (mutants).
    seeds : mapping, optional
        Name → {t: array} that is added to the adjoints of these names.
    weights : callable, optional
        Makes from the run what takes Σ δ vᵀ of weights otherwise; not with edits.

    Returns
    -------
    dict
        Name → gradient of every parameter, input and initial state, shaped like its array.
        What the loss does not depend on has an explicit zero.
    """
    sums = adjoints(
        run, cotangents, form=form, truncate=truncate, edits=edits, seeds=seeds, weights=weights
    )
    return gathered(run, sums)


def gathered(
    run: Run, sums: Mapping[str, Mapping[int, Array]], names: Collection[str] | None = None
) -> dict[str, Array]:
    """Gradients from the adjoints of all names, as `bptt` returns them; all, or those named."""
    out: dict[str, Array] = {}
    for ref in run.derivation.differentiated():
        if names is not None and ref.name not in names:
            continue
        line = sums.get(ref.name, {})
        if ref.axis is None:
            like = run.series[ref.name][0]
            out[ref.name] = line[0] if 0 in line else np.zeros_like(like)
        else:
            steps = range(1, run.steps[ref.axis] + 1)
            parts = [line.get(t, np.zeros_like(run.series[ref.name][t])) for t in steps]
            # Cotangents may have axes in front; what they do not reach has none.
            out[ref.name] = np.stack(np.broadcast_arrays(*parts))
        out[ref.name] = run.outward(ref, out[ref.name])
    return out


def adjoints(
    run: Run,
    cotangents: Mapping[str, Array],
    *,
    form: Form = "matrix",
    truncate: int | None = None,
    edits: Edits = NO_EDITS,
    seeds: Mapping[str, Mapping[int, Array]] | None = None,
    shares: Adjoints | None = None,
    last: str = "",
    weights: Callable[[Run], WeightProducts] | None = None,
) -> dict[str, dict[int, Array]]:
    """Adjoints of all names at all times by the adjoint program: name → {t: array}.

    Takes what `bptt` takes. What does not move with time has t = 0; where the loss does not
    depend on something there is no entry. ``seeds`` are added to the adjoints of some names;
    in ``shares`` what an adjoint is the sum of is kept by source. Behind the scan ``last`` nothing
    is computed.
    """
    network = run.derivation.network
    for label in cotangents:
        if label not in network.outputs:
            raise UsageError(f"network {network.name!r} has no output {label!r}")
    more: list[tuple[str, int, Array]] = []
    if edits.moved or edits.unjoined:
        programs = [run.derivation.program(n) for n in edits.unjoined]
        states = frozenset(s.name for p in programs for s in p.scan.states)
        within = edits | Edits(lost_finals=states)
        first = _summed(run, cotangents, form, truncate, within, seeds or {}, (), None, last, None)
        more = list(moved_seeds(run, first, edits))
    return _summed(
        run, cotangents, form, truncate, edits, seeds or {}, more, shares, last, weights
    ).sums


def _summed(
    run: Run,
    cotangents: Mapping[str, Array],
    form: Form,
    truncate: int | None,
    edits: Edits,
    seeds: Mapping[str, Mapping[int, Array]],
    more: Iterable[tuple[str, int, Array]],
    shares: Adjoints | None,
    last: str,
    weights: Callable[[Run], WeightProducts] | None,
) -> Adjoints:
    """All sums of one backward pass, with ``more`` (name, time, array) added besides."""
    network = run.derivation.network
    sums = shares
    if sums is None:
        split = split_names(run.derivation, edits) if edits.shares else None
        sums = Adjoints(bool(edits.shares), run.terms.summed, split)
    for name, line in seeds.items():
        for t, a in line.items():
            sums.add(name, t, a)
    for name, t, a in more:
        sums.add(name, t, a)
    for label, given in cotangents_taken(edits, cotangents):
        for t, g in cotangents_inward(run, edits, label, given):
            sums.add(network.outputs[label].name, t, g, f"g_{label}")
    for program in reversed(run.derivation.scans):
        products = weights(run) if weights and edits is NO_EDITS and form == "matrix" else None
        _backward(run, program, sums, form, truncate, edits, products)
        if program.scan.name == last:
            return sums
    add_rows(run, sums, network.inputs)
    return sums


def _backward(
    run: Run,
    program: ScanProgram,
    sums: Adjoints,
    form: Form,
    truncate: int | None,
    edits: Edits,
    products: WeightProducts | None,
) -> None:
    network = run.derivation.network
    scan = program.scan
    times = run.times(program)
    losses = {r.name for r in network.loss_terms}
    add_finals(sums, program, times, edits)
    add_rows(run, sums, {e.name for e in program.equations})
    order, permuted, delayed = in_order(program, edits)
    waiting = {edge.id for some in delayed.values() for edge in some}
    off = form != "matrix" or products is not None
    plain = PlainEdges(run, program, sums, edits, truncate, waiting, off=off)
    steps = list(enumerate(times, start=1))
    for step, t in steps if scan.name in edits.turned else reversed(steps):
        if edits.leaves_out and edits.lacks(scan.name, step, len(times)):
            pass_by(run, sums, program, t)
            continue
        begin_step(run, program, edits, sums, t)
        late: list[tuple[Edge, Term]] = []
        for e in order:
            if permuted and e is permuted[0]:
                sums.permute({g.name: edits.permuted[g.name] for g in permuted}, t)
            if e.name in losses and t == math.ceil(t):
                sums.add(e.name, t, np.ones_like(run.series[e.name][t]), "loss")
            for edge in delayed.get(e.name, ()):
                add_others(run, program, edge, edits.terms[edge.id], edits, sums, t)
            bar = sums.get(e.name, t)
            if bar is None:
                continue
            if not (rest := plain.give(e, t, bar)):
                continue
            values = run.beside(t, bar, e.name)
            if edits is not NO_EDITS:
                values = read_wrongly(run, program, edits, t, values)
            for edge, term in edits.contributing(rest, step, len(times), waiting):
                where = target_time(run, edits, edge, t, times)
                if edge.kind == "state" and is_cut(run, program, edits, truncate, step, t, where):
                    continue
                if products is not None and products.took(edge, values, sums):
                    continue
                if edge.kind != "equation" and edits.rewrites(edge) and reads_others(edge, term):
                    late.append((edge, term))
                    continue
                seen = read(run, program, edge, term, edits, sums, t, values)
                given = contribution(run, edge, term, seen, bar, form, edits.rows.get(edge.id))
                index = 0 if edge.lag is None else where
                if sums.shared:
                    add_shares(run, edge, term, edits, sums, t, index, seen, given)
                else:
                    sums.add(edge.operand.name, index, given)
        finish_step(run, program, late, edits, sums, t)
    if products is not None:
        products.add_to(sums)
    for state in scan.states:
        for start in state.initial:
            got = sums.get(state.name, run.before(program, start.lag))
            if start.ref is not None and got is not None and state.name not in edits.lost_starts:
                like = run.series[start.ref.name][0]
                sums.add(start.ref.name, 0, run.batches.fit(got, like))
