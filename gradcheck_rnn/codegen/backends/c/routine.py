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
    Matrix,
    Outer,
    Pack,
    Reduce,
    Statement,
    StepRows,
)
from ..blocking import Blocked
from ..cfamily.addressing import lead_of
from ..cfamily.fuse import FusedKernel, FusedLoop
from ..wrapping import WIDTH
from .config import CNamer
from .contractions import Contraction, Matrices
from .entry_loops import CFrame, print_kernel
from .local_arrays import FusedBlocks, Gathered, gathered, in_one_loop, of_one_row
from .places import Places, check_rank

__all__ = ["CRoutine"]


class CRoutine(Places):
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
        super().__init__(sizes, local, given)
        self.name, self.file_names = name, file_names
        self.views, self.equations = views, equations
        self.uses = self.printer.uses
        self.lines: list[str] = []
        self.functions: list[str] = []
        self.extra: list[tuple[str, str]] = []
        self.scratch: list[str] = []
        self._indent = 1
        self._packed: dict[tuple[Access, bool], str] = {}
        self._inner: set[Buffer] = set()

    def line(self, text: str) -> None:
        """Add a line at the current depth."""
        indent = "    " * self._indent
        self.lines += wrap(
            text, WIDTH, initial_indent=indent, subsequent_indent=f"{indent}    ",
            break_long_words=False, break_on_hyphens=False,
        )  # fmt: skip

    # -- statements ------------------------------------------------------------------------------

    def write(self, statements: Iterable[Statement | Blocked], handed: Collection[Buffer]) -> None:
        """Print statements in order; ``handed``: arrays given out, or zero at the beginning."""
        fused = gathered(statements)
        self._held = {b for s in fused if isinstance(s, FusedBlocks) for b in s.blocked.local}
        self._inner = in_one_loop(fused, handed)
        self._alone = of_one_row(fused, handed) - self._inner
        self._write(fused)

    def _write(self, fused: Iterable[Gathered]) -> None:
        for s in fused:
            if isinstance(s, FusedKernel):
                self._kernel(s)
            elif isinstance(s, FusedLoop):
                self._write_loop(s)
            elif isinstance(s, FusedBlocks):
                self._write_blocks(s)
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
        steps = self.sizes[s.loop.axis]
        self._prepare(s.body)
        self._steps(s, "0", steps)
        self._packed.clear()

    def _write_blocks(self, s: FusedBlocks) -> None:
        """Products beside a loop for a block of its steps at a time."""
        blocked, steps = s.blocked, self.sizes[s.loop.loop.axis]
        self._prepare([*blocked.before, *s.loop.body, *blocked.after])
        for b in blocked.sums:
            self.line(f"fill({self.root(b)}, {self.count(b)}, 0);")
        size = f"block = steps_at_once({steps}, {self.sizes[BATCH]})"
        self.line(
            f"for (Index {size}, first = ({steps} - 1) / block * block; first >= 0; first -= block)"
            " {" if s.loop.loop.reverse else
            f"for (Index {size}, first = 0; first < {steps}; first += block) {{"
        )  # fmt: skip
        self._in_block, self._indent = True, self._indent + 1
        self.line(f"const Index steps = smallest(block, {steps} - first);")
        self._write(blocked.before)
        self._steps(s.loop, "first", "first + steps")
        self._write(blocked.after)
        self._in_block, self._indent = False, self._indent - 1
        self.line("}")
        self._packed.clear()

    def _steps(self, s: FusedLoop, start: str, stop: str) -> None:
        """The steps of a loop from one on until before another."""
        head = f"Index t = {stop} - 1; t >= {start}; --t" if s.loop.reverse else (
            f"Index t = {start}; t < {stop}; ++t"
        )  # fmt: skip
        self.line(f"for ({head}) {{")
        self._loop, self._indent = s.loop, self._indent + 1
        self._write(s.body)
        self._loop, self._indent = None, self._indent - 1
        self.line("}")

    def _weight(self, s: Gemm) -> tuple[str, str, str]:
        """A weight as the second factor of a product: pointer, distances of rows and columns."""
        shape = (s.weight.buffer.base or s.weight.buffer).shape
        width = self.dim(shape[1]) if len(shape) > 1 else "1"
        w = self.pointer(s.weight)
        return (w, "1", width) if s.transposed else (w, width, "1")

    def _prepare(self, body: Iterable[Gathered]) -> None:
        """Pack weights once, before the loop that multiplies by them again and again."""
        for s in body:
            if not isinstance(s, Gemm) or (s.weight, s.transposed) in self._packed:
                continue
            name = self.local.fresh(f"{s.weight.buffer.name}_packed")
            self._packed[s.weight, s.transposed] = name
            self.extra.append((name, self._pack_weight(s, name)))

    def _pack_weight(self, s: Gemm, name: str) -> str:
        """Pack a weight; how many numbers it has then."""
        size = f"{self.dim(s.x.rows)}, {self.dim(s.dest.rows)}"
        self.line(f"pack({name}, {', '.join(self._weight(s))}, {size});")
        return f"packed_size({size})"

    def _gemm(self, s: Gemm) -> None:
        rows, columns, terms = self.rows(s.x), self.dim(s.dest.rows), self.dim(s.x.rows)
        add = int(s.accumulate)
        to = f"{self.pointer(s.dest)}, {self.stride(s.dest)}"
        x = f"{self.pointer(s.x)}, {self.stride(s.x)}"
        name = self._packed.get((s.weight, s.transposed), "scratch")
        if self._loop is not None:
            self.line(f"multiply({to}, {x}, 1, {name}, {rows}, {columns}, {terms}, {add}, NULL);")
            return
        if name == "scratch":
            self.scratch.append(self._pack_weight(s, name))
        weight = ", ".join(self._weight(s))
        self.line(f"product({to}, {x}, {weight}, {rows}, {columns}, {terms}, {add}, {name});")

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
            check_rank(i.dest.buffer)
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
