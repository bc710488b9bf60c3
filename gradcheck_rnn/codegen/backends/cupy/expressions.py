"""Expressions as CUDA text for one entry."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import ClassVar

from ....language.dims import Dim
from ..cfamily.expressions import EntryPrinter
from ..expressions import Precedence, Text

__all__ = ["Cuda", "number"]


def number(value: Fraction) -> str:
    """A literal of the kernel's own precision: ``real(1)``, ``real(0.1)``.

    A literal without the cast would turn float32 arithmetic into float64.
    """
    if value.denominator == 1 and abs(value.numerator) < 2**53:
        return f"real({value.numerator})"
    return f"real({float(value)!r})"


class Cuda(EntryPrinter):
    """Prints expressions of the thread's entries."""

    title = "CUDA"
    templates: ClassVar[Mapping[str, str]] = {
        "abs": "fabs({0})",
        "sign": "real(({0:atom} > real(0)) - ({0:atom} < real(0)))",
        "greater": "({0} > {1} ? real(1) : real(0))",
        "maximum": "({0} > {1} ? {0} : {1})",
        "where": "({0} != real(0) ? {1} : {2})",
    }

    def number(self, value: Fraction) -> Text:
        return Text(number(value))

    def size(self, d: Dim | str) -> Text:
        return Text(f"real({self.dim(d)})")

    def power(self, base: Text, exponent: Fraction) -> Text:
        if exponent == 2:
            self.uses.add("square")
            return Text(f"square({base})")
        if exponent == -1:
            return Text(f"real(1) / {base:atom}", Precedence.PRODUCT)
        if exponent == Fraction(1, 2):
            return Text(f"sqrt({base})")
        return Text(f"pow({base}, {number(exponent)})")
