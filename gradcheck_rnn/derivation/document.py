"""A derivation as sections of equations, in no particular format.

Writers (text, LaTeX, typst, Markdown, JSON) and reports read these; nothing here prints.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ..calculus.layout import Jacobian
from ..calculus.printing.names import ACCENTS
from ..calculus.terms import (
    Hadamard,
    Neg,
    Num,
    Plus,
    Sym,
    Term,
    Times,
    TimeSum,
    Vec,
    shift,
    symbols_in,
)
from ..errors import UsageError
from .lowering import lower_dim
from .program import Contribution, Derivation, Edge, EquationProgram, ScanProgram
from .tidy import replaced, tidy, transposed

__all__ = ["Document", "Line", "Partial", "Prose", "Section", "document"]

#: Words and inline mathematics.
Prose = tuple["str | Term", ...]


@dataclass(frozen=True)
class Partial:
    """The name of a derivative, ∂of/∂wrt, for a left-hand side."""

    of: Term
    wrt: Term
    immediate: bool = False
    denominator: bool = False


@dataclass(frozen=True)
class Line:
    """An equation ``left = right`` with a remark; ``citation`` names the rule it comes from."""

    left: Term | Partial
    right: Term
    note: Prose = ()
    citation: str = ""


@dataclass(frozen=True)
class Section:
    """A heading, some words, equations."""

    key: str
    title: str
    text: tuple[Prose, ...] = ()
    lines: tuple[Line, ...] = ()


@dataclass(frozen=True)
class Document:
    """All sections of one derivation."""

    name: str
    what: str
    source: str
    sections: tuple[Section, ...]


def document(
    derivation: Derivation,
    *,
    form: Literal["matrix", "kronecker"] = "matrix",
    layout: Literal["numerator", "denominator"] = "numerator",
    wrt: Sequence[str] = (),
    steps: bool = False,
    rtrl: bool = False,
    truncate: int | None = None,
) -> Document:
    """Lay a derivation out; see `gradcheck_rnn.api.render` for the options.

    Raises
    ------
    UsageError
        ``wrt`` names nothing that can be differentiated by.
    """
    known = [r.name for r in derivation.differentiated()]
    for name in wrt:
        if name not in known:
            raise UsageError(
                f"{derivation.network.name!r} has no parameter, input or start {name!r} to "
                f"differentiate by; it has {', '.join(known)}"
            )
    chosen = tuple(wrt) or tuple(known)
    sections = [_dims(derivation)]
    several = len(derivation.scans) > 1
    for program in derivation.scans:
        sections.append(_forward(program, several))
    if steps:
        sections += [_steps(e) for p in derivation.scans for e in p.equations]
    for program in reversed(derivation.scans):
        sections.append(_adjoint(derivation, program, several, truncate))
    sections.append(_gradients(derivation, chosen, form))
    if form == "kronecker":
        sections.append(_jacobians(derivation, chosen if wrt else (), layout))
        sections += _transitions(derivation, several, layout)
    if rtrl:
        sections += [_tangents(p, several) for p in derivation.scans]
        sections.append(_immediates(derivation, chosen))
    network = derivation.network
    return Document(
        network.name, network.what, network.source, tuple(s for s in sections if s.lines or s.text)
    )


_ROLES = {
    "input": "input",
    "data": "data, not differentiated",
    "static": "one vector per sequence",
    "static_data": "one vector per sequence, not differentiated",
    "param": "parameter",
    "fixed": "fixed parameter",
}


def _dims(derivation: Derivation) -> Section:
    rows: dict[tuple[str, str], list[Term]] = {}
    network = derivation.network
    for ref in (*network.inputs.values(), *network.parameters.values()):
        lag = 0 if ref.axis else None
        symbol = Sym(
            _start_name(ref.name),
            lower_dim(ref.shape.rows),
            lower_dim(ref.shape.cols),
            ref.kind,
            lag,
        )
        shape = str(ref.shape.rows)
        if not ref.shape.column:
            shape += f" × {ref.shape.cols}"
        rows.setdefault((shape.replace("*", "·"), _ROLES[ref.kind]), []).append(symbol)
    text = []
    for (shape, role), symbols in rows.items():
        parts: list[str | Term] = []
        for s in symbols:
            parts += [", ", s] if parts else [s]
        text.append((*parts, f": {shape} ({role})"))
    return Section("dims", "Symbols", tuple(text))


def _start_name(name: str) -> str:
    """``h0`` as h with the index 0."""
    head = name.rstrip("0123456789")
    return f"{head}_{name[len(head) :]}" if head and head != name and "_" not in head else name


def _heading(title: str, program: ScanProgram, several: bool) -> str:
    return f"{title}, scan {program.scan.name}" if several else title


def _direction(program: ScanProgram) -> Prose:
    axis = program.scan.axis
    if axis is None:
        return ("Once.",)
    order = f"t = {axis}, …, 1" if program.scan.reverse else f"t = 1, …, {axis}"
    return (f"For {order}:",)


def _forward(program: ScanProgram, several: bool) -> Section:
    lines = [Line(e.symbol, e.rhs) for e in program.equations]
    return Section(
        "forward:" + program.scan.name,
        _heading("Definition", program, several),
        (_direction(program),),
        tuple(_grouped(lines)),
    )


def _ones_for_losses(derivation: Derivation) -> dict[Sym, Term]:
    out: dict[Sym, Term] = {}
    for ref in derivation.network.loss_terms:
        if ref.name in derivation.network.outputs or derivation.readers(ref.name):
            continue
        for lag in (0, None):
            out[Sym(ref.name, 1, 1, "equation", lag, "bar")] = Num(1)
    return out


def _adjoint(
    derivation: Derivation, program: ScanProgram, several: bool, truncate: int | None
) -> Section:
    ones = _ones_for_losses(derivation)
    lines = []
    for e in reversed(program.equations):
        if e.symbol.with_(mark="bar") in ones:
            continue
        terms = derivation.adjoint_terms(e.name)
        always = _factored([replaced(c.term, ones) for c in terms if not c.when])
        last = [tidy(c.term) for c in terms if c.when == "last"]
        if not always and not last:
            continue
        end = "1" if program.scan.reverse else str(program.scan.axis)
        note: Prose = ()
        if last:
            note = (f"at t = {end} add ", Plus(*last)) if always else (f"at t = {end} only",)
        lines.append(Line(e.symbol.with_(mark="bar"), Plus(*(always or last)), note))
    return Section(
        "adjoint:" + program.scan.name,
        _heading("Adjoint recursion (BPTT)", program, several),
        (_adjoint_words(program, derivation, truncate),),
        tuple(_grouped(lines)),
    )


def _factored(terms: list[Term]) -> list[Term]:
    """``−δ ⊙ a + δ ⊙ b`` as ``δ ⊙ (b − a)``; the order of first factors is kept."""
    groups: dict[object, list[tuple[bool, Term]]] = {}
    for term in terms:
        negative, body = isinstance(term, Neg), term.operands[0] if isinstance(term, Neg) else term
        factored = isinstance(body, Hadamard)
        groups.setdefault(body.operands[0] if factored else id(term), []).append((negative, body))
    out: list[Term] = []
    for members in groups.values():
        negative, body = members[0]
        if len(members) == 1:
            out.append(Neg(body) if negative else body)
            continue
        ordered = sorted(members, key=lambda m: m[0])
        rest = [(n, Hadamard(*b.operands[1:])) for n, b in ordered]
        inner = Plus(*(Neg(b) if n else b for n, b in rest))
        out.append(Hadamard(body.operands[0], inner))
    return out


def _adjoint_words(program: ScanProgram, derivation: Derivation, truncate: int | None) -> Prose:
    axis = program.scan.axis
    words = "δv is ∂L/∂v, a column; g is the cotangent handed in for an output."
    if axis is not None and program.scan.states:
        order, edge = (f"t = {axis}, …, 1", f"beyond t = {axis}")
        if program.scan.reverse:
            order, edge = f"t = 1, …, {axis}", "before t = 1"
        words += f" For {order}, adjoints {edge} being zero:"
        if truncate:
            words += (
                " Truncated: adjoints are also taken as zero across every border between blocks "
                f"of {truncate} steps."
            )
    return (words,)


def _gradients(derivation: Derivation, chosen: Sequence[str], form: str) -> Section:
    ones = _ones_for_losses(derivation)
    lines = []
    for ref in derivation.differentiated():
        if ref.name not in chosen:
            continue
        parts = _by_axis(derivation, ref.name, form, ones)
        lag = 0 if ref.axis else None
        left: Term = Sym(
            _start_name(ref.name),
            lower_dim(ref.shape.rows),
            lower_dim(ref.shape.cols),
            ref.kind,
            lag,
            "bar",
        )
        if form == "kronecker" and not ref.shape.column:
            left = Vec(left)
        notes: list[str] = []
        for terms, when in _starts(derivation, ref.name, form):
            parts += terms
            notes += [f"at t = {when}"] if terms else []
        if parts:
            note: Prose = ("; ".join(notes),) if notes else ()
            lines.append(Line(left, Plus(*parts), note))
    return Section("gradients", "Gradients", (), tuple(_grouped(lines)))


def _by_axis(derivation: Derivation, name: str, form: str, ones: dict[Sym, Term]) -> list[Term]:
    """The contributions to a gradient, summed over the time axis of the scan that makes them."""
    ref = {**derivation.network.parameters, **derivation.network.inputs}[name]
    sums: dict[str | None, list[Term]] = {}
    for c in derivation.gradient_terms(name):
        term = _in_form(c, form)
        axis = derivation.program(c.scan).scan.axis
        sums.setdefault(None if ref.axis else axis, []).append(replaced(term, ones))
    return [
        Plus(*terms) if axis is None else TimeSum(Plus(*terms), 1, axis)
        for axis, terms in sums.items()
    ]


def _in_form(c: Contribution, form: str) -> Term:
    edge = c.source
    if form == "matrix" or not isinstance(edge, Edge):
        return c.term
    product = Times(transposed(edge.jacobian), edge.adjoint)
    return shift(tidy(product), edge.lag or 0)


def _starts(derivation: Derivation, name: str, form: str) -> Iterator[tuple[list[Term], str]]:
    """What reaches an initial state, and the time at which the recursion gives it."""
    for program in derivation.scans:
        for state in program.scan.states:
            for start in state.initial:
                if start.ref is not None and start.ref.name == name:
                    yield _start_line(derivation, program, state.name, start.lag, form)


def _start_line(
    derivation: Derivation, program: ScanProgram, state: str, lag: int, form: str
) -> tuple[list[Term], str]:
    """The recursion of the state's adjoint at the time of its start: only reads that far back."""
    out: list[Term] = []
    for edge in derivation.readers(state):
        if edge.kind == "state" and abs(edge.lag or 0) >= lag:
            term = edge.pullback
            if form == "kronecker":
                term = Times(transposed(edge.jacobian), edge.adjoint)
            out.append(shift(tidy(term), edge.lag or 0))
    axis = program.scan.axis
    return out, f"{axis} + {lag}" if program.scan.reverse else str(1 - lag).replace("-", "−")


