"""CUDA text of kernels with one block a row: sums over units, softmax, and what is fused with them.

The threads of a block share the units of a row. What a thread writes it may read again in a later
loop over equally many units; before any other access to what was written, or overwriting of what
another thread may still read, all threads wait. A scalar of the row is computed by every thread
alike and written by the first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ....language.dims import ONE, Dim
from ....language.ops.unit_maps import UNIT_MAPS
from ...schedule.dependence import overlap
from ...schedule.ops import BATCH, Access, Assign, Units
from ..cfamily.addressing import rows_of, same_place
from ..cfamily.frame import Entries, Key
from ..cfamily.fuse import FusedKernel, Item, reads_of
from ..expressions import dim_text
from .entry_kernels import CudaFrame, Printed

__all__ = ["print_rows"]


def print_rows(name: str, frame: CudaFrame, comment: Iterable[str]) -> Printed:
    """A kernel with one block a row."""
    kernel = frame.kernel
    body = _Rows(frame, kernel).text()
    kind = "long long" if kernel.timed else "int"
    start = [f"const {kind} row = blockIdx.x;"]
    if any("[sequence" in line for line in body):
        start.append(f"const int sequence = row % {frame.size(BATCH)};")
    text = [*frame.head(name, comment), *(f"    {line}".rstrip() for line in (*start, *body)), "}"]
    count, uses = " * ".join(kernel.lead) or "1", set(frame.printer.uses)
    return Printed(name, text, frame.arrays(), list(frame.sizes), count, True, uses)


class _Rows:
    def __init__(self, frame: CudaFrame, kernel: FusedKernel) -> None:
        self.frame, self.kernel = frame, kernel
        self.lines: list[str] = []
        self.scalars: dict[Key, str] = {}
        self.written: dict[Key, Access] = {}
        #: Accesses since the threads last waited, each with whether it is a write.
        self.open: list[tuple[Access, bool]] = []
        counts: dict[Key, int] = {}
        for i in kernel.items:
            for a in (*reads_of(i), i.dest):
                if a.rows == ONE and (a is i.dest or frame.key(a) not in counts):
                    counts[frame.key(a)] = counts.get(frame.key(a), 0) + 1
        self.changing = {k for k, n in counts.items() if n > 1}

    def text(self) -> list[str]:
        for phase in self._phases():
            first = phase[0]
            if isinstance(first, Units):
                self._units(first)
            elif first.dest.rows == ONE:
                self._scalar(first)
            else:
                self._loop([i for i in phase if isinstance(i, Assign)])
        stored = {k: a for k, a in self.written.items() if k[0] not in self.frame.inner}
        if stored:
            self._wait(stored.values(), write=True)
            stores = [f"    {self.frame.entry(a)} = {self.scalars[k]};" for k, a in stored.items()]
            self.lines += ["if (threadIdx.x == 0) {", *stores, "}"]
        return self.lines

    def _phases(self) -> list[list[Item]]:
        """Statements that share a loop over the units."""
        out: list[list[Item]] = []
        for item in self.kernel.items:
            if isinstance(item, Assign) and out and self._joins(out[-1], item):
                out[-1].append(item)
            else:
                out.append([item])
        return out

    def _joins(self, phase: list[Item], item: Assign) -> bool:
        """Whether a statement needs nothing of other threads that the phase makes."""
        rows = item.dest.rows
        if isinstance(phase[0], Units) or rows == ONE or phase[0].dest.rows != rows:
            return False
        for one in phase:
            for first, second in ((one, item), (item, one)):
                for other in (*reads_of(second), second.dest):
                    touch = overlap(first.dest, other, self.kernel.in_loop)
                    if touch and not same_place(first.dest, other):
                        return False
        return True

    # -- order between threads ------------------------------------------------------------------

    def _wait(self, places: Iterable[Access], write: bool) -> None:
        """A barrier if another thread has to be done with one of the places; remembers them."""
        places = list(places)
        for a in places:
            for b, wrote in self.open:
                clash = (write or wrote) and overlap(a, b, self.kernel.in_loop)
                # The same rows of equally many units belong to the same thread.
                if clash and (a.rows == ONE or not same_place(a, b)):
                    self.lines.append("__syncthreads();")
                    self.open.clear()
                    break
        self.open += [(a, write) for a in places]

    def _touch(self, items: Sequence[Item]) -> None:
        reads = [a for i in items for a in reads_of(i)]
        for a in reads:
            if a.rows == ONE and self.frame.key(a) not in self.scalars:
                self._wait([a], False)
                const = "" if self.frame.key(a) in self.changing else "const "
                self.scalars[self.frame.key(a)] = name = self.frame.local(a)
                self.lines.append(f"{const}real {name} = {self.frame.entry(a)};")
        self._wait([a for a in reads if a.rows != ONE], False)
        self._wait([i.dest for i in items if i.dest.rows != ONE], True)

    def _fence(self) -> None:
        """Let every thread wait for what all have written."""
        self.lines.append("__syncthreads();")
        self.open.clear()

    # -- phases ---------------------------------------------------------------------------------

    def _each_unit(self, rows: Dim, body: Iterable[str]) -> list[str]:
        limit = self.frame.printer.dim(rows)
        head = f"for (int unit = threadIdx.x; unit < {limit}; unit += blockDim.x) {{"
        return [head, *(f"    {line}".rstrip() for line in body), "}"]

    def _loop(self, assigns: list[Assign]) -> None:
        self._touch(assigns)
        body = Entries(self.frame, self.scalars).run(assigns)
        self.lines += self._each_unit(assigns[0].dest.rows, body)
        self._forget(assigns)

    def _scalar(self, a: Assign) -> None:
        self._touch([a])
        value = Entries(self.frame, self.scalars).value(a.value)
        self._set(a.dest, value, "+=" if a.accumulate else "=")

    def _set(self, dest: Access, value: str, sign: str = "=") -> str:
        key = self.frame.key(dest)
        if key in self.scalars:
            self.lines.append(f"{self.scalars[key]} {sign} {value};")
        else:
            self.scalars[key] = name = self.frame.local(dest)
            const = "" if key in self.changing else "const "
            self.lines.append(f"{const}real {name} = {value};")
        self.written[key] = dest
        return self.scalars[key]

    def _forget(self, items: Sequence[Item]) -> None:
        """Scalars that are entries of what was just written are to be read again."""
        for key in [k for k in self.scalars if k not in self.written]:
            place = Access(key[0], key[1], key[3], key[4], key[2])
            if any(overlap(place, i.dest, self.kernel.in_loop) for i in items):
                del self.scalars[key]

    def _units(self, s: Units) -> None:
        self._touch([s])
        if s.groups != ONE:
            # Units of a group belong to other threads than units of the whole row.
            self._fence()
        if s.op == "sum":
            self._sum(s)
        elif s.op in UNIT_MAPS:
            self._unit_map(s)
            self._forget([s])
        else:
            self._softmax(s)
            self._forget([s])

    def _sum(self, s: Units) -> None:
        entries = Entries(self.frame, self.scalars)
        value = entries.value(s.value)
        self.frame.printer.uses.add("block_sum")
        key = self.frame.key(s.dest)
        self.changing.add(key)
        total = self._set(s.dest, "real(0)")
        body = [*entries.loads, f"{total} += {value};"]
        self.lines += self._each_unit(rows_of(s.value), body)
        self.lines.append(f"{total} = block_sum({total});")

    def _unit_map(self, s: Units) -> None:
        """The operand goes to its place, where a device function works on the whole row."""
        frame = self.frame
        entries = Entries(frame, self.scalars)
        value = entries.value(s.value)
        row = f"{frame.pointer(s.dest)} + {frame.position(s.dest, whole=True)}"
        body = [*entries.loads, f"{frame.entry(s.dest)} = {value};"]
        self.lines += self._each_unit(s.dest.rows, body)
        self.lines.append("__syncthreads();")
        called = frame.printer.called("unit_map", s.op)
        rows = frame.printer.dim(s.dest.rows)
        if s.groups == ONE:
            self.lines.append(f"{called}({row}, {rows});")
            return
        groups = frame.printer.dim(s.groups)
        width = f"{rows} / {groups}"
        self.lines += [
            f"for (int group = 0; group < {groups}; ++group) {{",
            f"    {called}({row} + group * ({width}), {width});", "}",
        ]  # fmt: skip
        self._fence()

    def _softmax(self, s: Units) -> None:
        frame = self.frame
        frame.printer.uses |= {"block_sum", "block_max", "lowest"}
        entries = Entries(frame, self.scalars)
        value = entries.value(s.value)
        x = frame.entry(s.dest)
        name = frame.fresh("value")
        first = [
            *entries.loads,
            f"const real {name} = {value};",
            f"{x} = {name};",
            f"peak = {name} > peak ? {name} : peak;",
        ]
        rows = s.dest.rows
        if s.op == "softmax":
            second = [f"const real {name} = exp({x} - peak);"]
            second += [f"{x} = {name};", f"total += {name};"]
            third = [f"{x} /= total;"]
        else:
            second = [f"total += exp({x} - peak);"]
            third = [f"{x} = {x} - peak - log(total);"]
        groups, limit = frame.printer.dim(s.groups), frame.printer.dim(rows)
        bounds = ("", limit) if s.groups == ONE else (
            f"group * ({limit} / {groups}) + ", f"(group + 1) * ({limit} / {groups})"
        )  # fmt: skip

        def each(inside: Iterable[str]) -> list[str]:
            head = f"for (int unit = {bounds[0]}threadIdx.x; unit < {bounds[1]}; unit += "
            return [f"{head}blockDim.x) {{", *(f"    {line}".rstrip() for line in inside), "}"]

        body = [
            "real peak = lowest();",
            *each(first),
            "peak = block_max(peak);",
            "real total = real(0);",
            *each(second),
            "total = block_sum(total);",
            *each(third),
        ]
        if s.groups == ONE:
            title, head = f"    // {s.op} of {dim_text(rows)} units", "{"
        else:
            title = f"    // {s.op} of each of {dim_text(s.groups)} groups of units"
            head = f"for (int group = 0; group < {groups}; ++group) {{"
        self.lines += [head, title, *(f"    {line}" for line in body), "}"]
        if s.groups != ONE:
            self._fence()
