"""Write a derivation's document as text, Markdown, LaTeX, typst or JSON."""

from __future__ import annotations

import json
import os
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from ..calculus.printing.json import to_json
from ..calculus.printing.latex import to_latex
from ..calculus.printing.notation import Notation
from ..calculus.printing.structured_names import GREEK
from ..calculus.printing.text import to_text
from ..calculus.printing.typst import to_typst
from ..calculus.terms import Term
from ..errors import UsageError
from .linebreaks import LINE, PREAMBLE, broken, width
from .pages import Document, PageLine, Partial, Prose, Section, document
from .pages.grouping import renamed_apart
from .pages.repeated import written_once
from .program import Derivation
from .reader_names import read_notation

__all__ = ["FORMATS", "render", "render_definition"]

FORMATS = ("text", "latex", "typst", "markdown", "json")


def render(
    derivation: Derivation,
    fmt: str = "text",
    *,
    form: str = "matrix",
    layout: str = "numerator",
    wrt: Sequence[str] = (),
    notation: str | os.PathLike[str] | Notation | None = None,
    steps: bool = False,
    rtrl: bool = False,
    truncate: int | None = None,
    standalone: bool = False,
) -> str:
    """Print a derivation; the options are those of `gradcheck_rnn.api.render`.

    Raises
    ------
    UsageError
        An unknown format, or a name in ``wrt`` that cannot be differentiated by.
    NotationError
        A notation file that cannot be read or names an unknown symbol.
    """
    if fmt not in FORMATS:
        raise UsageError(f"unknown format {fmt!r}; choose from {', '.join(FORMATS)}")
    if standalone and fmt != "latex":
        raise UsageError(f"standalone is for the format latex, not {fmt}")
    if truncate is not None and truncate < 1:
        raise UsageError(f"truncation needs at least one step, not {truncate}")
    if notation is not None and not isinstance(notation, Notation):
        notation = read_notation(derivation, notation)
    pages = document(
        derivation,
        form=form,  # type: ignore[arg-type]
        layout=layout,  # type: ignore[arg-type]
        wrt=wrt,
        steps=steps,
        rtrl=rtrl,
        truncate=truncate,
        rows=_rows(notation),
    )
    sections = [replace(s, lines=tuple(renamed_apart(s.lines, notation))) for s in pages.sections]
    pages = replace(pages, sections=tuple(sections))
    if fmt == "json":
        return json.dumps(_json(pages, derivation), indent=1, ensure_ascii=False) + "\n"
    writer = {"text": _Text, "markdown": _Markdown, "latex": _Latex, "typst": _Typst}[fmt](notation)
    names = () if notation is None else notation.names
    text = writer.write(replace(pages, sections=tuple(written_once(pages.sections, names))))
    return PREAMBLE + text + "\n\\end{document}\n" if standalone else text


def render_definition(derivation: Derivation) -> str:
    """The symbols with their shapes, and the equations; nothing that is derived."""
    pages = document(derivation)
    kept = tuple(s for s in pages.sections if s.key == "dims" or s.key.startswith("forward:"))
    return _Text(None).write(replace(pages, sections=tuple(written_once(kept))))


def _rows(notation: Notation | None) -> bool:
    return notation is not None and notation.vectors == "row"


class _Writer:
    """One format: how mathematics, headings, words and aligned equations are set."""

    math: Callable[[Term, Notation | None], str]

    def __init__(self, notation: Notation | None) -> None:
        self.notation = notation

    def term(self, t: Term) -> str:
        return type(self).math(t, self.notation)

    def inline(self, t: Term) -> str:
        return self.term(t)

    def words(self, prose: Prose) -> str:
        return "".join(self.escape(p) if isinstance(p, str) else self.inline(p) for p in prose)

    def escape(self, text: str) -> str:
        return text

    def left(self, left: Term | Partial) -> str:
        if not isinstance(left, Partial):
            return self.term(left)
        return self.adjoint(left.wrt) if left.adjoint else self.partial(left)

    def partial(self, p: Partial) -> str:
        raise NotImplementedError

    def adjoint(self, of: Term) -> str:
        """The adjoint of an expression that has no name of its own."""
        raise NotImplementedError

    def heading(self, document: Document) -> str:
        raise NotImplementedError

    def section(self, section: Section) -> str:
        raise NotImplementedError

    def write(self, document: Document) -> str:
        parts = [self.heading(document), *(self.section(s) for s in document.sections)]
        return "\n".join(parts).rstrip() + "\n"