def _jacobians(derivation: Derivation, wrt: Sequence[str], layout: str) -> Section:
    lines = []
    for edge in derivation.edges:
        if wrt and edge.operand.name not in wrt:
            continue
        of, by = edge.equation, edge.operand
        shapes = ((of.shape[0], of.shape[1]), (by.shape[0], by.shape[1]))
        jacobian = Jacobian(
            edge.jacobian, str(of), str(by), of_shape=shapes[0], wrt_shape=shapes[1]
        ).to_layout(layout)
        matrix = tidy(jacobian.matrix)
        lines.append(Line(Partial(of, by, denominator=layout == "denominator"), matrix))
    convention = (
        "Numerator layout: a row for each entry of the equation, a column for each entry of vec of "
        "the operand; vec stacks columns."
        if layout == "numerator"
        else "Denominator layout: transposes of the numerator-layout Jacobians; vec stacks columns."
    )
    return Section("jacobians", "Local Jacobians", ((convention,),), tuple(_grouped(lines)))


def _transitions(derivation: Derivation, several: bool, layout: str) -> Iterator[Section]:
    for program in derivation.scans:
        lines = list(_transition_lines(derivation, program, layout))
        if lines:
            yield Section(
                "transition:" + program.scan.name,
                _heading("Transition Jacobian of the whole state", program, several),
                (("Block (u, v) is the total derivative of u at t by v one lag earlier.",),),
                tuple(lines),
            )


