"""Faults that are no edge of a backward pass: means for sums, packing, rows, clipping.

Each is read off one station where the gradient is wrong, and then has to reproduce the gradient
everywhere like any other candidate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..harness.compare import Comparison, ModelPoint, Record
from ..harness.plan import Case
from .candidates import After, Arrays, Candidate

__all__ = ["afterwards"]

Array = NDArray[Any]
Factor = Callable[[ModelPoint], float]
#: Bounds at which clipping is usually set.
USUAL_CLIPS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 50.0, 100.0)


def afterwards(comparison: Comparison, wrong: set[str]) -> list[Candidate]:
    """Candidates for what is wrong at one station (names of the definition)."""
    found: dict[str, Candidate] = {}
    for make in (_factors, _packing, _swapped, _transposed, _spots, _clips, _sequences):
        for c in make(comparison, wrong):
            found.setdefault(c.id, c)
    return list(found.values())


def _steps(station: ModelPoint) -> int:
    return station.steps


def _factor_table(comparison: Comparison) -> list[tuple[str, Factor]]:
    table: list[tuple[str, Factor]] = [
        ("1/T (a mean over the steps, not a sum)", lambda s: 1 / _steps(s)),
        ("1/B (a mean over the sequences, not a sum)", lambda s: 1 / s.batch),
        ("1/(T B) (a mean over steps and sequences)", lambda s: 1 / (_steps(s) * s.batch)),
        ("T", lambda s: float(_steps(s))),
        ("B", lambda s: float(s.batch)),
        ("T B", lambda s: float(_steps(s) * s.batch)),
        ("2", lambda s: 2.0),
        ("1/2", lambda s: 0.5),
        ("−1", lambda s: -1.0),
        ("0 (no gradient arrives)", lambda s: 0.0),
    ]
    for dim in comparison.station.sizes:
        table.append((f"1/{dim}", lambda s, dim=dim: 1 / s.sizes[dim]))  # type: ignore[misc]
        table.append((dim, lambda s, dim=dim: float(s.sizes[dim])))  # type: ignore[misc]
    return table


def _scaled(names: frozenset[str], factor: Factor) -> Any:
    def change(station: ModelPoint, case: Case, arrays: Arrays) -> Arrays:
        out = {}
        for user, a in arrays.items():
            flat = a.reshape(-1).copy()
            for piece in station.fitted.pieces[user]:
                if piece.name in names:
                    flat[piece.index] *= factor(station)
            out[user] = flat.reshape(a.shape)
        return out

    return change


def _groups(comparison: Comparison, wrong: set[str]) -> Iterator[tuple[str, frozenset[str]]]:
    """Sets of names that one factor may have been forgotten for."""
    fitted = comparison.station.fitted
    names = {p.name for u in fitted.arguments for p in fitted.pieces[u]}
    parameters = frozenset(names & set(comparison.station.network.parameters))
    yield "every gradient", frozenset(names)
    if parameters:
        yield "the gradient of every parameter", parameters
    for user in fitted.arguments:
        held = frozenset(p.name for p in fitted.pieces[user])
        if held <= wrong:
            yield f"d{user}", held
    yield _called(sorted(wrong)), frozenset(wrong)
    for name in sorted(wrong):
        yield f"d{name}", frozenset({name})


def _called(names: Sequence[str]) -> str:
    return ", ".join(f"d{n}" for n in names)


def _fitted_factor(comparison: Comparison, names: frozenset[str]) -> float | None:
    """The constant factor of some gradients, if there is one (least squares)."""
    top = bottom = 0.0
    for r in comparison.records:
        for piece in comparison.station.fitted.pieces[r.user]:
            if piece.name in names and np.isfinite(r.got).all():
                want = r.want.reshape(-1)[piece.index]
                top += float(np.sum(r.got.reshape(-1)[piece.index] * want))
                bottom += float(np.sum(want * want))
    return top / bottom if bottom > 0 and np.isfinite(top / bottom) else None


def _factors(comparison: Comparison, wrong: set[str]) -> Iterator[Candidate]:
    for what, names in _groups(comparison, wrong):
        known = {round(f(comparison.station), 12) for _, f in _factor_table(comparison)}
        table = _factor_table(comparison)
        c = _fitted_factor(comparison, names)
        if c is not None and round(c, 12) not in known:
            table.append((f"{c:.6g}", lambda s, c=c: c))  # type: ignore[misc]
        for text, factor in table:
            verb = "has" if "," not in what else "have"
            yield Candidate(
                f"times:{text}:{','.join(sorted(names))}", "factor",
                f"{what} {verb} a factor {text} too many",
                after=(_scaled(names, factor),), touches=names,
            )  # fmt: skip


def _by_user(comparison: Comparison) -> dict[str, list[Record]]:
    table: dict[str, list[Record]] = {}
    for r in comparison.records:
        table.setdefault(r.user, []).append(r)
    return table


def _packing(comparison: Comparison, wrong: set[str]) -> Iterator[Candidate]:
    """Pieces of an array in another order: gates swapped or reordered."""
    fitted = comparison.station.fitted
    orders: dict[str, dict[int, int]] = {}
    for user, records in _by_user(comparison).items():
        pieces = fitted.pieces[user]
        if len(pieces) < 2:
            continue
        order: dict[int, int] = {}
        for k, piece in enumerate(pieces):
            for j in (k, *(i for i in range(len(pieces)) if i != k)):
                other = pieces[j]
                if other.index.shape == piece.index.shape and all(
                    np.all(
                        np.abs(
                            r.got.reshape(-1)[piece.index]
                            - piece.sign * other.sign * r.want.reshape(-1)[other.index]
                        )
                        <= r.bound.reshape(-1)[piece.index] + r.bound.reshape(-1)[other.index]
                    )
                    for r in records
                ):
                    order[k] = j
                    break
        if len(order) == len(pieces) and any(k != j for k, j in order.items()):
            orders[user] = order
    if not orders:
        return
    words = []
    for user, order in orders.items():
        pieces = fitted.pieces[user]
        have = " ".join(pieces[order[k]].name for k in range(len(pieces)))
        want = " ".join(p.name for p in pieces)
        words.append(f"the blocks of d{user} lie in the order {have}, not {want}")

    def change(station: ModelPoint, case: Case, arrays: Arrays) -> Arrays:
        out = dict(arrays)
        for user, order in orders.items():
            pieces = station.fitted.pieces[user]
            flat, new = arrays[user].reshape(-1), arrays[user].reshape(-1).copy()
            for k, j in order.items():
                new[pieces[k].index] = pieces[k].sign * pieces[j].sign * flat[pieces[j].index]
            out[user] = new.reshape(arrays[user].shape)
        return out

    names = frozenset(p.name for u in orders for p in fitted.pieces[u])
    yield Candidate(
        f"packing:{orders}", "packing", " and ".join(words), after=(change,), touches=names
    )


def _swapped(comparison: Comparison, wrong: set[str]) -> Iterator[Candidate]:
    """The gradients of two parameters of one shape exchanged."""
    fitted = comparison.station.fitted
    held = [(u, k) for u in fitted.layout.parameters for k in range(len(fitted.pieces[u]))]
    for one, other in combinations(held, 2):
        a, b = (fitted.pieces[u][k] for u, k in (one, other))
        if a.index.shape != b.index.shape or not {a.name, b.name} <= wrong:
            continue

        def change(
            station: ModelPoint, case: Case, arrays: Arrays,
            one: tuple[str, int] = one, other: tuple[str, int] = other,
        ) -> Arrays:  # fmt: skip
            flat = {u: arrays[u].reshape(-1).copy() for u in {one[0], other[0]}}
            p, q = (station.fitted.pieces[u][k] for u, k in (one, other))
            sign = p.sign * q.sign
            flat[one[0]][p.index] = sign * arrays[other[0]].reshape(-1)[q.index]
            flat[other[0]][q.index] = sign * arrays[one[0]].reshape(-1)[p.index]
            return {**arrays, **{u: x.reshape(arrays[u].shape) for u, x in flat.items()}}

        yield Candidate(
            f"swapped:{a.name},{b.name}", "swapped", f"d{a.name} and d{b.name} exchanged",
            after=(change,), touches=frozenset({a.name, b.name}),
        )  # fmt: skip


def _transposed(comparison: Comparison, wrong: set[str]) -> Iterator[Candidate]:
    """A square block, or a square array, the wrong way round."""

    def change(names: frozenset[str]) -> Any:
        def turn(station: ModelPoint, case: Case, arrays: Arrays) -> Arrays:
            out = {}
            for user, a in arrays.items():
                flat, new = a.reshape(-1), a.reshape(-1).copy()
                for piece in station.fitted.pieces[user]:
                    if piece.name in names:
                        new[piece.index] = flat[piece.index].T
                out[user] = new.reshape(a.shape)
            return out

        return turn

    square = []
    for user in comparison.station.fitted.arguments:
        for piece in comparison.station.fitted.pieces[user]:
            shape = piece.index.shape
            fixed = piece.name in comparison.station.network.parameters
            if fixed and len(shape) == 2 and shape[0] == shape[1] > 1 and piece.name in wrong:
                square.append(piece.name)
    groups = [frozenset({n}) for n in square]
    if len(square) > 1:
        groups.append(frozenset(square))
    for names in groups:
        what = _called(sorted(names))
        yield Candidate(
            f"transposed:{','.join(sorted(names))}", "transposed",
            f"{what} {'is' if len(names) == 1 else 'are'} transposed",
            after=(change(names),), touches=names,
        )  # fmt: skip


def _spots(comparison: Comparison, wrong: set[str]) -> Iterator[Candidate]:
    """One entry, row or column of one array with a factor of its own."""
    parameters = set(comparison.station.fitted.layout.parameters)
    for user, records in _by_user(comparison).items():
        if user not in parameters:
            continue
        bad = np.any([r.ratio > 1 for r in records], axis=0)
        where = np.argwhere(bad)
        if not len(where) or bad.size == len(where):
            continue
        mask = np.zeros(bad.shape, bool)
        if len(where) == 1:
            index = tuple(int(i) for i in where[0])
            mask[index] = True
            what = f"the entry {list(index)} of d{user}"
        elif bad.ndim == 2 and len(set(where[:, 0])) == 1:
            mask[where[0, 0], :] = True
            what = f"row {int(where[0, 0])} of d{user}"
        elif bad.ndim == 2 and len(set(where[:, 1])) == 1:
            mask[:, where[0, 1]] = True
            what = f"column {int(where[0, 1])} of d{user}"
        else:
            continue
        top = sum(float(np.sum(r.got[mask] * r.want[mask])) for r in records)
        bottom = sum(float(np.sum(r.want[mask] ** 2)) for r in records)
        c = top / bottom if bottom else 0.0
        for factor in dict.fromkeys((0.0, round(c, 9), c)):
            says = (
                f"{what} is zero" if factor == 0 else f"{what} has a factor {factor:.6g} too many"
            )

            def change(
                station: ModelPoint, case: Case, arrays: Arrays,
                user: str = user, mask: Array = mask, factor: float = factor,
            ) -> Arrays:  # fmt: skip
                a = arrays[user].copy()
                a[mask] *= factor
                return {**arrays, user: a}

            yield Candidate(f"spot:{what}:{factor}", "spot", says, after=(change,))


def _clips(comparison: Comparison, wrong: set[str]) -> Iterator[Candidate]:
    """Clipping of the finished gradients, or of what is carried from step to step."""
    tops: dict[str, list[float]] = {}
    for r in comparison.wrong:
        top = float(np.max(np.abs(np.where(r.ratio > 1, r.got, 0.0))))
        if np.isfinite(top) and top > 0:
            tops.setdefault(r.user, []).append(top)
    values = dict.fromkeys([*(max(t) for t in tops.values()), *USUAL_CLIPS])
    for c in values:

        def clip(station: ModelPoint, case: Case, arrays: Arrays, c: float = c) -> Arrays:
            return {u: np.clip(a, -c, c) for u, a in arrays.items()}

        def each(station: ModelPoint, case: Case, arrays: Arrays, c: float = c) -> Arrays:
            return {u: a * min(1.0, c / max(_norm(a), 1e-300)) for u, a in arrays.items()}

        def together(station: ModelPoint, case: Case, arrays: Arrays, c: float = c) -> Arrays:
            size = float(np.sqrt(sum(_norm(a) ** 2 for a in arrays.values())))
            return {u: a * min(1.0, c / max(size, 1e-300)) for u, a in arrays.items()}

        def parameters(
            station: ModelPoint, case: Case, arrays: Arrays, clip: After = clip
        ) -> Arrays:
            clipped = clip(station, case, arrays)
            held = station.fitted.layout.parameters
            return {u: clipped[u] if u in held else a for u, a in arrays.items()}

        yield Candidate(f"clip:{c}", "clip", f"every gradient clipped to ±{c:.6g}", after=(clip,))
        yield Candidate(
            f"clip-parameters:{c}", "clip",
            f"the gradient of every parameter clipped to ±{c:.6g}", after=(parameters,),
        )  # fmt: skip
        yield Candidate(
            f"clip-norm:{c}", "clip", f"each gradient clipped to the norm {c:.6g}", after=(each,)
        )
        yield Candidate(
            f"clip-global:{c}", "clip",
            f"all gradients clipped to the common norm {c:.6g}", after=(together,),
        )  # fmt: skip
        states = {s.name for scan in comparison.station.network.scans for s in scan.states}
        for names in (states, *({s} for s in states if len(states) > 1)):

            def carry(
                name: str, at: int, bar: Array, c: float = c, names: set[str] = names
            ) -> Array:
                return np.clip(bar, -c, c) if name in names else bar

            which = " and ".join(f"δ{n}" for n in sorted(names))
            yield Candidate(
                f"clip-carry:{c}:{which}", "clip",
                f"{which} clipped to ±{c:.6g} between steps, inside the backward pass",
                carry=carry,
            )  # fmt: skip


def _norm(a: Array) -> float:
    return float(np.linalg.norm(a))


def _sequences(comparison: Comparison, wrong: set[str]) -> Iterator[Candidate]:
    """Sums over the batch that are overwritten: only one sequence counts."""
    known: dict[tuple[int, int, int], Arrays] = {}
    for which, says in ((-1, "last"), (0, "first")):
        for what, names in _groups(comparison, wrong):
            names = names & frozenset(comparison.station.network.parameters)
            if not names:
                continue

            def change(
                station: ModelPoint, case: Case, arrays: Arrays,
                which: int = which, names: frozenset[str] = names,
            ) -> Arrays:  # fmt: skip
                key = (id(station), id(case), which)
                if key not in known:
                    known[key] = _one_sequence(station, case, which)
                alone = known[key]
                out = {}
                for user, a in arrays.items():
                    flat, part = a.reshape(-1).copy(), station.fitted.pull(user, alone).reshape(-1)
                    for piece in station.fitted.pieces[user]:
                        if piece.name in names:
                            flat[piece.index] = part[piece.index]
                    out[user] = flat.reshape(a.shape)
                return out

            yield Candidate(
                f"sequence:{says}:{','.join(sorted(names))}", "sequence",
                f"{what} with the {says} sequence of the batch only: overwritten, not accumulated",
                after=(change,), touches=names,
            )  # fmt: skip


def _one_sequence(station: ModelPoint, case: Case, which: int) -> Arrays:
    """The definition's gradients with the cotangents of one sequence only."""
    if not case.cotangents:
        return {}  # the loss of one sequence has no cotangent of its own here
    lone = {}
    for n, g in case.cotangents.items():
        only = np.zeros_like(g)
        axis = 1 if station.network.outputs[n].axis is not None else 0
        index = [slice(None)] * g.ndim
        index[axis] = which  # type: ignore[call-overload]
        only[tuple(index)] = g[tuple(index)]
        lone[n] = only
    made = station.truth(station.oracle, [Case(case.label, lone)])
    return {n: a[0] for n, a in made.of.items()}
