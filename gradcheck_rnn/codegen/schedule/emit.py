"""From a graph and its loops to statements: which values get a buffer, and in which order.

A value has a buffer of its own when an operation needs one (products, sums over units), when it is
read twice, when it crosses the border of a loop, or when it is handed out. Everything else is
part of the expression that reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import TypeAlias

from ...errors import UnsupportedOperation
from ...language.dims import ONE, Dim
from .distribution import LoopDistribution
from .kernel_names import Namer
from .nodes import POINTWISE, Graph, Node, covers, grouped, topological
from .ops import (
    Access,
    Allocate,
    Arrange,
    Assign,
    Buffer,
    Call,
    Contract,
    Expr,
    Gemm,
    LinearSystem,
    Matrix,
    Number,
    Outer,
    Pointwise,
    Reduce,
    SizeOf,
    Statement,
    StepRows,
    Units,
    shape_of,
)

__all__ = ["HEAVY", "LEAVES", "Emitter"]

#: Operations that write a buffer and cannot stand inside an expression.
HEAVY = frozenset(
    {"gemm", "contract", "outer", "reduce", "sum", "softmax", "log_softmax", "unit_map"}
    | {"concat", "pad", "arrange", "solve", "whole", "steps"}
)
#: Of these, what can also add to a place that another term has written.
_SELF_WRITING = frozenset({"gemm", "contract", "outer", "reduce", "pad"})
#: What reads places, no expressions.
_FROM_PLACES = frozenset({"gemm", "contract", "outer", "arrange", "solve", "whole", "steps"})
LEAVES = frozenset(
    {"const", "size", "length", "given", "state", "final", "adjoint", "start", "cotangent"}
)

#: Operations and operands of an expression, at most.
_LONGEST = 80
#: What is a part of another value and never has a place for itself only because it is long.
_INLINE = frozenset({"slice", "broadcast", "copy", "eye", "transpose", "accumulate"})

#: Starts the note of a value that will be multiplied, or added to, in the loop.
FACTOR = "factor of "

#: Groups of values that are to be neighbours, each with a way to name what they share.
Groups: TypeAlias = Callable[
    ["Emitter"], Iterable[tuple[Sequence[Node], Callable[[Sequence[str]], str]]]
]


class Emitter:
    """Statements of one routine (forward or backward).

    Parameters
    ----------
    leaf : callable
        Leaf node → Access.
    assigned : mapping
        Nodes that already have a place (saved values, states).
    given : collection
        Those of them that are not computed here.
    handed : mapping
        Nodes that are given out or kept for the backward pass.
    """

    def __init__(
        self, g: Graph, distribution: LoopDistribution, namer: Namer,
        leaf: Callable[[Node], Access], assigned: Mapping[Node, Access],
        handed: Mapping[Node, str], labels: Mapping[Node, str], given: Collection[Node],
    ) -> None:  # fmt: skip
        self.g, self.namer = g, namer
        self.distribution, self.loop = distribution, distribution.loop
        self.leaf, self.labels = leaf, dict(labels)
        self.assigned: dict[Node, Access] = dict(assigned)
        self.given, self.handed = given, dict(handed)
        self.readers: dict[Node, list[Node]] = {}
        for n in distribution.nodes:
            for a in n.args if n not in self.given else ():
                self.readers.setdefault(a, []).append(n)
        self.allocations: list[Allocate] = []

    # -- where values live ----------------------------------------------------------------------

    def place(self, packing: Groups | None = None) -> None:
        """Give a buffer to every value that needs one; neighbours share one."""
        self.needs: set[Node] = set()
        for n in reversed(self.distribution.nodes):
            if n in self.assigned or n.op in LEAVES or n.op == "accumulate" or n.numeric:
                continue
            if self._needs_buffer(n):
                self.needs.add(n)
        self._shorten()
        self._share()
        if packing is not None:
            self._pack(packing)
        for n in self.distribution.nodes:
            if n in self.needs and n not in self.assigned and n not in self.shares:
                self.assigned[n] = Access(self._new_buffer(n))
        for n, heir in self.shares.items():
            self.assigned[n] = self.assigned[heir]

    def _shorten(self) -> None:
        """Operands of what would be a very long expression get a place of their own."""
        sizes: dict[Node, int] = {}
        mine = set(self.distribution.nodes)
        for n in topological(self.distribution.nodes):
            total = sum((sizes[a] for a in n.args), 1)
            if total > _LONGEST:
                for a in sorted(dict.fromkeys(n.args), key=lambda a: -sizes[a]):
                    if total <= _LONGEST:
                        break
                    if sizes[a] > 1 and a in mine and a.op not in _INLINE:
                        self.needs.add(a)
                        total -= sizes[a] - 1
                        sizes[a] = 1
            placed = n in self.needs or n in self.assigned or n.op in LEAVES or n.numeric
            sizes[n] = 1 if placed else total

    def _share(self) -> None:
        """A value of all steps that only one value of the loop reads gives its place to that one.

        So pre-activations become gates and local derivatives become adjoints in place.
        """
        self.shares: dict[Node, Node] = {}
        for n in self.distribution.nodes:
            if n not in self.needs or n in self.assigned or n not in self.loop:
                continue
            if n.op not in POINTWISE or not self._kept(n) or self._writes_first(n):
                continue
            for leaf in self._inlined(n):
                single = len(self.readers.get(leaf, [])) == 1 and leaf not in self.handed
                fits = leaf.rows == n.rows and leaf.lead == n.lead and leaf not in self.loop
                if single and fits and leaf in self.needs and leaf not in self.assigned:
                    self.shares[leaf] = n
                    break

    def _writes_first(self, n: Node) -> bool:
        """Whether a product writes the place of a sum before its other terms are added."""
        free = (a for a in n.args if a not in self.needs and a not in self.assigned)
        return n.op == "add" and any(a.op in _SELF_WRITING for a in free)

    def _inlined(self, n: Node) -> Iterator[Node]:
        """Places that the expression of a value reads once."""
        for a in n.args:
            if a in self.needs:
                yield a
            elif a in self.assigned:
                continue  # what it was computed from is not read
            elif len(self.readers.get(a, [])) == 1 and a.op in POINTWISE:
                yield from self._inlined(a)

    def carrier(self, n: Node) -> Node | None:
        """The value in whose place a product is computed, if this routine may choose it."""
        if n not in self.needs:
            readers = self.readers.get(n, [])
            n = readers[0] if len(readers) == 1 else n
        n = self.shares.get(n, n)
        return n if n in self.needs and n not in self.assigned else None

    def _pack(self, packing: Groups) -> None:
        for members, wanted in packing(self):
            free = [n for n in dict.fromkeys(members) if n in self.needs and n not in self.assigned]
            free = [n for n in free if n.rows != ONE and n not in self.shares and not self.adds(n)]
            if len(free) < 2:
                continue
            total = Dim()
            for n in free:
                total = total + n.rows
            # If one of them is kept over time, all are.
            lead, role = max((self._role(n) for n in free), key=lambda r: len(r[0]))
            name = self.namer.fresh(wanted([self.labels.get(n, "") for n in free]))
            first = shape_of(free[0].rows, free[0].cols, free[0].lead)
            base = Buffer(name, lead, (total, *first[1:]), role)
            if lead:
                self.allocations.append(Allocate(base))
            at = Dim()
            for n in free:
                own = self.namer.value(n, self.labels, self.assigned, self._purpose(n))
                shape = shape_of(n.rows, n.cols, n.lead)
                self.assigned[n] = Access(Buffer(own, lead, shape, role, base=base, offset=at))
                at = at + n.rows

    def _role(self, n: Node) -> tuple[tuple[str, ...], str]:
        inner = n in self.loop and n.lead and not self._kept(n)
        return (n.lead[1:], "work") if inner else (n.lead, "value")

    def _needs_buffer(self, n: Node) -> bool:
        readers = self.readers.get(n, [])
        count = len(readers)
        if n in self.handed:
            return True
        if n.op in HEAVY:
            return not self._merges(n, readers)
        if n.op == "broadcast":
            return any(
                r.op in (*_FROM_PLACES, "softmax", "log_softmax", "unit_map") for r in readers
            )
        if n.op == "slice":
            return False
        if n.op == "copy" and n.lead != n.args[0].lead:
            return True
        if self._sum_of(n):
            return not self._only_added(n)
        if not n.lead and any(r.lead for r in readers):
            return True
        if any(r.op in (*_FROM_PLACES, "slice") for r in readers):
            return True
        here = self.loop.get(n)
        if any(self.loop.get(r) != here for r in readers):
            return True
        return count > 1 and bool(n.lead or n.op not in ("transpose", "eye"))

    def _merges(self, n: Node, readers: list[Node]) -> bool:
        """A product or a sum over steps that goes straight into the sum that reads it."""
        if n.op not in _SELF_WRITING or len(readers) != 1:
            return False
        r = readers[0]
        if r.op == "neg" or not r.like(n):
            return False
        same = self.loop.get(r) == self.loop.get(n)
        if r.op == "accumulate":
            return same
        stored = r in self.needs or r in self.assigned or self._sum_of(r) or self._only_added(r)
        return r.op == "add" and same and stored

    @staticmethod
    def _sum_of(r: Node) -> bool:
        """A sum of nothing but products, or of several of matrices, is part of no expression."""
        products = [a.op for a in r.args if a.op in _SELF_WRITING and a.like(r)]
        return r.op == "add" and (len(products) == len(r.args) or products.count("contract") > 1)

    def _only_added(self, r: Node) -> bool:
        """A sum that goes nowhere but into an adjoint, term by term."""
        readers = self.readers.get(r, [])
        return (
            len(readers) == 1
            and readers[0].op == "accumulate"
            and self.loop.get(readers[0]) == self.loop.get(r)
        )

    def _new_buffer(self, n: Node) -> Buffer:
        name = self.namer.value(n, self.labels, self.assigned, self._purpose(n))
        lead, role = self._role(n)
        buffer = Buffer(name, lead, shape_of(n.rows, n.cols, n.lead), role)
        if n.lead or self.adds(n):
            self.allocations.append(Allocate(buffer, zero=self.adds(n)))
        return buffer

    def adds(self, n: Node) -> bool:
        """Whether a value is a sum over steps that every step of a loop adds to."""
        return n in self.loop and len(n.lead) < 2

    def _purpose(self, n: Node) -> str:
        """The name of the only value this one is made for."""
        while len(self.readers.get(n, [])) == 1:
            n = self.readers[n][0]
            if n in self.labels:
                return self.labels[n]
            if n.op == "accumulate":
                return f"d_{n.data[0]}"
        return ""

    def _kept(self, n: Node) -> bool:
        """Whether values of all steps are read after the loop."""
        return n in self.handed or self._read_outside(n, self.loop.get(n))

    def _read_outside(self, n: Node, loop: int | None) -> bool:
        """Whether something outside a loop reads a value, or rows of it."""
        return any(
            self.loop.get(r) != loop or (r.op == "slice" and self._read_outside(r, loop))
            for r in self.readers.get(n, [])
        )

    # -- expressions ----------------------------------------------------------------------------

    def access(self, n: Node) -> Access:
        """The place of a value that has one."""
        if n in self.assigned:
            return self.assigned[n]
        if n.op == "slice":
            inner = self.access(n.args[0])
            start, stop = n.data
            base = inner.start or Dim()
            return Access(inner.buffer, inner.lag, base + start, base + stop, inner.slot)
        if n.op in LEAVES:
            return self.leaf(n)
        raise UnsupportedOperation(f"code generation left a value without a place: {n.op}")

    def expr(self, n: Node) -> Expr:
        """A value as part of an expression."""
        if n.op == "const":
            return Number(n.data)
        if n.op == "size":
            rows, cols = n.data
            sizes: list[Expr] = [SizeOf(d) for d in (rows, cols) if d != ONE]
            return sizes[0] if len(sizes) == 1 else Call("mul", tuple(sizes))
        if n.op == "length":
            return SizeOf(n.data)
        if n in self.assigned or n.op in LEAVES or (n.op == "slice" and self._sliceable(n)):
            return self.access(n)
        return self._build(n)

    def _build(self, n: Node) -> Expr:
        """The expression of a value, whether or not it has a place."""
        if n.op == "slice" and self._sliceable(n):
            return self.access(n)
        if n.op == "copy":
            return self.expr(n.args[0])
        if n.op == "broadcast" and n.lead:
            return self.expr(n.args[0])
        data: object = n.data
        if grouped(n) != ONE:
            raise UnsupportedOperation(f"code generation left a {n.op} of groups without a place")
        if n.op == "unit_map":
            data = n.data[0]
        if n.op in ("broadcast", "reshape"):
            data = shape_of(n.rows, n.cols, n.lead)
        if n.op == "eye":
            data = n.rows
        if n.op == "concat":
            data = tuple(i for i, a in enumerate(n.args) if a.scalar)
        if n.op == "transpose":
            a = n.args[0]
            data = "column" if a.cols == ONE else "row" if a.rows == ONE else "matrix"
        return Call(n.op, tuple(self.expr(a) for a in n.args), data)

    def _sliceable(self, n: Node) -> bool:
        a = n.args[0]
        return a in self.assigned or a.op in LEAVES or (a.op == "slice" and self._sliceable(a))

    # -- statements -----------------------------------------------------------------------------

    def store(
        self, dest: Access, n: Node, accumulate: bool = False, note: str = ""
    ) -> Iterable[Statement]:
        """Statements that put a value into a place; ``note`` names what they work towards."""
        shared = self.shares.get(n)
        label = f"{FACTOR}{self.labels.get(shared, '')}" if shared else self.labels.get(n, "")
        note = label if shared else note or label
        if n in self.assigned and self.assigned[n] != dest and n not in self.shares:
            yield Pointwise((Assign(dest, self.assigned[n], accumulate, note),))
        elif n.op == "gemm":
            x, w = n.args
            yield Gemm(dest, self.access(x), self.access(w), n.data, accumulate, note)
        elif n.op == "contract":
            places = tuple(self.access(a) for a in n.args)
            specs, sizes = n.data
            yield Contract(dest, places, specs, sizes, accumulate, note)
        elif n.op == "outer":
            yield Outer(dest, self.access(n.args[0]), self.access(n.args[1]), accumulate, note)
        elif n.op == "solve":
            size, columns, turned, heads = n.data
            matrix, value = map(self.access, n.args)
            yield LinearSystem(dest, matrix, value, size, columns, turned, heads, note)
        elif n.op == "reduce":
            lead = n.args[0].lead[1:] if self.adds(n) else n.args[0].lead
            over, summed = lead[: len(lead) - len(n.lead)], self.expr(n.args[0])
            plain = Pointwise((Assign(dest, summed, accumulate, note),))  # sums of each sequence
            yield Reduce(dest, summed, over, accumulate, note) if over else plain
        elif n.op in ("arrange", "whole", "steps"):
            if accumulate:
                raise UnsupportedOperation("rows put among others cannot be added in place")
            parts = tuple(map(self.access, n.args))
            if n.op == "arrange":
                yield Arrange.of(dest, parts, n.data, note)
            else:
                yield StepRows.of(dest, parts[0], n.data, n.op == "steps", note)
        elif n.op in ("sum", "softmax", "log_softmax", "unit_map") and (
            n.lead or grouped(n) != ONE
        ):
            op = n.data[0] if n.op == "unit_map" else n.op
            if accumulate:
                raise UnsupportedOperation(f"a {op} cannot be added in place")
            yield Units(dest, op, self.expr(n.args[0]), note, grouped(n))
        elif n.op == "concat" and n.lead:
            start = dest.start or Dim()
            for a in n.args:
                yield from self.store(dest.part(start, start + a.rows), a, accumulate, note)
                start = start + a.rows
        elif n.op == "pad" and n.lead:
            yield from self._store_sum(dest, (n,), accumulate, note)
        elif n.op == "add" and self._split_sum(n):
            yield from self._store_sum(dest, n.args, accumulate, note)
        elif n.lead or dest.buffer.lead:
            yield Pointwise((Assign(dest, self._value(n), accumulate, note),))
        else:
            yield Matrix(dest.buffer, self._value(n), accumulate, note)

    def _value(self, n: Node) -> Expr:
        return self.expr(n) if n.op in LEAVES or n.numeric else self._build(n)

    def _split_sum(self, n: Node) -> bool:
        return any(a.op in _SELF_WRITING and a not in self.assigned for a in n.args)

    def _store_sum(
        self, dest: Access, args: Iterable[Node], accumulate: bool, note: str
    ) -> Iterable[Statement]:
        """Terms that write for themselves first, then the rest, then rows among zeros."""
        own, rest, pads = [], [], []
        for a in args:
            if self.assigned.get(a, dest) != dest:
                rest.append(a)
            elif a.op in ("gemm", "contract", "outer", "reduce"):
                own.append(a)
            elif a.op == "pad" and a.lead:
                pads.append(a)
            else:
                rest.append(a)
        for a in own:
            yield from self.store(dest, a, accumulate, note)
            accumulate = True
        if rest:
            if dest.buffer.lead:
                yield Pointwise((Assign(dest, self._plus(rest), accumulate, note),))
            else:
                yield Matrix(dest.buffer, self._plus(rest), accumulate, note)
            accumulate = True
        base = dest.start or Dim()
        if pads and not accumulate and not covers(pads):
            yield Pointwise((Assign(dest, Number(Fraction(0)), False, note),))
            accumulate = True
        for p in pads:
            start, _ = p.data
            place = dest.part(base + start, base + start + p.args[0].rows)
            yield from self.store(place, p.args[0], accumulate, note)

    def _plus(self, nodes: list[Node]) -> Expr:
        terms = tuple(self.expr(n) for n in nodes)
        return terms[0] if len(terms) == 1 else Call("add", terms)
