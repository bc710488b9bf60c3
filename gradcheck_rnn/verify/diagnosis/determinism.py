"""Findings about noise that the number format does not explain; see `harness.excess`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from ..harness.arrays import Precision
from ..harness.compare import Comparison
from ..harness.excess import Excess
from ..verdict import Finding

__all__ = ["noisy_arrays", "reformed_functions", "unsteady"]


def noisy_arrays(
    comparisons: Iterable[Comparison], wanted: Collection[str] | None = None
) -> dict[str, Excess]:
    """Arrays with noise beyond their format: the worst case of each, chance before rounding."""
    worst: dict[str, Excess] = {}
    for excess in (e for c in comparisons for e in c.excess):
        if wanted is not None and excess.user not in wanted:
            continue
        held = worst.get(excess.user)
        if held is None or (excess.chance, excess.times) > (held.chance, held.times):
            worst[excess.user] = excess
    return worst


def unsteady(
    comparisons: Sequence[Comparison], form: Precision, wanted: Collection[str] | None = None
) -> list[Finding]:
    """Findings, empty if the noise of the gradient is that of its format at every point.

    ``form`` is the format of the computation, ``wanted`` names the arrays that were checked, by
    default all.
    """
    worst = noisy_arrays(comparisons, wanted)
    found = []
    chance = [e for e in worst.values() if e.chance]
    if chance:
        found.append(
            Finding(
                "unsteady",
                f"{_names(chance)} unsteady: calls at one and the same point differ, "
                f"{_where(chance)}, by {_times(chance)} times what rounding in {form.name} "
                "explains. Random numbers (fix their seed), a race, memory that is not "
                "initialised, or an update that is lost now and then",
                fatal=True,
            )
        )
    for excess in (e for e in worst.values() if not e.chance):
        found.append(
            Finding(
                "lost-precision",
                f"{_names([excess])} unstable, {_where([excess])}: its noise is "
                f"{excess.noise:.1e} of the array, the definition's own formula keeps "
                f"{excess.kept:.1e} here in {form.name}. A difference of large numbers, or "
                "something computed in a coarser format, or rounded; give the dtype it is computed "
                "in if that is meant",
                fatal=True,
            )
        )
    return found


def reformed_functions(
    comparisons: Sequence[Comparison], form: Precision, wanted: Collection[str] | None = None
) -> list[Finding]:
    """A note on errors that only another form of a function explains, empty if there are none."""
    found = [e for c in comparisons for e in c.reformed if wanted is None or e.user in wanted]
    if not found:
        return []
    worst = max(found, key=lambda e: e.noise)
    names = ", ".join(dict.fromkeys(f"d{e.user}" for e in found))
    return [
        Finding(
            "lost-precision",
            f"digits are lost in {names} ({_where(found)}): d{worst.user} is off by "
            f"{worst.noise:.1e} of the array, the definition's own formula keeps {worst.kept:.1e} "
            f"there in {form.name}. Functions in a form that rounds numbers of the size of their "
            "range, such as σ through tanh, lose as much, and so may a fault of this size",
        )
    ]


def _names(found: Sequence[Excess]) -> str:
    return ", ".join(f"d{e.user}" for e in found) + (" is" if len(found) == 1 else " are")


def _where(found: Sequence[Excess]) -> str:
    places = dict.fromkeys(f"{e.place}: {e.case}" for e in found)
    return f"in {next(iter(places))}" + (f" and {len(places) - 1} more" if len(places) > 1 else "")


def _times(found: Sequence[Excess]) -> str:
    return f"{max(e.times for e in found):.0e}"