def _transition_lines(derivation: Derivation, program: ScanProgram, layout: str) -> Iterator[Line]:
    sign = -1 if program.scan.reverse else 1
    for to in program.scan.states:
        for source in program.scan.states:
            for lag in source.lags:
                block = derivation.transition(program.scan.name, to.name, source.name, lag)
                if block is None:
                    continue
                of = next(e.symbol for e in program.equations if e.name == to.name)
                by = next(e.symbol for e in program.equations if e.name == source.name)
                matrix = tidy(block)
                if layout == "denominator":
                    matrix = transposed(matrix)
                yield Line(
                    Partial(of, by.with_(lag=sign * lag), denominator=layout == "denominator"),
                    matrix,
                )


_TANGENT_WORDS = (
    "For any parameter θ, S is the total derivative by vec θ and ∂⁺ the immediate one, with all "
    "else held; tangents before the first step are zero."
)


def _tangents(program: ScanProgram, several: bool) -> Section:
    lines = []
    for e in program.equations:
        parts: list[Term] = []
        if any(edge.kind in ("param", "static") for edge in e.edges):
            parts.append(_of_theta(e.symbol, "plus"))
        for edge in e.edges:
            if edge.kind in ("equation", "state", "sequence"):
                parts.append(
                    tidy(edge.pushforward).xreplace(
                        {edge.tangent: _of_theta(edge.operand, "total")}
                    )
                )
        if parts:
            lines.append(Line(_of_theta(e.symbol, "total"), Plus(*parts)))
    return Section(
        "tangent:" + program.scan.name,
        _heading("Tangent recursion (RTRL)", program, several),
        ((_TANGENT_WORDS,),),
        tuple(_grouped(lines)),
    )


