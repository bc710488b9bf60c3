"""Statements of a prepared schedule as CuPy lines and the kernels they launch."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from ....language.dims import Dim
from ...schedule.kernel_names import Names
from ...schedule.ops import (
    Access,
    Arrange,
    Assign,
    Buffer,
    Contract,
    Gemm,
    Lead,
    LinearSystem,
    Loop,
    Matrix,
    Number,
    Outer,
    Pack,
    Reduce,
    Statement,
    StepRows,
    accesses,
)
from ..arrangement import arrangement
from ..cfamily.addressing import lead_of
from ..cfamily.fuse import Fused, FusedKernel, FusedLoop, fuse, inner, plain
from ..cfamily.identifiers import c_name, c_sizes
from ..contraction import contraction
from ..expressions import dim_text, number_text
from ..step_rows import step_rows
from ..systems import solution
from .entry_kernels import CudaFrame, Printed, print_entries
from .host import Host
from .places import contiguous, place_text
from .row_kernels import print_rows

__all__ = ["CuPyWriter"]


class CuPyWriter:
    """Prints one routine.

    Parameters
    ----------
    routine : str
        Its name, with which the names of its kernels begin.
    names : Names
        Names of the module.
    views : mapping
        Packed array → its views.
    made : iterable of Buffer
        Arrays that are there before the first statement.
    equations : mapping
        Name of a value → its equation, for comments.

    Attributes
    ----------
    lines : list of str
        Python.
    kernels : list of Printed
        CUDA.
    buffers : dict
        Arrays to be allocated before, in order.
    uses : set of str
        Helper functions.
    """

    def __init__(
        self,
        routine: str,
        names: Names,
        views: Mapping[Buffer, Sequence[Buffer]],
        made: Iterable[Buffer],
        equations: Mapping[str, str],
    ) -> None:
        self.routine, self.names, self.views = routine, names, views
        self._sizes = c_sizes(names)
        self.made = set(made)
        self.equations = equations
        self.lines: list[str] = []
        self.kernels: list[Printed] = []
        self.buffers: dict[Buffer, None] = {}
        self._loop: Loop | None = None
        self._indent = 1
        self._inner: set[Buffer] = set()
        self._host = Host(self.access)

    @property
    def uses(self) -> set[str]:
        return self._host.uses

    def line(self, text: str) -> None:
        """Add a line at the current depth."""
        self.lines.append("    " * self._indent + text)

    def access(self, a: Access) -> str:
        """A place as text."""
        self.need(a.buffer)
        return place_text(a, self._loop is not None)

    def need(self, b: Buffer) -> None:
        """Have an array allocated before the first statement, unless a line has made it."""
        root = b.base or b
        if root not in self.made:
            self.buffers.setdefault(root)

    def flat(self, a: Access) -> str:
        """All steps and sequences as the rows of one matrix."""
        text = self.access(a)
        if len(lead_of(a, self._loop is not None)) < 2:
            return text
        return f"{text}.reshape({' * '.join(a.lead)}, {dim_text(a.rows)})"

    def _makes(self, dest: Access) -> bool:
        """Whether a line may make the whole array: then it need not be allocated."""
        b = dest.buffer
        whole = b.base is None and dest.whole and dest.slot is None and not b.before + b.after
        return whole and self._loop is None and b not in self.made and b not in self.buffers

    def put(self, dest: Access, text: str, accumulate: bool = False) -> None:
        """A line that stores the value of an expression of CuPy."""
        if not accumulate and self._makes(dest):
            self.made.add(dest.buffer)
            self.line(f"{dest.buffer.name} = {text}")
            return
        place = self.access(dest)
        if accumulate:
            self.line(f"{place} += {text}")
        else:
            self.line(f"{place if place.endswith(']') else place + '[...]'} = {text}")

    # -- statements -----------------------------------------------------------------------------

    def write(self, statements: Iterable[Statement], handed: Collection[Buffer]) -> None:
        """Print prepared statements in order; ``handed`` are arrays that are given out."""
        fused = fuse(statements)
        self._inner = inner(fused, handed)
        self._write(fused)

    def _write(self, fused: Iterable[Fused]) -> None:
        for s in fused:
            if isinstance(s, FusedKernel):
                self._kernel(s)
            elif isinstance(s, FusedLoop):
                self._write_loop(s)
            elif isinstance(s, Gemm):
                self._gemm(s)
            elif isinstance(s, Contract):
                self.put(s.dest, self._product(s), s.accumulate)
            elif isinstance(s, Arrange):
                self.need(s.dest.buffer)
                for text in arrangement(s, self.access, self._lead):
                    self.line(text)
            elif isinstance(s, LinearSystem):
                self.put(s.dest, solution("cp", s, self.access, self._lead))
            elif isinstance(s, StepRows):
                self.put(s.dest, step_rows(s, self.access, str))
            elif isinstance(s, Outer):
                self.put(s.dest, f"cp.dot({self._turned(s.delta)}, {self.flat(s.x)})", s.accumulate)
            elif isinstance(s, Reduce):
                self._reduce(s)
            elif isinstance(s, Matrix):
                self._matrix(s)
            elif isinstance(s, Pack):
                parts = ", ".join(map(self.access, s.parts))
                self.put(Access(s.dest), f"cp.concatenate(({parts}))")

    def _turned(self, a: Access) -> str:
        return f"{self.flat(a)}.T"

    def _write_loop(self, s: FusedLoop) -> None:
        count = f"range({s.loop.axis})"
        self.line(f"for t in {f'reversed({count})' if s.loop.reverse else count}:")
        self._loop, self._indent = s.loop, self._indent + 1
        self._write(s.body)
        self._loop, self._indent = None, self._indent - 1

    def _gemm(self, s: Gemm) -> None:
        product = f"{self.flat(s.x)}, {self.access(s.weight)}{'.T' if s.transposed else ''}"
        if self._loop is None and self._makes(s.dest):
            shape = f"{', '.join(s.x.lead)}, {dim_text(s.dest.rows)}"
            end = f".reshape({shape})" if len(s.x.lead) == 2 else ""
            self.put(s.dest, f"cp.dot({product}){end}")
        elif contiguous(s.dest):
            self.line(f"cp.dot({product}, out={self.flat(s.dest)})")
        else:
            self.put(s.dest, f"cp.dot({product})")

    def _product(self, s: Contract) -> str:
        return contraction("cp", s, self.access, self._lead)

    def _lead(self, a: Access) -> Lead:
        """The leading axes that a place has here."""
        return lead_of(a, self._loop is not None)

    def _reduce(self, s: Reduce) -> None:
        if not isinstance(s.value, Access):
            raise TypeError("a sum over steps is prepared before it is printed")
        axis = "" if not s.dest.buffer.shape else "axis=0" if len(s.over) == 1 else "axis=(0, 1)"
        self.put(s.dest, f"{self.access(s.value)}.sum({axis})", s.accumulate)

    def _matrix(self, s: Matrix) -> None:
        text = self._host.text(s.value).text
        if isinstance(s.value, Access):
            text += ".copy()"
        elif not any(True for _ in accesses(s.value)):
            shape = ", ".join(map(dim_text, s.dest.shape)) + ("," if len(s.dest.shape) == 1 else "")
            text = f"cp.zeros(({shape}), dtype) + ({text})"
        self.put(Access(s.dest), text, s.accumulate)

    # -- kernels --------------------------------------------------------------------------------

    def _kernel(self, k: FusedKernel) -> None:
        if self._loop is None and all(map(plain, k.items)):
            for i in k.items:
                if isinstance(i, Assign):
                    self._plain(i)
            return
        made = [v.name for i in k.items for v in self._named(i.dest)]
        name = f"{self.routine}_{'step' if k.in_loop else made[0]}"
        printer = print_rows if k.by_row else print_entries
        frame = CudaFrame(k, self.views, self._inner, self._sizes)
        printed = printer(self.names.fresh(c_name(name)), frame, self._comment(k, made))
        self.kernels.append(printed)
        self.line(f"{printed.name}({', '.join(map(self.access, printed.arrays))})")

    def _plain(self, a: Assign) -> None:
        text = number_text(a.value.value) if isinstance(a.value, Number) else ""
        self.put(a.dest, text or self.access(next(accesses(a.value))), a.accumulate)

    def _named(self, a: Access) -> list[Buffer]:
        """The view that a place is, or its array."""
        if a.buffer.base is not None:
            return [a.buffer]
        start = a.start or Dim()
        views = self.views.get(a.buffer, ())
        exact = [v for v in views if v.offset == start and v.shape[0] == a.rows]
        return exact or [a.buffer]

    def _comment(self, k: FusedKernel, made: list[str]) -> list[str]:
        names = list(dict.fromkeys(made))
        when = {0: "Once", 1: "One step" if k.in_loop else "Each sequence", 2: "All steps"}
        unit = "one block a row" if k.by_row else "one thread an entry"
        out = [f"{when[len(k.lead)]}, {unit}: {', '.join(names)}."]
        return out + [f"  {self.equations[n]}" for n in names if n in self.equations]
