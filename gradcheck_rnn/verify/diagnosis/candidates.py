"""Candidates for what a wrong gradient is: mutants of the derivation, run at a point.

A candidate says what it is in a sentence, and gives the gradient that code with this mistake
returns, in the user's layout. Mutants run the adjoint program with an edited edge; candidates that
are not edges of the program (`postprocessing`) change its result.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...derivation import Derivation, ScanProgram
from ...derivation.edits import NO_EDITS, Edits
from ...derivation.evaluate import Run, forward
from ...derivation.mistaken_times import BLOCKS
from ...derivation.mutants import mutants
from ...derivation.program import Edge
from ...derivation.responses import Responses
from ...errors import DimensionError
from ..harness.compare import Comparison, ModelPoint
from ..harness.plan import Case
from ..harness.sweep import Carry
from .stacked_cotangents import pulled_back, stacked_columns

__all__ = ["Bench", "Beside", "Candidate", "derived_candidates"]

#: Equations, or edits of them, pulled back, summed over steps and candidates, after which a search
#: ends: about six times what the dearest fault of the second blind corpus takes.
MOST_WORK = 150_000

Array = NDArray[Any]
Arrays = dict[str, Array]
Made = TypeVar("Made")
After = Callable[[ModelPoint, Case, Arrays], Arrays]


@dataclass(frozen=True)
class Beside:
    """Gradients that come out of a recursion, or a line, of their own with further edits.

    Attributes
    ----------
    names : frozenset of str
        The definition's names that they are gradients of.
    users : frozenset of str
        Of several arrays that hold the same values those that are meant; by default all.
    """

    edits: Edits
    names: frozenset[str]
    users: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Candidate:
    """One mistake, or several together.

    Attributes
    ----------
    says : str
        The sentence.
    edits : Edits
        What the adjoint program does differently.
    truncate : int or None
        Truncated BPTT in blocks of so many steps.
    carry : callable, optional
        What happens to the adjoints of states between steps.
    beside : tuple of Beside
        Gradients that have edits of their own.
    after : tuple of callables
        What is done to the finished gradients of the user's arrays.
    touches : frozenset of str or None
        Names of the definition whose gradients can change; None: any.
    members : tuple of str
        Ids of the single mistakes that a group of them consists of.
    same : tuple of str
        Ids of others that are the same edits of the program.
    family : str
        The id without its constant, if it has one.
    fitted : bool
        Whether a constant was fitted at a point: at another one its last digits differ.
    """

    id: str
    kind: str
    says: str
    edits: Edits = NO_EDITS
    truncate: int | None = None
    carry: Carry | None = None
    after: tuple[After, ...] = ()
    touches: frozenset[str] | None = None
    parts: int = 1
    where: str = ""
    members: tuple[str, ...] = ()
    same: tuple[str, ...] = ()
    beside: tuple[Beside, ...] = ()
    family: str = ""
    fitted: bool = False

    @property
    def is_finished_only(self) -> bool:
        """Whether the program itself is right."""
        plain = self.edits is NO_EDITS and self.truncate is None and self.carry is None
        return plain and not self.beside

    @property
    def size(self) -> int:
        """How many single changes of the program these are."""
        return self.edits.size + sum(own.edits.size for own in self.beside)

    def __and__(self, other: Candidate) -> Candidate:
        """Both mistakes at once."""
        none = self.edits is NO_EDITS and other.edits is NO_EDITS
        return Candidate(
            f"{self.id} & {other.id}", f"{self.kind} and {other.kind}",
            f"{self.says}, and {other.says}",
            NO_EDITS if none else self.edits | other.edits,
            self.truncate or other.truncate, self.carry or other.carry,
            self.after + other.after, None, self.parts + other.parts,
            beside=self.beside + other.beside, fitted=self.fitted or other.fitted,
            family=f"{self.family or self.id} & {other.family or other.id}",
        )  # fmt: skip


class Bench:
    """Runs candidates at points, and remembers what they gave.

    Attributes
    ----------
    work : int
        Equations and edits pulled back in the present search; a count and not a time, so that
        results do not depend on the machine.
    unfit : dict
        Candidates that could not be evaluated, by id, and why: a fault of the list, which is told.
    """

    def __init__(self, derivation: Derivation) -> None:
        self.derivation = derivation
        self.reach = _Reach(derivation)
        self._runs: dict[int, Run] = {}
        self._known: dict[tuple[str, int, int], Arrays] = {}
        #: By point and arrays of the user, see `effects`.
        self.responses: dict[tuple[Any, ...], Responses] = {}
        #: By the same and a candidate's identity, with the candidate: what it changes by itself.
        self.totals: dict[tuple[Any, ...], dict[int, tuple[Candidate, tuple[Array, int, int]]]] = {}
        self.held = 0  # bytes of them
        self.evaluations = 0
        self.work = 0
        self.unfit: dict[str, str] = {}

    def tried(self, candidate: Candidate, evaluate: Callable[[], Made]) -> Made | None:
        """What is made of a candidate; None, with a note, where its arrays do not go together."""
        try:
            return evaluate()
        except (ValueError, DimensionError) as error:
            self.unfit.setdefault(candidate.id, str(error))
            return None

    @property
    def spent(self) -> bool:
        """Whether the search has done all the work that it may."""
        return self.work >= MOST_WORK

    def is_at_the_end(self, candidate: Candidate) -> bool:
        """Whether a mistake changes gradients only, which no other line reads."""
        every = (candidate.edits, *(own.edits for own in candidate.beside))
        edited = [(e, e.edges) for e in every if e.size]
        return bool(edited) and all(
            own and own <= self._ends and e.size == e.size_of_terms for e, own in edited
        )

    @cached_property
    def _ends(self) -> set[str]:
        """Edges that end in a parameter or in an input."""
        made = {e.name for p in self.derivation.scans for e in p.equations}
        made |= {s.final for p in self.derivation.scans for s in p.scan.states}
        return {e.id for e in self.derivation.edges if e.operand.name not in made}

    def run(self, point: ModelPoint) -> Run:
        """The derivation's forward pass at a point."""
        key = id(point)
        if key not in self._runs:
            columns = point.columns(point.values)
            self._runs[key] = forward(self.derivation, columns, point.sizes, point.lengths)
        return self._runs[key]

    def gradients(self, candidate: Candidate, comparison: Comparison, case: Case) -> Arrays:
        """The gradients of the user's arrays that code with this mistake returns."""
        point = comparison.point
        key = (candidate.id, id(point), id(case))
        if key not in self._known:
            self.evaluations += 1
            for each, found in self._core(candidate, comparison, case):
                for change in candidate.after:
                    found = change(point, each, found)
                self._known[candidate.id, id(point), id(each)] = found
        return self._known[key]

    def own_error(self, comparison: Comparison, case: Case) -> Arrays:
        """How far rounding carries the program's right gradients from the true ones, by entry."""
        point = comparison.point
        key = ("", id(point), id(case))
        if key not in self._known:
            cases = list(point.cases)
            run = self.run(point)
            self.work += sum(len(run.times(p)) * len(p.equations) for p in self.derivation.scans)
            made = pulled_back(run, point, stacked_columns(point, cases), len(cases))
            for k, each in enumerate(cases):
                found = self._pull(point, {n: a[k] for n, a in made.items()})
                with np.errstate(all="ignore"):
                    self._known["", id(point), id(each)] = {
                        r.user: np.nan_to_num(np.abs(found[r.user] - r.want), posinf=0.0)
                        for r in comparison.records if r.case is each
                    }  # fmt: skip
        return self._known[key]

    def forget(self, *points: ModelPoint, also: Iterable[str] = ()) -> None:
        """Drop what candidates gave at these points, and what the named candidates gave."""
        ids, names = {id(s) for s in points}, set(also)
        self._known = {
            k: a for k, a in self._known.items() if k[1] not in ids and k[0] not in names
        }

    def _core(
        self, candidate: Candidate, comparison: Comparison, case: Case
    ) -> Iterator[tuple[Case, Arrays]]:
        """Gradients before `after`: of one case, or of all at once where that costs the same."""
        point = comparison.point
        if candidate.is_finished_only:
            yield case, {r.user: r.want for r in comparison.records if r.case is case}
            return
        cases = [case] if candidate.after else list(point.cases)
        given = stacked_columns(point, cases)
        run = self.run(point)
        self.work += sum(len(run.times(p)) * len(p.equations) for p in self.derivation.scans)
        if candidate.carry is not None:
            loss = None if given else np.ones(1)
            made = point.oracle.gradients(given, loss=loss, carry=candidate.carry).of
        else:
            made = pulled_back(
                run, point, given, len(cases),
                edits=candidate.edits, truncate=candidate.truncate,
            )  # fmt: skip
        apart: list[tuple[Beside, Arrays]] = []
        for own in candidate.beside:
            edits = candidate.edits | own.edits
            more = pulled_back(
                run, point, given, len(cases), edits=edits, truncate=candidate.truncate
            )
            apart.append((own, more))
            if not own.users:
                made = {**made, **{n: more[n] for n in own.names if n in more}}
        for k, each in enumerate(cases):
            found = self._pull(point, {n: a[k] for n, a in made.items()})
            for own, more in apart:
                for user in own.users:
                    held = {n: (more if n in own.names else made)[n][k] for n in made}
                    found[user] = point.fitted.pull(user, held)
            yield each, found

    @staticmethod
    def _pull(point: ModelPoint, gradients: Mapping[str, Array]) -> Arrays:
        return {u: point.fitted.pull(u, gradients) for u in point.fitted.arguments}


