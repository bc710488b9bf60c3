"""CUDA text of kernels with one thread an entry, and what all kernels have in common."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from textwrap import wrap

from ....language.dims import ONE, Dim
from ...schedule.dependence import span
from ...schedule.ops import BATCH, Access, Assign, Buffer, Expr, accesses
from ..expressions import dim_text
from ..wrapping import WIDTH
from .addressing import lead_of
from .config import c_name
from .expressions import Cuda
from .fuse import FusedKernel, reads_of

__all__ = ["Entries", "Frame", "Printed", "print_entries"]

#: A place in a kernel: the array, its time, and the rows of it.
Key = tuple[Buffer, int, tuple[str, int] | None, Dim, Dim]


@dataclass
class Printed:
    """A kernel's text, and what it is called with.

    Attributes
    ----------
    arrays : list of Access
        Whole arrays (at one time) in the order of the pointers.
    sizes : list of str
        Names of the dims and axes that come after them.
    count : str
        How many entries or rows there are, in Python.
    """

    name: str
    text: list[str]
    arrays: list[Access]
    sizes: list[str]
    count: str
    by_row: bool
    uses: set[str] = field(default_factory=set)


class Frame:
    """Pointers, sizes and local names of one kernel.

    Parameters
    ----------
    views : mapping
        Packed array → its views.
    inner : collection of Buffer
        Arrays that are only names in this kernel: not stored, no pointer.
    sizes : mapping
        Size as a variable of Python → its name in kernels.
    """

    def __init__(
        self,
        kernel: FusedKernel,
        views: Mapping[Buffer, Sequence[Buffer]],
        inner: Collection[Buffer],
        sizes: Mapping[str, str],
    ) -> None:
        self.kernel, self.views, self.inner, self._sizes = kernel, views, inner, sizes
        self.pointers: dict[tuple[Buffer, int, tuple[str, int] | None], str] = {}
        self.taken: set[str] = set(sizes.values())
        self.names: dict[Key, str] = {}
        self.sizes: list[str] = []
        self.cuda = Cuda(self.no_access, self.size)
        everything = [a for i in kernel.items for a in (*reads_of(i), i.dest)]
        self.written = {self.array(i.dest) for i in kernel.items}
        stored = [a for a in everything if span(a)[0] not in inner]
        for a in (*(a for a in stored if a.buffer.lead), *stored):
            self.pointer(a)

    def no_access(self, a: Access) -> str:
        """Stands in until a printer says how entries are called."""
        return self.local(a)

    def size(self, name: str) -> str:
        """A dim or an axis, remembered as a parameter."""
        if name not in self.sizes:
            self.sizes.append(name)
        return self._sizes[name]

    def array(self, a: Access) -> tuple[Buffer, int, tuple[str, int] | None]:
        """What a pointer points to."""
        return span(a)[0], a.lag, a.slot

    def key(self, a: Access) -> Key:
        return (*self.array(a), *span(a)[1:])

    def fresh(self, wanted: str) -> str:
        """A name that is free in this kernel."""
        name, count = wanted, 1
        while name in self.taken:
            count += 1
            name = f"{wanted}_{count}"
        self.taken.add(name)
        return name

    def pointer(self, a: Access) -> str:
        """The name of an array at a time."""
        array = self.array(a)
        if array not in self.pointers:
            self.pointers[array] = self.fresh(c_name(array[0].name + self._when(a)))
        return self.pointers[array]

    def _when(self, a: Access) -> str:
        if a.slot is not None:
            return "_last" if a.slot == ("end", -1) else "_start"
        if not a.lag:
            return ""
        # A step back in time is what a scan comes from, or where an adjoint goes to.
        back = "_prev" if a.lag > 0 else "_next"
        return back + (str(abs(a.lag)) if abs(a.lag) > 1 else "")

    def local(self, a: Access) -> str:
        """The name of the thread's entry of a place: ``c_j`` of a unit, ``mask_b`` of a row."""
        key = self.key(a)
        if key not in self.names:
            root, start, _ = span(a)
            view = next(
                (v for v in self.views.get(root, ()) if (v.offset, v.shape[0]) == (start, a.rows)),
                None,
            )
            name = root.name if view is None else view.name
            if view is None and root.lead and a.rows != root.shape[0]:
                name += "_" + _word(start)
            self.names[key] = self.fresh(
                c_name(name + self._when(a) + ("_b" if a.rows == ONE else "_j"))
            )
        return self.names[key]

    # -- where things are -----------------------------------------------------------------------

    def position(self, a: Access, whole: bool = False) -> str:
        """The index of the thread's entry, or of the first unit of a whole row."""
        root, start, _ = span(a)
        lead = lead_of(a, self.kernel.in_loop)
        unit = [] if whole or a.rows == ONE else ["unit"]
        parts = [] if start == Dim() else [self.cuda.dim(start)]
        if lead:
            row = "row" if lead == self.kernel.lead else "sequence"
            width = root.shape[0]
            if width == ONE:
                return row
            text = self.cuda.dim(width)
            parts = [f"{row} * {text if '+' not in text else f'({text})'}", *parts]
        text = " + ".join([*parts, *unit])
        return text or "0"

    def entry(self, a: Access) -> str:
        """The thread's entry in memory."""
        return f"{self.pointer(a)}[{self.position(a)}]"

    # -- text -----------------------------------------------------------------------------------

    def head(self, name: str, comment: Iterable[str]) -> list[str]:
        """Comment and signature."""
        shapes: list[str] = []
        rows: list[str] = []
        for array, pointer in self.pointers.items():
            const = "" if array in self.written else "const "
            rows.append(f"{const}real* __restrict__ {pointer},")
            axes = self._shape(array)
            shapes.append(f"({', '.join(axes)}{',' if len(axes) == 1 else ''})")
        width = max(map(len, rows))
        out = [x for line in comment for x in _comment(line)]
        out.append(f'extern "C" __global__ void {name}(')
        out += [f"    {r:{width}}  // {s}" for r, s in zip(rows, shapes, strict=True)]
        if self.sizes:
            out.append(f"    {', '.join(f'const int {self._sizes[s]}' for s in self.sizes)})")
        else:
            out[-1] = out[-1].replace(",", ")", 1)
        return [*out, "{"]

    def _shape(self, array: tuple[Buffer, int, tuple[str, int] | None]) -> list[str]:
        root, lag, slot = array
        lead = lead_of(Access(root, lag, slot=slot), self.kernel.in_loop)
        return [*lead, *map(dim_text, root.shape)]

    def arrays(self) -> list[Access]:
        """What the kernel is called with."""
        return [Access(root, lag, slot=slot) for root, lag, slot in self.pointers]


