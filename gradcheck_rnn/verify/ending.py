"""The last calls of a check: loss and gradient must give at the point what they gave at first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .guard import STATE, close, unsteady_loss
from .outcome import Report
from .steadiness import tell_drift
from .target import Target
from .verdict import Verdict

__all__ = ["check_returned_value", "finish"]

Array = NDArray[Any]
Floats = NDArray[np.float64]
#: Standard deviations of its noise that a loss may have moved by between its first and last call.
NOISES = 64.0
#: Relative distance of a point at which the loss is called before the gradient at the given one.
BESIDE = 2.0**-8


def finish(target: Target, report: Report) -> None:
    """Call both functions a last time at the point: they must give what they gave at first.

    The gradient after the loss at another point, unless rows fail while the loss is steady; the
    loss in arrays that are changed in place in between, as optimisers do.
    """
    target.compare_kept()
    if target.budget.overrun:
        target.find("budget", target.budget.overrun)
    if not report.deterministic and np.isfinite(target.base):
        tell_drift(target, report)
    if not report.deterministic or not target.differentiated or not np.isfinite(target.base):
        return
    held, allowed = _Held(target.tree.leaves), NOISES * report.noise
    failed = any(row.verdict is Verdict.FAIL for row in report.rows)
    target.raw(held.beside())
    again = None if failed else target.gradient(target.tree.leaves)
    now = target.scalar(target.raw(held.here()))
    if again is None:
        if close(now, target.base, target.value_eps, allowed):
            return
        target.raw(held.beside())
        again = target.gradient(target.tree.leaves)
    same, steady = close(now, target.base, target.value_eps, allowed), target.steady(again)
    if same and steady:
        return
    found = len(target.findings)
    _tell_state(target, allowed)
    if len(target.findings) > found or any(f.kind == "unsteady" for f in target.findings):
        return
    if not same:  # once, and not again
        target.note(unsteady_loss(target.base, now, target.nouns.loss))
    elif not steady:
        _tell_unsteady(target)


def _tell_state(target: Target, allowed: float) -> None:
    """Say which of both functions gives something else now, and after what."""
    now = target.evaluate(target.tree.leaves)
    if not close(now, target.base, target.value_eps, allowed):
        target.find(
            "state",
            f"{target.nouns.loss} gave {target.base:.9g} in its first call and gives {now:.9g} at "
            f"the same point at the end: it, or {target.nouns.gradient}, {STATE}",
            fatal=True,
        )
    known = {f.kind for f in target.findings}
    if known & {"unsteady", "not-finite"}:
        return
    again = target.gradient(target.tree.leaves)
    if not target.steady(again) and "nondeterministic-gradient" not in known:
        _tell_unsteady(target)
    elif target.gradient_function is not None and not target.steady(
        _after_the_loss(target, allowed)
    ):
        loss = target.nouns.loss
        target.find(
            "state",
            f"the gradient at the given point is another one after {loss} was called at another: "
            f"{target.nouns.gradient} reads what the last call of {loss} left; call {loss} at its "
            "own argument within it",
            fatal=True,
        )


def _tell_unsteady(target: Target) -> None:
    target.find(
        "unsteady",
        "the gradient at the given point is another one at the end than at the start, and "
        f"{target.nouns.loss} is not: {target.nouns.gradient} {STATE}, or fix its seed",
        fatal=True,
    )


def _after_the_loss(target: Target, allowed: float) -> dict[int, Floats]:
    """The gradient at the point, after the loss in arrays that were at another one nearby.

    What remembers arrays by `id` gives what it gave before.
    """
    held = _Held(target.tree.leaves)
    target.raw(held.beside())
    now = target.scalar(target.raw(held.here()))
    if not close(now, target.base, target.value_eps, allowed):
        target.find(
            "state",
            f"{target.nouns.loss} gives {now:.9g} after its arguments were changed in place, and "
            f"{target.base:.9g} for other arrays of the same content: does it remember arrays by "
            "their id? Compare contents",
            fatal=True,
        )
    target.raw(held.beside())
    return target.gradient(target.tree.leaves)


class _Held:
    """Arrays of one identity that hold the point, or another one nearby."""

    def __init__(self, leaves: Sequence[Array]) -> None:
        self.leaves = leaves
        self.held = [
            np.empty(x.shape, x.dtype) if x.dtype.kind == "f" else x.copy() for x in leaves
        ]

    def here(self) -> list[Array]:
        """At the point."""
        for array, x in zip(self.held, self.leaves, strict=True):
            array[...] = x
        return self.held

    def beside(self) -> list[Array]:
        """At the other one."""
        for array, x in zip(self.held, self.leaves, strict=True):
            if x.dtype.kind == "f":
                np.multiply(x, x.dtype.type(1 + BESIDE), out=array)
        return self.held


def check_returned_value(target: Target) -> None:
    """A gradient function that returns the loss too must return the same loss."""
    value = target.returned_value
    if value is None or value == target.base:
        return
    # sums in another order may differ; half of the digits may not
    if abs(value - target.base) > 1e-4 * max(abs(value), abs(target.base)):
        target.find(
            "other-loss",
            f"the gradient function returns the loss {value:.9g}, "
            f"the loss function {target.base:.9g}",
        )