def _vec_name(t: Term) -> bool:
    """Whether the operand of a derivative is a matrix, so that its vec is meant."""
    return t.shape[1] != 1


class _Text(_Writer):
    math = staticmethod(to_text)

    def adjoint(self, of: Term) -> str:
        return f"δ({self.term(of)})"

    def partial(self, p: Partial) -> str:
        by = self.term(p.wrt)
        mark = "⁺" if p.immediate else ""
        of = self.term(p.of)
        if _rows(self.notation):
            return f"∂{mark}{of}/∂{by}"
        if p.denominator:
            return f"∂{mark}{of}ᵀ/∂{f'vec {by}' if _vec_name(p.wrt) else by}"
        return f"∂{mark}{of}/∂({f'vec {by}'})ᵀ" if _vec_name(p.wrt) else f"∂{mark}{of}/∂{by}ᵀ"

    def heading(self, document: Document) -> str:
        lines = [document.name, "=" * len(document.name)]
        lines += [x for x in (document.what, document.source) if x]
        return "\n".join(lines) + "\n"

    def section(self, section: Section) -> str:
        out = [section.title, "-" * len(section.title)]
        out += [self.words(p) for p in section.text]
        lefts = [self.left(line.left) for line in section.lines]
        width = max((len(x) for x in lefts), default=0)
        for left, line in zip(lefts, section.lines, strict=True):
            tail = f"    ({self.words(line.note)})" if line.note else ""
            tail += f"    [{line.citation}]" if line.citation else ""
            sign = "←" if line.adds else "="
            out.append(f"  {left:<{width}} {sign} {self.term(line.right)}{tail}")
        return "\n".join(out) + "\n"


class _Latex(_Writer):
    math = staticmethod(to_latex)

    def adjoint(self, of: Term) -> str:
        return rf"\boldsymbol{{\delta}}[{self.term(of)}]"

    @staticmethod
    def sign(line: PageLine) -> str:
        """Between the sides of a line, where they are aligned."""
        return r"&\leftarrow" if line.adds else "&="

    def inline(self, t: Term) -> str:
        return f"${self.term(t)}$"

    def escape(self, text: str) -> str:
        return tex(text)

    def partial(self, p: Partial) -> str:
        by = self.term(p.wrt)
        mark = "^{+}" if p.immediate else ""
        of = self.term(p.of)
        if _rows(self.notation):
            return rf"\frac{{\partial{mark} {of}}}{{\partial {by}}}"
        if p.denominator:
            below = rf"\operatorname{{vec}} {by}" if _vec_name(p.wrt) else by
            return rf"\frac{{\partial{mark} {of}^{{\top}}}}{{\partial {below}}}"
        below = (
            rf"(\operatorname{{vec}} {by})^{{\top}}" if _vec_name(p.wrt) else rf"{{{by}}}^{{\top}}"
        )
        return rf"\frac{{\partial{mark} {of}}}{{\partial {below}}}"

    def heading(self, document: Document) -> str:
        about = " ".join(self.escape(x) for x in (document.what, document.source) if x)
        return (
            "% needs amsmath, amssymb and bm\n"
            f"\\section*{{{self.escape(document.name)}}}\n{about}\n"
        )

    def remark(self, line: PageLine) -> str:
        """The note and the citation of a line, in words."""
        cited = f" [{self.escape(line.citation)}]" if line.citation else ""
        return self.words(line.note) + cited

    def equations(self, lines: Sequence[PageLine]) -> str:
        """Rows of an ``align*``: long ones are broken, remarks stand below if none fits beside."""
        found = [
            (self.left(x.left), self.term(x.right), self.remark(x), self.sign(x)) for x in lines
        ]
        lefts = max(width(left) for left, _, _, _ in found)
        remarks = max(width(rf"\text{{{remark}}}") for _, _, remark, _ in found)
        rights = max(width(right) for _, right, _, _ in found)
        beside = lefts + rights + remarks <= LINE
        rows = []
        for left, right, remark, sign in found:
            pieces = broken(right, LINE - lefts, LINE - lefts)
            row = " \\\\\n&\\quad ".join([f"{left} {sign} {pieces[0]}", *pieces[1:]])
            if remark and beside:
                row += rf" && \text{{{remark}}}"
            elif remark:
                room = f"{LINE - lefts - 2:.0f}em"
                row += f" \\\\\n&\\qquad \\parbox[t]{{{room}}}{{\\raggedright {remark}}}"
            rows.append(row)
        return " \\\\\n".join(rows)

    def section(self, section: Section) -> str:
        out = [f"\\subsection*{{{self.escape(section.title)}}}"]
        out += [r"\noindent " + self.words(p) + r"\par" for p in section.text]
        if section.lines:
            out += ["\\begin{align*}", self.equations(section.lines), "\\end{align*}"]
        return "\n".join(out) + "\n"