class Entries:
    """Statements on one entry of each place: loads, equations, stores.

    Parameters
    ----------
    scalars : mapping
        Scalars that are known already, by place.
    """

    def __init__(self, frame: Frame, scalars: Mapping[Key, str] = {}) -> None:
        self.frame, self.scalars = frame, scalars
        self.known: dict[Key, str] = dict(scalars)
        self.loads: list[str] = []
        self.lines: list[str] = []
        self.stores: dict[Key, Access] = {}
        self.changed: set[Key] = set()

    def run(self, assigns: Sequence[Assign]) -> list[str]:
        """Lines for statements in order."""
        counts: dict[Key, int] = {}
        for a in assigns:
            for key in {self.frame.key(r) for r in reads_of(a)}:
                counts.setdefault(key, 1)  # it is loaded
            key = self.frame.key(a.dest)
            counts[key] = counts.get(key, 0) + 1
        self.changed |= {k for k, n in counts.items() if n > 1}
        for a in assigns:
            self._assign(a)
        stores = [f"{self.frame.entry(a)} = {self.known[k]};" for k, a in self.stores.items()]
        parts = [p for p in (self.loads, self.lines, stores) if p]
        space = [""] if len(stores) > 2 else []
        return [line for i, p in enumerate(parts) for line in [*(space if i else []), *p]]

    def value(self, e: Expr) -> str:
        """An expression as text, after lines that load what it needs."""
        for a in accesses(e):
            self._load(a)
        cuda = self.frame.cuda
        cuda.access = lambda a: self.known[self.frame.key(a)]
        return cuda.text(e).text

    def _load(self, a: Access) -> None:
        key = self.frame.key(a)
        if key not in self.known:
            self.known[key] = name = self.frame.local(a)
            const = "" if key in self.changed else "const "
            self.loads.append(f"{const}real {name} = {self.frame.entry(a)};")

    def _assign(self, a: Assign) -> None:
        key = self.frame.key(a.dest)
        if a.accumulate:
            self._load(a.dest)
        text = self.value(a.value)
        if key[0] not in self.frame.inner:
            self.stores.setdefault(key, a.dest)
        if key in self.known:
            self.lines.append(f"{self.known[key]} {'+=' if a.accumulate else '='} {text};")
            return
        self.known[key] = name = self.frame.local(a.dest)
        const = "" if key in self.changed else "const "
        self.lines.append(f"{const}real {name} = {text};")


