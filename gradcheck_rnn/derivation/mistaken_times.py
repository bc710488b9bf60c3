"""Adjoints and contributions at another time: a step beside, reversed, at the border of a block.

What an edge gives to something whose adjoint never comes back to the edge can be put at another
time without changing anything else: shifts and orders of what is handed to inputs and to values
that are computed for all steps at once. In a loop only its first step and the borders of blocks
can differ from the others.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from ..calculus.printing.text import to_text
from ..calculus.terms import Hadamard, Num, Plus, Scale, Term, has_bar
from .edits import Edits, Move, Rows
from .mistaken_lines import without_steps
from .program import Derivation, Edge, EquationProgram, ScanProgram
from .subterms import occurrences

__all__ = ["BLOCKS", "block_mistakes", "mistaken_times"]

#: Steps of a block, as far as they are tried whatever is wrong, and of the longest sequence.
BLOCKS, LONGEST = (2, 3, 4, 5), 257
Loop = tuple[str, str, str, str, Edits]
#: Which steps are given something of a sequence that is read whole.
STEPS_GIVEN: dict[Rows, str] = {
    ("only", -1): "for the last step alone",
    ("only", 1): "for the first step alone",
    ("not", -1): "for all steps but the last",
    ("not", 1): "for all steps but the first",
    ("goes", 0): "in reversed order of time",
    ("goes", 1): "one step too late",
    ("goes", -1): "one step too early",
}


def mistaken_times(
    derivation: Derivation, edges: Sequence[Edge], loops: Collection[str] | None = None
) -> Iterator[Loop]:
    """Kind, detail, where, words and edits, of edges and loops or of those named."""
    flows = _Flows(derivation)
    ends: dict[tuple[str, str, int], list[Edge]] = {}
    wholes: dict[str, list[Edge]] = {}
    for edge in edges:
        if edge.kind in ("input", "sequence") and edge.lag is not None:
            ends.setdefault((edge.scan, edge.operand.name, edge.lag), []).append(edge)
        if edge.kind == "state":
            yield from _first_step(derivation, edge)
        if edge.operand.name in derivation.network.wholes:
            wholes.setdefault(edge.operand.name, []).append(edge)
    for some in wholes.values():
        yield from _rows(derivation, some)
    for sequence in {derivation.network.wholes[name].sequence: name for name in wholes}:
        yield from _handed_back(derivation, str(sequence), edges)
    for some in ends.values():
        yield from _beside(flows, some)
    for program in derivation.scans:
        if loops is None or program.scan.name in loops:
            yield from _delays(flows, program)
            yield from _whole_start(derivation, program)
        for e in program.equations:
            if loops is None or e.name in loops:
                yield from _adjoint_at_another_time(flows, program, e)
    for label, ref in derivation.network.outputs.items():
        if ref.axis is not None and (loops is None or label in loops):
            yield from _outputs(label)
        elif ref.state is not None and (loops is None or ref.state in loops):
            words = f"the cotangent of the final state {ref.state} is given to the first step"
            edits = Edits(first_finals=frozenset({ref.state}))
            yield "final-at-first", ref.state, ref.state, words, edits


def _rows(derivation: Derivation, some: Sequence[Edge]) -> Iterator[Loop]:
    """What the steps of a sequence that is read whole are given, by one reading or by all."""
    sequence = derivation.network.wholes[some[0].operand.name].sequence
    for lot in [*([e] for e in some), *([some] if len(some) > 1 else [])]:
        whole = to_text(Plus(*(e.pullback for e in lot)) if len(lot) > 1 else lot[0].pullback)
        for (which, k), words in STEPS_GIVEN.items():
            yield (
                "rows", f"{which}{k}:{len(lot)}", lot[0].id,
                f"{_bar(lot[0])} with {whole} {words}, of those of {sequence}",
                Edits(rows=dict.fromkeys([e.id for e in lot], (which, k))),
            )  # fmt: skip


def _handed_back(derivation: Derivation, name: str, edges: Sequence[Edge]) -> Iterator[Loop]:
    """All that comes to a sequence from outside its scan, in reversed order of time."""
    network, known = derivation.network, {e.id for e in edges}
    scan, symbol = next(
        (p.scan, e.symbol) for p in derivation.scans for e in p.equations if e.name == name
    )
    rows = [
        e for w, ref in network.wholes.items() if ref.sequence == name
        for e in derivation.readers(w)
    ]  # fmt: skip
    others = [e for e in derivation.readers(name) if e.scan != scan.name]
    outputs = [label for label, ref in network.outputs.items() if ref.name == name and ref.axis]
    if len(rows) + len(others) + len(outputs) < 2 or not known.issuperset(
        e.id for e in (*rows, *others)
    ):
        return  # what one reader gives is a mistake of that
    bar = to_text(symbol.with_(mark="bar"))
    yield (
        "handed-back", name, scan.name,
        f"{bar} receives in reversed order of time what comes from outside scan {scan.name}",
        Edits(
            rows=dict.fromkeys([e.id for e in rows], ("goes", 0)),
            mirrored=frozenset(e.id for e in others),
            shifted_outputs=dict.fromkeys(outputs, 0),
        ),
    )  # fmt: skip


def _whole_start(derivation: Derivation, program: ScanProgram) -> Iterator[Loop]:
    """All that goes back to a start, with a factor of one of its terms too many."""
    for state in program.scan.states:
        edges = [e for e in program.edges if e.kind == "state" and e.operand.name == state.name]
        if not edges or not any(i.ref is not None for i in state.initial):
            continue
        bar = next(e.symbol for e in program.equations if e.name == state.name).with_(mark="bar")
        if all(e.lag is not None and abs(e.lag) == 1 for e in edges):
            taken: dict[str, tuple[Sequence[int], Term | None]] = {
                e.id: ((1,), bar if e is edges[0] else None) for e in edges
            }
            words = (
                f"{_bar(edges[0])} = {to_text(bar)} at the first step, for the start: nothing is "
            )
            words += "differentiated between them"
            yield (
                "first-step", f"{state.name}=", state.name, words, Edits(terms_at=taken),
            )  # fmt: skip
        if len(edges) < 2:
            continue
        factors = dict.fromkeys(
            f for e in edges for n, _ in occurrences(e.pullback) if isinstance(n, Hadamard)
            for f in n.operands if not has_bar(f) and f.shape == e.operand.shape
        )  # fmt: skip
        for factor in factors:
            yield (
                "first-step", f"{state.name}*{to_text(factor)}", state.name,
                f"{_bar(edges[0])} with the factor {to_text(factor)} too many, at the first step",
                Edits(terms_at={e.id: ((1,), Hadamard(e.pullback, factor)) for e in edges}),
            )  # fmt: skip


class _Flows:
    """What the adjoint of a name flows on to."""

    def __init__(self, derivation: Derivation) -> None:
        self._made = {
            e.name: {x.operand.name for x in e.edges} for p in derivation.scans for e in p.equations
        }
        self._known: dict[str, frozenset[str]] = {}

    def comes_back(self, edge: Edge) -> bool:
        """Whether what an edge gives reaches the adjoint that it reads."""
        name = edge.operand.name
        if name not in self._known:
            seen: set[str] = set()
            stack = [name]
            while stack:
                current = stack.pop()
                if current not in seen:
                    seen.add(current)
                    stack += self._made.get(current, ())
            self._known[name] = frozenset(seen)
        return edge.equation.name in self._known[name]


def _bar(edge: Edge) -> str:
    return to_text(edge.operand.with_(mark="bar"))


def _beside(flows: _Flows, some: Sequence[Edge]) -> Iterator[Loop]:
    """What an input is given, a step too late or too early; what is read of lags at no lag."""
    if any(flows.comes_back(e) for e in some):
        return
    lag = some[0].lag or 0
    places = {1: "one step too late", -1: "one step too early"}
    if lag:
        back = lag if some[0].operand.lag == lag else -lag
        places |= {back: "at the step itself", 2 * back: "in the other direction of time"}
    for k, words in places.items():
        moved: dict[str, Move] = {e.id: ("goes", k) for e in some}
        yield (
            "beside", f"{k}", some[0].id,
            f"{_bar(some[0])} has what scan {some[0].scan} gives to it {words}",
            Edits(moved=moved),
        )  # fmt: skip


def _delays(flows: _Flows, program: ScanProgram) -> Iterator[Loop]:
    """The same for states that nothing but delays: the input of the step before."""
    for state in program.scan.states:
        edges = [e for e in program.edges if e.kind == "state" and e.operand.name == state.name]
        if not edges or any(flows.comes_back(e) for e in edges):
            continue
        target = to_text(edges[0].operand.with_(mark="bar"))
        for k, words in ((1, "at the step itself"), (2, "in the other direction of time")):
            for kind, also in (("goes", ""), ("also", " (the start as well)")):
                yield (
                    "beside", f"{state.name}{k}{kind}", program.scan.name,
                    f"{target} has what the step after gives to it {words}{also}",
                    Edits(moved={e.id: (kind, k) for e in edges}),
                )  # fmt: skip
        for step, which in ((-1, "last"), (2, "second")):
            yield (
                "start-of", f"{state.name}{step}", program.scan.name,
                f"the start of {state.name} is given what the {which} step gives",
                Edits(moved={e.id: ("start", step) for e in edges}),
            )  # fmt: skip


def _first_step(derivation: Derivation, edge: Edge) -> Iterator[Loop]:
    """What goes back to the start, with a factor of its own term left out or once more."""
    state = derivation.state(edge.scan, edge.operand.name)
    if state is None or not any(i.ref is not None for i in state.initial):
        return
    others: list[tuple[str, Term, str]] = [
        (f"{k}", term, f"without {words}") for k, term, words in without_steps(edge)
    ]
    for k, step in enumerate(edge.applications):
        if step.before.shape == step.after.shape and step.before != step.after:
            once = edge.rules[step.node].pullback(step.node, edge.path[k], step.after, step.node)
            others.append((f"{k}*", edge.resumed(k, once), f"with the {step.rule} done twice"))
    for detail, term, words in others:
        yield (
            "first-step", detail, edge.id,
            f"{_bar(edge)} {words} in {to_text(edge.pullback)}, at the first step, for the start",
            Edits(terms_at={edge.id: ((1,), term)}),
        )  # fmt: skip


def _adjoint_at_another_time(
    flows: _Flows, program: ScanProgram, e: EquationProgram
) -> Iterator[Loop]:
    """All that an adjoint is read for, but its own recursion, with it at another time."""
    away = [x for x in e.edges if x.kind != "state" and not flows.comes_back(x)]
    started = [x for x in e.edges if x.kind == "state" and x.operand.name == e.name]
    if not away or program.scan.axis is None or any(x.lag is None for x in started):
        return
    if not any(s.name == e.name for s in program.scan.states):
        away = [x for x in away if x.kind == "param"]
        if len(away) < 2:
            return
    name = to_text(e.symbol.with_(mark="bar"))
    some = {"": [*away, *started]}
    if started:
        some[", but for the start"] = away
    for k, words in ((0, "in reversed order of time"), (1, "a step later"), (-1, "a step earlier")):
        for besides, read in some.items():
            yield (
                "adjoint-at", f"{e.name}{k}{besides}", program.scan.name,
                f"{name} is read {words}, in all that it is read for after its recursion{besides}",
                Edits(moved={x.id: ("reads", k) for x in read}),
            )  # fmt: skip


def _outputs(label: str) -> Iterator[Loop]:
    for k, words in (
        (1, "of the step after is taken for that of a step"),
        (-1, "of the step before is taken for that of a step"),
        (0, "is taken in reversed order of time"),
    ):
        yield (
            "cotangent", f"{label}shift{k}", label, f"the cotangent of {label} {words}",
            Edits(shifted_outputs={label: k}),
        )  # fmt: skip


def block_mistakes(
    derivation: Derivation, loops: Collection[str] | None, blocks: Sequence[int]
) -> Iterator[Loop]:
    """What is carried over the borders of blocks of so many steps, and the steps left over."""
    for program in derivation.scans:
        if program.scan.axis is not None and (loops is None or program.scan.name in loops):
            for k in blocks:
                yield from _blocks(program, k)


def _blocks(program: ScanProgram, k: int) -> Iterator[Loop]:
    scan = program.scan
    reads: dict[str, list[Edge]] = {}
    for edge in program.edges:
        if edge.kind == "state":
            reads.setdefault(edge.operand.name, []).append(edge)
    if not reads:
        return
    lines = [(f"the state {n}", some) for n, some in reads.items()] if len(reads) > 1 else []
    lines.append((f"scan {scan.name}", [e for some in reads.values() for e in some]))
    first = tuple(range(1, LONGEST, k))
    counts = {
        "": (first[1:], "counted from the first step"),
        "+": (first, "before the first step as well"),
        "-": (tuple(range(-k, -LONGEST, -k)), "counted from the last step"),
    }
    for what, some in lines:
        for mark, (steps, words) in counts.items():
            yield (
                "cut", f"{what}{k}{mark}", scan.name,
                f"the carry of {what} is cut at every {k} steps, {words}",
                Edits(skip_steps=dict.fromkeys([e.id for e in some], steps)),
            )  # fmt: skip
        yield (
            "doubled", f"{what}{k}", scan.name,
            f"the carry of {what} is doubled at every {k} steps",
            Edits(terms_at={e.id: (first[1:], Scale(Num(2), e.pullback)) for e in some}),
        )  # fmt: skip
    yield (
        "unjoined", f"{k}", scan.name,
        f"a block of {k} steps of scan {scan.name} hands on nothing of later blocks",
        Edits(unjoined={scan.name: k}),
    )  # fmt: skip
    if all(max(s.lags) == 1 for s in scan.states):
        yield (
            "remainder", f"{k}", scan.name,
            f"the steps of scan {scan.name} that blocks of {k} leave over are left out",
            Edits(remainders={scan.name: k}),
        )  # fmt: skip
