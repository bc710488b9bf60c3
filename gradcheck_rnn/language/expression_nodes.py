"""The nodes of a traced expression."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .values import Expr

__all__ = ["nodes_of", "split_or_merged"]


def nodes_of(root: Expr) -> Iterator[Expr]:
    """Every node once, operands first."""
    seen: set[int] = set()
    stack: list[tuple[Expr, bool]] = [(root, False)]
    while stack:
        node, ready = stack.pop()
        if ready:
            yield node
        elif id(node) not in seen:
            seen.add(id(node))
            stack.append((node, True))
            stack.extend((a, False) for a in reversed(node.args))


def split_or_merged(nodes: Iterable[Expr]) -> set[int]:
    """Vectors that are split into heads or merged, and what they become: copies of each other."""
    out: set[int] = set()
    for e in nodes:
        first = e.args[0] if e.args else e
        if e.op == "matmul" and first.op == "head_block":
            out.add(id(e.args[1]))
        elif e.op == "matmul" and first.op == "transpose" and first.args[0].op == "head_block":
            out |= {id(e), id(e.args[1])}
        elif e.op == "sum_heads" and first.op == "matmul" and first.args[0].op == "head_block":
            out.add(id(e))
    return out
