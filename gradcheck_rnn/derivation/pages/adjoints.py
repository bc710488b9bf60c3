"""Definition, adjoint recursion and gradients."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sympy import Expr as Scalar

from ...calculus.terms import (
    Apply,
    Hadamard,
    HeadBlock,
    Neg,
    Num,
    Plus,
    Surrogate,
    Sym,
    Term,
    TimeSum,
    Vec,
    dim,
    shift,
    subterms,
)
from ...language.network import Ref, Scan
from ...language.ops.elementwise import ELEMENTWISE
from ..program import Contribution, Derivation, Edge, EquationProgram, ScanProgram
from ..simplification import collected, replaced, tidy
from ..to_terms import symbol_for
from ..wholes import wholes_of
from .elements import PageLine, Prose, Section, heading
from .grouping import grouped
from .initial_states import inner_starts, start_terms, symbol_of

__all__ = ["adjoint", "dims", "forward", "gathered", "gradients", "line_of"]

_ROLES = {
    "input": "input",
    "data": "data, not differentiated",
    "static": "one vector per sequence",
    "static_data": "one vector per sequence, not differentiated",
    "param": "parameter",
    "fixed": "fixed parameter",
}


def dims(derivation: Derivation, row_vectors: bool = False) -> Section:
    """The symbols with their dims and roles, one line a shape and role.

    With row vectors the shapes are those of the transposes, which the names stand for there.
    """
    rows: dict[tuple[str, str], list[Term]] = {}
    network = derivation.network
    domains = network.domains
    for ref in (*network.inputs.values(), *network.parameters.values()):
        symbol = symbol_of(derivation, ref)
        shape = str(ref.shape.rows)
        if row_vectors:
            shape = f"{ref.shape.cols} × {shape}"
        elif not ref.shape.column:
            shape += f" × {ref.shape.cols}"
        role = _ROLES[ref.kind]
        if ref.shape.stack:
            role = role.replace("vector", "matrix")
        if ref.shape.headed:
            role += f", for each of {ref.shape.heads} heads"
        if ref.name in domains:
            role += f"; {domains[ref.name].words}"
        rows.setdefault((shape.replace("*", "·"), role), []).append(symbol)
    text: list[Prose] = []
    for (shape, role), symbols in rows.items():
        parts: list[str | Term] = []
        for s in symbols:
            parts += [", ", s] if parts else [s]
        text.append((*parts, f": {shape} ({role})"))
    text += [_whole(derivation, ref, row_vectors) for ref in network.wholes.values()]
    terms = (x for p in derivation.scans for e in p.equations for x in subterms(e.rhs))
    for block in [x for x in terms if isinstance(x, HeadBlock)][:1]:
        text.append((block, " has the columns of I, the identity, that belong to head h"))
    return Section("dims", "Symbols", tuple(text))


def _whole(derivation: Derivation, ref: Ref, row_vectors: bool) -> Prose:
    """A sequence that is handed on whole, and where its steps are."""
    network, of = derivation.network, str(ref.sequence)
    given = network.inputs.get(of)
    steps = symbol_of(derivation, given) if given else derivation.scan_of(of).symbol(of)
    shape, parts = str(ref.shape.rows), "units"
    if not ref.shape.column:
        shape, parts = f"{shape} × {ref.shape.cols}", "rows"
        if row_vectors:
            shape, parts = f"{ref.shape.cols} × {ref.shape.rows}", "columns"
    heads = f", for each of {ref.shape.heads} heads" if ref.shape.headed else ""
    symbol = symbol_for(ref.name, ref.shape, "static", None)
    words = f": {shape} (all steps of "
    return (symbol, words, steps, f" as its {parts}{heads})")


def _direction(program: ScanProgram) -> Prose:
    scan = program.scan
    if scan.axis is None:
        return ("Once.",)
    order = f"t = {scan.length}, …, 1" if scan.reverse else f"t = 1, …, {scan.length}"
    if scan.substeps == 1:
        return (f"For {order}:",)
    words = (
        f"A step has {scan.substeps} substeps, which t counts; inputs are those of the step, and "
    )
    words += f"what others read is that of its last substep. For {order}:"
    return (words,)


def forward(program: ScanProgram, several: bool) -> Section:
    """The scan's equations in definition order."""
    lines = [PageLine(e.symbol, e.rhs) for e in program.equations]
    return Section(
        "forward:" + program.scan.name,
        heading("Definition", program, several),
        (_direction(program),),
        tuple(grouped(lines)),
    )


