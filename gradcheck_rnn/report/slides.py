"""A derivation on slides, to be shown in a lecture: the cell, its adjoints, its gradients.

Sections stay whole where they fit into a column, two columns are a slide, and a slide's letters are as
large as it can hold. An Elman network takes one slide, an LSTM two.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..calculus.printing.notation import Notation
from ..calculus.printing.text import to_text
from ..derivation import Derivation
from ..derivation.pages import Document, PageLine, Section, document
from ..derivation.pages.grouping import renamed_apart
from .formulas import prose
from .listing import titled
from .manuscript import Manuscript
from .typst_mathematics import Mathematics, plain
from .unrolled import unrolled

__all__ = ["slides"]

#: Lines of a column, and letters of a line.
LINES, LETTERS = 14, 52


@dataclass
class _Block:
    """A heading with formulas, and how many lines it takes."""

    title: str
    rows: list[str]
    lines: int


def slides(derivation: Derivation, *, notation: Notation | None = None) -> Manuscript:
    """Write the slides of a derivation.

    Parameters
    ----------
    derivation : Derivation
        Of a cell or network.
    notation : Notation, optional
        The lecturer's names.

    Returns
    -------
    Manuscript
        For `typesetting.write`, as ``.pdf`` or ``.typ``.
    """
    network = derivation.network
    m = Manuscript(
        title=titled(network.name),
        subtitle=network.what,
        description=f"The gradient of {titled(network.name)} on slides.",
        maths=Mathematics(notation),
        style="slides",
    )
    columns = list(_columns(m, document(derivation)))
    pictured = len(columns) % 2 == 1 and len(columns) > 1
    if len(columns) % 2:
        columns.append([])
    for k in range(0, len(columns), 2):
        left, right = (_column(c) for c in columns[k : k + 2])
        if pictured and k + 2 == len(columns):
            right = _picture(m, derivation)
        m.parts.append(
            f"#slide([{plain(m.title)}], [{prose(network.what)}], [{left}], [{right}])\n"
        )
    return m


def _columns(m: Manuscript, pages: Document) -> Iterator[list[_Block]]:
    """Sections in columns, each whole where it fits, long ones cut."""
    column: list[_Block] = []
    for section in pages.sections:
        for block in _blocks(m, section):
            if column and sum(b.lines for b in column) + block.lines > LINES:
                yield column
                column = []
            column.append(block)
    if column:
        yield column


def _blocks(m: Manuscript, section: Section) -> Iterator[_Block]:
    """A section as formulas, in parts that a column holds."""
    kind = section.key.partition(":")[0]
    names = {"forward": "The cell", "adjoint": "Backpropagation through time",
             "gradients": "Gradients"}  # fmt: skip
    if kind not in names:
        return
    _, comma, rest = section.title.partition(", scan ")
    title = f"{names[kind]}: {titled(rest)}" if comma else names[kind]
    block = _Block(title, [], 1)
    for line in renamed_apart(section.lines, m.maths.notation):
        size = _size(line)
        if block.rows and block.lines + size > LINES:
            yield block
            block = _Block(f"{title} (continued)", [], 1)
        block.rows.append(_row(m, line))
        block.lines += size
    yield block


def _size(line: PageLine) -> int:
    """Lines that an equation takes; a sum with its limits is as high as two."""
    notes = sum(len(x) if isinstance(x, str) else len(to_text(x)) for x in line.note)
    right = to_text(line.right)
    return 1 + ("Σ" in right or "∑" in right) + (len(right) + notes) // LETTERS


def _row(m: Manuscript, line: PageLine) -> str:
    pieces = ", ".join(m.maths.pieces(line.right))
    note = m.maths.words(line.note)
    return f"  (${m.maths.left(line.left)}$, ({pieces},), {f'[{note}]' if note else 'none'}),"


def _column(blocks: Sequence[_Block]) -> str:
    parts = []
    for block in blocks:
        parts.append(f"#part[{plain(block.title)}]\n#lines(\n" + "\n".join(block.rows) + "\n)\n")
    return "\n".join(parts)


def _picture(m: Manuscript, derivation: Derivation) -> str:
    """The unrolled computation."""
    svg, alt = unrolled(derivation, m.maths.notation)
    m.files["unrolled.svg"] = svg.encode()
    quoted = alt.replace("\\", "\\\\").replace('"', '\\"')
    return (
        f'#part[Unrolled]\n#image("unrolled.svg", alt: "{quoted}", width: 100%)\n'
        "Solid arrows carry values, dashed arrows carry adjoints the other way."
    )
