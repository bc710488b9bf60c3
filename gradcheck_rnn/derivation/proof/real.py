"""Two nodes of a graph at real points, in ball arithmetic: a difference found here is a proof.

Fingerprints take function values as independent; at a real point they are what they are, so that a
wrong gradient is told from a right one whose equality needs a relation between function values.
"""

from __future__ import annotations

import random
from fractions import Fraction
from typing import Any

from ...language.ops.elementwise import ELEMENTWISE
from ...language.ops.formula import Arithmetic, evaluate
from .graph import ExactNode

__all__ = ["DIGITS", "differ"]

#: Working precision; the differences of wrong gradients are of order one.
DIGITS = 60
_POINTS = 6


def differ(a: ExactNode, b: ExactNode) -> bool | None:
    """Whether a ≠ b as real functions.

    Returns
    -------
    bool or None
        True if the balls of a and b are apart at some rational point, which is a proof. False if
        they meet at all points tried, which proves nothing. None if neither function could be
        evaluated at any point tried.
    """
    from flint import ctx

    met: bool | None = None
    with ctx.workdps(DIGITS):
        for number in range(_POINTS):
            # Roots and logarithms may need positive numbers: the second half of the points.
            difference = _difference(a, b, random.Random(number), number >= _POINTS // 2)
            if difference is None or not difference.is_finite():
                continue
            if not difference.contains(0):
                return True
            met = False
    return met


def _difference(a: ExactNode, b: ExactNode, source: random.Random, positive: bool) -> Any:
    """The ball of a − b at a random point; None where a branch cannot be told."""
    from flint import arb, fmpq

    values: dict[int, Any] = {}
    for node in _below(a, b):
        operands = [values[x.index] for x in node.operands]
        value = None
        if node.operation == "leaf":
            number = source.randint(1, 16)
            value = arb(fmpq(number if positive or source.random() < 0.5 else -number, 16))
        elif node.operation == "constant":
            value = _number(node.detail)
        elif node.operation == "add":
            value = operands[0] + operands[1]
        elif node.operation == "mul":
            value = operands[0] * operands[1]
        elif node.operation == "inv":
            value = 1 / operands[0]
        elif node.operation == "pow":
            value = operands[0] ** node.detail
        else:
            value = _called(node.detail, operands[0])
        if value is None:
            return None
        values[node.index] = value
    return values[a.index] - values[b.index]


def _called(name: str, x: Any) -> Any:
    """A function value; None for the bit of a ball that contains zero."""
    from flint import arb

    if name == "bit":
        return arb(1) if x > 0 else arb(0) if x < 0 else None
    kind, _, number = name.partition(" ")
    if kind in ("root", "power"):
        power = 1 / Fraction(number) if kind == "root" else Fraction(number)
        return x ** _number(power)
    method = getattr(x, name, None)
    if method is not None:
        return method()
    return evaluate(ELEMENTWISE[name].definition, Arithmetic({"x": x}, _called, _number))


def _number(value: Fraction) -> Any:
    from flint import arb, fmpq

    return arb(fmpq(value.numerator, value.denominator))


def _below(a: ExactNode, b: ExactNode) -> list[ExactNode]:
    """All nodes that a and b stand on, oldest first."""
    seen = {n.index: n for n in (a, b)}
    waiting = list(seen.values())
    while waiting:
        for x in waiting.pop().operands:
            if x.index not in seen:
                seen[x.index] = x
                waiting.append(x)
    return [seen[k] for k in sorted(seen)]
