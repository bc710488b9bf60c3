"""Terms written in place of a derived one, as far as they take one value or adjoint for another.

They are read off the program: which values have the shape of the one that belongs there, which
adjoints are at hand where an equation is pulled back, which shares an adjoint is the sum of.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..calculus.printing.text import to_text
from ..calculus.terms import (
    Apply,
    Broadcast,
    Hadamard,
    Neg,
    Num,
    Ones,
    Plus,
    Power,
    Scale,
    Sym,
    Term,
    Times,
    Transpose,
    dims_equal,
    has_bar,
    symbols_in,
)
from .editing import sources
from .edits import Edits
from .mistaken_factors import occurrences, replaced_at
from .program import Derivation, Edge, EquationProgram

__all__ = [
    "bracket_edits",
    "kinds_of_sources",
    "made_from",
    "mistaken_terms",
    "share_edits",
    "widened",
]

Mistake = tuple[str, str, Term, str]


def mistaken_terms(derivation: Derivation, edge: Edge) -> Iterator[Mistake]:
    """Kind, detail, the term, and words for what is wrong in it."""
    yield from _other_values(derivation, edge)
    yield from _parts_of_values(derivation, edge)
    yield from _complements(edge)
    yield from _factors_too_many(derivation, edge)
    yield from _other_adjoints(derivation, edge)
    yield from _in_place(derivation, edge)


def _instead(new: Term, old: Term) -> str:
    return f"{to_text(new)} instead of {to_text(old)}"


def _values(edge: Edge) -> list[Sym]:
    """Values at a time that the pullback reads."""
    found = [s for s in symbols_in(edge.pullback) if not s.mark and s.lag is not None]
    return list(dict.fromkeys(found))


def _other_values(derivation: Derivation, edge: Edge) -> Iterator[Mistake]:
    """Any saved value of the same shape: a gate, its argument, a state."""
    program = derivation.program(edge.scan)
    states = {s.name: max(s.lags) for s in program.scan.states}
    sign = -1 if program.scan.reverse else 1
    statics = [x.operand for x in program.edges if x.kind == "static"]
    inputs = [x.operand for x in program.edges if x.kind == "input"]
    fixed = [s for s in symbols_in(edge.pullback) if not s.mark and s.kind == "static"]
    for s in (*_values(edge), *dict.fromkeys(fixed)):
        if s.kind == "input":
            for other in dict.fromkeys(inputs):
                if other.name != s.name and (other.shape, other.lag) == (s.shape, s.lag):
                    yield _value(edge, s, other)
            continue
        others = [e.symbol for e in program.equations if e.symbol.shape == s.shape]
        others += [e.symbol.with_(kind="state", lag=sign) for e in program.equations
                   if e.name in states and e.symbol.shape == s.shape]  # fmt: skip
        others += [x for x in dict.fromkeys(statics) if x.shape == s.shape]
        for other in others:
            if other.name != s.name:
                yield _value(edge, s, other)


def _value(edge: Edge, s: Sym, other: Sym) -> Mistake:
    detail = f"{s.name}{s.lag}>{other.name}{other.lag}"
    return "value", detail, edge.pullback.xreplace({s: other}), _instead(other, s)


def _parts_of_values(derivation: Derivation, edge: Edge) -> Iterator[Mistake]:
    """A value without one of its summands; for a part of the term, what it is made from."""
    made = {e.name: e for e in derivation.program(edge.scan).equations}
    for s in _values(edge):
        rhs = made[s.name].rhs if s.name in made and s.lag == 0 else None
        for k, part in enumerate(rhs.operands if isinstance(rhs, Plus) else ()):
            rest = Plus(*(x for j, x in enumerate(rhs.operands) if j != k))  # type: ignore[union-attr]
            words = f"{to_text(rest)} instead of {to_text(s)}, without {to_text(part)}"
            yield "part", f"{s.name}{k}", edge.pullback.xreplace({s: rest}), words
    for node in dict.fromkeys(_nodes(edge.pullback)):
        if isinstance(node, Sym | Ones | Num | Transpose) or node == edge.pullback:
            continue
        inner = symbols_in(node)
        if any(s.mark for s in inner) or not any(s.lag == 0 for s in inner):
            continue
        for name in dict.fromkeys(made_from(made, *(s.name for s in inner if s.lag == 0))):
            raw = made[name].symbol
            if raw.shape == node.shape:
                yield (
                    "raw", f"{to_text(node)}>{name}", edge.pullback.xreplace({node: raw}),
                    _instead(raw, node),
                )  # fmt: skip


def made_from(made: dict[str, EquationProgram], *names: str) -> Iterator[str]:
    """Equations of a step from which some values are made, those values among them."""
    stack = [n for n in names if n in made]
    seen: set[str] = set()
    while stack:
        name = stack.pop(0)
        if name not in seen:
            seen.add(name)
            yield name
            stack += [x.operand.name for x in made[name].edges
                      if x.lag == 0 and x.operand.name in made]  # fmt: skip


def _complements(edge: Edge) -> Iterator[Mistake]:
    """1 − z for z and the reverse, a square for its base, a square matrix left out."""
    turned = [n.operands[1].operands[0] for n in _nodes(edge.pullback) if _is_complement(n)]
    for s in _values(edge):
        less = Plus(Ones(*s.shape), Neg(s))
        shown = to_text(s)
        for k, (new, text) in enumerate(((less, f"1 − {shown}"), (Power(s, 2), f"{shown}²"))):
            if new == less and s in turned:
                continue  # z (1 − z) would stay as it is
            term = edge.pullback.xreplace({s: new})
            yield "complement", f"{s.name}{k}", term, f"{text} instead of {shown}"
    for node in _nodes(edge.pullback):
        if _is_complement(node):
            inner = node.operands[1].operands[0]
            shown = to_text(inner)
            yield (
                "complement", shown, edge.pullback.xreplace({node: inner}),
                f"{shown} instead of 1 − {shown}",
            )  # fmt: skip
        elif isinstance(node, Apply):
            again = Apply(node.fname, node)
            for k, new in enumerate((node.x, again)):
                yield (
                    "applied", f"{to_text(node)}{k}", edge.pullback.xreplace({node: new}),
                    _instead(new, node),
                )  # fmt: skip
        elif isinstance(node, Times) and len(node.operands) == 2:
            matrix, column = node.operands
            if dims_equal(*matrix.shape) and column.shape == node.shape:
                yield (
                    "matrix", to_text(matrix), edge.pullback.xreplace({node: column}),
                    f"without {to_text(matrix)}",
                )  # fmt: skip


def _nodes(term: Term) -> Iterator[Term]:
    """A term and all terms in it."""
    stack = [term]
    while stack:
        node = stack.pop()
        yield node
        stack += [a for a in node.args if isinstance(a, Term)]


def _is_complement(node: Term) -> bool:
    """Whether it is 1 − z."""
    if not isinstance(node, Plus) or len(node.operands) != 2:
        return False
    first, second = node.operands
    return isinstance(first, Ones | Num | Broadcast) and isinstance(second, Neg)


def _factors_too_many(derivation: Derivation, edge: Edge) -> Iterator[Mistake]:
    """A gate that does not belong to a value or to the adjoint."""
    program = derivation.program(edge.scan)
    gates = [e.symbol for e in program.equations if isinstance(e.rhs, Apply)]
    scalars = [e.symbol for e in program.equations if e.symbol.shape == (1, 1)]
    scalars += [e.operand for e in program.edges if e.kind in ("input", "static")]
    for s in dict.fromkeys(scalars) if edge.adjoint.shape != (1, 1) else ():
        if s.shape == (1, 1) and s != edge.operand and s.heads == edge.adjoint.heads:
            words = f"the factor {to_text(s)} too many"
            own = Scale(s, edge.adjoint)  # before a sum over sequences, which share no scalar
            yield "besides", f"*{s.name}", edge.pullback.xreplace({edge.adjoint: own}), words
    for s in (edge.adjoint, *_values(edge)):
        for gate in gates:
            if gate.shape == s.shape and gate != s:
                yield (
                    "besides", f"{s.name}{s.mark}*{gate.name}",
                    edge.pullback.xreplace({s: Hadamard(s, gate)}),
                    f"the factor {to_text(gate)} too many",
                )  # fmt: skip


def _other_adjoints(derivation: Derivation, edge: Edge) -> Iterator[Mistake]:
    """The adjoint of another equation: another gate's, or one that is not yet pulled back."""
    program = derivation.program(edge.scan)
    place = {e.name: k for k, e in enumerate(program.equations)}
    made = {e.name: [x.operand.name for x in e.edges if x.lag == 0] for e in program.equations}
    below, stack = set[str](), [edge.operand.name]  # their adjoints wait for this edge
    while stack:
        name = stack.pop()
        if name in made and name not in below:
            below.add(name)
            stack += made[name]
    for e in program.equations:
        bar = e.symbol.with_(mark="bar")
        if e.name == edge.equation.name or bar.shape != edge.adjoint.shape:
            continue
        if edge.kind == "equation" and e.name in below:
            continue  # it is not there yet
        yield (
            "adjoint", e.name, edge.pullback.xreplace({edge.adjoint: bar}),
            _instead(bar, edge.adjoint),
        )  # fmt: skip
    if edge.kind == "state" and edge.operand.name in place:
        bar = program.equations[place[edge.operand.name]].symbol.with_(mark="bar")
        shown = f"the adjoint {to_text(bar)} of the step itself added"
        if bar.shape == edge.pullback.shape:
            yield "added", "", Plus(edge.pullback, bar), shown


