"""Which lines of a backward pass can make what is wrong, whatever it is that they say.

The adjoint program is linear in its adjoints, and `Responses` is the map from every adjoint to all
gradients. A line that is wrong, in a way that no list need know, puts something of its own into one
adjoint at every step, and the map takes it on to the gradients. So a line can make the errors at a
place if they are, case by case, the image of *some* vector: a least squares problem with fewer
unknowns than entries. Of sets of lines the smallest that can are named. A gradient that no other
line reads can be made by its own line whatever it is; such lines are counted like the others.

Most sets are out without a least squares problem of their own, by conflicts [1]_: what many lines
cannot make together no few of them can, so that a set that can has one of the others. A set that
cannot is extended by all lines with which it still cannot, and what remains is a conflict. This is
exhaustive: the sets that are tried are all those that have a line of every conflict.

References
----------
.. [1] R. Reiter (1987), A theory of diagnosis from first principles, Artificial Intelligence 32.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .effects import Effects

__all__ = ["WrongLines", "wrong_lines"]

Array = NDArray[Any]
#: Error ÷ room that least squares may leave: they divide among entries what bounds allow each.
LEFT = 8.0
#: Singular values below so much of the largest carry rounding only.
RANK = 1e-11
#: The same where lines are refuted, and how many times what may be left refutes them.
ROUNDED, CLEAR = 1e-13, 16.0
#: Bounds below which nothing is compared: their reciprocals overflow.
LEAST = 1e-290
#: Lines of a set, and multiplications after which the search for them ends.
MOST_LINES, MOST_WORK = 3, 2_000_000_000


@dataclass(frozen=True)
class WrongLines:
    """Lines that make the errors at a place together.

    Attributes
    ----------
    adjoints : tuple of str
        Equations whose adjoints are wrong.
    gradients : tuple of str
        Parameters and inputs whose own lines are wrong.
    entries, unknowns : int
        How many entries of gradients the adjoints reach, in one case, and from how many numbers.
    """

    adjoints: tuple[str, ...]
    gradients: tuple[str, ...]
    entries: int
    unknowns: int

    @property
    def names(self) -> tuple[str, ...]:
        """All of them, by the names of what they are the adjoints of."""
        return self.adjoints + self.gradients


class _Lines:
    """The errors of a place in units of their bounds, and the maps of lines to them."""

    def __init__(self, effects: Effects) -> None:
        self.effects = effects
        responses = effects.responses
        cases = len(effects.cases)
        self.error = effects.error.reshape(cases, -1)
        # Where a mask makes a gradient vanish its bound does too, though not what a mistake makes.
        room = np.maximum(effects.room, effects.widest).reshape(cases, -1)
        known = np.isfinite(room) & (room > LEAST)
        self.weight = np.where(known, 1.0 / np.where(known, room, 1.0), 0.0)
        self.wrong = effects.names(effects.bad)
        self.rows: dict[str, Array] = {}
        for (name, _), at in responses.nodes.items():
            found = responses.table[at, responses.size :]
            own = self.rows.get(name)
            self.rows[name] = found if own is None else np.concatenate([own, found])
        self.columns = {n: np.flatnonzero(effects.of(n)[: effects.width]) for n in self.wrong}
        self.rows = {n: r for n, r in self.rows.items() if np.isfinite(r).all() and np.any(r)}
        #: Wrong gradients that something put into an adjoint may arrive at.
        self.reached = {n: self._reached(r) for n, r in self.rows.items()}
        self.rows = {n: r for n, r in self.rows.items() if self.reached[n]}
        size = (np.abs(self.error) * self.weight).max(axis=1)
        self.order = np.argsort(-size)  # cases, the one that is wrong by most first
        self.work = 0

    def _reached(self, rows: Array) -> set[str]:
        felt = np.any(rows != 0, axis=0)
        return {n for n, at in self.columns.items() if felt[at].any()}

    def reaches_wrong(self, name: str) -> bool:
        """Whether something put into an adjoint arrives at nothing that is right."""
        felt = np.any(self.rows[name] != 0, axis=0)
        felt[np.concatenate([*self.columns.values()])] = False
        return not felt.any()

    def explain(self, adjoints: Sequence[str], gradients: Sequence[str]) -> WrongLines | None:
        """Whether some values in these lines make all that is wrong, and nothing else."""
        free = np.zeros(self.error.shape[1], bool)
        for n in gradients:
            free[self.columns[n]] = True
        rows = np.concatenate([self.rows[n] for n in adjoints]) if adjoints else None
        rank = 0
        for k in self.order:
            weight = np.where(free, 0.0, self.weight[k])
            error = self.error[k] * weight
            if rows is None:
                left = error
            else:
                self.work += len(rows) * rows.size
                basis = _basis(rows * weight)
                rank = max(rank, len(basis))
                left = error - (basis @ error) @ basis
            if np.any(np.abs(left) > LEFT):
                return None
        entries = 0 if rows is None else int(np.sum(np.any(rows != 0, axis=0) & ~free))
        if rows is not None and entries <= rank and not all(map(self.reaches_wrong, adjoints)):
            return None  # it would make anything
        return WrongLines(tuple(adjoints), tuple(gradients), entries, rank)


def _basis(rows: Array) -> Array:
    """An orthonormal basis of what rows span."""
    rows = _scaled(rows)
    if not len(rows):
        return rows
    _, s, found = np.linalg.svd(rows, full_matrices=False)
    basis: Array = found[s > RANK * s[0]]
    return basis


def _scaled(rows: Array) -> Array:
    """Rows of length one, without those that are zero."""
    scale = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows[scale[:, 0] > 0] / scale[scale[:, 0] > 0]


@dataclass(frozen=True)
class _Span:
    """What some lines make, as an orthonormal basis, and what they leave of all cases' errors."""

    basis: Array
    left: Array

    def extended(self, rows: Array) -> _Span:
        """With what more rows make, whose lengths are one or less."""
        if len(self.basis):
            rows = rows - (rows @ self.basis.T) @ self.basis
        _, s, found = np.linalg.svd(rows, full_matrices=False)
        new = found[s > ROUNDED]
        if not len(new):
            return self
        if len(self.basis):  # what is left of short rows is not orthogonal to the basis at once
            new = np.linalg.qr((new - (new @ self.basis.T) @ self.basis).T)[0].T
        left = self.left - (self.left @ new.T) @ new
        return _Span(np.concatenate([self.basis, new]), left)


