"""Mistakes in the Jacobian of a normalisation, which code writes in one line and not in four steps.

A layer norm y = g ⊙ x̂ + b with x̂ = (x − mean x) ⊘ σ is pulled back as
δx = (d − mean d − x̂ ⊙ mean(d ⊙ x̂)) ⊘ σ with d = g ⊙ δy; a root-mean-square norm lacks the first
mean. The derivation has an equation for x − mean x, for the variance and for σ.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from operator import or_
from typing import NamedTuple

from ..calculus.printing.text import to_text
from ..calculus.terms import Broadcast, Divide, Hadamard, Neg, Plus, Scale, Sym, Term
from .batches import OverSequences
from .editing import sources
from .edits import Edits
from .mistaken_terms import widened
from .program import Derivation, Edge, EquationProgram, ScanProgram

__all__ = ["mistaken_norms"]

Mistake = tuple[str, str, str, str, Edits]
#: What the Jacobian lacks or has instead, by the name of the mistake.
WRONG = {
    "lost": "without the factor x̂ of mean(d ⊙ x̂)",
    "wide": "without / σ in x̂ ⊙ mean(d ⊙ x̂), a lost bracket",
    "all": "without / σ",
    "both": "without / σ and without the factor x̂ of mean(d ⊙ x̂)",
    "variance": "without the term x̂ ⊙ mean(d ⊙ x̂), the share of the variance",
    "mean": "without the term mean(d)",
    "axis": "with means over the sequences, as a batch norm has them",
}

#: Those that are one edge of the derivation left out: named by that where they stand alone.
KNOWN = ("variance", "mean")


class _Norm(NamedTuple):
    """A quotient (x − mean x) ⊘ σ in an equation, and what each way gives to x − mean x."""

    equation: EquationProgram
    value: Sym  # x
    centred: Sym  # x − mean x, or x where no mean is taken off
    scale: Sym  # σ
    direct: Term  # d ⊘ σ
    spread: Term  # −x̂ ⊙ mean(d ⊙ x̂) ⊘ σ
    without: Term  # −mean(d ⊙ x̂) ⊘ σ
    inward: tuple[Edge, ...]  # from x − mean x to x, if that is another value
    edges: tuple[Edge, ...]  # all that end in x

    def jacobian(self, spread: Term | None) -> Term:
        """δx, where the mean of d alone is taken off; without the variance's share for None."""
        bar = self.centred.with_(mark="bar")
        parts = [e.pullback.xreplace({bar: self.direct}) for e in self.inward] or [self.direct]
        parts += [] if spread is None else [spread]
        return Plus(*parts) if len(parts) > 1 else parts[0]

    def over_sequences(self) -> Term:
        """δx with both means over the sequences of the batch, not over the units."""
        d, below = self.direct.args
        hat = Divide(self.centred, below)
        parts = [d, Neg(OverSequences(d, mean=True))] if self.inward else [d]
        spread = Hadamard(hat, OverSequences(Hadamard(d, hat), mean=True))
        return Divide(Plus(*parts, Neg(spread)), below)


def mistaken_norms(derivation: Derivation, program: ScanProgram) -> Iterator[Mistake]:
    """Kind, detail, where, words and edits: of each normalisation, and of all as one function."""
    alike: dict[str, list[tuple[str, str, Edits]]] = {}
    for norm in _norms(program):
        bar, scale = to_text(norm.value.with_(mark="bar")), to_text(norm.scale)
        mean = " − mean(d)" if norm.inward else ""
        whole = f"(d{mean} − x̂ ⊙ mean(d ⊙ x̂)) / {scale}"
        hat = to_text(Divide(norm.centred, Broadcast(norm.scale, *norm.centred.shape)))
        meant = f"where x̂ = {hat} and d = {to_text(norm.direct.args[0])}"
        where = f"{program.scan.name}/{norm.value.name}"
        for detail, term in _wrong(norm).items():
            terms: dict[str, Term | None] = dict.fromkeys(e.id for e in norm.edges)
            terms[norm.edges[0].id] = term
            words = f"{bar} = {whole} {WRONG[detail]}, {meant}".replace("σ", scale)
            alike.setdefault(detail, []).append((where, words, Edits(terms=terms)))
            if detail not in KNOWN:
                yield "norm", f"{norm.equation.name}:{detail}", *alike[detail][-1]
        yield from _too_far(derivation, program, norm, f"{bar} with the Jacobian {whole}", meant)
    for detail, some in alike.items():
        if len(some) > 1:
            edits = reduce(or_, (own for _, _, own in some))
            words = f"in all {len(some)} normalisations alike: {some[0][1]}"
            yield "norm", f"all:{detail}", program.scan.name, words, edits


