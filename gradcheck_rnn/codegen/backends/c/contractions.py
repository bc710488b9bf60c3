"""Products sequence by sequence as C functions: plain loops over the axes of their matrices.

The loop inside runs along an axis on which entries of the result lie side by side, wherever an
operand has it last too: compilers vectorise it without a sum in another order. In expressions of
parameters only, every operand that is no work entry by entry gets an array of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from textwrap import wrap

from ....errors import UnsupportedOperation
from ....language.dims import ONE, Dim
from ...schedule.ops import Access, Call, Contract, Expr, Lead, Number, SizeOf
from ..wrapping import WIDTH
from .config import CNamer
from .entry_loops import comment_lines
from .expressions import C99

__all__ = ["Contraction", "Matrices"]

#: Multiplications from which on several cores are used.
_MUCH = 200_000


class Contraction:
    """The text of one product.

    Parameters
    ----------
    lead : callable
        Place → the leading axes that it has where the statement stands.
    sizes : mapping
        Size as the schedule calls it → its name in C.

    Attributes
    ----------
    used : list of str
        Sizes that the function is called with after its arrays, as the schedule calls them.
    """

    def __init__(
        self, s: Contract, lead: Callable[[Access], Lead], sizes: Mapping[str, str]
    ) -> None:
        self.s, self._sizes, self.used = s, sizes, list[str]()
        self.arrays = (s.dest, *s.operands)
        self._leads = [lead(a) for a in self.arrays]
        self._whole = max(self._leads, key=len)
        self._printer = C99(lambda a: a.buffer.name, self._size)
        namer = CNamer(sizes.values())
        self._names = [namer.fresh(a.buffer.name) for a in self.arrays]
        self._rows = [namer.fresh(f"{n}_row") if x else n
                      for n, x in zip(self._names, self._leads, strict=True)]  # fmt: skip
        self._dims = {x: d for x, d in s.sizes if d != ONE}
        self._letters = {x: namer.fresh(x) for x in self._dims}
        self._specs = ["".join(x for x in spec if x in self._dims)
                       for spec in (s.specs[-1], *s.specs[:-1])]  # fmt: skip
        made, *read = self._specs
        self._summed = [x for x in dict.fromkeys("".join(read)) if x not in made]
        #: Whether rows of operands are added up.
        self._over_rows = self._leads[0] != self._whole
        inside = any(x[-1:] == made[-1:] != "" for x in read)
        #: Whether an entry is a sum in a register.
        self._dotted = bool(self._summed) and not inside
        #: Whether something is added to an entry of memory.
        self._adds = s.accumulate or self._over_rows or (bool(self._summed) and not self._dotted)

    def text(self, name: str, comment: Iterable[str]) -> list[str]:
        """The lines of the function."""
        body = self._body()
        arguments = [f"{'const ' if k else ''}real *RESTRICT {n}"
                     for k, n in enumerate(self._names)]  # fmt: skip
        arguments += [f"Index {self._sizes[n]}" for n in self.used]
        head = wrap(", ".join(arguments), WIDTH - 4)
        return [
            *comment_lines(comment), f"static void {name}(", *(f"    {x}" for x in head[:-1]),
            f"    {head[-1]})", "{", *body, "}",
        ]  # fmt: skip

    # -- places ----------------------------------------------------------------------------------

    def _size(self, name: str) -> str:
        if name not in self.used:
            self.used.append(name)
        return self._sizes[name]

    def _dim(self, d: Dim) -> str:
        text = self._printer.dim(d)
        return text if text.isidentifier() or text.isdigit() else f"({text})"

    def _product_of(self, dims: Iterable[Dim | str]) -> str:
        texts = [self._size(d) if isinstance(d, str) else self._dim(d) for d in dims]
        return " * ".join(texts) or "1"

    def _entry(self, k: int) -> str:
        """The entry of an array at the letters of its axes."""
        spec, terms = self._specs[k], []
        for i, letter in enumerate(spec):
            after = [self._dim(self._dims[x]) for x in spec[i + 1 :]]
            terms.append(" * ".join([self._letters[letter], *after]))
        return f"{self._rows[k]}[{' + '.join(terms) or '0'}]"

    def _stride(self, a: Access) -> str:
        return self._dim((a.buffer.base or a.buffer).shape[0])

    # -- lines -----------------------------------------------------------------------------------

    def _body(self) -> list[str]:
        zero = [] if self.s.accumulate or not self._adds else [self._fill()]
        product = self._product()
        if not self._whole:
            return [f"    {x}" for x in (*zero, *product)]
        inner = [*self._row_pointers(), *([] if self._over_rows else zero), *product]
        count = self._product_of(self._whole)
        rows = [f"for (Index row = 0; row < {count}; ++row) {{", *_deeper(inner), "}"]
        if self._over_rows:
            return [f"    {x}" for x in (*zero, *rows)]
        work = f"(double){self._product_of([*self._whole, *self._dims.values()])}"
        return [
            "#ifdef _OPENMP", f"#pragma omp parallel for schedule(static) if ({work} > {_MUCH})",
            "#endif", *(f"    {x}" for x in rows),
        ]  # fmt: skip

    def _row_pointers(self) -> list[str]:
        """Where the matrices of this row begin."""
        out = []
        for k, a in enumerate(self.arrays):
            if self._leads[k]:
                whole = self._leads[k] == self._whole
                row = "row" if whole else f"(row % {self._size(self._whole[-1])})"
                const, name = "const " if k else "", self._names[k]
                out.append(f"{const}real *{self._rows[k]} = {name} + {row} * {self._stride(a)};")
        return out

    def _fill(self) -> str:
        dest, lead = self.s.dest, self._leads[0]
        count = self._product_of(self._dims[x] for x in self._specs[0])
        if not self._over_rows:
            return f"fill({self._rows[0]}, {count}, 0);"
        if lead and dest.rows != (dest.buffer.base or dest.buffer).shape[0]:
            raise UnsupportedOperation("C has no text for a sum into some rows of a sequence")
        return f"fill({self._names[0]}, {' * '.join([*map(self._size, lead), count])}, 0);"

    def _product(self) -> list[str]:
        made, value = list(self._specs[0]), " * ".join(map(self._entry, range(1, len(self._specs))))
        to, sign = self._entry(0), "+=" if self._adds else "="
        if not self._dotted:
            order = [*made[:-1], *self._summed, *made[-1:]] if made else self._summed
            return self._loops(order, [f"{to} {sign} {value};"])
        terms = self._loops(self._summed[-1:], [f"total += {value};"])
        inside = ["real total = 0;", *self._loops(self._summed[:-1], ["LANES_ADD(total)", *terms]),
                  f"{to} {sign} total;"]  # fmt: skip
        return self._loops(made, inside) if made else ["{", *_deeper(inside), "}"]

    def _loops(self, letters: Sequence[str], inside: list[str]) -> list[str]:
        lines = inside
        for x in reversed(letters):
            name = self._letters[x]
            head = f"for (Index {name} = 0; {name} < {self._dim(self._dims[x])}; ++{name})"
            one = len(lines) == 1 and len(head) + len(lines[0]) < WIDTH - 16
            one = one and not lines[0].startswith("for")
            lines = [f"{head} {lines[0]}"] if one else [f"{head} {{", *_deeper(lines), "}"]
        return lines


def _deeper(lines: Iterable[str]) -> list[str]:
    return [f"    {line}" for line in lines]


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
