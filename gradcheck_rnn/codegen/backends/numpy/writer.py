"""Statements of a schedule as NumPy lines.

Outside loops a value is one expression; inside, where each line runs once a step, results are
written into buffers made before the loop (``out=``), operand by operand, and calls on neighbours
are joined.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from textwrap import fill

from ....language.dims import ONE, Dim
from ...schedule.emit import FACTOR
from ...schedule.merge import overlap, span
from ...schedule.ops import (
    BATCH,
    Access,
    Assign,
    Buffer,
    Call,
    Expr,
    Gemm,
    Loop,
    Matrix,
    Number,
    Outer,
    Pack,
    Pointwise,
    Reduce,
    Size,
    Statement,
    Units,
    accesses,
)
from .config import UFUNCS
from .expressions import Text, dim_text, expression, split_sign
from .instructions import Call as Ufunc
from .instructions import Line, join

__all__ = ["Writer", "extent"]

WIDTH = 100
_WITH_OUT = {"sigmoid", "softplus", "relu"}


def extent(e: Expr) -> tuple[int, Dim]:
    """Number of leading axes and rows of an expression's value (rows ONE: a scalar)."""
    if isinstance(e, Access):
        return len(e.lead), e.rows
    if isinstance(e, Number | Size):
        return 0, ONE
    lead, rows = 0, ONE
    for a in e.args:
        n, r = extent(a)
        lead, rows = max(lead, n), r if r != ONE else rows
    return lead, rows


