"""Every line of a note against the derivation: right, right in another convention, or wrong.

A line is judged given the others: adjoints on its right-hand side have their true values, so that a
line is not blamed for another's mistake. Quantities of the author's own are computed from the lines
that define them. A line that is wrong with true values and right with the author's own definitions
is said to be consistent with them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, Literal

import numpy as np

from ..derivation.program import Derivation
from .tree import Call, Equation, Name, Node, Number, Time, rewritten, terms
from .values import CONVENTIONS, Convention, NotEvaluated, Truth, at, evaluate

__all__ = ["Judged", "Note", "judge"]

Array = Any
Status = Literal["right", "consistent", "wrong", "own", "not understood"]
#: Edits tried on a line that is wrong: enough for every single slip in a line of twenty names.
MOST_EDITS = 4000


@dataclass
class Judged:
    """One line and what was found.

    Attributes
    ----------
    status : str
        ``"right"``; ``"consistent"``: right with what the author's other lines define, though
        not with ∂L/∂(·) of those names; ``"wrong"``; ``"own"``: it defines a quantity of the
        author's; ``"not understood"``.
    why : str
        What was not understood, the convention, or what is wrong.
    derived : str
        The derived line, for a wrong one.
    evidence : str
        Where and by how much it is wrong: an entry, with both numbers modulo the prime.
    """

    text: str
    line: int
    status: Status
    defines: str = ""
    why: str = ""
    derived: str = ""
    evidence: str = ""


@dataclass
class Note:
    """All lines of a note, in order, and the convention in which most of them are right."""

    cell: str
    convention: Convention
    lines: list[Judged] = field(default_factory=list)

    def count(self, *status: str) -> int:
        """How many lines have one of these verdicts."""
        return sum(j.status in status for j in self.lines)

    @property
    def passed(self) -> bool:
        """Nothing wrong, nothing not understood, and at least one line judged."""
        return bool(self.count("right", "consistent")) and not self.count(
            "wrong", "not understood"
        )


def judge(
    derivation: Derivation, equations: Sequence[Equation | Judged], seed: int = 0
) -> Note:
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
        key = (note.count("right", "consistent"), -note.count("wrong"))
        if best is None or key > (best.count("right", "consistent"), -best.count("wrong")):
            best = note
    assert best is not None
    return best


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
        if self.truth.knows(node.name):
            held = self.truth.value(node.name, t, node.adjoint)
            return self.turned(node.name, held, node.adjoint)
        return self._own(node, t, self.true)

    def _own(self, node: Name, t: int, look: Callable[[Name | Call, int], Array]) -> Array:
        equation = self.written.get((node.name, node.adjoint))
        if equation is None:
            raise NotEvaluated(f"{node} is not defined, neither by the cell nor by a line")
        steps = self.truth.steps
        left = equation.left
        assert isinstance(left, Name)
        shift = left.time.offset if left.time is not None and left.time.anchor == "t" else 0
        when = t - shift
        if not 1 <= when <= steps:
            # What is carried into the last step from beyond is zero.
            inside = self._own(node, steps + shift if when > steps else 1 + shift, look)
            return 0 * inside
        return evaluate(equation.right, when, steps, look)

    def authors(self) -> Callable[[Name | Call, int], Array]:
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
                if self.truth.knows(node.name) and not 1 <= t <= self.truth.steps:
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
                self.true(replace(e.left, time=Time("t")), max(1, self.truth.steps - 1))
                return replace(told, status="own", why="a quantity of the author's own")
            wanted = list(self._wanted(e.left))
            made = [self._made(e, t, self.true) for t, _ in wanted]
        except NotEvaluated as problem:
            return replace(told, why=str(problem))
        except (ZeroDivisionError, TypeError, ValueError, AttributeError) as problem:
            return replace(told, why=f"it cannot be evaluated ({problem})")
        if all(_equal(m, options) for m, (_, options) in zip(made, wanted, strict=True)):
            return replace(told, status="right")
        return self._not_right(e, told, wanted, made)

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
            for t in range(2, steps + 1):
                yield t, self._jacobians(of, by, t)
            return
        if not isinstance(left, Name):
            raise NotEvaluated("the left-hand side is no single quantity")
        moves = self.truth.moves(left.name)
        time = left.time
        if not moves:
            times = [steps]
        elif time is not None and time.anchor != "t":
            times = [at(time, 1, steps)]
        else:
            shift = time.offset if time is not None else 0
            times = [t for t in range(1, steps + 1) if 1 <= t + shift <= steps]
            if shift < 0 and left.adjoint:
                times = list(range(2, steps + 1))
        for t in times:
            index = 0 if not moves else at(time, t, steps) if time is not None else t
            found = self.truth.value(left.name, index, left.adjoint)
            yield t, [self.turned(left.name, found, left.adjoint)]

    def _made(self, e: Equation, t: int, look: Callable[[Name | Call, int], Array]) -> Array:
        steps = self.truth.steps
        moves = not isinstance(e.left, Name) or self.truth.moves(e.left.name)
        summed = isinstance(e.right, Call) and any(n.op == "sum" for n in _calls(e.right))
        if not moves and not summed and (e.accumulates or _timed(e.right)):
            total = evaluate(e.right, 1, steps, look)
            for k in range(2, steps + 1):
                total = total + evaluate(e.right, k, steps, look)
            return total
        return evaluate(e.right, t, steps, look)

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
        told.evidence = _evidence(told.defines, wanted, made)
        told.derived = derived_line(self.derivation, e.left)
        told.why = self._named(e, wanted, made)
        return told

    # -- what is wrong --------------------------------------------------------------------------

    def _named(
        self, e: Equation, wanted: list[tuple[int, list[Array]]], made: list[Array]
    ) -> str:
        ratio = _ratio(wanted, made)
        if ratio is not None:
            return _factor(ratio, self.truth.steps)
        if all(m.T.shape == o[0].shape and _equal(m.T, o) for m, (_, o) in
               zip(made, wanted, strict=True)):  # fmt: skip
            return "it is the transpose (denominator layout, or row vectors in this line)"

        def fits(node: Node) -> bool:
            trial = replace(e, right=node)
            try:
                return all(
                    _equal(self._made(trial, t, self.true), o) for t, o in wanted
                )
            except (NotEvaluated, ZeroDivisionError, TypeError, ValueError):
                return False

        for count, (node, what) in enumerate(self._edits(e.right)):
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
        return self._missing(e, wanted, made)

    def _missing(
        self, e: Equation, wanted: list[tuple[int, list[Array]]], made: list[Array]
    ) -> str:
        """Derived contributions whose sum is what the line lacks."""
        if not isinstance(e.left, Name) or not e.left.adjoint or self.convention != "columns":
            return "no single slip explains it"
        for name, values in self._contributions(e.left.name):
            lacks = [o[0] - m for m, (_, o) in zip(made, wanted, strict=True)]
            at_times = [values(t) for t, _ in wanted]
            if all(a is not None and _equal(a, [b]) for a, b in zip(at_times, lacks, strict=True)):
                return f"the term {name} is missing"
        return "no single slip explains it"

    def _contributions(self, name: str) -> Iterator[tuple[str, Callable[[int], Array]]]:
        from ..calculus.printing import to_text

        for edge in self.derivation.readers(name):
            lag = edge.lag or 0

            def value(t: int, edge: Any = edge, lag: int = lag) -> Array:
                when = t + lag
                like = self.truth.value(name, t, False)
                if not 1 <= when <= self.truth.steps:
                    return 0 * like
                bar = self.truth.value(edge.equation.name, when, True)
                look = self.truth.run.lookup(when, {edge.adjoint: bar})
                return self.truth.run.terms(edge.pullback, look)

            moves = self.truth.moves(name)

            def total(t: int, value: Callable[[int], Array] = value, moves: bool = moves) -> Array:
                if moves:
                    return value(t)
                return sum(value(k) for k in range(2, self.truth.steps + 1)) + value(1)

            from ..calculus.terms import shift

            yield to_text(shift(edge.pullback, lag)), total

    def _edits(self, right: Node) -> Iterator[tuple[Node, str]]:
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

    def _changes(self, node: Node) -> Iterator[tuple[Node, str]]:
        shown = written(node)
        if isinstance(node, Name) and self.truth.knows(node.name):
            if node.time is not None:
                for by in (-1, 1, -2, 2):
                    moved = replace(node, time=replace(node.time, offset=node.time.offset + by))
                    yield moved, f"{shown} where {moved} belongs"
            shape = next(iter(self.truth.values[node.name].values())).shape
            for other, held in self.truth.values.items():
                same = next(iter(held.values())).shape == shape
                if other != node.name and same and self.truth.moves(other) == self.truth.moves(
                    node.name
                ):
                    swapped = replace(node, name=other)
                    yield swapped, f"{shown} where {swapped} belongs"
            yield replace(node, adjoint=not node.adjoint), f"{shown} as a value or an adjoint"
        if isinstance(node, Call) and node.op == "transpose":
            yield node.args[0], f"{shown} where {written(node.args[0])} belongs"
        elif isinstance(node, Name):
            flipped = Call("transpose", (node,))
            yield flipped, f"{shown} where {written(flipped)} belongs"
        if isinstance(node, Call) and node.op == "neg":
            yield node.args[0], f"the sign of {written(node.args[0])}"
        if isinstance(node, Call) and node.op in ("times", "product") and len(node.args) == 2:
            for kept, lost in (node.args, node.args[::-1]):
                yield kept, f"the factor {written(lost)} does not belong"
            a, b = node.args
            yield Call(node.op, (b, a)), f"{shown} where {written(b)} {written(a)} belongs"
        if isinstance(node, Call) and node.op == "power":
            yield node.args[0], f"the square of {written(node.args[0])} does not belong"
        if isinstance(node, Name | Call):
            squared = Call("power", (node,), Fraction(2))
            yield squared, f"{shown} where {written(squared)} belongs"
            yield Call("neg", (node,)), f"the sign of {shown}"
            one = Call("add", (Number(Fraction(1)), Call("neg", (node,))))
            yield one, f"{shown} where {written(one)} belongs"
        if isinstance(node, Call) and node.op == "add":
            a, b = node.args[0], node.args[-1]
            if isinstance(a, Number) and isinstance(b, Call) and b.op == "neg":
                yield b.args[0], f"{shown} where {written(b.args[0])} belongs"
        for factor in self._factors(node):
            yield Call("times", (node, factor)), f"without the factor {written(factor)}"

    def _factors(self, node: Node) -> Iterator[Node]:
        """Factors that people forget: φ′ of everything that is a function of one equation."""
        from ..calculus.terms import Apply

        if not isinstance(node, Name | Call) or (isinstance(node, Call) and node.op == "neg"):
            return
        one = Number(Fraction(1))
        for program in self.derivation.scans:
            for e in program.equations:
                y = Name(e.name, Time("t"))
                yield y
                if isinstance(e.rhs, Apply) and str(e.rhs.fname) == "tanh":
                    yield Call("add", (one, Call("neg", (Call("power", (y,), Fraction(2)),))))
                elif isinstance(e.rhs, Apply) and str(e.rhs.fname) == "sigmoid":
                    slope = Call("add", (one, Call("neg", (y,))))
                    yield slope
                    yield Call("times", (y, slope))


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
        np.shape(a) == b.shape and not any(_value(x - y) for x, y in zip(a.flat, b.flat, strict=True))
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


def _evidence(name: str, wanted: list[tuple[int, list[Array]]], made: list[Array]) -> str:
    for m, (t, options) in zip(made, wanted, strict=True):
        o = options[-1]
        if m.shape != o.shape:
            return f"{name} has shape {m.shape}, by the derivation {o.shape}"
        for index in np.ndindex(*o.shape):
            if _value(m[index] - o[index]):
                a, b = _value(m[index]), _value(o[index])
                return f"at t = {t}, entry {list(index)}: {a} and {b} (mod 2^127 − 1)"
    return ""


def derived_line(derivation: Derivation, left: Node) -> str:
    """The derived equation of what a line defines, as text."""
    from ..calculus.printing import to_text
    from ..derivation.pages.adjoints import line_of

    if not isinstance(left, Name):
        return ""
    if not left.adjoint:
        for program in derivation.scans:
            for e in program.equations:
                if e.name == left.name:
                    return f"{to_text(e.symbol)} = {to_text(e.rhs)}"
        return ""
    line = line_of(derivation, left.name)
    if line is None:
        return ""
    note = "".join(p if isinstance(p, str) else to_text(p) for p in line.note)
    return f"{to_text(line.left)} = {to_text(line.right)}" + (f"    ({note})" if note else "")


def written(node: Node) -> str:
    """A tree as text."""
    if isinstance(node, Number):
        return str(node.value)
    if isinstance(node, Name):
        return str(node)
    a = [written(x) for x in node.args]
    inner = [f"({s})" if isinstance(x, Call) and x.op == "add" else s
             for s, x in zip(a, node.args, strict=True)]  # fmt: skip
    if node.op == "add":
        return " + ".join(a).replace("+ −", "− ")
    if node.op == "neg":
        return f"−{inner[0]}"
    if node.op in ("times", "product", "divide"):
        return {"times": " ⊙ ", "product": " ", "divide": " ⊘ "}[node.op].join(inner)
    if node.op == "transpose":
        return f"{inner[0]}ᵀ"
    if node.op == "power":
        return f"{inner[0]}^{node.data}"
    if node.op == "sum":
        return f"Σ_t {inner[0]}"
    return f"{node.op}({', '.join(a)})"

