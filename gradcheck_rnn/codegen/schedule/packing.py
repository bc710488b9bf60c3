"""Buffer packing: values that lie side by side in one buffer, a view for each.

Products that read the same operand are put next to each other, so that one GEMM with the weights
stacked computes them all; in the backward pass the adjoints of those products, so that one GEMM
takes them back and one gives all weight gradients. Inside that, values to which the same function
is applied are adjacent, so that it is called once.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from ...language.dims import ONE
from .emit import LEAVES, Emitter
from .graphs import Graphs
from .nodes import Node

__all__ = ["Packing", "common_name", "consecutive", "gradient_families", "product_families"]


class Packing:
    """Groups of adjacent values for the two routines."""

    def __init__(self, graphs: Graphs) -> None:
        self.graphs = graphs
        self.groups: list[list[Node]] = []
        self._order_adjoints()
        self._rank_weights()

    def _order_adjoints(self) -> None:
        distribution = self.graphs.backward
        families = gradient_families(distribution.nodes)
        blocks: dict[Node, set[Node]] = {}
        for members in families.values():
            for loop in {distribution.loop.get(m) for m in members}:
                block = {m for m in members if distribution.loop.get(m) == loop and m.rows != ONE}
                for m in list(block):
                    block |= blocks.get(m, set())
                blocks.update(dict.fromkeys(block, block))
        alike = self._alike()
        order = {n: i for i, n in enumerate(self.graphs.adjoints.values())}
        for block in {id(b): b for b in blocks.values()}.values():
            elements = sorted(block, key=lambda n: (-order.get(n, -1), n.serial))
            inside = [[m for m in f if m in block] for f in (*families.values(), *alike)]
            rank = {n: i for i, n in enumerate(elements)}
            self.groups.append(consecutive(elements, [f for f in inside if len(f) > 1], rank))

    def _rank_weights(self) -> None:
        """Weights in the order of the adjoints that make their gradients."""
        place = {n: i for group in self.groups for i, n in enumerate(group)}
        self._rank: dict[str, int] = {}
        for name, root in self.graphs.roots.items():
            for part in root.args if root.op == "add" else (root,):
                if part.op == "outer" and part.args[0] in place:
                    self._rank.setdefault(name, place[part.args[0]])

    def _alike(self) -> list[list[Node]]:
        """Adjoints of values under one function, and adjoints that are multiples of one adjoint."""
        applied: dict[Node, str] = {}
        for n in self.graphs.forward.nodes:
            if n.op == "apply":
                applied[n.args[0]] = str(n.data)
        out: dict[object, list[Node]] = {}
        for name, node in self.graphs.adjoints.items():
            function = applied.get(self.graphs.eq.forward[name])
            if function is not None:
                out.setdefault(function, []).append(node)
            if node.op == "mul":
                out.setdefault(node.args[0], []).append(node)
        return list(out.values())

    def forward(
        self, emitter: Emitter
    ) -> Iterator[tuple[list[Node], Callable[[Sequence[str]], str]]]:
        """Products with one operand, side by side."""
        for family in product_families(emitter.distribution.nodes, emitter.distribution.loop):
            ranked = sorted(family, key=lambda n: (self._rank.get(_weight(n), 0), n.serial))
            carriers = [c for n in ranked if (c := emitter.carrier(n)) is not None]
            weights = [_weight(n) for n in ranked]
            timed = carriers and carriers[0] in emitter.labels
            name = "gates" if timed else f"{common_name(weights, 'weights')}_{_source(ranked[0])}"
            yield carriers, _constant(name)

    def backward(
        self, emitter: Emitter
    ) -> Iterator[tuple[list[Node], Callable[[Sequence[str]], str]]]:
        """Adjoints that share operands; then the gradients that they make."""
        for group in self.groups:
            yield group, _adjoint_name
        outers: dict[Node, dict[Node, Node]] = {}
        sums: dict[Node, Node] = {}
        for n in emitter.distribution.nodes:
            if n in emitter.handed and not n.lead and n.op in ("outer", "reduce"):
                made = outers.setdefault(n.args[1], {}) if n.op == "outer" else sums
                made[n.args[0]] = n
        for group in self.groups:
            for made in (*outers.values(), sums):
                for run in _packed_runs(emitter, group, made):
                    yield [made[m] for m in run], _gradient_name


def _packed_runs(
    emitter: Emitter, group: Sequence[Node], wanted: Collection[Node]
) -> Iterator[list[Node]]:
    """Packing of one packed buffer, as far as they are wanted."""
    inside = [m for m in group if m in emitter.assigned and emitter.assigned[m].buffer.base]
    run: list[Node] = []
    for m in inside:
        if m in wanted:
            run.append(m)
        elif run:
            yield run
            run = []
    if run:
        yield run


def _constant(name: str) -> Callable[[Sequence[str]], str]:
    return lambda _: name


def _adjoint_name(names: Sequence[str]) -> str:
    return common_name(names, "d_gates") if all(names) else "d_gates"


def _gradient_name(names: Sequence[str]) -> str:
    return common_name(names, "d_weights")


def _weight(gemm: Node) -> str:
    """The name of the weight; a weight that is computed has none."""
    w = gemm.args[1]
    return str(w.data) if w.op in LEAVES else ""


def _source(gemm: Node) -> str:
    x = gemm.args[0]
    return str(x.data[0] if x.op == "state" else x.data if x.op == "given" else "x")


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
