"""Expressions as text of the C family for one entry."""

from __future__ import annotations

from collections.abc import Callable

from ....language.dims import Dim
from ...schedule.ops import Access, Call
from ..expressions import ExpressionPrinter, Precedence, Text, dim_text

__all__ = ["EntryPrinter"]


class EntryPrinter(ExpressionPrinter):
    """Prints expressions of one entry of each place.

    Parameters
    ----------
    access : callable
        Place → the name of the entry of it.
    sizes : callable
        Name of a dim or an axis → its name in the kernel.
    """

    #: Which texts of declared functions are used; C's are made of CUDA's.
    backend = "cuda"
    # Never "--", which is an operator of C.
    negated = divisor = Precedence.ATOM

    def __init__(self, access: Callable[[Access], str], sizes: Callable[[str], str]) -> None:
        super().__init__(access)
        self._sizes = sizes

    def dim(self, d: Dim | str) -> str:
        """A dim or the length of an axis as an integer expression."""
        if isinstance(d, str):
            return self._sizes(d)
        for n in d.names:
            self._sizes(n)
        return dim_text(d.rename({n: Dim.of({self._sizes(n): 1}) for n in d.names}))

    def other(self, e: Call, args: list[Text]) -> Text | None:
        return args[0] if e.op == "broadcast" else None
