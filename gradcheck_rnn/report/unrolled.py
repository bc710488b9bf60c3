"""The network unrolled over three steps, drawn as SVG.

Solid arrows carry values forward, dashed ones adjoints back. A row is a scan; a scan stands above
what it reads. Only three steps are drawn, with dots for the rest.
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass, field
from html import escape

from ..calculus.printing.notation import Notation
from ..calculus.printing.text import to_text
from ..calculus.terms import Sym
from ..derivation import Derivation
from ..language.network import Ref, Scan
from .plots import BLUE, INK, in_both_modes

__all__ = ["unrolled"]

BOX_W, BOX_H, GAP_X, GAP_Y, SIZE = 72, 46, 56, 58, 17
#: From the first column of one time axis to that of the next, in columns.
SPAN = 4.2
_SUBSCRIPT = re.compile(r"_(?:\{(?P<braced>[^}]*)\}|(?P<one>[^\s,]+))")


def _raised(text: str, after: int) -> str:
    """Text back on its line where a subscript came before it."""
    return f'<tspan dy="-4">{escape(text)}</tspan>' if text and after else escape(text)


@dataclass
class _Canvas:
    items: list[str] = field(default_factory=list)
    left: float = 0
    right: float = 0
    top: float = 0
    bottom: float = 0

    def reach(self, x: float, y: float) -> None:
        self.left, self.right = min(self.left, x), max(self.right, x)
        self.top, self.bottom = min(self.top, y), max(self.bottom, y)

    def box(self, x: float, y: float) -> None:
        self.items.append(
            f'<rect x="{x - BOX_W / 2:g}" y="{y - BOX_H / 2:g}" width="{BOX_W}" height="{BOX_H}" '
            f'rx="7" fill="none" stroke="{INK}" stroke-width="1.5"/>'
        )
        self.reach(x - BOX_W / 2, y - BOX_H / 2)
        self.reach(x + BOX_W / 2, y + BOX_H / 2)

    def text(
        self, x: float, y: float, label: str, anchor: str = "middle", size: float = SIZE
    ) -> None:
        body, wide, at = "", 0.0, 0
        for found in _SUBSCRIPT.finditer(label):
            head, sub = label[at : found.start()], found["braced"] or found["one"]
            body += _raised(head, at)
            body += f'<tspan dy="4" font-size="{size * 0.72:.3g}">{escape(sub)}</tspan>'
            wide += 0.5 * size * len(head) + 0.36 * size * len(sub)
            at = found.end()
        body += _raised(label[at:], at)
        wide += 0.5 * size * len(label[at:])
        self.items.append(
            f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" font-size="{size:.3g}" '
            f'fill="{INK}">{body}</text>'
        )
        lead = {"middle": wide / 2, "start": 0, "end": wide}[anchor]
        self.reach(x - lead, y - size)
        self.reach(x - lead + wide, y + 8)

    def arrow(self, path: str, back: bool = False) -> None:
        colour, dash = (BLUE, ' stroke-dasharray="5 4"') if back else (INK, "")
        head = "back" if back else "on"
        self.items.append(
            f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.4"{dash} '
            f'marker-end="url(#{head})"/>'
        )

    def svg(self) -> str:
        pad = 10
        x, y = self.left - pad, self.top - pad
        w, h = self.right - self.left + 2 * pad, self.bottom - self.top + 2 * pad
        marks = "".join(
            f'<marker id="{name}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" '
            f'markerHeight="7" orient="auto"><path d="M0 1 10 5 0 9z" fill="{colour}"/></marker>'
            for name, colour in (("on", INK), ("back", BLUE))
        )
        return in_both_modes(
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{x:g} {y:g} {w:g} {h:g}" '
            f'width="{w:g}" height="{h:g}" font-family="\'Libertinus Serif\', Georgia, serif">'
            f"<defs>{marks}</defs>{''.join(self.items)}</svg>"
        )


def _longest(lines: list[str]) -> int:
    return max(len(line) for line in lines)


def unrolled(derivation: Derivation, notation: Notation | None = None) -> tuple[str, str]:
    """Draw a derivation's network.

    Returns
    -------
    tuple of str
        The SVG, and what it shows in words for those who do not see it.
    """
    scans = [p.scan for p in derivation.scans]
    rows = _rows(scans)
    axes = list(dict.fromkeys(s.axis for s in scans if s.axis))
    draw = _Draw(derivation, notation, rows, axes)
    for scan in scans:
        draw.scan(scan)
    for scan in scans:
        draw.reads(scan)
    return draw.canvas.svg(), draw.alt()


def _rows(scans: list[Scan]) -> dict[str, int]:
    """Scan → row, counted from below: above everything it reads, two scans never in one row."""
    makers = {e.name: s.name for s in scans for e in s.equations}
    depth: dict[str, int] = {}
    for s in scans:
        read = {makers[o.ref.name] for o in s.operands.values() if o.ref.name in makers}
        depth[s.name] = 1 + max((depth[r] for r in read if r in depth), default=-1)
    order = sorted(scans, key=lambda s: depth[s.name])
    taken: dict[str, int] = {}
    used: set[tuple[int, str | None]] = set()
    for s in order:
        row = depth[s.name]
        while (row, s.axis) in used:
            row += 1
        floor = [taken[makers[o.ref.name]] for o in s.operands.values() if o.ref.name in makers]
        row = max([row, *(f + 1 for f in floor if (row, s.axis) not in used and f >= row)])
        while (row, s.axis) in used:
            row += 1
        used.add((row, s.axis))
        taken[s.name] = row
    return taken


class _Draw:
    """The pieces of one drawing; columns are t − 1, t, t + 1 of each time axis."""

    def __init__(
        self,
        derivation: Derivation,
        notation: Notation | None,
        rows: dict[str, int],
        axes: list[str],
    ) -> None:
        self.derivation, self.notation, self.rows, self.axes = derivation, notation, rows, axes
        self.canvas = _Canvas()
        self.several = len(rows) > 1

    def label(self, name: str, lag: int | None) -> str:
        ref = Sym(name, 1, 1, "equation", lag)
        return to_text(ref, self.notation)

    def plainly(self, names: list[str]) -> str:
        """Several names without their time, which the column tells."""
        return ", ".join(self.label(n, None) for n in names)

    def columns(self, scan: Scan) -> list[tuple[float, int]]:
        """x and lag of the boxes of a scan."""
        step = BOX_W + GAP_X
        if scan.axis is None:
            return [(len(self.axes) * SPAN * step, 0)] if self.axes else [(0.0, 0)]
        first = self.axes.index(scan.axis) * SPAN * step
        return [(first + k * step, 1 - k) for k in range(3)]

    def y(self, scan: Scan) -> float:
        return -self.rows[scan.name] * (BOX_H + GAP_Y)

    def title(self, scan: Scan) -> str:
        if self.several or not scan.states:
            return scan.name.replace("_", " ")
        states = [self.label(s.name, None) for s in scan.states]
        return ", ".join(states) or scan.name

    def name(self, x: float, y: float, words: str) -> None:
        """The name of a scan inside its box, on two or three lines where it is long."""
        cuts = [textwrap.wrap(words, wide, break_long_words=False) for wide in range(5, 11)]
        lines = min(cuts, key=lambda c: (len(c) > 3, _longest(c) > 9, len(c), _longest(c)))
        size = min(15.0, BOX_H / len(lines) - 2.5, 1.9 * BOX_W / _longest(lines))
        for k, line in enumerate(lines):
            down = 0.33 * size + 1.05 * size * (k - (len(lines) - 1) / 2)
            self.canvas.text(x, y + down, line, size=size)

    def scan(self, scan: Scan) -> None:
        c, y = self.canvas, self.y(scan)
        boxes = self.columns(scan)
        lags = sorted({k for s in scan.states for k in s.lags})
        names = [s.name for s in scan.states]
        for x, lag in boxes:
            if self.several or not names:
                c.box(x, y)
                self.name(x, y, self.title(scan))
            else:
                c.box(x, y)
                label = self.label(names[0], lag) if len(names) == 1 else self.plainly(names)
                c.text(x, y + 6, label or scan.name, size=SIZE if len(label) < 12 else 12)
        if scan.axis is None or not lags:
            self.outputs(scan)
            return
        half, gap = BOX_W / 2, GAP_X
        for x, lag in boxes:
            left = x - half - gap
            a, b = (left + 4, x - half - 2)
            forward = (b, a) if scan.reverse else (a, b)
            c.arrow(f"M{forward[0]:g} {y - 8:g}H{forward[1]:g}")
            c.arrow(f"M{forward[1]:g} {y + 8:g}H{forward[0]:g}", back=True)
            sent = lag if scan.reverse else lag + 1
            if not self.several:
                label = self.label(names[0], sent) if len(names) == 1 else self.plainly(names)
                c.text(x - half - gap / 2, y - 15, label, size=13)
            c.reach(left, y)
        end = boxes[-1][0] + half
        a, b = end + 4, end + gap * 0.8
        forward = (b, a) if scan.reverse else (a, b)
        c.arrow(f"M{forward[0]:g} {y - 8:g}H{forward[1]:g}")
        c.arrow(f"M{forward[1]:g} {y + 8:g}H{forward[0]:g}", back=True)
        c.text(b + 14, y + 5, "⋯")
        c.text(boxes[0][0] - half - gap - 8, y + 5, "⋯")
        for lag in lags:
            if lag == 2:
                a, b = boxes[0][0] + 14, boxes[2][0] - 14
                c.arrow(
                    f"M{a:g} {y - BOX_H / 2:g}C{a + 20:g} {y - 84:g} {b - 20:g} {y - 84:g} {b:g} "
                    f"{y - BOX_H / 2 - 2:g}"
                )
            elif lag > 2:
                x = boxes[-1][0] - 20
                a = boxes[0][0] - half - gap
                c.arrow(
                    f"M{a:g} {y - 86:g}C{a + 120:g} {y - 86:g} {x - 30:g} {y - 92:g} {x:g} "
                    f"{y - BOX_H / 2 - 2:g}"
                )
                c.text(a + 30, y - 92, f"lag {lag}", size=13)
        self.outputs(scan)

    def handed_out(self, scan: Scan) -> list[str]:
        """Losses of a scan, or else its last output."""
        made = {e.name for e in scan.equations}
        network = self.derivation.network
        wanted = [r.name for r in network.outputs.values() if r.kind != "final" and r.name in made]
        return [r.name for r in network.loss_terms if r.name in made] or wanted[-1:]

    def outputs(self, scan: Scan) -> None:
        names = self.handed_out(scan)
        if not names:
            return
        c, y = self.canvas, self.y(scan)
        side = BOX_W / 2 - 12 if self.several else 0
        for x, lag in self.columns(scan):
            top = y - BOX_H / 2
            c.arrow(f"M{x + side:g} {top:g}v-26")
            if not self.several:
                c.arrow(f"M{x + 12:g} {top - 26:g}v24", back=True)
            shown = None if scan.axis is None else lag
            c.text(
                x + side,
                top - 33,
                ", ".join(self.label(n, shown) for n in names),
                size=15,
            )

    def reads(self, scan: Scan) -> None:
        """Arrows from inputs below, and from the scans that are read."""
        c, y = self.canvas, self.y(scan)
        makers = {e.name: p.scan for p in self.derivation.scans for e in p.equations}
        for state in scan.states:
            for start in state.initial:
                if start.ref is not None and start.ref.maker in makers:
                    self.hand_over(scan, makers[start.ref.maker])
                    break
        inputs: list[Ref] = []
        sources: dict[str, Scan] = {}
        for operand in scan.operands.values():
            ref = operand.ref
            made = makers.get(ref.maker)
            if made is not None:
                sources[made.name] = made
            elif ref.kind in ("input", "data") and ref.axis is not None:
                inputs.append(ref)
        for x, lag in self.columns(scan):
            for source in sources.values():
                self.link(scan, source, x)
            if inputs and (scan.axis is not None):
                under = y + BOX_H / 2
                names = [r.name for r in inputs]
                text = self.label(names[0], lag) + (", …" if len(names) > 1 else "")
                if sources or (self.several and self.rows[scan.name]):
                    self.beside(scan, x, text)
                else:
                    c.arrow(f"M{x:g} {under + 28:g}V{under + 3:g}")
                    c.text(x, under + 44, text, size=15)

    def beside(self, scan: Scan, x: float, text: str) -> None:
        """An input next to its arrow, on the side that what comes from below leaves free."""
        c, under = self.canvas, self.y(scan) + BOX_H / 2
        below = [p.scan for p in self.derivation.scans]
        taken = any(
            self.rows[s.name] == self.rows[scan.name] - 1 and self.handed_out(s) for s in below
        )
        side = -1 if taken else 1
        at = x + side * (BOX_W / 2 - 12)
        c.arrow(f"M{at + side * 8:g} {under + 22:g}Q{at:g} {under + 20:g} {at:g} {under + 3:g}")
        c.text(at + side * 11, under + 27, text, "end" if taken else "start", size=15)

    def link(self, scan: Scan, source: Scan, x: float) -> None:
        c, y, below = self.canvas, self.y(scan), self.y(source)
        if source.axis != scan.axis:
            self.hand_over(scan, source)
            return
        gap = abs(self.rows[scan.name] - self.rows[source.name])
        top, bottom = below - BOX_H / 2, y + BOX_H / 2 + 3
        if gap == 1:
            c.arrow(f"M{x:g} {top:g}V{bottom:g}")
        else:
            side = x - BOX_W / 2 - 8 - 4 * gap
            c.arrow(
                f"M{x - 20:g} {top:g}C{side:g} {top - 26:g} {side:g} {bottom + 26:g} {x - 20:g} "
                f"{bottom:g}"
            )

    def hand_over(self, scan: Scan, source: Scan) -> None:
        """What the last step of one scan gives to the first of another on a later axis."""
        y, below = self.y(scan), self.y(source)
        a = self.columns(source)[-1][0] + BOX_W / 2 + GAP_X * 0.8 + 26
        b = self.columns(scan)[0][0] - BOX_W / 2
        if scan.axis is not None and scan.states:
            b -= GAP_X + 20
        if b <= a or scan.axis == source.axis:
            return
        middle = (a + b) / 2
        self.canvas.arrow(
            f"M{a:g} {below - 8:g}C{middle:g} {below - 8:g} {middle:g} {y - 8:g} {b - 2:g} "
            f"{y - 8:g}"
        )
        self.canvas.arrow(
            f"M{b:g} {y + 8:g}C{middle:g} {y + 8:g} {middle:g} {below + 8:g} {a:g} {below + 8:g}",
            back=True,
        )

    def alt(self) -> str:
        parts = []
        for p in self.derivation.scans:
            scan = p.scan
            if scan.axis is None:
                parts.append(f"{scan.name} runs once")
                continue
            way = "from right to left" if scan.reverse else "from left to right"
            states = ", ".join(s.name for s in scan.states)
            carried = f", carrying {states} {way}" if states else ""
            parts.append(f"{scan.name} is drawn at steps t − 1, t and t + 1{carried}")
        return (
            "The network unrolled over time: " + "; ".join(parts) + ". Dashed arrows in the "
            "opposite direction carry the adjoints."
        )