def _in_place(derivation: Derivation, edge: Edge) -> Iterator[Mistake]:
    """An adjoint that was overwritten by what another operand gets before it is read again."""
    program = derivation.program(edge.scan)
    equation = next(e for e in program.equations if e.name == edge.equation.name)
    for other in equation.edges:
        made = other.pullback
        if other.id != edge.id and made.shape == edge.adjoint.shape and made != edge.adjoint:
            term = edge.pullback.xreplace({edge.adjoint: made})
            words = f"{to_text(edge.adjoint)} overwritten in place by {to_text(made)}"
            yield "in-place", other.id.partition("<-")[2], term, words


def _source_text(derivation: Derivation, source: str) -> str:
    if "<-" in source:
        return to_text(derivation.edge(source).pullback)
    if source.startswith("final "):
        return f"the cotangent of the final state {source.removeprefix('final ')}"
    return "the loss" if source == "loss" else f"the cotangent of {source.removeprefix('g_')}"


def bracket_edits(derivation: Derivation, edge: Edge) -> Iterator[tuple[str, str, str, Edits]]:
    """A factor of one term of an adjoint that is applied to the whole sum: a bracket too far."""
    if edge.kind != "equation":
        return
    name = edge.operand.name
    others = [s for s in sources(derivation, name) if s != edge.id]
    out = derivation.equation_edges(name)
    if not others:
        return
    bar = out[0].adjoint if out else edge.operand.with_(mark="bar")
    factors: list[tuple[Term, str]] = []
    for step, i in zip(edge.applications, edge.path, strict=True):
        if isinstance(step.node, Apply) and step.node.shape == bar.shape:
            slope = edge.rules[step.node].pullback(step.node, i, bar, step.node)
            factors.append((slope, f"φ′ of {to_text(step.node)}"))
    for s in symbols_in(edge.pullback):
        if not s.mark and s.lag is not None and s.shape == bar.shape and s.name != name:
            factors.append((Hadamard(bar, s), f"the factor {to_text(s)}"))
    for which, some in widened(derivation, others).items():
        for k, (wrong, text) in enumerate(factors):
            edits = {(s, e.id): e.pullback.xreplace({bar: wrong}) for s in some for e in out}
            words = f"{to_text(bar)} with {text} applied {which}, not to "
            words += f"{to_text(edge.pullback)} alone"
            detail = str(k) if some == others else f"{k} {which}"
            yield "bracket-too-far", detail, words, Edits(shares=dict(edits))


