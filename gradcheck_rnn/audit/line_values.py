"""One line of a note at one point: its right-hand side and what it ought to be."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..derivation.wholes import row
from .conventions import Convention
from .evaluation import Evaluation, Steps, at
from .meanings import DEFAULT, Meaning, has
from .note import Judged
from .tree import Applied, Node, Quantity, Time, Written, leaves
from .truth import READINGS, NotEvaluated, Values

__all__ = ["Judge", "Wanted", "same"]

Array = Any
Look = Callable[[Any, Steps], Array]
#: Index variables, and what a left-hand side may be there.
Wanted = list[tuple[dict[str, int], list[Array]]]


#: A name of code for the adjoint of the step after or before, where no line defines it.
_CARRIED = re.compile(r"(?:grad_|delta_|d_|d)(\w+)_(next|prev)$")


class Judge:
    """The lines of a note at one point, in one convention.

    Names of the author's own have the value of the last line before that defines them, or of the
    first after.
    """

    def __init__(
        self, known: Values, convention: Convention, equations: Sequence[Written | Judged]
    ) -> None:
        self.known, self.convention = known, convention
        self.here = 0
        self.written: dict[tuple[str, bool], list[tuple[int, Written]]] = {}
        for k, e in enumerate(equations):
            if isinstance(e, Written) and isinstance(e.left, Quantity) and not e.merged:
                self.written.setdefault((e.left.name, e.left.adjoint), []).append((k, e))

    # -- values ---------------------------------------------------------------------------------

    def looker(self, meaning: Meaning) -> Look:
        """True values of names, of own quantities by the author's lines."""

        def look(node: Quantity | Applied, t: Steps) -> Array:
            if isinstance(node, Applied):
                return self._derivative(node, t, meaning)
            return self._true(node, t, look)

        return look

    def _true(self, node: Quantity, t: Steps, look: Look) -> Array:
        known = self.known
        step = at(node.time, t, known.steps)
        if node.time is not None and known.knows(f"cotangent {node.name}"):
            return self._turned(
                node.name, known.value(f"cotangent {node.name}", step, False), False
            )
        if known.knows(node.name):
            loss = None if node.loss is None else at(node.loss, t, known.steps)
            found = known.value(node.name, step, node.adjoint, loss)
            whole = known.derivation.network.wholes.get(node.name)
            if whole is not None and node.time is not None:  # of a sequence read whole, its step
                return self._turned(str(whole.sequence), row(whole, found, step), node.adjoint)
            return self._turned(node.name, found, node.adjoint)
        return self.own(node, step, look)

    def _turned(self, name: str, a: Array, adjoint: bool) -> Array:
        return self.convention.turned(self.known, name, a, adjoint)

    def defined(self, node: Quantity) -> Written | None:
        """The author's line for a name, seen from the line that is judged."""
        found = self.written.get((node.name, node.adjoint), [])
        before = [e for k, e in found if k < self.here]
        return before[-1] if before else found[0][1] if found else None

    def own(self, node: Quantity, step: int, look: Look) -> Array:
        equation = self.defined(node)
        if equation is None and (m := _CARRIED.match(node.name)) and self._carries(m[1]):
            beside = step + (1 if m[2] == "next" else -1)
            return self._turned(m[1], self.known.value(m[1], beside, True), True)
        if equation is None:
            raise NotEvaluated(f"{node} is not defined, neither by the cell nor by a line")
        if equation.code and self._place(equation) > self.here:
            # In the loop of a backward pass: the value of the iteration before, of step t + 1.
            step += 1
        last = max(self.known.steps.values())
        left = equation.left
        assert isinstance(left, Quantity)
        time = left.time
        moves = time is None or time.anchor not in ("", *self.known.steps)
        shift = time.offset if time is not None and moves else 0
        when = step - shift
        beyond = moves and not 1 <= when <= last
        when = min(max(when, 1), last) if beyond else when
        letter = time.anchor if time is not None and moves else "t"
        here, self.here = self.here, self._place(equation)
        try:
            found = self.value(equation.right, {"t": when, letter: when}, look, DEFAULT)
            # What is carried into the last step from beyond is zero.
            return 0 * found if beyond else found
        finally:
            self.here = here

    def _carries(self, name: str) -> bool:
        """Whether ``di_next`` can only be δi_{t+1}; of a state it may be what is handed back."""
        states = {s.name for p in self.known.derivation.scans for s in p.scan.states}
        return self.known.knows(name) and name not in states

    def _place(self, equation: Written) -> int:
        return next(k for found in self.written.values() for k, e in found if e is equation)

    def value(self, node: Node, t: Steps, look: Look, meaning: Meaning) -> Array:
        k = self.known
        return Evaluation(
            k.steps, k.sizes, look, ascending=meaning.ascending, diagonals=meaning.diagonals,
            heads=k.heads, matrices=k.derivation.network.front,
        )(node, t)  # fmt: skip

    def authors(self, meaning: Meaning) -> Look:
        """Values in which what the author defines is as the author defines it."""
        memo: dict[tuple[Quantity, int], Array] = {}
        busy: set[tuple[Quantity, int]] = set()

        def look(node: Quantity | Applied, t: Steps) -> Array:
            if isinstance(node, Applied):
                return self._derivative(node, t, meaning)
            equation = self.defined(node)
            forward = not node.adjoint and self.known.knows(node.name)
            if (
                equation is None or forward or equation.accumulates or node.loss is not None
                or not _at_t(equation.left)
            ):  # fmt: skip
                return self._true(node, t, look)
            step = at(node.time, t, self.known.steps)
            key = (replace(node, time=None), step)
            if key not in memo:
                if key in busy:
                    raise NotEvaluated(f"{node} is defined by itself")
                busy.add(key)
                outside = self.known.knows(node.name) and step not in self.known.times(node.name)
                memo[key] = self._true(node, t, look) if outside else self.own(node, step, look)
                busy.discard(key)
            return memo[key]

        return look

    # -- derivatives ----------------------------------------------------------------------------

    def _ends(self, node: Applied, t: Steps) -> tuple[str, int, str, int]:
        of, by = node.args
        if not isinstance(of, Quantity) or not isinstance(by, Quantity) or of.adjoint or by.adjoint:
            raise NotEvaluated("a derivative of something that is no name")
        for name in (of.name, by.name):
            if not self.known.knows(name):
                raise NotEvaluated(f"a derivative of or by {name}")
        network = self.known.derivation.network
        given = {*network.parameters, *network.inputs}
        if of.name not in self.known.made or by.name not in self.known.made | given:
            raise NotEvaluated(f"a derivative of {of.name} by {by.name}, one of which is handed in")
        if not self.known.moves(of.name):
            raise NotEvaluated(f"a derivative of {of.name}, which does not change")
        steps = self.known.steps
        s = at(by.time, t, steps) if self.known.moves(by.name) else 0
        return of.name, at(of.time, t, steps), by.name, s

    def _derivative(self, node: Applied, t: Steps, meaning: Meaning) -> Array:
        of, at_of, by, at_by = self._ends(node, t)
        reading = meaning.states if self.known.moves(by) else meaning.parameters
        if node.data == "+" and reading == "total":
            reading = "within"
        found = self._jacobian(of, at_of, by, at_by, reading)
        if found is None:
            raise NotEvaluated(f"{of} does not depend on {by} in this sense")
        return found

    def _jacobian(self, of: str, t: int, by: str, s: int, reading: str) -> Array | None:
        values = self.known.values
        if t not in values[of] or (s not in values[by]):
            # Beyond the sequence: only what is multiplied by a zero adjoint.
            rows, columns = (next(iter(values[n].values())).size for n in (of, by))
            like = next(iter(values[of].values())).flat[0]
            # Nothing was computed before the first step, so nothing there depends on anything.
            made = np.full((rows, columns), 0 * like if t < 1 else 2 * like + 1)
            return made.T if self.convention.jacobians_transposed else made
        found = self.known.jacobian(of, t, by, s, reading)
        if found is None and reading == "total":
            like = values[of][t]
            found = np.full((like.size, values[by][s].size), 0 * like.flat[0])
        if found is None:
            return None
        return found.T if self.convention.jacobians_transposed else found

    # -- lines ----------------------------------------------------------------------------------

    def wanted(self, left: Node) -> Wanted:
        """The steps at which a line is checked, with what it may be there."""
        out = list(self._wanted(left))
        if not out:
            raise NotEvaluated("there is no step at which it could be checked")
        return out

    def unreached(self, left: Node, wanted: Wanted) -> bool:
        """Whether the loss does not depend on what a line is about: zero would be right for all."""
        return (
            isinstance(left, Quantity) and left.adjoint
            and all(same(o, 0 * o, self.known) for _, options in wanted for o in options)
        )  # fmt: skip

    def _wanted(self, left: Node) -> Iterator[tuple[dict[str, int], list[Array]]]:
        if isinstance(left, Applied) and left.op == "jacobian":
            for t in self._indices(left):
                of, when, by, s = self._ends(left, t)
                if when not in self.known.values[of] or s not in self.known.values[by]:
                    continue
                readings = READINGS[1:] if left.data == "+" else READINGS
                found: list[Array] = []
                for reading in readings:
                    made = self._jacobian(of, when, by, s, reading)
                    if made is not None and not any(same(made, f, self.known) for f in found):
                        found.append(made)
                if not found:
                    raise NotEvaluated(f"{of} does not depend on {by}")
                yield t, found
            return
        if not isinstance(left, Quantity):
            raise NotEvaluated("the left-hand side is no single quantity")
        for t in self._indices(left):
            loss = None if left.loss is None else at(left.loss, t, self.known.steps)
            step = at(left.time, t, self.known.steps) if self.known.moves(left.name) else 0
            found_ = self.known.value(left.name, step, left.adjoint, loss)
            yield t, [self._turned(left.name, found_, left.adjoint)]

    def letters(self, left: Node) -> list[str]:
        """Index variables that a left-hand side binds; a moving name without one is at t."""
        out: list[str] = []
        for n in leaves(left):
            moves = not self.known.knows(n.name) or self.known.moves(n.name)
            for time in (n.loss, n.time or (Time("t") if moves else None)):
                if time is not None and time.anchor not in ("", *self.known.steps, *out):
                    out.append(time.anchor)
        return out

    def _indices(self, left: Node) -> Iterator[dict[str, int]]:
        """All values of the index variables of a left-hand side at which it means something."""
        letters = self.letters(left)
        steps = self.known.steps
        last = max(steps.values())
        if len(letters) > 2:
            raise NotEvaluated("more than two index variables on the left-hand side")
        first = letters[0] if letters else "t"
        for a in range(1, last + 1) if letters else [last]:
            t = {"t": a, first: a}
            if len(letters) < 2:
                if self._inside(left, t):
                    yield t
                continue
            # The second is the earlier one: ∂h_t/∂h_k, ∂L_t/∂h_k.
            late = 0 if isinstance(left, Quantity) else 1
            for b in range(1, a + 1 - late):
                both = {**t, letters[1]: b}
                if self._inside(left, both):
                    yield both

    def _inside(self, left: Node, t: dict[str, int]) -> bool:
        """Whether the quantity of a left-hand side is there; its start is left out."""
        head = left.args[0] if isinstance(left, Applied) else left
        if not isinstance(head, Quantity) or not self.known.moves(head.name):
            return True
        step = at(head.time, t, self.known.steps)
        if head.time is not None and head.time.anchor in ("", *self.known.steps):
            return step in self.known.values[head.name]
        if isinstance(left, Applied):
            other = left.args[1]
            assert isinstance(other, Quantity)
            if self.known.moves(other.name) and at(other.time, t, self.known.steps) < 1:
                return False
        return step in self.known.times(head.name)

    def made(self, e: Written, t: Steps, look: Look, meaning: Meaning = DEFAULT) -> Array:
        """The right-hand side; added up over time where a gradient's line has no sum of its own."""
        bound = set(self.letters(e.left))
        free = {x.anchor for x in _free(e.right, frozenset())} - set(self.known.steps) - {""}
        if self.share(e):
            parts = [
                self.value(e.right, {**t, "t": k}, look, meaning) for k in self._steps_of(e.right)
            ]
            return functools.reduce(np.add, parts)
        if free - bound:
            raise NotEvaluated(f"the index {', '.join(sorted(free - bound))} is bound by nothing")
        found = self.value(e.right, t, look, meaning)
        if e.last is not None and t.get("t") == self._last(e.left):
            found = found + self.value(e.last, t, look, meaning)
        return found

    def share(self, e: Written) -> bool:
        """Whether a line says what one step gives to the gradient of a parameter."""
        left = e.left
        if not isinstance(left, Quantity) or not self.known.knows(left.name):
            return False
        if self.known.moves(left.name) or left.loss is not None or not left.adjoint:
            return False
        free = {x.anchor for x in _free(e.right, frozenset())}
        loose = any(
            n.time is None and self.known.knows(n.name) and self.known.moves(n.name)
            for n in leaves(e.right)
        )
        return (e.accumulates and not has(e.right, "time sum")) or "t" in free or loose

    def _steps_of(self, right: Node) -> range:
        """The steps of the first moving name that a line reads."""
        for leaf in leaves(right):
            if self.known.knows(leaf.name) and self.known.moves(leaf.name):
                return self.known.times(leaf.name)
        return range(1, max(self.known.steps.values()) + 1)

    def _last(self, left: Node) -> int:
        """The step that a scan runs last."""
        network = self.known.derivation.network
        if not isinstance(left, Quantity) or left.name in network.parameters:
            return max(self.known.steps.values())
        last = max(self.known.times(left.name))
        return 1 if self.known.derivation.scan_of(left.name).scan.reverse else last

    def holds(
        self, e: Written, wanted: Wanted, meaning: Meaning = DEFAULT, look: Look | None = None
    ) -> bool:
        """Whether a line is right at every step.

        Raises
        ------
        NotEvaluated
            It cannot be evaluated in this sense.
        """
        seen = self.looker(meaning) if look is None else look
        # One reading of the left-hand side must serve at all steps: the first, the second, …
        made = [self.made(e, t, seen, meaning) for t, _ in wanted]
        made = [self.fitted(e, m, o[0]) for m, (_, o) in zip(made, wanted, strict=True)]
        most = max(len(o) for _, o in wanted)
        return any(
            all(same(m, o[min(k, len(o) - 1)], self.known)
                for m, (_, o) in zip(made, wanted, strict=True))
            for k in range(most)
        )  # fmt: skip

    def fitted(self, e: Written, made: Array, want: Array) -> Array:
        """What a line gives in the shape of what it defines.

        The gradient of a matrix whose vec, or its transpose, a line gives; what all heads give,
        where a line says what one gives to something that they share.
        """
        if self.of_head(e, made, want):
            made = made.sum(axis=0, keepdims=True)
        if np.size(made) == 1 and self.known.equal(made, 0 * made):
            return 0 * want  # 0 for a matrix of zeros
        if e.code and 1 in want.shape[-2:] and made.shape[-2:] == want.shape[:-3:-1]:
            return np.swapaxes(made, -1, -2)  # a vector of code has one axis
        if not self.flat(e, made, want):
            return made
        rows, columns = want.shape[-2:]
        return np.swapaxes(np.asarray(made).reshape(*want.shape[:-2], columns, rows), -1, -2)

    def of_head(self, e: Written, made: Array, want: Array) -> bool:
        """Whether a line says what one head gives to the gradient of what the heads share."""
        heads = self.known.heads
        return (
            heads > 1 and np.shape(made)[:-2] == (heads,) and np.shape(want)[:-2] == (1,)
            and isinstance(e.left, Quantity) and e.left.adjoint and not has(e.right, "head sum")
        )  # fmt: skip

    def flat(self, e: Written, made: Array, want: Array) -> bool:
        """Whether a line gives the vec of the gradient of a matrix."""
        return (
            isinstance(e.left, Quantity) and e.left.adjoint and 1 in np.shape(made)[-2:]
            and 1 not in want.shape[-2:] and np.size(made) == want.size
        )  # fmt: skip


def _free(node: Node, bound: frozenset[str]) -> Iterator[Time]:
    """Index variables that no sum or product binds."""
    if isinstance(node, Quantity):
        for time in (node.time, node.loss):
            if time is not None and time.anchor not in bound:
                yield time
    elif isinstance(node, Applied):
        inner = bound
        if node.op in ("time sum", "time product") and isinstance(node.data, tuple):
            for limit in node.data[1:]:
                if limit is not None and limit.anchor not in bound:
                    yield limit
            inner = bound | {node.data[0] or "t"}
        for a in node.args:
            yield from _free(a, inner)


def same(a: Array, b: Array, known: Values) -> bool:
    """Whether two values are equal, shapes included."""
    a, b = np.asarray(a), np.asarray(b)
    return a.shape[-2:] == b.shape[-2:] and known.equal(a, b)


def _at_t(left: Node) -> bool:
    return isinstance(left, Quantity) and (left.time is None or left.time.anchor in ("t", "k"))
