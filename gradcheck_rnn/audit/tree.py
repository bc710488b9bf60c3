"""What a written equation is: a small tree, whatever notation it was written in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

__all__ = [
    "Applied",
    "Constant",
    "Node",
    "Quantity",
    "Time",
    "Written",
    "leaves",
    "rewritten",
    "terms",
]


@dataclass(frozen=True)
class Time:
    """A time index: ``t + offset``, ``T + offset``, or a fixed one (anchor ``""``)."""

    anchor: str
    offset: int = 0

    def __str__(self) -> str:
        if not self.anchor:
            return str(self.offset)
        sign = "+" if self.offset > 0 else "−"
        return self.anchor + (f"{sign}{abs(self.offset)}" if self.offset else "")


@dataclass(frozen=True)
class Constant:
    """A rational constant."""

    value: Fraction


@dataclass(frozen=True)
class Quantity:
    """A quantity: a value of the definition, an adjoint ∂L/∂(·), or one of the author's own.

    ``name`` is in the definition's spelling where it is known there. ``loss`` is the step whose
    loss is differentiated (∂L_t/∂h_k), None for the whole loss.
    """

    name: str
    time: Time | None = None
    adjoint: bool = False
    loss: Time | None = None

    def __str__(self) -> str:
        at = f"_{self.time}" if self.time is not None else ""
        if self.loss is not None:
            return f"∂L_{self.loss}/∂{self.name}{at}"
        return f"{'δ' if self.adjoint else ''}{self.name}{at}"


@dataclass(frozen=True)
class Applied:
    """An operation: add, neg, product (matrix), times (elementwise), kron, divide, power,
    transpose, diag, vec, unvec, inner (of all entries), trace, jacobian (``data`` "+": immediate),
    or a function by name with ``'`` for its derivative. "superscript" is a power, of a matrix where
    it is square; "time sum" and "time product" have ``data`` (letter, lower, upper).

    In code, where vectors have one axis: "product" with ``data`` "code" is NumPy's ``@``, outer,
    column and row (``x[:, None]``, ``x[None, :]``), "entry sum" with ``data`` the axis or None and
    whether it is kept.
    """

    op: str
    args: tuple[Node, ...]
    data: object = None


Node = Constant | Quantity | Applied


@dataclass(frozen=True)
class Written:
    """One line: what it defines, by what, and where it stands.

    ``accumulates``: it adds up over time. ``last``: what is added at the last step of a scan alone.
    ``code``: it is a line of code, whose names have the value that they had when it ran.
    ``merged``: it is the sum of this line and those before it that add to the same quantity.
    """

    left: Node
    right: Node
    text: str
    line: int
    accumulates: bool = False
    last: Node | None = None
    merged: bool = False
    code: bool = False


def leaves(node: Node) -> Iterator[Quantity]:
    """All names in a tree, as they are written."""
    if isinstance(node, Quantity):
        yield node
    elif isinstance(node, Applied):
        for a in node.args:
            yield from leaves(a)


def terms(node: Node) -> list[Node]:
    """The terms of a sum, signs kept; a sum over time of a sum is a sum of sums over time."""
    if isinstance(node, Applied) and node.op == "add":
        return [t for a in node.args for t in terms(a)]
    if isinstance(node, Applied) and node.op == "neg":
        return [Applied("neg", (t,)) for t in terms(node.args[0])]
    if isinstance(node, Applied) and node.op == "time sum":
        return [replace(node, args=(t,)) for t in terms(node.args[0])]
    return [node]


def rewritten(node: Node, change: Callable[[Node], Iterator[Node]]) -> Iterator[Node]:
    """All trees in which one node is replaced by one of the nodes that `change` gives for it."""
    yield from change(node)
    if isinstance(node, Applied):
        for i, a in enumerate(node.args):
            for other in rewritten(a, change):
                yield replace(node, args=(*node.args[:i], other, *node.args[i + 1 :]))
