"""Terms that arrange entries: stacking, slicing, vec, Kronecker products, blocks, time sums."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sympy import Expr, Integer, KroneckerDelta, Tuple
from sympy.core.symbol import Str

from gradcheck_rnn.calculus.terms.base import (
    Dim,
    Term,
    as_dim,
    as_name,
    dims_equal,
    format_shape,
    require_column,
    require_term,
)
from gradcheck_rnn.errors import DefinitionError, DimensionError
from gradcheck_rnn.language.ops.unit_maps import UNIT_MAPS, UnitMap

__all__ = [
    "Block",
    "ChooseUnits",
    "Concat",
    "Diag",
    "Kron",
    "MapUnits",
    "Pad",
    "Slice",
    "TimeSum",
    "Unvec",
    "Vec",
]


class Concat(Term):
    """Operands stacked on top of each other; m₁×n, m₂×n, … give (m₁ + m₂ + …)×n."""

    def __new__(cls, *xs: Term) -> Any:
        """Check the columns; a lone term is returned as it is."""
        if not xs:
            raise DimensionError("Concat needs at least one term: without any, no shape.")
        for x in xs:
            require_term(x, "Concat")
            if not dims_equal(x.shape[1], xs[0].shape[1]):
                raise DimensionError(
                    f"Concat needs operands of one width: {xs[0]} is "
                    f"{format_shape(xs[0].shape)}, {x} is {format_shape(x.shape)}."
                )
        if len(xs) == 1:
            return xs[0]
        rows = as_dim(sum((x.shape[0] for x in xs), Integer(0)))
        return cls._make(xs, (rows, xs[0].shape[1]))

    def _entry(self, i: Expr, j: Expr, **kwargs: Any) -> Expr:
        row = int(i)
        for x in self.operands:
            if row < int(x.shape[0]):
                return x[row, j]
            row -= int(x.shape[0])
        raise IndexError(f"row {i} is outside {self}.")


class Slice(Term):
    """Rows `start` up to but not including `stop`, counted from zero; (stop − start)×n."""

    def __new__(cls, x: Term, start: Dim, stop: Dim) -> Any:
        """Check the range as far as the dims decide it."""
        require_term(x, "Slice")
        first, last = as_dim(start), as_dim(stop)
        rows = (last - first).expand()
        if rows.is_positive is False or (x.shape[0] - last).expand().is_negative:
            raise DimensionError(
                f"rows {first} to {last} are not a range of rows of {x}, "
                f"which is {format_shape(x.shape)}."
            )
        return cls._make((x, first, last), (rows, x.shape[1]))

    def _entry(self, i: Expr, j: Expr, **kwargs: Any) -> Expr:
        return self.args[0][i + self.args[1], j]


class Pad(Term):
    """The rows of `x` placed at row `start` (from zero) of a zero matrix with `total` rows."""

    def __new__(cls, x: Term, start: Dim, total: Dim) -> Any:
        """Check the range as far as the dims decide it."""
        require_term(x, "Pad")
        first, rows = as_dim(start), as_dim(total)
        if (rows - first - x.shape[0]).expand().is_negative:
            raise DimensionError(
                f"{x} is {format_shape(x.shape)} and does not fit at row {first} of {rows} rows."
            )
        return cls._make((x, first, rows), (rows, x.shape[1]))

    def _entry(self, i: Expr, j: Expr, **kwargs: Any) -> Expr:
        x, start, _ = self.args
        inside = 0 <= int(i - start) < int(x.shape[0])
        return x[i - start, j] if inside else Integer(0)


class MapUnits(Term):
    """A declared linear map L of the rows, L x, by its name (see ``language.ops.unit_maps``)."""

    def __new__(cls, x: Term, name: str | Str) -> Any:
        """Take the operand's shape."""
        require_term(x, "MapUnits")
        if str(name) not in UNIT_MAPS:
            raise DefinitionError(f"{str(name)!r} is not a linear map of units.")
        return cls._make((x, as_name(name)), x.shape)

    @property
    def x(self) -> Term:
        """The operand."""
        return self.args[0]

    @property
    def map(self) -> UnitMap:
        """The declaration."""
        return UNIT_MAPS[self.args[1].name]

    def _entry(self, i: Expr, j: Expr, **kwargs: Any) -> Expr:
        n = int(self.shape[0])
        row = self.map.matrix(n)[int(i)]
        return sum((row[k] * self.x[k, j] for k in range(n)), Integer(0))


class ChooseUnits(MapUnits):
    """A declared piecewise constant map of the units of a column, whose derivative is 0."""

    def _entry(self, i: Expr, j: Expr, **kwargs: Any) -> Expr:
        raise DefinitionError(f"{self.map.name} has no entries that are written in symbols.")


