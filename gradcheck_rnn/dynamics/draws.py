"""How far the leading exponent differs from one draw of weights to another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import UsageError
from .lyapunov import Lyapunov, lyapunov
from .system import Model

__all__ = ["Spread", "spread"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Spread:
    """λ₁ over draws of weights, inputs and drawn starts.

    Attributes
    ----------
    rates : array ``(draws,)``
        λ₁ of each draw in the order of their seeds, nats a step; NaN where the forward pass of a
        draw diverges.
    """

    rates: Array

    @property
    def held(self) -> Array:
        """The exponents of the draws that do not diverge."""
        return self.rates[~np.isnan(self.rates)]

    @property
    def mean(self) -> float:
        return float(np.mean(self.held)) if len(self.held) else float("nan")

    @property
    def deviation(self) -> float:
        """Standard deviation from draw to draw; NaN for a single draw."""
        return float(np.std(self.held, ddof=1)) if len(self.held) > 1 else float("nan")

    @property
    def sentence(self) -> str:
        """What is seen, to be read."""
        held, lost = self.held, len(self.rates) - len(self.held)
        gone = f"; {lost} of {len(self.rates)} draws diverge" if lost else ""
        if len(held) < 2:
            return f"Of {len(self.rates)} draws of weights fewer than two can be followed{gone}."
        return (
            f"Over {len(held)} draws of weights λ₁ is {self.mean:+.4f} on average, with a standard "
            f"deviation of {self.deviation:.4f}, from {held.min():+.4f} to {held.max():+.4f}{gone}."
        )


def spread(
    first: Sequence[tuple[Lyapunov, int]],
    drawn: Callable[[int], Model],
    draws: int,
    burn_in: int | None,
    xp: Any,
    progress: Callable[[str, int, int], None] | None,
) -> list[Spread | None]:
    """λ₁ of further draws, for every system of the first one; None for one draw.

    Parameters
    ----------
    first : sequence of (Lyapunov, int)
        Of every system: what the first draw gave, and over how many steps.
    drawn : callable
        Number of a draw → its model.
    """
    if draws == 1:
        return [None] * len(first)
    rates = np.full((len(first), draws), np.nan)
    for k, (exponents, _) in enumerate(first):
        rates[k, 0] = exponents.leading
    for number in range(1, draws):
        if progress is not None:
            progress("draws", number, draws)
        for k, (_, steps) in enumerate(first):
            try:
                system = drawn(number).systems(steps=steps)[k]
                one = lyapunov(system, steps, burn_in=burn_in, xp=xp)
                rates[k, number] = one.leading
            except UsageError:
                continue  # its forward pass diverges; the others are still told
    return [Spread(r) for r in rates]
