"""Every line of a note against the derivation: right, right in another convention, or wrong.

A line is judged given the others: adjoints on its right-hand side have their true values, so that a
line is not blamed for another's mistake. Quantities of the author's own are computed from the lines
that define them. A line that is wrong with true values and right with the author's own definitions
is said to be consistent with them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ..derivation.program import Derivation
from ..errors import GradcheckError
from .conventions import COLUMNS, Convention, conventions
from .line_values import Judge, Wanted
from .meanings import DEFAULT, Meaning, calls, has, meanings, words
from .note import RIGHT, Judged, Note
from .tree import Applied, Node, Quantity, Time, Written, leaves, rewritten
from .truth import NotEvaluated, Source
from .writing import derived_line, written
from .wrong_lines import Naming

__all__ = ["FAILURES", "judge", "judge_at"]

#: What the evaluation of a line that means nothing may raise.
FAILURES = (GradcheckError, ArithmeticError, TypeError, ValueError, AttributeError, KeyError,
            IndexError, RecursionError)  # fmt: skip


def judge(derivation: Derivation, equations: Sequence[Written | Judged], seed: int = 0) -> Note:
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
    return judge_at(Source(derivation, seed), equations)


def judge_at(
    source: Source, equations: Sequence[Written | Judged], *, explain: bool = True
) -> Note:
    """`judge` with points that are drawn already, or that are drawn in another way.

    Parameters
    ----------
    explain : bool
        Say what is wrong, and show numbers.
    """
    best: tuple[_Judge, Note] | None = None
    for convention, loss in _senses(source, equations):
        judged = _Judge(source, convention, loss, equations)
        note = judged.note()
        if best is None or _rank(note) > _rank(best[1]):
            best = judged, note
        if not note.count("wrong", "not understood"):
            break
    assert best is not None
    judge, note = best
    if explain:
        note.lines = [judge.told(e, j) for e, j in zip(equations, note.lines, strict=True)]
    return note


def _senses(
    source: Source, equations: Sequence[Written | Judged]
) -> Iterator[tuple[Convention, tuple[str, ...] | None]]:
    """Conventions and what the loss depends on; what no line would show is left out."""
    trees = [t for e in equations if isinstance(e, Written) for t in (e.left, e.right)]
    derivatives = any(has(t, "jacobian") for t in trees)
    for loss in source.losses():
        for convention in conventions(source.known()):
            if convention.jacobians_transposed == convention.rows or derivatives:
                yield convention, loss


def _rank(note: Note) -> tuple[int, int, int]:
    """Most lines right, plainly right first, then fewest not understood; the first stays."""
    unfit = note.count("not understood") + sum(j.misfit for j in note.lines)
    return note.count(*RIGHT), note.count("right", "consistent"), -unfit


class _Judge:
    def __init__(
        self,
        source: Source,
        convention: Convention,
        loss: tuple[str, ...] | None,
        equations: Sequence[Written | Judged],
    ) -> None:
        self.source, self.convention, self.loss = source, convention, loss
        self.derivation = source.derivation
        self.equations = equations
        self.lines = self._at(convention)

    def _at(self, convention: Convention, **point: bool) -> Judge:
        known = self.source.known(outputs=self.loss, **point)
        return Judge(known, convention, self.equations)

    # -- statuses -------------------------------------------------------------------------------

    def note(self) -> Note:
        out = Note(self.derivation.network.name, self.convention.name, self.loss)
        for k, e in enumerate(self.equations):
            self.lines.here = k
            out.lines.append(replace(e) if isinstance(e, Judged) else self._line(e))
        self._sums(out)
        self._twice(out)
        self._strangers(out)
        return out

    def _line(self, e: Written) -> Judged:
        told = Judged(e.text, e.line, "not understood", written(e.left))
        known = self.lines.known
        try:
            if isinstance(e.left, Quantity) and not known.knows(e.left.name):
                self.lines.own(replace(e.left, time=None), max(1, max(known.steps.values()) - 1),
                               self.lines.looker(DEFAULT))  # fmt: skip
                return replace(told, status="own", why="a quantity of the author's own")
            if e.left == e.right and not e.accumulates:
                return replace(told, status="own", why="both sides are the same quantity")
            wanted = self.lines.wanted(e.left)
            # A sense in which everything is zero would make any line right.
            if self.loss is not None and self.lines.unreached(e.left, wanted):
                raise NotEvaluated(f"a loss of {', '.join(self.loss)} does not depend on it")
        except FAILURES as problem:
            return replace(told, why=_reason(problem))
        failed: Exception | None = None
        evaluated = False
        for meaning in meanings(e.right):
            try:
                holds = self.lines.holds(e, wanted, meaning)
            except FAILURES as problem:
                failed = failed or problem
                continue
            evaluated = True
            if holds:
                return self._right(e, told, wanted, meaning)
        try:
            if self.lines.holds(e, wanted, look=self.lines.authors(DEFAULT)):
                why = "right with what the other lines of the note define"
                return replace(told, status="consistent", why=why)
        except FAILURES:
            pass
        if sense := self._sense(e):
            return replace(told, status="convention", why=sense)
        one_unit = self._one_unit(e)
        told.one_unit = bool(one_unit)
        # What does not fit in any sense is wrong if it is wrong even where everything fits.
        if evaluated or one_unit is False:
            return replace(told, status="wrong", misfit=not self._fits(e, wanted))
        return replace(told, why=_reason(failed))

    def _fits(self, e: Written, wanted: Wanted) -> bool:
        """Whether a line has the shape that it ought to have, in some sense."""
        t, options = wanted[0]
        for meaning in meanings(e.right):
            try:
                made = self.lines.made(e, t, self.lines.looker(meaning), meaning)
            except FAILURES:
                continue
            if made.shape[-2:] == options[0].shape[-2:] or self.lines.flat(e, made, options[0]):
                return True
        return False

    def _right(self, e: Written, told: Judged, wanted: Wanted, meaning: Meaning) -> Judged:
        t, (want, *_) = wanted[0]
        made = self.lines.made(e, t, self.lines.looker(meaning), meaning)
        if self.lines.of_head(e, made, want):
            why = "what one head gives; the gradient is the sum over the heads"
            return replace(told, status="convention", why=why)
        if self.lines.flat(e, made, want):
            why = "; ".join(
                x
                for x in (
                    "right for vec of the gradient",
                    words(meaning, e.right, self.lines.known),
                )
                if x
            )
            return replace(told, status="convention", why=why)
        if meaning.diagonals:
            why = "right where a vector φ′ beside a matrix stands for diag(φ′)"
            return replace(told, status="convention", why=why)
        if self.lines.share(e) and not e.accumulates:
            why = "what one step gives; the gradient is the sum over the steps"
            return replace(told, status="convention", why=why)
        return replace(told, status="right", why=words(meaning, e.right, self.lines.known))

    def _sense(self, e: Written) -> str:
        """The convention of a single line in which it is right, empty if there is none."""

        def fits(trial: Written, lines: Judge) -> bool:
            lines.here = self.lines.here
            try:
                wanted = lines.wanted(trial.left)
            except FAILURES:
                return False
            for meaning in meanings(trial.right):
                try:
                    if lines.holds(trial, wanted, meaning):
                        return True
                except FAILURES:
                    continue
            return False

        for other in _from_one(e.right):
            if fits(replace(e, right=other), self.lines):
                return "right with steps counted from 0 in the sum"
        if _divides_by_steps(e.right, self.lines):
            whole = Applied("times", (e.right, Quantity(max(self.lines.known.steps, key=len))))
            if fits(replace(e, right=whole), self.lines):
                return "right for a loss that is the mean over the steps"
        if _reads_state(e.right) and fits(e, self._at(self.convention, zero_start=True)):
            return "right where the first state is zero"
        return ""

    def _sums(self, note: Note) -> None:
        """Lines that add to the same quantity one after the other are judged as one."""
        for k, e in enumerate(self.equations):
            if not isinstance(e, Written) or not e.accumulates or note.lines[k].status != "wrong":
                continue
            before = [
                i for i in range(k)
                if isinstance(o := self.equations[i], Written) and o.left == e.left
                and note.lines[i].status in ("wrong", "own")
            ]  # fmt: skip
            if not before:
                continue
            first = self.equations[before[0]]
            parts = tuple(o.right for i in (*before, k)
                          if isinstance(o := self.equations[i], Written))  # fmt: skip
            assert isinstance(first, Written)
            total = replace(
                e, right=Applied("add", parts), accumulates=first.accumulates, merged=True
            )
            self.lines.here = before[0]
            found = self._line(total)
            if found.status in RIGHT:
                note.lines[k] = replace(found, text=e.text)
                for i in before:
                    why = f"a part of what line {e.line} completes"
                    note.lines[i] = replace(note.lines[i], status="own", why=why)

    def _twice(self, note: Note) -> None:
        """A line of code that adds a whole gradient to one that another line has added already."""
        added: dict[Node, int] = {}
        for k, e in enumerate(self.equations):
            if not isinstance(e, Written) or not e.accumulates or note.lines[k].status != "right":
                continue
            if e.left in added:
                first = f"line {added[e.left]} adds the whole gradient already"
                why = f"{first}: it is twice what it should be"
                note.lines[k] = replace(note.lines[k], status="wrong", why=why)
            added.setdefault(e.left, e.line)

    def _strangers(self, note: Note) -> None:
        """An adjoint of something that the definition does not have, and that no line uses."""
        for k, (e, told) in enumerate(zip(self.equations, note.lines, strict=True)):
            if (
                told.status != "own"
                or not isinstance(e, Written)
                or not isinstance(e.left, Quantity)
            ):
                continue
            left = e.left
            if self.lines.known.knows(left.name) or not left.adjoint:
                continue
            used = any(
                isinstance(o, Written) and i != k and any(
                    n.name == left.name and n.adjoint for n in leaves(o.right)
                )
                for i, o in enumerate(self.equations)
            )  # fmt: skip
            if not used:
                why = (
                    f"the definition has no {left.name!r}, and no other line uses its adjoint; "
                    f"say what it is: --name {left.name}=…"
                )
                note.lines[k] = replace(told, status="not understood", why=why)

    # -- words ----------------------------------------------------------------------------------

    def told(self, e: Written | Judged, judged: Judged) -> Judged:
        """A verdict with what is wrong, the derived line and numbers."""
        if isinstance(e, Judged) or judged.status not in ("wrong", "not understood"):
            return judged
        self.lines.here = next(k for k, o in enumerate(self.equations) if o is e)
        naming = Naming(self.lines, self.source, self.loss)
        if judged.status == "not understood":
            return self._misfit(e, judged, naming)
        if judged.why:  # already said: the line itself is right
            judged.derived = derived_line(self.derivation, e.left)
            return replace(judged, evidence=f"{judged.defines} twice over")
        judged.evidence = naming.evidence(e)
        judged.derived = derived_line(self.derivation, e.left)
        judged.why = self._alone(e) or naming.what(e)
        return judged

    def _alone(self, e: Written) -> str:
        """The convention in which a wrong line of a longer note is right by itself."""
        if len(self.equations) < 2 or (isinstance(e.left, Quantity) and not e.left.adjoint):
            return ""
        note = judge_at(self.source, [e], explain=False)
        if note.lines[0].status not in RIGHT:
            return ""
        sense = note.convention + (f", a loss of {', '.join(note.loss)} alone" if note.loss else "")
        alone = f"right only where this line alone is read as {sense}"
        return f"{alone}; the note is read as {self.convention}"

    def _misfit(self, e: Written, told: Judged, naming: Naming) -> Judged:
        """A line that cannot be evaluated: wrong if one slip explains that, else not understood."""
        if isinstance(e.left, Quantity) and not self.lines.known.knows(e.left.name):
            return told
        try:
            what = naming.slip(e, self.lines.wanted(e.left))
        except FAILURES:
            return told
        if not what:
            return told
        derived = derived_line(self.derivation, e.left)
        return replace(told, status="wrong", why=what, evidence=told.why, derived=derived)

    def _one_unit(self, e: Written) -> bool | None:
        """Whether a line is right where every dim is 1; None if it means nothing even there."""
        try:
            lines = self._at(COLUMNS, one_unit=True)
            lines.here = self.lines.here
            wanted = lines.wanted(e.left)
        except FAILURES:
            return None
        found: bool | None = None
        for meaning in meanings(e.right):
            try:
                if lines.holds(e, wanted, meaning):
                    return True
                found = False
            except FAILURES:
                continue
        return found


def _reason(problem: Exception | None) -> str:
    if isinstance(problem, NotEvaluated):
        return str(problem)
    return f"it cannot be evaluated ({problem})"


def _reads_state(right: Node) -> bool:
    return any(c.op == "time sum" for c in calls(right))


def _from_one(right: Node) -> Iterator[Node]:
    """A sum over t = 0…T or 0…T−1 as one over all steps."""

    def change(node: Node) -> Iterator[Node]:
        if isinstance(node, Applied) and node.op == "time sum" and isinstance(node.data, tuple):
            letter, lower, upper = node.data
            if lower == Time("", 0) and upper in (None, Time("T"), Time("T", -1)):
                yield replace(node, data=(letter, Time("", 1), None))

    return rewritten(right, change)


def _divides_by_steps(right: Node, lines: Judge) -> bool:
    """Whether T itself is a factor or a divisor."""
    return any(n.name in lines.known.steps and n.time is None for n in leaves(right))
