"""Mathematical text cut into tokens: numbers, names with their accents, scripts, signs."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from ..errors import UsageError
from ..language.ops.elementwise import ELEMENTWISE

__all__ = [
    "FUNCTIONS",
    "SUPERSCRIPTS",
    "Cursor",
    "UnreadableEquation",
    "inner",
    "parts_of",
    "spelled",
    "split_name",
    "tokens",
    "words_of",
]

_ACCENTS = {"\u0303": "tilde", "\u0302": "hat", "\u0304": "bar", "\u0307": "dot"}
SUPERSCRIPTS = {c: str(i) for i, c in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")}
_GREEK = {
    "δ": "delta", "γ": "gamma", "α": "alpha", "β": "beta", "φ": "phi", "θ": "theta", "λ": "lambda",
    "τ": "tau", "μ": "mu", "ε": "epsilon", "η": "eta", "ρ": "rho", "ψ": "psi", "ω": "omega",
    "κ": "kappa", "ν": "nu", "ξ": "xi", "π": "pi", "χ": "chi", "ζ": "zeta",
}  # fmt: skip
#: Functions of the language that are not elementwise, as they are printed.
FUNCTIONS = frozenset(
    {
        "softmax", "log_softmax", "sign", "sum", "max", "where", "cross_entropy", "CE", "frozen",
        "dot", "trace", "surrogate", "solve",
    }
)  # fmt: skip


class UnreadableEquation(UsageError):
    """A line that is not in this notation; the text says at what."""


def split_name(text: str) -> str:
    """A letter with accents in the spelling of definitions: ``c̃`` is ``c_tilde``, ``γ`` gamma."""
    base = "".join(c for c in text if c not in _ACCENTS)
    accents = [_ACCENTS[c] for c in text if c in _ACCENTS]
    return "_".join([_GREEK.get(base, base), *accents])


class Cursor:
    """Tokens of a text, taken one after the other."""

    def __init__(self, text: str, words: frozenset[str]) -> None:
        self.text, self.tokens, self.at = text, tokens(text, words), 0

    def peek(self, ahead: int = 0) -> str:
        """The next token, or one behind it; empty at the end."""
        at = self.at + ahead
        return self.tokens[at] if at < len(self.tokens) else ""

    def take(self, wanted: str = "") -> str:
        """The next token, which is to be the one that is wanted."""
        token = self.peek()
        if not token or (wanted and token != wanted):
            raise UnreadableEquation(
                f"{self.text.strip()!r}: {wanted or 'something'!r} is missing "
                + (f"before {token!r}" if token else "at the end")
            )
        self.at += 1
        return token


def _group(text: str, at: int) -> int:
    """Where the braces or parentheses that open at ``at`` close."""
    depth = 0
    for i in range(at, len(text)):
        depth += {"{": 1, "}": -1, "(": 1, ")": -1}.get(text[i], 0)
        if not depth:
            return i + 1
    raise UnreadableEquation(f"{text.strip()!r}: a brace is not closed")


def _letters(text: str, at: int) -> int:
    """Where a letter with its accents ends."""
    at += 1
    while at < len(text) and unicodedata.combining(text[at]):
        at += 1
    return at


def tokens(text: str, words: frozenset[str]) -> list[str]:
    """Numbers, words, single letters with accents, scripts with their groups, signs."""
    text = unicodedata.normalize("NFD", text)
    text = text.replace("−", "-").replace("–", "-").replace("′", "'")
    out: list[str] = []
    at = 0
    while at < len(text):
        c = text[at]
        if c.isspace():
            at += 1
            continue
        end = at + 1
        if c in "_^" and at + 1 < len(text):
            if text[at + 1] in "{(":
                end = _group(text, at + 1)
            elif c == "_" and (number := re.compile(r"\d+").match(text, at + 1)):
                end = number.end()
            else:
                end = max(_letters(text, at + 1), _word(text, at + 1, words))
        elif c.isdigit() and c not in SUPERSCRIPTS:
            number = re.compile(r"\d+(\.\d+)?").match(text, at)
            end = number.end() if number else end
        elif c.isalpha():
            end = max(_letters(text, at), _word(text, at, words))
        out.append(text[at:end])
        at = end
    return out


def _word(text: str, at: int, words: frozenset[str]) -> int:
    """Where the longest known word ends that begins here; ``at`` if none does."""
    run = re.compile(r"[^\W\d_]\w*").match(text, at)
    for n in range(len(run.group()) if run else 0, 1, -1):
        if text[at : at + n] in words:
            return at + n
    return at


def inner(script: str) -> str:
    """What a script holds, without its sign and braces."""
    body = script[1:]
    return body[1:-1] if body.startswith("{") and body.endswith("}") else body


def words_of(names: Iterable[str]) -> frozenset[str]:
    """Heads and subscripts of more than one letter among names of a definition."""
    parts = {w for n in names for w in n.split("_") if len(w) > 1}
    fixed = {*ELEMENTWISE, *FUNCTIONS, "sgn", "diag", "pad", "loss", "vec", "unvec", "tr", "Tr"}
    return frozenset(parts | fixed)


def parts_of(body: str) -> list[str]:
    """Subscripts that are separated by commas outside of braces."""
    out, depth = [""], 0
    for c in body:
        depth += {"{": 1, "}": -1}.get(c, 0)
        if c == "," and not depth:
            out.append("")
        else:
            out[-1] += c
    return out


def spelled(part: str) -> str:
    """A subscript in the spelling of definitions: ``a_{f}`` is ``a_f``."""
    return "_".join(split_name(w) for w in re.split(r"[_{}\s,]+", part.strip()) if w)
