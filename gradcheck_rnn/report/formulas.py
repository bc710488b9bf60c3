"""Formulas within prose, ``h̃ = tanh(W_c (r ⊙ h₋) + b_c)``, as typst mathematics.

What cells say of themselves is text for a terminal. In a document the formulas in it are found, word
by word, and typeset; everything else stays as it is.
"""

from __future__ import annotations

import re
import unicodedata

from .typst_mathematics import plain

__all__ = ["prose"]

_OPERATORS = "=⊙+−/·<>≥≤∈Σ"
_GREEK = "αβγδεζηθκλμνξπρστφχψωΓΔΘΛΞΠΣΦΨΩ"
_MARKS = "\u0302\u0303\u0304\u20d6\u20d7"
#: Any of these makes a word mathematics.
_STRONG = re.compile(f"[{_OPERATORS}{_GREEK}{_MARKS}₋ᵀ_^⁻²∂∇½′″]")
_FUNCTIONS = {
    "tanh", "exp", "log", "max", "relu", "softmax", "sqrt", "diag", "norm", "swish", "elu", "Re",
    "sigmoid",
}  # fmt: skip
#: Words of one letter that may be English.
_ENGLISH = {"a", "A", "I"}
_RAISED = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁻ˢ", "0123456789-s", strict=True))
_ACCENTS = {
    "\u0302": "hat", "\u0303": "tilde", "\u0304": "macron", "\u20d6": "arrow.l",
    "\u20d7": "arrow",
}  # fmt: skip
_SIGNS = {
    "−": "-", "-": "-", "⊙": "dot.o", "·": "dot.op", "Σ": "sum", "∂": "partial", "∇": "nabla",
    "ᵀ": "^top", "₋": "_(-)", "½": "1\\/2", "′": "'", "″": "''", "/": "\\/", "|": "|", "(": "\\(",
    ")": "\\)", "[": "\\[", "]": "\\]", "*": "*", ",": ",", ";": ";", ":": ":", "{": "\\{",
    "}": "\\}", "=": "=", "+": "+", "<": "<", ">": ">", "≥": ">=", "≤": "<=", "∈": "in",
    ".": ".",
}  # fmt: skip
_SCRIPT = re.compile(
    rf"([_^])(\{{[^{{}}]*\}}|\([^()]*\)|(?<=\^)[A-Za-z]_[A-Za-z]+|\*?[A-Za-z0-9]+|[{_GREEK}])"
)
_LETTERS = re.compile(f"[A-Za-z{_GREEK}]+")
_APPLIED = re.compile(rf"(?:{'|'.join(_FUNCTIONS)})\(.*\)\W?")


def prose(text: str) -> str:
    """Words as typst markup, with the formulas among them typeset."""
    words = unicodedata.normalize("NFC", text).split(" ")
    out: list[str] = []
    at = 0
    while at < len(words):
        end = _formula_end(words, at)
        if end == at:
            out.append(plain(words[at]))
            at += 1
            continue
        run = " ".join(words[at:end])
        body = run.rstrip(",;:.")
        if body.count(")") > body.count("("):  # it closes a parenthesis of the sentence
            body = body[: body.rindex(")")]
        out.append(f"${_math(body)}$" + (plain(run[len(body) :]) if body != run else ""))
        at = end
    return " ".join(out)


def _formula_end(words: list[str], start: int) -> int:
    """Where the formula that starts at a word ends; the word itself where none starts."""
    end, opened = start, 0
    while end < len(words):
        before = words[end - 1] if end > start else ""
        after = words[end + 1] if end + 1 < len(words) else ""
        if not _mathematical(words[end], before, after):
            break
        word = words[end]
        opened += sum(word.count(c) for c in "([{") - sum(word.count(c) for c in ")]}")
        end += 1
        if opened < 0 or (word[-1:] in ",;:." and opened <= 0):
            break
    while end > start and words[end - 1] in _ENGLISH:
        if end - 1 > start and words[end - 2][-1:] in _OPERATORS:
            break
        end -= 1
    return end if _is_formula(words[start:end]) else start


def _is_formula(run: list[str]) -> bool:
    if any(_STRONG.search(unicodedata.normalize("NFD", w)) for w in run):
        return True
    # A letter by itself names something, unless it is a word.
    core = run[0].strip("(),;:.") if len(run) == 1 else ""
    letter = len(core) == 1 and core.isalpha() and core not in _ENGLISH
    return letter or _APPLIED.fullmatch(" ".join(run)) is not None


def _mathematical(word: str, before: str, after: str) -> bool:
    """Whether a word may stand in a formula, between these."""
    if _STRONG.search(unicodedata.normalize("NFD", word)) and "-" not in word.strip("-"):
        return True
    parts = _LETTERS.findall(word)
    if all(len(p) == 1 or p in _FUNCTIONS for p in parts):
        return bool(parts) or bool(re.search(r"\d|[()|]", word))
    # A name of several letters belongs to the operator beside it.
    left = before != "" and before[-1] in _OPERATORS
    right = len(after) == 1 and after in _OPERATORS
    return len(parts) == 1 and (left or right)


def _math(run: str) -> str:
    """A formula as typst mathematics, without dollars."""
    out: list[str] = []
    at = 0
    text = unicodedata.normalize("NFD", run)
    while at < len(text):
        script = _SCRIPT.match(text, at)
        if script is not None:
            inner = script[2].strip("{}") if script[2][0] == "{" else script[2]
            inner = inner[1:-1] if inner[:1] == "(" else inner
            out.append(f"{script[1]}({_math(inner)})")
            at = script.end()
            continue
        raised = re.compile(f"[{''.join(_RAISED)}]+").match(text, at)
        if raised is not None:
            out.append(f"^({''.join(_RAISED[c] for c in raised[0])})")
            at = raised.end()
            continue
        name = _LETTERS.match(text, at)
        if name is not None:
            at = name.end()
            accent = _ACCENTS.get(text[at : at + 1])
            if accent is not None:
                out += [*_names(name[0][:-1]), f"{accent}({name[0][-1]})"]
                at += 1
            else:
                out += _names(name[0])
            continue
        number = re.compile(r"\d+").match(text, at)
        if number is not None:
            out.append(number[0])
            at = number.end()
            continue
        if text[at] != " ":
            out.append(_SIGNS.get(text[at]) or plain(text[at])[1:-1])
        at += 1
    made = " ".join(out).replace(" _(", "_(").replace(" ^", "^").replace(" '", "'")
    return f'""{made}' if made[:1] in ("_", "^", "'") else made


def _names(word: str) -> list[str]:
    """A function upright, a name of several letters as text, one letter or Greek as itself."""
    if not word:
        return []
    if word in _FUNCTIONS:
        return [f'op("{word}")']
    if len(word) == 1:
        return [_SIGNS.get(word, word)]
    if any(c in _GREEK for c in word):
        return [_SIGNS.get(c, c) for c in word]
    return [f'"{word}"']
