"""Exact arithmetic at a random point of the prime field 2¹²⁷ − 1.

Every number of a proof is a rational function of independent random generators: the entries of
parameters and inputs, the values of elementary functions (one generator for each function and
argument) and the branch bits of ``maximum``, ``where`` and ``abs``. Branch bits are generic field
elements, not 0 or 1, so that all branches are proved at once. Two such functions that differ agree
at a random point with probability at most degree ÷ prime (Schwartz 1980, Zippel 1979), so each
element carries its degree.

Relations that hold for the real functions and are used here (each is an identity, so using it can
never prove a falsehood): tanh, sin odd; cos even; σ(−x) = 1 − σ(x); exp(kx) = exp(x)ᵏ for small
integers k; x^(k/n) = (x^(1/n))ᵏ; [−x > 0] = 1 − [x > 0]; values at 0. No other relation is known,
so an identity that needs one (tanh z = 2σ(2z) − 1) comes out unproved.
"""

from __future__ import annotations

import numbers
import random
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from ...errors import GradcheckError, UnsupportedOperation
from ...language.ops.elementwise import ELEMENTWISE, WithElementwise, branches
from ...language.ops.formula import Arithmetic, evaluate

__all__ = [
    "PRIME",
    "Degree",
    "FieldElement",
    "FieldPoint",
    "Redraw",
    "larger",
    "relations",
    "summed",
]

PRIME = 2**127 - 1

#: Degree in the generators, and the highest power of each inverse (by its number at the point).
Degree = tuple[int, Mapping[int, int]]
_NONE: Mapping[int, int] = {}
#: exp(kx) is taken as exp(x)ᵏ for these k.
_MULTIPLES = (-1, 2, -2, 3, -3, 4, -4)
_INVERSES = tuple(pow(k, -1, PRIME) for k in _MULTIPLES)
#: x^(k/n) is the k-th power of the n-th root up to this n; beyond, xᵏ times a generator.
_ROOTS = 12


class Redraw(GradcheckError):
    """A denominator is zero at this random point; another point is to be drawn."""


def larger(a: Mapping[int, int], b: Mapping[int, int]) -> Mapping[int, int]:
    """Powers of inverses in a sum."""
    if a is b or not b:
        return a
    if not a:
        return b
    out = dict(a)
    for k, n in b.items():
        if n > out.get(k, 0):
            out[k] = n
    return out


def summed(a: Mapping[int, int], b: Mapping[int, int]) -> Mapping[int, int]:
    """Powers of inverses in a product."""
    if not b:
        return a
    if not a:
        return b
    out = dict(a)
    for k, n in b.items():
        out[k] = out.get(k, 0) + n
    return out


