"""Expressions as text of a backend, with as few parentheses as a person would write.

One printer knows precedence, signs and sums; a subclass says what a backend calls the rest: a
table of templates and the few rules in which its language differs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import IntEnum
from fractions import Fraction
from typing import ClassVar

from ...errors import UnsupportedOperation
from ...language.dims import Dim
from ...language.ops.elementwise import ELEMENTWISE
from ...language.ops.texts import helpers_of
from ...language.ops.unit_maps import UNIT_MAPS
from ..schedule.ops import Access, Call, Expr, Number, SizeOf

__all__ = [
    "ArrayPrinter",
    "ExpressionPrinter",
    "Precedence",
    "Text",
    "declared_helpers",
    "dim_text",
    "number_text",
    "split_sign",
]


class Precedence(IntEnum):
    """How tightly a text binds."""

    SUM = 0
    PRODUCT = 1
    UNARY = 2
    POWER = 3
    ATOM = 4


@dataclass(frozen=True)
class Text:
    """Printed text with its binding strength."""

    text: str
    level: Precedence = Precedence.ATOM

    def at(self, level: Precedence) -> str:
        """The text, in parentheses if it binds less than ``level``."""
        return self.text if self.level >= level else f"({self.text})"

    def __format__(self, spec: str) -> str:
        """In a template ``{0}`` is the text as it stands, ``{0:atom}`` the text at a level."""
        return self.at(Precedence[spec.upper()]) if spec else self.text


def number_text(value: Fraction) -> str:
    """A number as Python prints it: 2, 0.5, 1e-05, 1 / 3 where no short decimal is equal to it.

    Integers that arrays of integers do not hold are decimals too, -1e+30: NumPy makes objects of
    the others.
    """
    whole = value.denominator == 1
    if whole and abs(value.numerator) < 2**53:
        return str(value.numerator)
    decimal = repr(float(value))
    if Fraction(decimal) == value:
        return decimal
    return str(value.numerator) if whole else f"{value.numerator} / {value.denominator}"


def dim_text(d: Dim) -> str:
    """A dim as Python or C: ``4 * p``, ``p + q``, ``H * n``."""
    texts = [(n.replace("*", " * "), c) for n, c in d.terms]
    parts = [n if c == 1 else f"{c} * {n}" for n, c in texts]
    if d.const or not parts:
        parts.append(str(d.const))
    return " + ".join(parts).replace("+ -", "- ")


def split_sign(e: Expr) -> tuple[bool, Expr]:
    """Whether an expression is a negation, and of what."""
    if isinstance(e, Call) and e.op == "neg":
        return True, e.args[0]
    return False, e


def declared_helpers(backend: str) -> dict[str, str]:
    """Texts of the helper functions that declarations of the language have for a backend."""
    return helpers_of(backend, ELEMENTWISE, UNIT_MAPS)


class ExpressionPrinter(ABC):
    """Prints expressions; collects the helper functions they need in ``uses``.

    Parameters
    ----------
    access : callable
        Place → text.
    uses : set of str, optional
        The set to collect helper functions in.
    """

    #: What declarations call the backend, and what messages call it.
    backend: ClassVar[str]
    title: ClassVar[str]
    #: Operation → template of its operands (``{0}``, ``{1:atom}``; ``{all}`` with commas).
    templates: ClassVar[Mapping[str, str]]
    #: Helper functions of the backend; a template that calls one makes it used.
    helpers: ClassVar[Collection[str]] = ()
    #: The least level of what follows a minus sign, and of a divisor.
    negated: ClassVar[Precedence] = Precedence.UNARY
    divisor: ClassVar[Precedence] = Precedence.UNARY

    def __init__(self, access: Callable[[Access], str], uses: set[str] | None = None) -> None:
        self.access = access
        self.uses: set[str] = set() if uses is None else uses

    @abstractmethod
    def number(self, value: Fraction) -> Text:
        """An exact number."""

    @abstractmethod
    def size(self, d: Dim | str) -> Text:
        """A dim, or the length of an axis, as a number."""

    @abstractmethod
    def power(self, base: Text, exponent: Fraction) -> Text:
        """A power."""

    def other(self, e: Call, args: list[Text]) -> Text | None:
        """An operation that has its own rule in a backend; None where it has a template."""
        return None

    def text(self, e: Expr) -> Text:
        """An expression with its binding strength."""
        if isinstance(e, Access):
            return Text(self.access(e))
        if isinstance(e, Number):
            return self.number(e.value)
        if isinstance(e, SizeOf):
            return self.size(e.dim)
        if e.op == "add":
            return Text(self._sum(e), Precedence.SUM)
        args = [self.text(a) for a in e.args]
        if e.op == "mul":
            rest = [a.at(Precedence.UNARY) for a in args[1:]]
            return Text(" * ".join([args[0].at(Precedence.PRODUCT), *rest]), Precedence.PRODUCT)
        if e.op == "neg":
            return Text(f"-{args[0].at(self.negated)}", Precedence.UNARY)
        if e.op == "div":
            above, below = args[0].at(Precedence.PRODUCT), args[1].at(self.divisor)
            return Text(f"{above} / {below}", Precedence.PRODUCT)
        if e.op == "pow":
            if not isinstance(e.data, Fraction):
                raise UnsupportedOperation(f"a power needs an exact exponent, not {e.data!r}")
            return self.power(args[0], e.data)
        if e.op in ("apply", "unit_map"):
            return Text(f"{self.called(e.op, str(e.data))}({args[0]})")
        made = self.other(e, args)
        return self._templated(e.op, args) if made is None else made

    def called(self, op: str, name: str) -> str:
        """What the backend calls a declared function; its helper is used from now on."""
        declared = (ELEMENTWISE if op == "apply" else UNIT_MAPS)[name]
        called, helper = declared.texts(self.backend)
        if helper:
            self.uses.add(called)
        return called

    def _templated(self, op: str, args: list[Text]) -> Text:
        template = self.templates.get(op)
        if template is None:
            raise UnsupportedOperation(f"{self.title} has no text for the operation {op!r}")
        head = template.partition("(")[0]
        if head in self.helpers:
            self.uses.add(head)
        return Text(template.format(*args, all=", ".join(a.text for a in args)))

    def _sum(self, e: Call) -> str:
        items = [split_sign(a) for a in e.args]
        # A sum starts with a positive term where there is one: 1 − z, not −z + 1.
        first = next((i for i, (minus, _) in enumerate(items) if not minus), 0)
        out = ""
        for minus, x in (items[first], *items[:first], *items[first + 1 :]):
            text = self.text(x)
            if not out:
                out = f"-{text.at(self.negated)}" if minus else text.at(Precedence.PRODUCT)
            else:
                out += f" {'-' if minus else '+'} {text.at(Precedence.PRODUCT)}"
        return out


class ArrayPrinter(ExpressionPrinter):
    """Prints expressions of whole arrays in Python, by functions of a module such as NumPy."""

    #: The module, and a broadcast number as a template of its shape and its value.
    module: ClassVar[str]
    filled: ClassVar[str]

    def number(self, value: Fraction) -> Text:
        text = number_text(value)
        if "/" in text:
            return Text(text, Precedence.PRODUCT)
        return Text(text, Precedence.UNARY if value < 0 else Precedence.ATOM)

    def size(self, d: Dim | str) -> Text:
        text = d if isinstance(d, str) else dim_text(d)
        if text.isidentifier():
            return Text(text)
        return Text(text, Precedence.SUM if "+" in text else Precedence.PRODUCT)

    def power(self, base: Text, exponent: Fraction) -> Text:
        text = number_text(exponent)
        guarded = text if text.isdigit() else f"({text})"
        return Text(f"{base:atom} ** {guarded}", Precedence.POWER)

    def other(self, e: Call, args: list[Text]) -> Text | None:
        """Operations with a shape among their data."""
        if e.op == "transpose":
            end = {"column": "[None]", "row": "[0]", "matrix": ".T"}[str(e.data)]
            return Text(f"{args[0]:atom}{end}")
        if e.op == "concat":
            return Text(f"{self.module}.concatenate(({', '.join(self.joined(e, args))}))")
        if e.op == "eye" and isinstance(e.data, Dim):
            return Text(f"{self.module}.eye({dim_text(e.data)}, dtype=dtype)")
        if e.op == "broadcast" and isinstance(e.data, tuple):
            shape = ", ".join(map(dim_text, e.data)) + ("," if len(e.data) == 1 else "")
            return Text(self.filled.format(f"({shape})", args[0]))
        if e.op == "reshape" and isinstance(e.data, tuple):
            return Text(f"{args[0]:atom}.reshape({', '.join(map(dim_text, e.data))})")
        if e.op in ("slice", "pad") and isinstance(e.data, tuple):
            start, stop = map(dim_text, e.data)
            if e.op == "slice":
                return Text(f"{args[0]:atom}[{start}:{stop}]")
            self.uses.add("pad")
            return Text(f"pad({args[0]}, {start}, {stop})")
        return None

    def joined(self, e: Call, args: list[Text]) -> list[str]:
        """The operands of a concatenation; numbers and scalars have no axis to be joined along."""
        scalars = e.data if isinstance(e.data, tuple) else ()
        return [
            self.filled.format("(1,)", a) if isinstance(x, Number)
            else f"{self.module}.atleast_1d({a})" if i in scalars
            else a.text
            for i, (x, a) in enumerate(zip(e.args, args, strict=True))
        ]  # fmt: skip
