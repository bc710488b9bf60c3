"""Where things are in a C function: arrays, their steps and rows."""

from __future__ import annotations

from collections.abc import Mapping

from ....errors import UnsupportedOperation
from ....language.dims import ONE, Dim
from ...schedule.ops import Access, Buffer, Loop
from ..cfamily.addressing import lead_of
from .config import CNamer
from .expressions import C99

__all__ = ["Places", "check_rank"]


class Places:
    """Names of arrays, and pointers into them.

    Parameters
    ----------
    sizes : mapping
        Size as the schedule calls it → its name in C.
    local : CNamer
        Names of the function.
    given : mapping
        Arrays that are there → their names.

    Attributes
    ----------
    made : dict
        Array of the workspace → its name, in order.
    """

    def __init__(
        self, sizes: Mapping[str, str], local: CNamer, given: Mapping[Buffer, str]
    ) -> None:
        self.sizes, self.local, self.given = sizes, local, dict(given)
        self.printer = C99(self.pointer, lambda n: sizes[n])
        self.made: dict[Buffer, str] = {}
        # The loop whose step is printed; whether steps go in blocks; arrays of one block, one row.
        self._loop: Loop | None = None
        self._in_block = False
        self._held: set[Buffer] = set()
        self._alone: set[Buffer] = set()

    def dim(self, d: Dim) -> str:
        """A size as a factor."""
        text = self.printer.dim(d)
        return f"({text})" if "+" in text or " - " in text else text

    def root(self, b: Buffer) -> str:
        """The name of the array that owns the memory."""
        root = b.base or b
        check_rank(root)
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
        if root in self._held:
            steps = f"steps_at_once({steps}, {self.sizes[root.lead[1]]})"
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
        if root in self._held:
            return "(t - first)" if self._loop is not None else ""
        if a.slot is not None:
            end, k = a.slot
            shift, base = root.before + k, "" if end == "start" else self.sizes[root.lead[0]]
        else:
            base = "t" if self._loop is not None else "first" if self._in_block else ""
            shift = root.before - a.lag
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
        sizes = [self.sizes[n] for n in lead]
        return (
            " * ".join(["steps", *sizes[1:]] if self._in_block and len(lead) == 2 else sizes) or "1"
        )


def check_rank(b: Buffer) -> None:
    """Refuse matrices over time or per sequence: places here are rows of units."""
    if b.lead and len(b.shape) > 1:
        raise UnsupportedOperation(
            f"C has no text for the matrix {b.name!r} that changes with time or sequence; "
            "use --backend numpy"
        )
