"""Expressions as calls that write into given arrays, operand by operand."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ....language.dims import ONE, Dim
from ...schedule.dependence import overlap
from ...schedule.ops import BATCH, Access, Buffer, Call, Expr, Number, SizeOf, accesses
from ..expressions import Precedence, split_sign
from .instructions import RawLines, Ufunc
from .routine_text import RoutineText, extent

__all__ = ["Assigner"]


class Assigner(RoutineText):
    """Turns an expression into NumPy calls with ``out=``."""

    def work(self, like: Access, avoid: Iterable[Access] = ()) -> Access:
        """A scratch array of a step or a block with the rows of ``like``, not among ``avoid``."""
        taken = {a.buffer for a in avoid}
        whole = self._block is not None and self._loop is None
        known = (self._block_works if whole else self._works).setdefault(like.rows, [])
        b = next((b for b in known if b not in taken), None)
        if b is None:
            kind = "block" if whole else "work"
            name = self.names.fresh(f"{kind}_{self._row_name(like.rows)}")
            lead = (self._block.loop.axis, BATCH) if self._block and whole else (BATCH,)
            b = Buffer(name, lead, (like.rows,), "work")
            known.append(b)
        self.need(b)
        return Access(b)

    def ones(self, rows: Dim) -> str:
        """A column of ones, which is made before the first statement."""
        if rows not in self.columns:
            self.columns[rows] = self.names.fresh(f"ones_{self._row_name(rows)}")
        return self.columns[rows]

    def _row_name(self, rows: Dim) -> str:
        return "".join(
            c if c.isalnum() else "_" for c in str(rows).replace("*", "").replace(" + ", "_")
        )

    def _place(self, e: Expr, like: Access, avoid: Iterable[Access] = ()) -> Access | str:
        """An operand: as it stands if it is a place or a number, else in a scratch array."""
        if isinstance(e, Access):
            return e
        if isinstance(e, Number | SizeOf) or extent(e)[0] == 0 or not self.in_place:
            # Operands stand in calls and behind operators.
            return self.text(e).at(Precedence.UNARY)
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
            self.add(RawLines(call.render, (*call.reads, *hidden), call.writes))
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
            items = _signed(e)
            readers = [i for i, (_, a) in enumerate(items) if self._touches(a, dest)]
            if len(readers) != 1:
                return bool(readers)
            first, a = self._first(items, dest), items[readers[0]][1]
            if first is not None:
                # Only the operand that is computed first, in place, may read it.
                others = any(isinstance(x, Call) and x is not a for _, x in items)
                inside = isinstance(a, Call) and (others or self._late_inside(a, dest))
                return first != readers[0] or inside
            return readers[0] not in _opening(items) or self._late_inside(a, dest)
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
        elif op == "apply":
            self._unary(self.printer.called("apply", str(e.data)), args[0], out, held)
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

            self.add(RawLines(lines, tuple(accesses(value)), (out,)))

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

    def _first(self, items: list[tuple[bool, Expr]], dest: Access) -> int | None:
        """Which term or factor is computed in place, before the others are added to it."""
        stands = (i for i, (minus, a) in enumerate(items) if a == dest and not minus)
        made = (
            i for i, (minus, a) in enumerate(items)
            if isinstance(a, Call) and not minus and self._fits(a, dest)
        )  # fmt: skip
        return next(stands, next(made, None))

    def _chain(self, e: Call, dest: Access, held: list[Access]) -> None:
        """a + b − c or a * b * c, starting with what can be computed in place."""
        adding, items = e.op == "add", _signed(e)
        if not adding:
            items = self._narrow_first(items, dest)
        first = self._first(items, dest)
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

    def _narrow_first(
        self, items: list[tuple[bool, Expr]], dest: Access
    ) -> list[tuple[bool, Expr]]:
        """Factors that all units share multiplied by one another, as one number a sequence."""
        narrow = [a for _, a in items if extent(a)[1] == ONE]
        some = 1 < len(narrow) < len(items) and any(extent(a)[0] for a in narrow)
        if dest.rows == ONE or not some:
            return items
        return [(False, Call("mul", tuple(narrow))), *(i for i in items if i[1] not in narrow)]


def _signed(e: Call) -> list[tuple[bool, Expr]]:
    """Terms with their signs, or factors."""
    return [split_sign(a) if e.op == "add" else (False, a) for a in e.args]


def _opening(items: list[tuple[bool, Expr]]) -> set[int]:
    """Operands of the first call if none is computed in place: the result may lie on them."""
    positive = next((i for i, (minus, _) in enumerate(items) if not minus), None)
    return {0} if positive is None else {positive, 1 if positive == 0 else 0}
