"""Where random structures take their choices from: a seed, a recorded list, or hypothesis.

Every choice is an integer below a bound and 0 is the simplest, so that one generator serves all
three, a failure is replayed from its seed, and any list of integers is a valid structure (which
is what lets `tests.property.minimise` shrink a seeded failure).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

__all__ = ["Choices", "Drawn", "Replayed", "Seeded"]

T = TypeVar("T")


class Choices:
    """Choices on top of one source of integers; those taken are kept in `taken`."""

    def __init__(self, source: Callable[[int], int]) -> None:
        self._source = source
        self.taken: list[int] = []

    def draw(self, bound: int) -> int:
        """An integer in [0, bound)."""
        value = self._source(bound) if bound > 1 else 0
        if bound > 1:
            self.taken.append(value)
        return value

    def integer(self, low: int, high: int) -> int:
        """An integer in [low, high]."""
        return low + self.draw(high - low + 1)

    def pick(self, options: Sequence[T]) -> T:
        """One of the options; the first is the simplest."""
        return options[self.draw(len(options))]

    def weighted(self, options: Sequence[tuple[int, T]]) -> T:
        """One of (weight, option)."""
        at = self.draw(sum(w for w, _ in options))
        for weight, option in options:
            if at < weight:
                return option
            at -= weight
        raise ValueError("no options")

    def chance(self, percent: int) -> bool:
        """True in about ``percent`` of 100 cases; False is simpler."""
        return self.draw(100) >= 100 - percent


class Seeded(Choices):
    """Choices from a seed."""

    def __init__(self, seed: int) -> None:
        generator = np.random.default_rng(seed)
        super().__init__(lambda bound: int(generator.integers(bound)))


class Replayed(Choices):
    """Choices from a list; 0 where it has ended, the largest possible where it asks for more."""

    def __init__(self, values: Sequence[int]) -> None:
        left = iter(values)
        super().__init__(lambda bound: min(next(left, 0), bound - 1))


class Drawn(Choices):
    """Choices by a hypothesis ``draw`` function."""

    def __init__(self, draw: Callable[..., int]) -> None:
        from hypothesis import strategies as st

        super().__init__(lambda bound: draw(st.integers(0, bound - 1)))
