"""Equations in mathematical text, as `derive` prints them: ``δa_{f,t} = δf_t ⊙ f_t ⊙ (1 − f_t)``.

Sums bind loosest, then ⊙, ∘, · and /, then the matrix product (written by standing side by side or
by @), then signs, superscripts and calls. ``*`` is elementwise. LaTeX is turned into this text first
(`latex`).
"""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction

from ..errors import UsageError
from ..language.ops.elementwise import ELEMENTWISE
from .tree import Call, Name, Node, Number, Time

__all__ = ["UnreadableEquation", "parse", "split_name"]

_ACCENTS = {"\u0303": "tilde", "\u0302": "hat", "\u0304": "bar", "\u0307": "dot"}
_SUPERSCRIPTS = {c: str(i) for i, c in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")}
_FUNCTIONS = {"σ": "sigmoid", "sgn": "sign", "log1p": "log1p"}
_GREEK = {
    "δ": "delta", "γ": "gamma", "α": "alpha", "β": "beta", "φ": "phi", "θ": "theta", "λ": "lambda",
    "τ": "tau", "μ": "mu", "ε": "epsilon", "η": "eta", "ρ": "rho", "ψ": "psi", "ω": "omega",
}  # fmt: skip
_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+(?:\.\d+)?)|(?P<name>[^\W\d_][\u0300-\u036f]*(?:[a-z]+(?![a-z]))?)"
    r"|(?P<symbol>.))",
    re.DOTALL,
)
_TIME = re.compile(r"^\s*(?:(t|T|τ)\s*(?:([+−–-])\s*(\d+))?|(\d+))\s*$")


class UnreadableEquation(UsageError):
    """A line that is not in this notation; the text says at what."""


def split_name(text: str) -> str:
    """A letter with accents in the spelling of definitions: ``c̃`` is ``c_tilde``, ``γ`` gamma."""
    base = "".join(c for c in text if c not in _ACCENTS)
    accents = [_ACCENTS[c] for c in text if c in _ACCENTS]
    return "_".join([_GREEK.get(base, base), *accents])


def _tokens(text: str) -> list[str]:
    text = unicodedata.normalize("NFD", text)
    text = text.replace("−", "-").replace("–", "-").replace("∇", " ∇").replace("′", "'")
    out: list[str] = []
    for m in re.finditer(
        r"\d+\.\d+|\d+|[^\W\d_][\u0300-\u036f]*|_\{[^{}]*\}|_[^\W_][\u0300-\u036f]*|\^\{[^{}]*\}|\^\S|\S",
        text,
    ):
        out.append(m.group())
    return _joined(out, text)


def _joined(tokens: list[str], text: str) -> list[str]:
    """Letters that make a known word (tanh, diag) are one token."""
    words = {*ELEMENTWISE, *_FUNCTIONS, "diag", "sum", "softmax", "final", "target", "loss", "sgn"}
    out: list[str] = []
    i = 0
    while i < len(tokens):
        for n in range(min(12, len(tokens) - i), 1, -1):
            word = "".join(tokens[i : i + n])
            if word in words and f"{word}" in text:
                out.append(word)
                i += n
                break
        else:
            out.append(tokens[i])
            i += 1
    return out


