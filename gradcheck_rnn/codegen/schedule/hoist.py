"""Move out of the time loop what does not depend on the recurrence.

A sum or product inside a loop is split into the part that the loop changes and the part it does
not: ``W h + (U x + b)``, ``δ ⊙ (f ⊙ (1 − f))``. A common factor is taken out of a sum first,
``δ ⊙ h̃ − δ ⊙ h₋ = δ ⊙ (h̃ − h₋)``, so that more of it can move.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

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
        if n.op not in ("add", "mul") or loop is None:
            new[n] = rebuild(g, n, tuple(new[a] for a in n.args))
            continue
        items = _flatten(n, n.op, uses, keep, distribution, stop)
        moving = {new[a]: distribution.loop.get(a) == loop for a, _ in items}
        signed = [(g.neg(new[a]) if minus else new[a], moving[new[a]]) for a, minus in items]
        new[n] = _sum(g, signed) if n.op == "add" else _product(g, signed)
    return new


def _flatten(
    n: Node,
    op: str,
    uses: dict[Node, int],
    keep: Collection[Node],
    distribution: LoopDistribution,
    stop: Callable[[Node], bool],
    minus: bool = False,
    depth: int = WIDEST,
) -> list[tuple[Node, bool]]:
    """Operands of nested sums or products that nobody else reads, with their signs.

    Sums and products stay apart where there would be too many operands of one.
    """
    out: list[tuple[Node, bool]] = []
    for a in n.args:
        sign, inner = minus, a
        if inner.op == "neg" and uses[inner] == 1 and inner not in keep:
            sign, inner = not minus, inner.args[0]
        same_loop = distribution.loop.get(inner) == distribution.loop.get(n)
        few = depth > 0 and len(out) < WIDEST
        once = inner.op == op and uses[inner] == 1 and inner not in keep
        if few and once and same_loop and not stop(a):
            # A sign belongs to every term of a sum, but to a product only once.
            carried = sign if op == "add" else False
            opened = _flatten(inner, op, uses, keep, distribution, stop, carried, depth - 1)
            if op == "mul" and sign:
                opened[0] = (opened[0][0], not opened[0][1])
            out += opened
        else:
            out.append((inner, sign))
    return out


def _product(g: Graph, items: list[tuple[Node, bool]]) -> Node:
    still = [n for n, moves in items if not moves]
    moving = [n for n, moves in items if moves]
    if not moving or all(g.value_of(n) is not None for n in still):
        return g.mul([*still, *moving])
    # What all units share is multiplied first: one number a sequence, not one a unit.
    shared = [n for n in (*still, *moving) if n.scalar or g.value_of(n) is not None]
    if any(n.scalar for n in moving) and 1 < len(shared) < len(items):
        moving = [g.mul(shared), *(n for n in moving if n not in shared)]
        still = [n for n in still if n not in shared]
    return _join_product(g, moving, still) if still else g.pointwise("mul", moving)


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
        inner = g.add(still)
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
