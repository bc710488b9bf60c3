"""What stands in a wrong line: derived terms, slips in them, and terms that do not belong.

A line that is observed at many points is a vector; so is every term. A slip changes the line by
the difference of two vectors, and two or three slips by their sum. The smallest set of differences
that leaves nothing beyond the bounds is what was written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...calculus.printing.text import to_text
from ...calculus.terms import Term
from ...derivation import Derivation
from ...derivation.local import Local, edge_values
from ...derivation.nearmisses import near_misses
from ...derivation.program import Edge
from .handed_adjoints import Line, LinePoint

__all__ = ["explain_line"]

Array = NDArray[Any]
#: Error ÷ bound up to which a line is explained, and the factor within which fits are as good.
EXPLAINED, AS_GOOD = 1.0, 1.5
#: Bounds below which nothing is compared: their reciprocals overflow.
LEAST = 1e-290
#: Units of the format by which a slip's own terms may round.
UNITS = 16.0
#: Most slips of which pairs and triples are tried, and of the pairs that get a third.
MOST, PAIRS = 1500, 40


@dataclass
class _Mistake:
    says: str
    term: str
    change: Array


class _Observed:
    """A line at all points, in units of its bounds."""

    def __init__(self, points: list[LinePoint], line: Line) -> None:
        self.rows: list[tuple[LinePoint, int, Array]] = []
        got, want = [], []
        for point in points:
            for t, seen, right, bound in point.compared(line):
                scale = 1 / np.where(bound > LEAST, bound, np.inf)
                self.rows.append((point, t, scale))
                got.append((seen * scale).ravel())
                want.append((right * scale).ravel())
        self.got, self.want = np.concatenate(got), np.concatenate(want)

    def vector(self, values: Mapping[int, Mapping[int, Array]]) -> Array:
        """A term at all points: by the identity of the point, then by time."""
        out = []
        for point, t, scale in self.rows:
            value = values.get(id(point), {}).get(t)
            out.append(np.zeros(scale.size) if value is None
                       else (np.broadcast_to(value, scale.shape) * scale).ravel())  # fmt: skip
        return np.nan_to_num(np.concatenate(out))


def _edges(derivation: Derivation, name: str) -> list[Edge]:
    found = list(derivation.readers(name))
    for program in derivation.scans:  # a start is read where its state is
        for state in program.scan.states:
            if any(s.ref is not None and s.ref.name == name for s in state.initial):
                found += [e for e in derivation.readers(state.name) if e.kind == "state"]
    return found


def explain_line(points: list[LinePoint], line: Line, derivation: Derivation) -> None:
    """Put into a wrong line what it is instead, or the fit of its derived terms."""
    points = [p for p in points if line.of or line.name in p.given]
    seen = _Observed(points, line)
    slips, terms = _slips(seen, points, line, derivation)
    error = seen.got - seen.want
    named = _few(error, slips, points[0].point.inner.eps)
    if named is not None:
        line.said = " and ".join(named)
        return
    line.fitted = _fit(seen, terms)


Values = dict[int, dict[int, Array]]


@dataclass
class _Change:
    """What a slip changes in a line, by the identity of the point, then by time."""

    says: str
    term: str
    by: Values
    besides: bool = False


def _terms(points: list[LinePoint], name: str, derivation: Derivation) -> dict[str, Values]:
    """The derived terms of a line at all points."""
    out: dict[str, Values] = {}
    for edge in _edges(derivation, name):
        out[to_text(edge.pullback)] = _at_points(points, edge, edge.pullback)
    for source in sorted({s for p in points for s in p.found.outside.get(name, {})}):
        out[source] = {id(p): p.found.outside.get(name, {}).get(source, {}) for p in points}
    return out


def _at_points(
    points: list[LinePoint], edge: Edge, term: Term, steps: slice = slice(None),
    bars: Values | None = None,
) -> Values:  # fmt: skip
    """A term of an edge at all points; with ``bars`` in place of the adjoint that it reads."""
    out: Values = {}
    for p in points:
        found = p.found
        if bars is not None:
            own = {**found.bars, edge.equation.name: bars.get(id(p), {})}
            found = Local(found.run, bars=own)
        out[id(p)] = edge_values(found, edge, term, steps)
    return out


def _changes(
    points: list[LinePoint],
    name: str,
    derivation: Derivation,
    unseen: frozenset[str],
    depth: int = 3,
) -> list[_Change]:
    """Slips in a line, and in those lines it reads that nobody has seen."""
    out: list[_Change] = []
    for edge in _edges(derivation, name):
        whole = edge.id
        right = _at_points(points, edge, edge.pullback)
        for says, term, steps in near_misses(derivation, edge):
            if term is None:
                out.append(_Change(says, whole, _scaled(right, -1)))
                continue
            try:
                with np.errstate(all="ignore"):
                    other = _at_points(points, edge, term, steps)
            except (KeyError, ValueError, IndexError):
                continue  # reads what is not there, or does not fit
            out.append(_Change(says, whole, _minus(other, right)))
            if steps == slice(None):
                out.append(_Change(f"{to_text(term)} besides", f"besides {whole}", other, True))
        if depth and edge.equation.name in unseen:
            for c in _changes(points, edge.equation.name, derivation, unseen, depth - 1):
                moved = _at_points(points, edge, edge.pullback, bars=c.by)
                out.append(_Change(c.says, c.term, moved, c.besides))
    shown = "δ" + name
    for source, values in _terms(points, name, derivation).items():
        if source in {s for p in points for s in p.found.outside.get(name, {})}:
            for factor, words in (
                (-1.0, f"{shown} without {source}"), (1.0, f"{shown} with 2 times {source}"),
                (-2.0, f"{shown} with the sign of {source} reversed"),
                (-0.5, f"{shown} with 1/2 times {source}"),
            ):  # fmt: skip
                out.append(_Change(words, source, _scaled(values, factor)))
    return out


def _scaled(values: Values, factor: float) -> Values:
    return {k: {t: factor * a for t, a in line.items()} for k, line in values.items()}


def _minus(a: Values, b: Values) -> Values:
    out: Values = {}
    for k in a:
        times = {*a[k], *b.get(k, {})}
        out[k] = {t: np.asarray(a[k].get(t, 0.0)) - b.get(k, {}).get(t, 0.0) for t in times}
    return out


def _of_start(
    values: Values, points: list[LinePoint], line: Line, derivation: Derivation
) -> Values:
    """Of the adjoint of a state that a start begins, what belongs to the start."""
    for program in derivation.scans:
        for state in program.scan.states:
            for start in state.initial:
                if start.ref is not None and start.ref.name == line.name:
                    at = {id(p): p.run.before(program, start.lag) for p in points}
                    return {k: {0: v[at[k]]} if at[k] in v else {} for k, v in values.items()}
    return values


def _slips(
    seen: _Observed, points: list[LinePoint], line: Line, derivation: Derivation
) -> tuple[list[_Mistake], dict[str, Array]]:
    handed = {n for p in points for n in p.given}
    unseen = frozenset(e.name for p in derivation.scans for e in p.equations) - handed
    own = [p for p in points if any(q is p for q, _, _ in seen.rows)]

    def vector(values: Values) -> Array:
        begins = not derivation.readers(line.name)
        return seen.vector(_of_start(values, own, line, derivation) if begins else values)

    found = _changes(own, line.name, derivation, unseen)
    slips = [_Mistake(c.says, c.term, vector(c.by)) for c in found if not c.besides]
    for name, at in (("T", _steps), ("B", _batch), ("T B", lambda p: _steps(p) * _batch(p))):
        weights = np.concatenate([np.full(s.size, 1 / at(p) - 1) for p, _, s in seen.rows])
        slips.append(_Mistake(f"{line.label} divided by {name}", "all", weights * seen.want))
    for factor in (-1.0, 2.0, 0.5):
        slips.append(_Mistake(f"{line.label} times {factor:g}", "all", (factor - 1) * seen.want))
    slips.append(_Mistake(f"{line.label} = 0", "all", -seen.want))
    slips += [
        _Mistake(f"{line.label} with {c.says}", c.term, vector(c.by)) for c in found if c.besides
    ]
    terms = {n: vector(v) for n, v in _terms(own, line.name, derivation).items()}
    return slips, terms


def _steps(p: LinePoint) -> int:
    return p.point.steps


def _batch(p: LinePoint) -> int:
    return p.point.batch


def _few(error: Array, slips: list[_Mistake], eps: float) -> list[str] | None:
    """The fewest slips whose changes add up to the error; None if up to three do not."""

    def explained(*chosen: _Mistake) -> bool:
        rest = error - sum(s.change for s in chosen)
        room = EXPLAINED + UNITS * eps * sum(np.abs(s.change) for s in chosen)
        return bool(np.all(np.abs(rest) <= room))

    slips = [s for s in slips if np.max(np.abs(s.change), initial=0.0) > EXPLAINED]
    if not slips or not np.all(np.isfinite(error)):
        return None
    single = [s for s in slips if explained(s)]
    if single:
        left = [float(np.sqrt(np.mean((error - s.change) ** 2))) for s in single]
        return [next(s for s, r in zip(single, left, strict=True) if r <= AS_GOOD * min(left)).says]
    slips = slips[:MOST]
    D = np.stack([s.change for s in slips])
    scale = float(np.max(np.abs(D)))
    D, e = D / scale, error / scale
    gram, along = D @ D.T, D @ e
    cost = np.diag(gram) - 2 * along
    pairs = cost[:, None] + cost[None] + 2 * gram
    order = np.argpartition(pairs, min(PAIRS, pairs.size - 1), axis=None)[:PAIRS]
    order = order[np.argsort(pairs.ravel()[order])]
    found = [divmod(int(k), len(slips)) for k in order]
    for i, j in found:
        if i != j and slips[i].term != slips[j].term and explained(slips[i], slips[j]):
            return [slips[i].says, slips[j].says]
    # Three: each pair of different terms that leaves little, and the third that fits what is left.
    for i in np.argsort(cost)[: 4 * PAIRS]:
        rest = pairs + 2 * gram[i][:, None] + 2 * gram[i][None] + cost[i]
        j, k = divmod(int(np.argmin(rest)), len(slips))
        three = (slips[int(i)], slips[j], slips[k])
        if len({s.term for s in three}) == 3 and explained(*three):
            return [s.says for s in three]
    return None


def _fit(seen: _Observed, terms: Mapping[str, Array]) -> str:
    """The derived terms with the factors that fit best, and what is left."""
    if not terms:
        return "something where nothing belongs"
    X = np.stack(list(terms.values()), axis=1)
    scale = float(np.max(np.abs(X), initial=0.0)) or 1.0
    factors, *_ = np.linalg.lstsq(X / scale, seen.got / scale, rcond=None)
    left = seen.got - X @ factors
    share = float(np.linalg.norm(left) / (np.linalg.norm(seen.got) or 1.0))
    parts = [f"{f:.2f}·({n})" for n, f in zip(terms, factors, strict=True)]
    return " + ".join(parts) + f", which leaves {share:.2g} of it"