class _Parser:
    def __init__(self, text: str) -> None:
        self.tokens, self.at, self.text = _tokens(text), 0, text

    # -- tokens ---------------------------------------------------------------------------------

    def peek(self, ahead: int = 0) -> str:
        at = self.at + ahead
        return self.tokens[at] if at < len(self.tokens) else ""

    def take(self, wanted: str = "") -> str:
        token = self.peek()
        if not token or (wanted and token != wanted):
            raise UnreadableEquation(
                f"{self.text.strip()!r}: {wanted or 'something'!r} is missing "
                + (f"before {token!r}" if token else "at the end")
            )
        self.at += 1
        return token

    # -- levels ---------------------------------------------------------------------------------

    def sum(self) -> Node:
        parts = []
        sign = self.take() if self.peek() in ("+", "-") else "+"
        first = self.elementwise()
        parts.append(Call("neg", (first,)) if sign == "-" else first)
        while self.peek() in ("+", "-"):
            sign = self.take()
            term = self.elementwise()
            parts.append(Call("neg", (term,)) if sign == "-" else term)
        return parts[0] if len(parts) == 1 else Call("add", tuple(parts))

    def elementwise(self) -> Node:
        left = self.product()
        while self.peek() in ("⊙", "∘", "*", "·", "/", "⊘", "×"):
            op = self.take()
            right = self.product()
            left = Call("divide" if op in ("/", "⊘") else "times", (left, right))
        return left

    def product(self) -> Node:
        left = self.postfix()
        while True:
            if self.peek() == "@":
                self.take()
            elif not self._begins():
                return left
            left = Call("product", (left, self.postfix()))

    def _begins(self) -> bool:
        token = self.peek()
        return bool(token) and (token[0].isalnum() or token in "(∂∇δΣ∑[|")

    def postfix(self) -> Node:
        if self.peek() == "-":
            self.take()
            return Call("neg", (self.postfix(),))
        node = self.atom()
        while True:
            token = self.peek()
            if token in ("ᵀ", "^T", "^{T}", "^⊤", "^{⊤}", "⊤"):
                self.take()
                node = Call("transpose", (node,))
            elif token in _SUPERSCRIPTS:
                self.take()
                node = Call("power", (node,), Fraction(_SUPERSCRIPTS[token]))
            elif token.startswith("^"):
                self.take()
                body = token[1:].strip("{}").replace("⊙", "").strip()
                if not re.fullmatch(r"-?\d+", body):
                    raise UnreadableEquation(f"{self.text.strip()!r}: the exponent {body!r}")
                node = Call("power", (node,), Fraction(body))
            else:
                return node

    # -- atoms ----------------------------------------------------------------------------------

    def atom(self) -> Node:
        token = self.peek()
        if token in ("(", "["):
            self.take()
            inner = self.sum()
            self.take(")" if token == "(" else "]")
            return inner
        if token == "|":
            self.take()
            inner = self.sum()
            self.take("|")
            return Call("abs", (inner,))
        if token in ("Σ", "∑"):
            return self._time_sum()
        if token == "∂":
            return self._partial()
        if token and token[0].isdigit():
            self.take()
            return Number(Fraction(token))
        if token in ("δ", "∇") or (token == "d" and self.peek(1)[:1].isalpha()):
            self.take()
            if token == "∇" and self.peek().startswith("_"):
                # ∇_W L
                target = _Parser(self.take()[1:].strip("{}")).name()
                if self.peek() in ("L", "ℒ", "E", "J"):
                    self.take()
                return Name(target.name, target.time, adjoint=True)
            if token == "δ" and not self.peek()[:1].isalpha():
                return self._subscripted("delta")
            target = self.name()
            return Name(target.name, target.time, adjoint=True)
        if token == "diag":
            self.take()
            self.take("(")
            inner = self.sum()
            self.take(")")
            return Call("diag", (inner,))
        word = _FUNCTIONS.get(token, token)
        if word in ELEMENTWISE or word in ("softmax", "sign"):
            self.take()
            mark = ""
            while self.peek() == "'":
                mark += self.take()
            power = self.take() if self.peek()[:1] in (*_SUPERSCRIPTS, "^") and self.peek() else ""
            self.take("(")
            inner = self.sum()
            self.take(")")
            call = Call(word + mark, (inner,))
            if not power:
                return call
            digits = _SUPERSCRIPTS.get(power, power[1:].strip("{}"))
            return Call("power", (call,), Fraction(digits))
        if token and token[0].isalpha():
            return self.name()
        raise UnreadableEquation(
            f"{self.text.strip()!r}: {token or 'the end'!r} is not understood here"
        )

    def name(self) -> Name:
        token = self.take()
        if not token[0].isalpha():
            raise UnreadableEquation(f"{self.text.strip()!r}: a name is missing before {token!r}")
        return self._subscripted(split_name(token))

    def _subscripted(self, name: str) -> Name:
        time: Time | None = None
        while self.peek().startswith("_") and len(self.peek()) > 1:
            body = self.take()[1:].strip("{}")
            for part in body.split(","):
                m = _TIME.match(part)
                if m and m.group(1):
                    offset = int(m.group(3) or 0) * (-1 if m.group(2) in ("-", "−", "–") else 1)
                    time = Time("T" if m.group(1) == "T" else "t", offset)
                elif m:
                    time = Time("", int(m.group(4)))
                else:
                    name += "_" + split_name(unicodedata.normalize("NFD", part.strip()))
        return Name(name, time)

    def _time_sum(self) -> Node:
        self.take()
        bounds: dict[str, str] = {}
        while self.peek()[:1] in ("_", "^") and self.peek():
            token = self.take()
            bounds[token[0]] = token[1:].strip("{}")
        lower, _, upper = bounds.get("_", "").partition(";")
        return Call("sum", (self.elementwise(),), (lower, upper or bounds.get("^", "T")))

    def _partial(self) -> Node:
        """∂L/∂x, or ∂a/∂b."""
        self.take("∂")
        above = self.name()
        if self.peek() == "/":
            self.take()
        self.take("∂")
        below = self.name()
        if self.peek() == "ᵀ":
            self.take()
        if above.name in ("L", "ℒ", "E", "J", "loss") and above.time is None:
            return Name(below.name, below.time, adjoint=True)
        return Call("jacobian", (above, below))


def parse(text: str) -> Node:
    """One side of an equation.

    Raises
    ------
    UnreadableEquation
        It is not in this notation.
    """
    parser = _Parser(text)
    node = parser.sum()
    if parser.peek():
        raise UnreadableEquation(f"{text.strip()!r}: {parser.peek()!r} is not understood here")
    return node
