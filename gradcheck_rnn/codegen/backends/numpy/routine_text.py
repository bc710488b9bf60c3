"""Lines of a routine: expressions, names of places, comments, and calls that wait to be joined."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from textwrap import fill
from typing import ClassVar

from ....language.dims import ONE, Dim
from ...schedule.dependence import span
from ...schedule.emit import FACTOR
from ...schedule.kernel_names import Namer
from ...schedule.ops import Access, Buffer, Call, Expr, Loop, Number, SizeOf
from ..blocking import Blocked
from ..expressions import ArrayPrinter, Precedence, Text, dim_text
from ..wrapping import WIDTH, wrap
from .config import HELPERS
from .instructions import RawLines, Ufunc, join

__all__ = ["NumPy", "RoutineText", "extent", "kept_array"]


def extent(e: Expr) -> tuple[int, Dim]:
    """Number of leading axes and rows of an expression's value (rows ONE: a scalar)."""
    if isinstance(e, Access):
        return len(e.lead), e.rows
    if isinstance(e, Number | SizeOf):
        return 0, ONE
    lead, rows = 0, ONE
    for a in e.args:
        n, r = extent(a)
        lead, rows = max(lead, n), r if r != ONE else rows
    return lead, rows


def _moved(name: str, by: int) -> str:
    return name if by == 0 else f"{name} {'+' if by > 0 else '-'} {abs(by)}"


def kept_array(b: Buffer, shape: str) -> str:
    """An array that a workspace keeps, as text."""
    return f'_array(workspace, "{b.name}", {shape}, dtype)'


