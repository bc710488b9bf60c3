"""A graph of array values in kernel layout; equal expressions are one node.

`Graph` makes nodes and does the arithmetic that a careful author does without thinking: numbers
fold, ones and zeros disappear, sums and products are flat, scalars broadcast by themselves.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from ...errors import UnsupportedOperation
from ...language.dims import ONE, Dim
from ...language.ops.unit_maps import UNIT_MAPS
from .ops import Lead

__all__ = ["POINTWISE", "WIDEST", "Graph", "Node", "covers", "grouped", "join", "topological"]

#: Operations that work entry by entry.
POINTWISE = frozenset(
    {"add", "mul", "neg", "div", "pow", "apply", "abs", "sign", "maximum", "greater", "where"}
)
#: Operands of a sum, and of a product that is made of products, at most.
WIDEST = 32
_serial = itertools.count()


@dataclass(frozen=True, eq=False)
class Node:
    """A value: an operation on nodes, with rows, columns and leading axes (see `ops`)."""

    op: str
    args: tuple[Node, ...]
    rows: Dim
    cols: Dim
    lead: Lead
    data: Any = None
    serial: int = field(default_factory=lambda: next(_serial))
    #: Whether the value is known from sizes alone.
    numeric: bool = field(init=False)

    def __post_init__(self) -> None:
        sized = self.op in ("const", "size", "length")
        known = self.op in POINTWISE and bool(self.args) and all(a.numeric for a in self.args)
        object.__setattr__(self, "numeric", sized or known)

    @property
    def scalar(self) -> bool:
        return self.rows == ONE and self.cols == ONE

    def like(self, other: Node) -> bool:
        """Whether two values have the same axes."""
        return (self.lead, self.rows, self.cols) == (other.lead, other.rows, other.cols)

    @property
    def number(self) -> Fraction | None:
        return self.data if self.op == "const" else None

    def __repr__(self) -> str:
        inner = ", ".join(f"{a.op} {a.serial}" for a in self.args)
        data = "" if self.data is None else f"{self.data}"
        return f"{self.op}[{data}]({inner})" if self.args else f"{self.op}[{data}]"


def join(nodes: Iterable[Node]) -> Lead:
    """The leading axes of an operation on these values."""
    out: Lead = ()
    for n in nodes:
        if len(n.lead) > len(out):
            out, n_lead = n.lead, out
        else:
            n_lead = n.lead
        if n_lead and out[-len(n_lead) :] != n_lead:
            raise UnsupportedOperation(
                f"values along the time axes {out[0]!r} and {n_lead[0]!r} meet in one expression"
            )
    return out


def topological(
    roots: Iterable[Node], deps: Callable[[Node], Sequence[Node]] = lambda n: n.args
) -> Iterator[Node]:
    """Every node once, operands (or what ``deps`` says of a node) first."""
    seen: set[Node] = set()
    stack = [(r, False) for r in reversed(list(roots))]
    while stack:
        node, ready = stack.pop()
        if ready:
            yield node
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            stack.extend((a, False) for a in reversed(deps(node)))


class Graph:
    """Makes nodes; the same call gives the same node."""

    def __init__(self) -> None:
        self._known: dict[Any, Node] = {}
        #: Sums and products with a name; they are not merged into larger ones.
        self.named: set[Node] = set()

    def make(
        self, op: str, args: Sequence[Node], rows: Dim, cols: Dim, lead: Lead, data: Any = None
    ) -> Node:
        """The node with these fields, made on first call."""
        key = (op, tuple(a.serial for a in args), rows, cols, lead, data)
        node = self._known.get(key)
        if node is None:
            node = self._known[key] = Node(op, tuple(args), rows, cols, lead, data)
        return node

    # -- leaves ------------------------------------------------------------------------------

    def const(self, value: Fraction | int) -> Node:
        return self.make("const", (), ONE, ONE, (), Fraction(value))

    def leaf(self, op: str, rows: Dim, cols: Dim, lead: Lead, data: Any) -> Node:
        return self.make(op, (), rows, cols, lead, data)

    # -- elementwise -------------------------------------------------------------------------

    def pointwise(self, op: str, args: Sequence[Node], data: Any = None) -> Node:
        """An elementwise operation; a repeated scalar is used as the scalar it is."""
        full = next((a for a in args if not a.scalar), args[0])
        bare = [a.args[0] if a.op == "broadcast" else a for a in args]
        lead = join(bare)
        core = next((a for a in bare if not a.scalar), bare[0])
        node = self.make(op, bare, core.rows, core.cols, lead, data)
        return (
            node if not core.scalar or full.scalar else self.broadcast(node, full.rows, full.cols)
        )

    def broadcast(self, s: Node, rows: Dim, cols: Dim) -> Node:
        """A scalar repeated over units."""
        if (rows, cols) == (s.rows, s.cols):
            return s
        return self.make("broadcast", (s,), rows, cols, s.lead)

    def zero(self, rows: Dim, cols: Dim) -> Node:
        return self.broadcast(self.const(0), rows, cols)

    @staticmethod
    def value_of(a: Node) -> Fraction | None:
        """The number a node is everywhere, if it is one."""
        return a.args[0].number if a.op == "broadcast" else a.number

    def _like(self, args: Sequence[Node], result: Node) -> Node:
        full = next((a for a in args if not a.scalar), None)
        if full is not None and result.scalar:
            return self.broadcast(result, full.rows, full.cols)
        return result

    def add(self, args: Sequence[Node]) -> Node:
        kept: list[Node] = []
        total = Fraction(0)
        for a in args:
            parts = a.args if self._opens(a, "add") else (a,)
            for p in parts:
                value = self.value_of(p)
                if value is None:
                    kept.append(p)
                else:
                    total += value
        if not kept:
            return self._like(args, self.const(total))
        if total:
            # 1 − y reads better than −y + 1.
            number = self.const(total)
            kept = [number, *kept] if kept[0].op == "neg" else [*kept, number]
        while len(kept) > WIDEST:
            groups = [kept[i : i + WIDEST] for i in range(0, len(kept), WIDEST)]
            kept = [self.pointwise("add", g) if len(g) > 1 else g[0] for g in groups]
        result = kept[0] if len(kept) == 1 else self.pointwise("add", kept)
        return self._like(args, result)

    def _opens(self, a: Node, op: str) -> bool:
        """Whether the operands of a sum or a product become those of the one that reads it."""
        return a.op == op and a not in self.named and len(a.args) < WIDEST

    def neg(self, a: Node) -> Node:
        if a.op == "neg":
            return a.args[0]
        value = self.value_of(a)
        if value is not None:
            return self._like([a], self.const(-value))
        return self.pointwise("neg", [a])

    def mul(self, args: Sequence[Node]) -> Node:
        kept: list[Node] = []
        factor = Fraction(1)
        for a in args:
            inner = a
            if inner.op == "neg" and inner not in self.named:
                factor, inner = -factor, inner.args[0]
            for p in inner.args if self._opens(inner, "mul") else (inner,):
                value = self.value_of(p)
                if value is None:
                    kept.append(p.args[0] if p.op == "broadcast" else p)
                else:
                    factor *= value
        if factor == 0 or not kept:
            return self._like(args, self.const(factor))
        if abs(factor) != 1:
            kept = [self.const(abs(factor)), *kept]
        result = kept[0] if len(kept) == 1 else self.pointwise("mul", kept)
        return self._like(args, self.neg(result) if factor < 0 else result)

    def div(self, a: Node, b: Node) -> Node:
        if self.value_of(b) == 1:
            return a
        if self.value_of(a) == 0:
            return self._like([a, b], self.const(0))
        if a.op == "neg":
            return self.neg(self.div(a.args[0], b))
        return self.pointwise("div", [a, b])

    def power(self, a: Node, exponent: Fraction) -> Node:
        if exponent == 1:
            return a
        if exponent == 0:
            return self._like([a], self.const(1))
        if exponent == Fraction(1, 2):
            return self.pointwise("apply", [a], "sqrt")
        if exponent == -1:
            return self.div(self.const(1), a)
        return self.pointwise("pow", [a], exponent)

    # -- over units and axes -----------------------------------------------------------------

    def unit_sum(self, a: Node) -> Node:
        """Sum over units, or of all entries of a parameter."""
        if a.op == "broadcast":
            size = self.make("size", (), ONE, ONE, (), (a.rows, a.cols))
            return self.mul([size, a.args[0]])
        if a.scalar:
            return a
        if not a.lead:
            return self.make("total", (a,), ONE, ONE, ())
        if a.op == "neg":
            return self.neg(self.unit_sum(a.args[0]))
        if a not in self.named:  # a factor that all units share is taken once, after the sum
            if a.op == "div" and a.args[1].scalar:
                return self.div(self.unit_sum(a.args[0]), a.args[1])
            shared = [f for f in a.args if f.scalar] if a.op == "mul" else []
            if shared:
                rest = [f for f in a.args if not f.scalar]
                return self.mul([*shared, self.unit_sum(self.mul(rest))])
        return self.make("sum", (a,), ONE, ONE, a.lead)

    def softmax(self, op: str, a: Node, groups: Dim = ONE) -> Node:
        """Softmax or its logarithm; ``groups``: of each of so many groups of units."""
        return self.make(op, (a,), a.rows, a.cols, a.lead, groups)

    def unit_map(self, name: str, a: Node, groups: Dim = ONE) -> Node:
        """A declared map of units, of each of so many groups; of one unit it is a number."""
        known = UNIT_MAPS[name]
        if a.scalar:
            number = self.const(Fraction(known.matrix(1).item()))
            return number if known.constant else self.mul([number, a])
        if a.op == "neg" and not known.constant:
            return self.neg(self.unit_map(name, a.args[0], groups))
        return self.make("unit_map", (a,), a.rows, a.cols, a.lead, (name, groups))

    def arrange(
        self, parts: Sequence[Node], groups: Dim, width: Dim, columns: Dim,
        moves: tuple[tuple[Dim, Dim, Dim, Dim], ...], rows: Dim,
    ) -> Node:  # fmt: skip
        """Rows of matrices, group by group, put into rows of others (see `ops.Arrange`)."""
        data = (groups, width, columns, moves)
        return self.make("arrange", parts, rows, ONE, join(parts), data)

    def reduce(self, a: Node, source: Lead, target: Lead) -> Node:
        """Sum over the leading axes of ``source`` that ``target`` does not have.

        An axis along which the value is constant counts with its length.
        """
        for axis in source[: len(source) - len(target)]:
            if axis not in a.lead:
                a = self.mul([self.make("length", (), ONE, ONE, (), axis), a])
        if len(a.lead) <= len(target):
            return a
        if a.op == "neg":
            return self.neg(self.reduce(a.args[0], a.lead, target))
        if a.op == "gemm":
            inner = self.reduce(a.args[0], a.lead, target)
            weight = a.args[1] if a.data else self.transpose(a.args[1])
            return (
                self.gemm(inner, weight) if inner.lead else self.parameter_product([weight, inner])
            )
        if a.op == "broadcast":
            inner = self.reduce(a.args[0], a.lead, target)
            return self.broadcast(inner, a.rows, a.cols)
        if a.op == "contract":  # one product that sums over the steps, not one a step
            moving = [x for x in a.args if len(x.lead) == 2]
            args = a.args
            if len(moving) == 1 and len(args) > 1:  # Σ_t A_t B is (Σ_t A_t) B
                args = tuple(
                    self.reduce(x, x.lead, x.lead[-1:]) if x in moving else x for x in args
                )
            return self.make("contract", args, a.rows, a.cols, target, a.data)
        return self.make("reduce", (a,), a.rows, a.cols, target)

    def outer(self, delta: Node, x: Node, source: Lead) -> Node:
        """Σ over the axes of ``source`` of delta xᵀ, a matrix of parameters' layout."""
        for sign, other, order in ((delta, x, 0), (x, delta, 1)):
            if sign.op == "neg":
                pair = (sign.args[0], other) if order == 0 else (other, sign.args[0])
                return self.neg(self.outer(*pair, source))
        common = delta.lead if len(delta.lead) < len(x.lead) else x.lead
        longest = max(len(delta.lead), len(x.lead))
        for axis in source[: len(source) - longest]:
            delta = self.mul([self.make("length", (), ONE, ONE, (), axis), delta])
        delta, x = self.reduce(delta, delta.lead, common), self.reduce(x, x.lead, common)
        if not common:
            return self.parameter_product([delta, self.transpose(x)])
        if x.rows == ONE:
            return self.reduce(self.mul([delta, x]), common, ())
        return self.make("outer", (delta, x), delta.rows, x.rows, ())

    # -- parameters --------------------------------------------------------------------------

    def transpose(self, a: Node) -> Node:
        if a.scalar:
            return a
        if a.op == "transpose":
            return a.args[0]
        if a.op == "eye":
            return a
        return self.make("transpose", (a,), a.cols, a.rows, a.lead)

    def parameter_product(self, factors: Sequence[Node]) -> Node:
        """A matrix product of parameters, in an order that keeps columns narrow."""
        items = [f for f in factors if f.op != "eye"] or [factors[0]]
        while len(items) > 1:
            i = len(items) - 2 if items[-1].cols == ONE else 0
            a, b = items[i], items[i + 1]
            if a.scalar or b.scalar:
                made = self.mul([a, b])
            elif a.cols == ONE:
                made = self.make("parameter_outer", (a, self.transpose(b)), a.rows, b.cols, ())
            elif a.rows == ONE and b.cols == ONE:
                made = self.unit_sum(self.mul([self.transpose(a), b]))
            else:
                made = self.make("matmul", (a, b), a.rows, b.cols, ())
            items[i : i + 2] = [made]
        return items[0]

    def gemm(self, x: Node, weight: Node) -> Node:
        """weight · x for columns: x Wᵀ in rows, or x W if the weight is itself a transpose."""
        if weight.op == "eye":
            return x
        if x.op == "neg":
            return self.neg(self.gemm(x.args[0], weight))
        if weight.op == "neg":
            return self.neg(self.gemm(x, weight.args[0]))
        if weight.scalar or x.scalar:
            return self.mul([weight, x])
        if weight.rows == ONE:
            return self.unit_sum(self.mul([self.transpose(weight), x]))
        if weight.op == "transpose":
            return self.make("gemm", (x, weight.args[0]), weight.rows, ONE, x.lead, False)
        return self.make("gemm", (x, weight), weight.rows, ONE, x.lead, True)

    def contract(
        self,
        args: Sequence[Node],
        specs: tuple[str, ...],
        sizes: tuple[tuple[str, Dim], ...],
        rows: Dim,
        total: bool = False,
    ) -> Node:
        """A product of matrices and vectors, sequence by sequence; ``rows``: its entries.

        ``total``: their sum over steps and sequences.
        """
        for i, a in enumerate(args):
            if a.op == "neg":
                plain = [*args[:i], a.args[0], *args[i + 1 :]]
                return self.neg(self.contract(plain, specs, sizes, rows, total))
        if len(args) == 1 and self._product_of_few(args[0]):
            # A sum of products is a product of more.
            specs = (*("" if p.scalar else specs[0] for p in args[0].args), specs[1])
            args = args[0].args
        lead = () if total else join(args)
        return self.make("contract", args, rows, ONE, lead, (specs, sizes))

    def _product_of_few(self, a: Node) -> bool:
        plain = a.op == "mul" and a not in self.named and len(a.args) < 4
        return plain and not any(p.numeric for p in a.args)

    def reshaped(self, a: Node, rows: Dim, cols: Dim) -> Node:
        """A parameter with its entries, row by row, in another shape."""
        if (a.rows, a.cols) == (rows, cols):
            return a
        if a.op == "broadcast":
            return self.broadcast(a.args[0], rows, cols)
        if a.op == "reshape":
            return self.reshaped(a.args[0], rows, cols)
        return self.make("reshape", (a,), rows, cols, ())

    # -- arrangement -------------------------------------------------------------------------

    def concat(self, args: Sequence[Node]) -> Node:
        rows, start = Dim(), Dim()
        filled = [a for a in args if self.value_of(a) != 0]
        for a in args:
            start = rows if filled[:1] == [a] else start
            rows = rows + a.rows
        if len(filled) == 1:  # one part among zeros
            return self.pad(filled[0], start, rows)
        return self.make("concat", args, rows, args[0].cols, join(args))

    def slice(self, a: Node, start: Dim, stop: Dim) -> Node:
        if start == Dim() and stop == a.rows:
            return a
        if a.op == "broadcast":
            return self.broadcast(a.args[0], stop - start, a.cols)
        return self.make("slice", (a,), stop - start, a.cols, a.lead, (start, stop))

    def pad(self, a: Node, start: Dim, total: Dim) -> Node:
        if self.value_of(a) == 0:
            return self.zero(total, a.cols)
        return self.make("pad", (a,), total, a.cols, a.lead, (start, total))


def grouped(n: Node) -> Dim:
    """Of how many groups of units a value is made, each for itself."""
    if n.op == "unit_map":
        return n.data[1]
    return n.data if n.op in ("softmax", "log_softmax") else ONE


def covers(pads: Sequence[Node]) -> bool:
    """Whether the padded rows fill the whole without overlap, in order."""
    # Rows in any order: walk from zero to the total, each start met once.
    starts = {p.data[0]: p.args[0].rows for p in pads}
    if len(starts) != len(pads):
        return False
    at = Dim()
    for _ in pads:
        if at not in starts:
            return False
        at = at + starts[at]
    return at == pads[0].data[1]
