"""Expressions as C text for one entry."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import ClassVar

from ....language.dims import Dim
from ....language.ops.elementwise import ELEMENTWISE
from ....language.ops.unit_maps import UNIT_MAPS
from ...schedule.ops import Call, Expr, Number
from ..cfamily.expressions import EntryPrinter
from ..expressions import Precedence, Text
from .config import function_name

__all__ = ["C99"]

#: Integers below this are printed as they are: C turns them into the other operand's type.
_SMALL = 2**24


class C99(EntryPrinter):
    """Prints expressions of one entry; the dialect differs from CUDA in casts and in names."""

    title = "C"
    templates: ClassVar[Mapping[str, str]] = {
        "abs": "real_fabs({0})",
        "sign": "(real)(({0:atom} > 0) - ({0:atom} < 0))",
        "greater": "(real)({0} > {1})",
        "maximum": "({0} > {1} ? {0} : {1})",
        "where": "(real)({0} != 0 ? {1} : {2})",
    }

    def number(self, value: Fraction) -> Text:
        if value.denominator == 1 and 0 <= value.numerator < _SMALL:
            return Text(str(value.numerator))
        return Text(f"(real){float(value)!r}", Precedence.UNARY)

    def size(self, d: Dim | str) -> Text:
        return Text(f"(real)({self.dim(d)})")

    def text(self, e: Expr) -> Text:
        if isinstance(e, Call) and e.op == "div" and all(isinstance(a, Number) for a in e.args):
            above, below = (self.text(a) for a in e.args)
            return Text(f"(real){above:atom} / {below:atom}", Precedence.PRODUCT)
        return super().text(e)

    def called(self, op: str, name: str) -> str:
        """What C calls a declared function; its helper is used from now on."""
        if op == "apply":
            ELEMENTWISE[name].texts("cuda")  # refuses what has none
        else:
            UNIT_MAPS[name].texts("c")
        self.uses.add(name)
        return function_name(name)

    def power(self, base: Text, exponent: Fraction) -> Text:
        if exponent == 2:
            return Text(f"real_square({base})")
        if exponent == -1:
            return Text(f"1 / {base:atom}", Precedence.PRODUCT)
        if exponent == Fraction(1, 2):
            return Text(f"real_sqrt({base})")
        return Text(f"real_pow({base}, {self.number(exponent)})")
