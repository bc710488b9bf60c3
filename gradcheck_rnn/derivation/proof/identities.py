"""Decide without any error whether two nodes of a graph are the same rational function.

Both are expanded, nearest nodes first, down to a frontier of nodes taken as indeterminates; what
is equal there is equal whatever the frontier stands for. How far to expand is tried out by
fingerprints with random numbers on the frontier; the decision is a polynomial normal form over
the rationals (python-flint) with denominators cleared.
"""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any

from .field import PRIME
from .graph import ExactNode

__all__ = ["Identities"]

_FIXED = frozenset({"leaf", "constant", "call"})
_FIRST = 4


class Identities:
    """Decides identities within limits, and keeps count.

    Parameters
    ----------
    terms : int
        The largest polynomial (by a bound on its number of terms) that is multiplied out.
    nodes : int
        The largest number of nodes that are expanded for one identity.
    deadline : float, optional
        Of `time.perf_counter`; from then on nothing is decided.

    Attributes
    ----------
    decided : int
        Identities proved.
    largest : int
        Terms of the largest polynomial met.
    reasons : dict
        (index, index) of two nodes with equal fingerprints → why they could not be decided.
    """

    def __init__(
        self, *, terms: int = 50_000, nodes: int = 4_000, deadline: float | None = None
    ) -> None:
        self._terms, self._nodes, self._deadline = terms, nodes, deadline
        self.decided = 0
        self.largest = 0
        self.reasons: dict[tuple[int, int], str] = {}

    def __call__(self, a: ExactNode, b: ExactNode) -> bool:
        """Whether a = b is proved; False also where it could not be decided (see `reasons`)."""
        if a is b:
            return True
        key = (min(a.index, b.index), max(a.index, b.index))
        if key in self.reasons or a.value != b.value:
            return False
        reason = self._attempt(a, b)
        if reason:
            self.reasons[key] = reason
        else:
            self.decided += 1
        return not reason

    def reason(self, a: ExactNode, b: ExactNode) -> str:
        """Why a = b was tried and not decided; empty if it was not tried."""
        return self.reasons.get((min(a.index, b.index), max(a.index, b.index)), "")

    def _attempt(self, a: ExactNode, b: ExactNode) -> str:
        """Why a = b is not decided; empty if it is proved."""
        if self._deadline is not None and time.perf_counter() > self._deadline:
            return "time limit"
        expanded = self._suggestion(a, b)
        if isinstance(expanded, str):
            return expanded
        bound = _term_bound(a, b, expanded)
        if bound > self._FEW:
            expanded = _thinned(a, b, expanded, self._FEW)
            bound = _term_bound(a, b, expanded)
        if bound > self._terms:
            return f"blow-up: up to {bound:.0e} terms, more than the limit of {self._terms}"
        return self._normal_form(a, b, expanded)

    #: Beyond this many terms it pays to look for nodes that need not be expanded.
    _FEW = 3_000

    def _suggestion(self, a: ExactNode, b: ExactNode) -> list[ExactNode] | str:
        """The nearest nodes below a and b, as few as make a = b likely with the others free."""
        cone = _cone(a, b)
        order: list[ExactNode] = []
        low, high = 0, _FIRST
        while True:
            order.extend(itertools.islice(cone, high - len(order)))
            if _alike(a, b, _sorted(order)):
                break
            if len(order) < high:
                return "the fingerprints agree by chance only"
            if high >= self._nodes:
                return f"blow-up: more than {self._nodes} nodes to expand"
            low, high = high, min(2 * high, self._nodes)
        high = len(order)
        while low < high:
            middle = (low + high) // 2
            if _alike(a, b, _sorted(order[:middle])):
                high = middle
            else:
                low = middle + 1
        return _sorted(order[:high])

    def _normal_form(self, a: ExactNode, b: ExactNode, expanded: Sequence[ExactNode]) -> str:
        """Multiply out, clear denominators, compare."""
        chosen = {n.index for n in expanded}
        indeterminates: dict[int, int] = {}

        def number_of(node: ExactNode) -> int:
            return indeterminates.setdefault(node.index, len(indeterminates))

        for node in (a, b, *expanded):
            for x in (node,) if node.index not in chosen else node.operands:
                if x.operation != "constant" and x.index not in chosen:
                    number_of(x)
            if node.operation == "inv" and node.index in chosen:
                number_of(node)
        context, gens = _context(len(indeterminates))
        made: dict[int, Any] = {}

        def polynomial(x: ExactNode) -> Any:
            found = made.get(x.index)
            if found is None:
                if x.operation == "constant":
                    found = context.constant(_rational(x))
                else:
                    found = gens[indeterminates[x.index]]
                made[x.index] = found
            return found

        for node in reversed(expanded):
            if node.operation != "inv":
                made[node.index] = _combined(node, [polynomial(x) for x in node.operands])
                self.largest = max(self.largest, len(made[node.index]))
        difference = polynomial(a) - polynomial(b)
        # Newest first: what an older inverse stands for cannot contain a newer one.
        for node in expanded:
            if difference and node.operation == "inv":
                below = polynomial(node.operands[0])
                difference = _cleared(
                    context, difference, indeterminates[node.index], below, self._terms
                )
                if difference is None:
                    return f"blow-up: more than {self._terms} terms over a common denominator"
                self.largest = max(self.largest, len(difference))
        return "" if not difference else "the fingerprints agree by chance only"


