"""What no tested point has reached: sides of the definition's branches, sizes, gradients at all.

Code and definition may differ beyond a clip, or on the other side of a threshold, and agree at all
points that lie on this one. The definition's own branches are known: it is run once more at every
point while each operation with two sides says which of them its entries take. Branches of the code
alone are not; of them only the sizes that were run can be said.
"""

from __future__ import annotations

import linecache
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...language import numeric
from ...language.ops.elementwise import ELEMENTWISE
from ...language.ops.formula import calls
from ...language.running import run
from ..harness.compare import Comparison
from ..harness.modelpoint import ModelPoint
from ..verdict import Finding, Row, Verdict

__all__ = ["doubt_zeros", "sizes_seen", "unseen_branches"]

Array = NDArray[Any]
#: Branches that are named.
MOST = 6
#: The functions of the language, which stand between a definition and an operation.
LANGUAGE = numeric.__name__.rpartition(".")[0]


@dataclass
class _Branch:
    """An operation at one place of a definition, and which of its two sides were taken."""

    place: str
    function: str
    #: What is said of the side of True, and of that of False.
    words: tuple[str, str]
    taken: set[bool] = field(default_factory=set)


class _Watcher:
    """Notes the sides that the operations of a definition take."""

    def __init__(self) -> None:
        self.branches: dict[tuple[Any, ...], _Branch] = {}
        self._compared: list[Array] = []  # what `where` chooses by

    def __call__(self, op: str, made: Array, *operands: Array, function: str = "") -> None:
        if op == "apply" and not _bends_at_zero(function):
            return
        if op == "where":
            if any(operands[0] is c for c in self._compared):
                return
            first = operands[0].real != 0
        else:
            a, b = operands if len(operands) == 2 else (operands[0], np.zeros(()))
            first = a.real > b.real
        if op == "greater":
            self._compared.append(made)
        frame, called = sys._getframe(2), set[str]()
        while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(LANGUAGE):
            called.add(frame.f_code.co_name)
            frame = frame.f_back
        least = "minimum" in called
        key = (frame.f_code, frame.f_lasti, op, function, least)
        if key not in self.branches:
            line = linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
            place = f"line {frame.f_lineno}" + (f", {line}" if line else "")
            name = "clip" if "clip" in called else "minimum" if least else function or op
            name = "the comparison" if name == "greater" else name
            self.branches[key] = _Branch(place, name, _words(op, operands, least))
        self.branches[key].taken |= {bool(side) for side in np.unique(first)}


def _bends_at_zero(function: str) -> bool:
    """Whether a function of the language is put together of two at zero, as relu is."""
    known = ELEMENTWISE.get(function)
    return known is not None and bool(calls(known.definition) & {"positive_bit", "abs"})


def _words(op: str, operands: Sequence[Array], least: bool) -> tuple[str, str]:
    """What is said of the two sides of an operation; ``least``: of −max(−a, −b)."""
    if op == "where":
        return "its condition holds", "its condition does not hold"
    sign = -1.0 if least else 1.0
    numbers = [sign * float(x.real) if np.ndim(x) == 0 else None for x in operands]
    first, second = numbers if len(numbers) == 2 else (None, 0.0)
    larger, other = ("below", "from {} on") if least else ("above", "up to {}")
    if second is not None:
        return f"{larger} {second:g}", other.format(f"{second:g}")
    if first is not None:
        larger, other = ("above", "up to {}") if least else ("below", "from {} on")
        return f"{larger} {first:g}", other.format(f"{first:g}")
    size = "smaller" if least else "larger"
    return f"the first is {size}", f"the second is {size}"


def unseen_branches(points: Iterable[ModelPoint]) -> list[Finding]:
    """A note on the branches of the definition that all tested points take on one side only."""
    watcher = _Watcher()
    token = numeric.branch_watcher.set(watcher)
    try:
        for point in points:
            with np.errstate(all="ignore"):
                run(point.network, point.columns(point.values), point.lengths)
    finally:
        numeric.branch_watcher.reset(token)
    unseen = [b for b in watcher.branches.values() if len(b.taken) == 1]
    compared = {b.place for b in unseen if b.function != "where"}
    left = [
        f"{b.function}, {b.words[0 if False in b.taken else 1]} ({b.place})"
        for b in unseen
        if b.function != "where" or b.place not in compared  # one by a comparison is that
    ]
    if not left:
        return []
    shown = "; ".join(left[:MOST]) + ("; …" if len(left) > MOST else "")
    text = f"sides of the definition's branches that no point has reached: {shown}"
    return [Finding("could-have-missed", f"{text}. A fault there would pass")]


def sizes_seen(comparisons: Sequence[Comparison]) -> list[Finding]:
    """A note on the largest numbers that the code has been run with, and has made."""
    points = [c.point for c in comparisons]
    given = _top(a for p in points for a in p.arrays.values())
    made = _top(a for p in points for a in p.oracle.outputs.values())
    slopes = _top(r.want for c in comparisons for r in c.records)
    text = (
        f"sizes seen: up to {given:.2g} in what is given, {made:.2g} in outputs, {slopes:.2g} in "
        "gradients; a clip, a threshold or a guard of the code that acts beyond was not looked for"
    )
    return [Finding("could-have-missed", text)]


def _top(arrays: Iterable[Any]) -> float:
    numbers = (np.asarray(a) for a in arrays)
    return max((float(np.max(np.abs(a), initial=0.0)) for a in numbers if a.dtype.kind == "f"),
               default=0.0)  # fmt: skip


def doubt_zeros(row: Row, comparisons: Sequence[Comparison]) -> None:
    """Leave a row undecided whose gradient is zero at every point, though outputs depend on it."""
    if row.verdict is not Verdict.PASS or not row.entries or np.isfinite(row.resolution):
        return
    filled = [c.point for c in comparisons if not c.point.empty]
    if filled and any(_reads(p, row.name) for p in filled):
        row.verdict = Verdict.UNDECIDED
        row.explained(
            "zero",
            "the gradient is zero at every point tried, by the definition too, though outputs "
            "depend on it: what the code makes of it elsewhere was not seen",
        )


def _reads(point: ModelPoint, user: str) -> bool:
    """Whether numbers that are none in an array of the code come through to an output.

    Not through frozen values, which have no derivative on purpose.
    """
    names = {piece.name for piece in point.fitted.pieces[user]}
    values = {n: np.full_like(a, np.nan) if n in names else a for n, a in point.values.items()}
    with np.errstate(all="ignore"):
        with numeric.recording_frozen() as tape:
            run(point.network, point.columns(point.values), point.lengths)
        with numeric.holding_frozen(tape):
            made = run(point.network, point.columns(values), point.lengths)
    return any(bool(np.isnan(np.asarray(a, np.float64)).any()) for a in made.values())
