"""Sums over another axis, units in other places: blocks, classes of labels, shifts.

A reduction over the units, in the Jacobian of a softmax or of a normalisation, runs over the
sequences of the batch instead; of gates that are packed below each other, one stands for all; a
one-hot vector is that of the class beside, or not one-hot; a fixed matrix, such as a shift of a
convolution, is transposed or once too many. One line of a convolution is all of its taps at once:
those mistakes are grouped over all terms that go back through one matrix.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import sympy

from ..calculus.printing.text import to_text
from ..calculus.terms import (
    Broadcast,
    Divide,
    Dot,
    Hadamard,
    Neg,
    Num,
    Pad,
    Plus,
    Scale,
    Size,
    Slice,
    Sym,
    Term,
    Times,
    Transpose,
    UnitSum,
    dims_equal,
    has_bar,
    symbols_in,
)
from .assumptions import simplified, summing_to_one
from .batches import OverSequences
from .edits import Edits
from .program import Derivation, Edge
from .subterms import occurrences, replaced_at

__all__ = [
    "fixed_matrices", "mistaken_shifts", "other_labels", "over_sequences", "packed_blocks",
    "unweighted",
]  # fmt: skip

#: Shares of smoothed labels that go to the other classes.
SMOOTHED = (sympy.Rational(1, 10), sympy.Rational(1, 5), sympy.Rational(1, 20))


def over_sequences(term: Term) -> Iterator[tuple[Term, str]]:
    """The term with a sum over units taken over the sequences instead, and with all of them so."""
    found = []
    for node, path in occurrences(term):
        other = _along_the_batch(node)
        if other is not None:
            found.append((path, other))
            inner = next(n for n, _ in occurrences(node) if _is_reduction(n))
            summed = " summed" if isinstance(inner, Dot) else ""
            words = f"{to_text(inner)}{summed} over the sequences, not over the units"
            yield replaced_at(term, path, other), words
    if len(found) > 1:
        whole = term
        for path, other in sorted(found, key=lambda pair: -len(pair[0])):
            whole = replaced_at(whole, path, other)
        yield whole, "sums over the sequences in place of those over the units"


def unweighted(term: Term) -> Iterator[tuple[Term, str]]:
    """The mean or the sum of an adjoint over the units in place of its sum with weights, αᵀδ."""
    for node, path in occurrences(term):
        if not isinstance(node, Dot):
            continue
        adjoints = [x for x in node.operands if has_bar(x)]
        for x in adjoints if len(adjoints) == 1 else ():
            total = UnitSum(x)
            for other, what in ((Divide(total, Size(x.shape[0])), "mean"), (total, "sum")):
                words = f"the plain {what} of {to_text(x)} instead of {to_text(node)}"
                yield replaced_at(term, path, other), words


def _is_reduction(node: Term) -> bool:
    return isinstance(node, Dot | UnitSum) and has_bar(node)


def _along_the_batch(node: Term) -> Term | None:
    """A repeated or multiplied sum over units, with a sum over the sequences for each unit."""
    if isinstance(node, Broadcast):
        return _spread(node.operands[0])
    if isinstance(node, Scale):
        each = _spread(node.operands[0])
        other = node.operands[1]
        return None if each is None or each.shape != other.shape else Hadamard(each, other)
    return None


def _spread(scalar: Term) -> Term | None:
    """A scalar that is linear in one sum over units, for each unit with the sum over sequences."""
    if isinstance(scalar, Dot) and has_bar(scalar):
        return OverSequences(Hadamard(*scalar.operands))
    if isinstance(scalar, UnitSum) and has_bar(scalar):
        return OverSequences(scalar.operands[0])
    if isinstance(scalar, Neg):
        inner = _spread(scalar.operands[0])
        return None if inner is None else Neg(inner)
    if isinstance(scalar, Divide):
        top, below = scalar.operands
        inner = _spread(top)
        if isinstance(inner, OverSequences) and isinstance(below, Size):
            return OverSequences(inner.x, mean=True)
        return None if inner is None else Divide(inner, Broadcast(below, *inner.shape))
    if isinstance(scalar, Scale):
        factor, rest = scalar.operands
        inner = _spread(rest)
        return None if inner is None else Scale(factor, inner)
    return None


def packed_blocks(
    derivation: Derivation, equation: Sym, lines: Sequence[tuple[str, list[Edge]]]
) -> Iterator[tuple[str, str, str, str, Edits]]:
    """Kind, detail, where, words and edits, of a value that is taken apart into equal blocks."""
    blocks = _blocks(derivation, equation)
    bar, names = equation.with_(mark="bar"), list(blocks)
    orders: dict[str, list[str]] = {}
    for n in names:
        orders[f"δ{n} in the place of every block of {to_text(bar)}"] = [n] * len(names)
    for a, b in combinations(names, 2):
        turned = [{a: b, b: a}.get(n, n) for n in names]
        orders[f"the blocks δ{a} and δ{b} of {to_text(bar)} exchanged"] = turned
    for what, order in orders.items() if len(names) > 1 else ():
        parts = [
            Pad(Slice(bar, *blocks[n]), blocks[place][0], equation.shape[0])
            for place, n in zip(names, order, strict=True)
        ]
        for line, some in lines:
            if len(some) == 1 and some[0].kind != "param":
                continue
            terms: dict[str, Term | None] = {
                e.id: e.pullback.xreplace({bar: Plus(*parts)}) for e in some
            }
            ends = line.partition(":")[0]
            if all(e.kind == "param" for e in some):
                ends = ", ".join(to_text(e.operand.with_(mark="bar")) for e in some)
            words = f"{ends} with {what}"
            yield "block", f"{line}:{what}", some[0].id, words, Edits(terms=terms)


def other_labels(derivation: Derivation, edge: Edge) -> Iterator[tuple[str, str, Term, str]]:
    """Kind, detail, the term, and words: labels of a class beside, wrapped or not, or smoothed."""
    domains = summing_to_one(derivation.network)
    whole, _ = simplified(edge.pullback, domains)
    for s in dict.fromkeys(symbols_in(whole)):
        if s.mark or s.name not in domains or s.shape[1] != 1 or s.shape[0].is_Integer:
            continue
        n, shown = s.shape[0], to_text(s)
        first, last = Pad(Slice(s, 0, 1), n - 1, n), Pad(Slice(s, n - 1, n), 0, n)
        higher, lower = Pad(Slice(s, 0, n - 1), 1, n), Pad(Slice(s, 1, n), 0, n)
        beyond = "the last one counted as the first", "the first one counted as the last"
        found: dict[str, Term] = {
            f"the class after that of {shown}": higher,
            f"the class after that of {shown}, {beyond[0]}": Plus(higher, last),
            f"the class before that of {shown}": lower,
            f"the class before that of {shown}, {beyond[1]}": Plus(lower, first),
        }
        for share in SMOOTHED if edge.kind != "param" else ():
            kept, each = Scale(Num(1 - share), s), Divide(Num(share), Size(n))
            words = f"smoothed labels {float(1 - share):g} · {shown} + {float(share):g} / {n}"
            found[words] = Plus(kept, Broadcast(each, n))
        for words, term in found.items():
            yield "label", words, whole.xreplace({s: term}), f"{words} instead of {shown}"


def _blocks(derivation: Derivation, equation: Sym) -> dict[str, tuple[Term, Term]]:
    """Ranges of rows by what is printed for what reads them; none unless all have one length."""
    found = {}
    for edge in derivation.readers(equation.name):
        node = edge.steps[-1].node if edge.steps else None
        if not isinstance(node, Slice) or node.operands[0] != equation or edge.lag != 0:
            return {}
        found[to_text(edge.equation)] = node.args[1:]
    sizes = [stop - start for start, stop in found.values()]
    return found if all(dims_equal(n, sizes[0]) for n in sizes) else {}


def fixed_matrices(term: Term) -> list[Sym]:
    """Square matrices without a gradient that a term reads."""
    found = dict.fromkeys(s for s in symbols_in(term) if s.kind == "fixed" and not s.mark)
    return [s for s in found if dims_equal(*s.shape)]


def mistaken_shifts(edge: Edge) -> Iterator[tuple[str, str, Term, str]]:
    """Kind, detail, the term, and words for what is wrong in it."""
    whole = edge.pullback
    for s in fixed_matrices(whole):
        exchanged: dict[Term, Term] = {s: Transpose(s), Transpose(s): s}
        words = f"{to_text(s)} and {to_text(Transpose(s))} exchanged"
        yield "flipped", s.name, whole.xreplace(exchanged), words
    for s in fixed_matrices(edge.rhs) if edge.kind != "param" else ():
        if not dims_equal(whole.shape[1], s.shape[0]):
            continue
        last = whole.operands[-1] if isinstance(whole, Times) else None
        for more, less in ((s, Transpose(s)), (Transpose(s), s)):
            # what was shifted to the other side stays where it was
            back = isinstance(whole, Times) and last == less
            term = Times(*whole.operands[:-1]) if back else Times(whole, more)
            words = f"one {to_text(more)} too many, or one {to_text(less)} less,"
            yield "shifted", to_text(more), term, words
