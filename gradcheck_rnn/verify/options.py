"""Options of a check that ask for nothing, or for a check that could not fail."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..checks import shown
from ..errors import UsageError

__all__ = ["check_options", "check_pair_options", "parse_seed"]

#: Options of a check of a pair.
OF_PAIRS = (
    "outputs", "time_axis", "mode", "seed", "budget", "select", "unit", "workers", "title",
)  # fmt: skip


def check_options(mode: str, resolve: float, unit: float, repeats: int | None) -> None:
    """Refuse options that ask for nothing, or for a check that could not fail."""
    if not isinstance(mode, str) or mode not in ("auto", "entrywise", "directional"):
        raise UsageError(f"mode {shown(mode)} is unknown; use 'auto', 'entrywise' or 'directional'")
    if not _number(resolve) or not 0 < resolve <= 1:
        raise UsageError(
            f"resolve {shown(resolve)} is no relative size of a fault; give more than 0, at most 1"
        )
    if not _number(unit) or not 0 <= unit < 1:
        raise UsageError(
            f"unit {shown(unit)} is no unit in the last place; give 2**-7 for bfloat16"
        )
    if repeats is not None and not (isinstance(repeats, int | np.integer) and repeats >= 1):
        raise UsageError(f"repeats {shown(repeats)} is no number of calls; give 1 or more")


def check_pair_options(who: str, options: Mapping[str, Any]) -> None:
    """Refuse options that no pair has, and those that ask for nothing, in the name of the check."""
    # what other libraries start threads for does not outlive a fork
    known = (*OF_PAIRS, "workers") if who == "check_vjp" else OF_PAIRS
    for name in options:
        if name not in known:
            from ..loading import suggest

            raise UsageError(f"{who}: {suggest(name, known, 'option')}")
    check_options(options.get("mode", "auto"), 1.0, options.get("unit", 0.0), None)


def parse_seed(seed: int | str) -> int:
    """A non-negative integer seed.

    Raises
    ------
    UsageError
        It is none.
    """
    try:
        number = int(seed) if isinstance(seed, str) else operator.index(seed)
    except (TypeError, ValueError):
        number = -1
    if number < 0 or isinstance(seed, bool):
        raise UsageError(f"seed {shown(seed)} is neither a non-negative integer nor 'fresh'")
    return number


def _number(value: Any) -> bool:
    return isinstance(value, int | float | np.integer | np.floating)
