"""Expressions as CUDA text for one entry, with as few parentheses as a person would write."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from ....errors import UnsupportedOperation
from ....language.dims import Dim
from ....language.ops.elementwise import ELEMENTWISE
from ...schedule.ops import Access, Call, Expr, Number, Size
from ..numpy.expressions import Text, dim_text, split_sign

__all__ = ["Cuda", "number"]

_COMPARE, _SUM, _PRODUCT, _UNARY, _ATOM = range(5)


def number(value: Fraction) -> str:
    """A literal of the kernel's own precision: ``real(1)``, ``real(0.1)``.

    A literal without the cast would turn float32 arithmetic into float64.
    """
    if value.denominator == 1 and abs(value.numerator) < 2**53:
        return f"real({value.numerator})"
    return f"real({float(value)!r})"


class Cuda:
    """Prints expressions.

    Parameters
    ----------
    access : callable
        Place → the name of the thread's entry of it.
    size : callable
        Name of a dim or an axis → its name in the kernel.

    Attributes
    ----------
    uses : set of str
        Device functions that were used.
    """

    def __init__(self, access: Callable[[Access], str], size: Callable[[str], str]) -> None:
        self.access, self.size = access, size
        self.uses: set[str] = set()

    def dim(self, d: Dim | str) -> str:
        """A dim or the length of an axis as an integer expression."""
        if isinstance(d, str):
            return self.size(d)
        for n in d.names:
            self.size(n)
        return dim_text(d.rename({n: Dim.of({self.size(n): 1}) for n in d.names}))

    def text(self, e: Expr) -> Text:
        """An expression with its binding strength."""
        if isinstance(e, Access):
            return Text(self.access(e), _ATOM)
        if isinstance(e, Number):
            return Text(number(e.value), _ATOM)
        if isinstance(e, Size):
            return Text(f"real({self.dim(e.dim)})", _ATOM)
        return self._call(e)

    def _call(self, e: Call) -> Text:
        op, args = e.op, e.args
        if op == "add":
            return Text(self._sum([split_sign(a) for a in args]), _SUM)
        if op == "mul":
            parts = [self.text(a).at(_PRODUCT if i == 0 else _UNARY) for i, a in enumerate(args)]
            return Text(" * ".join(parts), _PRODUCT)
        if op == "neg":
            # Never "--", which is an operator of C.
            return Text("-" + self.text(args[0]).at(_ATOM), _UNARY)
        if op == "broadcast":
            return self.text(args[0])
        if op == "div":
            above, below = self.text(args[0]).at(_PRODUCT), self.text(args[1]).at(_ATOM)
            return Text(f"{above} / {below}", _PRODUCT)
        if op == "pow":
            return self._power(self.text(args[0]), e.data)
        if op == "apply":
            return self._function(str(e.data), args[0])
        a, *rest = (self.text(x) for x in args)
        if op == "abs":
            return Text(f"fabs({a.text})", _ATOM)
        if op == "sign":
            x = a.at(_ATOM)
            return Text(f"real(({x} > real(0)) - ({x} < real(0)))", _ATOM)
        if op == "greater":
            return Text(f"({a.at(_SUM)} > {rest[0].at(_SUM)} ? real(1) : real(0))", _ATOM)
        if op == "maximum":
            x, y = a.at(_SUM), rest[0].at(_SUM)
            return Text(f"({x} > {y} ? {x} : {y})", _ATOM)
        if op == "where":
            yes, no = (r.at(_SUM) for r in rest)
            return Text(f"({a.at(_SUM)} != real(0) ? {yes} : {no})", _ATOM)
        raise UnsupportedOperation(f"CUDA has no text for the operation {op!r}")

    def _sum(self, items: list[tuple[bool, Expr]]) -> str:
        # A sum starts with a positive term where there is one: 1 - z, not -z + 1.
        first = next((i for i, (minus, _) in enumerate(items) if not minus), 0)
        out = ""
        for minus, x in (items[first], *items[:first], *items[first + 1 :]):
            if not out:
                out = f"-{self.text(x).at(_ATOM)}" if minus else self.text(x).at(_PRODUCT)
            else:
                out += f" {'-' if minus else '+'} {self.text(x).at(_PRODUCT)}"
        return out

    def _power(self, base: Text, exponent: object) -> Text:
        if not isinstance(exponent, Fraction):
            raise UnsupportedOperation(f"a power needs an exact exponent, not {exponent!r}")
        if exponent == 2:
            self.uses.add("square")
            return Text(f"square({base.text})", _ATOM)
        if exponent == -1:
            return Text(f"real(1) / {base.at(_ATOM)}", _PRODUCT)
        if exponent == Fraction(1, 2):
            return Text(f"sqrt({base.text})", _ATOM)
        return Text(f"pow({base.text}, {number(exponent)})", _ATOM)

    def _function(self, name: str, argument: Expr) -> Text:
        called, helper = ELEMENTWISE[name].texts("cuda")
        if helper:
            self.uses.add(called)
        return Text(f"{called}({self.text(argument).text})", _ATOM)
