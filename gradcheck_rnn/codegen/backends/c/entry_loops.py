"""Fused elementwise work as C functions: loops over rows (a step and sequence) and their units."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from textwrap import wrap

from ....language.dims import ONE, Dim
from ....language.ops.unit_maps import UNIT_MAPS
from ...schedule.dependence import overlap, span
from ...schedule.ops import Access, Assign, Buffer, Call, Expr, Units, accesses
from ..cfamily.addressing import rows_of, same_place
from ..cfamily.frame import Entries, Frame
from ..cfamily.fuse import FusedKernel, Item, reads_of
from ..expressions import Precedence, Text
from ..wrapping import WIDTH
from .config import CNamer
from .expressions import C99

__all__ = ["CFrame", "comment_lines", "is_sum", "phases", "print_kernel"]


class _EntryC99(C99):
    """Expressions of entries.

    Attributes
    ----------
    over : callable or None
        Divisor that all units of a loop share → what the loop multiplies by instead.
    """

    over: Callable[[Expr], str] | None = None

    def text(self, e: Expr) -> Text:
        if isinstance(e, Call) and e.op == "div" and self.over is not None:
            above, below = e.args
            if rows_of(below) == ONE != rows_of(above):
                first = self.text(above).at(Precedence.PRODUCT)
                return Text(f"{first} * {self.over(below)}", Precedence.PRODUCT)
        return super().text(e)


class CFrame(Frame):
    """Pointers, sizes and local names of one C function."""

    printer_type = _EntryC99

    def __init__(
        self,
        kernel: FusedKernel,
        views: Mapping[Buffer, Sequence[Buffer]],
        inner: Collection[Buffer],
        sizes: Mapping[str, str],
        alone: Collection[Buffer] = (),
    ) -> None:
        self.alone, self._totals = alone, ["total"]
        self._reciprocals: dict[str, tuple[str, str]] = {}
        self._namer = CNamer(sizes.values())
        super().__init__(kernel, views, inner, sizes)

    def fresh(self, wanted: str) -> str:
        return self._namer.fresh(wanted)

    def total(self, number: int) -> str:
        """What the sum is called that a loop makes beside so many others."""
        while len(self._totals) <= number:
            self._totals.append(self.fresh(f"total_{len(self._totals) + 1}"))
        return self._totals[number]

    def reciprocal(self, divisor: str) -> tuple[str, str]:
        """What the two factors are called that a loop multiplies by instead of dividing."""
        if divisor not in self._reciprocals:
            of = f"_{divisor}" if divisor.isidentifier() else ""
            self._reciprocals[divisor] = self.fresh(f"shift{of}"), self.fresh(f"over{of}")
        return self._reciprocals[divisor]

    def head(self, name: str, comment: Iterable[str]) -> list[str]:
        """Comment and signature."""
        arguments = [
            f"{'' if array in self.written else 'const '}real *RESTRICT {pointer}"
            for array, pointer in self.pointers.items()
        ]
        arguments += [f"Index {self._sizes[s]}" for s in self.sizes]
        text = wrap(", ".join(arguments), WIDTH - 4)
        return [
            *comment_lines(comment),
            f"static void {name}(",
            *(f"    {line}" for line in text[:-1]),
            f"    {text[-1]})",
            "{",
        ]


def comment_lines(lines: Iterable[str]) -> list[str]:
    """A comment of several lines."""
    folded = [
        part for line in lines
        for part in wrap(line.replace("*/", "* /"), WIDTH - 3, subsequent_indent="      ")
    ]  # fmt: skip
    if len(folded) < 2:
        return [f"/* {line} */" for line in folded]
    return [f"/* {folded[0]}", *(f"   {x}" for x in folded[1:-1]), f"   {folded[-1]} */"]


def print_kernel(name: str, frame: CFrame, comment: Iterable[str]) -> list[str]:
    """The text of a function for a kernel; ``frame`` knows its arrays and sizes afterwards."""
    kernel = frame.kernel
    count = " * ".join(map(frame.size, kernel.lead)) or "1"
    body = _by_row(frame) if kernel.by_row else _entries(frame)
    if re.search(r"\bsequence\b", "\n".join(body)):
        body = [f"const Index sequence = row % {frame.size(kernel.lead[-1])};", *body]
    lines = [f"for (Index row = 0; row < {count}; ++row) {{", *_deeper(body), "}"]
    return [*frame.head(name, comment), *_deeper(lines), "}"]


def _deeper(lines: Iterable[str]) -> list[str]:
    return [f"    {line}".rstrip() for line in lines]


def _each_unit(frame: CFrame, rows: str, body: Iterable[str]) -> list[str]:
    return [f"for (Index unit = 0; unit < {rows}; ++unit) {{", *_deeper(body), "}"]


def _entries(frame: CFrame) -> list[str]:
    kernel = frame.kernel
    items = [i for i in kernel.items if isinstance(i, Assign)]
    entries = _LoopEntries(frame, kernel.rows != ONE)
    body = entries.run(items)
    if kernel.rows == ONE:
        return body
    return [*entries.before, *_each_unit(frame, frame.printer.dim(kernel.rows), body)]


class _LoopEntries(Entries):
    """Statements on one entry of each place, sums over the entries among them.

    Parameters
    ----------
    units : bool
        Whether there is a loop over units.

    Attributes
    ----------
    before : list of str
        What all units share, before the loop.
    totals : list of str
        Where each sum goes, in order.
    """

    def __init__(self, frame: CFrame, units: bool) -> None:
        super().__init__(frame)
        self.names, self.units = frame, units
        self.before, self.totals = list[str](), list[str]()

    def value(self, e: Expr) -> str:
        printer = self.names.printer
        assert isinstance(printer, _EntryC99)
        printer.over = self._reciprocal if self.units else None
        text = super().value(e)
        printer.over = None
        return text

    def _load(self, a: Access) -> None:
        loads = self.loads
        if self.units and a.rows == ONE:
            self.loads = self.before
        super()._load(a)
        self.loads = loads

    def _reciprocal(self, divisor: Expr) -> str:
        """Two factors that are 1 / divisor together, the first a power of two, mostly 1."""
        text = self.names.printer.text(divisor).at(Precedence.PRODUCT)
        shift, over = self.names.reciprocal(text)
        lines = [f"const real {shift} = shift_of({text});",
                 f"const real {over} = 1 / ({text} * {shift});"]  # fmt: skip
        self.before += [line for line in lines if line not in self.before]
        return f"{shift} * {over}"

    def _add(self, s: Units) -> None:
        self.lines.append(f"{self.names.total(len(self.totals))} += {self.value(s.value)};")
        self.totals.append(self.frame.entry(s.dest))


def _by_row(frame: CFrame) -> list[str]:
    """One row after the other: sums over units, and what has rows of different lengths."""
    out: list[str] = []
    for phase in phases(frame.kernel):
        first = phase[0]
        if isinstance(first, Units) and not is_sum(first):
            out += ["{", *_deeper(_units(frame, first)), "}"]
            continue
        rows = _length(first)
        entries = _LoopEntries(frame, rows != ONE)
        block = entries.run(phase)
        if rows != ONE:
            block = _each_unit(frame, frame.printer.dim(rows), block)
        names = [*map(frame.total, range(len(entries.totals)))]
        if names:
            block = [
                f"real {', '.join(f'{n} = 0' for n in names)};", f"LANES_ADD({', '.join(names)})",
                *block, *(f"{x} = {n};" for n, x in zip(names, entries.totals, strict=True)),
            ]  # fmt: skip
        braces = bool(names or entries.before or rows == ONE)
        block = [*entries.before, *block]
        out += ["{", *_deeper(block), "}"] if braces else block
    return out


def is_sum(item: Item) -> bool:
    """A sum over several units: what a loop over them adds up beside its other work."""
    return isinstance(item, Units) and item.op == "sum" and rows_of(item.value) != ONE


def _length(item: Item) -> Dim:
    """How many units a loop has that makes an item."""
    return rows_of(item.value) if isinstance(item, Units) else item.dest.rows


def phases(kernel: FusedKernel) -> list[list[Item]]:
    """Statements that one loop over units can make together, each in the first that may.

    What one later loop alone reads goes to that, if it reads no more arrays there than this one.
    """
    out: list[list[Item]] = []
    for item in kernel.items:
        found: list[Item] | None = None
        for phase in reversed(out):
            if _joins(phase, item, kernel.in_loop):
                found = phase
            if any(_meet(one, item, kernel.in_loop) for one in phase):
                break
        if found is None:
            out.append([item])
        else:
            found.append(item)
    for i, phase in reversed([*enumerate(out)]):
        for at, item in reversed([*enumerate(phase)]):
            later = _only_reader(out, i, item)
            between = [*phase[at + 1 :], *(one for p in out[i + 1 : later] for one in p)]
            passes = not any(_meet(one, item, kernel.in_loop) for one in between)
            if later > i and passes and _joins(out[later], item, kernel.in_loop):
                out[later].insert(0, phase.pop(at))
    return [phase for phase in out if phase]


def _only_reader(phases: Sequence[Sequence[Item]], i: int, item: Item) -> int:
    """Which phase alone reads what one of phase ``i`` makes, for at most one array more; or i."""
    if not isinstance(item, Assign) or item.accumulate or item.dest.rows == ONE:
        return i
    made = span(item.dest)[0]
    readers = [
        j for j, phase in enumerate(phases)
        if any(span(a)[0] == made for one in phase if one is not item
               for a in (*reads_of(one), one.dest))
    ]  # fmt: skip
    if len(readers) != 1:
        return i
    there = {span(a)[0] for one in phases[readers[0]] for a in (*reads_of(one), one.dest)}
    here = {span(a)[0] for a in accesses(item.value) if a.rows != ONE}
    return readers[0] if len(here - there) < 2 else i


def _meet(one: Item, two: Item, in_loop: bool) -> bool:
    """Whether one statement writes what the other touches."""
    return any(overlap(first.dest, a, in_loop) for first, a in _shared(one, two))


def _joins(phase: list[Item], item: Item, in_loop: bool) -> bool:
    """Whether a statement needs nothing of other units that the phase makes."""
    if any(isinstance(i, Units) and not is_sum(i) for i in (phase[0], item)):
        return False
    return _length(phase[0]) == _length(item) and not any(
        overlap(first.dest, a, in_loop) and (is_sum(first) or not same_place(first.dest, a))
        for one in phase for first, a in _shared(one, item)
    )  # fmt: skip


def _shared(one: Item, two: Item) -> Iterator[tuple[Item, Access]]:
    """Each of two statements with what the other touches."""
    for first, second in ((one, two), (two, one)):
        for a in (*reads_of(second), second.dest):
            yield first, a


def _units(frame: CFrame, s: Units) -> list[str]:
    entries = Entries(frame)
    value = entries.value(s.value)
    if s.op == "sum":  # of one unit
        return [*entries.loads, f"{frame.entry(s.dest)} = {value};"]
    if s.groups != ONE:
        return _groups(frame, s, entries, value)
    rows, x = frame.printer.dim(s.dest.rows), frame.entry(s.dest)
    put = [*entries.loads, f"{x} = {value};"]
    if s.op in UNIT_MAPS:
        called = frame.printer.called("unit_map", s.op)
        row = f"{frame.pointer(s.dest)} + {frame.position(s.dest, whole=True)}"
        return [*_each_unit(frame, rows, put), f"{called}({row}, {rows});"]
    if s.op == "softmax":
        second = [f"{x} = real_exp({x} - peak);", f"total += {x};"]
        third = [f"{x} /= total;"]
    else:
        second = [f"total += real_exp({x} - peak);"]
        third = [f"{x} = {x} - peak - real_log(total);"]
    return [
        "real peak = -(real)INFINITY, total = 0;",
        *_each_unit(frame, rows, [*put, f"if ({x} > peak) peak = {x};"]),
        "LANES_ADD(total)",
        *_each_unit(frame, rows, second),
        *_each_unit(frame, rows, third),
    ]


def _groups(frame: CFrame, s: Units, entries: Entries, value: str) -> list[str]:
    """A softmax or a map of units of each of several groups: in place, group by group."""
    rows, groups = frame.printer.dim(s.dest.rows), frame.printer.dim(s.groups)
    if s.op in UNIT_MAPS:
        called = frame.printer.called("unit_map", s.op)
    else:
        frame.printer.uses.add(s.op)
        called = f"{s.op}_of"
    first = f"{frame.pointer(s.dest)} + {frame.position(s.dest, whole=True)}"
    width = f"({rows} / {groups})"
    return [
        *_each_unit(frame, rows, [*entries.loads, f"{frame.entry(s.dest)} = {value};"]),
        f"for (Index group = 0; group < {groups}; ++group) {{",
        f"    {called}({first} + group * {width}, {rows} / {groups});", "}",
    ]  # fmt: skip
