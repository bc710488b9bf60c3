"""Wrong backward passes, made from the right one: edits of program edges.

A mutant is one mistake a person makes when writing BPTT by hand. It is found by reading the
derivation, so the list exists for any cell. A mutant is applied by running the adjoint program
with the edited edge; nothing is derived again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

import sympy

from ..calculus.printing.text import to_text
from ..calculus.terms import (
    Apply,
    Hadamard,
    Neg,
    Num,
    Plus,
    Power,
    Scale,
    Sym,
    Term,
    Times,
    Transpose,
    dims_equal,
    has_bar,
)
from .edits import Edits
from .mistaken_axes import mistaken_shifts, other_labels, over_sequences, unweighted
from .mistaken_factors import mistaken_factors
from .mistaken_flows import Mutant, flow_mutants
from .mistaken_lines import several_terms, without_steps
from .mistaken_loops import mistaken_loops
from .mistaken_shares import mistaken_shares
from .mistaken_terms import bracket_edits, mistaken_terms, share_edits
from .mistaken_times import BLOCKS, block_mistakes, mistaken_times
from .mistaken_values import mistaken_values
from .program import Derivation, Edge
from .simplification import tidy
from .subterms import occurrences, replaced_at

__all__ = ["Mutant", "edge_mutants", "mutants"]


def mutants(
    derivation: Derivation,
    edges: Iterable[Edge] | None = None,
    loops: Collection[str] | None = None,
    blocks: Sequence[int] = BLOCKS,
) -> tuple[Mutant, ...]:
    """All single mistakes of the grammar for a derivation, in the order of its equations.

    Of all edges, or of some; of the loops of all scans, states and outputs, or of those named; at
    the borders of blocks of so many steps.
    Some can be mathematically equal to the right program (a transposed symmetric factor, say);
    whether one is visible is decided by running it.
    """
    found: dict[str, Mutant] = {}
    edited = list(derivation.edges if edges is None else edges)
    for edge in edited:
        for mutant in edge_mutants(derivation, edge):
            found.setdefault(mutant.id, mutant)
        several = (*share_edits(derivation, edge), *bracket_edits(derivation, edge))
        for kind, detail, says, edits in several:
            name = f"{kind}:{edge.id}:{detail}"
            found.setdefault(name, Mutant(name, kind, edge.id, says, edits))
    for mutant in several_terms(edited):
        found.setdefault(mutant.id, mutant)
    for mutant in flow_mutants(derivation, loops):
        found.setdefault(mutant.id, mutant)
    loop = [
        line for make in (mistaken_loops, mistaken_times, mistaken_shares)
        for line in make(derivation, edited, loops)
    ]  # fmt: skip
    loop += block_mistakes(derivation, loops, blocks)
    for kind, detail, where, says, edits in loop:
        name = f"{kind}:{where}:{detail}"
        found.setdefault(name, Mutant(name, kind, where, says, edits))
    return tuple(found.values())


def _target(edge: Edge) -> str:
    """The adjoint or gradient an edge contributes to, as printed."""
    return to_text(edge.operand.with_(mark="bar"))


def edge_mutants(derivation: Derivation, edge: Edge) -> Iterator[Mutant]:
    """The single mistakes in what one equation gives to the adjoint of one operand."""
    right = edge.pullback
    seen = {tidy(right)}
    target, whole = _target(edge), to_text(edge.pullback)

    def edited(kind: str, detail: str, term: Term | None, says: str) -> Iterator[Mutant]:
        if term is not None:
            plain = tidy(term)
            if plain in seen:
                return
            seen.add(plain)
        yield Mutant(
            f"{kind}:{edge.id}:{detail}", kind, edge.id, says, Edits(terms={edge.id: term})
        )

    yield from edited("dropped", "", None, f"{target} without the term {whole}")
    yield from edited("sign", "", Neg(right), f"{target} with the sign of {whole} reversed")
    for k, term, what in without_steps(edge):
        yield from edited("step", str(k), term, f"{target} without {what} in {whole}")
    for k, (term, words) in enumerate(_without_factors(right)):
        yield from edited("factor", str(k), term, f"{target} {words} in {whole}")
    for k, (term, wrong, good) in enumerate(_wrong_slopes(edge)):
        yield from edited(
            "slope", str(k), term, f"{target} with φ′ taken at {wrong} instead of {good}"
        )
    for k, (term, other, node) in enumerate(_no_slopes(edge)):
        yield from edited(
            "noslope", str(k), term, f"{target} with {other} instead of φ′ of {node} in {whole}"
        )
    for k, (term, words) in enumerate(over_sequences(right)):
        yield from edited("axis", str(k), term, f"{target} with {words} in {whole}")
    for k, (term, words) in enumerate(unweighted(right)):
        yield from edited("unweighted", str(k), term, f"{target} with {words} in {whole}")
    for kind, detail, term, words in other_labels(derivation, edge):
        yield from edited(kind, detail, term, f"{target} with {words} in {whole}")
    for kind, detail, term, words in mistaken_shifts(edge):
        yield from edited(kind, detail, term, f"{target} with {words} in {whole}")
    for k, (term, matrix) in enumerate(_transposes(right)):
        yield from edited("transpose", str(k), term, f"{target} with {matrix} in {whole}")
    for factor in (sympy.Integer(2), sympy.Rational(1, 2)):
        yield from edited(
            "scale", str(factor), Scale(Num(factor), right), f"{target} with {factor} times {whole}"
        )
    found = (
        *mistaken_values(derivation, edge),
        *mistaken_terms(derivation, edge),
        *mistaken_factors(derivation.program(edge.scan).near(edge), edge),
    )
    for kind, detail, term, words in found:
        within = "" if isinstance(right, Sym) else f" in {whole}"
        yield from edited(kind, detail, term, f"{target} with {words}{within}")
    if edge.kind in ("param", "static"):
        yield from _sum_mutants(edge, target, whole)


def _sum_mutants(edge: Edge, target: str, whole: str) -> Iterator[Mutant]:
    """Sums over time that are not: overwritten, or a step short."""
    for step, name in ((1, "the first"), (-1, "the last")):
        yield Mutant(
            f"overwritten:{edge.id}:{step}", "overwritten", edge.id,
            f"{target} with only {name} step of Σ {whole}: overwritten, not accumulated",
            Edits(only_steps={edge.id: (step,)}),
        )  # fmt: skip
        yield Mutant(
            f"short:{edge.id}:{step}", "short", edge.id,
            f"{target} without {name} step of Σ {whole}",
            Edits(skip_steps={edge.id: (step,)}),
        )  # fmt: skip


def _without_factors(term: Term) -> Iterator[tuple[Term, str]]:
    """Each factor of a product, scalar multiple or term of a sum left out, and words for it."""
    for node, path in occurrences(term):
        if isinstance(node, Hadamard):
            for i, factor in enumerate(node.operands):
                if not has_bar(factor):
                    rest = (*node.operands[:i], *node.operands[i + 1 :])
                    yield (
                        replaced_at(term, path, Hadamard(*rest)),
                        f"without the factor {to_text(factor)}",
                    )
        elif isinstance(node, Scale) and not has_bar(node.operands[0]):
            left_out = to_text(node.operands[0])
            yield replaced_at(term, path, node.operands[1]), f"without the factor {left_out}"
        elif isinstance(node, Plus):
            for i, part in enumerate(node.operands):
                rest = (*node.operands[:i], *node.operands[i + 1 :])
                yield replaced_at(term, path, Plus(*rest)), f"without the term {to_text(part)}"
        elif isinstance(node, Power) and node.exponent != 1:
            yield replaced_at(term, path, node.operands[0]), _powers(term, path, node.operands[0])


def _powers(term: Term, path: tuple[int, ...], base: Term) -> str:
    """``with 1 − h instead of 1 − h²``: a power's whole factor, without it and as it is."""
    at, factor = 0, term
    while at < len(path) and has_bar(factor):
        factor = factor.args[path[at]]
        at += 1
    wrong = to_text(replaced_at(factor, path[at:], base))
    return f"with {wrong} instead of {to_text(factor)}"


