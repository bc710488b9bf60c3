"""The operations of a schedule: what a backend prints. Nothing here knows NumPy or CUDA.

Arrays are row-major. Their leading axes are ``lead``: ``()`` for what all sequences share
(parameters), ``("B",)`` for one value a sequence, ``("T", "B")`` for one value a step and sequence
(the first entry is the name of the time axis). After them come the units: ``(n,)``, or ``(1,)``
for scalars of a sequence; a matrix for every sequence is its entries, row by row. Parameters are
``()``, ``(n,)`` or ``(n, m)``.

A statement inside a `Loop` works on one step t of every buffer with a time axis, and on what an
`Access` says: ``lag`` k reads or writes step t − k. The same statement outside a loop works on
all steps at once; ``lag`` k then means the steps −k, …, T − 1 − k. Storage has ``before`` slots in
front of step 0 and ``after`` slots behind step T − 1 (initial values, carried adjoints), so that
both are contiguous views.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Any, TypeAlias

from ...language.dims import ONE, Dim

__all__ = [
    "BATCH",
    "Access",
    "Allocate",
    "Arrange",
    "Assign",
    "Buffer",
    "Call",
    "Contract",
    "Expr",
    "Gemm",
    "Lead",
    "LinearSystem",
    "Loop",
    "Matrix",
    "Number",
    "Outer",
    "Pack",
    "Pointwise",
    "Reduce",
    "SizeOf",
    "Statement",
    "StepRows",
    "Units",
    "accesses",
    "shape_of",
    "walk",
]

#: The name of the batch axis in a `Lead`.
BATCH = "B"

#: The first row.
FIRST_ROW = Dim()

Lead: TypeAlias = tuple[str, ...]


@dataclass(frozen=True)
class Buffer:
    """An array by name.

    ``role``: parameter, input, cotangent (given by the caller); state, value (kept over time or
    per sequence), work (one step, overwritten by the next), pack (parameters side by side),
    adjoint (a state's adjoint, to which contributions are added), gradient.
    A buffer with a ``base`` is a view: the rows of the base from ``offset`` on.
    A ``ring`` has two slots that steps take in turn.
    """

    name: str
    lead: Lead
    shape: tuple[Dim, ...]
    role: str
    before: int = 0
    after: int = 0
    base: Buffer | None = None
    offset: Dim = FIRST_ROW
    ring: bool = False

    @property
    def timed(self) -> bool:
        return len(self.lead) == 2


@dataclass(frozen=True)
class Access:
    """A buffer, or some of its rows (units ``start`` up to ``stop``), at a time.

    ``lag`` is relative to the step (see the module's text). ``slot`` is a fixed step instead:
    ``("start", k)`` is step k, ``("end", k)`` step T + k; it makes one value a sequence of a
    buffer over time. Rows of a parameter matrix are its first axis.
    """

    buffer: Buffer
    lag: int = 0
    start: Dim | None = None
    stop: Dim | None = None
    slot: tuple[str, int] | None = None

    @property
    def whole(self) -> bool:
        return self.start is None

    @property
    def rows(self) -> Dim:
        if self.start is not None and self.stop is not None:
            return self.stop - self.start
        return self.buffer.shape[0] if self.buffer.shape else Dim((), 1)

    @property
    def lead(self) -> Lead:
        return self.buffer.lead[1:] if self.slot is not None else self.buffer.lead

    def part(self, start: Dim, stop: Dim) -> Access:
        """Other rows of the buffer at the same time."""
        return Access(self.buffer, self.lag, start, stop, self.slot)

    @cached_property
    def span(self) -> tuple[Buffer, Dim, Dim]:
        """The buffer that owns the memory, and the rows in it; asked for very often."""
        start = self.buffer.offset + (self.start or FIRST_ROW)
        return self.buffer.base or self.buffer, start, start + self.rows


@dataclass(frozen=True)
class Number:
    """An exact number."""

    value: Fraction


@dataclass(frozen=True)
class SizeOf:
    """The size of a dim, or of a leading axis when ``dim`` is a string, as a number."""

    dim: Dim | str


@dataclass(frozen=True)
class Call:
    """An elementwise operation.

    ``op``: add and mul (n-ary, in order), neg, div, pow (``data``: the exact exponent), apply
    (``data``: the function's name), abs, sign, maximum, greater (0 or 1), where (condition ≠ 0),
    sqrt. Parameters (``lead`` ()) broadcast over leading axes, scalars over units.
    In `Matrix` statements also: matmul, transpose, eye (``data``: Dim), outer, dot, total (sum of
    all entries), concat (``data``: which operands are scalars),
    slice and pad (``data``: start and stop, start and total), softmax,
    log_softmax, unit_map (``data``: its name), broadcast and reshape (``data``: shape).
    """

    op: str
    args: tuple[Expr, ...]
    data: object = None


Expr: TypeAlias = Access | Number | SizeOf | Call


@dataclass(frozen=True)
class Allocate:
    """Make a buffer. ``zero``: all of it must start at zero."""

    buffer: Buffer
    zero: bool = False


@dataclass(frozen=True)
class Pack:
    """Parameters stacked along their first axis, made once a call."""

    dest: Buffer
    parts: tuple[Access, ...]
    note: str = ""


@dataclass(frozen=True)
class Gemm:
    """dest (+)= x Wᵀ when ``transposed`` (W x for columns), else x W (Wᵀ x for columns)."""

    dest: Access
    x: Access
    weight: Access
    transposed: bool
    accumulate: bool = False
    note: str = ""


@dataclass(frozen=True)
class Assign:
    """dest = value, or dest += value; dest may occur in the value."""

    dest: Access
    value: Expr
    accumulate: bool = False
    note: str = ""


@dataclass(frozen=True)
class Pointwise:
    """Assignments to be made unit by unit, in order: one fused kernel where rows agree."""

    assigns: tuple[Assign, ...]


@dataclass(frozen=True)
class Units:
    """Over the units of each sequence: sum (dest has one unit), softmax, log_softmax or a map.

    ``groups``: so many groups of units side by side (heads), each for itself; not of a sum.
    """

    dest: Access
    op: str
    value: Expr
    note: str = ""
    groups: Dim = ONE


@dataclass(frozen=True)
class Arrange:
    """Rows of matrices, group by group (heads), put into rows of others; what is left is zero.

    All lie in their rows entry by entry: so many ``groups`` of ``width`` rows of ``columns``
    entries. ``moves`` has for each of ``parts`` its own width, its first row, the first row of dest
    and how many rows are taken.
    """

    dest: Access
    parts: tuple[Access, ...]
    groups: Dim
    width: Dim
    columns: Dim
    moves: tuple[tuple[Dim, Dim, Dim, Dim], ...]
    note: str = ""

    @classmethod
    def of(cls, dest: Access, parts: tuple[Access, ...], data: Any, note: str) -> Arrange:
        """From the data of a node (`nodes.Graph.arrange`)."""
        groups, width, columns, moves = data
        return cls(dest, parts, groups, width, columns, moves, note)

    @property
    def covers(self) -> bool:
        """Whether the parts fill all of dest."""
        total = Dim()
        for *_, count in self.moves:
            total = total + count
        return total == self.width


@dataclass(frozen=True)
class Outer:
    """dest (+)= Σ over all leading axes of delta xᵀ: one GEMM δᵀ x over T·B rows."""

    dest: Access
    delta: Access
    x: Access
    accumulate: bool = False
    note: str = ""


@dataclass(frozen=True)
class Contract:
    """dest (+)= a product of matrices and vectors, sequence by sequence.

    ``specs`` has the axes of each operand and of dest by letters, ``("ij", "j", "i")``; ``sizes``
    the dim of each letter. A letter that dest does not have is summed over. Parameters have the
    axes they are declared with, everything else lies in its rows entry by entry.
    """

    dest: Access
    operands: tuple[Access, ...]
    specs: tuple[str, ...]
    sizes: tuple[tuple[str, Dim], ...]
    accumulate: bool = False
    note: str = ""

    def shape(self, spec: str) -> tuple[Dim, ...]:
        """The dims of some letters."""
        known = dict(self.sizes)
        return tuple(known[letter] for letter in spec)


@dataclass(frozen=True)
class LinearSystem:
    """dest = A⁻¹ X, or A⁻ᵀ X when ``transposed``, sequence by sequence and head by head.

    ``matrix`` has ``size`` rows and columns, ``value`` and dest have ``columns`` columns; heads
    lie one after the other, ``heads`` of them: of the matrix, and of the value (one: shared).
    """

    dest: Access
    matrix: Access
    value: Access
    size: Dim
    columns: Dim
    transposed: bool
    heads: tuple[Dim, Dim] = (ONE, ONE)
    note: str = ""


@dataclass(frozen=True)
class StepRows:
    """dest = all steps of a sequence as the rows of a matrix; ``apart``: of rows, the steps.

    One of them is a sequence along ``axis`` with ``units`` entries for each of ``heads``, the other
    has for each sequence of the batch, and each head, as many rows as there are steps.
    """

    dest: Access
    source: Access
    axis: str
    heads: Dim
    units: Dim
    apart: bool
    note: str = ""

    @classmethod
    def of(cls, dest: Access, source: Access, data: Any, apart: bool, note: str) -> StepRows:
        """From the data of a node: name, axis, heads and units of a sequence."""
        _, axis, heads, units = data
        return cls(dest, source, axis, heads, units, apart, note)


@dataclass(frozen=True)
class Reduce:
    """dest (+)= value summed over the leading axes ``over``."""

    dest: Access
    value: Expr
    over: tuple[str, ...]
    accumulate: bool = False
    note: str = ""


@dataclass(frozen=True)
class Matrix:
    """dest (+)= an expression of parameters only."""

    dest: Buffer
    value: Expr
    accumulate: bool = False
    note: str = ""


@dataclass
class Loop:
    """The steps of one axis in order, or from the last to the first."""

    axis: str
    reverse: bool
    body: list[Statement] = field(default_factory=list)
    note: str = ""


Statement: TypeAlias = (
    Allocate
    | Pack
    | Gemm
    | Contract
    | Arrange
    | LinearSystem
    | StepRows
    | Pointwise
    | Units
    | Outer
    | Reduce
    | Matrix
    | Loop
)


def shape_of(rows: Dim, cols: Dim, lead: tuple[str, ...]) -> tuple[Dim, ...]:
    """Trailing shape in a buffer."""
    if lead:
        return (rows,)
    if rows == ONE and cols == ONE:
        return ()
    return (rows,) if cols == ONE else (rows, cols)


def walk(expr: Expr) -> Iterator[Expr]:
    """Every node of an expression, operands last."""
    yield expr
    if isinstance(expr, Call):
        for a in expr.args:
            yield from walk(a)


def accesses(expr: Expr) -> Iterator[Access]:
    """The accesses of an expression, left to right."""
    for e in walk(expr):
        if isinstance(e, Access):
            yield e