def _cone(a: ExactNode, b: ExactNode) -> Iterator[ExactNode]:
    """What can be expanded below a and b, nearest first; the terms of a sum are equally near."""
    heap = [(0, -n.index, n) for n in (a, b)]
    heapq.heapify(heap)
    seen: set[int] = set()
    while heap:
        depth, place, node = heapq.heappop(heap)
        if place in seen or node.operation in _FIXED:
            continue
        seen.add(place)
        yield node
        for x in node.operands:
            step = 0 if node.operation == x.operation == "add" else 1
            heapq.heappush(heap, (depth + step, -x.index, x))


def _sorted(nodes: Iterable[ExactNode]) -> list[ExactNode]:
    """Newest first."""
    return sorted(nodes, key=lambda n: -n.index)


def _alike(a: ExactNode, b: ExactNode, expanded: Sequence[ExactNode]) -> bool:
    """Whether a = b at random values of all that is not expanded."""
    values: dict[int, int] = {}
    for node in reversed(expanded):
        x = node.operands[0]
        u = values.get(x.index, x.free)
        if node.operation == "add":
            y = node.operands[1]
            u = (u + values.get(y.index, y.free)) % PRIME
        elif node.operation == "mul":
            y = node.operands[1]
            u = u * values.get(y.index, y.free) % PRIME
        elif node.operation == "pow":
            u = pow(u, node.detail, PRIME)
        else:
            if not u:
                return False
            u = pow(u, -1, PRIME)
        values[node.index] = u
    return values.get(a.index, a.free) == values.get(b.index, b.free)


def _thinned(
    a: ExactNode, b: ExactNode, expanded: Sequence[ExactNode], few: int
) -> list[ExactNode]:
    """Leave out nodes that need not be expanded, large groups first, until few terms are left."""
    kept = list(expanded)
    size = len(kept) // 2
    while size and _term_bound(a, b, kept) > few:
        end = len(kept)
        while end > 0:
            without = _reachable(a, b, kept[: max(0, end - size)] + kept[end:])
            if _alike(a, b, without):
                kept = without
            end = min(end - size, len(kept))
        size //= 2
    return kept


def _reachable(a: ExactNode, b: ExactNode, kept: Sequence[ExactNode]) -> list[ExactNode]:
    needed = {a.index, b.index}
    out = []
    for node in kept:
        if node.index in needed:
            out.append(node)
            needed.update(x.index for x in node.operands)
    return out


def _term_bound(a: ExactNode, b: ExactNode, expanded: Sequence[ExactNode]) -> float:
    """At most so many terms of a and b together, denominators aside."""
    counts: dict[int, float] = {}
    for node in reversed(expanded):
        c = [counts.get(x.index, 1.0) for x in node.operands]
        if node.operation == "add":
            n = c[0] + c[1]
        elif node.operation == "mul":
            n = c[0] * c[1]
        else:
            n = c[0] ** min(node.detail, 60) if node.operation == "pow" else 1.0
        counts[node.index] = min(n, 1e100)
    return counts.get(a.index, 1.0) + counts.get(b.index, 1.0)


def _combined(node: ExactNode, parts: list[Any]) -> Any:
    if node.operation == "add":
        return parts[0] + parts[1]
    if node.operation == "mul":
        return parts[0] * parts[1]
    return parts[0] ** node.detail


def _cleared(context: Any, p: Any, number: int, below: Any, limit: int) -> Any:
    """p · belowᵏ where the indeterminate of this number is 1 / below, k its degree in p.

    None where that has too many terms.
    """
    degree = int(p.degrees()[number])
    if not degree:
        return p
    parts: dict[int, dict[tuple[int, ...], Any]] = {}
    for exponents, coefficient in p.to_dict().items():
        rest = (*exponents[:number], 0, *exponents[number + 1 :])
        parts.setdefault(int(exponents[number]), {})[rest] = coefficient
    if sum(len(t) * float(len(below)) ** (degree - e) for e, t in parts.items()) > limit:
        return None
    total = context.constant(0)
    for exponent, terms in parts.items():
        total += context.from_dict(terms) * below ** (degree - exponent)
    return total


def _rational(x: ExactNode) -> Any:
    from flint import fmpq

    return fmpq(x.detail.numerator, x.detail.denominator)


def _context(count: int) -> tuple[Any, Any]:
    """A polynomial ring with at least so many indeterminates; few sizes, so that rings are kept."""
    size = 4
    while size < count:
        size *= 2
    return _ring(size)


@cache
def _ring(size: int) -> tuple[Any, Any]:
    from flint import Ordering, fmpq_mpoly_ctx

    context = fmpq_mpoly_ctx.get([f"x{k}" for k in range(size)], Ordering.lex)
    return context, context.gens()
