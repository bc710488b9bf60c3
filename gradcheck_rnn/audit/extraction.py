"""Equations in a file: plain text, NumPy lines, LaTeX, Markdown with formulas, notebooks."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from ..errors import UsageError
from ..notebook import NOTEBOOK, cells_of
from .note import Judged
from .pythonic import parse_line
from .text_notation import UnreadableEquation, parse, split_name
from .tree import Node, Written
from .vocabulary import Vocabulary

__all__ = ["equations", "names_in", "read_lines", "read_note", "to_text"]

_FAMILY = re.compile(r"\(?\bfor (?:each |all )?(\w) ?(?:∈|in|=) ?[\{\(]?([\w, ]+?)[\}\)]?\)?\s*$")
#: What `derive` and people write behind an equation.
_LAST = re.compile(r"^(.*?)\s+\(?at t = (?:T|S|1) add (.*?)\)?$")
_REMARK = re.compile(r"\s+\(?at t = .*$|\s+\(?as sum\(.*$|\s+\(?\S+ is its (?:row|unit) t\)?$")
_WORD = re.compile(r"[^\W\d_]{2,}")
#: Words on the left-hand side that make a line prose.
PROSE = 4
#: What code does not have.
_MATHS = re.compile(r"_\{|ᵀ|_t\b|\\")
_PYTHON = re.compile(r"\*\*|@|np\.|\+=|-=|\w\[|\.T\b|_prev\b|_next\b|\*")


def read_note(path: str | os.PathLike[str], vocabulary: Vocabulary) -> list[Written | Judged]:
    """The equations of a file, in order; a line that is not understood comes as `Judged`.

    Parameters
    ----------
    path : path
        ``.tex``, ``.md``, ``.ipynb``, or any other file as plain text: one equation a line, in
        mathematical text or as NumPy assignments; lines without an equals sign are prose.
    vocabulary : Vocabulary
        The names of the definition and of the author.

    Raises
    ------
    UsageError
        The file cannot be read, or has no equation.
    """
    where = Path(path)
    if where.suffix == NOTEBOOK:
        lines = [
            (cell.number, e, kind)
            for cell in cells_of(where)
            for _, e, kind in _lines(cell.text, ".md" if cell.kind == "markdown" else ".py")
        ]
        return _found(where, _equations_of(lines, vocabulary))
    try:
        source = where.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        reason = getattr(problem, "strerror", None) or "it is no UTF-8 text"
        raise UsageError(f"{where} cannot be read: {reason}") from None
    lines = _lines(source, where.suffix)
    return _found(where, _equations_of(lines, vocabulary))


def _found(where: Path, out: list[Written | Judged]) -> list[Written | Judged]:
    if not out:
        raise UsageError(f"{where}: no line has an equation (left = right)")
    return out


def read_lines(lines: Sequence[str], vocabulary: Vocabulary) -> list[Written | Judged]:
    """Equations given one by one; their line is their number from 1 on. See `read_note`."""
    out = []
    for number, text in enumerate(lines, 1):
        for _, bare, kind in _lines(text, ".txt") or [(0, text, "math")]:
            out += _equations_of([(number, bare, kind)], vocabulary)
    return out


def _equations_of(
    lines: Sequence[tuple[int, str, str]], vocabulary: Vocabulary
) -> list[Written | Judged]:
    return [
        _read(link, number, kind, vocabulary)
        for number, text, kind in lines
        for member in _family(text)
        for link in _chain(member, kind)
    ]


def _lines(source: str, suffix: str) -> list[tuple[int, str, str]]:
    if suffix in (".tex", ".md"):
        found = [(n, to_text(e), "math") for n, e in equations(source)]
        if found or suffix == ".tex":
            return found
    out = []
    code = any(_PYTHON.search(x) and not _MATHS.search(x) for x in source.splitlines())
    for number, line in enumerate(source.splitlines(), start=1):
        bare = line.strip()
        if not bare or bare.startswith(("#", "//", "%")):
            continue
        left = re.split(r"(?<![=!<>])=(?!=)", bare)[0]
        spoken = _WORD.findall(re.sub(r"\\[a-zA-Z]+", " ", left))
        prose = len(spoken) >= PROSE or bare.endswith((":", ".")) or ": " in left
        if left != bare and not prose:
            plain = _PYTHON.search(bare) or (code and bare.isascii())
            kind = "python" if plain and not _MATHS.search(bare) else "math"
            latex = "\\" in bare
            out.append((number, to_text(bare) if latex else bare, "math" if latex else kind))
    return out


def _family(text: str) -> list[str]:
    """``… (for k ∈ {i, f, o})`` as one line a member."""
    m = _FAMILY.search(text)
    if m is None:
        return [text]
    body, letter = text[: m.start()].strip(), m.group(1)
    members = [w.strip() for w in m.group(2).split(",") if w.strip()]
    subscript = rf"(?<=[_{{,]){letter}(?=[\W,}}]|$)"
    return [re.sub(subscript, member, body) for member in members]


def _equals(text: str) -> list[int]:
    """Where equals signs stand outside of braces and bounds of sums."""
    out, depth = [], 0
    for k, c in enumerate(text):
        depth += {"{": 1, "}": -1}.get(c, 0)
        if c == "=" and not depth and not re.search(r"[ΣΠ∑∏]_\w$", text[:k].rstrip()):
            out.append(k)
    return out


def _sides(text: str) -> tuple[str, str]:
    at = _equals(text)
    if not at:
        raise UnreadableEquation(f"{text.strip()!r} has no equals sign")
    left = text[: at[0]].rstrip(" :")
    return left, text[at[0] + 1 :]


def _chain(text: str, kind: str) -> list[str]:
    """``a = b = c`` as ``a = b`` and ``a = c``: every member is a claim."""
    at = _equals(_REMARK.sub("", text)) if kind == "math" else []
    if len(at) < 2:
        return [text]
    ends = [*at[1:], len(text)]
    return [f"{text[: at[0]]}= {text[a + 1 : b].strip()}" for a, b in zip(at, ends, strict=True)]


def _read(text: str, line: int, kind: str, vocabulary: Vocabulary) -> Written | Judged:
    def tree(side: str) -> Node:
        bare = vocabulary.without_heads(side)
        return parse(bare, vocabulary.mapped, vocabulary.words, heads=vocabulary.heads)

    try:
        if kind == "python":
            code = re.sub(r"\s+#.*$", "", text)
            equation = parse_line(code, line, vocabulary.mapped)
        else:
            text, _, extra = _LAST.sub(r"\1 \n\2", text).partition("\n")
            text = _REMARK.sub("", text)
            left, right = _sides(text)
            equation = Written(
                tree(left), tree(right.strip(" ,.;")), text.strip(), line,
                last=tree(extra) if extra else None,
            )  # fmt: skip
    except UnreadableEquation as problem:
        return Judged(text.strip(), line, "not understood", why=str(problem))
    return replace(
        equation,
        left=vocabulary.meant(equation.left, split_name),
        right=vocabulary.meant(equation.right, split_name),
        last=None if equation.last is None else vocabulary.meant(equation.last, split_name),
    )


def names_in(path: str | os.PathLike[str], known: Iterable[str]) -> dict[str, str]:
    """The author's name → the definition's, from a notation file.

    Raises
    ------
    NotationError
        The file cannot be read or names an unknown symbol.
    """
    from ..calculus.printing.notation import load_notation

    return {
        _spelled(theirs): ours
        for ours, names in load_notation(path, known).names.items()
        for theirs in ([names] if isinstance(names, str) else names.values())
    }


def _spelled(name: str) -> str:
    """A printed name, in LaTeX or as text, in the spelling of definitions: ``W_hh``."""
    bare = to_text(name) if "\\" in name else name
    head, _, subscripts = bare.strip().partition("_")
    parts = [split_name(w) for w in re.split(r"[_{}\s,]+", subscripts) if w]
    return "_".join([split_name(head.strip()), *parts])


_SYMBOLS = {
    "delta": "δ", "odot": "⊙", "circ": "∘", "cdot": "·", "times": "×", "otimes": "⊗", "oslash": "⊘",
    "langle": "⟨", "rangle": "⟩", "prod": "Π",
    "sigma": "σ", "partial": "∂", "nabla": "∇", "sum": "Σ", "top": "⊤", "intercal": "⊤",
    "mathsf{T}": "⊤", "gamma": "γ", "alpha": "α", "beta": "β", "phi": "φ", "theta": "θ",
    "lambda": "λ", "tau": "τ", "mu": "μ", "epsilon": "ε", "eta": "η", "rho": "ρ", "psi": "ψ",
    "omega": "ω", "kappa": "κ", "nu": "ν", "xi": "ξ", "chi": "χ", "zeta": "ζ",
    "mathcal{L}": "L", "ell": "L", "prime": "′", "lvert": "|", "rvert": "|",
}  # fmt: skip
_ACCENTS = {"tilde": "\u0303", "hat": "\u0302", "bar": "\u0304", "dot": "\u0307",
            "widetilde": "\u0303", "widehat": "\u0302"}  # fmt: skip
_PLAIN = (
    "mathbf", "boldsymbol", "bm", "mathrm", "text", "textrm", "mathit", "vec", "operatorname",
    "mathsf", "mbox",
)  # fmt: skip
_ENVIRONMENT = re.compile(
    r"\\begin\{(equation|align|aligned|gather|eqnarray|multline)\*?\}(.*?)\\end\{\1\*?\}"
    r"|\$\$(.*?)\$\$|\\\[(.*?)\\\]|(?<!\\)\$([^$\n]+)\$",
    re.DOTALL,
)


def equations(source: str) -> list[tuple[int, str]]:
    """(line number, LaTeX) of every displayed or inline formula with an equals sign."""
    out = []
    for m in _ENVIRONMENT.finditer(source):
        kind = next(i for i in (2, 3, 4, 5) if m.group(i) is not None)
        body, start = m.group(kind), m.start(kind)
        at = 0
        body = re.sub(
            r"\\begin\{[bp]matrix\}(.*?)\\end\{[bp]matrix\}",
            lambda g: "[" + g.group(1).replace(r"\\", ";") + "]", body, flags=re.DOTALL,
        )  # fmt: skip
        for row in _rows(body):
            first = source.count("\n", 0, start + at + len(row) - len(row.lstrip())) + 1
            at += len(row) + 2
            row = re.sub(r"\\begin\{aligned\}|\\end\{aligned\}|(?<!\\)%.*", "", row)
            row, _, remark = row.partition("&&")
            if "for" in remark or "add" in remark:
                row += (
                    " (" + re.sub(r"\\text\{(.*)\}", r"\1", remark.strip()).replace("$", "") + ")"
                )
            if "=" in row:
                out.append((first, row.strip()))
    return out


_CONTINUED = re.compile(r"\s*&\s*\\q?quad\b")
_BOX = re.compile(r"\\parbox\[t\]\{[^{}]*\}\{\\raggedright (.*)\}\s*$", re.DOTALL)


def _rows(body: str) -> list[str]:
    """Rows of a display; what continues an equation on a row of its own is joined to it."""
    out: list[str] = []
    for row in re.split(r"\\\\(?:\[[^\]]*\])?", body):
        m = _CONTINUED.match(row)
        if m is None or not out:
            out.append(row)
            continue
        rest = _BOX.sub(r" && \\text{\1}", row[m.end() :])
        # The row's length is kept, as it tells where the next one stands.
        out[-1] += "  " + "\n" * row.count("\n") + rest
    return out


def _group(text: str, at: int) -> tuple[str, int]:
    """The group or token that starts at ``at``, and where it ends."""
    while at < len(text) and text[at] == " ":
        at += 1
    if at >= len(text):
        return "", at
    if text[at] != "{":
        m = re.compile(r"\\[a-zA-Z]+|.").match(text, at)
        end = m.end() if m else at + 1
        return text[at:end], end
    depth = 0
    for i in range(at, len(text)):
        depth += {"{": 1, "}": -1}.get(text[i], 0)
        if not depth:
            return text[at + 1 : i], i + 1
    return text[at + 1 :], len(text)


def to_text(latex: str) -> str:
    """One LaTeX equation as mathematical text."""
    text = re.sub(r"\\(tag|label|hspace|vspace|notag|nonumber)\*?\s*(\{[^{}]*\})?", " ", latex)
    text = re.sub(r"\\(left|right|big|Big|bigl|bigr|Bigl|Bigr|displaystyle|limits)\b", " ", text)
    text = re.sub(r"\\[,;:!> ]|\\q?quad\b|~|&", " ", text)
    text = text.replace(r"\{", "(").replace(r"\}", ")")
    for name, symbol in _SYMBOLS.items():
        if "{" in name:
            text = text.replace("\\" + name, symbol)
    out, at = "", 0
    while at < len(text):
        m = re.compile(r"\\([a-zA-Z]+)").match(text, at)
        if m is None:
            out += text[at]
            at += 1
            continue
        command, at = m.group(1), m.end()
        if command in ("frac", "dfrac", "tfrac"):
            above, at = _group(text, at)
            below, at = _group(text, at)
            above, below = to_text(above), to_text(below)
            partial = above.strip().startswith(("∂", "d ")) and below.strip().startswith("∂")
            out += f"{above.strip()}/{below.strip()} " if partial else f"(({above})/({below}))"
        elif command in _ACCENTS:
            inner, at = _group(text, at)
            inner = to_text(inner).strip()
            out += inner[:1] + _ACCENTS[command] + inner[1:]
        elif command in _PLAIN:
            inner, at = _group(text, at)
            out += to_text(inner).strip()
        elif command == "sqrt":
            inner, at = _group(text, at)
            out += f"sqrt({to_text(inner)})"
        else:
            out += _SYMBOLS.get(command, command)
    # Bounds of sums, before a superscript T is taken for a transpose.
    out = re.sub(r"([ΣΠ]\s*_)\{?([^{}^]*?)\}?\s*\^\s*\{?(\w(?:[-+]\d+)?)\}?", r"\1{\2;\3} ", out)
    out = re.sub(r"\^\s*\{\s*(⊤|T|′)\s*\}", lambda g: "′" if g.group(1) == "′" else "ᵀ", out)
    out = re.sub(r"\^\s*(⊤|T)", "ᵀ", out)
    return re.sub(r"\s+", " ", out).strip()
