"""Expressions as CUDA text for one entry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import ClassVar

from ....language.dims import Dim
from ...schedule.ops import Access, Call
from ..expressions import ExpressionPrinter, Precedence, Text, dim_text

__all__ = ["Cuda", "number"]


def number(value: Fraction) -> str:
    """A literal of the kernel's own precision: ``real(1)``, ``real(0.1)``.

    A literal without the cast would turn float32 arithmetic into float64.
    """
    if value.denominator == 1 and abs(value.numerator) < 2**53:
        return f"real({value.numerator})"
    return f"real({float(value)!r})"


class Cuda(ExpressionPrinter):
    """Prints expressions of the thread's entries.

    Parameters
    ----------
    access : callable
        Place → the name of the thread's entry of it.
    sizes : callable
        Name of a dim or an axis → its name in the kernel.
    """

    backend, title = "cuda", "CUDA"
    # Never "--", which is an operator of C.
    negated = divisor = Precedence.ATOM
    templates: ClassVar[Mapping[str, str]] = {
        "abs": "fabs({0})",
        "sign": "real(({0:atom} > real(0)) - ({0:atom} < real(0)))",
        "greater": "({0} > {1} ? real(1) : real(0))",
        "maximum": "({0} > {1} ? {0} : {1})",
        "where": "({0} != real(0) ? {1} : {2})",
    }

    def __init__(self, access: Callable[[Access], str], sizes: Callable[[str], str]) -> None:
        super().__init__(access)
        self._sizes = sizes

    def dim(self, d: Dim | str) -> str:
        """A dim or the length of an axis as an integer expression."""
        if isinstance(d, str):
            return self._sizes(d)
        for n in d.names:
            self._sizes(n)
        return dim_text(d.rename({n: Dim.of({self._sizes(n): 1}) for n in d.names}))

    def number(self, value: Fraction) -> Text:
        return Text(number(value))

    def size(self, d: Dim | str) -> Text:
        return Text(f"real({self.dim(d)})")

    def other(self, e: Call, args: list[Text]) -> Text | None:
        return args[0] if e.op == "broadcast" else None

    def power(self, base: Text, exponent: Fraction) -> Text:
        if exponent == 2:
            self.uses.add("square")
            return Text(f"square({base})")
        if exponent == -1:
            return Text(f"real(1) / {base:atom}", Precedence.PRODUCT)
        if exponent == Fraction(1, 2):
            return Text(f"sqrt({base})")
        return Text(f"pow({base}, {number(exponent)})")
