"""Statements of a schedule as NumPy lines.

Outside loops a value is one expression; inside, where each line runs once a step, results are
written into buffers made before the loop (``out=``), operand by operand.
"""

from __future__ import annotations

from collections.abc import Iterable

from ....language.dims import ONE, Dim
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

__all__ = ["Writer", "extent"]

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

    def __init__(self, optional: frozenset[Buffer] = frozenset()) -> None:
        self.lines: list[str] = []
        self.buffers: dict[Buffer, bool] = {}
        self.uses: set[str] = set()
        self.optional = optional
        self.made: set[Buffer] = set()
        self._indent = 1
        self._loop: Loop | None = None
        self._bound: dict[Access, str] = {}
        self._work: dict[Buffer, bool] = {}

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
            span = f"{'' if a.start == Dim() else self.size(a.start)}:{self.size(a.stop)}"
            text += f"[{span}]" if not b.lead else f"[..., {span}]"
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
        """Whether this is the first time a whole buffer is written, so that ``=`` makes it."""
        b = dest.buffer
        fresh = (
            self._loop is None
            and dest.whole
            and dest.slot is None
            and b not in self.made
            and b.role in ("value", "gradient", "pack")
            and not b.before + b.after
        )
        if fresh:
            self.made.add(b)
        else:
            self.need(b)
        return fresh

    def need(self, b: Buffer) -> None:
        """Have a buffer allocated before the first statement."""
        if b not in self.made and b.role in ("value", "work", "state", "adjoint"):
            self.buffers.setdefault(b, b.role == "adjoint")

    def put(self, dest: Access, text: str, accumulate: bool = False) -> None:
        """One line that stores a printed value."""
        if accumulate:
            self.need(dest.buffer)
            self.line(f"{self.access(dest)} += {text}")
        elif self.new(dest):
            self.line(f"{dest.buffer.name} = {text}")
        else:
            place = self.access(dest)
            whole = place if place.endswith("]") and dest not in self._bound else f"{place}[...]"
            self.line(f"{whole} = {text}")

    # -- statements -----------------------------------------------------------------------------

    def write(self, statements: Iterable[Statement]) -> None:
        """Print statements in order."""
        for s in statements:
            if isinstance(s, Loop):
                self._write_loop(s)
            elif isinstance(s, Pointwise):
                for a in s.assigns:
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
                value = self.text(s.value).text
                if isinstance(s.value, Access):
                    value = f"np.array({value})"
                self.put(Access(s.dest), value, s.accumulate)
            elif isinstance(s, Pack):
                parts = ", ".join(self.access(p) for p in s.parts)
                self.put(Access(s.dest), f"np.concatenate(({parts}))")

    def _assign(self, a: Assign) -> None:
        if isinstance(a.value, Access) and a.value.buffer in self.optional and a.accumulate:
            self.line(f"if {a.value.buffer.name} is not None:")
            self._indent += 1
            self.put(a.dest, self.text(a.value).text, True)
            self._indent -= 1
            return
        if self._loop is not None:
            self._into(a.value, a.dest, a.accumulate)
            return
        full = extent(a.value) == (len(a.dest.lead), a.dest.rows)
        if not full or isinstance(a.value, Access):
            self.need(a.dest.buffer)
            self.made.add(a.dest.buffer)
        self.put(a.dest, self.text(a.value).text, a.accumulate)

    def _gemm(self, s: Gemm) -> None:
        weight = self.access(s.weight) + (".T" if s.transposed else "")
        if self._loop is not None:
            x = self.access(s.x)
            if s.accumulate:
                work = self.work(s.dest)
                self.line(f"np.matmul({x}, {weight}, out={self.access(work)})")
                self.line(f"{self.access(s.dest)} += {self.access(work)}")
            else:
                self.need(s.dest.buffer)
                self.line(f"np.matmul({x}, {weight}, out={self.access(s.dest)})")
            return
        text = f"{self.flat(s.x)} @ {weight}"
        if len(s.x.lead) == 2:
            axes = ", ".join(s.x.lead)
            text = f"({text}).reshape({axes}, {self.size(s.dest.rows)})"
        self.put(s.dest, text, s.accumulate)

    def _outer(self, s: Outer) -> None:
        self.put(s.dest, f"{self.flat(s.delta)}.T @ {self.flat(s.x)}", s.accumulate)

    def _reduce(self, s: Reduce) -> None:
        axis = "" if not s.dest.buffer.shape else "axis=0" if len(s.over) == 1 else "axis=(0, 1)"
        self.put(s.dest, f"{self.text(s.value).at(4)}.sum({axis})", s.accumulate)

    def _units(self, s: Units) -> None:
        if self._loop is None:
            if s.op == "sum":
                text = f"{self.text(s.value).at(4)}.sum(axis=-1, keepdims=True)"
            else:
                self.uses.add(s.op)
                text = f"{s.op}({self.text(s.value).text})"
            self.put(s.dest, text)
            return
        self.need(s.dest.buffer)
        dest = self.access(s.dest)
        if s.op == "sum":
            value = self._operand(s.value, s.dest)
            self.line(f"np.sum({value}, axis=-1, keepdims=True, out={dest})")
        else:
            self.uses.add(s.op)
            self._into(s.value, s.dest)
            self.line(f"{s.op}({dest}, out={dest})")

    # -- loops ----------------------------------------------------------------------------------

    def _write_loop(self, s: Loop) -> None:
        count = s.axis
        self.line(f"for t in reversed(range({count})):" if s.reverse else f"for t in range({count}):")
        self._loop, self._indent = s, self._indent + 1
        for a, name in self._bindings(s).items():
            self.line(f"{name} = {self.access(a)}")
            self.need(a.buffer)
            self._bound[a] = name
        self.write(s.body)
        self._loop, self._indent = None, self._indent - 1
        self._bound.clear()

    def _bindings(self, s: Loop) -> dict[Access, str]:
        """Names for the steps of arrays that the body mentions more than once."""
        from ...schedule.inspect import reads, writes

        counts: dict[Access, int] = {}
        for inner in s.body:
            for a in (*reads(inner), *writes(inner)):
                if a.buffer.timed and a.slot is None:
                    counts[a] = counts.get(a, 0) + 1
        out: dict[Access, str] = {}
        for a, n in counts.items():
            if n > 1 and a.whole:
                back = abs(a.lag)
                suffix = "t" if not back else "prev" if back == 1 else f"prev{back}"
                if a.buffer.role == "adjoint" and back == 1:
                    suffix = "before"
                out[a] = f"{a.buffer.name}_{suffix}"
        return out

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

    def _operand(self, e: Expr, like: Access, avoid: Iterable[Access] = ()) -> str:
        """An operand as text: as it stands if it is a place or a number, else from a scratch array."""
        return self._place(e, like, avoid)[0]

    def _place(
        self, e: Expr, like: Access, avoid: Iterable[Access] = ()
    ) -> tuple[str, Access | None]:
        if isinstance(e, Access | Number | Size):
            return self.text(e).at(_TIGHT), e if isinstance(e, Access) else None
        lead, rows = extent(e)
        if lead == 0:
            return self.text(e).at(_TIGHT), None
        shaped = Access(Buffer("", (BATCH,), (rows,), "work")) if rows != like.rows else like
        work = self.work(shaped, avoid)
        self._into(e, work, avoid=avoid)
        return self.access(work), work

    def _into(
        self, e: Expr, dest: Access, accumulate: bool = False, avoid: Iterable[Access] = ()
    ) -> None:
        """Lines that leave the value of an expression in a place."""
        self.need(dest.buffer)
        out = self.access(dest)
        held = [*avoid, dest]
        if accumulate:
            minus, inner = split_sign(e)
            if isinstance(inner, Call) and inner.op == "add" and not minus:
                for part in inner.args:
                    self._into(part, dest, True, avoid)
                return
            value = self._operand(inner, dest, held)
            self.line(f"{out} {'-' if minus else '+'}= {value}")
            return
        if not isinstance(e, Call):
            self.line(f"{self._all(out)} = {self.text(e).text}")
            return
        if self._reads_late(e, dest):
            work = self.work(dest, held)
            self._into(e, work, avoid=held)
            self.line(f"{self._all(out)} = {self.access(work)}")
            return
        self._call(e, dest, out, held)

    def _all(self, out: str) -> str:
        return out if out.endswith("]") else f"{out}[...]"

    def _reads_late(self, e: Call, dest: Access) -> bool:
        """Whether writing ``dest`` early would destroy an operand that is read later."""
        if e.op in ("add", "mul"):
            direct = [split_sign(a)[1] for a in e.args]
            inside = [a for a in direct if isinstance(a, Call)]
            if any(dest in set(accesses(a)) for a in inside):
                # Only the operand that is computed first, in place, may read it.
                return len(inside) != 1 or dest in direct or self._late_inside(inside[0], dest)
            return direct.count(dest) > 1
        if len(e.args) == 1:
            inner = e.args[0]
            return isinstance(inner, Call) and self._reads_late(inner, dest)
        return any(isinstance(a, Call) and dest in set(accesses(a)) for a in e.args)

    def _late_inside(self, e: Expr, dest: Access) -> bool:
        return isinstance(e, Call) and self._reads_late(e, dest)

    def _call(self, e: Call, out_access: Access, out: str, held: list[Access]) -> None:
        op, args = e.op, e.args
        if op in ("add", "mul"):
            self._chain(e, out_access, out, held)
        elif op == "neg":
            self._unary("np.negative", args[0], out_access, out)
        elif op == "pow" and e.data == 2:
            self._unary("np.square", args[0], out_access, out)
        elif op == "apply" and str(e.data) in UFUNCS:
            self._unary(UFUNCS[str(e.data)], args[0], out_access, out)
        elif op == "apply" and str(e.data) in _WITH_OUT:
            self.uses.add(str(e.data))
            self._unary(str(e.data), args[0], out_access, out)
        elif op == "div":
            self._binary("np.divide", "/=", args[0], args[1], out_access, out, held)
        else:
            inner: list[Expr] = []
            for a in args:
                text, place = self._place(a, out_access, held)
                inner.append(place if place is not None else a)
                held = [*held, place] if place is not None else held
            text = self.text(Call(op, tuple(inner), e.data)).text
            self.line(f"{self._all(out)} = {text}")

    def _fits(self, e: Expr, dest: Access) -> bool:
        """Whether an operand has all the rows of the result, so that it can be computed there."""
        return extent(e) == (1, dest.rows) or extent(e) == (2, dest.rows)

    def _unary(self, name: str, a: Expr, dest: Access, out: str) -> None:
        if isinstance(a, Call) and self._fits(a, dest):
            self._into(a, dest)
            self.line(f"{name}({out}, out={out})")
        else:
            self.line(f"{name}({self._operand(a, dest, [dest])}, out={out})")

    def _binary(
        self, name: str, sign: str, a: Expr, b: Expr, dest: Access, out: str, held: list[Access]
    ) -> None:
        if isinstance(a, Call) and self._fits(a, dest) and dest not in set(accesses(b)):
            self._into(a, dest)
            self.line(f"{out} {sign} {self._operand(b, dest, held)}")
            return
        left, place = self._place(a, dest, held)
        right = self._operand(b, dest, [*held, place] if place is not None else held)
        self.line(f"{name}({left}, {right}, out={out})")

    def _chain(self, e: Call, dest: Access, out: str, held: list[Access]) -> None:
        """a + b − c or a * b * c, starting with what can be computed in place."""
        adding = e.op == "add"
        items = [split_sign(a) if adding else (False, a) for a in e.args]
        first = next((i for i, (_, a) in enumerate(items) if a == dest), None)
        if first is None:
            first = next(
                (i for i, (m, a) in enumerate(items)
                 if isinstance(a, Call) and not m and self._fits(a, dest)), None,
            )  # fmt: skip
        if first is not None and not (items[first][0] and adding):
            rest = items[:first] + items[first + 1 :]
            if items[first][1] != dest:
                self._into(items[first][1], dest)
        else:
            positive = next((i for i, (m, _) in enumerate(items) if not m), None)
            if positive is None:
                self._unary("np.negative", items[0][1], dest, out)
                for _, b in items[1:]:
                    self.line(f"{out} -= {self._operand(b, dest, held)}")
                return
            (_, a), rest = items[positive], items[:positive] + items[positive + 1 :]
            minus, b = rest.pop(0)
            left, place = self._place(a, dest, held)
            right = self._operand(b, dest, [*held, place] if place is not None else held)
            ufunc = ("np.subtract" if minus else "np.add") if adding else "np.multiply"
            self.line(f"{ufunc}({left}, {right}, out={out})")
        for minus, b in rest:
            sign = ("-=" if minus else "+=") if adding else "*="
            self.line(f"{out} {sign} {self._operand(b, dest, held)}")


#: Operands stand in calls and behind operators: anything tighter than a sum needs no parentheses.
_TIGHT = 2
