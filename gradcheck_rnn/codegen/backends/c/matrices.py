"""Expressions of parameters only: every operand that is no entry by entry work gets its array."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ....errors import UnsupportedOperation
from ....language.dims import ONE, Dim
from ...schedule.ops import Access, Call, Expr, Number, SizeOf
from .expressions import C99

__all__ = ["Matrices"]

#: Rows and columns.
Shape = tuple[Dim, Dim]
#: The text of the entry at a row and a column.
Entry = Callable[[str, str], str]


@dataclass
class Matrices:
    """Prints one statement.

    Parameters
    ----------
    printer : C99
        The printer of entries.
    place : callable
        Access → the text of a pointer to its first entry.
    temporary : callable
        Shape → the name of a new array.
    """

    printer: C99
    place: Callable[[Access], str]
    temporary: Callable[[Shape], str]
    lines: list[str] = field(default_factory=list)

    def store(self, dest: Access, value: Expr, accumulate: bool) -> list[str]:
        """Lines that store or add an expression."""
        shape = _of(dest.buffer.shape)
        _, entry = self.entry(value)
        sign = "+=" if accumulate else "="
        if _reads(value, dest):
            kept = self._kept(shape, entry)
            entry = self._array(kept, shape)
        to = self._array(self.place(dest), shape)("row", "column")
        self._each(shape, [f"{to} {sign} {entry('row', 'column')};"])
        return self.lines

    def entry(self, e: Expr) -> tuple[Shape, Entry]:
        """The shape of an expression, and its entries."""
        if isinstance(e, Number | SizeOf):
            text = self.printer.text(e).text
            return (ONE, ONE), lambda i, j: text
        if isinstance(e, Access):
            shape = (e.rows, e.buffer.shape[1] if len(e.buffer.shape) > 1 else ONE)
            return shape, self._array(self.place(e), shape)
        if e.op == "eye" and isinstance(e.data, Dim):
            return (e.data, e.data), lambda i, j: f"(real)(({i}) == ({j}))"
        if e.op == "reshape" and isinstance(e.data, tuple):
            return self._reshaped(e.args[0], _of(e.data))
        made = [self.entry(a) for a in e.args]
        rearranged = self._rearranged(e, made)
        if rearranged is not None:
            return rearranged
        if e.op in ("matmul", "total", "softmax", "log_softmax", "unit_map"):
            return self._stored(e, made)
        return self._elementwise(e, made)

    # -- operations ------------------------------------------------------------------------------

    def _elementwise(self, e: Call, made: list[tuple[Shape, Entry]]) -> tuple[Shape, Entry]:
        shape = next((s for s, _ in made if s != (ONE, ONE)), (ONE, ONE))
        places = {Access(_Hole(k)): one for k, (_, one) in enumerate(made)}  # type: ignore[arg-type]

        def entry(i: str, j: str) -> str:
            before = self.printer.access
            at = {a.buffer: one(i, j) for a, one in places.items()}
            self.printer.access = lambda a: f"({at[a.buffer]})"
            text = self.printer.text(Call(e.op, tuple(places), e.data)).text
            self.printer.access = before
            return text

        return shape, entry

    def _reshaped(self, e: Expr, shape: Shape) -> tuple[Shape, Entry]:
        """The same numbers in the same order with other axes."""
        if isinstance(e, Access):
            return shape, self._array(self.place(e), shape)
        own, entry = self.entry(e)
        return shape, self._array(self._kept(own, entry), shape)

    def _rearranged(self, e: Call, made: list[tuple[Shape, Entry]]) -> tuple[Shape, Entry] | None:
        if e.op == "transpose":
            (rows, cols), one = made[0]
            return (cols, rows), lambda i, j: one(j, i)
        if e.op == "broadcast" and isinstance(e.data, tuple):
            return _of(e.data), made[0][1]
        if e.op in ("parameter_outer", "outer"):
            (first, one), (second, two) = made
            return (first[0], second[0]), lambda i, j: f"({one(i, '0')}) * ({two(j, '0')})"
        if e.op in ("slice", "pad") and isinstance(e.data, tuple):
            (rows, cols), one = made[0]
            start = self.printer.dim(e.data[0])
            if e.op == "slice":
                return (e.data[1] - e.data[0], cols), lambda i, j: one(f"{start} + {i}", j)
            return (e.data[1], cols), self._between(start, self.printer.dim(rows), one, None)
        if e.op == "concat":
            return self._joined(made)
        return None

    def _joined(self, made: list[tuple[Shape, Entry]]) -> tuple[Shape, Entry]:
        at, entry = Dim(), None
        for (rows, _), one in made:
            entry = self._between(self.printer.dim(at), self.printer.dim(rows), one, entry)
            at = at + rows
        if entry is None:
            raise UnsupportedOperation("C has no text for a concatenation of nothing")
        return (at, made[0][0][1]), entry

    def _between(self, start: str, rows: str, one: Entry, other: Entry | None) -> Entry:
        def entry(i: str, j: str) -> str:
            inside = f"{start} <= {i} && {i} < {start} + {rows}"
            outside = "0" if other is None else other(i, j)
            return f"({inside} ? {one(f'{i} - ({start})', j)} : {outside})"

        return entry

    def _stored(self, e: Call, made: list[tuple[Shape, Entry]]) -> tuple[Shape, Entry]:
        shape, one = made[0]
        if e.op == "matmul":
            (inner, columns), two = made[1]
            left = self._array(self._kept(shape, one), shape)
            right = self._array(self._kept((inner, columns), two), (inner, columns))
            shape = (shape[0], columns)
            name = self.temporary(shape)
            to = self._array(name, shape)("row", "column")
            terms = self.printer.dim(inner)
            summand = f"{left('row', 'term')} * {right('term', 'column')}"
            loop = f"for (Index term = 0; term < {terms}; ++term)"
            self._each(shape, [f"{to} = 0;", f"{loop} {to} += {summand};"])
            return shape, self._array(name, shape)
        kept = self._kept(shape, one)
        if e.op == "total":
            name = self.temporary((ONE, ONE))
            self.lines.append(f"{name}[0] = 0;")
            self._each(shape, [f"{name}[0] += {self._array(kept, shape)('row', 'column')};"])
            return (ONE, ONE), lambda i, j: f"{name}[0]"
        if shape[1] != ONE:
            raise UnsupportedOperation(f"C has no text for {e.op} of the columns of a matrix")
        rows = self.printer.dim(shape[0])
        if e.op == "unit_map":
            called = self.printer.called("unit_map", str(e.data))
            self.lines.append(f"{called}({kept}, {rows});")
        else:
            self.printer.uses.add(e.op)
            self.lines.append(f"{e.op}_of({kept}, {rows});")
        return shape, self._array(kept, shape)

    # -- arrays ----------------------------------------------------------------------------------

    def _kept(self, shape: Shape, entry: Entry) -> str:
        name = self.temporary(shape)
        self._each(
            shape, [f"{self._array(name, shape)('row', 'column')} = {entry('row', 'column')};"]
        )
        return name

    def _array(self, pointer: str, shape: Shape) -> Entry:
        columns = self.printer.dim(shape[1])
        base = pointer if pointer.isidentifier() else f"({pointer})"

        def entry(i: str, j: str) -> str:
            at = [] if shape[0] == ONE else [f"({i}) * ({columns})" if columns != "1" else i]
            at += [] if shape[1] == ONE else [j]
            return f"{base}[{' + '.join(at) or '0'}]"

        return entry

    def _each(self, shape: Shape, body: list[str]) -> None:
        lines = body
        for name, d in (("column", shape[1]), ("row", shape[0])):
            if d != ONE:
                head = f"for (Index {name} = 0; {name} < {self.printer.dim(d)}; ++{name}) {{"
                lines = [head, *(f"    {x}" for x in lines), "}"]
        self.lines += lines


@dataclass(frozen=True)
class _Hole:
    """Stands for an operand whose text is known."""

    number: int


def _of(shape: tuple[Dim, ...]) -> Shape:
    rows = shape[0] if shape else ONE
    return rows, shape[1] if len(shape) > 1 else ONE


def _reads(e: Expr, dest: Access) -> bool:
    if isinstance(e, Access):
        return e.span[0] == dest.span[0]
    return isinstance(e, Call) and any(_reads(a, dest) for a in e.args)