class Diag(Term):
    """The square matrix with a column on its diagonal; n×1 gives n×n."""

    def __new__(cls, x: Term) -> Any:
        """Check that the operand is a column."""
        n = require_column("Diag", require_term(x, "Diag"))
        return cls._make((x,), (n, n))

    def _entry(self, i: Expr, j: Expr, **kwargs: Any) -> Expr:
        return self.args[0][i, 0] * KroneckerDelta(i, j)


class Kron(Term):
    """Kronecker product; m×n and r×s give mr×ns."""

    def __new__(cls, a: Term, b: Term) -> Any:
        """Multiply the shapes."""
        require_term(a, "Kron")
        require_term(b, "Kron")
        shape = (as_dim(a.shape[0] * b.shape[0]), as_dim(a.shape[1] * b.shape[1]))
        return cls._make((a, b), shape)

    def _entry(self, i: Expr, j: Expr, **kwargs: Any) -> Expr:
        a, b = self.operands
        rows, cols = b.shape
        return a[i // rows, j // cols] * b[i % rows, j % cols]


class Vec(Term):
    """Columns stacked from left to right; m×n gives mn×1."""

    def __new__(cls, x: Term) -> Any:
        """Multiply the dims."""
        require_term(x, "Vec")
        return cls._make((x,), (as_dim(x.shape[0] * x.shape[1]), Integer(1)))

    def _entry(self, i: Expr, j: Expr, **kwargs: Any) -> Expr:
        x = self.operands[0]
        return x[i % x.shape[0], i // x.shape[0]]


class Unvec(Term):
    """The inverse of `Vec`: a column of length mn filled into m×n column by column."""

    def __new__(cls, x: Term, rows: Dim, cols: Dim) -> Any:
        """Check the length."""
        length = require_column("Unvec", require_term(x, "Unvec"))
        shape = (as_dim(rows), as_dim(cols))
        if not dims_equal(length, as_dim(shape[0] * shape[1])):
            raise DimensionError(
                f"Unvec cannot fill {format_shape(shape)} from {x}, "
                f"which is {format_shape(x.shape)}."
            )
        return cls._make((x, *shape), shape)

    def _entry(self, i: Expr, j: Expr, **kwargs: Any) -> Expr:
        return self.args[0][j * self.args[1] + i, 0]


class Block(Term):
    """A block matrix from rows of terms; heights agree along a row, widths down a column."""

    def __new__(cls, rows_of_terms: Sequence[Sequence[Term]]) -> Any:
        """Check the grid."""
        grid = [tuple(row) for row in rows_of_terms]
        if not grid or not grid[0] or any(len(row) != len(grid[0]) for row in grid):
            raise DimensionError("Block needs at least one row, and rows with equally many blocks.")
        for row in grid:
            for k, term in enumerate(row):
                require_term(term, "Block")
                left, above = row[0], grid[0][k]
                if not dims_equal(term.shape[0], left.shape[0]):
                    _disagree("one height along a row", left, term)
                if not dims_equal(term.shape[1], above.shape[1]):
                    _disagree("one width down a column", above, term)
        rows = as_dim(sum((row[0].shape[0] for row in grid), Integer(0)))
        cols = as_dim(sum((term.shape[1] for term in grid[0]), Integer(0)))
        return cls._make((Tuple(*[Tuple(*row) for row in grid]),), (rows, cols))

    @property
    def grid(self) -> tuple[tuple[Term, ...], ...]:
        """The blocks, row by row."""
        return tuple(tuple(row) for row in self.args[0])

    @property
    def operands(self) -> tuple[Term, ...]:
        """All blocks, row by row."""
        return tuple(term for row in self.grid for term in row)

    def _entry(self, i: Expr, j: Expr, **kwargs: Any) -> Expr:
        r, c = int(i), int(j)
        for row in self.grid:
            if r >= int(row[0].shape[0]):
                r -= int(row[0].shape[0])
                continue
            for term in row:
                if c < int(term.shape[1]):
                    return term[r, c]
                c -= int(term.shape[1])
        raise IndexError(f"entry {i}, {j} is outside {self}.")


def _disagree(rule: str, a: Term, b: Term) -> None:
    raise DimensionError(
        f"Block needs {rule}: {a} is {format_shape(a.shape)}, {b} is {format_shape(b.shape)}."
    )


class TimeSum(Term):
    """Sum of a term over its time index t = lower, …, upper (from 1); shape of the term."""

    def __new__(cls, x: Term, lower: Dim, upper: Dim) -> Any:
        """Read bounds given as names, such as "T"."""
        require_term(x, "TimeSum")
        return cls._make((x, as_dim(lower), as_dim(upper)), x.shape)

    @property
    def x(self) -> Term:
        """The summand, a function of t."""
        return self.args[0]
