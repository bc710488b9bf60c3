"""Local Jacobians in Kronecker form, the transition Jacobian, RTRL, and every rule applied."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ...calculus.layout import Jacobian
from ...calculus.terms import Diag, Neg, Plus, Sym, Term, dim
from ..program import Derivation, Edge, EquationProgram, ScanProgram
from ..simplification import tidy, transposed
from .elements import PageLine, Partial, Prose, Section, heading
from .grouping import grouped

__all__ = [
    "MOST_PATHS",
    "JacobianBlock",
    "immediates",
    "jacobians",
    "passage",
    "tangents",
    "transition_blocks",
    "transitions",
]


#: What a Jacobian's rows and columns are, by whether vectors are rows and by the layout asked for.
_CONVENTIONS = {
    (False, "numerator"): (
        "Numerator layout: a row for each entry of the equation, a column for each entry of vec of "
        "the operand; vec stacks columns."
    ),
    (False, "denominator"): (
        "Denominator layout: transposes of the numerator-layout Jacobians; vec stacks columns."
    ),
    (True, "numerator"): (
        "Vectors are rows and every equation is printed transposed: a row for each entry of the "
        "operand, a column for each entry of the equation; the entries of a matrix are taken row "
        "by row."
    ),
    (True, "denominator"): (
        "Vectors are rows, the Jacobians are not transposed: a row for each entry of the equation, "
        "a column for each entry of the operand; the entries of a matrix are taken row by row."
    ),
}


def jacobians(
    derivation: Derivation, wrt: Sequence[str], layout: str, rows: bool = False
) -> Section:
    """Local Jacobians of the operands (all, or those in ``wrt``), in the layout asked for."""
    lines = []
    chosen = [e for e in derivation.edges if not wrt or e.operand.name in wrt]
    for (of, by), edges in _by_operand(chosen).items():
        jacobian = Jacobian(
            _sum([tidy(e.jacobian) for e in edges]), str(of), str(by),
            of_shape=(of.shape[0], of.shape[1]), wrt_shape=(by.shape[0], by.shape[1]),
        ).to_layout(layout)  # fmt: skip
        matrix = tidy(jacobian.matrix)
        lines.append(PageLine(Partial(of, by, denominator=layout == "denominator"), matrix))
    return Section(
        "jacobians", "Local Jacobians", ((_CONVENTIONS[rows, layout],),), tuple(grouped(lines))
    )


def _by_operand(edges: Iterable[Edge]) -> dict[tuple[Sym, Sym], list[Edge]]:
    """Edges by equation and operand: one that is read twice has one derivative, their sum."""
    out: dict[tuple[Sym, Sym], list[Edge]] = {}
    for edge in edges:
        out.setdefault((edge.equation, edge.operand), []).append(edge)
    return out


def _sum(terms: list[Term]) -> Term:
    """Their sum, what is subtracted last; diagonal matrices as one."""
    if len(terms) == 1:
        return terms[0]
    signed = [(isinstance(t, Neg), t.operands[0] if isinstance(t, Neg) else t) for t in terms]
    signed.sort(key=lambda pair: pair[0])
    if all(isinstance(body, Diag) for _, body in signed):
        inside = [Neg(b.operands[0]) if minus else b.operands[0] for minus, b in signed]
        return tidy(Diag(Plus(*inside)))
    return tidy(Plus(*(Neg(body) if minus else body for minus, body in signed)))


def transitions(derivation: Derivation, several: bool, layout: str) -> Iterator[Section]:
    """The blocks of the transition Jacobian of each scan that has states."""
    for program in derivation.scans:
        lines = list(_transition_lines(derivation, program, layout))
        words: list[Prose] = [
            ("Block (u, v) is the total derivative of u at t by v one lag earlier.",)
        ]
        words += [
            (
                "Block (", block.of, ", ", block.by,
                (
                    f") is a sum of {block.paths:,} products of local Jacobians, one for each path "
                    "between the two, and is not written out."
                ),
            )
            for block in transition_blocks(derivation, program)
            if block.paths > MOST_PATHS
        ]  # fmt: skip
        words += [
            (
                "Block (", block.of, ", ", block.by,
                ") joins the heads through what they share and is not written out.",
            )
            for block in transition_blocks(derivation, program)
            if block.joined and block.paths <= MOST_PATHS
        ]  # fmt: skip
        if lines or len(words) > 1:
            yield Section(
                "transition:" + program.scan.name,
                heading("Transition Jacobian of the whole state", program, several),
                tuple(words),
                tuple(lines),
            )


#: Terms of a block of the transition Jacobian that is written out, at most; the zoo has 52. Their
#: number can double with every equation.
MOST_PATHS = 200


@dataclass(frozen=True)
class JacobianBlock:
    """A block of a transition Jacobian that is not zero: ∂of/∂by, and of how many terms it is.

    ``joined``: whether one head's state reaches other heads.
    """

    of: Sym
    by: Sym
    state: str
    lag: int
    paths: int
    joined: bool = False

    @property
    def written(self) -> bool:
        """Whether a page writes it out."""
        return self.paths <= MOST_PATHS and not self.joined


def transition_blocks(derivation: Derivation, program: ScanProgram) -> Iterator[JacobianBlock]:
    """The blocks of one scan in the order of its states."""
    sign = -1 if program.scan.reverse else 1
    symbols = {e.name: e.symbol for e in program.equations}
    for to in program.scan.states:
        for source in program.scan.states:
            for lag in source.lags:
                paths = derivation.paths(program.scan.name, to.name, source.name, lag)
                if paths:
                    by = symbols[source.name].with_(lag=sign * lag)
                    joined = derivation.joins_heads(program.scan.name, to.name, source.name, lag)
                    yield JacobianBlock(symbols[to.name], by, source.name, lag, paths, joined)


def _transition_lines(
    derivation: Derivation, program: ScanProgram, layout: str
) -> Iterator[PageLine]:
    denominator = layout == "denominator"
    for b in transition_blocks(derivation, program):
        if not b.written:
            continue
        block = derivation.transition(program.scan.name, b.of.name, b.state, b.lag)
        if block is not None:
            matrix = tidy(block)
            yield PageLine(
                Partial(b.of, b.by, denominator=denominator),
                transposed(matrix) if denominator else matrix,
            )


_TANGENT_WORDS = (
    "For any parameter θ, S is the total derivative by vec θ and ∂⁺ the immediate one, with all "
    "else held; tangents before the first step are zero."
)


def tangents(program: ScanProgram, several: bool) -> Section:
    """The tangent recursion of one scan, immediate and total derivatives apart."""
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
            lines.append(PageLine(_of_theta(e.symbol, "total"), Plus(*parts)))
    return Section(
        "tangent:" + program.scan.name,
        heading("Tangent recursion (RTRL)", program, several),
        ((_TANGENT_WORDS,),),
        tuple(grouped(lines)),
    )


def _of_theta(s: Sym, mark: str) -> Sym:
    return Sym(f"{s.name}:theta", s.shape[0] * s.shape[1], dim("m"), s.kind, s.lag, mark, s.heads)


def immediates(derivation: Derivation, chosen: Sequence[str]) -> Section:
    """The immediate derivatives with respect to the chosen parameters."""
    read = [e for e in derivation.edges if e.kind in ("param", "static")]
    lines = [
        PageLine(Partial(of, by, immediate=True), _sum([tidy(e.immediate) for e in edges]))
        for (of, by), edges in _by_operand(e for e in read if e.operand.name in chosen).items()
    ]
    return Section("immediate", "Immediate derivatives", (), tuple(grouped(lines)))


def passage(e: EquationProgram) -> Section:
    """Every rule application that makes the pullbacks of one equation; a shared one once."""
    lines: dict[object, PageLine] = {}
    for edge in e.edges:
        for number, step in enumerate(edge.steps):
            # Behind the last operand of the path comes its sum over heads, if there is one.
            inside = number < len(edge.path)
            left: Term = step.node.operands[edge.path[number]] if inside else step.node
            target = left.with_(mark="bar") if isinstance(left, Sym) else None
            note: Prose = ("adjoint of ", left, f", by the rule for the {step.rule}")
            line = PageLine(
                target if isinstance(target, Sym) else Partial(e.symbol, left, adjoint=True),
                step.after,
                note,
                step.citation,
                adds=True,
            )
            lines.setdefault((edge.path[: number + 1], inside, line.left, line.right), line)
    return Section(
        "steps:" + e.name,
        "Passage",
        (("From ", e.symbol, " = ", e.rhs, ", each operand receives:"),),
        tuple(lines.values()),
    )
