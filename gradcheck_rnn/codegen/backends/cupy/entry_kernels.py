"""CUDA text of kernels with one thread an entry, and the signature that all kernels have."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from textwrap import wrap
from typing import ClassVar

from ....language.dims import Dim
from ...schedule.ops import BATCH, Access, Assign, Buffer
from ..cfamily.addressing import lead_of
from ..cfamily.expressions import EntryPrinter
from ..cfamily.frame import Entries, Frame
from ..expressions import Precedence, Text, dim_text
from ..wrapping import WIDTH

__all__ = ["Cuda", "CudaFrame", "Printed", "number", "print_entries"]


def number(value: Fraction) -> str:
    """A literal of the kernel's own precision: ``real(1)``, ``real(0.1)``.

    A literal without the cast would turn float32 arithmetic into float64.
    """
    if value.denominator == 1 and abs(value.numerator) < 2**53:
        return f"real({value.numerator})"
    return f"real({float(value)!r})"


class Cuda(EntryPrinter):
    """Prints expressions of the thread's entries."""

    title = "CUDA"
    templates: ClassVar[Mapping[str, str]] = {
        "abs": "fabs({0})",
        "sign": "real(({0:atom} > real(0)) - ({0:atom} < real(0)))",
        "greater": "({0} > {1} ? real(1) : real(0))",
        "maximum": "({0} > {1} ? {0} : {1})",
        "where": "({0} != real(0) ? {1} : {2})",
    }

    def number(self, value: Fraction) -> Text:
        return Text(number(value))

    def size(self, d: Dim | str) -> Text:
        return Text(f"real({self.dim(d)})")

    def power(self, base: Text, exponent: Fraction) -> Text:
        if exponent == 2:
            self.uses.add("square")
            return Text(f"square({base})")
        if exponent == -1:
            return Text(f"real(1) / {base:atom}", Precedence.PRODUCT)
        if exponent == Fraction(1, 2):
            return Text(f"sqrt({base})")
        return Text(f"pow({base}, {number(exponent)})")


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


class CudaFrame(Frame):
    """Pointers, sizes and local names of one CUDA kernel."""

    printer_type = Cuda

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


def print_entries(name: str, frame: CudaFrame, comment: Iterable[str]) -> Printed:
    """A kernel with one thread an entry."""
    kernel = frame.kernel
    body = Entries(frame).run([i for i in kernel.items if isinstance(i, Assign)])
    rows = frame.printer.dim(kernel.rows)
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
    uses = set(frame.printer.uses)
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