def _wrong(norm: _Norm) -> dict[str, Term]:
    """The Jacobian with mistakes, by their names in `WRONG`."""
    lost = norm.jacobian(norm.without)
    found = {
        "lost": lost,
        "wide": norm.jacobian(Scale(norm.scale, norm.spread)),
        "all": Scale(norm.scale, norm.jacobian(norm.spread)),
        "both": Scale(norm.scale, lost),
        "variance": norm.jacobian(None),
        "axis": norm.over_sequences(),
    }
    return found | ({"mean": Plus(norm.direct, norm.spread)} if norm.inward else {})


def _too_far(
    derivation: Derivation, program: ScanProgram, norm: _Norm, beginning: str, meant: str
) -> Iterator[Mistake]:
    """The Jacobian applied to other terms of δx as well, which do not come from the quotient."""
    own, after = norm.value.with_(mark="bar"), norm.equation.symbol.with_(mark="bar")
    others = [
        s for s in sources(derivation, norm.value.name) if s not in {e.id for e in norm.edges}
    ]
    if own.shape != after.shape or not others:
        return
    changed = norm.jacobian(norm.spread).xreplace({after: own})
    for which, some in widened(derivation, others).items():
        shares: dict[tuple[str, str], Term | None] = {
            (s, e.id): e.pullback.xreplace({own: changed})
            for s in some
            for e in derivation.equation_edges(norm.value.name)
        }
        where = f"{program.scan.name}/{norm.value.name}"
        detail = f"{norm.equation.name}:{which}"
        yield (
            "norm-too-far",
            detail,
            where,
            f"{beginning} applied {which}, {meant}",
            Edits(shares=shares),
        )


def _norms(program: ScanProgram) -> Iterator[_Norm]:
    made = {e.name: e for e in program.equations}
    for e in program.equations:
        for edge in e.edges:
            node = edge.steps[-1].node if edge.steps else None
            if not isinstance(node, Divide) or node.operands[0] != edge.operand or edge.lag != 0:
                continue
            scale = node.operands[1]
            scale = scale.operands[0] if isinstance(scale, Broadcast) else scale
            to_scale = next((x for x in e.edges if x.operand == scale and x.lag == 0), None)
            if to_scale is None or edge.operand.name not in made:
                continue
            last, bar = to_scale, to_scale.pullback
            while last.operand.name in made and last.operand != edge.operand:
                (inner, *more) = made[last.operand.name].edges or (last,)
                if more or inner is last:
                    break
                last, given = inner, bar
                bar = inner.pullback.xreplace({inner.adjoint: given})
            if last.operand != edge.operand or last is to_scale:
                continue
            even = Broadcast(scale, *edge.operand.shape)
            without = last.pullback.xreplace({edge.operand: even}).xreplace({last.adjoint: given})
            ends, value, inward = (edge, last), edge.operand, tuple[Edge, ...]()
            read = made[edge.operand.name].edges
            if len(read) == 2 and read[0].operand == read[1].operand:
                ends, value, inward = read, read[0].operand, read
            yield _Norm(e, value, edge.operand, scale, edge.pullback, bar, without, inward, ends)