class _Markdown(_Latex):
    """Markdown with LaTeX mathematics, as code hosts and notebooks show it."""

    def escape(self, text: str) -> str:
        return re.sub(r"([_*`$\\])", r"\\\1", text).replace("<", "&lt;")

    def heading(self, document: Document) -> str:
        # An underscore within a name is no markup.
        out = ["# " + self.escape(document.name).replace(r"\_", "_")]
        out += [self.escape(x) for x in (document.what, document.source) if x]
        return "\n\n".join(out) + "\n"

    def section(self, section: Section) -> str:
        out = [f"## {self.escape(section.title)}", ""]
        bullets = section.key == "dims"
        for p in section.text:
            out += [("- " if bullets else "") + self.words(p)] + ([] if bullets else [""])
        if bullets:
            out.append("")
        if section.lines:
            out += ["$$", r"\begin{aligned}", self.equations(section.lines)]
            out += [r"\end{aligned}", "$$", ""]
        return "\n".join(out)

    def equations(self, lines: Sequence[PageLine]) -> str:
        return re.sub(r"\\text\{([^{}]*)\}", lambda m: self._text(m[1]), self._rows(lines))

    def _rows(self, lines: Sequence[PageLine]) -> str:
        rows = []
        for line in lines:
            row = f"{self.left(line.left)} {self.sign(line)} {self.term(line.right)}"
            remark = _Latex.words(_Latex(self.notation), line.note)
            if line.citation:
                remark += f" [{tex(line.citation)}]"
            rows.append(row + (rf" && \text{{{remark}}}" if remark else ""))
        return " \\\\\n".join(rows)

    @staticmethod
    def _text(words: str) -> str:
        return rf"\text{{{words}}}"


class _Typst(_Writer):
    math = staticmethod(to_typst)

    def adjoint(self, of: Term) -> str:
        return f"bold(delta) [{self.term(of)}]"

    def inline(self, t: Term) -> str:
        return f"${self.term(t)}$"

    def escape(self, text: str) -> str:
        # Two slashes begin a comment.
        return re.sub(r"([#$*_\[\]<>@`~\\]|/(?=[/*]))", r"\\\1", text)

    def partial(self, p: Partial) -> str:
        by = self.term(p.wrt)
        mark = "^+" if p.immediate else ""
        of = self.term(p.of)
        if _rows(self.notation):
            return f"frac(partial{mark} {of}, partial {by})"
        if p.denominator:
            below = f'op("vec") {by}' if _vec_name(p.wrt) else by
            return f"frac(partial{mark} ({of})^top, partial {below})"
        below = f'(op("vec") {by})^top' if _vec_name(p.wrt) else f"({by})^top"
        return f"frac(partial{mark} {of}, partial {below})"

    def heading(self, document: Document) -> str:
        about = " ".join(self.escape(x) for x in (document.what, document.source) if x)
        return f"= {self.escape(document.name)}\n\n{about}\n"

    def section(self, section: Section) -> str:
        out = [f"== {self.escape(section.title)}", ""]
        for p in section.text:
            out += [self.words(p), ""]
        if section.lines and section.lines[0].adds:
            rows = [
                f"  [${self.left(x.left)} arrow.l {self.term(x.right)}$], "
                f"[{self.words(x.note)} {self.escape(f'[{x.citation}]' if x.citation else '')}],"
                for x in section.lines
            ]
            out += ["#table(columns: (auto, 1fr), stroke: none,", *rows, ")", ""]
        elif section.lines:
            rows = []
            for line in section.lines:
                row = f"  {self.left(line.left)} &= {self.term(line.right)}"
                remark = self._remark(line)
                rows.append(row + (f" & quad {remark}" if remark else ""))
            out += ["$", " \\\n".join(rows), "$", ""]
        return "\n".join(out)

    def _remark(self, line: PageLine) -> str:
        parts = [
            '"' + p.replace('"', "'") + '"' if isinstance(p, str) else self.term(p)
            for p in line.note
        ]
        if line.citation:
            parts.append('" [' + line.citation.replace('"', "'") + ']"')
        return " ".join(parts)