class _Conflicts:
    """Sets of lines of which one is wrong, and the sets that have a line of each of them.

    Lines are numbered, adjoints before gradients. Errors and maps are in units of the widest bound
    of any case, so that all cases are looked at together and nothing is refuted that fits them.
    """

    def __init__(self, lines: _Lines) -> None:
        self.lines = lines
        self.adjoints, self.gradients = list(lines.rows), sorted(lines.wrong)
        self.count = len(self.adjoints) + len(self.gradients)
        weight = lines.weight.min(axis=0)
        self.error = lines.error * weight
        self.rows = [lines.rows[n] * weight for n in self.adjoints]
        self.columns = [lines.columns[n] for n in self.gradients]
        self.most = CLEAR * LEFT * np.sqrt(len(weight))
        self.units = np.eye(len(weight))
        self.known = [
            np.array([*(n in lines.reached[a] for a in self.adjoints),
                      *(n == g for g in self.gradients)])
            for n in self.gradients
        ]  # fmt: skip

    def sets(self, count: int) -> Iterator[tuple[int, ...]]:
        """The sets of so many lines that nothing refutes, in the order of their numbers."""
        left = self._hitting(count)
        while len(left):
            chosen = left[0]
            found = self._conflict(chosen, np.bincount(left.ravel(), minlength=self.count))
            if found is None:
                left = left[1:]
                yield tuple(map(int, chosen))
            else:
                self.known.append(found)
                left = left[found[left].any(axis=1)]

    def _hitting(self, count: int) -> Array:
        """The sets of so many lines that have one of every conflict, as rows."""
        out = []
        for first in range(self.count):
            more = list(combinations(range(first + 1, self.count), count - 1))
            some = np.array([(first, *m) for m in more], int).reshape(-1, count)
            for conflict in self.known:
                some = some[conflict[some].any(axis=1)]
            out.append(some)
        return np.concatenate(out)

    def _conflict(self, chosen: Array, used: Array) -> Array | None:
        """Lines one of which is wrong as well where those that are chosen are; None if none need.

        ``used``: of how many sets that are left a line is a part; one of many is tried before, so
        that most of these sets are refuted.
        """
        own = [int(k) - len(self.adjoints) for k in chosen if k >= len(self.adjoints)]
        free = np.concatenate([np.zeros(0, int), *(self.columns[k] for k in own)])
        kept = np.ones(self.error.shape[1])
        kept[free] = 0.0
        span = _Span(self.units[free], self.error * kept)
        for k in chosen[chosen < len(self.adjoints)]:
            span = self._extended(span, _scaled(self.rows[k] * kept))
        if not self._refutes(span):
            return None
        conflict = np.ones(self.count, bool)
        conflict[chosen] = False
        for k in sorted(np.flatnonzero(conflict), key=lambda k: -used[k]):
            wider = self._extended(span, self._bases[k])
            if self._refutes(wider):
                conflict[k], span = False, wider
        return conflict

    @cached_property
    def _bases(self) -> list[Array]:
        nothing = _Span(self.units[:0], self.error)
        made = [self._extended(nothing, _scaled(r)).basis for r in self.rows]
        return made + [self.units[c] for c in self.columns]

    def _extended(self, span: _Span, rows: Array) -> _Span:
        self.lines.work += (2 * len(span.basis) + len(rows)) * rows.size
        return span.extended(rows)

    def _refutes(self, span: _Span) -> bool:
        """Whether more is left than entries within their bounds add up to."""
        return bool(np.linalg.norm(span.left, axis=1).max() > self.most)


def wrong_lines(effects: Effects, most: int = MOST_LINES) -> list[WrongLines]:
    """The smallest sets of lines that can make what is wrong at a place, the strictest first.

    Of ``most`` lines at once.
    """
    lines = _Lines(effects)
    if not lines.wrong or not np.isfinite(effects.got).all():
        return []
    conflicts = _Conflicts(lines)
    adjoints, gradients = conflicts.adjoints, conflicts.gradients
    for count in range(1, most + 1):
        found: list[WrongLines] = []
        for some in conflicts.sets(count):
            if lines.work > MOST_WORK:
                return []
            explained = lines.explain(
                [adjoints[k] for k in some if k < len(adjoints)],
                [gradients[k - len(adjoints)] for k in some if k >= len(adjoints)],
            )
            if explained is not None:
                found.append(explained)
        if found:
            # More of the code is judged by fewer numbers where adjoints explain it.
            found.sort(key=lambda f: (-len(f.adjoints), f.unknowns - f.entries))
            return found
    return []
