"""The last calls of a check: loss and gradient must give at the point what they gave at first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ..errors import of_users_code
from .guard import STATE, close, remembers_arrays, unsteady_loss
from .in_place import Held, beside
from .outcome import Report
from .steadiness import tell_drift
from .target import Target
from .verdict import Verdict

__all__ = [
    "LastCalls",
    "check_returned_value",
    "come_to_rest",
    "finish",
    "loss_in",
    "unless_it_raises",
]

Floats = NDArray[np.float64]
T = TypeVar("T")
#: Standard deviations of its noise that a loss may have moved by between its first and last call.
NOISES = 64.0
#: Calls within which a loss that was called elsewhere gives what it gave at the point again.
REST = 4


@dataclass(frozen=True)
class LastCalls:
    """What both functions gave at the point, after they were called at another.

    `before` is the loss at the other point, and `now` at this, in the same arrays; `again` is the
    gradient at this point, None where no use was made of it, and `stale` says whether that is the
    one at the other.
    """

    before: float
    now: float
    again: dict[int, Floats] | None
    stale: bool


def finish(
    target: Target,
    report: Report,
    *,
    in_place: bool = False,
    last: LastCalls | None = None,
    odd: bool = False,
) -> None:
    """Call both functions a last time at the point: they must give what they gave at first.

    The gradient after the loss at another point, unless rows fail while the loss is steady; the
    loss in arrays that are changed in place in between, as optimisers do. With `in_place` the
    gradient, too, which costs one more call of it. Where that has been done, `last` is what came;
    what was `odd` by little there may be more after a point further away.
    """
    target.compare_kept()
    if target.budget.overrun:
        target.find("budget", target.budget.overrun)
    if not report.deterministic and np.isfinite(target.base):
        tell_drift(target, report)
    if not report.deterministic or not target.differentiated or not np.isfinite(target.base):
        return
    allowed = NOISES * report.noise
    failed = any(row.verdict is Verdict.FAIL for row in report.rows)
    given = last is not None
    last = last or _last_calls(target, failed, allowed, in_place)
    same, steady = _agreement(target, last, allowed)
    if given and odd and same and steady:
        given, last = False, _last_calls(target, failed, allowed, in_place)
        same, steady = _agreement(target, last, allowed)
    if same and (steady or failed):
        return
    found = len(target.findings)
    if not same and last.now == last.before:
        target.note(remembers_arrays(target.nouns.loss))
    elif not steady and last.stale:
        target.note(remembers_arrays(target.nouns.gradient))
    else:
        if given:
            target.raw(beside(target.tree, 2))
        _tell_state(target, allowed, in_place)
    if len(target.findings) > found or any(f.kind == "unsteady" for f in target.findings):
        return
    if not same:  # once, and not again
        target.note(unsteady_loss(target.base, last.now, target.nouns.loss))
    elif not steady:
        _tell_unsteady(target)


def _agreement(target: Target, last: LastCalls, allowed: float) -> tuple[bool, bool]:
    """Whether the loss is the same as at first, and whether the gradient is."""
    same = close(last.now, target.base, target.value_eps, allowed)
    return same, last.again is None or target.steady(last.again)


def _last_calls(target: Target, failed: bool, allowed: float, in_place: bool) -> LastCalls:
    held = target.held
    before = loss_in(target, held.beside())
    stale = again = None
    if not failed and in_place:
        stale = unless_it_raises(lambda: target.gradient_in(held))
    elif not failed:
        again = target.gradient(target.tree.leaves)
    now = loss_in(target, held.here())
    if again is None and not (failed and close(now, target.base, target.value_eps, allowed)):
        target.raw(beside(target.tree, 2))
        again = target.gradient_in(held) if in_place else target.gradient(target.tree.leaves)
    remembers = False
    if stale is not None and again is not None and not target.steady(again):
        remembers = all(np.array_equal(g, stale[i]) for i, g in again.items())
    return LastCalls(before, now, again, remembers)


def come_to_rest(target: Target) -> None:
    """Call the loss at the point until it gives what it gave there at first.

    What it left there is then what it leaves: one that keeps a share of its last values is no
    random one.
    """
    for _ in range(REST):
        if target.evaluate(target.tree.leaves) == target.base:
            return


def loss_in(target: Target, held: Held) -> float:
    """The loss of arrays as they are now."""
    return target.scalar(target.raw(held.leaves, held.arguments()))


def unless_it_raises(run: Callable[[], T]) -> T | None:
    """What a call gives at another point; None where the function raises there."""
    try:
        return run()
    except Exception as error:
        if not of_users_code(error):
            raise
        return None


def _tell_state(target: Target, allowed: float, in_place: bool) -> None:
    """Say which of both functions gives something else now, and after what."""
    held, now = target.held, target.evaluate(target.tree.leaves)
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
    if not target.steady(again):
        if "nondeterministic-gradient" not in known:
            _tell_unsteady(target)
        return
    loss_in(target, held.beside())
    if not close(loss_in(target, held.here()), target.base, target.value_eps, allowed):
        target.note(remembers_arrays(target.nouns.loss))
    if target.gradient_function is None:
        return
    target.raw(beside(target.tree, 2))
    if not target.steady(target.gradient(target.tree.leaves)):
        loss = target.nouns.loss
        target.find(
            "state",
            f"the gradient at the given point is another one after {loss} was called at another: "
            f"{target.nouns.gradient} reads what the last call of {loss} left; call {loss} at its "
            "own argument within it",
            fatal=True,
        )
    elif in_place:
        unless_it_raises(lambda: target.gradient_in(held.beside()))
        if not target.steady(target.gradient_in(held.here())):
            target.note(remembers_arrays(target.nouns.gradient))


def _tell_unsteady(target: Target) -> None:
    target.find(
        "unsteady",
        "the gradient at the given point is another one at the end than at the start, and "
        f"{target.nouns.loss} is not: {target.nouns.gradient} {STATE}, or fix its seed",
        fatal=True,
    )


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
