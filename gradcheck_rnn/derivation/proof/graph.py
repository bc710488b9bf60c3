"""Exact numbers as a graph in which equal numbers become one node.

An `ExactNode` is a rational function of independent indeterminates: the entries of parameters and
inputs, one for each (elementary function, argument), one for each branch bit. A node of the same
operation on the same operands is made once. While `Graph.comparing` is on, a new node whose
fingerprint (its value at a random point of a prime field) is that of an older node is compared
with it by `identities`, and where that is decided by polynomial normal form, the older node takes
its place. So whatever is computed next stands on numbers already proved equal, which cuts the
identity of two long computations into identities of few terms. A fingerprint only says what is
worth comparing: without the exact decision both nodes stay.

The relations between function values are those of `field`: tanh, sin odd; cos even;
σ(−x) = 1 − σ(x); exp(kx) = exp(x)ᵏ; [−x > 0] = 1 − [x > 0]; values at 0. That an argument is −y,
ky or 0 is decided exactly as well; no other relation is known.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from ...language.ops.elementwise import WithElementwise, branches
from ...language.ops.formula import Arithmetic, evaluate
from .field import PRIME, Redraw, exact, relations

__all__ = ["ExactGraph", "ExactNode"]

_MULTIPLES = (-1, 2, -2, 3, -3, 4, -4)
_ROOTS = 12


class ExactNode(WithElementwise):
    """A number of an `ExactGraph`.

    Attributes
    ----------
    index : int
        Its place; operands have smaller ones.
    operation : {"leaf", "constant", "add", "mul", "pow", "inv", "call"}
    operands : tuple of ExactNode
    detail : Fraction, int or str
        The value of a constant, the exponent of a power, the name of a function.
    value : int
        Fingerprint modulo the prime.
    free : int
        A random number that stands for this node where it is taken as an indeterminate.
    """

    __slots__ = ("detail", "free", "graph", "index", "operands", "operation", "value")

    def __init__(
        self,
        graph: ExactGraph,
        operation: str,
        operands: tuple[ExactNode, ...],
        detail: Any,
        value: int,
    ) -> None:
        self.graph, self.operation, self.operands = graph, operation, operands
        self.detail, self.value = detail, value
        self.index = graph.size
        graph.size += 1
        self.free = value if operation == "constant" else graph.draw()

    def __add__(self, other: Any) -> Any:
        other = self.graph.coerce(other)
        return other if other is NotImplemented else self.graph.add(self, other)

    __radd__ = __add__

    def __neg__(self) -> ExactNode:
        return self.graph.mul(self.graph.minus_one, self)

    def __pos__(self) -> ExactNode:
        return self

    def __sub__(self, other: Any) -> Any:
        other = self.graph.coerce(other)
        return other if other is NotImplemented else self.graph.add(self, -other)

    def __rsub__(self, other: Any) -> Any:
        return -self + other

    def __mul__(self, other: Any) -> Any:
        other = self.graph.coerce(other)
        return other if other is NotImplemented else self.graph.mul(self, other)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Any:
        other = self.graph.coerce(other)
        return other if other is NotImplemented else self.graph.mul(self, self.graph.inv(other))

    def __rtruediv__(self, other: Any) -> Any:
        return self.graph.inv(self) * other

    def __pow__(self, exponent: Any) -> Any:
        n = exact(exponent)
        if n is None:
            return NotImplemented
        if n.denominator == 2:
            return self.sqrt() ** n.numerator
        if 2 < n.denominator <= _ROOTS:
            return self.graph.call(f"root {n.denominator}", self) ** n.numerator
        whole = n.numerator // n.denominator
        power = self.graph.power(self, whole)
        return power if n == whole else power * self.graph.call(f"power {n - whole}", self)

    def __abs__(self) -> Any:
        return (2 * self.positive_bit() - 1) * self

    def __repr__(self) -> str:
        return f"<node {self.index}: {self.operation} {self.detail}>"

    def opaque(self, name: str) -> ExactNode:
        return self.graph.call(name, self)

    def positive_bit(self) -> ExactNode:
        """The indicator [x > 0], an indeterminate; 0 where x is proved to be zero."""
        return self.graph.call("bit", self)


class ExactGraph:
    """All nodes of one computation; takes the place of a `FieldPoint` where numbers are drawn.

    Parameters
    ----------
    decide : callable
        Whether two nodes are proved equal as rational functions.
    seed : int
        Of the fingerprints, which suggest comparisons and decide nothing.
    """

    def __init__(self, decide: Callable[[ExactNode, ExactNode], bool], seed: int = 0) -> None:
        self.seed = seed
        self.size = 0
        self.comparing = False
        self._decide = decide
        self._random = random.Random(seed)
        self._nodes: dict[Any, ExactNode] = {}
        self._alike: dict[int, list[ExactNode]] = {}
        self._arguments: dict[str, dict[int, ExactNode]] = {}
        self.zero = self._constant(Fraction(0))
        self.one = self._constant(Fraction(1))
        self.minus_one = self._constant(Fraction(-1))

    def draw(self) -> int:
        """A random residue that is not zero."""
        return self._random.randrange(1, PRIME)

    def random(self) -> ExactNode:
        """A new indeterminate: an entry of a parameter, an input, a cotangent."""
        return self._enter(("leaf", self.size), ExactNode(self, "leaf", (), "", self.draw()))

    def coerce(self, number: Any) -> Any:
        """A number as a node; NotImplemented for anything else."""
        if number.__class__ is ExactNode:
            return number
        fraction = exact(number)
        return NotImplemented if fraction is None else self._constant(fraction)

    def _constant(self, number: Fraction) -> ExactNode:
        found = self._nodes.get(number)
        if found is None:
            value = number.numerator * pow(number.denominator, -1, PRIME) % PRIME
            found = self._enter(number, ExactNode(self, "constant", (), number, value))
        return found

    def _enter(self, key: Any, node: ExactNode) -> ExactNode:
        """Write a new node down, or find what it is proved equal to."""
        alike = self._alike.setdefault(node.value, [])
        if self.comparing and node.operation not in ("leaf", "constant"):
            for other in alike:
                if self._decide(node, other):
                    self._nodes[key] = other
                    return other
        alike.append(node)
        self._nodes[key] = node
        return node

    def _make(
        self, operation: str, operands: tuple[ExactNode, ...], detail: Any, value: int
    ) -> ExactNode:
        key = (operation, detail, *(x.index for x in operands))
        found = self._nodes.get(key)
        if found is not None:
            return found
        return self._enter(key, ExactNode(self, operation, operands, detail, value % PRIME))

    def add(self, a: ExactNode, b: ExactNode) -> ExactNode:
        """a + b, the same node in either order."""
        if a is self.zero:
            return b
        if b is self.zero:
            return a
        if a.operation == "constant" and b.operation == "constant":
            return self._constant(a.detail + b.detail)
        if a.index > b.index:
            a, b = b, a
        return self._make("add", (a, b), None, a.value + b.value)

    def mul(self, a: ExactNode, b: ExactNode) -> ExactNode:
        """a · b, the same node in either order; a constant factor comes first."""
        if b.operation == "constant":
            a, b = b, a
        if a.operation == "constant":
            if b.operation == "constant":
                return self._constant(a.detail * b.detail)
            if a is self.zero or a is self.one:
                return a if a is self.zero else b
            if b.operation == "mul" and b.operands[0].operation == "constant":
                return self.mul(self._constant(a.detail * b.operands[0].detail), b.operands[1])
        elif a.index > b.index:
            a, b = b, a
        return self._make("mul", (a, b), None, a.value * b.value)

    def inv(self, x: ExactNode) -> ExactNode:
        """1 / x; raises Redraw where the fingerprint is zero, so that x is never the zero function.

        A fingerprint that is not zero proves that a rational function is not zero.
        """
        if not x.value:
            raise Redraw(f"a denominator is zero at the random point of seed {self.seed}")
        if x.operation == "constant":
            return self._constant(1 / x.detail)
        if x.operation == "inv":
            return x.operands[0]
        return self._make("inv", (x,), None, pow(x.value, -1, PRIME))

    def power(self, x: ExactNode, n: int) -> ExactNode:
        """xⁿ for a whole n."""
        if n < 0:
            return self.power(self.inv(x), -n)
        if n < 2:
            return x if n else self.one
        if x.operation == "constant":
            return self._constant(x.detail**n)
        return self._make("pow", (x,), n, pow(x.value, n, PRIME))

    def call(self, name: str, x: ExactNode) -> ExactNode:
        """The value of an elementary function: an indeterminate for each argument."""
        key = ("call", name, x.index)
        found = self._nodes.get(key)
        if found is None:
            found = self._related(name, x)
            if found is None:
                self._arguments.setdefault(name, {}).setdefault(x.value, x)
                found = self._enter(key, ExactNode(self, "call", (x,), name, self.draw()))
            self._nodes[key] = found
        return found

    def _related(self, name: str, x: ExactNode) -> ExactNode | None:
        """The value by what is known about other arguments of the function."""
        at_zero, mirror = relations(name)
        if at_zero is not None and not x.value and self._decide(x, self.zero):
            return self._constant(at_zero)
        known = self._arguments.get(name, {})
        same = known.get(x.value)
        if same is not None and self._decide(x, same):
            return self.call(name, same)
        mirrored = known.get(PRIME - x.value) if mirror else None
        if mirrored is not None and self._decide(x, -mirrored):
            return evaluate(mirror, Arithmetic({"y": self.call(name, mirrored)}, branches))
        for k in _MULTIPLES if name == "exp" else ():
            root = known.get(x.value * pow(k, -1, PRIME) % PRIME)
            if root is not None and self._decide(x, k * root):
                return self.power(self.call(name, root), k)
        return None