def _json(pages: Document, derivation: Derivation) -> dict[str, Any]:
    def part(p: str | Term) -> Any:
        return p if isinstance(p, str) else {"text": to_text(p), "latex": to_latex(p)}

    def left(x: Term | Partial) -> Any:
        if isinstance(x, Partial) and x.adjoint:
            return {"adjoint": part(x.wrt)}
        if isinstance(x, Partial):
            return {
                "partial": [to_text(x.of), to_text(x.wrt)],
                "immediate": x.immediate,
                "layout": "denominator" if x.denominator else "numerator",
            }
        return part(x)

    return {
        "schema": "gradcheck_rnn/derivation/1",
        "name": pages.name,
        "what": pages.what,
        "source": pages.source,
        "sections": [
            {
                "key": s.key,
                "title": s.title,
                "text": [[part(p) for p in words] for words in s.text],
                "lines": [
                    {
                        "left": left(line.left),
                        "right": {**part(line.right), "term": to_json(line.right)},
                        "note": [part(p) for p in line.note],
                        "citation": line.citation,
                        **({"adds": True} if line.adds else {}),
                    }
                    for line in s.lines
                ],
            }
            for s in pages.sections
        ],
        "edges": [
            {
                "id": e.id,
                "equation": e.equation.name,
                "operand": e.operand.name,
                "lag": e.lag,
                "pullback": to_text(e.pullback),
                "rules": [s.rule for s in e.steps],
            }
            for e in derivation.edges
        ],
    }


#: Math-mode names of the characters that our own words use.
_MATH = {
    **{letter: f"\\{name}" for name, letter in GREEK.items()},
    "φ": r"\varphi", "ε": r"\varepsilon", "∈": r"\in", "∂": r"\partial", "−": "-", "½": r"\frac12",
    "·": r"\cdot", "×": r"\times", "′": "'", "″": "''", "⊙": r"\odot", "≥": r"\geq",
    "≤": r"\leq", "⊗": r"\otimes", "ᵀ": r"^\top", "→": r"\to", "←": r"\leftarrow",
    "⟨": r"\langle", "⟩": r"\rangle", "∇": r"\nabla", "∏": r"\prod", "√": r"\surd",
    "∞": r"\infty", "≈": r"\approx", "⊕": r"\oplus",
}  # fmt: skip
_SCRIPTS = {"<super>": "^", "<sub>": "_"}
_TEXT = {
    "…": r"\ldots{}", "–": "--", "—": "---", "§": r"\S{}", "&": r"\&", "%": r"\%", "_": r"\_",
    "#": r"\#", "{": r"\{", "}": r"\}", "$": r"\$", "^": r"\^{}", "~": r"\~{}", "’": "'",
    "“": "``", "”": "''", "\\": r"\textbackslash{}",
}  # fmt: skip
#: Accents over a symbol, in math mode, and over a letter of a word.
_OVER = {
    "\u0303": "tilde",
    "\u0302": "hat",
    "\u0304": "bar",
    "\u20d7": "vec",
    "\u20d6": "overleftarrow",
}
_ACCENT = {"\u0308": '"', "\u0301": "'", "\u0300": "`", "\u030c": "v ", "\u0327": "c "}


def tex(text: str) -> str:
    """The words in ASCII; a character nobody foresaw becomes its Unicode name in brackets."""
    out: list[str] = []
    for c in unicodedata.normalize("NFD", text):
        kind, _, code = unicodedata.decomposition(c).partition(" ")
        if c == "\u0338" and out[-1:] == ["="]:  # ≠ in two characters
            out[-1] = r"$\neq$"
        elif c in _OVER and out:
            out.append(f"$\\{_OVER[c]}{{{out.pop().strip('$')}}}$")
        elif c in _ACCENT and out:
            out.append(f"\\{_ACCENT[c]}{{{out.pop()}}}")
        elif c in _MATH:
            out.append(f"${_MATH[c]}$")
        elif kind in _SCRIPTS and " " not in code:
            of = chr(int(code, 16))
            out.append(f"${_SCRIPTS[kind]}{{{_MATH.get(of, of)}}}$")
        else:
            out.append(
                _TEXT.get(c, c)
                if c.isascii() or c in _TEXT
                else f"[{unicodedata.name(c, f'U+{ord(c):04X}')}]"
            )
    return "".join(out)
