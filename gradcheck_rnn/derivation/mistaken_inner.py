"""Parts of equations in place of what they make, and factors that are changed within.

A value is taken for one of the parts that it is made from, a function's argument has the other
sign, a sum within a factor has one of its signs reversed, a square stands over too much.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..calculus.printing.text import to_text
from ..calculus.terms import (
    Apply,
    Divide,
    Hadamard,
    Neg,
    Num,
    Ones,
    Plus,
    Power,
    Scale,
    Sym,
    Term,
    has_bar,
    shift,
    symbols_in,
)
from .mistaken_factors import occurrences, replaced_at
from .program import Derivation, Edge, ScanProgram

__all__ = ["mistaken_inner"]

Mistake = tuple[str, str, Term, str]


def mistaken_inner(derivation: Derivation, edge: Edge) -> Iterator[Mistake]:
    """Kind, detail, the term, and words for what is wrong in it."""
    program = derivation.program(edge.scan)
    yield from _parts(derivation, program, edge)
    yield from _within_factors(edge)
    yield from _inputs_too_many(program, edge)
    if not derivation.network.loss_terms:
        yield from _values_for_adjoints(program, edge)


def _instead(new: Term, old: Term) -> str:
    return f"{to_text(new)} instead of {to_text(old)}"


def _read(term: Term) -> list[Sym]:
    """Values at a time that a term reads."""
    found = [s for s in symbols_in(term) if not s.mark and s.lag is not None]
    return list(dict.fromkeys(found))


def _parts(derivation: Derivation, program: ScanProgram, edge: Edge) -> Iterator[Mistake]:
    """A part of the equation that makes a value, or of another one: tanh(c) for o ⊙ tanh(c)."""
    states = {s.name for s in program.scan.states}
    sign = -1 if program.scan.reverse else 1
    made = {e.name: e for p in derivation.scans for e in p.equations}
    functions = dict.fromkeys(
        node for e in program.equations for node, path in occurrences(e.rhs)
        if path and isinstance(node, Apply | Divide) and not has_bar(node)
    )  # fmt: skip
    values = [e.symbol for e in program.equations]
    values += [v.with_(kind="state", lag=sign) for v in values if v.name in states]
    for node in dict.fromkeys(functions):
        for other in values if edge.pullback.has(node) else ():
            if other.shape == node.shape:
                term = edge.pullback.xreplace({node: other})
                yield (
                    "inner",
                    f"{to_text(node)}>{other.name}{other.lag}",
                    term,
                    _instead(other, node),
                )
    for s in _read(edge.pullback):
        parts: list[Term] = []
        if s.name in made and s.lag in (0, sign):
            parts = [n for n, path in occurrences(made[s.name].rhs) if path]
        if s.lag == 0:
            parts += [*functions, *_inputs_behind(program, s)]
        for part in dict.fromkeys(parts):
            if part.shape != s.shape or isinstance(part, Num | Ones):
                continue
            inner = _read(part)
            if not inner or (isinstance(part, Sym) and part.kind != "input"):
                continue  # values with a name are taken for each other elsewhere
            if s.lag and not all(x.lag == 0 and x.name in states for x in inner):
                continue  # before the first step there are states only
            new = shift(part, -s.lag) if s.lag else part
            term = edge.pullback.xreplace({s: new})
            yield "inner", f"{s.name}{s.lag}>{to_text(part)}", term, _instead(new, s)


def _inputs_behind(program: ScanProgram, value: Sym) -> Iterator[Sym]:
    """Inputs of the step that a value is made from, over any number of equations."""
    made = {e.name: e for e in program.equations}
    stack, seen = [value.name], set[str]()
    while stack:
        name = stack.pop()
        if name not in seen:
            seen.add(name)
            read = [x.operand for x in made[name].edges if x.lag == 0] if name in made else []
            stack += [x.name for x in read]
            yield from (x for x in read if x.kind == "input")


def _within_factors(edge: Edge) -> Iterator[Mistake]:
    """φ(−x) for φ(x), (1 − c)² for 1 − c², a + b for a − b."""
    whole = edge.pullback
    for node, path in occurrences(whole):
        if has_bar(node):
            continue
        above = path and occurrence(whole, path[:-1])
        even = isinstance(above, Power) and above.exponent % 2 == 0
        if isinstance(node, Apply) and not even:
            new: Term = Apply(node.fname, node.x.operands[0] if _is_negative(node.x) else
                              Neg(node.x))  # fmt: skip
            yield "argument", f"{path}", replaced_at(whole, path, new), _instead(new, node)
        elif isinstance(node, Plus):
            for k, part in enumerate(node.operands[1:], start=1):
                turned = part.operands[0] if _is_negative(part) else Neg(part)
                new = Plus(*node.operands[:k], turned, *node.operands[k + 1 :])
                yield "inner-sign", f"{path}{k}", replaced_at(whole, path, new), _instead(new, node)
            last = node.operands[-1]
            inner = last.operands[0] if _is_negative(last) else None
            if isinstance(inner, Power) and inner.exponent == 2 and len(node.operands) == 2:
                base = inner.operands[0]
                wide = Power(Plus(node.operands[0], Neg(base)), 2)
                twice = Plus(node.operands[0], Neg(Scale(Num(2), base)))
                for k, new in enumerate((wide, twice)):
                    yield "square", f"{path}{k}", replaced_at(whole, path, new), _instead(new, node)


def occurrence(term: Term, path: tuple[int, ...]) -> Term:
    """The subterm at the end of a path."""
    for i in path:
        term = term.args[i]
    return term


def _is_negative(term: Term) -> bool:
    return isinstance(term, Neg)


def _inputs_too_many(program: ScanProgram, edge: Edge) -> Iterator[Mistake]:
    """A parameter or an input as a factor of a value or of the adjoint where it does not belong."""
    others = [e.operand for e in program.edges if e.kind in ("param", "input", "static")]
    for s in (edge.adjoint, *_read(edge.pullback)):
        for x in dict.fromkeys(others):
            if x.shape == s.shape and x != s and (not s.mark or x.kind != "param"):
                term = edge.pullback.xreplace({s: Hadamard(s, x)})
                words = f"the factor {to_text(x)} too many, beside {to_text(s)}"
                yield "besides", f"{s.name}{s.mark}*{x.name}{x.lag}", term, words


def _values_for_adjoints(program: ScanProgram, edge: Edge) -> Iterator[Mistake]:
    """An input or a state where the adjoint belongs."""
    if edge.kind in ("equation", "state"):
        return
    others = [e.operand for e in program.edges if e.kind in ("input", "state", "static")]
    for x in dict.fromkeys(others):
        if x.shape == edge.adjoint.shape and edge.adjoint.heads == 1:
            term = edge.pullback.xreplace({edge.adjoint: x})
            yield "for-adjoint", f"{x.name}{x.lag}", term, _instead(x, edge.adjoint)
