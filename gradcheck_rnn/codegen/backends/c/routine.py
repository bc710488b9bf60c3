"""Statements of one routine as lines of a C function."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from textwrap import wrap

from ....errors import UnsupportedOperation
from ....language.dims import ONE, Dim
from ...schedule.ops import (
    BATCH,
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
    Outer,
    Pack,
    Reduce,
    Statement,
    StepRows,
)
from ..cfamily.addressing import lead_of
from ..cfamily.fuse import Fused, FusedKernel, FusedLoop
from ..wrapping import WIDTH
from .config import CNamer
from .contractions import Contraction, Matrices
from .entry_loops import CFrame, print_kernel
from .expressions import C99
from .local_arrays import gathered, in_one_loop, of_one_row

__all__ = ["CRoutine"]


class CRoutine:
    """Prints one routine.

    Parameters
    ----------
    name : str
        With which its static functions begin.
    sizes : mapping
        Size as the schedule calls it → its name in C.
    file_names, local : CNamer
        Names of the file, and of this function.
    views : mapping
        Packed array → its views.
    given : mapping
        Arrays that are there → their names.
    equations : mapping
        Name of a value → its equation, for comments.

    Attributes
    ----------
    lines, functions : list of str
        The body, and the functions that it calls.
    made : dict
        Array of the workspace → its name, in order; `extra` has arrays that C needs, by size.
    scratch : list of str
        Sizes of what the shared scratch array must hold.
    uses : set of str
        Helper functions.
    """

    def __init__(
        self, name: str, sizes: Mapping[str, str], file_names: CNamer, local: CNamer,
        views: Mapping[Buffer, Sequence[Buffer]], given: Mapping[Buffer, str],
        equations: Mapping[str, str],
    ) -> None:  # fmt: skip
        self.name, self.sizes, self.file_names, self.local = name, sizes, file_names, local
        self.views, self.given, self.equations = views, dict(given), equations
        self.printer = C99(self.pointer, lambda n: sizes[n])
        self.uses = self.printer.uses
        self.lines: list[str] = []
        self.functions: list[str] = []
        self.made: dict[Buffer, str] = {}
        self.extra: list[tuple[str, str]] = []
        self.scratch: list[str] = []
        self._indent = 1
        self._loop: Loop | None = None
        self._packed: dict[tuple[Access, bool], str] = {}
        self._inner: set[Buffer] = set()
        self._alone: set[Buffer] = set()

    # -- places ----------------------------------------------------------------------------------

    def line(self, text: str) -> None:
        """Add a line at the current depth."""
        indent = "    " * self._indent
        self.lines += wrap(
            text, WIDTH, initial_indent=indent, subsequent_indent=f"{indent}    ",
            break_long_words=False, break_on_hyphens=False,
        )  # fmt: skip

    def dim(self, d: Dim) -> str:
        """A size as a factor."""
        text = self.printer.dim(d)
        return f"({text})" if "+" in text or " - " in text else text

    def root(self, b: Buffer) -> str:
        """The name of the array that owns the memory."""
        root = b.base or b
        _check_rank(root)
        if root in self.given:
            return self.given[root]
        if root not in self.made:
            self.made[root] = self.local.fresh(root.name)
        return self.made[root]

    def step(self, b: Buffer) -> str:
        """How many numbers one step or one matrix row's worth of sequences has."""
        root = b.base or b
        lead = [self.sizes[n] for n in root.lead[-1:] if root not in self._alone]
        return " * ".join([*lead, *(self.dim(d) for d in root.shape if d != ONE)]) or "1"

    def count(self, b: Buffer) -> str:
        """How many numbers an array has."""
        root = b.base or b
        if not root.timed:
            return self.step(root)
        steps, pad = self.sizes[root.lead[0]], root.before + root.after
        slots = "2" if root.ring else f"({steps} + {pad})" if pad else steps
        return f"{slots} * {self.step(root)}"

    def pointer(self, a: Access, rows: bool = True) -> str:
        """A pointer to the first entry of a place; ``rows``: of its own rows, not of all."""
        b = a.buffer
        root, start, _ = a.span
        parts = [self.root(b)]
        if root.timed:
            at = self._time(a)
            if at:
                parts.append(f"{at} * {self.step(b)}" if self.step(b) != "1" else at)
        if rows and start != Dim():
            tail = [self.dim(d) for d in root.shape[1:] if d != ONE]
            parts.append(" * ".join([self.dim(start), *tail]))
        return " + ".join(parts)

    def _time(self, a: Access) -> str:
        b = a.buffer
        root = b.base or b
        if a.slot is not None:
            end, k = a.slot
            shift, base = root.before + k, "" if end == "start" else self.sizes[root.lead[0]]
        else:
            shift, base = root.before - a.lag, "t" if self._loop is not None else ""
        if not base:
            return str(shift) if shift else ""
        index = f"({base} {'+' if shift > 0 else '-'} {abs(shift)})" if shift else base
        return f"({index} % 2)" if root.ring else index

    def stride(self, a: Access) -> str:
        """How far the rows of a place are apart."""
        return self.dim((a.buffer.base or a.buffer).shape[0])

    def rows(self, a: Access) -> str:
        """How many rows (steps and sequences) a place has here."""
        lead = lead_of(a, self._loop is not None)
        return " * ".join(self.sizes[n] for n in lead) or "1"

    # -- statements ------------------------------------------------------------------------------

    def write(self, statements: Iterable[Statement], handed: Collection[Buffer]) -> None:
        """Print statements in order; ``handed``: arrays given out, or zero at the beginning."""
        fused = gathered(statements)
        self._inner = in_one_loop(fused, handed)
        self._alone = of_one_row(fused, handed) - self._inner
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
                self._contract(s)
            elif isinstance(s, Arrange):
                self._arrange(s)
            elif isinstance(s, LinearSystem):
                self._solve(s)
            elif isinstance(s, StepRows):
                self._step_rows(s)
            elif isinstance(s, Outer):
                self._outer(s)
            elif isinstance(s, Reduce):
                self._reduce(s)
            elif isinstance(s, Matrix):
                self._matrix(s)
            elif isinstance(s, Pack):
                self._pack(s)
            else:
                raise UnsupportedOperation(
                    f"C has no text for the statement {type(s).__name__}; use --backend numpy"
                )

    def _write_loop(self, s: FusedLoop) -> None:
        for g in s.body:
            if isinstance(g, Gemm):
                self._prepare(g)
        steps = self.sizes[s.loop.axis]
        head = f"Index t = {steps} - 1; t >= 0; --t" if s.loop.reverse else (
            f"Index t = 0; t < {steps}; ++t"
        )  # fmt: skip
        self.line(f"for ({head}) {{")
        self._loop, self._indent = s.loop, self._indent + 1
        self._write(s.body)
        self._loop, self._indent = None, self._indent - 1
        self.line("}")
        self._packed.clear()

    def _weight(self, s: Gemm) -> tuple[str, str, str]:
        """A weight as the second factor of a product: pointer, distances of rows and columns."""
        shape = (s.weight.buffer.base or s.weight.buffer).shape
        width = self.dim(shape[1]) if len(shape) > 1 else "1"
        w = self.pointer(s.weight)
        return (w, "1", width) if s.transposed else (w, width, "1")

    def _prepare(self, s: Gemm) -> None:
        """Pack a weight once, before the loop that multiplies by it in every step."""
        key = (s.weight, s.transposed)
        if key in self._packed:
            return
        name = self.local.fresh(f"{s.weight.buffer.name}_packed")
        terms, columns = self.dim(s.x.rows), self.dim(s.dest.rows)
        self._packed[key] = name
        self.extra.append((name, f"packed_size({terms}, {columns})"))
        w, row, column = self._weight(s)
        self.line(f"pack({name}, {w}, {row}, {column}, {terms}, {columns});")

    def _gemm(self, s: Gemm) -> None:
        rows, columns, terms = self.rows(s.x), self.dim(s.dest.rows), self.dim(s.x.rows)
        add = int(s.accumulate)
        to = f"{self.pointer(s.dest)}, {self.stride(s.dest)}"
        x = f"{self.pointer(s.x)}, {self.stride(s.x)}"
        name = self._packed.get((s.weight, s.transposed))
        if name:
            self.line(f"multiply({to}, {x}, 1, {name}, {rows}, {columns}, {terms}, {add}, NULL);")
            return
        self.scratch.append(f"packed_size({terms}, {columns})")
        weight = ", ".join(self._weight(s))
        self.line(f"product({to}, {x}, {weight}, {rows}, {columns}, {terms}, {add}, scratch);")

    def _contract(self, s: Contract) -> None:
        made = self._named(s.dest).name
        name = self.file_names.fresh(f"{self.name}_{made}")
        product = Contraction(s, lambda a: lead_of(a, self._loop is not None), self.sizes)
        notes = [f"{'One step' if self._loop else 'All steps'}: {made}."]
        known = s.note if s.note in self.equations else made
        notes += [f"  {self.equations[known]}"] if known in self.equations else []
        self.functions += ["", *product.text(name, notes)]
        arguments = [self.pointer(a) for a in product.arrays]
        arguments += [self.sizes[n] for n in product.used]
        self.line(f"{name}({', '.join(arguments)});")

    def _solve(self, s: LinearSystem) -> None:
        """The right-hand sides go to dest, where they are solved in place."""
        lead, (ours, theirs) = lead_of(s.dest, self._loop is not None), s.heads
        n, columns, turned = self.dim(s.size), self.dim(s.columns), int(s.transposed)
        self.uses.add("eliminate")
        self.scratch.append(f"{n} * {n}")
        heads = next((h for h in s.heads if h != ONE), ONE)
        own, made = lead_of(s.matrix, self._loop is not None), self.pointer(s.dest)
        beside = heads == ONE or (s.dest.whole and s.dest.buffer.base is None)
        shared = not own and ours == ONE and s.columns == ONE and beside
        head = f"group * {n} * {columns}"
        value = f"{self._at(s.value, lead)}{f' + {head}' if theirs != ONE else ''}"
        place = f"{made}{self._row_of(s.dest, lead)} + {head}"
        matrix = f"{self._at(s.matrix, lead)}{f' + group * {n} * {n}' if ours != ONE else ''}"
        system = f"eliminate({matrix}, {n}, {turned}, {place}, {columns}, 1, {columns}, scratch);"
        self.line(f"for (Index row = 0; row < {self.rows(s.dest)}; ++row) {{")
        self._indent += 1
        self.line(f"for (Index group = 0; group < {self.dim(heads)}; ++group) {{")
        self._indent += 1
        self.line(f"copy_rows({place}, {value}, 1, {n} * {columns}, 0);")
        if not shared:
            self.line(system)
        self._close(2)
        if shared:  # one matrix for all right-hand sides
            count = f"{self.rows(s.dest)} * {self.dim(heads)}"
            column = self.stride(s.dest) if heads == ONE and lead else n
            self.line(
                f"eliminate({self.pointer(s.matrix)}, {n}, {turned}, {made}, 1, {column}, {count}, "
                "scratch);"
            )

    def _at(self, a: Access, lead: Lead) -> str:
        """Where the numbers of the row of a loop over rows begin in a place."""
        own = lead_of(a, self._loop is not None)
        row = "" if not own else "row" if own == lead else f"(row % {self.sizes[own[-1]]})"
        return f"{self.pointer(a)}{f' + {row} * {self.stride(a)}' if row else ''}"

    def _close(self, blocks: int) -> None:
        for _ in range(blocks):
            self._indent -= 1
            self.line("}")

    def _arrange(self, s: Arrange) -> None:
        """Loops over rows and groups, one copy a part."""
        lead = lead_of(s.dest, self._loop is not None)
        inside = [] if s.covers else [self._zeros(s)]
        sizes = "group * {width} * {columns} + {first}"
        for part, (width, first, place, count) in zip(s.parts, s.moves, strict=True):
            columns = self.dim(s.columns)
            here, there = (
                sizes.format(width=self.dim(w), columns=columns,
                             first=f"{self.dim(at)} * {columns}")
                for w, at in ((width, first), (s.width, place))
            )  # fmt: skip
            x = f"{self._at(part, lead)} + {here}"
            y = f"{self.pointer(s.dest)}{self._row_of(s.dest, lead)} + {there}"
            inside.append(f"copy_rows({y}, {x}, 1, {self.dim(count)} * {columns}, 0);")
        self.line(f"for (Index row = 0; row < {self.rows(s.dest)}; ++row) {{")
        self._indent += 1
        self.line(f"for (Index group = 0; group < {self.dim(s.groups)}; ++group) {{")
        self._indent += 1
        for text in inside:
            self.line(text)
        self._close(2)

    def _step_rows(self, s: StepRows) -> None:
        """Loops over steps, sequences and heads, one copy of the units of a step."""
        sequence, matrix = (s.dest, s.source) if s.apart else (s.source, s.dest)
        axis, batch = self.sizes[s.axis], self.sizes[BATCH]
        units, heads = self.dim(s.units), self.dim(s.heads)
        one = f"{self.pointer(sequence)} + (t * {batch} + row) * {self.stride(sequence)}"
        one += f" + group * {units}"
        two = f"{self.pointer(matrix)} + row * {self.stride(matrix)}"
        two += f" + (group * {axis} + t) * {units}"
        to, source = (one, two) if s.apart else (two, one)
        for name, count in (("t", axis), ("row", batch), ("group", heads)):
            self.line(f"for (Index {name} = 0; {name} < {count}; ++{name}) {{")
            self._indent += 1
        self.line(f"copy_rows({to}, {source}, 1, {units}, 0);")
        self._close(3)

    def _row_of(self, a: Access, lead: Lead) -> str:
        return f" + row * {self.stride(a)}" if lead else ""

    def _zeros(self, s: Arrange) -> str:
        lead = lead_of(s.dest, self._loop is not None)
        group = f"{self.dim(s.width)} * {self.dim(s.columns)}"
        first = f"{self.pointer(s.dest)}{self._row_of(s.dest, lead)} + group * {group}"
        return f"fill({first}, {group}, 0);"

    def _outer(self, s: Outer) -> None:
        height, width = self.dim(s.delta.rows), self.dim(s.x.rows)
        self.scratch.append(f"ROWS * DEPTH + packed_size(DEPTH, {width})")
        delta = f"{self.pointer(s.delta)}, {self.stride(s.delta)}"
        x = f"{self.pointer(s.x)}, {self.stride(s.x)}"
        self.line(
            f"outer({self.pointer(s.dest)}, {width}, {delta}, {x}, {self.rows(s.delta)}, "
            f"{height}, {width}, {int(s.accumulate)}, scratch);"
        )

    def _reduce(self, s: Reduce) -> None:
        lead = (*s.over, *lead_of(s.dest, self._loop is not None))
        if not s.accumulate:
            zero = Access(s.dest.buffer, s.dest.lag, s.dest.start, s.dest.stop, s.dest.slot)
            self._fill(zero)
        item = Assign(s.dest, s.value, True, s.note)
        self._kernel(FusedKernel(lead, s.dest.rows, self._loop is not None, [item]))

    def _fill(self, a: Access) -> None:
        lead = lead_of(a, self._loop is not None)
        if lead and a.rows != (a.buffer.base or a.buffer).shape[0]:
            self.line(f"for (Index row = 0; row < {self.rows(a)}; ++row) {{")
            self.line(f"    fill({self.pointer(a)}{self._row_of(a, lead)}, {self.dim(a.rows)}, 0);")
            self.line("}")
            return
        tail = [self.dim(d) for d in a.buffer.shape[1:]] if not lead else []
        factors = [*(self.sizes[n] for n in lead), self.dim(a.rows), *tail]
        self.line(f"fill({self.pointer(a)}, {' * '.join(factors)}, 0);")

    def _matrix(self, s: Matrix) -> None:
        def temporary(shape: tuple[Dim, Dim]) -> str:
            name = self.local.fresh("part")
            self.extra.append((name, " * ".join(map(self.dim, shape))))
            return name

        made = Matrices(self.printer, self.pointer, temporary)
        for text in made.store(Access(s.dest), s.value, s.accumulate):
            self.line(text)

    def _pack(self, s: Pack) -> None:
        at = Dim()
        for p in s.parts:
            tail = [self.dim(d) for d in s.dest.shape[1:]]
            count = " * ".join([self.dim(p.rows), *tail])
            dest = self.pointer(Access(s.dest, 0, at, at + p.rows))
            self.line(f"copy_rows({dest}, {self.pointer(p)}, 1, {count}, 0);")
            at = at + p.rows

    # -- kernels ---------------------------------------------------------------------------------

    def _kernel(self, k: FusedKernel) -> None:
        for i in k.items:
            _check_rank(i.dest.buffer)
        made = list(dict.fromkeys(self._named(i.dest).name for i in k.items))
        name = self.file_names.fresh(f"{self.name}_{'step' if k.in_loop else made[0]}")
        frame = CFrame(k, self.views, self._inner, self.sizes, self._alone)
        frame.printer.uses = self.uses
        when = {0: "Once", 1: "One step" if k.in_loop else "Each sequence", 2: "All steps"}
        notes = [f"{when[len(k.lead)]}: {', '.join(made)}."]
        notes += [f"  {self.equations[n]}" for n in made if n in self.equations]
        self.functions += ["", *print_kernel(name, frame, notes)]
        arguments = [self.pointer(a, rows=False) for a in frame.arrays()]
        arguments += [self.sizes[n] for n in frame.sizes]
        self.line(f"{name}({', '.join(arguments)});")

    def _named(self, a: Access) -> Buffer:
        """The view that a place is, or its array."""
        views = [a.buffer] if a.buffer.base else self.views.get(a.buffer, ())
        start = a.span[1]
        return next((v for v in views if v.offset == start and v.shape[0] == a.rows), a.buffer)


def _check_rank(b: Buffer) -> None:
    """Refuse matrices over time or per sequence: places here are rows of units."""
    if b.lead and len(b.shape) > 1:
        raise UnsupportedOperation(
            f"C has no text for the matrix {b.name!r} that changes with time or sequence; "
            "use --backend numpy"
        )
