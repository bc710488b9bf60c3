"""One value of a term taken for another of the same shape.

Most slips in a line are a wrong name: another gate, the state after the step, another parameter,
what a value is made from or what is made from it, the adjoint itself, a last state of another scan.
Which ones can be meant is read off the program: they are at hand where the equation is pulled back.
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
    Sym,
    Term,
    Transpose,
    has_bar,
    shift,
    symbols_in,
)
from .program import Derivation, Edge, EquationProgram, ScanProgram
from .subterms import instead, is_complement, occurrences, replaced_at, values_read

__all__ = ["made_from", "mistaken_values"]

Mistake = tuple[str, str, Term, str]


def mistaken_values(derivation: Derivation, edge: Edge) -> Iterator[Mistake]:
    """Kind, detail, the term, and words for what is wrong in it."""
    program = derivation.program(edge.scan).near(edge)
    yield from _at_another_time(program, edge)
    yield from _others(derivation, program, edge)
    yield from _one_occurrence(program, edge)
    yield from _made_of(derivation, program, edge)
    yield from _functions_of(program, edge)
    if not derivation.network.loss_terms:
        yield from _for_adjoint(program, edge)


def _sign(program: ScanProgram) -> int:
    return -1 if program.scan.reverse else 1


def _of_step(s: Sym) -> bool:
    """Whether it is a value of the step at work, or of a scan that has one step only."""
    return s.lag == 0 or (s.lag is None and s.kind == "equation")


def _at_another_time(program: ScanProgram, edge: Edge) -> Iterator[Mistake]:
    """A saved value read one step too early or too late."""
    states, sign = {s.name for s in program.scan.states}, _sign(program)
    for s in values_read(edge):
        for lag in () if s.lag is None else (s.lag + sign, s.lag - sign):
            outside = s.kind in ("input", "sequence") and lag == sign
            if lag * sign < 0 or (lag != 0 and s.name not in states and not outside):
                continue  # before its first step a gate has no value, later none is computed
            moved = s.with_(lag=lag)
            term = edge.pullback.xreplace({s: moved})
            yield "time", f"{s.name}{s.lag}{lag}", term, instead(moved, s)


def _others(derivation: Derivation, program: ScanProgram, edge: Edge) -> Iterator[Mistake]:
    """Any value of the same shape that is at hand, those of the same role first."""
    whole, late = edge.pullback, list[Mistake]()
    own = dict.fromkeys(
        n for n, _ in occurrences(edge.rhs) if isinstance(n, Sym) and n.kind == "param"
    )
    factors = {f for n, _ in occurrences(whole) if isinstance(n, Hadamard) for f in n.operands}
    values, shared = _at_hand(derivation, program), _shared(program)
    for s in dict.fromkeys(x for x in symbols_in(whole) if not x.mark):
        for other in _of_its_role(derivation, program, edge, s):
            if other.name != s.name and (other.name in shared) == (s.name in shared):
                detail = f"{s.name}>{other.name}"
                yield "sibling", detail, whole.xreplace({s: other}), instead(other, s)
        others = list(own) if s in factors else []
        if s.kind not in ("param", "fixed"):
            others += [*values, *([edge.adjoint] if edge.adjoint.heads == s.heads else [])]
        elif s in factors:
            others += [v for v in values if v.kind == "equation"]
        for other in others:
            if other.shape == s.shape and (other.name != s.name or other.mark):
                detail = f"{_said(s)}>{_said(other)}"
                late.append(("value", detail, whole.xreplace({s: other}), instead(other, s)))
    yield from late


def _said(s: Sym) -> str:
    return f"{s.name}{s.mark}{'' if s.lag is None else s.lag}"


def _at_hand(derivation: Derivation, program: ScanProgram) -> list[Sym]:
    """Values of a step, its states before, and what it reads of others.

    Of other scans also inputs and states of the same step; their last states and starts where a
    scan has one step only.
    """
    states, sign = {s.name for s in program.scan.states}, _sign(program)
    found = [e.symbol for e in program.equations]
    found += [v.with_(kind="state", lag=sign) for v in found if v.name in states]
    found += _given(program)  # masks, which have no gradient, among them
    for other in derivation.scans:
        if other is not program and other.scan.axis == program.scan.axis is not None:
            found += [s for s in _given(other) if s.kind != "sequence" and s.lag == 0]
            states = {s.name for s in other.scan.states}
            found += [e.symbol for e in other.equations if e.name in states]
    for other in derivation.scans if program.scan.axis is None else ():
        made = {e.name: e.symbol for e in other.equations}
        for state in other.scan.states if other is not program else ():
            ends = [state.final, *(i.ref.name for i in state.initial if i.ref is not None)]
            if state.name in made:
                found += [made[state.name].with_(name=n, kind="static", lag=None) for n in ends]
    return list(dict.fromkeys(found))


def _given(program: ScanProgram) -> list[Sym]:
    """What a scan reads of inputs, data and other scans."""
    kinds = ("static", "input", "sequence", "data")
    return [s for e in program.equations for s in symbols_in(e.rhs) if s.kind in kinds]


def _of_its_role(derivation: Derivation, program: ScanProgram, edge: Edge, s: Sym) -> Iterator[Sym]:
    """A gate, a weight, a peephole or a state of the same shape, those called alike in others."""
    found = [e.operand for e in program.edges if e.kind in ("param", "state")]
    found += [e.symbol for e in program.equations if isinstance(e.rhs, Apply)]
    for other in dict.fromkeys(found):
        if _role(other) == _role(s):
            yield other.with_(lag=s.lag)
    for e in derivation.edges:
        abroad = e.kind == "param" and e.scan != edge.scan and _role(e.operand) == _role(s)
        if abroad and _called_alike(e.operand.name, s.name):
            yield e.operand


def _role(s: Sym) -> tuple[object, ...]:
    """What could be taken for each other: weights with one first letter, values at one lag."""
    if s.kind in ("param", "fixed"):
        return ("param", s.name.partition("_")[0], s.shape)
    return ("value", s.kind, s.lag, s.shape)


def _called_alike(one: str, other: str) -> bool:
    """Whether two names differ in their last part only, or one of them lacks it: W, W_2, W_src."""
    a, b = one.split("_"), other.split("_")
    return a[:-1] == b[:-1] or a[:-1] == b or a == b[:-1]


def _shared(program: ScanProgram) -> set[str]:
    """Values that are made of parameters alone, and so the same for all sequences."""
    found: set[str] = set()
    for e in program.equations:
        if all(s.kind in ("param", "fixed") or s.name in found for s in symbols_in(e.rhs)):
            found.add(e.name)
    return found


def _one_occurrence(program: ScanProgram, edge: Edge) -> Iterator[Mistake]:
    """Of a value that a term reads twice, one reading of another gate: i ⊙ (1 − f)."""
    gates = [e.symbol for e in program.equations if isinstance(e.rhs, Apply)]
    read = values_read(edge)
    places: dict[Sym, list[tuple[int, ...]]] = {s: [] for s in read}
    for node, path in occurrences(edge.pullback):
        if node in places:
            places[node].append(path)
    for s, paths in places.items():
        for k, path in enumerate(paths) if len(paths) > 1 else ():
            for gate in gates:
                if gate.shape == s.shape and gate != s:
                    term = replaced_at(edge.pullback, path, gate)
                    words = f"{to_text(gate)} instead of one of the {to_text(s)}"
                    yield "copied", f"{s}{k}>{gate.name}", term, words


def _made_of(derivation: Derivation, program: ScanProgram, edge: Edge) -> Iterator[Mistake]:
    """What a value is made from, or a part of that: tanh(c) for o ⊙ tanh(c); and the reverse."""
    states, sign = {s.name for s in program.scan.states}, _sign(program)
    own = {e.name: e for e in program.equations}
    made = {e.name: e for p in derivation.scans for e in p.equations}
    functions = dict.fromkeys(
        node for e in program.equations for node, path in occurrences(e.rhs)
        if path and isinstance(node, Apply | Divide) and not has_bar(node)
    )  # fmt: skip
    values = [e.symbol for e in program.equations]
    values += [v.with_(kind="state", lag=sign) for v in values if v.name in states]
    for node in functions:
        for other in values if edge.pullback.has(node) else ():
            if other.shape == node.shape:
                detail = f"{to_text(node)}>{other.name}{other.lag}"
                yield "inner", detail, edge.pullback.xreplace({node: other}), instead(other, node)
    yield from _without_summands(own, edge)
    yield from _raw(own, edge)
    for s in values_read(edge):
        parts: list[Term] = []
        if s.name in made and s.lag in (0, sign, None):
            parts = [n for n, path in occurrences(made[s.name].rhs) if path]
        if _of_step(s):
            parts += [*functions, *_inputs_behind(own, s)]
        for part in dict.fromkeys(parts):
            if part.shape != s.shape or isinstance(part, Num | Ones):
                continue
            inner = [x for x in symbols_in(part) if not x.mark and x.kind not in ("param", "fixed")]
            if not inner or (isinstance(part, Sym) and part.kind != "input"):
                continue  # values with a name are taken for each other elsewhere
            if s.lag and not all(x.lag == 0 and x.name in states for x in inner):
                continue  # before the first step there are states only
            new = shift(part, -s.lag) if s.lag else part
            term = edge.pullback.xreplace({s: new})
            yield "inner", f"{s.name}{s.lag}>{to_text(part)}", term, instead(new, s)


def _without_summands(made: dict[str, EquationProgram], edge: Edge) -> Iterator[Mistake]:
    """A value without one of the terms of the sum that it is."""
    for s in values_read(edge):
        rhs = made[s.name].rhs if s.name in made and _of_step(s) else None
        for k, part in enumerate(rhs.operands if isinstance(rhs, Plus) else ()):
            rest = Plus(*(x for j, x in enumerate(rhs.operands) if j != k))  # type: ignore[union-attr]
            words = f"{instead(rest, s)}, without {to_text(part)}"
            yield "part", f"{s.name}{k}", edge.pullback.xreplace({s: rest}), words


def _raw(made: dict[str, EquationProgram], edge: Edge) -> Iterator[Mistake]:
    """For a part of the term, what it is made from."""
    whole = edge.pullback
    for node in dict.fromkeys(n for n, _ in occurrences(whole)):
        if isinstance(node, Sym | Ones | Num | Transpose) or node == whole:
            continue
        inner = symbols_in(node)
        names = [s.name for s in inner if _of_step(s)]
        if any(s.mark for s in inner) or not names:
            continue
        for name in dict.fromkeys(made_from(made, *names)):
            raw = made[name].symbol
            if raw.shape == node.shape:
                yield (
                    "raw", f"{to_text(node)}>{name}", whole.xreplace({node: raw}),
                    instead(raw, node),
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
                      if _of_step(x.operand) and x.operand.name in made]  # fmt: skip


def _inputs_behind(made: dict[str, EquationProgram], value: Sym) -> Iterator[Sym]:
    """Inputs of the step that a value is made from, over any number of equations."""
    for name in made_from(made, value.name):
        for x in made[name].edges:
            if x.lag == 0 and x.kind == "input":
                yield x.operand


def _functions_of(program: ScanProgram, edge: Edge) -> Iterator[Mistake]:
    """1 − z or z² for z and the reverse, a function of the cell applied or not: tanh(c) for c."""
    names = dict.fromkeys(
        n.fname for e in program.equations for n, _ in occurrences(e.rhs) if isinstance(n, Apply)
    )
    nodes = dict.fromkeys(n for n, _ in occurrences(edge.pullback))
    turned = [n.operands[1].operands[0] for n in nodes if is_complement(n)]
    for s in values_read(edge):
        less, shown = Plus(Ones(*s.shape), Neg(s)), to_text(s)
        for k, (new, text) in enumerate(((less, f"1 − {shown}"), (Power(s, 2), f"{shown}²"))):
            if new != less or s not in turned:  # z (1 − z) would stay as it is
                term = edge.pullback.xreplace({s: new})
                yield "complement", f"{s.name}{k}", term, f"{text} instead of {shown}"
        for name in names:
            of = Apply(name, s)
            yield "function", f"{s}{name}", edge.pullback.xreplace({s: of}), instead(of, s)
    for node in nodes:
        if is_complement(node):
            inner = node.operands[1].operands[0]
            words = f"{to_text(inner)} instead of 1 − {to_text(inner)}"
            yield "complement", to_text(inner), edge.pullback.xreplace({node: inner}), words
        elif isinstance(node, Apply):
            for k, new in enumerate((node.x, Apply(node.fname, node))):
                term = edge.pullback.xreplace({node: new})
                yield "applied", f"{to_text(node)}{k}", term, instead(new, node)


def _for_adjoint(program: ScanProgram, edge: Edge) -> Iterator[Mistake]:
    """An input or a state where the adjoint belongs."""
    if edge.kind in ("equation", "state"):
        return
    others = [e.operand for e in program.edges if e.kind in ("input", "state", "static")]
    for x in dict.fromkeys(others):
        if x.shape == edge.adjoint.shape and edge.adjoint.heads == 1:
            term = edge.pullback.xreplace({edge.adjoint: x})
            yield "for-adjoint", f"{x.name}{x.lag}", term, instead(x, edge.adjoint)
