"""The cell as it is defined: source, equations, notation, unrolled picture, conventions."""

from __future__ import annotations

import re

from ...calculus.terms import Sym
from ...derivation import Derivation
from ...derivation.pages import Document
from ...derivation.pages.repeated import written_once
from ...language.dims import Shape
from ..listing import definition_of
from ..manuscript import Manuscript
from ..typst_mathematics import plain, sentence_list
from ..unrolled import unrolled

__all__ = ["conventions", "definition"]

_ROLES = {
    "input": "input, one vector a step",
    "data": "data, not differentiated",
    "static": "given once a sequence",
    "static_data": "data, given once a sequence",
    "param": "parameter",
    "fixed": "fixed, not trained",
}


def definition(m: Manuscript, derivation: Derivation, pages: Document) -> dict[str, range]:
    """Add the chapter; returns the equation numbers of each scan."""
    m.heading(_subject(derivation))
    if pages.source:
        m.say("#aside[" + plain(f"Source: {pages.source}.") + "]")
    numbers: dict[str, range] = {}
    forward = [s for s in pages.sections if s.key.startswith("forward:")]
    sections = written_once(forward, m.renamed)
    for program, section in zip(derivation.scans, sections, strict=True):
        scan = program.scan
        intro = ""
        if len(derivation.scans) > 1:
            intro = f"The scan `{scan.name}` "
            if scan.axis is None:
                intro += "is computed once."
            else:
                order = (
                    f"$t = {scan.length}, dots, 1$"
                    if scan.reverse
                    else f"$t = 1, dots, {scan.length}$"
                )
                intro += f"runs over {order}:"
        elif scan.axis is None:
            intro = "It is computed once:"
        else:
            of = f" of {scan.substeps} substeps, which $t$ counts" if scan.substeps > 1 else ""
            intro = f"A sequence has $T$ steps{of}. At each of them, $t = 1, dots, {scan.length}$,"
        if section.like:
            numbers[scan.name] = numbers[section.like.partition(":")[2]]
            m.say(f"{intro} {m.refs(numbers[scan.name])}. {m.maths.words(section.text[-1])}")
        else:
            m.say(intro)
            numbers[scan.name] = m.lines(section.lines)
    m.say(_states(m, derivation))
    svg, alt = unrolled(derivation, m.maths.notation)
    m.picture(svg, alt, _caption(derivation), "86%")
    _source(m, derivation)
    return numbers


def _subject(derivation: Derivation) -> str:
    if len(derivation.scans) > 1:
        return "The network"
    if derivation.scans[0].scan.states:
        return "The cell"
    return "The loss" if derivation.network.loss_terms else "The layer"


def _states(m: Manuscript, derivation: Derivation) -> str:
    words, given, zero = [], 0, 0
    for program in derivation.scans:
        for state in program.scan.states:
            symbol = next(e.symbol for e in program.equations if e.name == state.name)
            far = max(state.lags)
            if any(s.ref is not None for s in state.initial):
                given += 1
            else:
                zero += 1
            reach = "" if far == 1 else f" (read up to ${far}$ steps back)"
            words.append(f"{m.maths.inline(symbol)}{reach}")
    if not words:
        return "Nothing is carried from one step to the next."
    one = len(words) == 1
    what = f"The state {words[0]}" if one else f"The states {sentence_list(words)}"
    verb = "is" if one else "are"
    if given and zero:
        how = "some starting from values that are given and some from zero"
    else:
        start = "a value" if one else "values"
        how = f"starting from {start} that {verb} given" if given else "starting from zero"
    return f"{what} {verb} carried from step to step, {how}."


def _caption(derivation: Derivation) -> str:
    recurrent = any(p.scan.states for p in derivation.scans)
    text = "Three steps of the unrolled computation. Solid arrows carry values"
    if not recurrent:
        return text + "; no arrow joins two steps, because nothing is carried over."
    text += ", dashed arrows carry adjoints the other way."
    return text + " Every box is the same function with the same parameters."


def _source(m: Manuscript, derivation: Derivation) -> None:
    m.say(
        "The definition is a Python function, and the only thing here that was written by hand. "
        "Run on arrays it is the forward pass, which the finite differences of the last sections "
        "perturb; traced, it gives the equations from which everything below is derived."
    )
    seen: set[str] = set()
    for program in derivation.scans:
        cell = program.scan.cell
        if cell.name in seen:
            continue
        seen.add(cell.name)
        text = definition_of(cell)
        if text:
            several = len(derivation.scans) > 2
            m.code(text, "python", f"Definition of {cell.name}" if several else "")


