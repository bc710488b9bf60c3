"""What edits of the adjoint program change, without running the program again for each of them.

The adjoint program is linear in its adjoints. So the map from every unit of every adjoint, at every
time, to all adjoints and gradients behind it is made once, by one stacked run. An edit then costs
the evaluation of the edited terms alone: what such a term gives more than the derived one is put in
where the edge ends, and the map tells where it arrives. Edited terms that lie behind one another
are taken in the order of the program, each reading the adjoints as the ones before have left them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..calculus.terms import Sym, Term, has_bar
from .editing import Adjoints, read_wrongly
from .edits import NO_EDITS, Edits
from .evaluate import Run, adjoints
from .numeric_terms import TermEvaluator
from .program import ScanProgram
from .walk import EditedValues, Known, Walk
from .wholes import wholes_of

__all__ = ["Responses"]

Array = NDArray[Any]
#: A name of the definition at a time.
Node = tuple[str, int]


class _Remembering(TermEvaluator):
    """Evaluates every term once for the same values.

    Terms are known by identity and kept: to compare equal ones takes longer than to evaluate them.
    """

    def __call__(self, term: Term, lookup: Any) -> Array:
        if isinstance(term, Sym):
            return lookup(term)
        known = lookup.moving if has_bar(term) else lookup.still
        found = known.get(id(term))
        if found is None:
            found = known[id(term)] = term, super().__call__(term, lookup)
        return found[1]


class Responses:
    """The adjoints of one run for some cotangents, and what edits change in the gradients.

    Parameters
    ----------
    run : Run
        The forward pass.
    cotangents : mapping
        Output → (T, K, …) or (K, …), as `bptt` takes several at once.
    cases : int
        K, how many cotangents there are; 1 for a loss.
    width : int
        Numbers of a flattened gradient.
    flatten : callable
        Gradients by name, with an axis of ``count`` in front, → (count, width).
    only : collection of str, optional
        Equations in whose adjoints edits change something; by default all.
    last : str
        The last scan of the backward pass that matters; by default all do.
    edits, truncate : Edits, int, optional
        What the program does differently already.

    Attributes
    ----------
    size : int
        How many units all adjoints have: the map has ``size`` rows and ``size + width`` columns.
    """

    def __init__(
        self,
        run: Run,
        cotangents: Mapping[str, Array],
        cases: int,
        width: int,
        flatten: Callable[[Mapping[str, Mapping[int, Array]], int], Array],
        *,
        only: Collection[str] | None = None,
        last: str = "",
        edits: Edits = NO_EDITS,
        truncate: int | None = None,
    ) -> None:
        self.run, self.cotangents, self.cases, self.width = run, cotangents, cases, width
        self.only = only
        self._program = partial(adjoints, run, edits=edits, truncate=truncate, last=last)
        self.derivation = run.derivation
        self.nodes: dict[Node, slice] = {}
        self.shapes: dict[Node, tuple[int, ...]] = {}
        self.size = 0
        for name, t in self._all_nodes():
            self._add_node(name, t)
        self.terms = _Remembering(run.sizes, run.terms.dtype)
        self.terms.batch_axis = run.batches.axis
        self._still: dict[tuple[str, int], Known] = {}
        self._untouched: dict[tuple[str, int], EditedValues] = {}
        self._shares: tuple[Adjoints, Adjoints | None] | None = None
        self.mixed = bool(self.derivation.network.loss_terms and cotangents)
        with np.errstate(all="ignore"):
            self.table = self._map(flatten)
            self.bars = self._bars()
        self.direct = self._places(flatten)

    def _all_nodes(self) -> Iterator[Node]:
        for program in self.derivation.scans:
            for t in self.run.times(program):
                for e in program.equations:
                    if e.edges:  # what reads nothing hands nothing on, and may be one for all
                        yield e.name, t
            for ref in wholes_of(self.derivation.network, {e.name for e in program.equations}):
                if ref.name in self.run.series:
                    yield ref.name, 0
            for state in program.scan.states:
                yield state.final, 0
                for start in state.initial:
                    yield state.name, self.run.before(program, start.lag)

    def _add_node(self, name: str, t: int) -> None:
        if (name, t) not in self.shapes:
            shape = self.shapes[name, t] = self.run.series[name][t].shape
            if self.only is None or name in self.only:
                units = int(np.prod(shape))
                self.nodes[name, t] = slice(self.size, self.size + units)
                self.size += units

    def _map(self, flatten: Any) -> Array:
        seeds: dict[str, dict[int, Array]] = {}
        for (name, t), rows in self.nodes.items():
            unit = np.zeros((self.size, rows.stop - rows.start))
            unit[rows] = np.eye(rows.stop - rows.start)
            seeds.setdefault(name, {})[t] = unit.reshape(self.size, *self.shapes[name, t])
        silent = self._program({})
        sums = self._program({}, seeds=seeds)
        table = np.zeros((self.size, self.size + self.width))
        for node, rows in self.nodes.items():
            table[:, rows] = self._flat(node, sums, silent, self.size)
        names = [r.name for r in self.derivation.differentiated()]
        moved = {
            n: {t: a - silent.get(n, {}).get(t, 0.0) for t, a in sums.get(n, {}).items()}
            for n in names
        }
        table[:, self.size :] = flatten(moved, self.size)
        return table

    def _flat(self, node: Node, sums: Any, silent: Any, count: int) -> Array:
        """The adjoint of a node without that of the loss, (count, units)."""
        name, t = node
        shape = self.shapes[node]
        found = sums.get(name, {}).get(t)
        if found is None:
            return np.zeros((count, int(np.prod(shape))))
        less = silent.get(name, {}).get(t)
        found = found if less is None else found - less
        return np.broadcast_to(found, (count, *shape)).reshape(count, -1)

    def _bars(self) -> dict[Node, Array]:
        sums = self._program(self.cotangents)
        less = self._program({}) if self.mixed else {}
        out = {}
        for node in self.shapes:
            if node[1] in sums.get(node[0], {}):
                flat = self._flat(node, sums, less, self.cases)
                out[node] = flat.reshape(self.cases, *self.shapes[node])
        return out

    def _places(self, flatten: Any) -> dict[Node, tuple[Array, Array, Array]]:
        """Where the entries of a parameter or input are in a flattened gradient."""
        out = {}
        for ref in self.derivation.differentiated():
            steps = [0] if ref.axis is None else range(1, self.run.steps[ref.axis] + 1)
            for t in steps:
                shape = self.run.series[ref.name][t].shape
                numbered = np.arange(1.0, 1.0 + np.prod(shape)).reshape(1, *shape)
                row = flatten({ref.name: {t: numbered}}, 1)[0]
                at = np.flatnonzero(row)
                source = np.abs(row[at]).astype(int) - 1
                out[ref.name, t] = at + self.size, source, np.sign(row[at])
        return out

    def part(self, name: str, t: int, source: str) -> Array | None:
        """One share of an adjoint, as `Adjoints.parts` has it."""
        if self._shares is None:
            with np.errstate(all="ignore"):
                whole, silent = Adjoints(shared=True), Adjoints(shared=True)
                self._program(self.cotangents, shares=whole)
                if self.mixed:
                    self._program({}, shares=silent)
            self._shares = whole, silent if self.mixed else None
        whole_, silent_ = self._shares
        found = whole_.parts(name, t).get(source)
        less = None if silent_ is None else silent_.parts(name, t).get(source)
        return found if found is None or less is None else found - less

    def outside(self, name: str, t: int) -> Array | None:
        """What the cotangents of outputs give to an adjoint."""
        self.part(name, t, "")
        assert self._shares is not None
        return self._shares[0].outside(name, t)

    def still(self, scan: str, t: int) -> Known:
        """What has been evaluated without adjoints at a time of a scan."""
        return self._still.setdefault((scan, t), {})

    def untouched(self, program: ScanProgram, t: int) -> EditedValues:
        """Values at a time, with the adjoints of the derived program."""
        key = (program.scan.name, t)
        if key not in self._untouched:
            look = self.lookup(program, t, self.bar)
            self._untouched[key] = EditedValues(look, self.still(*key))
        return self._untouched[key]

    def bar(self, name: str, t: int) -> Array:
        found = self.bars.get((name, t))
        return np.zeros(self.shapes[name, t]) if found is None else found

    def lookup(
        self,
        program: ScanProgram,
        t: int,
        bar: Callable[[str, int], Array],
        edits: Edits = NO_EDITS,
    ) -> Callable[[Sym], Array]:
        """Values and adjoints at a time; what is read from before a start that has none is zero."""
        series = self.run.series

        def value(s: Sym) -> Array:
            if s.mark:
                return bar(s.name, t)
            found: Array = series[s.name][self.run.at(s.name, t, s.lag)]
            return found

        return read_wrongly(self.run, program, edits, t, value)

    def change(
        self, edits: Edits, truncate: int | None = None, base: Array | None = None
    ) -> tuple[Array, int, int]:
        """What edits change in adjoints and gradients, (cases, size + width).

        Parameters
        ----------
        base : array, optional
            Changes (…, cases, size + width) by other edits, all of them earlier in the program.
            The result then is what these edits change besides.

        Returns
        -------
        array, int, int
            And the first and the last place in the order of the program where something changes.
        """
        walk = Walk(self, edits, truncate, base)
        with np.errstate(all="ignore"):
            walk.whole()
        return walk.total, walk.first, walk.last