def _ones_for_losses(derivation: Derivation) -> dict[Sym, Term]:
    out: dict[Sym, Term] = {}
    for ref in derivation.network.loss_terms:
        if ref.name in derivation.network.outputs or derivation.readers(ref.name):
            continue
        for lag in (0, None):
            out[Sym(ref.name, 1, 1, "equation", lag, "bar")] = Num(1)
    return out


def adjoint(
    derivation: Derivation,
    program: ScanProgram,
    several: bool,
    truncate: int | None,
    rows: bool = False,
) -> Section:
    """The adjoint recursion of one scan, last equation first."""
    ones = _ones_for_losses(derivation)
    lines = _whole_lines(derivation, [e.name for e in program.equations], ones)
    found = (_adjoint_line(derivation, program, e, ones) for e in reversed(program.equations))
    lines += [line for line in found if line is not None]
    lines += [PageLine(left, right) for left, right in inner_starts(derivation, program)]
    return Section(
        "adjoint:" + program.scan.name,
        heading("Adjoint recursion (BPTT)", program, several),
        (_adjoint_words(program, truncate, rows),) if lines else (),
        tuple(grouped(lines)),
    )


def _adjoint_line(
    derivation: Derivation, program: ScanProgram, e: EquationProgram, ones: dict[Sym, Term]
) -> PageLine | None:
    """The adjoint of one equation; None for a loss, and for what nothing depends on."""
    if e.symbol.with_(mark="bar") in ones:
        return None
    terms = derivation.adjoint_terms(e.name)
    always = [replaced(gathered(derivation, c), ones) for c in terms if not c.when]
    always = _factored(collected(always))
    last = collected(gathered(derivation, c) for c in terms if c.when == "last")
    if not always and not last:
        return None
    end = "1" if program.scan.reverse else program.scan.length
    note: Prose = ()
    if last:
        note = (f"at t = {end} add ", Plus(*last)) if always else (f"at t = {end} only",)
    return PageLine(e.symbol.with_(mark="bar"), Plus(*(always or last)), note)


def _whole_lines(
    derivation: Derivation, names: Collection[str], ones: dict[Sym, Term]
) -> list[PageLine]:
    """The adjoints of sequences that are handed on whole, of which every step takes its row."""
    out = []
    for ref in wholes_of(derivation.network, names):
        edges = derivation.readers(ref.name)
        if edges:
            terms = (gathered(derivation, Contribution(e, e.pullback)) for e in edges)
            total = collected(replaced(term, ones) for term in terms)
            part = "unit" if ref.shape.column else "row"
            row = derivation.rows_handed_back(str(ref.sequence))[0].term
            note = (row, f" is its {part} t")
            out.append(PageLine(edges[0].operand.with_(mark="bar"), Plus(*total), note))
    return out


def line_of(derivation: Derivation, name: str) -> PageLine | None:
    """The derived line for ∂L/∂name, of an equation, a parameter or an input."""
    ones = _ones_for_losses(derivation)
    for program in derivation.scans:
        for e in program.equations:
            if e.name == name:
                return _adjoint_line(derivation, program, e, ones)
    ref = next((r for r in derivation.differentiated() if r.name == name), None)
    return None if ref is None else _gradient_line(derivation, ref, "matrix", ones)


