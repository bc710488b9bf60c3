"""Why there is a sum over time, and every step from differentials to gradients."""

from __future__ import annotations

from collections.abc import Iterable

from ...calculus.printing.text import to_text
from ...calculus.terms import Plus, Sym, Term, Vec
from ...derivation import Derivation
from ...derivation.assumptions import summing_to_one
from ...derivation.pages import Document, PageLine, Section
from ...derivation.pages.assuming import assuming_line
from ...derivation.pages.elements import Partial
from ...derivation.pages.grouping import grouped
from ...derivation.pages.jacobians import JacobianBlock, transition_blocks
from ...derivation.pages.repeated import written_once
from ...derivation.program import Edge, EquationProgram
from ...derivation.simplification import tidy
from ..manuscript import Manuscript
from ..typst_mathematics import plain, sentence_list

__all__ = ["backward", "forward_mode", "local", "sum_over_time"]


def sum_over_time(m: Manuscript, derivation: Derivation) -> None:
    """Untie the weights, differentiate, tie them again."""
    chosen = _shared(derivation)
    if chosen is None:
        return
    edge, axis = chosen
    last = axis if len(axis) == 1 else f"({axis})"
    W = m.maths.term(edge.operand)
    m.heading("Why gradients sum over time")
    kind = "matrices" if edge.operand.shape[1] != 1 else "vectors"
    m.say(
        f"The unrolled network reads ${W}$ at each of the ${axis}$ steps. Give every step a copy "
        f"of its own, ${_copy(W, '1')}, dots, {_copy(W, axis)}$. The loss is then a function of ${axis}$ "
        f"independent {kind}, and its differential has a term for each of them:"
    )
    vec = 'op("vec")'
    first = m.display(
        [
            (
                "dif L",
                [
                    f"$= sum_(t = 1)^{last} frac(partial L, partial ({vec} {_copy(W, 't')})^top) "
                    f"{vec} dif {_copy(W, 't')}$"
                ],
                "",
            )
        ]
    )
    m.say(
        f"Now tie the copies: ${_copy(W, 't')} = {W}$ for all $t$, hence $dif {_copy(W, 't')} = dif {W}$. Each "
        f"copy's derivative with respect to ${W}$ is the identity, and {m.ref(first[0])} becomes"
    )
    tied = m.display(
        [
            (
                f"frac(partial L, partial ({vec} {W})^top)",
                [
                    f"$= sum_(t = 1)^{last} frac(partial L, partial ({vec} {_copy(W, 't')})^top)$",
                    f'$"at" thin {_copy(W, "1")} = dots.c = {_copy(W, axis)} = {W}$',
                ],
                "",
            )
        ]
    )
    m.say(
        "Nothing else is behind the sums over $t$ in the gradients below. Every summand of "
        f"{m.ref(tied[0])} is an ordinary derivative through one step: what that step's copy does "
        "to that step's equation, times what the equation's value does to the loss. The second "
        "factor is the adjoint, and it is the adjoint that has to be carried through time."
    )


def _copy(symbol: str, step: str) -> str:
    """A step's copy of a value; with the mark of its head in one superscript."""
    bare = symbol.removesuffix("^((h))")
    return f"{symbol}^(({step}))" if bare == symbol else f"{bare}^((h, {step}))"


def _shared(derivation: Derivation) -> tuple[Edge, str] | None:
    """A parameter to talk about: a recurrent matrix if there is one."""
    best: tuple[int, Edge, str] | None = None
    for program in derivation.scans:
        if program.scan.axis is None:
            continue
        axis = program.scan.length
        for edge in program.edges:
            if edge.kind == "param" and edge.lag is None:
                square = edge.operand.shape[0] == edge.operand.shape[1]
                rank = 2 * (edge.operand.shape[1] != 1) + square
                if best is None or rank > best[0]:
                    best = (rank, edge, axis)
    return None if best is None else (best[1], best[2])


