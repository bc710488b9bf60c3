"""Every line of a note against the derivation: right, right in another convention, or wrong.

A line is judged given the others: adjoints on its right-hand side have their true values, so that a
line is not blamed for another's mistake. Quantities of the author's own are computed from the lines
that define them. A line that is wrong with true values and right with the author's own definitions
is said to be consistent with them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from ..calculus.printing import to_text
from ..calculus.terms import shift
from ..derivation.program import Derivation
from .note import Judged, Note
from .slips import Slips
from .tree import Call, Equation, Name, Node, Time, leaves, terms
from .values import CONVENTIONS, Convention, Evaluation, NotEvaluated, Truth, at
from .writing import derived_line, written

__all__ = ["judge"]

Array = Any
#: Edits tried on a line that is wrong: enough for every single slip in a line of twenty names.
MOST_EDITS = 4000


def judge(derivation: Derivation, equations: Sequence[Equation | Judged], seed: int = 0) -> Note:
    """Judge the lines of a note.

    Parameters
    ----------
    equations : sequence
        Equations as read; lines that could not be read come as `Judged` and are passed on.

    Returns
    -------
    Note
        In the convention (column vectors, row vectors) in which most lines are right.
    """
    truth = Truth.of(derivation, seed)
    best: Note | None = None
    for convention in CONVENTIONS:
        note = _Judge(derivation, truth, convention, equations).note()
        if best is None or _rank(note) > _rank(best):
            best = note
        if best.passed:
            break
    assert best is not None
    return best


def _rank(note: Note) -> tuple[int, int]:
    """Most lines right, then fewest not understood; the first of equals stays."""
    return note.count("right", "consistent"), -note.count("not understood")


Look = Callable[[Any, int], Array]


class _Judge:
    def __init__(
        self,
        derivation: Derivation,
        truth: Truth,
        convention: Convention,
        equations: Sequence[Equation | Judged],
    ) -> None:
        self.derivation, self.truth, self.convention = derivation, truth, convention
        self.equations = equations
        self.written: dict[tuple[str, bool], Equation] = {}
        for e in equations:
            if isinstance(e, Equation) and isinstance(e.left, Name):
                self.written.setdefault((e.left.name, e.left.adjoint), e)

    # -- values ---------------------------------------------------------------------------------

    def turned(self, name: str, a: Array, adjoint: bool) -> Array:
        """A value in the convention of the note."""
        if self.convention == "columns":
            return a
        if self.truth.matrix(name):
            return a if self.convention == "rows" else a.T
        return a.T

    def true(self, node: Name | Call, t: int) -> Array:
        """The value of a name by the derivation, of an own quantity by the author's line."""
        if isinstance(node, Call):
            of, by = node.args
            assert isinstance(of, Name)
            assert isinstance(by, Name)
            return self._jacobians(of, by, t)[-1]
        if node.time is not None and self.truth.knows(f"cotangent {node.name}"):
            held = self.truth.value(f"cotangent {node.name}", t, False)
            return self.turned(node.name, held, False)
        if self.truth.knows(node.name):
            held = self.truth.value(node.name, t, node.adjoint)
            return self.turned(node.name, held, node.adjoint)
        return self._own(node, t, self.true)

    def _own(self, node: Name, t: int, look: Look) -> Array:
        equation = self.written.get((node.name, node.adjoint))
        if equation is None:
            raise NotEvaluated(f"{node} is not defined, neither by the cell nor by a line")
        last = max(self.truth.steps.values())
        left = equation.left
        assert isinstance(left, Name)
        shift = left.time.offset if left.time is not None and left.time.anchor == "t" else 0
        when = t - shift
        if not 1 <= when <= last:
            # What is carried into the last step from beyond is zero.
            inside = self._own(node, last + shift if when > last else 1 + shift, look)
            return 0 * inside
        return self._value(equation.right, when, look)

    def _value(self, node: Node, t: int, look: Look) -> Array:
        return Evaluation(self.truth.steps, self.truth.sizes, look)(node, t)

    def authors(self) -> Look:
        """Values in which what the author defines is as the author defines it."""
        memo: dict[tuple[str, bool, int], Array] = {}
        busy: set[tuple[str, bool, int]] = set()

        def look(node: Name | Call, t: int) -> Array:
            if isinstance(node, Call):
                return self.true(node, t)
            equation = self.written.get((node.name, node.adjoint))
            forward = not node.adjoint and self.truth.knows(node.name)
            if equation is None or forward or equation.accumulates or not _at_t(equation.left):
                return self.true(node, t)
            key = (node.name, node.adjoint, t)
            if key not in memo:
                if key in busy:
                    raise NotEvaluated(f"{node} is defined by itself")
                busy.add(key)
                if self.truth.knows(node.name) and t not in self.truth.times(node.name):
                    memo[key] = self.true(node, t)
                else:
                    memo[key] = self._own(node, t, look)
                busy.discard(key)
            return memo[key]

        return look

    def _jacobians(self, of: Name, by: Name, t: int) -> list[Array]:
        steps = self.truth.steps
        lag = at(of.time, t, steps) - at(by.time, t, steps)
        when = at(of.time, t, steps)
        found = self.truth.jacobians(of.name, by.name, when, lag)
        return found if self.convention == "columns" else [a.T for a in found]

    # -- lines ----------------------------------------------------------------------------------

    def note(self) -> Note:
        out = Note(self.derivation.network.name, self.convention)
        for e in self.equations:
            out.lines.append(e if isinstance(e, Judged) else self._line(e))
        return out

    def _line(self, e: Equation) -> Judged:
        told = Judged(e.text, e.line, "not understood", str(e.left))
        try:
            if isinstance(e.left, Name) and not self.truth.knows(e.left.name):
                self.true(
                    replace(e.left, time=Time("t")), max(1, max(self.truth.steps.values()) - 1)
                )
                return replace(told, status="own", why="a quantity of the author's own")
            wanted = list(self._wanted(e.left))
            made = [self._made(e, t, self.true) for t, _ in wanted]
        except NotEvaluated as problem:
            return self._misfit(e, replace(told, why=str(problem)))
        except (ArithmeticError, TypeError, ValueError, AttributeError, KeyError) as problem:
            return replace(told, why=f"it cannot be evaluated ({problem})")
        if all(_equal(m, options) for m, (_, options) in zip(made, wanted, strict=True)):
            return replace(told, status="right")
        return self._not_right(e, told, wanted, made)

    def _misfit(self, e: Equation, told: Judged) -> Judged:
        """A line that cannot be evaluated: wrong if one slip explains that, else not understood."""
        if isinstance(e.left, Name) and not self.truth.knows(e.left.name):
            return told
        try:
            what = self._slip(e, list(self._wanted(e.left)))
        except NotEvaluated:
            return told
        if not what:
            return told
        told.evidence = told.why
        return replace(
            told, status="wrong", why=what, derived=derived_line(self.derivation, e.left)
        )

    def _wanted(self, left: Node) -> Iterator[tuple[int, list[Array]]]:
        """The steps at which a line is checked, with what it may be there."""
        steps = self.truth.steps
        if isinstance(left, Call) and left.op == "jacobian":
            of, by = left.args
            if not isinstance(of, Name) or not isinstance(by, Name):
                raise NotEvaluated("a derivative of something that is no name")
            for name in (of.name, by.name):
                if not self.truth.knows(name) or not self.truth.moves(name):
                    raise NotEvaluated(f"a Jacobian with respect to or of {name}")
            for t in self.truth.times(of.name)[1:]:
                yield t, self._jacobians(of, by, t)
            return
        if not isinstance(left, Name):
            raise NotEvaluated("the left-hand side is no single quantity")
        moves = self.truth.moves(left.name)
        time = left.time
        if not moves:
            times = [max(steps.values())]
        elif time is not None and time.anchor != "t":
            times = [at(time, 1, steps)]
        else:
            shift = time.offset if time is not None else 0
            held = self.truth.times(left.name)
            times = [t for t in held if t + shift in held]
        for t in times:
            index = 0 if not moves else at(time, t, steps) if time is not None else t
            found = self.truth.value(left.name, index, left.adjoint)
            yield t, [self.turned(left.name, found, left.adjoint)]

    def _made(self, e: Equation, t: int, look: Look) -> Array:
        moves = not isinstance(e.left, Name) or self.truth.moves(e.left.name)
        summed = isinstance(e.right, Call) and any(n.op == "time sum" for n in _calls(e.right))
        if not moves and not summed and (e.accumulates or _timed(e.right)):
            parts = [self._value(e.right, k, look) for k in self._steps_of(e.right)]
            return functools.reduce(np.add, parts)
        found = self._value(e.right, t, look)
        if e.last is not None and t == self._last(e.left):
            found = found + self._value(e.last, t, look)
        return found

    def _steps_of(self, right: Node) -> range:
        """The steps of the first moving name that a line reads."""
        for leaf in leaves(right):
            if self.truth.knows(leaf.name) and self.truth.moves(leaf.name):
                return self.truth.times(leaf.name)
        return range(1, max(self.truth.steps.values()) + 1)

    def _last(self, left: Node) -> int:
        """The step that a scan runs last."""
        if not isinstance(left, Name) or left.name in self.derivation.network.parameters:
            return max(self.truth.steps.values())
        last = max(self.truth.times(left.name))
        return 1 if self.derivation.scan_of(left.name).scan.reverse else last

    def _not_right(
        self, e: Equation, told: Judged, wanted: list[tuple[int, list[Array]]], made: list[Array]
    ) -> Judged:
        if isinstance(e.left, Name):
            try:
                look = self.authors()
                own = [self._made(e, t, look) for t, _ in wanted]
                if all(_equal(m, o) for m, (_, o) in zip(own, wanted, strict=True)):
                    return replace(
                        told, status="consistent",
                        why="right with what the other lines of the note define",
                    )  # fmt: skip
            except (NotEvaluated, ZeroDivisionError, TypeError, ValueError, RecursionError):
                pass
        told.status = "wrong"
        told.evidence = self._evidence(e)
        told.derived = derived_line(self.derivation, e.left)
        told.why = self._named(e, wanted, made)
        return told

    def _evidence(self, e: Equation) -> str:
        """Where a line is wrong, in floating-point numbers at a point drawn for that."""
        other = _Judge(self.derivation, self.real(), self.convention, self.equations)
        with np.errstate(all="ignore"):
            for t, options in other._wanted(e.left):
                made, want = other._made(e, t, other.true), options[-1]
                name = str(e.left)
                if made.shape != want.shape:
                    shapes = f"{name} has the shape of {made.shape[0]} × {made.shape[1]}, "
                    return shapes + f"by the derivation {want.shape[0]} × {want.shape[1]}"
                error = np.abs(np.asarray(made - want, dtype=float))
                if not np.any(
                    error > 1e-9 * np.max(np.abs(np.asarray(want, dtype=float)), initial=0)
                ):
                    continue
                at_entry = np.unravel_index(int(np.argmax(error)), error.shape)
                a, b = float(made[at_entry]), float(want[at_entry])
                where = f"entry {[int(i) + 1 for i in at_entry]}"
                return f"at t = {t}, {where}: the line gives {a:.6g}, it is {b:.6g}"
        return ""

    def real(self) -> Truth:
        """The same names at a point of floating-point numbers."""
        return Truth.of(self.derivation, real=True)

    # -- what is wrong --------------------------------------------------------------------------

    def _named(self, e: Equation, wanted: list[tuple[int, list[Array]]], made: list[Array]) -> str:
        ratio = _ratio(wanted, made)
        if ratio is not None:
            return _factor(ratio, max(self.truth.steps.values()))
        if all(m.T.shape == o[0].shape and _equal(m.T, o) for m, (_, o) in
               zip(made, wanted, strict=True)):  # fmt: skip
            return "it is the transpose (denominator layout, or row vectors in this line)"

        return self._slip(e, wanted) or self._missing(e, wanted, made)

    def _slip(self, e: Equation, wanted: list[tuple[int, list[Array]]]) -> str:
        """The one thing that is written wrongly, empty if there is no such thing."""

        def fits(node: Node) -> bool:
            trial = replace(e, right=node)
            try:
                return all(_equal(self._made(trial, t, self.true), o) for t, o in wanted)
            except (NotEvaluated, ZeroDivisionError, TypeError, ValueError):
                return False

        for count, (node, what) in enumerate(Slips(self.derivation, self.truth).edits(e.right)):
            if count >= MOST_EDITS:
                break
            if fits(node):
                return what
        parts = terms(e.right)
        for i, part in enumerate(parts) if len(parts) > 1 else ():
            rest = [p for k, p in enumerate(parts) if k != i]
            kept = rest[0] if len(rest) == 1 else Call("add", tuple(rest))
            if fits(kept):
                return f"the term {written(part)} does not belong"
        return ""

    def _missing(
        self, e: Equation, wanted: list[tuple[int, list[Array]]], made: list[Array]
    ) -> str:
        """Derived contributions whose sum is what the line lacks."""
        if not isinstance(e.left, Name) or not e.left.adjoint or self.convention != "columns":
            return "no single slip explains it"
        if any(m.shape != o[0].shape for m, (_, o) in zip(made, wanted, strict=True)):
            return "it has another shape"
        for name, values in self._contributions(e.left.name):
            lacks = [o[0] - m for m, (_, o) in zip(made, wanted, strict=True)]
            at_times = [values(t) for t, _ in wanted]
            if all(a is not None and _equal(a, [b]) for a, b in zip(at_times, lacks, strict=True)):
                return f"the term {name} is missing"
        return "no single slip explains it"

    def _contributions(self, name: str) -> Iterator[tuple[str, Callable[[int], Array]]]:
        for edge in self.derivation.readers(name):
            lag = edge.lag or 0

            def value(t: int, edge: Any = edge, lag: int = lag) -> Array:
                when = t + lag
                like = self.truth.value(name, t, False)
                if self.truth.moves(name) and when not in self.truth.times(edge.equation.name):
                    return 0 * like
                bar = self.truth.value(edge.equation.name, when, True)
                look = self.truth.run.lookup(when, {edge.adjoint: bar})
                return self.truth.run.terms(edge.pullback, look)

            moves = self.truth.moves(name)

            def total(t: int, value: Any = value, moves: bool = moves, edge: Any = edge) -> Array:
                if moves:
                    return value(t)
                return functools.reduce(
                    np.add, [value(k) for k in self.truth.times(edge.equation.name)]
                )

            yield to_text(shift(edge.pullback, lag)), total