def gathered(derivation: Derivation, c: Contribution) -> Term:
    """What does not move with time but is read at every step of a scan gathers from all of them."""
    edge = c.source
    if not isinstance(edge, Edge) or edge.lag is not None:
        return tidy(c.term)
    scan = derivation.program(c.scan).scan
    return tidy(c.term) if scan.axis is None else TimeSum(tidy(c.term), 1, _last(scan))


def _last(scan: Scan) -> Scalar:
    """The last step, or substep, of a scan."""
    return scan.substeps * dim(str(scan.axis))


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


def _adjoint_words(program: ScanProgram, truncate: int | None, rows: bool) -> Prose:
    axis, length = program.scan.axis, program.scan.length
    shape = "row" if rows else "column"
    words = f"δv is ∂L/∂v, a {shape}; g is the cotangent handed in for an output."
    if program.scan.substeps > 1:
        words += (
            " It is zero but at the last substep of a step; the adjoint of an input is the sum of "
            "those of the substeps."
        )
    if axis is not None and program.scan.states:
        order, edge = (f"t = {length}, …, 1", f"beyond t = {length}")
        if program.scan.reverse:
            order, edge = f"t = 1, …, {length}", "before t = 1"
        words += f" For {order}, adjoints {edge} being zero:"
        if truncate:
            words += (
                " Truncated: adjoints are also taken as zero across every border between blocks "
                f"of {truncate} steps."
            )
    return (words + _by_convention(program),)


def _by_convention(program: ScanProgram) -> str:
    """Derivatives that are what is agreed, and not the limit of differences everywhere."""
    nodes = [x for e in program.equations for x in subterms(e.rhs)]
    names = sorted({x.fname for x in nodes if isinstance(x, Apply)})
    flat = [n for n in names if n in ELEMENTWISE and ELEMENTWISE[n].supremum == 0]
    words = "".join(f" The derivative of {n} is 0, at its jumps too." for n in flat)
    if any(isinstance(x, Surrogate) for x in nodes):
        words += (
            " The derivative of surrogate(f, s, v) by v is s: declared, by intent not that of f."
        )
    return words


def gradients(derivation: Derivation, chosen: Sequence[str], form: str) -> Section:
    """The gradients of the chosen names, summed over time where they do not move with it."""
    ones = _ones_for_losses(derivation)
    lines = _whole_lines(derivation, [n for n in chosen if n in derivation.network.inputs], ones)
    for ref in derivation.differentiated():
        line = _gradient_line(derivation, ref, form, ones) if ref.name in chosen else None
        if line is not None:
            lines.append(line)
    return Section("gradients", "Gradients", (), tuple(grouped(lines)))


def _gradient_line(
    derivation: Derivation, ref: Ref, form: str, ones: dict[Sym, Term]
) -> PageLine | None:
    parts = _by_axis(derivation, ref.name, form, ones)
    left: Term = symbol_of(derivation, ref).with_(mark="bar")
    if form == "kronecker" and not ref.shape.column:
        left = Vec(left)
    parts += start_terms(derivation, ref.name, form)
    return PageLine(left, Plus(*parts)) if parts else None


def _by_axis(derivation: Derivation, name: str, form: str, ones: dict[Sym, Term]) -> list[Term]:
    """The contributions to a gradient, summed over the time axis of the scan that makes them."""
    ref = {**derivation.network.parameters, **derivation.network.inputs}[name]
    sums: dict[Scalar | None, list[Term]] = {}
    for c in derivation.gradient_terms(name):
        term = _in_form(c, form)
        scan = derivation.program(c.scan).scan if c.scan else None
        last = None if ref.axis or scan is None or scan.axis is None else _last(scan)
        sums.setdefault(last, []).append(replaced(term, ones))
    return [
        Plus(*collected(terms)) if last is None else TimeSum(Plus(*collected(terms)), 1, last)
        for last, terms in sums.items()
    ]


def _in_form(c: Contribution, form: str) -> Term:
    edge = c.source
    if form == "matrix" or not isinstance(edge, Edge):
        return c.term
    return shift(tidy(edge.vec_pullback), edge.lag or 0)