def local(
    m: Manuscript, derivation: Derivation, pages: Document, numbers: dict[str, range]
) -> None:
    """Differentials with their rules, Jacobians by vec, and what each equation passes back."""
    m.heading("One step, differentiated")
    m.heading("Differentials", 2)
    whole = range(min(r[0] for r in numbers.values()), max(r[-1] for r in numbers.values()) + 1)
    m.say(
        f"Take the differential of every right-hand side of {m.refs(whole)}. The rules used are in "
        "the table; the remark beside an equation names those it takes, from the outside in."
    )
    rows = {}
    for edge in derivation.edges:
        for step in edge.steps:
            says, source = m.rule(step.citation)
            rows[step.rule] = [step.rule, plain(says), source]
    m.table(("Rule", "What it says", "Source"), rows.values(), "(auto, 1fr, auto)")
    lines = [
        line
        for p in derivation.scans
        for e in p.equations
        if (line := _differential(e)) is not None
    ]
    differentials = m.lines(grouped(lines))
    m.heading("Local Jacobians", 2)
    turned = (
        " In rows, what is printed is $J^top$, with the entries of a matrix taken row by row."
        if m.maths.rows
        else ""
    )
    m.say(
        "To read off a Jacobian, bring $dif F$ to the form "
        '$op("vec") dif F = J thin op("vec") dif X$ with the identity '
        '$op("vec")(A X B) = (B^top ⊗ A) op("vec") X$; an elementwise factor $a ⊙$ becomes '
        f'$op("diag")(a)$.{turned} From {m.refs(differentials)}:'
    )
    jacobians = m.lines(_section(pages, "jacobians").lines)
    m.heading("What each equation passes back", 2)
    if m.maths.rows:
        rule = (
            "If an equation's adjoint is the row $delta$, its operand receives $delta J$. For a "
            "matrix operand these are the entries of a matrix row by row, and stacking them gives "
            "the matrix form: $delta (u ⊗ I)$, with a row $u$, holds the rows of $u^top delta$. "
        )
    else:
        rule = (
            "If an equation's adjoint is $delta$, its operand receives $J^top delta$. For a matrix "
            "operand this is the vec of a matrix, and undoing the vec gives the matrix form: "
            '$(u ⊗ I) delta = op("vec")(delta u^top)$. '
        )
    m.say(
        f"{rule}So each Jacobian of {m.refs(jacobians)} sends one contribution to the adjoint or "
        "gradient on the left, written in the values that the forward pass has kept:"
    )
    m.lines(grouped(list(_contributions(derivation))), "arrow.l")


def _differential(e: EquationProgram) -> PageLine | None:
    if not e.edges:
        return None
    rules = dict.fromkeys(s.rule for edge in e.edges for s in edge.steps)
    note = (sentence_list(rules),) if rules else ()
    left = e.symbol.with_(mark="d")
    return PageLine(left, Plus(*(tidy(edge.differential) for edge in e.edges)), note)


def _contributions(derivation: Derivation) -> Iterable[PageLine]:
    names = summing_to_one(derivation.network)
    for edge in derivation.edges:
        if edge.kind in ("data", "fixed", "static_data"):
            continue
        line = PageLine(edge.operand.with_(mark="bar"), tidy(edge.pullback))
        yield assuming_line(line, names)


def _section(pages: Document, key: str) -> Section:
    return next((s for s in pages.sections if s.key == key), Section(key, ""))


def _by_scan(m: Manuscript, pages: Document, kind: str) -> None:
    """The sections of one kind; those with the equations of an earlier one refer to it."""
    found = [s for s in pages.sections if s.key.startswith(f"{kind}:")]
    numbers: dict[str, range] = {}
    for section in written_once(found, m.renamed):
        scan = f"The scan `{section.key.partition(':')[2]}`"
        if section.like:
            refs = m.refs(numbers[section.like])
            m.say(f"{scan}: {refs}. {m.maths.words(section.text[-1])}")
            continue
        if len(found) > 1:
            m.say(f"{scan}:")
        numbers[section.key] = m.lines(section.lines)


def backward(m: Manuscript, derivation: Derivation, pages: Document, kron: Document) -> None:
    """The adjoint recursion and the gradients, matrix beside Kronecker form."""
    m.heading("Backpropagation through time")
    m.heading("The adjoint recursion", 2)
    network = derivation.network
    if network.loss_terms:
        outside = "The loss is part of the network; its own adjoint is 1."
    else:
        outside = (
            "From outside come the cotangents $bold(g)$: the derivatives of the loss with respect "
            "to the outputs, those of the last state included."
        )
    m.say(
        "An adjoint is the sum of what all readers of the value pass back. A reader at $t + 1$ has "
        "to be finished first, so the recursion runs against the forward pass "
        f"{m.cite('Werbos 1990')}. {outside}"
    )
    _by_scan(m, pages, "adjoint")
    if any(p.scan.states for p in derivation.scans):
        m.say("Adjoints beyond the last step are zero.")
    m.heading("Gradients", 2)
    matrix, by_vec = _section(pages, "gradients").lines, _section(kron, "gradients").lines
    m.say(
        "Collecting the contributions to each parameter and summing over the steps gives its "
        "gradient, here in matrix form and, where the parameter is a matrix, below it in Kronecker "
        "form."
    )
    lines: list[PageLine] = []
    if len(matrix) == len(by_vec):
        for a, b in zip(matrix, by_vec, strict=True):
            lines += [a] if (a.left, a.right) == (b.left, b.right) else [a, b]
        lines = [x for x in lines if not _repeats(x, lines)]
        m.lines(lines)
    else:
        m.lines(matrix)
        m.lines(by_vec)