class FieldElement(WithElementwise):
    """The value of a rational function at a `FieldPoint`, with its degree.

    ``value`` is a polynomial of degree ``degree`` in the generators and in inverses of elements;
    ``inverses`` gives the highest power of each inverse. The real degree, over the common
    denominator, is `FieldPoint.degree_of`.
    """

    __slots__ = ("degree", "inverses", "point", "value")

    def __init__(
        self, point: FieldPoint, value: int, degree: int = 0, inverses: Mapping[int, int] = _NONE
    ) -> None:
        self.point, self.value, self.degree, self.inverses = point, value, degree, inverses

    def __add__(self, other: Any) -> Any:
        if other.__class__ is not FieldElement:
            other = self.point.coerce(other)
            if other is NotImplemented:
                return other
        value = self.value + other.value
        if value >= PRIME:
            value -= PRIME
        a, b = self.degree, other.degree
        return FieldElement(
            self.point, value, a if a > b else b, larger(self.inverses, other.inverses)
        )

    __radd__ = __add__

    def __neg__(self) -> FieldElement:
        return FieldElement(
            self.point, PRIME - self.value if self.value else 0, self.degree, self.inverses
        )

    def __pos__(self) -> FieldElement:
        return self

    def __sub__(self, other: Any) -> Any:
        if other.__class__ is not FieldElement:
            other = self.point.coerce(other)
            if other is NotImplemented:
                return other
        return self + -other

    def __rsub__(self, other: Any) -> Any:
        return -self + other

    def __mul__(self, other: Any) -> Any:
        if other.__class__ is int and 0 <= other < 2:
            return self if other else self.point.zero
        if other.__class__ is not FieldElement:
            other = self.point.coerce(other)
            if other is NotImplemented:
                return other
        return FieldElement(
            self.point,
            self.value * other.value % PRIME,
            self.degree + other.degree,
            summed(self.inverses, other.inverses),
        )

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Any:
        other = self.point.coerce(other)
        return other if other is NotImplemented else self * self.point.inverse(other)

    def __rtruediv__(self, other: Any) -> Any:
        return self.point.inverse(self) * other

    def __pow__(self, exponent: Any) -> Any:
        n = exact(exponent)
        if n is None:
            return NotImplemented
        if n.denominator == 2:
            return self.sqrt() ** n.numerator
        if 2 < n.denominator <= _ROOTS:
            return self.point.function(f"root {n.denominator}", self) ** n.numerator
        if n.denominator != 1:
            whole = n.numerator // n.denominator
            return self**whole * self.point.function(f"power {n - whole}", self)
        k = n.numerator
        if k < 0:
            return self.point.inverse(self) ** -k
        powers = {i: p * k for i, p in self.inverses.items()} if k else _NONE
        return FieldElement(self.point, pow(self.value, k, PRIME), self.degree * k, powers)

    def __abs__(self) -> Any:
        return (2 * self.positive_bit() - 1) * self

    def __eq__(self, other: object) -> bool:
        other = self.point.coerce(other)
        return isinstance(other, FieldElement) and self.value == other.value

    def __hash__(self) -> int:
        return hash(self.value)

    def __repr__(self) -> str:
        return f"<{self.value} mod 2^127-1, degree {self.point.degree_of(self)}>"

    def opaque(self, name: str) -> FieldElement:
        return self.point.function(name, self)

    def positive_bit(self) -> FieldElement:
        """The indicator [x > 0] as a free generator; 0 where x is identically zero."""
        return self.point.bit(self)


def relations(name: str) -> tuple[Fraction | None, str]:
    """φ(0) and φ(−x) in y = φ(x), of an elementwise function, a branch bit, a root or a power."""
    if name == "bit":
        return Fraction(0), "1 - y"
    known = ELEMENTWISE.get(name)
    return (None, "") if known is None else (known.at_zero, known.mirror)


def exact(number: Any) -> Fraction | None:
    """An exact rational, None if ``number`` is not a number; a float is the decimal it prints as.

    Raises
    ------
    UnsupportedOperation
        The number is infinite or not a number.
    """
    if isinstance(number, Fraction):
        return number
    if isinstance(number, numbers.Rational):
        return Fraction(int(number.numerator), int(number.denominator))
    if isinstance(number, np.bool_):
        return Fraction(int(number))
    if isinstance(number, float | np.floating) or hasattr(number, "_mpf_"):
        try:
            return Fraction(str(number))
        except ValueError:
            raise UnsupportedOperation(
                f"the constant {number} has no exact value, so nothing can be proved with it"
            ) from None
    return None


