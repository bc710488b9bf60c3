"""Scalars that write down every operation they take part in.

Each operation becomes one entry of a `Tape` with its own symbol, its value in the field and its
local partials. A partial is what SymPy's ``diff`` gives for the operation's expression in
placeholder symbols (made once for each kind of operation), evaluated in the field. A function the
user made from an expression runs as the operations it is made of, so it needs nothing of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, partial
from typing import Any

from ...errors import MissingRule
from ...language.ops.elementwise import ELEMENTWISE, WithElementwise, branches
from ...language.ops.formula import Arithmetic, calls, evaluate
from .field import exact
from .small_dims import Numbers

__all__ = ["LocalRule", "Scalar", "Tape", "certify", "local_rule"]


def certify(function: str, slope: str | None = None) -> bool:
    """Whether the slope is the derivative of the definition, for all real x of its domain.

    Kinks are excluded: a function with branches is checked for positive and for negative x.

    Parameters
    ----------
    slope : str, optional
        Another claim to be checked instead of the declared one.

    Returns
    -------
    bool
        False also where SymPy cannot decide: an undecided identity is not a certificate.

    Raises
    ------
    MissingRule
        The function is not declared.
    """
    import sympy

    known = ELEMENTWISE.get(function)
    if known is None:
        raise MissingRule(f"the oracle has no definition of the elementwise function {function!r}")

    def call(name: str, z: Any) -> Any:
        if name == "log1p":
            return sympy.log(1 + z)
        if name == "floor":  # between its jumps a constant
            return sympy.Symbol("step")
        if name in ELEMENTWISE and not hasattr(sympy, name):
            return evaluate(ELEMENTWISE[name].definition, Arithmetic({"x": z}, call, rational))
        special = {"positive_bit": "Heaviside", "abs": "Abs"}
        return getattr(sympy, special.get(name, name))(z)

    def rational(q: Any) -> Any:
        return sympy.Rational(q.numerator, q.denominator)

    x = sympy.Symbol("x", positive=True) if known.positive else sympy.Symbol("x", real=True)
    half = sympy.Symbol("x", positive=True)
    branched = bool(calls(known.definition) & {"abs", "positive_bit"})
    for at, sign in [(half, 1), (-half, -1)] if branched else [(x, 1)]:
        value = evaluate(known.definition, Arithmetic({"x": at}, call, rational))
        claimed = evaluate(slope or known.slope, Arithmetic({"x": at, "y": value}, call, rational))
        by = half if branched else x
        if sympy.simplify(sign * sympy.diff(value, by) - claimed) != 0:
            return False
    return True


_EXPRESSIONS = {"add": "a + b", "sub": "a - b", "mul": "a*b", "div": "a/b", "neg": "-a"}
Local = Callable[[Any, Any, Any], Any]


@dataclass(frozen=True)
class LocalRule:
    """The value and the local partials of an operation, as functions of (a, b, y)."""

    value: Local
    partials: tuple[Local, ...]


def _source(e: Any) -> str:
    """Python text that computes a SymPy expression on exact operands."""
    if e.is_Symbol:
        return str(e.name)
    if e.is_Integer:
        return f"({int(e)})"
    if e.is_Rational:
        return f"Fraction({int(e.p)}, {int(e.q)})"
    if e.is_Add or e.is_Mul:
        return "(" + (" + " if e.is_Add else " * ").join(_source(x) for x in e.args) + ")"
    if e.is_Pow and e.exp.is_Rational:
        return f"({_source(e.base)}) ** {_source(e.exp)}"
    if e.is_Function and len(e.args) == 1:
        return f"({_source(e.args[0])}).{e.func.__name__}()"
    raise MissingRule(f"the oracle cannot evaluate the local partial {e}")


def _compiled(e: Any) -> Local:
    return eval(f"lambda a, b, y: {_source(e)}", {"Fraction": Fraction})


def _slope(formula: str, a: Any, b: Any, y: Any) -> Any:
    """φ′(a) from a and y = φ(a)."""

    def call(name: str, x: Any) -> Any:
        return branches(name, x) if name in ("abs", "positive_bit") else getattr(x, name)()

    return evaluate(formula, Arithmetic({"x": a, "y": y}, call))


@cache
def local_rule(operation: str, exponent: Fraction | None = None) -> LocalRule:
    """Value and local partials of an operation, by SymPy's ``diff``.

    Parameters
    ----------
    operation : str
        add, sub, mul, div, neg, pow, or the name of an elementwise function.
    exponent : Fraction, optional
        Of a power.

    Raises
    ------
    MissingRule
        The operation has no expression here.
    """
    import sympy

    a, b = sympy.symbols("a b")
    if operation == "pow" and exponent is not None:
        power = a ** sympy.Rational(exponent.numerator, exponent.denominator)
        return LocalRule(_compiled(power), (_compiled(sympy.diff(power, a)),))
    if operation in _EXPRESSIONS:
        expression = sympy.sympify(_EXPRESSIONS[operation], locals={"a": a, "b": b})
        used = [s for s in (a, b) if s in expression.free_symbols]
        partials = tuple(_compiled(sympy.diff(expression, s)) for s in used)
        return LocalRule(_compiled(expression), partials)
    if operation in ELEMENTWISE:
        if not certify(operation):
            raise MissingRule(
                f"SymPy does not find the declared slope {ELEMENTWISE[operation].slope!r} of "
                f"{operation!r} to be the derivative of its definition"
            )
        return LocalRule(
            lambda a, b, y: getattr(a, operation)(),
            (partial(_slope, ELEMENTWISE[operation].slope),),
        )
    raise MissingRule(f"the oracle has no expression for the operation {operation!r}")


@dataclass
class Tape:
    """The list of all scalar operations in the order in which they were computed.

    Attributes
    ----------
    operations : list
        For each symbol the pairs (number of an operand, local partial); a leaf has none.
    """

    point: Numbers

    def __post_init__(self) -> None:
        self.operations: list[tuple[tuple[int, Any], ...]] = []

    def leaf(self, value: Any) -> Scalar:
        """A new independent variable."""
        return self.append(value, ())

    def append(self, value: Any, operands: tuple[tuple[int, Any], ...]) -> Scalar:
        self.operations.append(operands)
        return Scalar(self, len(self.operations) - 1, value)

    def record(self, operation: str, *operands: Any, exponent: Fraction | None = None) -> Any:
        """Compute an operation on scalars and constants and write it down."""
        rule = local_rule(operation, exponent)
        coerce = self.point.coerce
        values = [x.value if isinstance(x, Scalar) else coerce(x) for x in operands]
        if any(v is NotImplemented for v in values):
            return NotImplemented
        a, b = values[0], values[-1]
        y = coerce(rule.value(a, b, None))
        partials = tuple(
            (x.index, coerce(partial(a, b, y)))
            for x, partial in zip(operands, rule.partials, strict=True)
            if isinstance(x, Scalar)
        )
        return self.append(y, partials)


class Scalar(WithElementwise):
    """A symbol of a tape: its number and its value; arithmetic appends to the tape."""

    __slots__ = ("index", "tape", "value")

    def __init__(self, tape: Tape, index: int, value: Any) -> None:
        self.tape, self.index, self.value = tape, index, value

    def __add__(self, other: Any) -> Any:
        return self.tape.record("add", self, other)

    def __radd__(self, other: Any) -> Any:
        return self.tape.record("add", other, self)

    def __sub__(self, other: Any) -> Any:
        return self.tape.record("sub", self, other)

    def __rsub__(self, other: Any) -> Any:
        return self.tape.record("sub", other, self)

    def __mul__(self, other: Any) -> Any:
        return self.tape.record("mul", self, other)

    def __rmul__(self, other: Any) -> Any:
        return self.tape.record("mul", other, self)

    def __truediv__(self, other: Any) -> Any:
        return self.tape.record("div", self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return self.tape.record("div", other, self)

    def __neg__(self) -> Any:
        return self.tape.record("neg", self)

    def __pos__(self) -> Scalar:
        return self

    def __pow__(self, exponent: Any) -> Any:
        n = exact(exponent)
        return NotImplemented if n is None else self.tape.record("pow", self, exponent=n)

    def __abs__(self) -> Any:
        return (2 * self.positive_bit() - 1) * self

    def __repr__(self) -> str:
        return f"<scalar {self.index}: {self.value!r}>"

    def positive_bit(self) -> Any:
        """The branch the value takes: a constant to the derivative."""
        return self.value.positive_bit()

    def opaque(self, name: str) -> Any:
        return self.tape.record(name, self)
