"""Pointers, sizes and local names of a fused kernel, and its statements entry by entry."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import ClassVar

from ....errors import UnsupportedOperation
from ....language.dims import ONE, Dim
from ...schedule.dependence import span
from ...schedule.ops import Access, Assign, Buffer, Expr, Units, accesses
from ..expressions import dim_text
from .addressing import lead_of
from .expressions import EntryPrinter
from .fuse import FusedKernel, Item, reads_of
from .identifiers import c_name

__all__ = ["Entries", "Frame", "Key"]

#: A place in a kernel: the array, its time, and the rows of it.
Key = tuple[Buffer, int, tuple[str, int] | None, Dim, Dim]


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

    #: Arrays that hold one row, which the kernel uses again for every row.
    alone: Collection[Buffer] = ()
    #: Prints the expressions of the dialect.
    printer_type: ClassVar[type[EntryPrinter]]

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
        self.printer = self.printer_type(self.no_access, self.size)
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
        parts = [] if start == Dim() else [self.printer.dim(start)]
        if lead and root not in self.alone:
            row = "row" if lead == self.kernel.lead else "sequence"
            width = root.shape[0]
            if width == ONE:
                return row
            text = self.printer.dim(width)
            parts = [f"{row} * {text if '+' not in text else f'({text})'}", *parts]
        text = " + ".join([*parts, *unit])
        return text or "0"

    def entry(self, a: Access) -> str:
        """The thread's entry in memory."""
        return f"{self.pointer(a)}[{self.position(a)}]"

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

    def run(self, assigns: Sequence[Item]) -> list[str]:
        """Lines for statements in order."""
        counts: dict[Key, int] = {}
        for a in assigns:
            for key in {self.frame.key(r) for r in reads_of(a)}:
                counts.setdefault(key, 1)  # it is loaded
            key = self.frame.key(a.dest)
            counts[key] = counts.get(key, 0) + 1
        self.changed |= {k for k, n in counts.items() if n > 1}
        for a in assigns:
            if isinstance(a, Assign):
                self._assign(a)
            else:
                self._add(a)
        stores = [f"{self.frame.entry(a)} = {self.known[k]};" for k, a in self.stores.items()]
        parts = [p for p in (self.loads, self.lines, stores) if p]
        space = [""] if len(stores) > 2 else []
        return [line for i, p in enumerate(parts) for line in [*(space if i else []), *p]]

    def value(self, e: Expr) -> str:
        """An expression as text, after lines that load what it needs."""
        for a in accesses(e):
            self._load(a)
        printer = self.frame.printer
        printer.access = lambda a: self.known[self.frame.key(a)]
        return printer.text(e).text

    def _load(self, a: Access) -> None:
        key = self.frame.key(a)
        if key not in self.known:
            self.known[key] = name = self.frame.local(a)
            const = "" if key in self.changed else "const "
            self.loads.append(f"{const}real {name} = {self.frame.entry(a)};")

    def _add(self, s: Units) -> None:
        """A sum over the entries, where a dialect makes it in the same loop."""
        raise UnsupportedOperation(f"there is no text for a {s.op} beside other entries")

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


def _word(d: Dim) -> str:
    return re.sub(r"\W+", "", dim_text(d).replace(" + ", "_"))
