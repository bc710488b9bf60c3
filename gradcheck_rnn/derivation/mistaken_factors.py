"""Factors of a derived term that are written wrongly: too many, another operation, the wrong side.

Where `mistaken_values` takes one value for another, these change what is done with them.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

from ..calculus.printing.text import to_text
from ..calculus.terms import (
    Apply,
    Broadcast,
    Divide,
    Hadamard,
    Neg,
    Num,
    Ones,
    Plus,
    Power,
    Scale,
    Softmax,
    Sym,
    Term,
    Times,
    Transpose,
    Unvec,
    Vec,
    dims_equal,
    has_bar,
    symbols_in,
)
from .program import Edge, ScanProgram
from .subterms import instead, is_complement, occurrence, occurrences, replaced_at, values_read

__all__ = ["mistaken_factors"]

Mistake = tuple[str, str, Term, str]


def mistaken_factors(program: ScanProgram, edge: Edge) -> Iterator[Mistake]:
    """Kind, detail, the term, and words for what is wrong in it."""
    yield from _too_many(program, edge)
    yield from _operations(edge)
    yield from _divided(edge)
    yield from _matrices_left_out(edge)
    yield from _order_of_entries(edge)
    yield from _slopes_twice(edge)
    yield from _lost_brackets(edge)
    yield from _on_one_term(edge)
    yield from _diagonal_of_softmax(edge)
    yield from _within_factors(edge)


def _too_many(program: ScanProgram, edge: Edge) -> Iterator[Mistake]:
    """A gate, an input, a parameter or a scalar as a factor of a value or of the adjoint."""
    gates = [e.symbol for e in program.equations if isinstance(e.rhs, Apply)]
    own = [n for n, _ in occurrences(edge.rhs) if isinstance(n, Sym)]
    read = [e.operand for e in program.edges if e.kind in ("param", "input", "static")]
    for s in (edge.adjoint, *values_read(edge)):
        others = [*gates, *(x for x in own if x.kind in ("param", "fixed") and s.mark), *read]
        for x in dict.fromkeys(others):
            if x.shape == s.shape and x != s and (x.kind != "param" or not s.mark or x in own):
                term = edge.pullback.xreplace({s: Hadamard(s, x)})
                words = f"the factor {to_text(x)} too many"
                words += f", beside {to_text(s)}" if x not in gates and not s.mark else ""
                lag = "" if x in gates else x.lag
                yield "besides", f"{s.name}{s.mark}*{x.name}{lag}", term, words
    scalars = [e.symbol for e in program.equations]
    scalars += [x for x in read if x.kind != "param"]
    for s in dict.fromkeys(scalars) if edge.adjoint.shape != (1, 1) else ():
        if s.shape == (1, 1) and s != edge.operand and s.heads == edge.adjoint.heads:
            scaled = Scale(s, edge.adjoint)  # before a sum over sequences, which share no scalar
            term = edge.pullback.xreplace({edge.adjoint: scaled})
            yield "besides", f"*{s.name}", term, f"the factor {to_text(s)} too many"


def _operations(edge: Edge) -> Iterator[Mistake]:
    """A sum or a difference where a product belongs: a + b for a ⊙ b; and a product for a sum."""
    whole = edge.pullback
    for node, path in occurrences(whole):
        wrong: list[tuple[Term, Term, Term]] = []  # in all, what is written, what it stands for
        if isinstance(node, Hadamard):
            for i, j in combinations(range(len(node.operands)), 2):
                a, b = node.operands[i], node.operands[j]
                if any(is_complement(x) and x.has(y) for x, y in ((a, b), (b, a))):
                    continue  # z + (1 − z) is 1: both factors left out
                plain = not (has_bar(a) or has_bar(b))
                for new in (Plus(a, b), *((Plus(a, Neg(b)), Plus(b, Neg(a))) if plain else ())):
                    factors = [new if k == i else f for k, f in enumerate(node.operands) if k != j]
                    product = new if len(factors) == 1 else Hadamard(*factors)
                    wrong.append((product, new, Hadamard(a, b)))
        elif isinstance(node, Plus) and not has_bar(node):
            parts = [x.operands[0] if isinstance(x, Neg) else x for x in node.operands]
            if not any(isinstance(x, Ones | Num | Broadcast) for x in parts):
                wrong.append((Hadamard(*parts), Hadamard(*parts), node))
        for k, (all_of_it, new, old) in enumerate(wrong):
            yield "operation", f"{path}{k}", replaced_at(whole, path, all_of_it), instead(new, old)


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


def _matrices_left_out(edge: Edge) -> Iterator[Mistake]:
    """A square matrix left out of a product."""
    for node, _ in occurrences(edge.pullback):
        if isinstance(node, Times) and len(node.operands) == 2:
            matrix, column = node.operands
            if dims_equal(*matrix.shape) and column.shape == node.shape:
                term = edge.pullback.xreplace({node: column})
                yield "matrix", to_text(matrix), term, f"without {to_text(matrix)}"


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


def _within_factors(edge: Edge) -> Iterator[Mistake]:
    """φ(−x) for φ(x), (1 − c)² for 1 − c², a + b for a − b."""
    whole = edge.pullback
    for node, path in occurrences(whole):
        if has_bar(node):
            continue
        above = path and occurrence(whole, path[:-1])
        even = isinstance(above, Power) and above.exponent % 2 == 0
        if isinstance(node, Apply) and not even:
            new: Term = Apply(node.fname, node.x.operands[0] if isinstance(node.x, Neg) else
                              Neg(node.x))  # fmt: skip
            yield "argument", f"{path}", replaced_at(whole, path, new), instead(new, node)
        elif isinstance(node, Plus):
            for k, part in enumerate(node.operands[1:], start=1):
                turned = part.operands[0] if isinstance(part, Neg) else Neg(part)
                new = Plus(*node.operands[:k], turned, *node.operands[k + 1 :])
                yield "inner-sign", f"{path}{k}", replaced_at(whole, path, new), instead(new, node)
            last = node.operands[-1]
            inner = last.operands[0] if isinstance(last, Neg) else None
            if isinstance(inner, Power) and inner.exponent == 2 and len(node.operands) == 2:
                base = inner.operands[0]
                wide = Power(Plus(node.operands[0], Neg(base)), 2)
                twice = Plus(node.operands[0], Neg(Scale(Num(2), base)))
                for k, new in enumerate((wide, twice)):
                    yield "square", f"{path}{k}", replaced_at(whole, path, new), instead(new, node)
