r"""Break long displayed equations of LaTeX: before a sign, a product sign, else between factors.

LaTeX breaks no displayed equation by itself. Widths are estimated in em from the text, with the
widths of Computer Modern, to a few per cent: enough to choose where a line ends.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

__all__ = ["LINE", "PREAMBLE", "broken", "width"]

#: Room on a line of an A4 page with margins of 2.5 cm at 10 pt, with some to spare, in em.
LINE = 42.0
#: What makes a LaTeX document of the sections; `LINE` is the width of its lines.
PREAMBLE = r"""\documentclass[a4paper]{article}
\usepackage[margin=2.5cm]{geometry}
\usepackage{amsmath,amssymb,bm}
\allowdisplaybreaks
\begin{document}
"""

_TOKEN = re.compile(r"\\[A-Za-z]+|\\.|[{}^_]|[^\\{}^_]")
_SIGN = re.compile(r" (?=[+-] )")
_PRODUCT = re.compile(r" (?=\\(?:odot|otimes) )")
_FACTOR = re.compile(r" (?=\\, )")
#: Where to break, at which depth of parentheses: what is tried first to last.
ORDER = [(where, depth) for depth in range(12) for where in (_SIGN, _PRODUCT)]
ORDER += [(_FACTOR, depth) for depth in range(12)]
#: Commands that only change how their argument looks.
_SILENT = {
    r"\mathrm", r"\operatorname", r"\text", r"\tilde", r"\hat",
    r"\bar", r"\dot", r"\left", r"\right", r"\bigl", r"\bigr", r"\mathbb",
}  # fmt: skip
_WIDTHS = {
    " ": 0.0, r"\,": 0.17, r"\quad": 1.0, r"\odot": 1.2, r"\otimes": 1.2, r"\cdot": 0.7,
    r"\sum": 1.5, r"\prod": 1.4, r"\tanh": 2.2, r"\top": 0.8, r"\{": 0.5, r"\}": 0.5, "(": 0.39,
    ")": 0.39, ",": 0.45, "+": 1.2, "-": 1.2, "=": 1.35, "W": 1.0, "U": 0.8, "m": 0.88,
    r"\in": 1.2, r"\partial": 0.57, r"\nabla": 0.83, r"\sigma": 0.57, r"\delta": 0.45,
    r"\times": 1.2, r"\dots": 1.2, r"\geq": 1.3, ">": 1.3, "<": 1.3, r"\max": 1.9, r"\min": 1.8,
    r"\exp": 1.6, r"\log": 1.3, r"\ln": 0.9, r"\sin": 1.3, r"\cos": 1.4, r"\det": 1.3,
}  # fmt: skip
#: Any other letter or symbol, and a letter of running text.
_GLYPH, _LETTER = 0.55, 0.46
#: Bold letters beside others; scripts, whose letters are wider for their size, beside the base.
_BOLD, _SCRIPT = 1.15, 0.78


def _braced(text: str, start: int) -> tuple[str, int]:
    """The group that begins at ``start`` (a brace, or one token), and where it ends."""
    token = _TOKEN.match(text, start)
    if token is None:
        return "", len(text)
    if token.group() != "{":
        return token.group(), token.end()
    depth = 0
    for m in _TOKEN.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(m.group(), 0)
        if depth == 0:
            return text[start + 1 : m.start()], m.end()
    return text[start + 1 :], len(text)


def width(text: str, script: bool = False) -> float:
    r"""Estimate how wide a piece of mathematics is set, in em.

    Parameters
    ----------
    text : str
        LaTeX in math mode; ``\text{…}`` is measured as words.
    script : bool
        Whether it is set as a subscript or superscript.

    Returns
    -------
    float
        The width, in em of the main text.
    """
    total, at = 0.0, 0
    scripts: dict[str, float] = {}
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None:
            break
        what, at = token.group(), token.end()
        if what not in "^_" or not what:
            total += max(scripts.values(), default=0.0)
            scripts = {}
        if what in ("^", "_"):
            group, at = _braced(text, at)
            scripts[what] = width(group, True)
        elif what in (r"\mathbf", r"\boldsymbol"):
            group, at = _braced(text, at)
            total += _BOLD * width(group)
        elif what == r"\text":
            words, at = _braced(text, at)
            total += _words(words)
        elif what in (r"\frac", r"\tfrac"):
            above, at = _braced(text, at)
            below, at = _braced(text, at)
            total += 0.24 + max(width(above), width(below))
        elif what == r"\begin":
            _, at = _braced(text, at)
        elif what not in _SILENT and what not in "{}":
            # Operators in scripts have no space around them.
            wide = _WIDTHS.get(what, _GLYPH)
            total += min(wide, 0.78) if script else wide
    total += max(scripts.values(), default=0.0)
    return total * (_SCRIPT if script else 1.0)


def _words(text: str) -> float:
    """Width of running text with mathematics between dollars."""
    parts = text.split("$")
    return sum(width(p) if k % 2 else _LETTER * len(p) for k, p in enumerate(parts))


def _outside(text: str, where: re.Pattern[str], depth: int) -> Iterator[int]:
    r"""Matches that lie in no braces, no ``\left``…``\right``, and in ``depth`` parentheses."""
    braces = parens = fences = 0
    places = {m.start() for m in where.finditer(text)}
    for m in _TOKEN.finditer(text):
        token = m.group()
        if m.start() in places and not braces and not fences and parens == depth:
            yield m.start()
        braces += {"{": 1, "}": -1}.get(token, 0)
        fences += {r"\left": 1, r"\begin": 1, r"\right": -1, r"\end": -1}.get(token, 0)
        if not fences and not text.startswith(r"\right", m.start() - 6):
            parens += {"(": 1, ")": -1}.get(token, 0)


def _cut(text: str, where: re.Pattern[str], depth: int) -> list[str]:
    cuts = [0, *_outside(text, where, depth), len(text)]
    return [text[a:b].strip() for a, b in pairwise(cuts)]


def broken(text: str, first: float, rest: float = LINE) -> list[str]:
    """Break a right-hand side into lines.

    Parameters
    ----------
    text : str
        LaTeX in math mode.
    first, rest : float
        Room on the first line and on those after it, in em.

    Returns
    -------
    list of str
        The lines; a piece that cannot be broken may be wider than its line. A line that begins
        with a factor shows the product's sign, which is not written within a line.
    """
    pieces = [text]
    for where, depth in ORDER:
        if all(width(p) <= rest for p in pieces) and width(pieces[0]) <= first:
            break
        if depth:  # a pair of growing parentheses cannot be broken, a large one can
            pieces = [
                p.replace(r"\left(", r"\bigl(").replace(r"\right)", r"\bigr)") for p in pieces
            ]
        pieces = [
            q
            for k, p in enumerate(pieces)
            for q in (_cut(p, where, depth) if width(p) > (rest if k else first) else [p])
        ]
    lines = [pieces[0]]
    for piece in pieces[1:]:
        room = first if len(lines) == 1 else rest
        joined = f"{lines[-1]} {piece}"
        if width(joined) <= room:
            lines[-1] = joined
        else:
            lines.append(re.sub(r"^\\, ", r"\\cdot ", piece))
    return lines