class FieldPoint:
    """A random point: the values of all generators, drawn when they are first asked for.

    Parameters
    ----------
    seed : int
        The same seed and the same questions in the same order give the same values.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self._random = random.Random(seed)
        self._tables: dict[str, dict[int, FieldElement]] = {}
        self._inverse_numbers: dict[int, int] = {}
        self._inverse_values: list[int] = []
        self._inverse_degrees: list[int] = []
        self._constants: dict[Fraction, FieldElement] = {}
        self.key_degree = 0
        self.zero = FieldElement(self, 0)
        self.one = FieldElement(self, 1)

    def random(self) -> FieldElement:
        """A new generator."""
        return FieldElement(self, self._random.randrange(1, PRIME), 1)

    def coerce(self, number: Any) -> Any:
        """A number as an element of degree zero; NotImplemented for anything else."""
        if isinstance(number, FieldElement):
            return number
        fraction = exact(number)
        if fraction is None:
            return NotImplemented
        found = self._constants.get(fraction)
        if found is None:
            top, bottom = fraction.numerator, fraction.denominator
            if bottom % PRIME == 0:
                raise UnsupportedOperation(f"the constant {fraction} is not defined modulo {PRIME}")
            found = FieldElement(self, top * pow(bottom, -1, PRIME) % PRIME)
            self._constants[fraction] = found
        return found

    def inverse(self, x: FieldElement) -> FieldElement:
        """1 / x; raises Redraw where x is zero."""
        if x.value == 0:
            raise Redraw(f"a denominator is zero at the random point of seed {self.seed}")
        if not x.degree and not x.inverses:
            return FieldElement(self, pow(x.value, -1, PRIME))
        number = self._inverse_numbers.get(x.value)
        if number is None:
            number = self._inverse_numbers[x.value] = len(self._inverse_values)
            self._inverse_values.append(pow(x.value, -1, PRIME))
            self._inverse_degrees.append(0)
        # Equal values met along different ways may come with different bounds.
        degree = self.degree_of(x)
        self._inverse_degrees[number] = max(self._inverse_degrees[number], degree)
        return FieldElement(self, self._inverse_values[number], 0, {number: 1})

    def degree_of(self, x: FieldElement) -> int:
        """Degree of the numerator of ``x`` over the common denominator, an upper bound."""
        return x.degree + sum(n * self._inverse_degrees[k] for k, n in x.inverses.items())

    def _key(self, x: FieldElement) -> None:
        self.key_degree = max(self.key_degree, self.degree_of(x))

    def bit(self, x: FieldElement) -> FieldElement:
        """[x > 0]: a generator that is shared by x and −x."""
        if not x.value:
            return self.zero
        mirrored = x.value > PRIME // 2
        found = self._lookup("bit", PRIME - x.value if mirrored else x.value, x)
        return 1 - found if mirrored else found

    def function(self, name: str, x: FieldElement) -> FieldElement:
        """The value of an elementwise function: a generator for each function and argument."""
        at_zero, mirror = relations(name)
        if not x.value and at_zero is not None:
            return self.coerce(at_zero)
        if name == "exp":
            return self._exponential(x)
        if not mirror or x.value <= PRIME // 2:
            return self._lookup(name, x.value, x)
        found = self._lookup(name, PRIME - x.value, x)
        return evaluate(mirror, Arithmetic({"y": found}, branches))

    def _lookup(self, name: str, key: int, x: FieldElement) -> FieldElement:
        table = self._tables.setdefault(name, {})
        found = table.get(key)
        if found is None:
            found = table[key] = self.random()
        self._key(x)
        return found

    def _exponential(self, x: FieldElement) -> FieldElement:
        table = self._tables.setdefault("exp", {})
        if x.value not in table:
            for k, inverse in zip(_MULTIPLES, _INVERSES, strict=True):
                root = table.get(x.value * inverse % PRIME)
                if root is not None:
                    self._key(x)
                    return root**k
        return self._lookup("exp", x.value, x)

    @property
    def collision_degree(self) -> int:
        """Sum of degrees over all pairs of arguments of one function that might be confused.

        Two different arguments of one value at this point would share a generator; the
        probability is at most this number ÷ prime.
        """
        pairs = 0
        for name, table in self._tables.items():
            compared = {"exp": 1 + len(_MULTIPLES), "bit": 2}.get(name, 2)
            pairs += compared * len(table) * (len(table) - 1) // 2
        return pairs * max(1, self.key_degree)
