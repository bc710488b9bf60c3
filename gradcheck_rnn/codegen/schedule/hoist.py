"""Move out of the time loop what does not depend on the recurrence.

A sum or product inside a loop is split into the part that the loop changes and the part it does
not: ``W h + (U x + b)``, ``δ ⊙ (f ⊙ (1 − f))``, ``δ ⊙ (g / s)``. A common factor goes out of a sum,
``δ ⊙ h̃ − δ ⊙ h₋ = δ ⊙ (h̃ − h₋)``, so that more of it can move.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple

from .distribution import LoopDistribution
from .nodes import POINTWISE, WIDEST, Graph, Node, topological

__all__ = ["rebuild", "rewrite"]


def rebuild(g: Graph, node: Node, args: tuple[Node, ...]) -> Node:
    """The node with other operands."""
    if args == node.args:
        return node
    if node.op in POINTWISE:
        return g.pointwise(node.op, args, node.data)
    return g.make(node.op, args, node.rows, node.cols, node.lead, node.data)


def rewrite(
    g: Graph,
    roots: Iterable[Node],
    distribution: LoopDistribution,
    stop: Callable[[Node], bool],
    keep: Collection[Node] = (),
) -> dict[Node, Node]:
    """Old node → node with sums and products in loops split.

    Parameters
    ----------
    stop : callable
        Nodes that are given and stay as they are (forward values, when the backward pass is
        rewritten).
    keep : collection of Node
        Nodes that are handed out; they are not merged into their readers.
    """
    roots = list(roots)
    uses: dict[Node, int] = {}
    for r in roots:
        uses[r] = uses.get(r, 0) + 1
    order = list(topological(roots))
    for n in order:
        for a in n.args:
            uses[a] = uses.get(a, 0) + 1
    new: dict[Node, Node] = {}
    for n in order:
        if stop(n) or not n.args:
            new[n] = n
            continue
        loop = distribution.loop.get(n)
        if n.op not in ("add", "mul", "div") or loop is None:
            new[n] = rebuild(g, n, tuple(new[a] for a in n.args))
            continue
        flat = Flattening(uses, keep, distribution, stop, loop)
        if n.op == "add":
            terms = flat.operands(n.args, "add")
            moving = {new[t.node]: t.moves for t in terms}
            values = [g.neg(new[t.node]) if t.minus else new[t.node] for t in terms]
            signed = [(v, moving[new[t.node]]) for v, t in zip(values, terms, strict=True)]
            new[n] = _sum(g, signed)
            continue
        factors = flat.factors(n)
        if factors is None:
            new[n] = rebuild(g, n, tuple(new[a] for a in n.args))
        else:
            new[n] = _product(g, [f.renewed(g, new[f.node]) for f in factors])
    return new


class TermOrFactor(NamedTuple):
    """A term with its sign, or a factor; ``under``: of the denominator."""

    node: Node
    minus: bool
    moves: bool
    under: bool = False

    def renewed(self, g: Graph, node: Node) -> TermOrFactor:
        """The same with another node, its sign among its operations."""
        return self._replace(node=g.neg(node) if self.minus else node, minus=False)


class Flattening(NamedTuple):
    """Opens nested sums or products of one loop that nobody else reads."""

    uses: dict[Node, int]
    keep: Collection[Node]
    distribution: LoopDistribution
    stop: Callable[[Node], bool]
    loop: int

    def operands(
        self, args: Iterable[Node], op: str, minus: bool = False, depth: int = WIDEST,
        divide: bool = False,
    ) -> list[TermOrFactor]:  # fmt: skip
        """Operands with their signs; quotients are opened if ``divide``.

        Sums and products stay apart where there would be too many operands of one.
        """
        out: list[TermOrFactor] = []
        for a in args:
            sign, inner = minus, a
            if inner.op == "neg" and self._alone(inner):
                sign, inner = not minus, inner.args[0]
            few = depth > 0 and len(out) < WIDEST
            once = self._alone(inner) and self._moves(inner) and not self.stop(a)
            if few and once and (inner.op == op or (divide and self._divides(inner))):
                # A sign belongs to every term of a sum, but to a product only once.
                carried = sign if op == "add" else False
                over = inner.args if inner.op == op else inner.args[:1]
                opened = self.operands(over, op, carried, depth - 1, divide)
                if inner.op != op:
                    opened.append(TermOrFactor(inner.args[1], False, False, under=True))
                if op == "mul" and sign:
                    opened[0] = opened[0]._replace(minus=not opened[0].minus)
                out += opened
            else:
                out.append(TermOrFactor(inner, sign, self._moves(inner)))
        return out

    def factors(self, n: Node) -> list[TermOrFactor] | None:
        """Factors of a product or a quotient; None for a quotient that stays as it is.

        A denominator is taken apart where it then meets another factor that does not move.
        """
        if n.op == "mul" or self._divides(n):
            over = n.args if n.op == "mul" else n.args[:1]
            opened = self.operands(over, "mul", divide=True)
            if n.op == "div":
                opened.append(TermOrFactor(n.args[1], False, False, under=True))
            still = [f for f in opened if not f.moves and f.node.number is None]
            if len(still) > 1 and not all(f.node.numeric for f in still):
                return opened
        return self.operands(n.args, "mul") if n.op == "mul" else None

    def _alone(self, n: Node) -> bool:
        return self.uses[n] == 1 and n not in self.keep

    def _moves(self, n: Node) -> bool:
        return self.distribution.loop.get(n) == self.loop

    def _divides(self, n: Node) -> bool:
        """Whether a value is divided by one that all units share and that does not move."""
        return n.op == "div" and n.args[1].scalar and self._moves(n) and not self._moves(n.args[1])


def _product(g: Graph, factors: list[TermOrFactor]) -> Node:
    still = [f for f in factors if not f.moves]
    moving = [f.node for f in factors if f.moves]
    if not moving or all(g.value_of(f.node) is not None for f in still):
        return _quotient(g, [*still, *(f for f in factors if f.moves)])
    # What all units share is multiplied first: one number a sequence, not one a unit.
    shared = [f for f in still if f.node.scalar or g.value_of(f.node) is not None]
    scalars = [n for n in moving if n.scalar]
    if scalars and 1 < len(shared) + len(scalars) < len(factors):
        if all(f.node.numeric for f in shared):
            number = _quotient(g, [*shared, *(f for f in factors if f.moves and f.node.scalar)])
        else:
            number = _join_product(g, scalars, [_quotient(g, shared)])
        moving = [number, *(n for n in moving if not n.scalar)]
        still = [f for f in still if f not in shared]
    return _join_product(g, moving, [_quotient(g, still)]) if still else g.pointwise("mul", moving)


def _quotient(g: Graph, factors: list[TermOrFactor]) -> Node:
    over = [f.node for f in factors if not f.under]
    under = [f.node for f in factors if f.under]
    value = g.mul(over) if len(over) != 1 else over[0]
    return g.div(value, g.mul(under)) if under else value


def _join_product(g: Graph, moving: list[Node], still: list[Node]) -> Node:
    """moving ⊙ (still): two nested products, kept apart although products are flat."""
    inner = g.mul(still) if len(still) > 1 else still[0]
    sign = inner.op == "neg"
    if sign:
        inner = inner.args[0]
    flat: list[Node] = []
    for m in moving:
        if m.op == "neg":
            sign, m = not sign, m.args[0]
        flat.append(m)
    made = g.pointwise("mul", [*flat, inner])
    return g.neg(made) if sign else made


def _sum(g: Graph, items: list[tuple[Node, bool]]) -> Node:
    still = [n for n, moves in items if not moves]
    moving = _factored(g, items)
    if len(still) >= 2 and moving:
        # What is of parameters alone is added up once, not at every step.
        fixed = [n for n in still if not n.lead and g.value_of(n) is None]
        if 1 < len(fixed) < len(still):
            still = [*(n for n in still if n not in fixed), g.pointwise("add", fixed)]
        inner = g.pointwise("add", still) if len(fixed) > 1 else g.add(still)
        return g.pointwise("add", [*moving, inner])
    if len(moving) == 1 and not still:
        return moving[0]
    return g.pointwise("add", [*moving, *still]) if moving else g.add(still)


def _factored(g: Graph, items: list[tuple[Node, bool]]) -> list[Node]:
    """The moving terms of a sum, a common moving factor taken out of those that share it."""
    shared: dict[Node, list[tuple[Node, Node]]] = {}
    order: list[Node | tuple[Node]] = []
    for n, moves in items:
        if not moves:
            continue
        body = n.args[0] if n.op == "neg" else n
        factor, rest = _split(body)
        if factor is None:
            order.append(n)
            continue
        if factor not in shared:
            order.append((factor,))
        shared.setdefault(factor, []).append((n, g.neg(rest) if n.op == "neg" else rest))
    made: list[Node] = []
    for entry in order:
        if isinstance(entry, Node):
            made.append(entry)
            continue
        group = shared[entry[0]]
        if len(group) == 1:
            made.append(group[0][0])
        else:
            made.append(_join_product(g, [entry[0]], [g.add([rest for _, rest in group])]))
    return made


def _split(body: Node) -> tuple[Node | None, Node]:
    """A product made by `_join_product`, as (moving factor, still factor)."""
    if body.op == "mul" and len(body.args) == 2:
        return body.args[0], body.args[1]
    return None, body
