"""Mistakes of the loop of a backward pass: steps left out, values and cotangents of one step."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from ..calculus.printing.text import to_text
from ..calculus.terms import Num, Scale, Sym, Term, symbols_in
from .edits import Edits
from .program import Derivation, Edge, ScanProgram

__all__ = ["mistaken_loops"]

#: The longest sequence of whose steps some are left out.
LONGEST = 257
Loop = tuple[str, str, str, str, Edits]


def mistaken_loops(
    derivation: Derivation, edges: Sequence[Edge], loops: Collection[str] | None = None
) -> Iterator[Loop]:
    """Kind, detail, where, words and edits.

    Of values at these edges, and of the loops of all scans, states and outputs or of those named.
    """
    for program in derivation.scans:
        scan = program.scan
        if loops is not None and scan.name not in loops:
            continue
        if scan.states and all(max(s.lags) == 1 for s in scan.states) and scan.axis:
            for step, name in ((1, "first"), (-1, "last")):
                yield (
                    "missed", f"{step}", scan.name,
                    f"the loop of scan {scan.name} leaves out the {name} step",
                    Edits(missed={scan.name: (step,)}),
                )  # fmt: skip
        if scan.substeps > 1:
            yield from _one_substep(program, edges)
        for state in scan.states:
            if loops is not None and state.name not in loops:
                continue
            reads = [e for e in derivation.readers(state.name) if e.kind == "state"]
            yield from _received(derivation, state.name, reads)
    for label, ref in derivation.network.outputs.items():
        if loops is None or label in loops:
            yield from _cotangents(label, ref.axis is not None)
            for axis in ("sequence", *(["head"] if ref.shape.headed else [])):
                words = f"the cotangent of {label} for the first {axis} is taken for every {axis}"
                edits = Edits(masked_outputs={label: (axis, "for all", True)})
                yield "cotangent", f"{label} of {axis}", label, words, edits
    yield from _orders(derivation, edges, loops)
    yield from _other_outputs(derivation, loops)
    for edge in edges:
        yield from _one_step(edge)
        yield from _step_before(derivation, edge)
        yield from _own_at_start(derivation, edge)


def _received(derivation: Derivation, state: str, reads: list[Edge]) -> Iterator[Loop]:
    """What a step receives for a state, with a factor, or never renewed."""
    finals = [n for n, r in derivation.network.outputs.items() if r.state == state]
    if not reads:
        return
    if finals:
        first: dict[str, tuple[int, ...]] = {e.id: (1,) for e in reads}
        words = f"every step receives the cotangent of the final state {state}: nothing is carried "
        words += f"through the state {state} from step to step"
        edits = Edits(only_steps=first, repeated_finals=frozenset({state}))
        yield "never-renewed", state, state, words, edits
        words = f"every step receives the cotangent of the final state {state}, not the last alone"
        edits = Edits(repeated_finals=frozenset({state}))
        yield "final-at-every", state, state, words, edits
    every = derivation.program(reads[0].scan).scan.substeps
    for factor, words in ((2, "taken twice"), (-1, "taken with the sign reversed")):
        # what goes back to a start is received by no step
        terms: dict[str, tuple[Sequence[int], Term | None]] = {}
        for e in reads:
            steps = range(1 + every * abs(e.lag or 1), LONGEST, every)
            terms[e.id] = steps, Scale(Num(factor), e.pullback)
        given = dict.fromkeys(finals, float(factor))
        yield (
            "received", f"{state}{factor}", state,
            f"the adjoint δ{state} that a step receives is {words}",
            Edits(terms_at=terms, scaled_outputs=given),
        )  # fmt: skip
        asked = [n for n, r in derivation.network.outputs.items() if r.name == state and r.axis]
        if asked and factor == 2:
            edits = Edits(terms_at=terms, scaled_outputs={**given, **dict.fromkeys(asked, 0.0)})
            words = f"the adjoint δ{state} that a step receives is added twice, and not the "
            words += f"cotangent of {' and '.join(asked)}"
            yield "received", f"{state} for cotangents", state, words, edits


def _one_substep(program: ScanProgram, edges: Sequence[Edge]) -> Iterator[Loop]:
    """What the same value of a step is given by all of its substeps, taken of one of them."""
    scan = program.scan
    groups: dict[Sym, list[str]] = {}
    for e in edges:
        if e.scan == scan.name and e.operand.name in scan.operands:
            groups.setdefault(e.operand.with_(mark="bar"), []).append(e.id)
    for shared in program.equations:  # a value that all substeps share, made before them
        made = [x for x in shared.edges if x.operand.name in scan.operands]
        if len(made) > 1 and len(made) == len(shared.edges):
            groups[shared.symbol.with_(mark="bar")] = [x.id for x in made if x in edges]
    for bar, own in groups.items():
        for first, which in ((1, "first"), (scan.substeps, "last")):
            steps = tuple(range(first, LONGEST, scan.substeps))
            words = f"{to_text(bar)} receives what the {which} substep of each step gives, not "
            words += "the sum of all"
            edits = Edits(only_steps=dict.fromkeys(own, steps))
            yield "substep", f"{bar.name}@{first}", scan.name, words, edits


def _between_scans(some: list[Edge], scan: str) -> Iterator[Loop]:
    """What a scan gives to an input or to what another one made: one step of it, or nothing."""
    name, own = some[0].operand.name, [e.id for e in some]
    target = to_text(some[0].operand.with_(mark="bar"))
    yield (
        "not-received", name, scan, f"{target} receives nothing from scan {scan}",
        Edits(terms=dict.fromkeys(own)),
    )  # fmt: skip
    for step, which in ((1, "first"), (-1, "last")):
        yield (
            "not-received", f"{name}@{step}", scan,
            f"{target} receives from scan {scan} what its {which} step gives, and nothing else",
            Edits(only_steps=dict.fromkeys(own, (step,))),
        )  # fmt: skip


def _cotangents(label: str, moves: bool) -> Iterator[Loop]:
    scaled = ((0.0, "ignored"), (2.0, "taken twice"), (-1.0, "taken with its sign reversed"))
    for factor, words in scaled:
        yield (
            "cotangent", f"{label}{factor:g}", label,
            f"the cotangent of {label} is {words}", Edits(scaled_outputs={label: factor}),
        )  # fmt: skip
    if moves:
        for step, name in ((1, "first"), (-1, "last")):
            yield (
                "cotangent", f"{label}@{step}", label,
                f"the cotangent of {label} at the {name} step is taken at every step",
                Edits(output_of_step={label: step}),
            )  # fmt: skip
            others = tuple(range(2, 65)) if step == 1 else tuple(range(-64, -1))
            yield (
                "cotangent", f"{label}only{step}", label,
                f"only the cotangent of {label} at the {name} step is taken",
                Edits(lost_outputs={label: others}),
            )  # fmt: skip


def _one_step(edge: Edge) -> Iterator[Loop]:
    """A saved value, an input or a mask of the first or last step read at every step."""
    values: dict[str, Sym] = {}
    for s in symbols_in(edge.pullback):
        if not s.mark and s.lag is not None:
            values.setdefault(s.name, s)
    target, whole = to_text(edge.operand.with_(mark="bar")), to_text(edge.pullback)
    for name, s in values.items():
        for step, words in ((1, "first"), (-1, "last")):
            yield (
                "pinned", f"{name}@{step}", edge.id,
                f"{target} with {to_text(s)} of the {words} step at every step in {whole}",
                Edits(pinned={edge.id: (name, step)}),
            )  # fmt: skip


def _own_at_start(derivation: Derivation, edge: Edge) -> Iterator[Loop]:
    """The gradient of a parameter with the first step's own state in place of the start."""
    states = {s.name for s in derivation.program(edge.scan).scan.states}
    for s in dict.fromkeys(symbols_in(edge.pullback)) if edge.kind == "param" else ():
        if not s.mark and s.lag and s.name in states:
            own, target = s.with_(lag=0), to_text(edge.operand.with_(mark="bar"))
            words = f"{target} with {to_text(own)} instead of {to_text(s)} at the first step alone"
            term = edge.pullback.xreplace({s: own})
            words += f" in {to_text(edge.pullback)}"
            for steps, mark, where in (((1,), "", ""), ((1, 0), "+", ", where there are more")):
                edits = Edits(terms_at={edge.id: (steps, term)})
                yield "time", f"{s.name}@1{mark}", edge.id, f"{words}{where}", edits