def print_entries(name: str, frame: Frame, comment: Iterable[str]) -> Printed:
    """A kernel with one thread an entry."""
    kernel = frame.kernel
    body = Entries(frame).run([i for i in kernel.items if isinstance(i, Assign)])
    rows = frame.cuda.dim(kernel.rows)
    whole = " * ".join([*map(frame.size, kernel.lead), *([_factor(rows)] if rows != "1" else [])])
    kind = "long long" if kernel.timed else "int"
    # A step has fewer than 2^31 entries, a whole sequence may have more.
    thread = "blockIdx.x * blockDim.x + threadIdx.x"
    if kernel.timed:
        thread = f"({kind})blockIdx.x * blockDim.x + threadIdx.x"
        whole = f"({kind}){whole}"
    if rows == "1":
        start = [f"const {kind} row = {thread};", f"if (row >= {whole}) return;"]
    else:
        start = [f"const {kind} entry = {thread};", f"if (entry >= {whole}) return;"]
        same = f"row * {rows if '+' not in rows else f'({rows})'} + unit"
        body = [line.replace(f"[{same}]", "[entry]") for line in body]
        start += _used(body, [
            ("row", f"const {kind} row = entry / {_factor(rows)};"),
            ("unit", f"const int unit = entry % {_factor(rows)};"),
        ], also=("row", "sequence"))  # fmt: skip
    start += _used(body, [("sequence", f"const int sequence = row % {frame.size(BATCH)};")])
    text = [*frame.head(name, comment), *(f"    {x}".rstrip() for x in (*start, "", *body)), "}"]
    count = " * ".join([*kernel.lead, *([_factor(dim_text(kernel.rows))] if rows != "1" else [])])
    uses = set(frame.cuda.uses)
    return Printed(name, text, frame.arrays(), list(frame.sizes), count, False, uses)


def _comment(line: str) -> list[str]:
    """A comment in lines that are not too long."""
    text = line.lstrip()
    start = "// " + " " * (len(line) - len(text))
    later = start + "    "
    return wrap(text, WIDTH, initial_indent=start, subsequent_indent=later, break_long_words=False)


def _factor(text: str) -> str:
    return text if text.isidentifier() or text.isdigit() else f"({text})"


def _used(body: list[str], lines: list[tuple[str, str]], also: tuple[str, ...] = ()) -> list[str]:
    """Definitions of the indices that the body uses; ``also``: names that need the first."""
    text = "\n".join(body)
    out = []
    for i, (name, line) in enumerate(lines):
        wanted = also if also and i == 0 else (name,)
        if any(re.search(rf"\b{w}\b", text) for w in wanted):
            out.append(line)
    return out


def _word(d: Dim) -> str:
    return re.sub(r"\W+", "", dim_text(d).replace(" + ", "_"))
