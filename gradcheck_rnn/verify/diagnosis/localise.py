"""Where an error lives: gate, entries, time step, lag; and which steps' share is missing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..harness.compare import Comparison, Record
from .matching import wrong_names

__all__ = ["borders", "gates", "localise", "missing_steps", "told_steps"]

Array = NDArray[Any]


def gates(comparison: Comparison, record: Record) -> list[str]:
    """What of a user's array is wrong, by the definition's names, with the worst entry of each."""
    out = []
    for piece in comparison.point.fitted.pieces[record.user]:
        ratio = record.ratio.reshape(-1)[piece.index]
        bad = int(np.sum(ratio > 1))
        if bad:
            at = np.unravel_index(int(np.argmax(np.nan_to_num(ratio, posinf=1e300))), ratio.shape)
            out.append(
                f"{piece.name} ({bad} of {ratio.size} entries, worst {[int(i) for i in at]})"
            )
    return out


def localise(wrong: Sequence[Comparison]) -> list[str]:
    """Sentences about points with errors: where they spread to, and what is cleared.

    The point at which most is wrong tells where; the first, smallest one tells what is right.
    """
    return [*_cleared(wrong[0]), *(line for _, line in _places(_loudest(wrong)))]


def told_steps(wrong: Sequence[Comparison]) -> str:
    """The sentence of `localise` that tells most of the steps at which an input is wrong."""
    told, line = max(_places(_loudest(wrong)), key=lambda p: p[0], default=(0, ""))
    return line if told else ""


def _loudest(wrong: Sequence[Comparison]) -> Comparison:
    return max(wrong, key=lambda c: len(wrong_names(c)))


def _places(comparison: Comparison) -> list[tuple[int, str]]:
    """Sentences, each with how much it tells of steps: nothing, which, and how far back."""
    point = comparison.point
    lines: list[tuple[int, str]] = []
    worst: dict[str, Record] = {}
    for r in comparison.wrong:
        if r.user not in worst or _top(r) > _top(worst[r.user]):
            worst[r.user] = r
    for user, r in worst.items():
        what = "; ".join(gates(comparison, r))
        told, moments = _moments(comparison, r)
        lines.append((told, f"d{user} ({r.case.label}, {point.label}): {what}{moments}"))
        steps = missing_steps(comparison, r)
        if steps:
            lines.append((0, f"d{user}: {steps}"))
    return lines


def _cleared(comparison: Comparison) -> list[str]:
    """What is right at a point, of the gradients and of the cotangents."""
    point, where = comparison.point, comparison.point.label
    lines = []
    # what was not returned is not right
    returned = {r.user for r in comparison.records}
    names = {p.name for user in returned for p in point.fitted.pieces[user]}
    wrong = wrong_names(comparison)
    # What was not returned, or not selected, was not looked at: neither wrong nor right.
    seen = {p.name for r in comparison.records for p in point.fitted.pieces[r.user]}
    fine = (names & seen) - wrong - {n for n in names if _data(comparison, n)}
    if wrong and fine:
        lines.append(f"right ({where}): {', '.join(f'd{n}' for n in sorted(fine))}")
    good = [c.label for c in point.cases if not wrong_names(comparison, c)]
    if good and len(good) < len(point.cases):
        lines.append(f"right ({where}) for the cotangents: {', '.join(good)}")
    return lines


def _data(comparison: Comparison, name: str) -> bool:
    network = comparison.point.network
    ref = network.inputs.get(name)
    return ref is not None and ref.kind not in ("input", "static")


def _top(record: Record) -> float:
    return float(np.max(np.nan_to_num(record.ratio, posinf=1e300)))


def _moments(comparison: Comparison, record: Record) -> tuple[int, str]:
    """Steps at which the gradient of an input is wrong, after how much that tells of them."""
    pieces = comparison.point.fitted.pieces[record.user]
    ref = comparison.point.network.inputs.get(pieces[0].name)
    if ref is None or ref.axis is None:
        return 0, ""
    bad = record.ratio.reshape(-1)[pieces[0].index] > 1  # (T, B, n)
    steps = [int(t) + 1 for t in np.flatnonzero(bad.any(axis=tuple(range(1, bad.ndim))))]
    if len(steps) == len(bad):
        return 0, ", at every step"
    lag = ""
    if record.case.step is not None:
        lags = sorted({record.case.step + 1 - t for t in steps})
        lag = f", {lags[0]} to {lags[-1]} steps back from the cotangent"
    said = f", at step{'s' * (len(steps) > 1)} {_ranges(steps)} of {len(bad)}{lag}"
    return (2 if lag else 1), said


def borders(comparison: Comparison) -> set[int]:
    """Steps behind which the gradient of an input is right, or zero, in some case."""
    found, inputs = set[int](), comparison.point.network.inputs
    for r in comparison.wrong:
        for piece in comparison.point.fitted.pieces[r.user]:
            if piece.name in inputs and inputs[piece.name].axis is not None:
                for a, least in ((r.ratio, 1.0), (np.abs(r.got), 0.0)):
                    steps = a.reshape(-1)[piece.index] > least
                    at = steps.reshape(steps.shape[0], -1).any(axis=1)
                    last = int(np.flatnonzero(at).max(initial=-1)) + 1
                    found |= {last} if 0 < last < steps.shape[0] else set()
    return found


def _ranges(steps: list[int]) -> str:
    parts: list[list[int]] = []
    for s in steps:
        if parts and s == parts[-1][-1] + 1:
            parts[-1].append(s)
        else:
            parts.append([s])
    return ", ".join(f"{p[0]}–{p[-1]}" if len(p) > 1 else f"{p[0]}" for p in parts)


def missing_steps(comparison: Comparison, record: Record) -> str:
    """Which steps' contributions an error consists of, if it is made of them (least squares)."""
    point, truth = comparison.point, comparison.truth
    if truth is None or not np.isfinite(record.got).all():
        return ""
    k = next(i for i, c in enumerate(point.cases) if c is record.case)
    sentences = []
    for piece in point.fitted.pieces[record.user]:
        error = (record.got - record.want).reshape(-1)[piece.index]
        bound = record.bound.reshape(-1)[piece.index]
        if not np.any(np.abs(error) > bound) or len(truth.steps.get(piece.name, [])) != 1:
            continue
        scan, delta, operand = truth.steps[piece.name][0]
        T = len(delta)
        parts = np.einsum("tbn,tbm->tnm", delta[:, :, k], operand).reshape(T, -1) * piece.sign
        if parts.shape[1] != error.size or parts.shape[1] < T or T < 2:
            continue
        size = np.linalg.norm(parts, axis=1)
        if not np.all(size > 0):
            continue
        scaled = (parts / size[:, None]).T
        weight, *_ = np.linalg.lstsq(scaled, error.ravel(), rcond=None)
        left = np.abs(error.ravel() - scaled @ weight)
        if np.any(left > bound.ravel() + 2.0**-44 * np.max(np.abs(error))):
            continue
        share = weight / size
        order = [T - t if scan.reverse else t + 1 for t in range(T)]
        lost = [order[t] for t in range(T) if abs(share[t] + 1) < 1e-6]
        kept = [order[t] for t in range(T) if abs(share[t]) < 1e-6]
        if lost and len(lost) + len(kept) == T:
            sentences.append(f"{piece.name} lacks the share of step{'s' * (len(lost) > 1)} "
                             f"{_ranges(sorted(lost))} of {T}")  # fmt: skip
    return "; ".join(sentences)