def _repeats(line: PageLine, lines: list[PageLine]) -> bool:
    """A Kronecker line that says no more than the matrix line before it."""
    k = next(i for i, x in enumerate(lines) if x is line)
    return k > 0 and lines[k - 1].left == line.left and not isinstance(line.left, Vec)


#: Letters up to which a block of the transition Jacobian is read rather than scrolled past, and
#: from which on it is worth being named where another contains it.
UNREAD, NAMED = 190, 40


def _transition(m: Manuscript, section: Section, unwritten: Iterable[JacobianBlock]) -> None:
    """Blocks of a transition Jacobian; one that contains another names it instead.

    Parameters
    ----------
    unwritten : iterable of JacobianBlock
        Those that the section does not have: of so many terms, or joining heads.
    """
    by_size = sorted(section.lines, key=lambda line: len(to_text(line.right)))
    known: dict[Term, tuple[Term, str]] = {}
    rows, skipped = [], [f"${m.maths.left(Partial(b.of, b.by))}$" for b in unwritten]
    for line in by_size:
        right = line.right.xreplace({whole: mark for whole, (mark, _) in known.items()})
        left = m.maths.left(line.left)
        if len(to_text(right)) > UNREAD:
            skipped.append(f"${left}$")
        else:
            pieces = m.maths.pieces(right)
            for mark, name in known.values():
                pieces = [p.replace(m.maths.term(mark), name) for p in pieces]
            rows.append((left, pieces, ""))
        if len(to_text(line.right)) >= NAMED:
            mark = Sym(f"block{chr(97 + len(known))}", *line.right.shape, "equation", None)
            known[line.right] = mark, left
    numbers = m.display(rows)
    if not skipped:
        return
    verb = "is" if len(skipped) == 1 else "are"
    other = f" than {m.refs(numbers)}" if rows else ""
    m.say(
        f"{sentence_list(skipped)} {verb} longer{other} and would fill the page: a sum over the "
        "paths between the two values, of the products of local Jacobians met along each path."
    )


def forward_mode(m: Manuscript, derivation: Derivation, kron: Document, tangent: Document) -> None:
    """Transition Jacobian, RTRL, and what the two ways cost."""
    blocks = [s for s in kron.sections if s.key.startswith("transition:")]
    if not blocks:
        return
    m.heading("How a step carries the gradient")
    m.say(
        "Substituting the intermediate equations gives the Jacobian of a step's state with respect "
        "to the state one step before. Products of these matrices along the sequence decide "
        "whether a gradient survives."
    )
    unwritten = {
        f"transition:{p.scan.name}": [b for b in transition_blocks(derivation, p) if not b.written]
        for p in derivation.scans
    }
    for s in blocks:
        _transition(m, s, unwritten[s.key])
    m.heading("Forwards instead: real-time recurrent learning")
    m.say(
        "The same derivatives can be carried along with the forward pass "
        f"{m.cite('Williams & Zipser 1989')}. Let $bold(S)_t^((v, theta))$ be the _total_ "
        "derivative "
        'of a value $v_t$ with respect to $op("vec") theta$ for some parameter $theta$. It consists of the '
        "immediate derivative and of what earlier totals contribute:"
    )
    _by_scan(m, tangent, "tangent")
    immediate = _section(tangent, "immediate")
    if immediate.lines:
        m.say("with the immediate derivatives")
        m.lines(immediate.lines)
    m.say(
        "Totals before the first step are zero. BPTT keeps the values of all $T$ steps and costs "
        "about as much as the forward pass again; RTRL keeps nothing of the past, but a matrix "
        "with a column for every parameter, so that a step costs the number of parameters times "
        "the square of the number of state entries. Both are exact, and the proof below compares "
        "them entry by entry."
    )
