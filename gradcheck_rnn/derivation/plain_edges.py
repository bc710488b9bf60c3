"""What edges give at a step that no edit changes, without the questions that edits ask.

A backward pass in Python spends its time between the operations on arrays: most edges of most runs
are pulled back as they are derived, by a term that is one function of the step.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from .editing import Adjoints
from .edits import Edits
from .program import Edge, EquationProgram, ScanProgram

__all__ = ["PlainEdges"]

Array = Any
Run = Any  # of `evaluate`, which imports this module


class PlainEdges:
    """The edges of a scan by what is done to them.

    Parameters
    ----------
    edits, truncate : Edits, int or None
        What the backward pass does differently.
    waiting : collection of str
        Edges that are pulled back with another equation than their own.
    off : bool
        Whether no edge is plain.
    """

    def __init__(
        self, run: Run, program: ScanProgram, sums: Adjoints, edits: Edits,
        truncate: int | None, waiting: Collection[str], *, off: bool = False,
    ) -> None:  # fmt: skip
        self.run, self.sums = run, sums
        changed, scan = edits.edges | set(waiting), program.scan.name
        cut = truncate is not None or scan in edits.carry or scan in edits.unjoined
        if off or scan in edits.turned or edits.restarted or run.substeps or sums.shared:
            changed = {e.id for e in program.edges}
        self._plain: dict[str, list[tuple[Callable[..., Array], Edge]]] = {}
        self._others: dict[str, Sequence[Edge]] = {}
        for e in program.equations:
            self._plain[e.name], others = [], []
            for edge in e.edges:
                if edge.id in changed or (cut and edge.kind == "state"):
                    others.append(edge)
                    continue
                self._plain[e.name].append((run.stepwise(edge.pullback, e.name), edge))
            self._others[e.name] = others

    def give(self, e: EquationProgram, t: int, bar: Array) -> Sequence[Edge]:
        """Add what the plain edges of an equation give; the others are returned."""
        series, fit = self.run.series, self.run.batches.fit
        sums, summed = self.sums.sums, self.sums.summed
        for give, edge in self._plain[e.name]:
            operand, lag, _, _ = edge.operand.plain
            at = 0 if lag is None else t - lag
            given = fit(give(t, bar), series[operand][at])
            line = sums.get(operand)
            if line is None:
                sums[operand] = {at: given}
            elif at in line:
                line[at] = summed(line[at] + given)
            else:
                line[at] = given
        return self._others[e.name]
