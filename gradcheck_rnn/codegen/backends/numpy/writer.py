"""Statements of a schedule as NumPy lines.

Outside loops a value is one expression; inside, where each line runs once a step, results are
written into buffers made before the loop (``out=``), operand by operand, and calls on neighbours
are joined.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from ....language.dims import ONE
from ....language.ops.unit_maps import UNIT_MAPS
from ...schedule.ops import (
    BATCH,
    Access,
    Arrange,
    Assign,
    Call,
    Contract,
    Expr,
    Gemm,
    Lead,
    LinearSystem,
    Loop,
    Matrix,
    Outer,
    Pack,
    Pointwise,
    Reduce,
    Statement,
    StepRows,
    Units,
    accesses,
)
from ..arrangement import arrangement
from ..blocking import Blocked
from ..contraction import contraction
from ..expressions import Precedence, dim_text
from ..step_rows import step_rows
from ..systems import solution
from ..wrapping import wrap
from .assign import Assigner
from .instructions import RawLines, Ufunc
from .routine_text import extent, kept_array

__all__ = ["NumPyWriter"]

_NOTED = (Gemm, Contract, LinearSystem, Units, Outer, Reduce, Matrix)


def _factors(e: Expr) -> tuple[Expr, Expr] | None:
    """Two factors of a value that have all its units, if one of them has a place or it is a square.

    Other factors go with the first.
    """
    if not isinstance(e, Call):
        return None
    if e.op == "pow" and e.data == 2:
        return e.args[0], e.args[0]
    if e.op != "mul":
        return None
    full = [i for i, a in enumerate(e.args) if extent(a) == extent(e)]
    last = next((i for i in full[::-1] if isinstance(e.args[i], Access)), None)
    if len(full) < 2 or last is None:
        return None
    rest = (*e.args[:last], *e.args[last + 1 :])
    return rest[0] if len(rest) == 1 else Call("mul", rest), e.args[last]


class NumPyWriter(Assigner):
    """Prints statements."""

    def write(self, statements: Iterable[Statement | Blocked]) -> None:
        """Print statements in order."""
        for s in statements:
            if isinstance(s, Blocked):
                self._write_blocked(s)
                continue
            self._note = s.note if isinstance(s, _NOTED) else ""
            if isinstance(s, Loop):
                self._write_loop(s)
            elif isinstance(s, Pointwise):
                for a in s.assigns:
                    self._note = a.note
                    self._assign(a)
            elif isinstance(s, Gemm):
                self._gemm(s)
            elif isinstance(s, Units):
                self._units(s)
            elif isinstance(s, Contract):
                self._contract(s)
            elif isinstance(s, Arrange):
                self._arrange(s)
            elif isinstance(s, LinearSystem):
                text = solution("np", s, self.access, self._lead)
                self.put(s.dest, text, (s.matrix, s.value))
            elif isinstance(s, StepRows):
                self.put(s.dest, step_rows(s, self.access, self.steps), (s.source,))
            elif isinstance(s, Outer):
                self._outer(s)
            elif isinstance(s, Reduce):
                self._reduce(s)
            elif isinstance(s, Matrix):
                value: Expr | str = s.value
                if isinstance(value, Access):
                    value = f"np.array({self.access(value)})"
                self.put(Access(s.dest), value, accesses(s.value), s.accumulate)
            elif isinstance(s, Pack):
                parts = ", ".join(self.access(p) for p in s.parts)
                self.put(Access(s.dest), f"np.concatenate(({parts}))", s.parts)
        self.flush()

    def _assign(self, a: Assign) -> None:
        value, dest = a.value, a.dest
        if isinstance(value, Access) and value.buffer in self.optional and a.accumulate:

            def lines(access: Callable[[Access], str]) -> list[str]:
                return [
                    f"if {value.buffer.name} is not None:",
                    f"    {access(dest)} += {access(value)}",
                ]

            self.add(RawLines(lines, (value, dest), (dest,)))
            return
        full = extent(value) == (len(dest.lead), dest.rows) and isinstance(value, Call)
        if not self.in_place and (a.accumulate or (full and self._makes(dest))):
            self.put(dest, value, accesses(value), a.accumulate)
        else:
            self._into(value, dest, a.accumulate)

    def _gemm(self, s: Gemm) -> None:
        t = ".T" if s.transposed else ""
        if self._loop is not None:
            dest = self.work(s.dest) if s.accumulate else s.dest

            def product(access: Callable[[Access], str]) -> list[str]:
                weight = self._turned.get(s.weight, access(s.weight)) if t else access(s.weight)
                return [f"np.matmul({access(s.x)}, {weight}, out={access(dest)})"]

            self.add(RawLines(product, (s.x, s.weight), (dest,)))
            if s.accumulate:
                self.add(Ufunc("+=", (dest,), s.dest))
            return
        text = f"{self.flat(s.x)} @ {self.access(s.weight)}{t}"
        if not s.accumulate and not self._makes(s.dest) and self._contiguous(s.dest):

            def into(access: Callable[[Access], str]) -> list[str]:
                return [
                    f"np.matmul({self.flat(s.x)}, {access(s.weight)}{t}, out={self.flat(s.dest)})"
                ]

            self.add(RawLines(into, (s.x, s.weight), (s.dest,)))
            return
        if len(s.x.lead) == 2:
            axes = f"{self.steps(s.x.lead[0])}, {s.x.lead[1]}"
            text = f"({text}).reshape({axes}, {self.size(s.dest.rows)})"
        self.put(s.dest, text, (s.x, s.weight), s.accumulate)

    def _lead(self, a: Access) -> Lead:
        """The leading axes that a place has here."""
        if len(a.lead) < 2:
            return a.lead
        return a.lead[1:] if self._loop is not None else (self.steps(a.lead[0]), a.lead[1])

    def _contract(self, s: Contract) -> None:
        lead = self._lead
        if self._loop is None and (s.accumulate or self._makes(s.dest)):
            self.put(s.dest, contraction("np", s, self.access, lead), s.operands, s.accumulate)
            return
        dest = self.work(s.dest) if s.accumulate else s.dest
        self.add(RawLines(lambda at: [contraction("np", s, at, lead, dest)], s.operands, (dest,)))
        if s.accumulate:
            self.add(Ufunc("+=", (dest,), s.dest))

    def _arrange(self, s: Arrange) -> None:
        self.need(s.dest.buffer)
        self.add(RawLines(lambda at: arrangement(s, at, self._lead), s.parts, (s.dest,)))

    def _outer(self, s: Outer) -> None:
        text = f"{self.flat(s.delta)}.T @ {self.flat(s.x)}"
        self.put(s.dest, text, (s.delta, s.x), s.accumulate)

    def _reduce(self, s: Reduce) -> None:
        axis = "" if not s.dest.buffer.shape else "axis=0" if len(s.over) == 1 else "axis=(0, 1)"
        value = s.value
        if self.in_place and isinstance(value, Call):
            timed = (a for a in accesses(value) if len(a.lead) == 2)
            place = self._place(value, next(timed))
            value = value if isinstance(place, str) else place
        text = f"{self.text(value).at(Precedence.ATOM)}.sum({axis})"
        self.put(s.dest, text, accesses(value), s.accumulate)

    def _units(self, s: Units) -> None:
        if not self.in_place:
            if s.op == "sum":
                text = f"{self.text(s.value).at(Precedence.ATOM)}.sum(axis=-1, keepdims=True)"
            else:
                text = self._over_groups(s, self.text(s.value).text)
            self.put(s.dest, text, accesses(s.value))
            return
        if s.op == "sum":
            self._sum(s.value, s.dest)
        else:
            self._into(s.value, s.dest)
            if s.groups == ONE:
                self.add(Ufunc(self._over_units(s.op), (s.dest,), s.dest))
                return
            self._over_units(s.op)

            def lines(at: Callable[[Access], str]) -> list[str]:
                return [self._over_groups(s, at(s.dest), f", out={at(s.dest)}")]

            self.add(RawLines(lines, (s.dest,), (s.dest,)))

    def _sum(self, value: Expr, dest: Access) -> None:
        """A sum over units as a product of matrices, in which the BLAS is faster than `np.sum`."""
        factors = _factors(value)
        if factors is not None:
            one = self._place(factors[0], dest)
            other = one
            if factors[1] != factors[0]:
                other = self._place(factors[1], dest, [one] if isinstance(one, Access) else ())
            self.uses.add("row_dots")
            self.add(Ufunc("row_dots", (one, other), dest))
            return
        place = self._place(value, dest)
        if isinstance(place, str):
            self.add(Ufunc("np.sum", (place, "axis=-1", "keepdims=True"), dest))
        else:
            self.add(Ufunc("np.matmul", (place, self.ones(place.rows)), dest))

    def _over_groups(self, s: Units, value: str, end: str = "") -> str:
        """A softmax or a map of units of an array, or of each of its groups."""
        function = self._over_units(s.op)
        if s.groups == ONE:
            return f"{function}({value}{end})"
        self.uses.add("within")
        return f"within({function}, {value}, {self.size(s.groups)}{end})"

    def _over_units(self, op: str) -> str:
        """What NumPy calls a softmax or a map of units."""
        if op in UNIT_MAPS:
            return self.printer.called("unit_map", op)
        self.uses.add(op)
        return op

    def _contiguous(self, a: Access) -> bool:
        return a.whole and a.buffer.base is None and a.slot is None

    # -- loops ----------------------------------------------------------------------------------

    def _write_blocked(self, s: Blocked) -> None:
        """The loop over blocks; arrays of a block are made for the first and a shorter last one."""
        self.flush()
        self._turn(s.loop)
        for b in s.sums:
            self.buffers.setdefault(b, True)
        axis = s.loop.axis
        self.blocked |= s.local
        steps, start, stop, rows = map(self.index, ("steps", "start", "stop", "rows"))
        held = self.index("held")
        if s.carried:
            self._make_carried(s, steps)
        else:
            self.line(f"{steps} = {self._steps_of(s)}")
        self.line(f"{held} = 0  # steps that the arrays of a block have")
        if s.loop.reverse:
            self.line(f"for {stop} in range({axis}, 0, -{steps}):")
            first = f"{start} = max({stop} - {steps}, 0)"
        else:
            self.line(f"for {start} in range(0, {axis}, {steps}):")
            first = f"{stop} = min({start} + {steps}, {axis})"
        self._block, self._indent = s, self._indent + 1
        self.line(first)
        for b in s.carried:
            self.line(f"if {stop} < {axis}:")
            self.line(f"    {b.name}[{self.span_of_block()}] = {b.name}[0]")
        at, self._held, self._block_works = len(self.lines), {}, {}
        self.write(s.before)
        self._write_loop(s.loop)
        self.write(s.after)
        inside = "    " * self._indent
        flat = any(re.search(rf"\b{rows}\b", line) for line in self.lines[at:])
        made = [f"{inside}{rows} = ({self.span_of_block()}) * {BATCH}"] if flat else []
        allocated = [f"{inside}    {line}" for line in self._allocate_block()]
        test = f"{inside}if {self.span_of_block()} != {held}:"
        self.lines[at:at] = [
            test, f"{inside}    {held} = {self.span_of_block()}", *allocated, *made,
        ]  # fmt: skip
        self._block, self._indent = None, self._indent - 1

    def _steps_of(self, s: Blocked) -> str:
        """How many steps a block has; fewer where a step has many numbers."""
        rows = f"min(ROWS, ENTRIES // max({s.wide}, 1))" if s.wide else "ROWS"
        return f"max(1, {rows} // max({BATCH}, 1))"

    def _make_carried(self, s: Blocked, steps: str) -> None:
        """Arrays of a block that are there before the first one, made first of all."""
        top = [f"    {steps} = {self._steps_of(s)}"]
        for b in s.carried:
            shape = ", ".join(map(dim_text, b.shape))
            axes = f"(min({steps}, {s.loop.axis}) + 1, {BATCH}, {shape})"
            top.append(f"    {b.name} = np.empty({axes}, dtype)")
            self.buffers.pop(b, None)
            self.made.add(b)
        self.lines[:0] = [w for line in top for w in wrap(line)]

    def _allocate_block(self) -> list[str]:
        """Arrays of a block that statements write into, and names of their rows."""
        out = []
        rows = [d for b in self._held for d in b.shape]
        self.wide = max(self.wide, sum(d.size(dict.fromkeys(d.names, 1)) for d in rows))
        for b in self._held:
            shape = ", ".join([self.index("held"), *b.lead[1:], *map(dim_text, b.shape)])
            out += [f"{b.name} = {kept_array(b, f'({shape})')}", *self.view_lines(b)]
        return out

    def _write_loop(self, s: Loop) -> None:
        self.flush()
        self._turn(s)
        bounds = (self.index("start"), self.index("stop")) if self._block is not None else (s.axis,)
        steps = f"range({', '.join(bounds)})"
        self.line(f"for t in {f'reversed({steps})' if s.reverse else steps}:")
        self._loop, self._indent = s, self._indent + 1
        self.write(s.body)
        self._loop, self._indent = None, self._indent - 1
        self.names.release(self._bound.values())
        self._bound.clear()

    def _turn(self, loop: Loop) -> None:
        """Transposes that every step multiplies by are made contiguous once."""
        for s in loop.body:
            if isinstance(s, Gemm) and s.transposed and s.weight not in self._turned:
                name = self.names.fresh(f"{s.weight.buffer.name}_T")
                self._turned[s.weight] = name
                self.line(f"{name} = np.ascontiguousarray({self.access(s.weight)}.T)")
