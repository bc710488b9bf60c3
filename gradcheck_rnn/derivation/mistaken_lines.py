"""Mistakes in a line of code that makes several terms of the derivation at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations

import sympy

from ..calculus.printing.text import to_text
from ..calculus.terms import (
    Apply,
    Divide,
    Hadamard,
    Neg,
    Num,
    Plus,
    Scale,
    Sym,
    Term,
    Times,
    Transpose,
    symbols_in,
)
from .edits import Edits
from .mistaken_flows import Mutant
from .program import Edge

__all__ = ["several_terms", "without_steps"]

#: Terms of an equation of which all combinations are tried.
MOST_TERMS = 6


def several_terms(edges: Iterable[Edge]) -> Iterator[Mutant]:
    """Mistakes in what several edges of one equation have in common."""
    edges = list(edges)
    yield from _of_all_readings(edges)
    yield from _of_inner_values(edges)
    yield from _of_some_readers(edges)
    yield from _of_a_common_factor(edges)


def _of_all_readings(edges: Iterable[Edge]) -> Iterator[Mutant]:
    """In all that an equation gives to an operand that it reads in several places.

    A gate between two values, (1 − z) ⊙ h + z ⊙ n, has one line: δz = δ ⊙ (n − h).
    """
    lines: dict[tuple[str, Sym], list[Edge]] = {}
    for edge in edges:
        lines.setdefault((edge.equation.name, edge.operand), []).append(edge)
    half = sympy.Rational(1, 2)
    for some in lines.values():
        if len(some) < 2:
            continue
        target, whole = _target(some[0]), to_text(Plus(*(e.pullback for e in some)))
        yield from _products(some, whole)
        for kind, detail, factor, words in (
            ("dropped", "", None, f"without the terms {whole}"),
            ("sign", "", -1, f"with the sign of {whole} reversed"),
            ("scale", "2", 2, f"with 2 times {whole}"),
            ("scale", "1/2", half, f"with 1/2 times {whole}"),
        ):
            terms: dict[str, Term | None] = {
                e.id: None if factor is None else Scale(Num(factor), e.pullback) for e in some
            }
            yield Mutant(
                f"{kind}-readings:{some[0].id}:{detail}", kind, some[0].id,
                f"{target} {words}", Edits(terms=terms),
            )  # fmt: skip


def _products(some: Sequence[Edge], whole: str) -> Iterator[Mutant]:
    """A product where the sum of two elementwise factors belongs: δ ⊙ a ⊙ b for δ ⊙ (a + b)."""
    bar = some[0].adjoint
    factors = []
    for edge in some:
        term = edge.pullback.operands[0] if isinstance(edge.pullback, Neg) else edge.pullback
        if not isinstance(term, Hadamard) or len(term.operands) < 2:
            return
        first, *own = term.operands
        if bar != (first.operands[0] if isinstance(first, Neg) else first):
            return
        factors += own
    product = Hadamard(bar, *factors)
    terms: dict[str, Term | None] = dict.fromkeys(e.id for e in some)
    terms[some[0].id] = product
    says = f"{_target(some[0])} with {to_text(product)} instead of {whole}"
    yield Mutant(
        f"operation-readings:{some[0].id}:", "operation", some[0].id, says, Edits(terms=terms)
    )


def _of_inner_values(edges: Iterable[Edge]) -> Iterator[Mutant]:
    """In the adjoint of a part of an equation, from which several operands have theirs.

    The quotient of g ⊙ (s ⊘ σ) + b has none of its own name: its factor g is in δs and in δσ.
    """
    lines: dict[tuple[str, tuple[int, ...], str], list[tuple[Edge, Term, str]]] = {}
    for edge in edges:
        wrong = [(k, "", term, f"without {words}") for k, term, words in without_steps(edge)]
        for k, how, term, words in (*wrong, *_other_steps(edge)):
            if k + 1 < len(edge.path):  # what is pulled back is a part, and not the operand itself
                key = (edge.equation.name, tuple(edge.path[: k + 1]), how)
                lines.setdefault(key, []).append((edge, term, words))
    for (_, path, how), some in lines.items():
        if len({edge.operand for edge, _, _ in some}) < 2:
            continue
        first = some[0][0]
        inner = first.steps[len(path)].node
        targets = " and ".join(dict.fromkeys(_target(e) for e, _, _ in some))
        yield Mutant(
            f"step-inner:{first.id}:{len(path) - 1}{how}", "step", first.id,
            f"{targets} {some[0][2]} in the adjoint of {to_text(inner)}",
            Edits(terms={edge.id: term for edge, term, _ in some}),
        )  # fmt: skip


def _of_some_readers(edges: Iterable[Edge]) -> Iterator[Mutant]:
    """Of what all readers give to a value that of one alone, of one lag, or of the other lags."""
    values: dict[tuple[str, str], dict[int | None, list[Edge]]] = {}
    for edge in edges:
        lags = values.setdefault((edge.scan, edge.operand.name), {})
        lags.setdefault(edge.lag, []).append(edge)
    for lags in values.values():
        for lag, some in lags.items():
            bar, count = _target(some[0]), len(some)
            for kept in some if count > 2 else ():
                words = f"{bar} with nothing but {to_text(kept.pullback)} of its {count} terms: "
                yield _without(
                    [e for e in some if e is not kept], kept,
                    f"{words}overwritten, not accumulated",
                )  # fmt: skip
            others = [e for k, found in lags.items() if k not in (0, lag) for e in found]
            if lag and len(others) > 1:
                yield _without(others, some[0], f"nothing is carried over other lags than {bar}")
            if lag and others and count > 1:
                yield _without(some, some[0], f"{bar} receives nothing: no carry over this lag")


def _without(lost: Sequence[Edge], first: Edge, words: str) -> Mutant:
    name = f"one-reader:{first.id}:{','.join(e.id for e in lost)}"
    return Mutant(name, "one-reader", first.id, words, Edits(terms={e.id: None for e in lost}))


def _of_a_common_factor(edges: Iterable[Edge]) -> Iterator[Mutant]:
    """A scalar that several terms of an equation have, left out in some of them.

    Code with another inner value than the definition has it once: of S = α S (I − β k kᵀ) + β v kᵀ,
    written as α S + β (v − α S k) kᵀ, the adjoint of what β multiplies is in four of six terms.
    """
    lines: dict[tuple[str, Sym], list[tuple[Edge, Term]]] = {}
    for edge in edges:
        for s in dict.fromkeys(symbols_in(edge.pullback)):
            if s.shape == (1, 1) and not s.mark:
                rest = _without_scalar(edge.pullback, s)
                if rest != edge.pullback:
                    lines.setdefault((edge.equation.name, s), []).append((edge, rest))
    for (name, s), some in lines.items():
        if not 2 < len(some) <= MOST_TERMS:
            continue
        for count in range(2, len(some) + 1):
            for chosen in combinations(some, count):
                targets = ", ".join(dict.fromkeys(_target(e) for e, _ in chosen))
                terms = ", ".join(to_text(e.pullback) for e, _ in chosen)
                ids = ",".join(e.id for e, _ in chosen)
                yield Mutant(
                    f"common:{name}:{s.name}:{ids}", "common", chosen[0][0].id,
                    f"{targets} without the factor {to_text(s)} in {terms}",
                    Edits(terms={e.id: rest for e, rest in chosen}),
                )  # fmt: skip


def _without_scalar(term: Term, s: Sym) -> Term:
    args = [_without_scalar(a, s) if isinstance(a, Term) else a for a in term.args]
    if isinstance(term, Scale) and term.operands[0] == s:
        return args[1]
    same = all(a is b for a, b in zip(args, term.args, strict=True))
    return term if same else term.func(*args)


def _target(edge: Edge) -> str:
    return to_text(edge.operand.with_(mark="bar"))


def _other_steps(edge: Edge) -> Iterator[tuple[int, str, Term, str]]:
    """The pullback with another rule for a quotient or a product: what, the term, and words."""
    for k, step in enumerate(edge.applications):
        bar = edge.adjoint if k == 0 else edge.steps[k].before
        parts, i = step.node.operands, edge.path[k]
        if any(x.shape != bar.shape for x in parts):
            continue
        if isinstance(step.node, Divide) and i == 0:
            words = f"multiplied by {to_text(parts[1])}, not divided,"
            yield k, ":multiplied", edge.resumed(k, Hadamard(bar, parts[1])), words
        elif isinstance(step.node, Divide):
            words = f"divided by {to_text(parts[1])} once more"
            yield k, ":divided", edge.resumed(k, Divide(step.after, parts[1])), words
        elif isinstance(step.node, Hadamard) and len(parts) == 2:
            words = f"with the factor {to_text(parts[i])} instead of {to_text(parts[1 - i])}"
            yield k, ":own", edge.resumed(k, Hadamard(bar, parts[i])), words


def without_steps(edge: Edge) -> Iterator[tuple[int, Term, str]]:
    """The pullback with one rule application left out, where shapes still fit."""
    for k, step in enumerate(edge.applications):
        if step.before.shape != step.after.shape or step.before == step.after:
            continue
        bar = edge.adjoint if k == 0 else edge.steps[k].before
        yield k, edge.resumed(k, bar), _step_words(edge, k)


def _step_words(edge: Edge, k: int) -> str:
    """What the k-th step of a pullback puts in: φ′, the other factors, a divisor, a matrix."""
    step, i = edge.steps[k], edge.path[k]
    node = step.node
    if isinstance(node, Apply):
        return f"φ′ of {node}"
    if isinstance(node, Hadamard):
        others = [x for j, x in enumerate(node.operands) if j != i]
        return f"the factor {to_text(others[0] if len(others) == 1 else Hadamard(*others))}"
    if isinstance(node, Scale) and i == 1:
        return f"the factor {to_text(node.operands[0])}"
    if isinstance(node, Divide) and i == 0:
        return f"the divisor {to_text(node.operands[1])}"
    if isinstance(node, Times) and len(node.operands) == 2:
        other = node.operands[1 - i]
        turned = other.operands[0] if isinstance(other, Transpose) else Transpose(other)
        return f"the factor {to_text(turned)}"
    return f"the {step.rule}" if isinstance(node, Neg) else f"the derivative of the {step.rule}"
