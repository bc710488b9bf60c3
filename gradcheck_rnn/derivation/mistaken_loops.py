"""Mistakes of the loop of a backward pass: steps left out, values and cotangents of one step."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from ..calculus.printing.text import to_text
from ..calculus.terms import Num, Scale, Sym, Term, symbols_in
from .editing import sources
from .edits import Edits
from .program import Derivation, Edge

__all__ = ["mistaken_loops"]

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
        for state in scan.states:
            if loops is not None and state.name not in loops:
                continue
            reads = [e for e in derivation.readers(state.name) if e.kind == "state"]
            yield from _received(derivation, state.name, reads)
    for label, ref in derivation.network.outputs.items():
        if loops is None or label in loops:
            yield from _cotangents(label, ref.axis is not None)
    for edge in edges:
        yield from _one_step(edge)


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
    held = {s for s in sources(derivation, state) if s.startswith("final ")}
    held |= {e.id for e in reads}
    for factor, words in ((2, "taken twice"), (-1, "taken with the sign reversed")):
        shares: dict[tuple[str, str], Term | None] = {
            (s, e.id): Scale(Num(factor), e.pullback)
            for s in held for e in derivation.equation_edges(state)
        }  # fmt: skip
        yield (
            "received", f"{state}{factor}", state,
            f"the adjoint δ{state} that a step receives is {words}", Edits(shares=shares),
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
