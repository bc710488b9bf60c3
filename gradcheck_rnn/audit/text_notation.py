"""Equations in mathematical text, as `derive` prints them: ``δa_{f,t} = δf_t ⊙ f_t ⊙ (1 − f_t)``.

Sums bind loosest, then ⊙, ∘, · and /, then the matrix product (written by standing side by side or
by @), then signs, superscripts and calls. ``*`` is elementwise. LaTeX becomes this text first.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction

from ..language.ops.elementwise import ELEMENTWISE
from .tokens import (
    FUNCTIONS,
    SUPERSCRIPTS,
    Cursor,
    UnreadableEquation,
    inner,
    parts_of,
    spelled,
    split_name,
    words_of,
)
from .tree import Applied, Constant, Node, Quantity, Time

__all__ = ["UnreadableEquation", "parse", "split_name", "words_of"]

#: Columns of one number, which carry their dim: 1_p, 0_p.
_FILLED = {"0": "zeros", "1": "ones"}
_FUNCTIONS = {"σ": "sigmoid", "sgn": "sign", "tr": "trace", "Tr": "trace"}
_TIME = re.compile(r"^\s*(?:([a-zTSτ])\s*(?:([+−–-])\s*(\d+))?|([−–-]?\d+))\s*$")
#: Letters that are a time without being told so; others are where a sum or product binds them.
_ALWAYS = "tTSτ"
_FREE = "kjsnmτ"
_BOUND = re.compile(r"[ΣΠ∑∏]\s*_\{?\s*([a-zτ])\s*[=;]")
#: A cross or a dot is whichever product fits, the matrix product first.
_ELEMENTWISE = {
    "⊙": "times", "∘": "times", "*": "times", "·": "product", "×": "product", "⊗": "kron",
    "/": "divide", "⊘": "divide",
}  # fmt: skip
_LOSSES = ("L", "ℒ", "E", "J", "loss")
#: A superscript that is a time or a layer: h^{(t)}, h^{⟨t−1⟩}, W^{[2]}.
_SCRIPT = re.compile(r"\^\{[(⟨<\[]([^)⟩>\]]*)[)⟩>\]]\}$")
Known = Callable[[str], bool]


class _Parser(Cursor):
    def __init__(
        self,
        text: str,
        known: Known,
        words: frozenset[str],
        bound: str | None = None,
        heads: bool = False,
    ) -> None:
        super().__init__(text, words)
        self.known, self.words, self.heads = known, words, heads
        self.bound = "".join(_BOUND.findall(text)) if bound is None else bound

    # -- levels ---------------------------------------------------------------------------------

    def sum(self) -> Node:
        parts = []
        sign = self.take() if self.peek() in ("+", "-") else "+"
        first = self.elementwise()
        parts.append(Applied("neg", (first,)) if sign == "-" else first)
        while self.peek() in ("+", "-"):
            sign = self.take()
            term = self.elementwise()
            parts.append(Applied("neg", (term,)) if sign == "-" else term)
        return parts[0] if len(parts) == 1 else Applied("add", tuple(parts))

    def elementwise(self) -> Node:
        left = self.product()
        while self.peek() in _ELEMENTWISE:
            op = _ELEMENTWISE[self.take()]
            left = Applied(op, (left, self.product()))
        return left

    def product(self) -> Node:
        left = self.postfix()
        while True:
            if self.peek() == "@":
                self.take()
            elif not self._begins():
                return left
            left = Applied("product", (left, self.postfix()))

    def _begins(self) -> bool:
        return self.peek()[:1].isalnum() or self.peek() in tuple("({∂∇δΣ∑Π∏[⟨")

    def postfix(self) -> Node:
        if self.peek() == "-":
            self.take()
            return Applied("neg", (self.postfix(),))
        node = self.atom()
        while True:
            token = self.peek()
            if token in ("ᵀ", "^T", "^{T}", "^⊤", "^{⊤}", "⊤"):
                self.take()
                node = Applied("transpose", (node,))
            elif token in SUPERSCRIPTS:
                digits = self.take()
                while self.peek() in SUPERSCRIPTS:
                    digits += self.take()
                exponent = "".join(SUPERSCRIPTS[c] for c in digits)
                node = Applied("superscript", (node,), Fraction(exponent))
            elif token.startswith("^"):
                self.take()  # in parentheses only with its sign: h^(1) may be a layer's
                body = token[2:-1] if token.startswith("^(-") else token[1:].strip("{}")
                node = self._raised(node, body.strip())
            elif token.startswith("_{") and ":" in token:
                start, _, stop = inner(self.take()).partition(":")
                node = Applied("slice", (node,), (start, stop))
            elif token == "[" and self._slice_follows():
                self.take()
                start = self._until(":")
                self.take(":")
                node = Applied("slice", (node,), (start, self._until("]")))
                self.take("]")
            else:
                return node

    def _raised(self, node: Node, body: str) -> Node:
        if body.startswith("⊙"):
            return Applied("power", (node,), Fraction(body.removeprefix("⊙").strip()))
        time = self._time(body)
        if re.fullmatch(r"-?\d+", body):
            return Applied("superscript", (node,), Fraction(body))
        if time is None:
            raise UnreadableEquation(f"{self.text.strip()!r}: the exponent {body!r}")
        return Applied("superscript", (node,), time)

    def _time(self, text: str, *, free: bool = True) -> Time | None:
        """A time index, None if it is none."""
        m = _TIME.match(text)
        if m is None:
            return None
        if not m.group(1):
            return Time("", int(re.sub("[−–]", "-", m.group(4))))
        letter = m.group(1)
        if letter not in _ALWAYS + self.bound + (_FREE if free else ""):
            return None
        anchor = "t" if letter == "τ" and "τ" not in self.bound else letter
        return Time(anchor, int(m.group(3) or 0) * (1 if m.group(2) == "+" else -1))

    def _slice_follows(self) -> bool:
        inside = self.tokens[self.at : self.at + 12]
        return ":" in inside and "]" in inside and inside.index(":") < inside.index("]")

    def _until(self, ends: str) -> str:
        """The text of a bound, a sum of multiples of dims."""
        out = ""
        while self.peek() and self.peek() not in tuple(ends):
            out += self.take()
        return out

    # -- atoms ----------------------------------------------------------------------------------

    def atom(self) -> Node:
        token = self.peek()
        if token in ("(", "{"):
            self.take()
            held = self.sum()
            self.take(")" if token == "(" else "}")
            return held
        if token == "[":
            return self._bracket()
        if token in ("|", "⟨"):
            return self._between()
        if token in ("Σ", "∑", "Π", "∏"):
            return self._over_time()
        if token == "∂":
            return self._partial()
        if token and token[0].isdigit():
            self.take()
            if token in _FILLED and self.peek().startswith("_"):
                return self._subscripted(_FILLED[token])
            if token == "1" and self.peek() == "ᵀ":
                self.take()
                return Applied("sum", (self.postfix(),))
            return self._fraction(Fraction(token))
        if token in ("δ", "∇", "d") and (found := self._adjoint(token)) is not None:
            return found
        if token in ("vec", "unvec") and self.peek(1) != "(":
            return self._unvec()
        if token in ("diag", "pad", "vec", "unvec"):
            self.take()
            self.take("(")
            held = self.sum()
            bounds = []
            while self.peek() == ",":
                self.take()
                bounds.extend(self._until(",)").split("×"))
            self.take(")")
            return Applied(token, (held,), tuple(bounds))
        word = _FUNCTIONS.get(token, token)
        if (word in ELEMENTWISE or word in FUNCTIONS) and self._called():
            self.take()
            mark = ""
            while self.peek() == "'":
                mark += self.take()
            power = self.take() if self.peek()[:1] in (*SUPERSCRIPTS, "^") and self.peek() else ""
            if power[1:].strip("{}") in ("'", "(1)") and not mark:
                mark, power = "'", ""
            self.take("(")
            arguments = [self.sum()]
            while self.peek() == ",":
                self.take()
                arguments.append(self.sum())
            self.take(")")
            call = Applied(word + mark, tuple(arguments))
            if not power:
                return call
            digits = SUPERSCRIPTS.get(power, power[1:].strip("{}"))
            return Applied("power", (call,), Fraction(digits))
        if token and token[0].isalpha():
            return self.name()
        raise UnreadableEquation(
            f"{self.text.strip()!r}: {token or 'the end'!r} is not understood here"
        )

    def _fraction(self, above: Fraction) -> Node:
        """A number, or one over a number or name: ``1/T Σ …`` is (1/T) Σ …."""
        below = self.peek(1)
        if self.peek() != "/" or not below or not (below.isdigit() or below in "TS"):
            return Constant(above)
        self.take()
        self.take()
        if below.isdigit():
            return Constant(above / int(below))
        return Applied("divide", (Constant(above), Quantity(below)))

    def _called(self) -> bool:
        """Whether what follows a function's name is its argument."""
        ahead = 1
        while self.peek(ahead) == "'" or self.peek(ahead)[:1] in (*SUPERSCRIPTS, "^"):
            if not self.peek(ahead):
                return False
            ahead += 1
        return self.peek(ahead) == "("

    def _between(self) -> Node:
        """|a|, or the inner product ⟨a, b⟩, of matrices too."""
        if self.take() == "|":
            held = self.sum()
            self.take("|")
            return Applied("abs", (held,))
        left = self.sum()
        self.take(",")
        right = self.sum()
        self.take("⟩")
        if self.peek() in ("_F", "_{F}"):
            self.take()
        return Applied("inner", (left, right))

    def _bracket(self) -> Node:
        """[a > b], [a; b] on top of each other, or brackets like parentheses."""
        self.take("[")
        parts = [self.sum()]
        if self.peek() == ">":
            self.take()
            parts.append(self.sum())
            self.take("]")
            return Applied("greater", tuple(parts))
        while self.peek() == ";":
            self.take()
            parts.append(self.sum())
        self.take("]")
        return parts[0] if len(parts) == 1 else Applied("concat", tuple(parts))

    def _adjoint(self, token: str) -> Quantity | None:
        """δh_t, dh_t, δ^h_t, ∇h, ∇_h L; None where the token is a letter by itself."""
        after = self.peek(1)
        if token == "d" and not (after[:1].isalpha() and not self.known("d")):
            return None
        if token in ("δ", "∇") and after[:1] in ("^", "_") and after:
            script = inner(after)
            if token == "δ" and after[0] == "_" and self._time(script) is not None:
                return None
            self.take()
            self.take()
            target = _Parser(script, self.known, self.words, self.bound).name()
            found = self._subscripted(target.name, target.time)
            if token == "∇" and self.peek() in _LOSSES:
                self.take()
            return Quantity(found.name, found.time, adjoint=True)
        if not after[:1].isalpha():
            return None
        self.take()
        found = self.name()
        return Quantity(found.name, found.time, adjoint=True)

    def name(self) -> Quantity:
        token = self.take()
        if not token[0].isalpha() and token != "1":
            raise UnreadableEquation(f"{self.text.strip()!r}: a name is missing before {token!r}")
        return self._subscripted(split_name(token))

    def _subscripted(self, name: str, time: Time | None = None) -> Quantity:
        while True:
            token = self.peek()
            if token.startswith("_") and len(token) > 1 and ":" not in token:
                for part in parts_of(inner(self.take())):
                    name, time = self._subscript(name, time, part)
            elif (m := _SCRIPT.match(token)) is not None:
                script = m.group(1)
                found = self._time(script)
                if found is not None and found.anchor and m.group()[2] != "[":
                    self.take()
                    time = found
                elif self.known(f"{name}_{script}") or self.known(f"{name}_{script}_"):
                    self.take()
                    name = f"{name}_{script}"
                else:
                    return Quantity(name, time)
            else:
                return Quantity(name, time)

    def _subscript(self, name: str, time: Time | None, part: str) -> tuple[str, Time | None]:
        whole = f"{name}_{spelled(part)}"
        if name in _FILLED.values():  # 1_S has as many units as there are steps
            return whole, time
        found = self._time(part, free=self.known(name) or name in _LOSSES)
        numbered = found is not None and not found.anchor and name not in _LOSSES
        # S may be the last step of a scan and a state: g_{S,final}.
        lettered = found is not None and part.strip() in ("S", "T") and self.known(f"{whole}_")
        if found is None or self.known(whole) or lettered or (numbered and self._begun(name, part)):
            return whole, time
        if time is not None:
            raise UnreadableEquation(
                f"{self.text.strip()!r}: {name} has two indices of time; equations of single "
                "entries are not read"
            )
        return name, found

    def _begun(self, name: str, part: str) -> bool:
        """Whether a number is one of several subscripts of a name (W_{fwd,1}, h_{1,t})."""
        free = not (self.known(name) or self.known(name.partition("_")[0]))
        return free or self.known(f"{name}_{part.strip()}_")

    def _over_time(self) -> Node:
        op = "time sum" if self.take() in ("Σ", "∑") else "time product"
        bounds: dict[str, str] = {}
        while self.peek()[:1] in ("_", "^") and self.peek():
            token = self.take()
            bounds[token[0]] = token[1:].strip("{}")
        lower, _, upper = bounds.get("_", "").partition(";")
        letter, equals, first = lower.partition("=")
        letter = letter.strip() if re.fullmatch(r"\s*[a-zτ]\s*", letter) else ""
        if self.heads and letter == "h" and op == "time sum":
            return Applied("head sum", (self.elementwise(),))
        data = (
            letter,
            self._bound(first) if equals else None,
            self._bound(upper or bounds.get("^", "")),
        )
        # A product takes the matrix products that follow it, not one factor alone.
        return Applied(op, (self.elementwise() if op == "time sum" else self._factor(),), data)

    def _factor(self) -> Node:
        """What a product over time multiplies: a bracket or a derivative, else all that follows."""
        return self.postfix() if self.peek() in ("(", "[", "{", "∂") else self.elementwise()

    def _bound(self, text: str) -> Time | None:
        if not text.strip():
            return None
        if re.fullmatch(r"\s*\d+[A-Z]\s*", text):  # the last substep of a loop: 10T
            return Time(text.strip(), 0)
        if (found := self._time(text)) is None:
            raise UnreadableEquation(f"{self.text.strip()!r}: the bound {text.strip()!r}")
        return found

    def _unvec(self) -> Node:
        """``vec^{-1}(…)`` or ``unvec_{p,d}(…)``, ``vec^{-1}_{p×d}(…)``."""
        self.take()
        dims: tuple[str, ...] = ()
        while self.peek()[:1] in ("_", "^", "⁻", *SUPERSCRIPTS) and self.peek():
            token = self.take()
            if token[0] == "_":
                dims = tuple(x.strip() for x in re.split("[,×]", inner(token)))
        self.take("(")
        held = self.sum()
        self.take(")")
        if len(dims) != 2:
            raise UnreadableEquation(
                f"{self.text.strip()!r}: vec⁻¹ needs its dims, vec^{{-1}}_{{p×d}}"
            )
        return Applied("unvec", (held,), dims)

    def _partial(self) -> Node:
        """∂L/∂x, ∂L_t/∂x, or ∂a/∂b, ∂⁺a/∂b for the immediate derivative."""
        self.take("∂")
        immediate = self.peek() in ("⁺", "^+", "^{+}")
        if immediate:
            self.take()
        above = self._of_vec()
        if self.peek() == "/":
            self.take()
        self.take("∂")
        if self.peek() in ("⁺", "^+", "^{+}"):
            self.take()
        below = self._of_vec()
        if self.peek() == "ᵀ":
            self.take()  # ∂a/∂bᵀ spells the numerator layout out
        if above.name in _LOSSES and not self.known(above.name):
            return Quantity(below.name, below.time, adjoint=True, loss=above.time)
        return Applied("jacobian", (above, below), "+" if immediate else None)

    def _of_vec(self) -> Quantity:
        """A name, or vec of it: a Jacobian of matrices is one of their columns in either case."""
        if self.peek() != "vec":
            return self.name()
        self.take()
        if self.peek() != "(":
            return self.name()
        self.take()
        held = self.name()
        self.take(")")
        return held


def parse(
    text: str,
    known: Known = lambda name: False,
    words: frozenset[str] = words_of(()),
    *,
    heads: bool = False,
) -> Node:
    """One side of an equation.

    Parameters
    ----------
    known : callable
        Whether the definition has something of a name: tells ``W_1`` from ``x`` at time 1.
    words : frozenset of str
        See `words_of`.
    heads : bool
        Whether a sum over h is one over the heads.

    Raises
    ------
    UnreadableEquation
        It is not in this notation.
    """
    node = (parser := _Parser(text, known, words, heads=heads)).sum()
    if parser.peek():
        raise UnreadableEquation(f"{text.strip()!r}: {parser.peek()!r} is not understood here")
    return node