def _of_theta(s: Sym, mark: str) -> Sym:
    from ..calculus.terms import dim

    return Sym(f"{s.name}:theta", s.shape[0] * s.shape[1], dim("m"), s.kind, s.lag, mark)


def _immediates(derivation: Derivation, chosen: Sequence[str]) -> Section:
    lines = []
    for edge in derivation.edges:
        if edge.kind in ("param", "static") and edge.operand.name in chosen:
            lines.append(
                Line(Partial(edge.equation, edge.operand, immediate=True), tidy(edge.immediate))
            )
    return Section("immediate", "Immediate derivatives", (), tuple(_grouped(lines)))


def _steps(e: EquationProgram) -> Section:
    lines = []
    for edge in e.edges:
        for number, step in enumerate(edge.steps):
            left: Term = step.node.operands[edge.path[number]]
            target = left.with_(mark="bar") if isinstance(left, Sym) else None
            note: Prose = ("adjoint of ", left, f", by the rule for the {step.rule}")
            lines.append(
                Line(
                    target if isinstance(target, Sym) else Partial(e.symbol, left, immediate=True),
                    step.after,
                    note,
                    step.citation,
                )
            )
    return Section(
        "steps:" + e.name,
        "Passage",
        (("From ", e.symbol, " = ", e.rhs, ", each operand receives:"),),
        tuple(lines),
    )


def _grouped(lines: Sequence[Line]) -> Iterator[Line]:
    """Lines alike but for one subscript become one line, "for g ∈ {i, f, o, c}"."""
    letter = _free_letter(lines)
    groups: dict[object, list[tuple[str | None, Line, Line]]] = {}
    for line in lines:
        index, general = _generalised(line, letter)
        key = (general.left, general.right, general.note) if index else id(line)
        groups.setdefault(key, []).append((index, general, line))
    for members in groups.values():
        _, general, first = members[0]
        if len(members) == 1:
            yield first
        else:
            names = ", ".join(index or "" for index, _, _ in members)
            yield replace(general, note=(*general.note, f"for {letter} ∈ {{{names}}}"))


def _subscript(name: str) -> str | None:
    words = name.partition(":")[0].split("_")
    return (
        words[1] if len(words) > 1 and words[1] not in ACCENTS and not words[1].isdigit() else None
    )


def _free_letter(lines: Sequence[Line]) -> str:
    used: set[str] = set()
    for line in lines:
        for term in _terms_of(line):
            for s in symbols_in(term):
                used.update(s.name.replace(":", "_").split("_"))
    return next(x for x in ("g", "k", "j", "s", "ell") if x not in used)


def _terms_of(line: Line) -> Iterator[Term]:
    yield line.right
    if isinstance(line.left, Partial):
        yield from (line.left.of, line.left.wrt)
    else:
        yield line.left


def _generalised(line: Line, letter: str) -> tuple[str | None, Line]:
    """The line with its own subscript replaced by a letter, and what the subscript was."""
    heads = (line.left.wrt, line.left.of) if isinstance(line.left, Partial) else (line.left,)
    names = [s.name for t in heads for s in symbols_in(t)]
    index = next((i for n in names if (i := _subscript(n))), None)
    if index is None:
        return None, line

    def general(term: Term) -> Term:
        changes = {
            s: s.with_(name=_with_subscript(s.name, index, letter)) for s in symbols_in(term)
        }
        return term.xreplace({a: b for a, b in changes.items() if a != b})

    left = (
        replace(line.left, of=general(line.left.of), wrt=general(line.left.wrt))
        if isinstance(line.left, Partial)
        else general(line.left)
    )
    return index, Line(left, general(line.right), line.note, line.citation)


def _with_subscript(name: str, index: str, letter: str) -> str:
    own, colon, by = name.partition(":")
    words = own.split("_")
    if len(words) > 1 and words[1] == index:
        words[1] = letter
    return "_".join(words) + colon + by
