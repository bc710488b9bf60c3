"""What is wrong with a line: a factor, a transpose, a single slip, a missing term; and numbers."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from ..calculus.printing import to_text
from ..calculus.terms import Apply, shift
from ..derivation.program import Derivation
from ..errors import GradcheckError
from ..language.ops.elementwise import ELEMENTWISE
from .conventions import COLUMNS
from .line_values import Judge, Wanted, same
from .meanings import DEFAULT, Meaning, meanings
from .tree import Applied, Constant, Node, Quantity, Time, Written, rewritten, terms
from .truth import Source, Truth, Values
from .writing import written

__all__ = ["Naming", "Slips"]

Array = Any
#: Edits tried on a line that is wrong: enough for every single slip in a line of twenty names.
MOST_EDITS = 4000
_SHAPES = "the line gives"
_UNFIT = (GradcheckError, ArithmeticError, TypeError, ValueError, KeyError, IndexError)


class Naming:
    """Names mistakes in the lines of a note.

    Parameters
    ----------
    lines : Judge
        At an exact point, in the convention of the note.
    loss : tuple of str, optional
        The outputs that the loss depends on.
    """

    def __init__(self, lines: Judge, source: Source, loss: tuple[str, ...] | None) -> None:
        self.lines, self.source, self.loss = lines, source, loss
        self.known = lines.known

    def evidence(self, e: Written, source: Source | None = None) -> str:
        """Where a line is wrong, in floating-point numbers at a point drawn for that.

        Where shapes do not fit, at a point where every dim is 1.

        Parameters
        ----------
        source : Source, optional
            Another one to ask, such as one of finite differences.
        """
        asked = source or self.source
        misfit = ""
        for one_unit in (False, True):
            known = asked.known(real=source is None, outputs=self.loss, one_unit=one_unit)
            lines = Judge(known, COLUMNS if one_unit else self.lines.convention, ())
            lines.written, lines.here = self.lines.written, self.lines.here
            for meaning in meanings(e.right):
                try:
                    found = _first(lines, e, meaning)
                except _UNFIT as problem:
                    misfit = misfit or str(problem)
                    continue
                if found.startswith(_SHAPES):
                    misfit = misfit or found
                elif found:
                    return f"with one unit, {found} ({misfit})" if one_unit else found
        return misfit

    # -- what is wrong --------------------------------------------------------------------------

    def what(self, e: Written) -> str:
        """The one thing that is written wrongly, as far as it is found."""
        wanted = self.lines.wanted(e.left)
        try:
            made = [self.lines.made(e, t, self.lines.looker(DEFAULT)) for t, _ in wanted]
        except _UNFIT as problem:
            return self.slip(e, wanted) or f"it does not fit ({problem})"
        ratio = self._ratio(wanted, made)
        if ratio is not None:
            return _factor(ratio, max(self.known.steps.values()))
        turned = [np.swapaxes(m, -1, -2) for m in made]
        if self._equal(turned, wanted):
            return "it is the transpose (denominator layout, or row vectors in this line)"
        return self.slip(e, wanted) or self._missing(e, wanted, made)

    def _equal(self, made: list[Array], wanted: Wanted) -> bool:
        return all(any(same(m, o, self.known) for o in options)
                   for m, (_, options) in zip(made, wanted, strict=True))  # fmt: skip

    def _ratio(self, wanted: Wanted, made: list[Array]) -> Fraction | None:
        """The small rational c with made = c · wanted at all steps, if there is one."""
        for c in (Fraction(n, d) for n in (-1, 1, 2, 3, -2) for d in (1, 2, 3, 4, 5)):
            if c != 1 and all(
                same(m, o[0] * c, self.known) for m, (_, o) in zip(made, wanted, strict=True)
            ):
                return c
        return None

    def slip(self, e: Written, wanted: Wanted) -> str:
        """The one thing that is written wrongly, empty if there is no such thing."""

        def fits(node: Node) -> bool:
            try:
                return self.lines.holds(replace(e, right=node), wanted)
            except _UNFIT:
                return False

        derivation = self.known.derivation
        for count, (node, what) in enumerate(Slips(derivation, self.known).edits(e.right)):
            if count >= MOST_EDITS:
                break
            if fits(node):
                return what
        parts = terms(e.right)
        for i, part in enumerate(parts) if len(parts) > 1 else ():
            rest = [p for k, p in enumerate(parts) if k != i]
            kept = rest[0] if len(rest) == 1 else Applied("add", tuple(rest))
            if fits(kept):
                return f"the term {written(part)} does not belong"
        return ""

    def _missing(self, e: Written, wanted: Wanted, made: list[Array]) -> str:
        """Derived contributions whose sum is what the line lacks."""
        if not isinstance(e.left, Quantity) or not e.left.adjoint or self.lines.convention.rows:
            return "no single slip explains it"
        if any(m.shape[-2:] != o[0].shape[-2:] for m, (_, o) in zip(made, wanted, strict=True)):
            return "it has another shape"
        if not isinstance(self.known, Truth) or e.left.loss is not None:
            return "no single slip explains it"
        lacks = [o[0] - m for m, (_, o) in zip(made, wanted, strict=True)]
        for name, values in self._contributions(e.left.name):
            at_times = [values(t["t"]) for t, _ in wanted]
            if all(same(a, b, self.known) for a, b in zip(at_times, lacks, strict=True)):
                return f"the term {name} is missing"
        return "no single slip explains it"

    def _contributions(self, name: str) -> Iterator[tuple[str, Callable[[int], Array]]]:
        known = self.known
        assert isinstance(known, Truth)
        for edge in known.derivation.readers(name):
            lag = edge.lag or 0

            def value(t: int, edge: Any = edge, lag: int = lag) -> Array:
                when = t + lag
                like = known.value(name, t, False)
                if known.moves(name) and when not in known.times(edge.equation.name):
                    return 0 * like
                bar = known.value(edge.equation.name, when, True)
                look = known.run.lookup(when, {edge.adjoint: bar})
                return known.run.terms(edge.pullback, lambda s: known.single(look(s)))

            moves = known.moves(name)

            def total(t: int, value: Any = value, moves: bool = moves, edge: Any = edge) -> Array:
                if moves:
                    return value(t)
                return functools.reduce(np.add, [value(k) for k in known.times(edge.equation.name)])

            yield to_text(shift(edge.pullback, lag)), total


def _first(lines: Judge, e: Written, meaning: Meaning) -> str:
    with np.errstate(all="ignore"):
        for t, options in lines.wanted(e.left):
            made = lines.made(e, t, lines.looker(meaning), meaning)
            made = lines.fitted(e, made, options[-1])
            if found := difference(written(e.left), t, made, options[-1]):
                return found
    return ""


def difference(name: str, t: dict[str, int], made: Array, want: Array) -> str:
    """The entry in which two arrays differ most, with both numbers; empty where they agree."""
    if made.shape[-2:] != want.shape[-2:]:
        rows, columns = made.shape[-2:]
        return f"{_SHAPES} {name} as {rows} × {columns}, it is {want.shape[-2]} × {want.shape[-1]}"
    made, want = np.broadcast_arrays(made, want)
    error = np.abs(np.asarray(made - want, dtype=float))
    if not np.any(error > 1e-6 * np.max(np.abs(np.asarray(want, dtype=float)), initial=1e-3)):
        return ""
    at_entry = np.unravel_index(int(np.argmax(error)), error.shape)
    a, b = float(made[at_entry]), float(want[at_entry])
    when = ", ".join(f"{k} = {v}" for k, v in t.items())
    return (
        f"at {when}, entry {[int(i) + 1 for i in at_entry]}: the line gives {a:.6g}, it is {b:.6g}"
    )


def _factor(ratio: Fraction, steps: int) -> str:
    if ratio == -1:
        return "the sign"
    if ratio == Fraction(1, steps):
        return "a mean over the steps where the sum belongs (right for a loss that is a mean)"
    return f"it is {ratio} times what it should be"


class Slips:
    """What may have been meant, of the names of one derivation."""

    def __init__(self, derivation: Derivation, truth: Values) -> None:
        self.derivation, self.truth = derivation, truth

    def edits(self, right: Node) -> Iterator[tuple[Node, str]]:
        """Single slips undone, with what each was."""
        said = {}

        def change(node: Node) -> Iterator[Node]:
            for other, what in self._changes(node):
                said[id(other)] = what
                held.append(other)
                yield other

        held: list[Node] = []
        for tree in rewritten(right, change):
            yield tree, said[id(held[-1])]

    def _other_names(self, node: Quantity, shown: str) -> Iterator[tuple[Node, str]]:
        """Another time, another quantity of the same shape, a value for an adjoint."""
        if node.time is not None:
            for by in (-1, 1, -2, 2):
                moved = replace(node, time=replace(node.time, offset=node.time.offset + by))
                yield moved, f"{shown} where {moved} belongs"
        shape = next(iter(self.truth.values[node.name].values())).shape
        for other, held in self.truth.values.items():
            weights = self.truth.matrix(node.name) and self.truth.matrix(other)
            same = weights or next(iter(held.values())).shape == shape
            if (
                other != node.name
                and same
                and self.truth.moves(other) == self.truth.moves(node.name)
            ):
                swapped = replace(node, name=other)
                yield swapped, f"{shown} where {swapped} belongs"
        yield replace(node, adjoint=not node.adjoint), f"{shown} as a value or an adjoint"

    def _changes(self, node: Node) -> Iterator[tuple[Node, str]]:
        shown = written(node)
        if isinstance(node, Quantity) and self.truth.knows(node.name):
            yield from self._other_names(node, shown)
        if isinstance(node, Applied) and node.op == "transpose":
            yield node.args[0], f"{shown} where {written(node.args[0])} belongs"
        elif isinstance(node, Quantity):
            flipped = Applied("transpose", (node,))
            yield flipped, f"{shown} where {written(flipped)} belongs"
        if isinstance(node, Applied) and node.op == "neg":
            yield node.args[0], f"the sign of {written(node.args[0])}"
        if isinstance(node, Applied) and node.op == "outer":
            swapped = replace(node, args=node.args[::-1])
            yield swapped, f"{shown} where {written(swapped)} belongs"
        if isinstance(node, Applied) and node.op in ("times", "product") and len(node.args) == 2:
            for kept, lost in (node.args, node.args[::-1]):
                yield kept, f"the factor {written(lost)} does not belong"
            a, b = node.args
            if isinstance(b, Applied) and b.op == "transpose":
                turned = replace(node, args=(b.args[0], Applied("transpose", (a,))))
                yield turned, f"{shown} where {written(turned)} belongs"
            yield replace(node, args=(b, a)), f"{shown} where {written(b)} {written(a)} belongs"
        if isinstance(node, Applied) and node.op in ("power", "superscript"):
            what = "square" if node.data == 2 else f"exponent {node.data}"
            yield node.args[0], f"the {what} of {written(node.args[0])} does not belong"
        if isinstance(node, Applied) and node.op == "times":
            yield Applied("add", node.args), f"{shown}, a product where the sum belongs"
        if isinstance(node, Applied) and node.op == "add":
            yield from self._numbers(node)
        if isinstance(node, Quantity) and not node.adjoint:
            for function in ("tanh", "sigmoid"):
                applied = Applied(function, (node,))
                yield applied, f"{shown} where {written(applied)} belongs"
        if isinstance(node, Applied) and node.op in ELEMENTWISE:
            yield node.args[0], f"{shown} where {written(node.args[0])} belongs"
        if isinstance(node, Quantity | Applied):
            squared = Applied("power", (node,), Fraction(2))
            yield squared, f"{shown} where {written(squared)} belongs"
            yield Applied("neg", (node,)), f"the sign of {shown}"
            one = Applied("add", (Constant(Fraction(1)), Applied("neg", (node,))))
            yield one, f"{shown} where {written(one)} belongs"
        if isinstance(node, Applied) and node.op == "add":
            a, b = node.args[0], node.args[-1]
            if isinstance(a, Constant) and isinstance(b, Applied) and b.op == "neg":
                yield b.args[0], f"{shown} where {written(b.args[0])} belongs"
        for factor in self._factors(node):
            yield Applied("times", (node, factor)), f"without the factor {written(factor)}"

    def _numbers(self, node: Applied) -> Iterator[tuple[Node, str]]:
        """1 − hᵀ h, which is one number, as the diagonal of 1 − h ⊙ h."""

        def squared(term: Node) -> Node:
            if isinstance(term, Applied) and term.op == "neg":
                return Applied("neg", (squared(term.args[0]),))
            if isinstance(term, Applied) and term.op == "product" and len(term.args) == 2:
                a, b = term.args
                if a == Applied("transpose", (b,)):
                    return Applied("power", (b,), Fraction(2))
            return term

        parts = tuple(squared(a) for a in node.args)
        if parts != node.args:
            meant = Applied("diag", (Applied("add", parts),))
            yield meant, f"{written(node)}, one number, where {written(meant)} belongs"

    def _factors(self, node: Node) -> Iterator[Node]:
        """Factors that people forget: φ′ of everything that is a function of one equation."""
        if not isinstance(node, Quantity | Applied) or (
            isinstance(node, Applied) and node.op == "neg"
        ):
            return
        one = Constant(Fraction(1))
        for program in self.derivation.scans:
            for e in program.equations:
                y = Quantity(e.name, Time("t"))
                yield y
                if isinstance(e.rhs, Apply) and str(e.rhs.fname) == "tanh":
                    yield Applied(
                        "add", (one, Applied("neg", (Applied("power", (y,), Fraction(2)),)))
                    )
                elif isinstance(e.rhs, Apply) and str(e.rhs.fname) == "sigmoid":
                    slope = Applied("add", (one, Applied("neg", (y,))))
                    yield slope
                    yield Applied("times", (y, slope))