def _wrong_slopes(edge: Edge) -> Iterator[tuple[Term, Term, Term]]:
    """φ′ written in the saved output, but fed the argument, or the output's function again."""
    for k, step in enumerate(edge.applications):
        if not isinstance(step.node, Apply):
            continue
        out: Term = edge.equation if k == 0 else step.node
        for wrong in (step.node.x, Apply(step.node.fname, out)):
            term = edge.pullback.xreplace({out: wrong})
            if term != edge.pullback:
                yield term, wrong, out


def _no_slopes(edge: Edge) -> Iterator[tuple[Term, str, Term]]:
    """φ′ taken for what it is not: φ, φ of φ, the argument, or the slope of σ or tanh."""
    for k, step in enumerate(edge.applications):
        node = step.node
        if not isinstance(node, Apply) or step.before.shape != step.after.shape:
            continue
        bar = edge.adjoint if k == 0 else step.before
        out: Term = edge.equation if k == 0 else node
        square = Power(out, 2)
        wrongs: list[tuple[Term, str]] = [
            (Hadamard(bar, out), to_text(out)),
            (Hadamard(bar, Apply(node.fname, out)), to_text(Apply(node.fname, out))),
            (Hadamard(bar, node.x), to_text(node.x)),
        ]
        if node.fname != "tanh":
            wrongs.append((Plus(bar, Neg(Hadamard(bar, square))), "tanh′"))
        if node.fname != "sigmoid":
            given = Plus(Hadamard(bar, out), Neg(Hadamard(bar, square)))
            wrongs.append((given, "σ′"))
        for term, text in wrongs:
            yield edge.resumed(k, term), text, node


def _transposes(term: Term) -> Iterator[tuple[Term, str]]:
    """Square matrices with or without their transpose, the other way round."""
    for node, path in occurrences(term):
        if isinstance(node, Transpose) and dims_equal(*node.shape) and not has_bar(node):
            yield replaced_at(term, path, node.operands[0]), f"{node.operands[0]} instead of {node}"
        elif isinstance(node, Times) and dims_equal(*node.shape) and has_bar(node):
            yield replaced_at(term, path, Transpose(node)), f"({node})ᵀ instead of {node}"
