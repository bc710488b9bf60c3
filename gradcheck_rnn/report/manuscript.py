"""A document in the making: typst markup, its pictures, numbers of equations, sources cited."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ..calculus.terms import Term
from ..derivation.pages import PageLine, Prose
from ..derivation.pages.grouping import renamed_apart
from .formulas import prose
from .typst_mathematics import Mathematics, plain

__all__ = ["Manuscript"]

#: Width of a drawing, in its own units, from which on it may scroll.
WIDE = 620
_SOURCED = re.compile(r"(?P<source>[^:]*\b(?:19|20)\d\d\b[^:]*): (?P<rule>.*)\Z", re.S)

#: Control characters, halves of pairs and non-characters, which no document can hold.
_NO_TEXT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")

#: What short citations stand for.
SOURCES = {
    "Magnus & Neudecker 2019": "J. R. Magnus and H. Neudecker, Matrix Differential Calculus with "
    "Applications in Statistics and Econometrics, 3rd edition, Wiley, 2019",
    "Petersen & Pedersen 2012": "K. B. Petersen and M. S. Pedersen, The Matrix Cookbook, Technical "
    "University of Denmark, 2012",
    "Bridle 1990": "J. S. Bridle, Probabilistic interpretation of feedforward classification "
    "network outputs, with relationships to statistical pattern recognition, in Neurocomputing, "
    "Springer, 1990",
    "Werbos 1990": "P. J. Werbos, Backpropagation through time: what it does and how to do it, "
    "Proceedings of the IEEE 78(10), 1990",
    "Williams & Zipser 1989": "R. J. Williams and D. Zipser, A learning algorithm for continually "
    "running fully recurrent neural networks, Neural Computation 1(2), 1989",
}


@dataclass
class Manuscript:
    """What `typesetting.compiled` turns into HTML or PDF.

    Attributes
    ----------
    title, subtitle, description : str
        Plain text, formulas of the subtitle are typeset; the description goes into the document's metadata.
    files : dict
        Name → content of the pictures.
    style : {"house", "slides"}
        A chapter, or slides.
    """

    title: str
    subtitle: str = ""
    description: str = ""
    maths: Mathematics = field(default_factory=Mathematics)
    parts: list[str] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    cited: list[str] = field(default_factory=list)
    equations: int = 0
    style: str = "house"

    def heading(self, title: str, level: int = 1) -> None:
        """A heading of the given level, in plain text."""
        self.parts.append(f"\n{'=' * level} {plain(title)}\n")

    def say(self, *paragraphs: str) -> None:
        """Paragraphs of typst markup."""
        self.parts += [p + "\n" for p in paragraphs]

    def display(self, rows: Iterable[tuple[str, Sequence[str], str]]) -> range:
        """Numbered formulas.

        Parameters
        ----------
        rows : iterable of (left, pieces, note)
            Left-hand side without dollars, pieces of the right-hand side with them, markup.

        Returns
        -------
        range
            Their numbers, for `ref`.
        """
        first = self.equations + 1
        out = []
        for left, pieces, note in rows:
            self.equations += 1
            shown = ", ".join(pieces)
            lhs = f"${left}$"
            remark = f"[{note}]" if note else "none"
            out.append(f'  ({lhs}, ({shown},), {remark}, {self.equations}, "eq-{self.equations}"),')
        if out:
            self.parts.append("#formulas(\n" + "\n".join(out) + "\n)\n")
        return range(first, self.equations + 1)

    @property
    def renamed(self) -> tuple[str, ...]:
        """Symbols that the reader renames one by one."""
        return () if self.maths.notation is None else tuple(self.maths.notation.names)

    def lines(self, lines: Iterable[PageLine], relation: str = "=", note: str = "") -> range:
        """Lines of a derivation, numbered; ``note`` is added to every one."""
        m = self.maths
        rows = []
        for line in renamed_apart(lines, m.notation):
            remark = " ".join(x for x in (m.words(_apart(line.note)), note) if x)
            rows.append((m.left(line.left), m.pieces(line.right, relation), remark))
        return self.display(rows)

    def ref(self, number: int) -> str:
        """The number of an equation, linked to it."""
        return f"#link(<eq-{number}>)[({number})]"

    def refs(self, numbers: range) -> str:
        """``(3)`` or ``(3)–(7)``."""
        if len(numbers) == 1:
            return self.ref(numbers[0])
        return f"{self.ref(numbers[0])}–{self.ref(numbers[-1])}"

    def cite(self, source: str) -> str:
        """The number of a source, linked to the list at the end."""
        if source not in self.cited:
            self.cited.append(source)
        number = self.cited.index(source) + 1
        return f"#link(<source-{number}>)[\\[{number}\\]]"

    def rule(self, citation: str) -> tuple[str, str]:
        """A rule's citation as (what it says, markup of where it is from)."""
        found = _SOURCED.match(citation)
        if found is None:
            return citation, ""
        source, _, place = found["source"].partition(", ")
        place = place.replace("ch. ", "ch.\u00a0")
        return found["rule"], self.cite(source) + (plain(f", {place}") if place else "")

    def sources(self) -> None:
        """The list of what was cited."""
        if not self.cited:
            return
        self.heading("Sources")
        rows = [
            f'  [\\[{k}\\]#label("source-{k}")], [{plain(SOURCES.get(s, s) + ".")}],'
            for k, s in enumerate(self.cited, 1)
        ]
        self.parts.append(
            '#tabular(columns: (auto, 1fr), label: "Sources", header: ([No.], [Source]),\n'
            + "\n".join(rows)
            + "\n)\n"
        )

    def items(self, items: Iterable[str]) -> None:
        """A list of markup."""
        body = "\n".join(f"- {item}" for item in items)
        if body:
            self.parts.append(body + "\n")

    def table(
        self,
        header: Sequence[str],
        rows: Iterable[Sequence[str]],
        columns: str = "",
        align: str = "",
        *,
        small: bool = False,
    ) -> None:
        """A table of markup; ``columns`` and ``align`` are typst arrays, ``small`` is for many."""
        sizes = columns or "(" + "auto, " * len(header) + ")"
        head = ", ".join(f"[{h}]" for h in header)
        body = "\n".join("  " + ", ".join(f"[{c}]" for c in row) + "," for row in rows)
        placed = f", align: {align}" if align else ""
        size = ", size: 0.8em" if small else ""
        label = _quoted("Table: " + ", ".join(_bare(h) for h in header if _bare(h)))
        self.parts.append(
            f"#tabular(columns: {sizes}{placed}{size}, label: {label}, header: ({head},),\n{body}\n)\n"
        )

    def picture(self, svg: str, alt: str, caption: str, width: str = "80%") -> str:
        """A picture with a caption in markup; returns the markup of a reference to it."""
        number = len(self.files) + 1
        key = f"fig-{number}"
        self.files[f"{key}.svg"] = svg.encode()
        found = re.search(r'viewBox="\S+ \S+ (\S+) ', svg)
        # Beyond this, letters on a phone would be smaller than footnotes.
        wide = "true" if found is not None and float(found[1]) > WIDE else "false"
        quoted = alt.replace("\\", "\\\\").replace('"', '\\"')
        self.parts.append(
            f'#picture("{key}.svg", alt: "{quoted}", width: {"100%" if wide == "true" else width}, '
            f'wide: {wide}, caption: [{caption}], "{key}")\n'
        )
        return f"@{key}"

    def code(self, text: str, lang: str = "python", summary: str = "") -> None:
        """A listing, folded away on screens where a summary is given."""
        fence = "`" * (max([2, *(len(x) for x in re.findall(r"`+", text))]) + 1)
        block = f"{fence}{lang}\n{text.rstrip()}\n{fence}\n"
        self.parts.append(f"#folded[{plain(summary)}][\n{block}]\n" if summary else block)

    def source(self) -> str:
        """The typst source of the whole."""
        head = f"title: {_quoted(self.title)}, description: {_quoted(self.description)}"
        if self.subtitle:
            head += f", subtitle: [{prose(self.subtitle)}]"
        body = "\n".join(self.parts).rstrip()
        return _NO_TEXT.sub(
            " ", f'#import "{self.style}.typ": *\n#show: {self.style}.with({head})\n\n{body}\n'
        )


def _bare(markup: str) -> str:
    """A table's heading in words, for those who hear it."""
    return re.sub(r'#"(.*?)";', r"\1", markup).replace("$", "").replace("\\", "").strip()


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ") + '"'


def _apart(note: Prose) -> Prose:
    """Remarks that were put one after the other, with a semicolon between them."""
    out: list[str | Term] = []
    for part in note:
        if out and isinstance(part, str) and isinstance(out[-1], str):
            out.append(f"; {part}")
        else:
            out.append(part)
    return tuple(out)