class RoutineText:
    """Collects lines, and the buffers and the helpers they need.

    Parameters
    ----------
    names : Namer
        Names of the function.

    Attributes
    ----------
    lines : list of str
        What was printed.
    buffers : dict
        Buffers that must be allocated before, in order; the value tells whether they start at 0.
    uses : set of str
        Names of helper functions.
    """

    def __init__(
        self,
        names: Namer,
        optional: frozenset[Buffer] = frozenset(),
        views: Mapping[Buffer, list[Buffer]] = {},
    ) -> None:
        self.names, self.views = names, views
        self.bases = set(views)
        self.lines: list[str] = []
        self.buffers: dict[Buffer, bool] = {}
        self.printer = NumPy(self.access)
        self.uses = self.printer.uses
        self.optional = optional
        self.made: set[Buffer] = set()
        self.zero: set[Buffer] = set()
        self.seen: dict[Buffer, None] = {}
        self._indent = 1
        self._loop: Loop | None = None
        self._block: Blocked | None = None
        #: Arrays of the block that must be allocated at its beginning.
        self._held: dict[Buffer, None] = {}
        self._block_works: dict[Dim, list[Buffer]] = {}
        self._indices: dict[str, str] = {}
        #: Arrays of all blocks, and whether there are any blocks.
        self.blocked: set[Buffer] = set()
        #: How many numbers a row of all arrays of a block has where every dim is 1.
        self.wide = 0
        self._bound: dict[Access, str] = {}
        self._calls: list[Ufunc | RawLines] = []
        self._note = ""
        self._turned: dict[Access, str] = {}
        #: Scratch arrays of one step, by their rows.
        self._works: dict[Dim, list[Buffer]] = {}
        #: Columns of ones, by their rows.
        self.columns: dict[Dim, str] = {}
        #: Name of a value → its equation, for comments.
        self.equations: Mapping[str, str] = {}

    # -- pieces ---------------------------------------------------------------------------------

    def line(self, text: str) -> None:
        """Add a line at the current depth."""
        self.lines += wrap("    " * self._indent + text if text else "")

    def size(self, d: Dim | str) -> str:
        """A dim or an axis length as text."""
        return d if isinstance(d, str) else dim_text(d)

    def index(self, name: str) -> str:
        """What ``steps``, ``start``, ``stop`` or ``rows`` of a block is called here."""
        if name not in self._indices:
            self._indices[name] = self.names.fresh(name)
        return self._indices[name]

    def span_of_block(self) -> str:
        """How many steps a block has."""
        return f"{self.index('stop')} - {self.index('start')}"

    def local(self, b: Buffer) -> bool:
        """Whether an array holds the steps of one block."""
        if self._block is None:
            return False
        work = any(b in some for some in self._block_works.values())
        return work or (b.base or b) in self._block.local

    @property
    def in_place(self) -> bool:
        """Whether results are written into arrays, operand by operand: in loops and in blocks.

        A fresh array a call would have the memory returned and zeroed again by the system.
        """
        return self._loop is not None or self._block is not None

    def steps(self, axis: str) -> str:
        """How many steps a place over an axis has, where all steps are worked on at once."""
        blocked = self._block is not None and self._block.loop.axis == axis
        return self.span_of_block() if blocked else axis

    def _time(self, a: Access) -> str:
        """The index of a place along its time axis."""
        b, pad = a.buffer, a.buffer.before + a.buffer.after
        if a.slot is not None:
            side, k = a.slot
            return f"[{b.before + k if side == 'start' else k - b.after}]"
        first = b.before - a.lag
        if self._loop is not None:
            step = f"t - {self.index('start')}" if self.local(b) else "t"
            return f"[{_moved(step, first)}]"
        if self._block is not None and self._block.loop.axis == b.lead[0]:
            start, stop = (_moved(self.index(n), first) for n in ("start", "stop"))
            if b in self._block.carried:
                return f"[{first or ''}:{_moved(self.span_of_block(), first)}]"
            return "" if self.local(b) else f"[{start}:{stop}]"
        return f"[{first or ''}:{first - pad or ''}]" if pad else ""

    def access(self, a: Access) -> str:
        """A place as text, at the step of the loop if there is one."""
        if a in self._bound:
            return self._bound[a]
        if a.buffer.base is not None and not a.buffer.lead:
            # Of parameters' views only the base has a name.
            base, start, stop = span(a)
            a = Access(base, start=start, stop=stop)
        b = a.buffer
        text = b.name + (self._time(a) if b.timed else "")
        if a.start is not None and a.stop is not None:
            end = "" if a.stop == b.shape[0] else self.size(a.stop)
            rows = f"{'' if a.start == Dim() else self.size(a.start)}:{end}"
            if not b.lead:
                # One entry of a vector of parameters is a scalar, as other scalars are.
                single = a.rows == ONE and len(b.shape) == 1
                text += f"[{self.size(a.start)}]" if single else f"[{rows}]"
            elif text.endswith("]") and self._loop is not None:
                text = f"{text[:-1]}, :, {rows}]"
            else:
                text += f"[..., {rows}]"
        return text

    def text(self, e: Expr) -> Text:
        """An expression as text."""
        return self.printer.text(e)

    def flat(self, a: Access) -> str:
        """All steps and sequences as the rows of one matrix."""
        if len(a.lead) == 2:
            blocked = self._block is not None and self._block.loop.axis == a.lead[0]
            lead = self.index("rows") if blocked else " * ".join(a.lead)
            return f"{self.access(a)}.reshape({lead}, {self.size(a.rows)})"
        return self.access(a)

    def view_lines(self, base: Buffer, also: Collection[Buffer] = ()) -> list[str]:
        """Names for the rows of a packed array that the statements use."""
        out = []
        for v in self.views.get(base, ()):
            if (v in self.seen or v in also) and base.lead:
                stop = v.offset + v.shape[0]
                start = "" if v.offset == Dim() else dim_text(v.offset)
                end = "" if stop == base.shape[0] else dim_text(stop)
                out.append(f"{v.name} = {base.name}[..., {start}:{end}]")
        return out

    def new(self, dest: Access) -> bool:
        """Whether this line makes the array; remembers that it did."""
        fresh = self._makes(dest)
        if fresh:
            self.made.add(dest.buffer)
        return fresh

    def need(self, b: Buffer) -> None:
        """Have a buffer allocated before the first statement."""
        root = b.base or b
        if b.base is not None:
            self.seen.setdefault(b)
        if self.local(root):
            if root not in self.made:
                self._held.setdefault(root)
            return
        if root not in self.made and root.role in ("value", "work", "state", "adjoint"):
            self.buffers.setdefault(root, root in self.zero)

    def put(
        self, dest: Access, e: Expr | str, reads: Iterable[Access], accumulate: bool = False
    ) -> None:
        """One line that stores a value; outside loops it makes the array."""
        places = tuple(reads)
        fresh = not accumulate and self.new(dest)
        self.need(dest.buffer)

        def lines(access: Callable[[Access], str]) -> list[str]:
            value = e if isinstance(e, str) else self.text(e).text
            if fresh:
                return [f"{dest.buffer.name} = {value}"]
            place = access(dest)
            if accumulate:
                return [f"{place} += {value}"]
            return [f"{place if place.endswith(']') else place + '[...]'} = {value}"]

        self.add(RawLines(lines, (*places, dest) if accumulate else places, (dest,)))

    def add(self, call: Ufunc | RawLines) -> None:
        """Take a call; it is printed with its neighbours when the straight run ends."""
        if self._note and not call.notes:
            call = replace(call, notes=(self._note,))
        self._calls.append(call)

    def flush(self) -> None:
        """Join and print what was taken."""
        calls = join(self._calls, self._loop is not None)
        self._calls = []
        if self._loop is not None:
            self._bind(calls)
        told: set[str] = set()
        for c in calls:
            self._tell([n for n in c.notes if n not in told])
            told.update(c.notes)
            for a in (*c.reads, *c.writes):
                self.need(a.buffer)
            for text in c.render(self.access):
                self.line(text)

    def _tell(self, notes: list[str]) -> None:
        """A comment with the equations that the next lines are about."""
        texts = [self.equations[n] for n in notes if n in self.equations]
        if notes and not texts and notes[0].startswith(FACTOR):
            made = [n.removeprefix(FACTOR) for n in notes]
            names = ", ".join(n for n in made if n)
            texts = [f"for all steps at once, before the loop: towards {names}"] if names else []
        indent = "    " * self._indent + "# "
        text = "; ".join(texts)
        if text:
            self.lines += fill(
                text, WIDTH, initial_indent=indent, subsequent_indent=indent + "    "
            ).split("\n")

    def _makes(self, dest: Access) -> bool:
        """Whether a line may make the whole array: then it need not be allocated."""
        b = dest.buffer
        return (
            self._loop is None
            and dest.whole
            and dest.slot is None
            and b.base is None
            and b not in self.made
            and b not in self.buffers
            and b not in self.bases
            and b.role in ("value", "gradient", "pack")
            and not b.before + b.after
            and not (b.timed and self.in_place)
        )

    # -- names of steps ---------------------------------------------------------------------

    def _bind(self, calls: Iterable[Ufunc | RawLines]) -> None:
        """Name the steps of arrays that the body mentions more than once."""
        counts: dict[Access, int] = {}
        for c in calls:
            text = [*c.reads, *c.writes]
            if isinstance(c, Ufunc) and c.op.endswith("="):
                text = [a for a in c.args if isinstance(a, Access)] + [c.out]
            for a in text:
                if a.buffer.timed and a.slot is None:
                    counts[a] = counts.get(a, 0) + 1
        for a, n in counts.items():
            if n > 1:
                name = self._step_name(a)
                self.line(f"{name} = {self.access(a)}")
                self._bound[a] = name

    def _step_name(self, a: Access) -> str:
        back = abs(a.lag)
        suffix = "t" if not back else "prev" if back == 1 else f"prev{back}"
        if a.buffer.role == "adjoint" and back == 1:
            suffix = "before"
        name = a.buffer.name
        if not a.whole:
            inside = [v.name for v in self.views_of(a)]
            name = "_".join(inside) if inside and len("_".join(inside)) < 20 else f"{name}_part"
        return self.names.fresh(f"{name}_{suffix}")

    def views_of(self, a: Access) -> list[Buffer]:
        """The views that a range of a base is made of."""
        _, start, stop = span(a)
        inside: list[Buffer] = []
        at = start
        while at != stop:
            v = next((v for v in self.views.get(a.buffer, ()) if v.offset == at), None)
            if v is None:
                return []
            inside.append(v)
            at = at + v.shape[0]
        return inside


class NumPy(ArrayPrinter):
    """Prints expressions of arrays of any floating point dtype, complex ones too."""

    backend, title, module = "numpy", "NumPy", "np"
    helpers = HELPERS
    filled = "np.full({0}, {1}, dtype=dtype)"
    templates: ClassVar[Mapping[str, str]] = {
        "abs": "absolute({0})",
        "greater": "greater({all})",
        "where": "where({all})",
        "maximum": "maximum({all})",
        "softmax": "softmax({0})",
        "log_softmax": "log_softmax({0})",
        "sign": "np.sign(np.real({0}))",
        "total": "np.sum({0})",
        "parameter_outer": "np.outer({all})",
    }

    def other(self, e: Call, args: list[Text]) -> Text | None:
        if e.op == "matmul":
            return Text(f"{args[0]:product} @ {args[1]:unary}", Precedence.PRODUCT)
        return super().other(e, args)
