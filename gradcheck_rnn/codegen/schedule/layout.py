"""Values that belong side by side: one buffer, a view for each, in an order that makes runs.

Products that read the same operand are put next to each other, so that one GEMM with the weights
stacked computes them all; in the backward pass the adjoints of those products, so that one GEMM
takes them back and one gives all weight gradients. Inside that, values to which the same function
is applied are neighbours, so that it is called once.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from .nodes import Node

__all__ = ["common_name", "consecutive", "gradient_families", "product_families"]

E = TypeVar("E")

#: Classes of elements that may be permuted by trial; beyond, they stay in the order they came.
_TRIED = 6


def consecutive(
    elements: Sequence[E], families: Iterable[Iterable[E]], rank: Mapping[E, int]
) -> list[E]:
    """An order in which the members of as many families as possible are neighbours.

    Elements that are in the same families are never separated; ``rank`` orders them.
    """
    sets = [frozenset(f) for f in families]
    classes: dict[frozenset[int], list[E]] = {}
    for e in elements:
        signature = frozenset(i for i, s in enumerate(sets) if e in s)
        classes.setdefault(signature, []).append(e)
    blocks = [sorted(block, key=lambda e: rank.get(e, 0)) for block in classes.values()]
    if len(blocks) > _TRIED:
        return [e for block in blocks for e in block]

    def score(order: Sequence[list[E]]) -> int:
        flat = [e for block in order for e in block]
        place = {e: i for i, e in enumerate(flat)}
        total = 0
        for s in sets:
            where = [place[e] for e in s]
            total += len(s) if max(where) - min(where) + 1 == len(where) else 0
        return total

    best = max(itertools.permutations(blocks), key=score)
    return [e for block in best for e in block]


def product_families(nodes: Iterable[Node], loop: Mapping[Node, int]) -> list[list[Node]]:
    """Products with the same operand in the same loop (or all outside), two or more."""
    groups: dict[object, list[Node]] = {}
    for n in nodes:
        if n.op == "gemm" and n.data and n.lead:
            groups.setdefault((n.args[0], loop.get(n)), []).append(n)
    return [g for g in groups.values() if len(g) > 1]


def gradient_families(nodes: Iterable[Node]) -> dict[Node, list[Node]]:
    """Operand → adjoints with which it makes a weight gradient."""
    groups: dict[Node, list[Node]] = {}
    for n in nodes:
        if n.op == "outer" and n.args[0] not in groups.get(n.args[1], ()):
            groups.setdefault(n.args[1], []).append(n.args[0])
    return groups


def common_name(names: Sequence[str], otherwise: str) -> str:
    """What names have in common up to an underscore: d_a for d_a_i, d_a_f."""
    common: list[str] = []
    for words in zip(*(n.split("_") for n in names), strict=False):
        if len(set(words)) > 1:
            break
        common.append(words[0])
    prefix = "_".join(common)
    return prefix if prefix not in ("", "d") else otherwise
