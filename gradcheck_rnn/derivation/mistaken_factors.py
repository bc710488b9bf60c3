"""Factors of a derived term that are written wrongly: another's, one too many, on the wrong side.

Where `mistaken_terms` takes one value for another everywhere in a term, these change one place.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..calculus.printing.text import to_text
from ..calculus.terms import (
    Apply,
    Divide,
    Hadamard,
    Neg,
    Ones,
    Plus,
    Scale,
    Softmax,
    Sym,
    Term,
    Times,
    Transpose,
    Unvec,
    Vec,
    has_bar,
    symbols_in,
)
from .program import Derivation, Edge

__all__ = ["mistaken_factors", "occurrences", "replaced_at"]

Mistake = tuple[str, str, Term, str]


def mistaken_factors(derivation: Derivation, edge: Edge) -> Iterator[Mistake]:
    """Kind, detail, the term, and words for what is wrong in it."""
    yield from _one_occurrence(derivation, edge)
    yield from _functions(derivation, edge)
    yield from _divided(edge)
    yield from _order_of_entries(edge)
    yield from _slopes_twice(edge)
    yield from _parameters_too_many(edge)
    yield from _lost_brackets(edge)
    yield from _on_one_term(edge)
    yield from _diagonal_of_softmax(edge)


def occurrences(term: Term) -> Iterator[tuple[Term, tuple[int, ...]]]:
    """Every subterm with the positions of arguments that lead to it."""
    stack: list[tuple[Term, tuple[int, ...]]] = [(term, ())]
    while stack:
        node, path = stack.pop()
        yield node, path
        for i, a in enumerate(node.args):
            if isinstance(a, Term):
                stack.append((a, (*path, i)))


def replaced_at(term: Term, path: tuple[int, ...], new: Term) -> Term:
    """A term with another subterm at the end of a path of `occurrences`."""
    if not path:
        return new
    args = list(term.args)
    args[path[0]] = replaced_at(args[path[0]], path[1:], new)
    return term.func(*args)


def _moves(s: Term) -> bool:
    return isinstance(s, Sym) and not s.mark and s.lag is not None


def _one_occurrence(derivation: Derivation, edge: Edge) -> Iterator[Mistake]:
    """Of a value that a term reads twice, one reading of another gate: i ⊙ (1 − f)."""
    program = derivation.program(edge.scan)
    gates = [e.symbol for e in program.equations if isinstance(e.rhs, Apply)]
    places: dict[Term, list[tuple[int, ...]]] = {}
    for node, path in occurrences(edge.pullback):
        if _moves(node):
            places.setdefault(node, []).append(path)
    for s, paths in places.items():
        for k, path in enumerate(paths) if len(paths) > 1 else ():
            for gate in gates:
                if gate.shape == s.shape and gate != s:
                    yield (
                        "copied", f"{s}{k}>{gate.name}", replaced_at(edge.pullback, path, gate),
                        f"{to_text(gate)} instead of one of the {to_text(s)}",
                    )  # fmt: skip


def _functions(derivation: Derivation, edge: Edge) -> Iterator[Mistake]:
    """A value with a function of the cell applied to it: tanh(c) for c."""
    program = derivation.program(edge.scan)
    names = dict.fromkeys(
        n.fname for e in program.equations for n, _ in occurrences(e.rhs) if isinstance(n, Apply)
    )
    for s in dict.fromkeys(n for n, _ in occurrences(edge.pullback) if _moves(n)):
        for name in names:
            new = Apply(name, s)
            yield (
                "function", f"{s}{name}", edge.pullback.xreplace({s: new}),
                f"{to_text(new)} instead of {to_text(s)}",
            )  # fmt: skip


def _divided(edge: Edge) -> Iterator[Mistake]:
    """Divided by a factor, or multiplied by a divisor."""
    for node, path in occurrences(edge.pullback):
        if isinstance(node, Hadamard):
            for k, factor in enumerate(node.operands):
                if not has_bar(factor):
                    rest = Hadamard(*node.operands[:k], *node.operands[k + 1 :])
                    term = replaced_at(edge.pullback, path, Divide(rest, factor))
                    words = f"divided by {to_text(factor)}, not multiplied"
                    yield "divided", f"{path}{k}", term, words
        elif isinstance(node, Divide):
            top, below = node.operands
            if below.shape == top.shape:
                yield (
                    "divided", f"{path}", replaced_at(edge.pullback, path, Hadamard(top, below)),
                    f"multiplied by {to_text(below)}, not divided",
                )  # fmt: skip


def _order_of_entries(edge: Edge) -> Iterator[Mistake]:
    """Entries row by row where the columns of a matrix lie below each other, as in NumPy."""
    for node, path in occurrences(edge.pullback):
        if not isinstance(node, Vec | Unvec):
            continue
        x, (rows, cols) = node.operands[0], node.shape
        new = Vec(Transpose(x)) if isinstance(node, Vec) else Transpose(Unvec(x, cols, rows))
        words = f"{to_text(node)} row by row, not column by column"
        yield "order", f"{path}", replaced_at(edge.pullback, path, new), words


def _slopes_twice(edge: Edge) -> Iterator[Mistake]:
    """φ′ applied twice, or that of an output activation whose loss has it in its gradient."""
    for k, step in enumerate(edge.applications):
        if not isinstance(step.node, Apply) or step.before.shape != step.after.shape:
            continue
        bar: Term = edge.adjoint if k == 0 else step.before
        out: Term = edge.equation if k == 0 else step.node
        i = edge.path[k]
        once = edge.rules[step.node].pullback(step.node, i, bar, out)
        term = edge.resumed(k, edge.rules[step.node].pullback(step.node, i, once, out))
        yield "slope-twice", str(k), term, f"φ′ of {to_text(step.node)} twice"
    for node, _ in occurrences(edge.pullback):
        chosen = isinstance(node, Softmax) or (isinstance(node, Apply) and node.fname == "sigmoid")
        if chosen and node.shape == edge.pullback.shape:
            slope = Hadamard(node, Plus(Ones(*node.shape), Neg(node)))
            if isinstance(node, Softmax):
                again = edge.rules[node].pullback(node, 0, edge.pullback, node)
                yield "slope-twice", "whole", again, f"the Jacobian of {to_text(node)} too many"
            yield (
                "slope-twice", to_text(node), Hadamard(edge.pullback, slope),
                f"the factor {to_text(slope)} too many",
            )  # fmt: skip


def _parameters_too_many(edge: Edge) -> Iterator[Mistake]:
    """A parameter of the equation, a gain or a peephole, as a factor that does not belong."""
    own = {
        n for n, _ in occurrences(edge.rhs) if isinstance(n, Sym) and n.kind in ("param", "fixed")
    }
    for s in own:
        if s.shape == edge.adjoint.shape:
            term = edge.pullback.xreplace({edge.adjoint: Hadamard(edge.adjoint, s)})
            yield "besides", f"{s.name}", term, f"the factor {to_text(s)} too many"


def _lost_brackets(edge: Edge) -> Iterator[Mistake]:
    """δ ⊙ a − b for δ ⊙ (a − b), and a factor of one of the terms only."""
    for node, path in occurrences(edge.pullback):
        if isinstance(node, Scale):
            factor, inner = node.operands
            if isinstance(inner, Plus):
                lost = Plus(Scale(factor, inner.operands[0]), *inner.operands[1:])
                yield _lost(edge, path, node, lost)
        elif isinstance(node, Hadamard):
            for k, inner in enumerate(node.operands):
                if isinstance(inner, Plus) and not has_bar(inner):
                    first, *others = inner.operands
                    rest = [*node.operands[:k], *node.operands[k + 1 :]]
                    head = rest if isinstance(first, Ones) else [*rest, first]
                    product = head[0] if len(head) == 1 else Hadamard(*head)
                    yield _lost(edge, path, node, Plus(product, *others))


def _lost(edge: Edge, path: tuple[int, ...], node: Term, lost: Term) -> Mistake:
    words = f"{to_text(lost)} instead of {to_text(node)}, a bracket lost"
    return "lost-bracket", f"{path}", replaced_at(edge.pullback, path, lost), words


def _on_one_term(edge: Edge) -> Iterator[Mistake]:
    """A product of a sum taken apart, where one of its terms has lost a factor of the others."""
    whole = edge.pullback
    for node, path in occurrences(whole):
        if not isinstance(node, Plus) or has_bar(node) or not _is_linear(whole, path):
            continue
        for k, part in enumerate(node.operands):
            others = [*node.operands[:k], *node.operands[k + 1 :]]
            rest = replaced_at(whole, path, others[0] if len(others) == 1 else Plus(*others))
            alone = replaced_at(whole, path, part)
            for lost, factor, at in _without_a_factor(alone):
                if at[: len(path)] == path or factor in symbols_in(node):
                    continue
                words = f"the factor {to_text(factor)} missing in one of the terms, "
                words += f"{to_text(alone)}, of a product that is taken apart"
                yield "one-term", f"{path}{k}{at}", Plus(rest, lost), words


def _is_linear(term: Term, path: tuple[int, ...]) -> bool:
    """Whether a term is linear in what is at the end of a path."""
    for i in path:
        if not isinstance(term, Plus | Neg | Scale | Hadamard | Times | Transpose):
            return False
        term = term.args[i]
    return True


def _without_a_factor(term: Term) -> Iterator[tuple[Term, Sym, tuple[int, ...]]]:
    """A term without one of its elementwise or scalar factors, the factor, where it was."""
    for node, path in occurrences(term):
        if isinstance(node, Hadamard):
            for i, factor in enumerate(node.operands):
                if isinstance(factor, Sym) and not factor.mark:
                    rest = Hadamard(*node.operands[:i], *node.operands[i + 1 :])
                    yield replaced_at(term, path, rest), factor, path
        elif isinstance(node, Scale) and isinstance(node.operands[0], Sym):
            yield replaced_at(term, path, node.operands[1]), node.operands[0], path


def _diagonal_of_softmax(edge: Edge) -> Iterator[Mistake]:
    """α ⊙ (1 − α) in place of the Jacobian of softmax, of which it is the diagonal."""
    for k, step in enumerate(edge.applications):
        if not isinstance(step.node, Softmax) or step.before.shape != step.after.shape:
            continue
        bar: Term = edge.adjoint if k == 0 else step.before
        out: Term = edge.equation if k == 0 else step.node
        slope = Hadamard(out, Plus(Ones(*out.shape), Neg(out)))
        term = edge.resumed(k, Hadamard(bar, slope))
        words = f"{to_text(slope)}, the diagonal, instead of the Jacobian of {to_text(step.node)}"
        yield "diagonal", str(k), term, words