def _calls(node: Node) -> Iterator[Call]:
    if isinstance(node, Call):
        yield node
        for a in node.args:
            yield from _calls(a)


def _timed(node: Node) -> bool:
    if isinstance(node, Name):
        return node.time is not None and node.time.anchor == "t"
    return isinstance(node, Call) and any(_timed(a) for a in node.args)


def _at_t(left: Node) -> bool:
    return isinstance(left, Name) and (left.time is None or left.time.anchor == "t")


def _equal(a: Array, options: Sequence[Array]) -> bool:
    return any(
        np.shape(a) == b.shape
        and not any(_value(x - y) for x, y in zip(a.flat, b.flat, strict=True))
        for b in options
    )


def _value(x: Any) -> Any:
    return getattr(x, "value", x)


def _ratio(wanted: list[tuple[int, list[Array]]], made: list[Array]) -> Fraction | None:
    """The small rational c with made = c · wanted at all steps, if there is one."""
    for c in (Fraction(n, d) for n in (-1, 1, 2, 3, -2) for d in (1, 2, 3, 4)):
        if c != 1 and all(
            m.shape == o[0].shape and _equal(m, [o[0] * c])
            for m, (_, o) in zip(made, wanted, strict=True)
        ):
            return c
    return None


def _factor(ratio: Fraction, steps: int) -> str:
    if ratio == -1:
        return "the sign"
    if ratio == Fraction(1, steps):
        return "a mean over the steps where the sum belongs (right for a loss that is a mean)"
    return f"it is {ratio} times what it should be"
