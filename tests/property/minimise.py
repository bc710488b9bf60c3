"""Make a failing random definition small, by editing the list of choices it was made from.

Any list of integers is a valid definition and smaller numbers are simpler structures, so spans are
deleted and numbers lowered as long as the failure stays the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

__all__ = ["minimise"]


def minimise(
    choices: Sequence[int], fails: Callable[[list[int]], bool], *, budget: int = 400
) -> list[int]:
    """The smallest list found that still fails.

    Parameters
    ----------
    choices : sequence of int
        A list that fails.
    fails : callable
        Whether a list fails in the same way.
    budget : int
        How many lists to try at most.
    """
    best = list(choices)
    tried: set[tuple[int, ...]] = {tuple(best)}

    def better(candidate: list[int]) -> bool:
        nonlocal best, budget
        key = tuple(candidate)
        if budget <= 0 or key in tried:
            return False
        tried.add(key)
        budget -= 1
        if fails(candidate):
            best = candidate
            return True
        return False

    changed = True
    while changed and budget > 0:
        before = list(best)
        for span in (32, 16, 8, 4, 2, 1):
            start = 0
            while start < len(best):
                if not better(best[:start] + best[start + span :]):
                    start += span
        for k in range(len(best)):
            if k < len(best) and best[k] and not better([*best[:k], 0, *best[k + 1 :]]):
                better([*best[:k], best[k] // 2, *best[k + 1 :]])
        changed = best != before
    return best
