"""Single slips undone: what a wrong line becomes when one thing in it is written differently."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

from ..calculus.terms import Apply
from ..derivation.program import Derivation
from ..language.ops.elementwise import ELEMENTWISE
from .tree import Applied, Constant, Node, Quantity, Time, rewritten
from .truth import Values
from .writing import written

__all__ = ["Slips"]


class Slips:
    """What may have been meant, of the names of one derivation."""

    def __init__(self, derivation: Derivation, truth: Values) -> None:
        self.derivation, self.truth = derivation, truth

    def edits(self, right: Node) -> Iterator[tuple[Node, str]]:
        """Single slips undone, with what each was."""
        said = {}

        def change(node: Node) -> Iterator[Node]:
            for other, what in self._changes(node):
                said[id(other)] = what
                held.append(other)
                yield other

        held: list[Node] = []
        for tree in rewritten(right, change):
            yield tree, said[id(held[-1])]

    def _other_names(self, node: Quantity, shown: str) -> Iterator[tuple[Node, str]]:
        """Another time, another quantity of the same shape, a value for an adjoint."""
        if node.time is not None:
            for by in (-1, 1, -2, 2):
                moved = replace(node, time=replace(node.time, offset=node.time.offset + by))
                yield moved, f"{shown} where {moved} belongs"
        shape = next(iter(self.truth.values[node.name].values())).shape
        for other, held in self.truth.values.items():
            weights = self.truth.matrix(node.name) and self.truth.matrix(other)
            same = weights or next(iter(held.values())).shape == shape
            if (
                other != node.name
                and same
                and self.truth.moves(other) == self.truth.moves(node.name)
            ):
                swapped = replace(node, name=other)
                yield swapped, f"{shown} where {swapped} belongs"
        yield replace(node, adjoint=not node.adjoint), f"{shown} as a value or an adjoint"

    def _changes(self, node: Node) -> Iterator[tuple[Node, str]]:
        shown = written(node)
        if isinstance(node, Quantity) and self.truth.knows(node.name):
            yield from self._other_names(node, shown)
        if isinstance(node, Applied) and node.op == "transpose":
            yield node.args[0], f"{shown} where {written(node.args[0])} belongs"
        elif isinstance(node, Quantity):
            flipped = Applied("transpose", (node,))
            yield flipped, f"{shown} where {written(flipped)} belongs"
        if isinstance(node, Applied) and node.op == "neg":
            yield node.args[0], f"the sign of {written(node.args[0])}"
        if isinstance(node, Applied) and node.op in ("times", "product") and len(node.args) == 2:
            for kept, lost in (node.args, node.args[::-1]):
                yield kept, f"the factor {written(lost)} does not belong"
            a, b = node.args
            yield Applied(node.op, (b, a)), f"{shown} where {written(b)} {written(a)} belongs"
        if isinstance(node, Applied) and node.op in ("power", "superscript"):
            what = "square" if node.data == 2 else f"exponent {node.data}"
            yield node.args[0], f"the {what} of {written(node.args[0])} does not belong"
        if isinstance(node, Applied) and node.op == "times":
            yield Applied("add", node.args), f"{shown}, a product where the sum belongs"
        if isinstance(node, Applied) and node.op == "add":
            yield from self._numbers(node)
        if isinstance(node, Quantity) and not node.adjoint:
            for function in ("tanh", "sigmoid"):
                applied = Applied(function, (node,))
                yield applied, f"{shown} where {written(applied)} belongs"
        if isinstance(node, Applied) and node.op in ELEMENTWISE:
            yield node.args[0], f"{shown} where {written(node.args[0])} belongs"
        if isinstance(node, Quantity | Applied):
            squared = Applied("power", (node,), Fraction(2))
            yield squared, f"{shown} where {written(squared)} belongs"
            yield Applied("neg", (node,)), f"the sign of {shown}"
            one = Applied("add", (Constant(Fraction(1)), Applied("neg", (node,))))
            yield one, f"{shown} where {written(one)} belongs"
        if isinstance(node, Applied) and node.op == "add":
            a, b = node.args[0], node.args[-1]
            if isinstance(a, Constant) and isinstance(b, Applied) and b.op == "neg":
                yield b.args[0], f"{shown} where {written(b.args[0])} belongs"
        for factor in self._factors(node):
            yield Applied("times", (node, factor)), f"without the factor {written(factor)}"

    def _numbers(self, node: Applied) -> Iterator[tuple[Node, str]]:
        """1 − hᵀ h, which is one number, as the diagonal of 1 − h ⊙ h."""

        def squared(term: Node) -> Node:
            if isinstance(term, Applied) and term.op == "neg":
                return Applied("neg", (squared(term.args[0]),))
            if isinstance(term, Applied) and term.op == "product" and len(term.args) == 2:
                a, b = term.args
                if a == Applied("transpose", (b,)):
                    return Applied("power", (b,), Fraction(2))
            return term

        parts = tuple(squared(a) for a in node.args)
        if parts != node.args:
            meant = Applied("diag", (Applied("add", parts),))
            yield meant, f"{written(node)}, one number, where {written(meant)} belongs"

    def _factors(self, node: Node) -> Iterator[Node]:
        """Factors that people forget: φ′ of everything that is a function of one equation."""
        if not isinstance(node, Quantity | Applied) or (
            isinstance(node, Applied) and node.op == "neg"
        ):
            return
        one = Constant(Fraction(1))
        for program in self.derivation.scans:
            for e in program.equations:
                y = Quantity(e.name, Time("t"))
                yield y
                if isinstance(e.rhs, Apply) and str(e.rhs.fname) == "tanh":
                    yield Applied(
                        "add", (one, Applied("neg", (Applied("power", (y,), Fraction(2)),)))
                    )
                elif isinstance(e.rhs, Apply) and str(e.rhs.fname) == "sigmoid":
                    slope = Applied("add", (one, Applied("neg", (y,))))
                    yield slope
                    yield Applied("times", (y, slope))