def _step_before(derivation: Derivation, edge: Edge) -> Iterator[Loop]:
    """Values of the step before or after, at the first or last step of another one or their own."""
    program = derivation.program(edge.scan)
    states = {s.name for s in program.scan.states}
    sign = -1 if program.scan.reverse else 1
    target, whole = to_text(edge.operand.with_(mark="bar")), to_text(edge.pullback)
    own = [
        s for s in dict.fromkeys(symbols_in(edge.pullback))
        if not s.mark and s.lag == 0 and s.name not in states
    ]  # fmt: skip
    for some in [*([s] for s in own), *([own] if len(own) > 1 else [])]:
        names = frozenset(s.name for s in some)
        detail = "+".join(s.name for s in some)
        for by in (sign, -sign):
            moved = {s: s.with_(lag=by) for s in some}
            new = ", ".join(map(to_text, moved.values()))
            words = f"{target} with {new} instead of {', '.join(map(to_text, some))} in {whole}"
            terms: dict[str, Term | None] = {edge.id: edge.pullback.xreplace(moved)}
            end, detail_ = ("first", detail) if by == sign else ("last", detail + "-")
            last = "last one (an index of −1)" if by == sign else "first one"
            yield (
                "wrapped", detail_, edge.id, f"{words}, at the {end} step the {last}",
                Edits(terms=terms, wrapped_starts=names),
            )  # fmt: skip
            yield (
                "held", detail_, edge.id, f"{words}, at the {end} step its own",
                Edits(terms=terms, held_starts=names),
            )  # fmt: skip
            skipped: dict[str, tuple[int, ...]] = {edge.id: (1 if by == sign else -1,)}
            yield (
                "none-beyond", detail_, edge.id, f"{words}, at the {end} step nothing",
                Edits(terms=terms, skip_steps=skipped),
            )  # fmt: skip


