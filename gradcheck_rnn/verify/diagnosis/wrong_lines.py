"""Which lines of a backward pass can make what is wrong, whatever it is that they say.

The adjoint program is linear in its adjoints, and `Responses` is the map from every adjoint to all
gradients. A line that is wrong, in a way that no list need know, puts something of its own into one
adjoint at every step, and the map takes it on to the gradients. So a line can make the errors at a
place if they are, case by case, the image of *some* vector: a least squares problem with fewer
unknowns than entries. Of sets of lines the smallest that can are named. A gradient that no other
line reads can be made by its own line whatever it is; such lines are counted like the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
        self.rows = {n: r for n, r in self.rows.items() if np.isfinite(r).all() and np.any(r)}
        self.columns = {n: np.flatnonzero(effects.of(n)[: effects.width]) for n in self.wrong}
        size = (np.abs(self.error) * self.weight).max(axis=1)
        self.order = np.argsort(-size)  # cases, the one that is wrong by most first
        self.work = 0

    def reached(self, name: str) -> set[str]:
        """Wrong gradients that something put into an adjoint may arrive at."""
        felt = np.any(self.rows[name] != 0, axis=0)
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
    scale = np.linalg.norm(rows, axis=1, keepdims=True)
    rows = rows[scale[:, 0] > 0] / scale[scale[:, 0] > 0]
    if not len(rows):
        return rows
    _, s, found = np.linalg.svd(rows, full_matrices=False)
    basis: Array = found[s > RANK * s[0]]
    return basis


def wrong_lines(effects: Effects, most: int = MOST_LINES) -> list[WrongLines]:
    """The smallest sets of lines that can make what is wrong at a place, the strictest first.

    Of ``most`` lines at once; sets of three take the most time by far.
    """
    lines = _Lines(effects)
    if not lines.wrong or not np.isfinite(effects.got).all():
        return []
    names = [n for n in lines.rows if lines.reached(n)]
    for count in range(1, most + 1):
        found: list[WrongLines] = []
        for adjoints, gradients in _sets(names, sorted(lines.wrong), count):
            arrived = set(gradients).union(*map(lines.reached, adjoints))
            if not lines.wrong <= arrived:
                continue
            if lines.work > MOST_WORK:
                return []
            explained = lines.explain(adjoints, gradients)
            if explained is not None:
                found.append(explained)
        if found:
            # More of the code is judged by fewer numbers where adjoints explain it.
            found.sort(key=lambda f: (-len(f.adjoints), f.unknowns - f.entries))
            return found
    return []


def _sets(
    names: Sequence[str], wrong: Sequence[str], count: int
) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    for own in range(count, -1, -1):
        for adjoints in combinations(names, own):
            for gradients in combinations(wrong, count - own):
                yield adjoints, gradients
