"""The cell as it is defined: source, equations, notation, unrolled picture, conventions."""

from __future__ import annotations

import inspect
import re
import textwrap

from ...calculus.terms import Sym
from ...derivation import Derivation
from ...derivation.pages import Document
from ..manuscript import Manuscript
from ..mathematics import plain, sentence_list
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
    m.heading("The cell" if len(derivation.scans) == 1 else "The network")
    if pages.source:
        m.say("#aside[" + plain(f"Source: {pages.source}.") + "]")
    numbers: dict[str, range] = {}
    for program in derivation.scans:
        section = next(s for s in pages.sections if s.key == f"forward:{program.scan.name}")
        scan = program.scan
        intro = ""
        if len(derivation.scans) > 1:
            intro = f"The scan {plain(scan.name)} "
            if scan.axis is None:
                intro += "is computed once."
            else:
                order = (
                    f"$t = {scan.axis}, dots, 1$" if scan.reverse else f"$t = 1, dots, {scan.axis}$"
                )
                intro += f"runs over {order}:"
        elif scan.axis is None:
            intro = "It is computed once:"
        else:
            intro = f"A sequence has $T$ steps. At each of them, $t = 1, dots, {scan.axis}$,"
        m.say(intro)
        numbers[scan.name] = m.lines(section.lines)
    m.say(_states(m, derivation))
    svg, alt = unrolled(derivation, m.maths.notation)
    m.picture(svg, alt, _caption(derivation), "86%")
    _source(m, derivation)
    return numbers


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
            reach = "" if far == 1 else f" (read up to {far} steps back)"
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
        "The definition is a Python function. It is the only thing that was written by hand: run "
        "on arrays it is the forward pass that finite differences perturb, traced it gives the "
        "equations from which everything below is derived."
    )
    seen: set[str] = set()
    for program in derivation.scans:
        cell = program.scan.cell
        if cell.name in seen:
            continue
        seen.add(cell.name)
        try:
            text = textwrap.dedent(inspect.getsource(inspect.unwrap(cell.function)))
        except (OSError, TypeError):  # defined in a session, there is no file
            continue
        m.code(text, "python", f"Definition of {cell.name}" if len(derivation.scans) > 2 else "")


def conventions(m: Manuscript, derivation: Derivation) -> None:
    """Add the table of symbols and the conventions."""
    m.heading("Notation and conventions")
    network = derivation.network
    from ...derivation.pages import document

    rows = []
    section = next(s for s in document(derivation).sections if s.key == "dims")
    for words in section.text:
        *symbols, tail = words
        shape, _, role = str(tail).strip(": ").partition(" (")
        rows.append(
            [m.maths.words(tuple(symbols)), _shape(shape, m.maths.rows), plain(_role(role))]
        )
    for program in derivation.scans:
        for e in program.equations:
            if e.name in network.outputs or any(s.name == e.name for s in program.scan.states):
                kind = "state" if any(s.name == e.name for s in program.scan.states) else "output"
                rows.append(
                    [
                        m.maths.inline(e.symbol),
                        _shape(str(e.symbol.shape[0]).replace("*", "·")),
                        kind,
                    ]
                )
    m.table(("Symbol", "Shape", "What it is"), rows, "(auto, auto, 1fr)")
    meaning = {"d": "input", "p": "hidden units", "q": "output", "T": "steps"}
    known = [f"${d}$ {meaning[d]}" for d in (*network.dims, *network.axes) if d in meaning]
    if known:
        m.say(f"Sizes: {sentence_list(known)}.")
    h = _example_symbol(derivation)
    delta = m.maths.inline(h.with_(mark="bar"))
    if m.maths.rows:
        m.say(
            "#remark[In this notation vectors are rows. Every equation is the transpose of the one "
            "for columns, and a matrix stands for the transpose of the definition's: $W h$ reads "
            "$h W$. Jacobians are transposed with their equations, with a row for every entry of "
            "the operand. The rules quoted below are those for columns, as their sources have them.]"
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


def _role(role: str) -> str:
    role = role.rstrip(")")
    return {"one vector per sequence": "start, given once a sequence"}.get(role, role)


def _example_symbol(derivation: Derivation) -> Sym:
    for program in derivation.scans:
        for state in program.scan.states:
            return next(e.symbol for e in program.equations if e.name == state.name)
    return derivation.scans[0].equations[-1].symbol


def _shape(text: str, transposed: bool = False) -> str:
    """``p × 2·d`` as mathematics; names of several letters stay words."""
    if transposed:
        text = " × ".join(reversed(text.split(" × ")))
    quoted = re.sub(r"[A-Za-z_]{2,}", lambda found: f'"{found[0]}"', text)
    return f"${quoted.replace('×', 'times').replace('·', ' ')}$"
