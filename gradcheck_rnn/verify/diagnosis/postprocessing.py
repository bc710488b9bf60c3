"""Faults that are no edge of a backward pass: means for sums, packing, rows, clipping.

Each is read off one point where the gradient is wrong, and then has to reproduce the gradient
everywhere like any other candidate.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..harness.compare import Comparison, ModelPoint, Record
from ..harness.plan import Case
from ..hints import factor_text
from .candidates import After, Arrays, Candidate
from .clipping import clips
from .exchanged import exchanged

__all__ = ["alike_arrays", "called", "postprocessing"]

Array = NDArray[Any]
Factor = Callable[[ModelPoint], float]


def postprocessing(comparison: Comparison, wrong: set[str]) -> list[Candidate]:
    """Candidates for what is wrong at one point (names of the definition)."""
    found: dict[str, Candidate] = {}
    for make in (
        _factors, _packing, exchanged, _transposed, _summed, _spots, clips, _users_scaled,
        _sequences,
    ):  # fmt: skip
        for c in make(comparison, wrong):
            found.setdefault(c.id, c)
    return list(found.values())


def _factor_table(comparison: Comparison) -> list[tuple[str, Factor]]:
    table: list[tuple[str, Factor]] = [
        ("1/T (a mean over the steps, not a sum)", lambda s: 1 / s.steps),
        ("1/B (a mean over the sequences, not a sum)", lambda s: 1 / s.batch),
        ("1/(T B) (a mean over steps and sequences)", lambda s: 1 / (s.steps * s.batch)),
        ("T", lambda s: float(s.steps)),
        ("B", lambda s: float(s.batch)),
        ("T B", lambda s: float(s.steps * s.batch)),
        ("2", lambda s: 2.0),
        ("1/2", lambda s: 0.5),
        ("−1", lambda s: -1.0),
        ("0 (no gradient arrives)", lambda s: 0.0),
    ]
    for dim in comparison.point.sizes:
        table.append((f"1/{dim}", lambda s, dim=dim: 1 / s.sizes[dim]))  # type: ignore[misc]
        table.append((dim, lambda s, dim=dim: float(s.sizes[dim])))  # type: ignore[misc]
        part = lambda s, dim=dim: 1 / (s.batch * s.sizes[dim])  # noqa: E731
        table.append((f"1/(B {dim})", part))
    return table


def _scaled(names: frozenset[str], factor: Factor) -> Any:
    def change(point: ModelPoint, case: Case, arrays: Arrays) -> Arrays:
        out = dict(arrays)
        for user, a in arrays.items():
            pieces = [p for p in point.fitted.pieces[user] if p.name in names]
            if pieces:
                flat = a.reshape(-1).copy()
                for piece in pieces:
                    flat[piece.index] *= factor(point)
                out[user] = flat.reshape(a.shape)
        return out

    return change


def _summed(comparison: Comparison, wrong: set[str]) -> Iterator[Candidate]:
    """Sums over all axes: every entry of a vector, or of all that an array holds, has one."""
    fitted = comparison.point.fitted
    found: dict[str, tuple[After, frozenset[str]]] = {}
    for user in fitted.arguments:
        pieces = fitted.pieces[user]
        names = frozenset(p.name for p in pieces)
        if names & wrong and _is_flat(comparison, user, np.arange(_count(comparison, user))):
            found[f"d{user}"] = _with_sum(user, None), names
        for p in pieces if len(pieces) > 1 else ():
            if p.name in wrong and _is_flat(comparison, user, p.index.ravel()):
                found[f"d{p.name}"] = _with_sum(user, p.name), frozenset({p.name})
    sets = [[shown] for shown in found] + ([list(found)] if len(found) > 1 else [])
    for some in sets:
        shown = ", ".join(some)
        yield Candidate(
            f"summed:{shown}", "summed",
            f"every entry of {shown} is the sum of all its entries: summed over all axes, not over "
            "steps and sequences alone",
            after=tuple(found[n][0] for n in some),
            touches=frozenset().union(*(found[n][1] for n in some)),
        )  # fmt: skip


def _count(comparison: Comparison, user: str) -> int:
    return int(np.prod(comparison.point.fitted.shapes[user]))


def _is_flat(comparison: Comparison, user: str, at: Array) -> bool:
    """Whether several entries of a gradient are one and the same number in every case."""
    if at.size < 2:
        return False
    found = [r.got.reshape(-1)[at] for r in comparison.records if r.user == user]
    return any(a.any() for a in found) and all(np.all(a == a[0]) for a in found)


def _with_sum(user: str, name: str | None) -> After:
    def change(point: ModelPoint, case: Case, arrays: Arrays) -> Arrays:
        flat = arrays[user].reshape(-1).copy()
        for piece in point.fitted.pieces[user]:
            if piece.name == name:
                flat[piece.index] = np.sum(flat[piece.index])
        if name is None:
            flat[:] = np.sum(flat)
        return {**arrays, user: flat.reshape(arrays[user].shape)}

    return change


def _groups(comparison: Comparison, wrong: set[str]) -> Iterator[tuple[str, frozenset[str]]]:
    """Sets of names that one factor may have been forgotten for."""
    fitted = comparison.point.fitted
    names = {p.name for u in fitted.arguments for p in fitted.pieces[u]}
    parameters = frozenset(names & set(comparison.point.network.parameters))
    yield "every gradient", frozenset(names)
    if parameters:
        yield "the gradient of every parameter", parameters
    for users in alike_arrays(fitted.arguments):
        held = frozenset(p.name for u in users for p in fitted.pieces[u])
        if held <= wrong:
            yield called(users), held
    for some in alike_arrays(sorted(parameters), "_.*"):
        if len(some) > 1 and wrong.issuperset(some):
            yield called(some), frozenset(some)
    yield called(sorted(wrong)), frozenset(wrong)
    for name in sorted(wrong):
        yield f"d{name}", frozenset({name})


def alike_arrays(users: Iterable[str], part: str = r"\d+") -> list[tuple[str, ...]]:
    """Each array, and those of layers: their names differ in a number, or in another part."""
    layers: dict[str, list[str]] = {}
    for user in users:
        layers.setdefault(re.sub(part, "#", user), []).append(user)
    return [*((u,) for u in users), *(tuple(some) for some in layers.values() if len(some) > 1)]


def called(names: Sequence[str]) -> str:
    """Gradients by their names: dW, dU."""
    return ", ".join(f"d{n}" for n in names)


def _fitted_factor(comparison: Comparison, names: frozenset[str]) -> float | None:
    """The constant factor of some gradients, if there is one (least squares)."""
    top = bottom = 0.0
    for r in comparison.records:
        for piece in comparison.point.fitted.pieces[r.user]:
            if piece.name in names and np.isfinite(r.got).all():
                want = r.want.reshape(-1)[piece.index]
                top += float(np.sum(r.got.reshape(-1)[piece.index] * want))
                bottom += float(np.sum(want * want))
    return top / bottom if bottom > 0 and np.isfinite(top / bottom) else None


def _factors(comparison: Comparison, wrong: set[str]) -> Iterator[Candidate]:
    for what, names in _groups(comparison, wrong):
        table = _factor_table(comparison)
        known = [round(f(comparison.point), 12) for _, f in table]
        c = _fitted_factor(comparison, names)
        if c is not None and round(c, 12) not in known:
            table.append((factor_text(c), lambda s, c=c: c))  # type: ignore[misc]
        for k, (text, factor) in enumerate(table):
            verb = "has" if "," not in what else "have"
            yield Candidate(
                f"times:{text}:{','.join(sorted(names))}", "factor",
                f"{what} {verb} a factor {text} too many",
                after=(_scaled(names, factor),), touches=names,
                family=f"times:{','.join(sorted(names))}", fitted=k >= len(known),
            )  # fmt: skip


def _by_user(comparison: Comparison) -> dict[str, list[Record]]:
    table: dict[str, list[Record]] = {}
    for r in comparison.records:
        table.setdefault(r.user, []).append(r)
    return table


def _packing(comparison: Comparison, wrong: set[str]) -> Iterator[Candidate]:
    """Pieces of an array in another order: gates swapped or reordered."""
    fitted = comparison.point.fitted
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

    def change(point: ModelPoint, case: Case, arrays: Arrays) -> Arrays:
        out = dict(arrays)
        for user, order in orders.items():
            pieces = point.fitted.pieces[user]
            flat, new = arrays[user].reshape(-1), arrays[user].reshape(-1).copy()
            for k, j in order.items():
                new[pieces[k].index] = pieces[k].sign * pieces[j].sign * flat[pieces[j].index]
            out[user] = new.reshape(arrays[user].shape)
        return out

    names = frozenset(p.name for u in orders for p in fitted.pieces[u])
    yield Candidate(
        f"packing:{orders}", "packing", " and ".join(words), after=(change,), touches=names
    )


def _transposed(comparison: Comparison, wrong: set[str]) -> Iterator[Candidate]:
    """A square block, or a square array, the wrong way round."""

    def change(names: frozenset[str]) -> Any:
        def turn(point: ModelPoint, case: Case, arrays: Arrays) -> Arrays:
            out = {}
            for user, a in arrays.items():
                flat, new = a.reshape(-1), a.reshape(-1).copy()
                for piece in point.fitted.pieces[user]:
                    if piece.name in names:
                        new[piece.index] = flat[piece.index].T
                out[user] = new.reshape(a.shape)
            return out

        return turn

    square = []
    for user in comparison.point.fitted.arguments:
        for piece in comparison.point.fitted.pieces[user]:
            shape = piece.index.shape
            fixed = piece.name in comparison.point.network.parameters
            if fixed and len(shape) == 2 and shape[0] == shape[1] > 1 and piece.name in wrong:
                square.append(piece.name)
    groups = [frozenset({n}) for n in square]
    if len(square) > 1:
        groups.append(frozenset(square))
    for names in groups:
        what = called(sorted(names))
        yield Candidate(
            f"transposed:{','.join(sorted(names))}", "transposed",
            f"{what} {'is' if len(names) == 1 else 'are'} transposed",
            after=(change(names),), touches=names,
        )  # fmt: skip


def _spots(comparison: Comparison, wrong: set[str]) -> Iterator[Candidate]:
    """One entry, row or column of one array with a factor of its own."""
    parameters = set(comparison.point.fitted.layout.parameters)
    for user, records in _by_user(comparison).items():
        if user not in parameters:
            continue
        bad = np.any([r.ratio > 1 for r in records], axis=0)
        where = np.argwhere(bad)
        if not len(where) or bad.size == len(where):
            continue
        one: tuple[int | None, ...]
        if len(where) == 1:
            one = tuple(int(i) for i in where[0])
            what = f"the entry {list(one)} of d{user}"
        elif bad.ndim == 2 and len(set(where[:, 0])) == 1:
            one = (int(where[0, 0]), None)
            what = f"row {one[0]} of d{user}"
        elif bad.ndim == 2 and len(set(where[:, 1])) == 1:
            one = (None, int(where[0, 1]))
            what = f"column {one[1]} of d{user}"
        else:
            continue
        # at a point of other sizes it may have no entry
        spot = tuple(slice(None) if i is None else slice(i, i + 1) for i in one)
        top = sum(float(np.sum(r.got[spot] * r.want[spot])) for r in records)
        bottom = sum(float(np.sum(r.want[spot] ** 2)) for r in records)
        c = top / bottom if bottom else 0.0
        for factor in dict.fromkeys((0.0, round(c, 9), c)):
            says = (
                f"{what} is zero"
                if factor == 0
                else f"{what} has a factor {factor_text(factor)} too many"
            )

            def change(
                point: ModelPoint, case: Case, arrays: Arrays,
                user: str = user, spot: tuple[slice, ...] = spot, factor: float = factor,
            ) -> Arrays:  # fmt: skip
                a = arrays[user].copy()
                a[spot] *= factor
                return {**arrays, user: a}

            yield Candidate(
                f"spot:{what}:{factor}", "spot", says, after=(change,),
                family=f"spot:{what}", fitted=factor != 0,
            )  # fmt: skip


def _users_scaled(comparison: Comparison, wrong: set[str]) -> Iterator[Candidate]:
    """A factor on one of several arrays that hold the same values, such as two biases."""
    fitted = comparison.point.fitted
    held: dict[str, set[str]] = {}
    for user in fitted.layout.parameters:
        for piece in fitted.pieces[user]:
            held.setdefault(piece.name, set()).add(user)
    shared = set().union(*(u for u in held.values() if len(u) > 1))
    bad = list(dict.fromkeys(r.user for r in comparison.wrong if r.user in shared))
    table = [(t, f) for t, f in _factor_table(comparison) if t[0] in "012−" or t.startswith("1/2")]
    for users in dict.fromkeys([*alike_arrays(bad), tuple(bad)]):
        for text, factor in table if users else ():

            def change(
                point: ModelPoint, case: Case, arrays: Arrays,
                users: tuple[str, ...] = users, factor: Factor = factor,
            ) -> Arrays:  # fmt: skip
                return {**arrays, **{u: arrays[u] * factor(point) for u in users}}

            names = called(users)
            verb = "has" if len(users) == 1 else "have"
            yield Candidate(
                f"times:{text}:arrays {','.join(users)}", "factor",
                f"{names} {verb} a factor {text} too many", after=(change,),
                family=f"times:arrays {','.join(users)}",
            )  # fmt: skip


def _sequences(comparison: Comparison, wrong: set[str]) -> Iterator[Candidate]:
    """Sums over the batch that are overwritten: only one sequence counts."""
    known: dict[tuple[int, int, int], Arrays] = {}
    for which, says in ((-1, "last"), (0, "first")):
        for what, names in _groups(comparison, wrong):
            names = names & frozenset(comparison.point.network.parameters)
            if not names:
                continue

            def change(
                point: ModelPoint, case: Case, arrays: Arrays,
                which: int = which, names: frozenset[str] = names,
            ) -> Arrays:  # fmt: skip
                key = (id(point), id(case), which)
                if key not in known:
                    known[key] = _one_sequence(point, case, which)
                alone = known[key]
                out = {}
                for user, a in arrays.items():
                    flat, part = a.reshape(-1).copy(), point.fitted.pull(user, alone).reshape(-1)
                    for piece in point.fitted.pieces[user]:
                        if piece.name in names:
                            flat[piece.index] = part[piece.index]
                    out[user] = flat.reshape(a.shape)
                return out

            yield Candidate(
                f"sequence:{says}:{','.join(sorted(names))}", "sequence",
                f"{what} with the {says} sequence of the batch only: overwritten, not accumulated",
                after=(change,), touches=names,
            )  # fmt: skip


def _one_sequence(point: ModelPoint, case: Case, which: int) -> Arrays:
    """The definition's gradients with the cotangents of one sequence only."""
    if not case.cotangents:
        return {}  # the loss of one sequence has no cotangent of its own here
    lone = {}
    for n, g in case.cotangents.items():
        only = np.zeros_like(g)
        axis = 1 if point.network.outputs[n].axis is not None else 0
        index = [slice(None)] * g.ndim
        index[axis] = which  # type: ignore[call-overload]
        only[tuple(index)] = g[tuple(index)]
        lone[n] = only
    made = point.truth(point.oracle, [Case(case.label, lone)])
    return {n: a[0] for n, a in made.of.items()}