def widened(derivation: Derivation, others: list[str]) -> dict[str, list[str]]:
    """Terms of an adjoint over which a bracket may reach: all, or some that are one value."""
    found = {"to all its terms": others}
    for name, some in kinds_of_sources(derivation, others).items():
        if some and len(some) < len(others):
            found[f"to {name} as well"] = some
    return found


def kinds_of_sources(derivation: Derivation, every: Sequence[str]) -> dict[str, list[str]]:
    """The terms of an adjoint: what the carry holds, what is asked of outputs, the step's own."""
    kinds = {x.id: x.kind for x in derivation.edges if x.id in every}
    carried = [s for s in every if s.startswith("final ") or kinds.get(s) == "state"]
    outside = [s for s in every if s.startswith("g_") or s == "loss"]
    return {
        "what comes back through time": carried,
        "the cotangents of outputs": outside,
        "what the step itself gives": [s for s in every if s not in carried and s not in outside],
    }


def share_edits(derivation: Derivation, edge: Edge) -> Iterator[tuple[str, str, str, Edits]]:
    """Kind, detail, words and edits for mistakes in one of the shares of an adjoint."""
    shares = sources(derivation, edge.equation.name)
    if len(shares) < 2:
        return
    target, whole = to_text(edge.operand.with_(mark="bar")), to_text(edge.pullback)
    own = len(derivation.readers(edge.equation.name)) > 1 or any("<-" not in s for s in shares)
    several = own and len(derivation.equation_edges(edge.equation.name)) > 1
    for source in shares:
        text = _source_text(derivation, source)
        for k, step in enumerate(edge.applications):
            if not isinstance(step.node, Apply) or step.before.shape != step.after.shape:
                continue
            term = edge.resumed(k, edge.adjoint if k == 0 else step.before)
            words = f"{target} with φ′ of {to_text(step.node)} on the other terms only, a lost "
            words += f"bracket: the share of {text} in {to_text(edge.adjoint)} goes without φ′"
            yield "bracket", f"{source}/{k}", words, Edits(shares={(source, edge.id): term})
        for k, (rest, factor) in enumerate(_without_a_factor(edge.pullback)):
            words = (
                f"{target} with the factor {factor} on the other terms only, a lost bracket: the "
            )
            words += f"share of {text} in {to_text(edge.adjoint)} goes without it"
            yield "bracket", f"{source}*{k}", words, Edits(shares={(source, edge.id): rest})
        if several:
            yield (
                "share", source,
                f"{target} without the share of {text} in {to_text(edge.adjoint)} in {whole}",
                Edits(shares={(source, edge.id): None}),
            )  # fmt: skip
            yield (
                "share-twice", source,
                f"{target} with twice the share of {text} in {to_text(edge.adjoint)} in {whole}",
                Edits(shares={(source, edge.id): Scale(Num(2), edge.pullback)}),
            )  # fmt: skip


def _without_a_factor(term: Term) -> Iterator[tuple[Term, str]]:
    """A product without one of the factors beside its adjoint."""
    for node, path in occurrences(term):
        if isinstance(node, Hadamard):
            for i, factor in enumerate(node.operands):
                if not has_bar(factor) and isinstance(factor, Sym):
                    rest = Hadamard(*node.operands[:i], *node.operands[i + 1 :])
                    yield replaced_at(term, path, rest), to_text(factor)
        elif isinstance(node, Scale) and not has_bar(node.operands[0]):
            yield replaced_at(term, path, node.operands[1]), to_text(node.operands[0])