def derived_candidates(
    derivation: Derivation,
    edges: Sequence[Edge] | None = None,
    loops: Collection[str] | None = None,
    blocks: Sequence[int] = (),
) -> list[Candidate]:
    """All single mistakes of the mutant grammar, and truncations at more depths than it has.

    Parameters
    ----------
    edges : sequence of Edge, optional
        Those that are edited, by default all.
    loops : collection of str, optional
        Scans, states and outputs whose loops are edited, by default all.
    blocks : sequence of int
        Steps of blocks that are tried besides the usual ones.
    """
    reach = _Reach(derivation)
    found = [
        Candidate(m.id, m.kind, m.says, m.edits, touches=reach.of(m.edits), where=m.where)
        for m in mutants(
            derivation, edges, loops, [*BLOCKS, *(k for k in blocks if k not in BLOCKS)]
        )
    ]
    for program in derivation.scans:
        scan = program.scan
        if not scan.states or (loops is not None and scan.name not in loops):
            continue
        for k in dict.fromkeys([3, 4, 6, 7, 8, 10, 12, 16, 20, *blocks]):
            found.append(
                Candidate(
                    f"carry:{scan.name}:{k}", "carry",
                    f"the carry of scan {scan.name} cut after {k} steps",
                    Edits(carry={scan.name: k}),
                )
            )  # fmt: skip
        found += _ignored(derivation, program, loops)
    found += [
        Candidate(
            f"truncated:{k}", "truncated", _truncated(k), truncate=k
        )
        for k in dict.fromkeys([1, 2, 3, 4, 5, 8, 10, 16, 20, *blocks])
    ]  # fmt: skip
    return found


