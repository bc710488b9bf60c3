"""Suspicions about the harness: functions that ignore their argument, factors common to all."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..streams import Stream, generator
from .hints import common_factor
from .oracle.noise import Noise, measure_noise
from .outcome import Report
from .probes import probe_block
from .roundoff import GradientRoundoff, measure_gradient_roundoff
from .target import Target
from .verdict import EntryState, Row, Verdict

__all__ = ["suspect"]

Floats = NDArray[np.float64]


def suspect(
    report: Report, target: Target, g: dict[int, Floats], roundoff: GradientRoundoff, noise: Noise
) -> None:
    """Add findings that explain a report, or that it could not see at one point."""
    if not target.responds and any(np.any(g[i]) for i in target.select):
        target.find(
            "loss-ignores-argument",
            "the loss never changed, whatever parameter was moved; does it read captured arrays "
            "instead of its argument?",
        )
        return
    failing = [row for row in report.rows if row.verdict is Verdict.FAIL]
    if len(failing) > 1 and len(failing) == len(report.rows):
        a = np.array([row.analytic for row in failing])
        f = np.array([row.numeric for row in failing])
        e = np.array([row.bound for row in failing])
        factor = common_factor(a, f, e) if np.isfinite([a, f, e]).all() else None
        if factor is not None:
            guess = (
                "; is a sum over steps or sequences taken for a mean, the loss scaled, or the "
                "gradient clipped by its norm?"
            )
            target.find(
                "common-factor",
                f"all gradients are {factor:.6g} times the difference quotients"
                f"{guess if factor > 0 else ''}",
            )
    _clipped(target, g, failing)
    if not failing:
        _stale(target, g, report.seed)


def _clipped(target: Target, g: dict[int, Floats], failing: list[Row]) -> None:
    """Wrong entries that all have one size, which no other exceeds, have been clipped to it."""
    positions = {target.tree.names[i]: i for i in target.select}
    sizes: list[Floats] = []
    for row in failing:
        if row.states is None or row.check is None:
            return
        wrong = row.states.ravel() == EntryState.FAIL
        own, want = g[positions[row.name]].ravel()[wrong], row.check.value[wrong]
        if np.any(np.abs(want) <= np.abs(own)) or np.any(own * want < 0):
            return
        sizes.append(np.abs(own))
    found = np.concatenate(sizes) if sizes else np.zeros(0)
    if found.size < 2 or found[0] == 0 or np.any(found != found[0]):
        return
    if all(np.max(np.abs(g[i]), initial=0.0) <= found[0] for i in positions.values()):
        target.find(
            "clipped",
            f"the wrong entries are all ±{found[0]:.6g} and should be larger; is the gradient "
            f"clipped?",
        )


def _stale(target: Target, g: dict[int, Floats], seed: int) -> None:
    """Find a gradient that is right here because it remembers this point, and wrong elsewhere."""
    rng = generator(seed, Stream.OTHER_POINT)
    leaves = [
        (x * (1 + 0.03 * rng.standard_normal(x.shape))).astype(x.dtype) if i in target.select else x
        for i, x in enumerate(target.tree.leaves)
    ]
    there = target.gradient_at(leaves)
    same = [i for i in target.select if np.array_equal(g[i], there[i]) and np.any(g[i])]
    if not same or not all(np.isfinite(there[i]).all() for i in target.select):
        return
    # a loss that is linear in a parameter has a constant gradient; differences tell
    moved = target.moved(leaves)
    moved.base = moved.value(leaves)
    if np.isfinite(moved.base):
        eps = max(float(np.finfo(leaves[i].dtype).eps) for i in same)
        directions = {i: rng.standard_normal(leaves[i].shape) for i in same}
        noise = measure_noise(moved.across(directions), 1.0, eps, target.value_eps)
        roundoff = measure_gradient_roundoff(moved, there, seed, same)
        for i in same:
            probes = probe_block(moved, i, there[i], roundoff, noise, seed, 1)
            if any(p.ratio > 1 and p.kink is None for p in probes):
                target.find(
                    "gradient-ignores-argument",
                    f"the gradient of '{target.tree.names[i]}' is the same at other parameters, "
                    f"where it is wrong; does it read a stale cache or captured arrays?",
                    fatal=True,
                )
    target.evaluations += moved.evaluations
    target.gradients += moved.gradients