def conventions(m: Manuscript, derivation: Derivation) -> None:
    """Add the table of symbols and the conventions."""
    m.heading("Notation and conventions")
    network = derivation.network
    from ...derivation.pages import document

    rows = []
    section = next(s for s in document(derivation).sections if s.key == "dims")
    for words in section.text:
        at = next((k for k, w in enumerate(words) if str(w).startswith(": ")), 0)
        if not at:  # said in a sentence
            rows.append([m.maths.words(words[:1]), "", plain(str(words[-1]).strip())])
            continue
        shape, _, role = str(words[at]).removeprefix(": ").partition(" (")
        if words[at + 1 :]:  # a role that names another symbol
            *rest, last = words[at + 1 :]
            told = m.maths.words((role, *rest, str(last).removesuffix(")")))
        else:
            told = plain(_role(role))
        symbols = m.maths.words(words[:at])
        rows.append([symbols, _shape(shape.strip(), m.maths.rows), told])
    rows += _computed(m, derivation)
    h = _example_symbol(derivation)
    bar = h.with_(mark="bar")
    rows.append(
        [m.maths.inline(bar), f"that of {m.maths.inline(h)}", "adjoint; so for every value"]
    )
    rows.append(["$nabla_X L$", "that of $X$", "gradient of the loss $L$, for every parameter $X$"])
    if not network.loss_terms:
        rows.append(["$bold(g)$", "that of the output", "cotangent of an output, given"])
    long = max(cells[0].count("$") for cells in rows) > 12
    sizes = "(3fr, auto, 2fr)" if long else "(auto, auto, 1fr)"
    m.table(("Symbol", "Shape", "What it is"), rows, sizes)
    known = [f"{_shape(d)} {what}" for d, what in _sizes(m, derivation).items()]
    if known:
        m.say(f"Sizes: {sentence_list(known)}.")
    delta = m.maths.inline(bar)
    if m.maths.rows:
        m.say(
            "#remark[In this notation vectors are rows. Every equation is the transpose of the one "
            "for columns, and a matrix stands for the transpose of the definition's: $W h$ reads "
            "$h W$. Jacobians are transposed with their equations, with a row for every entry of "
            "the operand, those of a matrix row by row. The rules quoted below are those for columns, as their sources have them.]"
        )
    m.say(
        f"{'' if m.maths.rows else 'Vectors are columns. '}We use the _numerator layout_ of "
        f"Magnus and Neudecker {m.cite('Magnus & Neudecker 2019')}: the Jacobian of a matrix "
        'function $F(X)$ is $partial op("vec") F \\/ partial (op("vec") X)^top$, with a row for '
        'every entry of $F$ and a column for every entry of $X$, and $op("vec")$ stacks the columns '
        "of a matrix. A gradient $nabla_X L$ has the shape of $X$, so that "
        '$op("vec") nabla_X L$ is the transposed Jacobian of $L$. '
        f"The _adjoint_ {delta} is $partial L \\/ partial$ {m.maths.inline(h)}, in the shape of "
        f"{m.maths.inline(h)}: the effect on the loss $L$ of changing the value, with everything "
        "that is computed from it changing along. A derivative marked $partial^+$ is _immediate_: "
        "it sees only the equation at hand, with the other values on the right-hand side held."
    )


def _computed(m: Manuscript, derivation: Derivation) -> list[list[str]]:
    """Values that a step computes, those alike in one row."""
    found: dict[tuple[str, str], list[str]] = {}
    for program in derivation.scans:
        states = {s.name for s in program.scan.states}
        for e in program.equations:
            kind = "computed in the step"
            if e.name in states:
                kind = "state"
            elif e.name in {r.name for r in derivation.network.loss_terms}:
                kind = "loss of the step" if program.scan.axis else "loss"
            elif e.name in {r.name for r in derivation.network.outputs.values()}:
                kind = "output"
            rows, cols = (str(n).replace("*", " · ") for n in e.symbol.shape)
            shape = rows if cols == "1" else f"{rows} × {cols}"
            found.setdefault((kind, shape), []).append(m.maths.inline(e.symbol))
    order = ["state", "output", "loss of the step", "loss", "computed in the step"]
    return [
        [", ".join(symbols), _shape(shape, m.maths.rows), kind]
        for (kind, shape), symbols in sorted(found.items(), key=lambda x: order.index(x[0][0]))
    ]


def _role(role: str) -> str:
    what, colon, domain = role.removesuffix(")").partition(";")
    if what in ("one vector per sequence", "one matrix per sequence"):
        what = "start, given once a sequence"
    return what + colon + domain


def _example_symbol(derivation: Derivation) -> Sym:
    for program in derivation.scans:
        for state in program.scan.states:
            return next(e.symbol for e in program.equations if e.name == state.name)
    return derivation.scans[0].equations[-1].symbol


def _shape(text: str, transposed: bool = False) -> str:
    """``p × 2·d`` as mathematics; names of several letters stay words."""
    factors = text.split(" × ")
    if transposed:
        factors.reverse()
    if len(factors) > 1:
        factors = [f"({f})" if "+" in f else f for f in factors]
    return f"${' times '.join(_SIZE.sub(_size, f).replace('·', ' ') for f in factors)}$"


def _sizes(m: Manuscript, derivation: Derivation) -> dict[str, str]:
    """What every dim and time axis counts: of a name without a meaning of its own, in what."""
    network = derivation.network
    usual = {"d": "inputs", "p": "hidden units", "q": "outputs", "T": "steps"}
    values = [
        *((r.name, r.shape) for r in (*network.inputs.values(), *network.parameters.values())),
        *((e.name, e.shape) for scan in network.scans for e in scan.equations),
    ]
    shapes = [shape for _, shape in values]
    out: dict[str, str] = {}
    for d in (*network.dims, *network.axes):
        if any(s.heads.lone == d for s in shapes):
            out[d] = "heads"
        elif d in usual and not any(s.stack for s in shapes):
            out[d] = usual[d]
        elif d in network.axes:
            out[d] = "steps"
        elif text := _counted(m, d, values):
            out[d] = text
    return out


def _counted(m: Manuscript, d: str, values: list[tuple[str, Shape]]) -> str:
    """Units of a vector, or rows or columns of a matrix."""
    for name, s in sorted(values, key=lambda v: not v[1].column):
        side = "rows" if s.rows.lone == d else "columns" if s.cols.lone == d else ""
        if side:
            shown = m.maths.inline(Sym(name, 2, 1 if s.column else 2, "param"))
            return f"{'units' if s.column else side} of {shown}"
    return ""


_SIZE = re.compile(r"[A-Za-z]\w+")


def _size(found: re.Match[str]) -> str:
    """``p_fwd`` with its subscript, other long names as words."""
    head, _, below = found[0].partition("_")
    quoted = head if len(head) == 1 else f'"{head}"'
    return f'{quoted}_"{below}"' if below else quoted
