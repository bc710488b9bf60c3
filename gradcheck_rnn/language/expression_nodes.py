"""The nodes of a traced expression."""

from __future__ import annotations

from collections.abc import Iterator

from .values import Expr

__all__ = ["nodes_of"]


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