class Writer:
    """Prints statements; collects the buffers and the helpers they need.

    Attributes
    ----------
    lines : list of str
        What was printed.
    buffers : dict
        Buffers that must be allocated before, in order; the value tells whether they start at 0.
    uses : set of str
        Names of helper functions.
    """

    def __init__(
        self, optional: frozenset[Buffer] = frozenset(), views: Mapping[Buffer, list[Buffer]] = {}
    ) -> None:
        self.views = views
        self.bases = set(views)
        self.names: set[str] = set()
        self.lines: list[str] = []
        self.buffers: dict[Buffer, bool] = {}
        self.uses: set[str] = set()
        self.optional = optional
        self.made: set[Buffer] = set()
        self.zero: set[Buffer] = set()
        self.seen: dict[Buffer, None] = {}
        self._indent = 1
        self._loop: Loop | None = None
        self._bound: dict[Access, str] = {}
        self._calls: list[Ufunc | Line] = []
        self._note = ""
        self._turned: dict[Access, str] = {}
        #: Name of a value → its equation, for comments.
        self.equations: Mapping[str, str] = {}

    # -- pieces ---------------------------------------------------------------------------------

    def line(self, text: str) -> None:
        """Add a line at the current depth."""
        self.lines.append("    " * self._indent + text if text else "")

    def size(self, d: Dim | str) -> str:
        """A dim or an axis length as text."""
        return d if isinstance(d, str) else dim_text(d)

    def access(self, a: Access) -> str:
        """A place as text, at the step of the loop if there is one."""
        if a in self._bound:
            return self._bound[a]
        if a.buffer.base is not None and not a.buffer.lead:
            # Of parameters' views only the base has a name.
            base, start, stop = span(a)
            a = Access(base, start=start, stop=stop)
        b = a.buffer
        text, pad = b.name, b.before + b.after
        if b.timed and a.slot is not None:
            end, k = a.slot
            text += f"[{b.before + k if end == 'start' else k - b.after}]"
        elif b.timed and self._loop is not None:
            offset = b.before - a.lag
            text += "[t]" if offset == 0 else f"[t + {offset}]" if offset > 0 else f"[t - {-offset}]"
        elif b.timed and pad:
            start = b.before - a.lag
            text += f"[{start or ''}:{start - pad or ''}]"
        if a.start is not None and a.stop is not None:
            stop = "" if a.stop == b.shape[0] else self.size(a.stop)
            rows = f"{'' if a.start == Dim() else self.size(a.start)}:{stop}"
            if not b.lead:
                text += f"[{rows}]"
            elif text.endswith("]") and self._loop is not None:
                text = f"{text[:-1]}, :, {rows}]"
            else:
                text += f"[..., {rows}]"
        return text

    def text(self, e: Expr) -> Text:
        """An expression as text."""
        return expression(e, self.access, self.size, self.uses)

    def flat(self, a: Access) -> str:
        """All steps and sequences as the rows of one matrix."""
        if len(a.lead) == 2:
            lead = " * ".join(a.lead)
            return f"{self.access(a)}.reshape({lead}, {self.size(a.rows)})"
        return self.access(a)

    def new(self, dest: Access) -> bool:
        """Whether this line makes the array; remembers that it did."""
        fresh = self._makes(dest)
        if fresh:
            self.made.add(dest.buffer)
        return fresh

    def need(self, b: Buffer) -> None:
        """Have a buffer allocated before the first statement."""
        root = b.base or b
        if b.base is not None:
            self.seen.setdefault(b)
        if root not in self.made and root.role in ("value", "work", "state", "adjoint"):
            self.buffers.setdefault(root, root in self.zero)

    def put(self, dest: Access, e: Expr | str, reads: Iterable[Access], accumulate: bool = False) -> None:
        """One line that stores a value; outside loops it makes the array."""
        places = tuple(reads)
        fresh = not accumulate and self.new(dest)
        self.need(dest.buffer)

        def lines(access: Callable[[Access], str]) -> list[str]:
            value = e if isinstance(e, str) else self.text(e).text
            if fresh:
                return [f"{dest.buffer.name} = {value}"]
            place = access(dest)
            if accumulate:
                return [f"{place} += {value}"]
            return [f"{place if place.endswith(']') else place + '[...]'} = {value}"]

        self.add(Line(lines, (*places, dest) if accumulate else places, (dest,)))

    def add(self, call: Ufunc | Line) -> None:
        """Take a call; it is printed with its neighbours when the straight run ends."""
        if self._note and not call.notes:
            call = replace(call, notes=(self._note,))
        self._calls.append(call)

    def flush(self) -> None:
        """Join and print what was taken."""
        calls = join(self._calls, self._loop is not None)
        self._calls = []
        if self._loop is not None:
            self._bind(calls)
        told: set[str] = set()
        for c in calls:
            self._tell([n for n in c.notes if n not in told])
            told.update(c.notes)
            for a in (*c.reads, *c.writes):
                self.need(a.buffer)
            for text in c.render(self.access):
                self.line(text)

    def _tell(self, notes: list[str]) -> None:
        """A comment with the equations that the next lines are about."""
        texts = [self.equations[n] for n in notes if n in self.equations]
        if notes and not texts and notes[0].startswith(FACTOR):
            made = [n.removeprefix(FACTOR) for n in notes]
            names = ", ".join(n for n in made if n)
            texts = [f"for all steps at once, before the loop: towards {names}"] if names else []
        indent = "    " * self._indent + "# "
        text = "; ".join(texts)
        if text:
            self.lines += fill(text, WIDTH, initial_indent=indent, subsequent_indent=indent + "    ").split("\n")

    # -- statements -----------------------------------------------------------------------------

    def write(self, statements: Iterable[Statement]) -> None:
        """Print statements in order."""
        for s in statements:
            self._note = "" if isinstance(s, Loop | Pointwise | Pack) else s.note
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

            self.add(Line(lines, (value, dest), (dest,)))
            return
        full = extent(value) == (len(dest.lead), dest.rows) and isinstance(value, Call)
        if self._loop is None and (a.accumulate or full and self._makes(dest)):
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

            self.add(Line(product, (s.x, s.weight), (dest,)))
            if s.accumulate:
                self.add(Ufunc("+=", (dest,), s.dest))
            return
        text = f"{self.flat(s.x)} @ {self.access(s.weight)}{t}"
        if not s.accumulate and not self._makes(s.dest) and self._contiguous(s.dest):

            def into(access: Callable[[Access], str]) -> list[str]:
                return [
                    f"np.matmul({self.flat(s.x)}, {access(s.weight)}{t}, out={self.flat(s.dest)})"
                ]

            self.add(Line(into, (s.x, s.weight), (s.dest,)))
            return
        if len(s.x.lead) == 2:
            axes = ", ".join(s.x.lead)
            text = f"({text}).reshape({axes}, {self.size(s.dest.rows)})"
        self.put(s.dest, text, (s.x, s.weight), s.accumulate)

    def _outer(self, s: Outer) -> None:
        text = f"{self.flat(s.delta)}.T @ {self.flat(s.x)}"
        self.put(s.dest, text, (s.delta, s.x), s.accumulate)

    def _reduce(self, s: Reduce) -> None:
        axis = "" if not s.dest.buffer.shape else "axis=0" if len(s.over) == 1 else "axis=(0, 1)"
        text = f"{self.text(s.value).at(4)}.sum({axis})"
        self.put(s.dest, text, accesses(s.value), s.accumulate)

    def _units(self, s: Units) -> None:
        if self._loop is None:
            if s.op == "sum":
                text = f"{self.text(s.value).at(4)}.sum(axis=-1, keepdims=True)"
            else:
                self.uses.add(s.op)
                text = f"{s.op}({self.text(s.value).text})"
            self.put(s.dest, text, accesses(s.value))
            return
        if s.op == "sum":
            value = self._place(s.value, s.dest)
            self.add(Ufunc("np.sum", (value, "axis=-1", "keepdims=True"), s.dest))
        else:
            self.uses.add(s.op)
            self._into(s.value, s.dest)
            self.add(Ufunc(s.op, (s.dest,), s.dest))

    def _makes(self, dest: Access) -> bool:
        """Whether a line may make the whole array: then it need not be allocated."""
        b = dest.buffer
        return (
            self._loop is None
            and dest.whole
            and dest.slot is None
            and b.base is None
            and b not in self.made
            and b not in self.buffers
            and b not in self.bases
            and b.role in ("value", "gradient", "pack")
            and not b.before + b.after
        )

    def _contiguous(self, a: Access) -> bool:
        return a.whole and a.buffer.base is None and a.slot is None

    # -- loops ----------------------------------------------------------------------------------

    def _write_loop(self, s: Loop) -> None:
        self.flush()
        self._turn(s)
        count = s.axis
        self.line(f"for t in reversed(range({count})):" if s.reverse else f"for t in range({count}):")
        self._loop, self._indent = s, self._indent + 1
        self.write(s.body)
        self._loop, self._indent = None, self._indent - 1
        self.names -= set(self._bound.values())
        self._bound.clear()

    def _turn(self, loop: Loop) -> None:
        """Transposes that every step multiplies by are made contiguous once."""
        for s in loop.body:
            if isinstance(s, Gemm) and s.transposed and s.weight not in self._turned:
                name = self.fresh(f"{s.weight.buffer.name}_T")
                self._turned[s.weight] = name
                self.line(f"{name} = np.ascontiguousarray({self.access(s.weight)}.T)")

    def fresh(self, wanted: str) -> str:
        """A local name that no buffer has."""
        name, count = wanted, 1
        while name in self.names or name in self._bound.values():
            count += 1
            name = f"{wanted}_{count}"
        self.names.add(name)
        return name

    def _bind(self, calls: Iterable[Ufunc | Line]) -> None:
        """Name the steps of arrays that the body mentions more than once."""
        counts: dict[Access, int] = {}
        for c in calls:
            text = [*c.reads, *c.writes]
            if isinstance(c, Ufunc) and c.op.endswith("="):
                text = [a for a in c.args if isinstance(a, Access)] + [c.out]
            for a in text:
                if a.buffer.timed and a.slot is None:
                    counts[a] = counts.get(a, 0) + 1
        for a, n in counts.items():
            if n > 1:
                name = self._step_name(a)
                self.line(f"{name} = {self.access(a)}")
                self._bound[a] = name

    def _step_name(self, a: Access) -> str:
        back = abs(a.lag)
        suffix = "t" if not back else "prev" if back == 1 else f"prev{back}"
        if a.buffer.role == "adjoint" and back == 1:
            suffix = "before"
        name = a.buffer.name
        if not a.whole:
            inside = [v.name for v in self.views_of(a)]
            name = "_".join(inside) if inside and len("_".join(inside)) < 20 else f"{name}_part"
        return self.fresh(f"{name}_{suffix}")

    def views_of(self, a: Access) -> list[Buffer]:
        """The views that a range of a base is made of."""
        _, start, stop = span(a)
        inside: list[Buffer] = []
        at = start
        while at != stop:
            v = next((v for v in self.views.get(a.buffer, ()) if v.offset == at), None)
            if v is None:
                return []
            inside.append(v)
            at = at + v.shape[0]
        return inside

    def work(self, like: Access, avoid: Iterable[Access] = ()) -> Access:
        """A scratch array of one step with the rows of ``like``, not among ``avoid``."""
        taken = {a.buffer for a in avoid}
        count = 1
        while True:
            name = f"work_{self._row_name(like.rows)}" + (f"_{count}" if count > 1 else "")
            b = Buffer(name, (BATCH,), (like.rows,), "work")
            if b not in taken:
                self.need(b)
                return Access(b)
            count += 1

    def _row_name(self, rows: Dim) -> str:
        return "".join(c if c.isalnum() else "_" for c in str(rows).replace("*", "").replace(" + ", "_"))

    # -- three-address code ---------------------------------------------------------------------

    def _place(self, e: Expr, like: Access, avoid: Iterable[Access] = ()) -> Access | str:
        """An operand: as it stands if it is a place or a number, else in a scratch array."""
        if isinstance(e, Access):
            return e
        if isinstance(e, Number | Size) or extent(e)[0] == 0 or self._loop is None:
            return self.text(e).at(_TIGHT)
        rows = extent(e)[1]
        shaped = Access(Buffer("", (BATCH,), (rows,), "work")) if rows != like.rows else like
        work = self.work(shaped, avoid)
        self._into(e, work, avoid=avoid)
        return work

    def _reads(self, e: Expr, place: Access | str) -> tuple[Access, ...]:
        """What an operand in a text reads (places report themselves)."""
        return tuple(accesses(e)) if isinstance(place, str) else ()

    def _emit(self, op: str, operands: list[tuple[Expr, Access | str]], out: Access) -> None:
        """One call; texts that read arrays make it a line that is not joined."""
        hidden = [a for e, place in operands for a in self._reads(e, place)]
        call = Ufunc(op, tuple(place for _, place in operands), out)
        if hidden:
            self.add(Line(call.render, (*call.reads, *hidden), call.writes))
        else:
            self.add(call)

    def _into(
        self, e: Expr, dest: Access, accumulate: bool = False, avoid: Iterable[Access] = ()
    ) -> None:
        """Lines that leave the value of an expression in a place."""
        held = [*avoid, dest]
        if accumulate:
            minus, inner = split_sign(e)
            if isinstance(inner, Call) and inner.op == "add" and not minus:
                for part in inner.args:
                    self._into(part, dest, True, held)
                return
            self._emit("-=" if minus else "+=", [(inner, self._place(inner, dest, held))], dest)
        elif not isinstance(e, Call):
            self._emit("=", [(e, self._place(e, dest))], dest)
        elif self._reads_late(e, dest):
            work = self.work(dest, held)
            self._into(e, work, avoid=held)
            self.add(Ufunc("=", (work,), dest))
        else:
            self._call(e, dest, held)

    def _reads_late(self, e: Call, dest: Access) -> bool:
        """Whether writing ``dest`` early would destroy an operand that is read later."""
        if e.op in ("add", "mul"):
            direct = [split_sign(a)[1] for a in e.args]
            inside = [a for a in direct if isinstance(a, Call)]
            if any(self._touches(a, dest) for a in inside):
                # Only the operand that is computed first, in place, may read it.
                return len(inside) != 1 or dest in direct or self._late_inside(inside[0], dest)
            return direct.count(dest) > 1
        if len(e.args) == 1:
            return self._late_inside(e.args[0], dest)
        return any(isinstance(a, Call) and self._touches(a, dest) for a in e.args)

    def _late_inside(self, e: Expr, dest: Access) -> bool:
        return isinstance(e, Call) and self._reads_late(e, dest)

    def _touches(self, e: Expr, dest: Access) -> bool:
        return any(overlap(a, dest, self._loop is not None) for a in accesses(e))

    def _call(self, e: Call, out: Access, held: list[Access]) -> None:
        op, args = e.op, e.args
        if op in ("add", "mul"):
            self._chain(e, out, held)
        elif op == "neg":
            self._unary("np.negative", args[0], out, held)
        elif op == "pow" and e.data == 2:
            self._unary("np.square", args[0], out, held)
        elif op == "apply" and str(e.data) in UFUNCS:
            self._unary(UFUNCS[str(e.data)], args[0], out, held)
        elif op == "apply" and str(e.data) in _WITH_OUT:
            self.uses.add(str(e.data))
            self._unary(str(e.data), args[0], out, held)
        elif op == "div":
            self._binary("np.divide", "/=", args[0], args[1], out, held)
        else:
            inner: list[Expr] = []
            for a in args:
                place = self._place(a, out, held)
                inner.append(a if isinstance(place, str) else place)
                held = held if isinstance(place, str) else [*held, place]
            value = Call(op, tuple(inner), e.data)

            def lines(access: Callable[[Access], str]) -> list[str]:
                return Ufunc("=", (self.text(value).text,), out).render(access)

            self.add(Line(lines, tuple(accesses(value)), (out,)))

    def _fits(self, e: Expr, dest: Access) -> bool:
        """Whether an operand has all the rows of the result, so that it can be computed there."""
        lead, rows = extent(e)
        return lead > 0 and rows == dest.rows and (self._loop is not None or lead == len(dest.lead))

    def _unary(self, name: str, a: Expr, dest: Access, held: list[Access]) -> None:
        if isinstance(a, Call) and self._fits(a, dest):
            self._into(a, dest, avoid=held)
            self.add(Ufunc(name, (dest,), dest))
        else:
            self._emit(name, [(a, self._place(a, dest, held))], dest)

    def _binary(
        self, name: str, sign: str, a: Expr, b: Expr, dest: Access, held: list[Access]
    ) -> None:
        if isinstance(a, Call) and self._fits(a, dest) and not self._touches(b, dest):
            self._into(a, dest, avoid=held)
            self._emit(sign, [(b, self._place(b, dest, held))], dest)
            return
        left = self._place(a, dest, held)
        taken = [*held, left] if isinstance(left, Access) else held
        self._emit(name, [(a, left), (b, self._place(b, dest, taken))], dest)

    def _chain(self, e: Call, dest: Access, held: list[Access]) -> None:
        """a + b − c or a * b * c, starting with what can be computed in place."""
        adding = e.op == "add"
        items = [split_sign(a) if adding else (False, a) for a in e.args]
        first = next((i for i, (minus, a) in enumerate(items) if a == dest and not minus), None)
        if first is None:
            first = next(
                (i for i, (m, a) in enumerate(items)
                 if isinstance(a, Call) and not m and self._fits(a, dest)), None,
            )  # fmt: skip
        if first is not None:
            rest = items[:first] + items[first + 1 :]
            if items[first][1] != dest:
                self._into(items[first][1], dest, avoid=held)
        else:
            positive = next((i for i, (m, _) in enumerate(items) if not m), None)
            if positive is None:
                self._unary("np.negative", items[0][1], dest, held)
                rest = [(True, b) for _, b in items[1:]]
            else:
                (_, a), rest = items[positive], items[:positive] + items[positive + 1 :]
                minus, b = rest.pop(0)
                left = self._place(a, dest, held)
                taken = [*held, left] if isinstance(left, Access) else held
                ufunc = ("np.subtract" if minus else "np.add") if adding else "np.multiply"
                self._emit(ufunc, [(a, left), (b, self._place(b, dest, taken))], dest)
        for minus, b in rest:
            sign = ("-=" if minus else "+=") if adding else "*="
            self._emit(sign, [(b, self._place(b, dest, held))], dest)


#: Operands stand in calls and behind operators: anything tighter than a sum needs no parentheses.
_TIGHT = 2