def _orders(
    derivation: Derivation, edges: Sequence[Edge], loops: Collection[str] | None
) -> Iterator[Loop]:
    """Steps in reversed order of time: a whole loop, what it hands to another, what it reads."""
    for program in derivation.scans:
        scan = program.scan
        if not scan.axis or (loops is not None and scan.name not in loops):
            continue
        if scan.states and all(max(s.lags) == 1 for s in scan.states):
            words = f"the backward pass of scan {scan.name} runs in the order of its forward pass"
            yield "turned", "", scan.name, words, Edits(turned=frozenset({scan.name}))
        for state in scan.states if all(max(s.lags) == 1 for s in scan.states) else ():
            words = f"what a step receives for δ{state.name} is added to what it hands on"
            yield "kept", state.name, scan.name, words, Edits(kept=frozenset({state.name}))
    handed: dict[tuple[str, str], list[Edge]] = {}
    for edge in edges:
        if edge.kind in ("sequence", "input") and edge.lag is not None:
            handed.setdefault((edge.scan, edge.operand.name), []).append(edge)
        elif edge.kind == "param" and any(s.lag is not None for s in _read(edge)):
            target, whole = to_text(edge.operand.with_(mark="bar")), to_text(edge.pullback)
            words = (
                f"{target} with {', '.join(map(to_text, _read(edge)))} in reversed order of time"
            )
            yield (
                "mirrored", "", edge.id, f"{words} in {whole}",
                Edits(mirrored=frozenset({edge.id})),
            )  # fmt: skip
    for (scan_name, name), some in handed.items():
        yield from _between_scans(some, scan_name)
        target = to_text(some[0].operand.with_(mark="bar"))
        words = f"{target} receives from scan {scan_name} what it gives in reversed order of time"
        ids = frozenset(e.id for e in some)
        yield "mirrored", f"{scan_name}>{name}", some[0].id, words, Edits(mirrored=ids)


def _read(edge: Edge) -> list[Sym]:
    return [s for s in dict.fromkeys(symbols_in(edge.pullback)) if not s.mark]


def _other_outputs(derivation: Derivation, loops: Collection[str] | None) -> Iterator[Loop]:
    """The cotangent of another output taken, in place of one's own or both exchanged."""
    outputs = derivation.network.outputs
    for label, ref in outputs.items():
        for other, that in outputs.items():
            same = (that.shape, that.axis) == (ref.shape, ref.axis)
            if label == other or not same or (loops is not None and label not in loops):
                continue
            yield (
                "cotangent", f"{label}>{other}", label,
                f"the cotangent of {other} is taken for that of {label}",
                Edits(taken_outputs={label: other}),
            )  # fmt: skip
            if label < other:
                yield (
                    "cotangent", f"{label}<>{other}", label,
                    f"the cotangents of {label} and {other} are exchanged",
                    Edits(taken_outputs={label: other, other: label}),
                )  # fmt: skip
