"""The reports of equations that somebody wrote: one note, or the audit of the literature."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from ..audit.literature import VERDICTS, Publication, Result
from ..audit.note import Judged, Note
from .manuscript import Manuscript
from .typst_mathematics import plain

__all__ = ["audit_report", "note_report"]

_SAID = {
    "right": "right",
    "convention": "right in a convention",
    "consistent": "right with the note's own definitions",
    "wrong": "WRONG",
    "own": "the note's own quantity",
    "not understood": "not understood",
}


def note_report(note: Note, title: str) -> Manuscript:
    """Every line of a note with its verdict; for a wrong one the derived equation and numbers."""
    wrong = note.count("wrong")
    verdict = "passed" if note.passed else f"{wrong} wrong" if wrong else "not all understood"
    m = Manuscript(
        f"Equations of {title}",
        f"Judged against the derivation of {note.cell}: {verdict}",
        f"Backward equations of {title}, judged line by line against {note.cell}.",
    )
    sense = note.convention
    if note.loss is not None:
        sense += f", for a loss of {', '.join(note.loss)} alone"
    m.say(
        plain(
            f"Read as {sense}. Every line is judged given the others, by value at random points of a "
            "prime field; numbers below are floating-point examples."
        )
    )
    m.heading("Verdicts")
    rows = [[str(j.line), _code(j.text), plain(_SAID[j.status])] for j in note.lines]
    m.table(("Line", "Equation", "Verdict"), rows, "(auto, 1fr, auto)")
    told = [j for j in note.lines if j.status == "wrong" or j.why]
    if told:
        m.heading("What was found")
        for j in told:
            m.heading(f"Line {j.line}: {_SAID[j.status]}", 2)
            m.items(_line(j))
    return m


def _line(j: Judged) -> list[str]:
    named = [("", j.text), ("It should be ", j.derived)]
    out = [plain(label) + _code(text) for label, text in named if text]
    out += [plain(x) for x in (j.why, j.evidence) if x]
    if j.one_unit:
        out.append(plain("With one unit (all dims 1) the line is right."))
    return out


def audit_report(found: Sequence[tuple[Publication, Sequence[Result]]]) -> Manuscript:
    """Published derivations: a table of verdicts, then every claim with its evidence."""
    claims = [r for _, results in found for r in results]
    counts = Counter(r.verdict for r in claims)
    shown = ", ".join(f"{counts[v]} {v}" for v in VERDICTS if counts[v])
    m = Manuscript(
        "An audit of published derivations",
        f"{len(found)} sources, {len(claims)} statements: {shown}",
        "Published gradients of recurrent networks, judged against derivations and differences.",
    )
    m.say(
        plain(
            "Equations are written in the notation of check-equations; facts are the sources', words "
            "are ours. Each is judged symbolically, at random points of a prime field, against the "
            "derivation of its cell; row vectors, layouts, a loss of one output, sums without their "
            "sign and other conventions get the benefit of the doubt, and are named. Every verdict is "
            "computed a second time from finite differences of the cell's definition alone, and no "
            "statement is called wrong without numbers."
        )
    )
    m.heading("Summary")
    columns = [v for v in VERDICTS if counts[v]]
    rows = []
    for source, results in found:
        own = Counter(r.verdict for r in results)
        name = f"#link(<{_label(source)}>)[{plain(source.author + ', ' + source.title)}]"
        rows.append([name, plain(source.year), *(str(own[v] or "") for v in columns)])
    rows.append([plain("All"), "", *(str(counts[v]) for v in columns)])
    m.table(
        ("Source", "Year", *columns), rows, f"(1fr, auto, {'auto, ' * len(columns)})", small=True
    )
    for source, results in found:
        m.parts.append(f"\n= {plain(source.title)} <{_label(source)}>\n")
        m.say(plain(f"{source.author}, {source.year}; {source.kind}. ") + _address(source.address))
        for r in results:
            m.say(f"*{plain(r.claim.at)}* {plain(': ' + r.verdict)}")
            m.items(_claim(r))
    return m


def _claim(r: Result) -> list[str]:
    claim = r.claim
    out = [plain(claim.says)] if claim.says else []
    if claim.cell:
        out.append(plain("Cell: ") + _code(claim.cell.rpartition(":")[2]))
    out += [plain("With ") + _code(x) for x in claim.given]
    out += [_code(x) for x in claim.lines]
    named: Mapping[str, str] = {
        "Read as: ": r.sense, "What: ": r.what, "Numbers: ": r.numbers,
        "By finite differences: ": r.again if claim.lines else "",
    }  # fmt: skip
    if r.derived:
        out.append(plain("Derived: ") + _code(r.derived))
    out += [plain(label + text) for label, text in named.items() if text]
    return out + ([plain(claim.remark)] if claim.remark else [])


def _label(source: Publication) -> str:
    return f"claims-{source.key}"


def _address(address: str) -> str:
    return f'#link("{address}")' if address.startswith("http") else plain(address + ".")


def _code(text: str) -> str:
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'#raw("{quoted}")'
