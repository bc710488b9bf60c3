"""Names written in LaTeX or typst by a reader: mathematics only, complete, and nothing that acts.

A notation file may come from anybody, and what it says ends in documents that are compiled. So the
strings of a format are parsed: letters, digits, scripts, groups and the commands listed here. What
reads files, defines, or runs is no part of that grammar, and neither is a string with an open
brace.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from gradcheck_rnn.calculus.printing.structured_names import GREEK
from gradcheck_rnn.errors import NotationError

__all__ = ["check_markup", "is_markup"]

_LATEX_SYMBOLS = {
    *GREEK, "varepsilon", "vartheta", "varpi", "varrho", "varsigma", "varphi", "ell", "hbar",
    "imath", "jmath", "partial", "nabla", "infty", "prime", "star", "ast", "dagger", "ddagger",
    "top", "bot", "perp", "circ", "bullet", "cdot", "times", "odot", "otimes", "oplus", "pm", "mp",
    "to", "rightarrow", "leftarrow", "Re", "Im", "wp", "aleph", "emptyset", "sharp", "flat", "dots",
    "ldots", "cdots", ",", ";", ":", "!", " ", "quad",
}  # fmt: skip
_LATEX_FUNCTIONS = {
    "bar", "hat", "tilde", "dot", "ddot", "vec", "check", "breve", "acute", "grave", "widehat",
    "widetilde", "overline", "underline", "overrightarrow", "overleftarrow", "mathbf", "mathrm",
    "mathit", "mathsf", "mathtt", "mathcal", "mathbb", "mathfrak", "mathscr", "boldsymbol", "bm",
    "operatorname", "text", "textbf", "textit", "textrm", "mathring",
}  # fmt: skip
_TYPST_SYMBOLS = {
    *GREEK, "ell", "planck", "partial", "nabla", "infinity", "prime", "star", "ast", "dagger",
    "top", "bot", "perp", "bullet", "times", "plus", "minus", "arrow", "Re", "Im", "aleph", "dots",
    "quad", "thin",
    *(f"{x}.alt" for x in ("beta", "epsilon", "theta", "kappa", "pi", "rho", "sigma", "phi")),
}  # fmt: skip
_TYPST_FUNCTIONS = {
    "macron", "hat", "tilde", "dot", "diaer", "arrow", "caron", "breve", "acute", "grave",
    "circle", "overline", "underline", "bold", "upright", "italic", "sans", "mono", "cal", "bb",
    "frak", "op", "dot.double", "dot.triple", "arrow.l",
}  # fmt: skip
_LATEX = re.compile(
    r"(?P<command>\\(?:[A-Za-z]+|[,;:! ]))|(?P<open>\{)|(?P<close>\})|(?P<script>[_^])"
    r"|(?P<prime>')|(?P<space> +)|(?P<char>[^\W_]|[-+*/=.,:()|\[\]])"
)
_TYPST = re.compile(
    r'(?P<text>"[^"\\\x00-\x1f]*")|(?P<word>[^\W\d_][^\W\d_]+(?:\.[a-z]+)*)|(?P<open>\()'
    r"|(?P<close>\))|(?P<script>[_^])|(?P<prime>')|(?P<space> +)|(?P<comma>,)"
    r"|(?P<char>[^\W\d_]|[0-9]+(?:\.[0-9]+)?|[-+*=.|])"
)
#: Groups within groups.
MOST_DEEP = 20


@dataclass
class _Reader:
    """Tokens of a string, consumed from the left; every method raises ValueError."""

    tokens: list[tuple[str, str]]
    latex: bool
    at: int = 0

    def kind(self) -> str:
        return self.tokens[self.at][0] if self.at < len(self.tokens) else ""

    def take(self) -> str:
        self.at += 1
        return self.tokens[self.at - 1][1]

    def row(self, depth: int = 0) -> None:
        """Atoms with their scripts, up to a closing bracket, a comma or the end."""
        if depth > MOST_DEEP:
            raise ValueError("it is nested too deeply")
        count = 0
        while self.kind() not in ("", "close", "comma"):
            if self.kind() == "space":
                self.take()
                continue
            self.atom(depth)
            self.scripts(depth)
            count += 1
        if not count:
            raise ValueError("a group or the whole is empty")

    def scripts(self, depth: int) -> None:
        seen = set()
        while self.kind() in ("script", "prime"):
            mark = "^" if self.kind() == "prime" else self.tokens[self.at][1]
            primes = self.kind() == "prime"
            self.take()
            while primes and self.kind() == "prime":
                self.take()
            if mark in seen:
                raise ValueError("a letter has two subscripts or two superscripts")
            seen.add(mark)
            if not primes:
                self.atom(depth)

    def atom(self, depth: int) -> None:
        kind = self.kind()
        if kind in ("", "close", "comma", "script", "prime", "space"):
            raise ValueError("a letter or a group is missing")
        word = self.take()
        if kind == "open":
            self.group(depth)
        elif kind == "command":
            self.command(word, depth)
        elif kind == "word":
            self.word(word, depth)

    def group(self, depth: int) -> None:
        """Up to the bracket that closes; typst has commas within."""
        self.row(depth + 1)
        while self.kind() == "comma":
            self.take()
            self.row(depth + 1)
        if self.kind() != "close":
            raise ValueError("a bracket is left open")
        self.take()

    def command(self, word: str, depth: int) -> None:
        name = word[1:]
        if name in _LATEX_FUNCTIONS:
            if self.kind() != "open":
                raise ValueError(f"{word} wants its argument in braces")
            self.take()
            self.group(depth)
        elif name not in _LATEX_SYMBOLS:
            known = ", ".join(sorted(_LATEX_FUNCTIONS))
            raise ValueError(
                f"{word} is not allowed in a name; there are Greek letters and {known}"
            )

    def word(self, word: str, depth: int) -> None:
        if word in _TYPST_FUNCTIONS and self.kind() == "open":
            self.take()
            self.row(depth + 1)
            if self.kind() != "close":
                raise ValueError(f"{word} wants one argument, and a bracket that closes")
            self.take()
        elif word not in _TYPST_SYMBOLS:
            known = ", ".join(sorted(_TYPST_FUNCTIONS))
            raise ValueError(
                f'{word} is not allowed in a name; words stand in quotes, as "{word}", and there '
                f"are Greek letters and {known}"
            )


def _check(text: str, latex: bool) -> None:
    tokens, at = [], 0
    pattern = _LATEX if latex else _TYPST
    while at < len(text):
        found = pattern.match(text, at)
        if found is None:
            raise ValueError(f"the character {text[at]!r} has no place in a name")
        tokens.append((str(found.lastgroup), found[0]))
        at = found.end()
    reader = _Reader(tokens, latex)
    reader.row()
    if reader.kind() == "comma" and not latex:
        raise ValueError("a comma stands outside brackets")
    if reader.kind():
        raise ValueError("a bracket closes what was not open")


def check_markup(text: str, target: str) -> None:
    """Refuse what is no name in a format.

    Parameters
    ----------
    text : str
        As a reader wrote it.
    target : {"text", "latex", "typst"}
        The format; in plain text everything is a name that can be printed on a line.

    Raises
    ------
    NotationError
        The string is incomplete, or says something else than mathematics; the message is the end
        of a sentence that names the string.
    """
    try:
        if target != "text":
            _check(text, target == "latex")
        elif not text.isprintable():
            raise ValueError("it holds characters that cannot be printed")
    except ValueError as error:
        raise NotationError(f"is no name in {target}: {error}") from None


def is_markup(text: str, target: str) -> bool:
    """Whether `check_markup` lets a string pass."""
    try:
        check_markup(text, target)
    except NotationError:
        return False
    return True