def _ignored(
    derivation: Derivation, program: ScanProgram, loops: Collection[str] | None
) -> Iterator[Candidate]:
    """A step function that ignores the adjoint it is handed for a state."""
    for state in program.scan.states:
        if loops is not None and state.name not in loops:
            continue
        reads = [e.id for e in derivation.readers(state.name) if e.kind == "state"]
        first: dict[str, tuple[int, ...]] = dict.fromkeys(reads, (1,))
        if not reads:
            continue
        yield Candidate(
            f"not-carried:{state.name}", "ignored",
            f"nothing is carried through the state {state.name} from step to step (only its start "
            "receives a gradient)", Edits(only_steps=first),
        )  # fmt: skip
        if any(r.state == state.name for r in derivation.network.outputs.values()):
            yield Candidate(
                f"ignored:{state.name}", "ignored",
                f"the adjoint δ{state.name} that a step receives, from the next step or as the "
                f"cotangent of the final state, is ignored: nothing is carried through the state "
                f"{state.name}",
                Edits(only_steps=first, lost_finals=frozenset({state.name})),
            )  # fmt: skip


class _Reach:
    """Which gradients an edit can change, with recursion in time and without."""

    def __init__(self, derivation: Derivation) -> None:
        self.derivation = derivation
        self._known: dict[str, frozenset[str]] = {}
        self._started: dict[str, set[str]] = {}
        for p in derivation.scans:
            for s in p.scan.states:
                refs = {i.ref.name for i in s.initial if i.ref is not None}
                self._started.setdefault(s.name, set()).update(refs)
        self._made = {
            e.name: {edge.operand.name for edge in e.edges}
            for p in derivation.scans for e in p.equations
        }  # fmt: skip

    def of(self, edits: Edits) -> frozenset[str] | None:
        """Names that the backward pass reaches from the edited edges; None if there are none."""
        loop = (
            edits.carry, edits.lost_finals, edits.zero_starts, edits.wrapped_starts,
            edits.lost_outputs, edits.missed, edits.scaled_outputs, edits.output_of_step,
            edits.repeated_finals, edits.taken_outputs, edits.kept, edits.turned,
            edits.held_starts, edits.shifted_outputs, edits.first_finals, edits.passed,
            edits.remainders, edits.unjoined, edits.masked_outputs,
        )  # fmt: skip
        if any(loop):
            return None
        names: set[str] = set()
        for state in edits.lost_starts:
            for start in self._started.get(state, ()):
                names |= self.upstream(start)  # it may be the last state of another scan
        for identity in edits.edges | set(edits.moved):
            names |= self.upstream(self.derivation.edge(identity).operand.name)
        for name in edits.permuted:
            names |= self.upstream(name)
        return frozenset(names)

    def upstream(self, name: str) -> frozenset[str]:
        """What the adjoint of a name flows on to."""
        if name in self._known:
            return self._known[name]
        handed_on = self.derivation.network.handed_on
        seen: set[str] = set()
        stack: list[str] = [name]
        while stack:
            current = stack.pop()
            if current in seen:
                continue
            seen.add(current)
            stack += self._started.get(current, ())
            stack += self._made.get(current, ())
            if current in handed_on:
                stack.append(handed_on[current])
        self._known[name] = frozenset(seen)
        return self._known[name]


def plausible(candidates: Iterable[Candidate], wrong: set[str]) -> list[Candidate]:
    """Candidates that can change everything that is wrong, the most specific first."""
    good = [c for c in candidates if c.touches is None or wrong <= c.touches]
    return sorted(good, key=lambda c: len(c.touches) if c.touches is not None else 10**6)


def _truncated(block: int) -> str:
    if block == 1:
        return "nothing is carried from a step to the step before"
    return f"truncated BPTT in blocks of {block} steps"
