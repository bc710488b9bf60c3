"""Losses of one check spread over forks of this process.

A loss is a closure as a rule, which no pickle takes to another process; a fork has it already. What
a fork cannot do (it raises, dies, or hangs on a lock that a thread held) is done here, in order, so
that all that a check says of a loss it says with workers as well.
"""

from __future__ import annotations

import functools
import itertools
import sys
import time
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..checks import check_whole
from ..errors import UsageError
from .children import Crash, begin, can_fork
from .limits import Limits

__all__ = ["check_workers", "spread"]

Floats = NDArray[np.float64]
S = TypeVar("S")
#: Values from which the time of one is known, and the seconds of all below which a fork, which
#: takes some hundredths of a second, does not pay.
TIMED, WORTH = 8, 0.2
#: Seconds that a fork may take, as a multiple of what its part takes here, and beyond.
PATIENCE, GRACE = 4.0, 5.0


def check_workers(workers: Any) -> int:
    """A number of processes.

    Raises
    ------
    UsageError
        It is none, or processes cannot be forked here.
    """
    count = check_whole(workers, "workers", 1)
    if count > 1 and not can_fork():
        raise UsageError(f"workers={count} needs processes that fork, which this system lacks")
    return count


def spread(
    run: Callable[[int, int], Floats], count: int, workers: int, state: Callable[[], S]
) -> tuple[Floats, list[tuple[int, S]]]:
    """Values ``(count,)`` of `run(first, last)` by several processes.

    Parameters
    ----------
    run : callable
        The values from one number up to another.
    count, workers : int
        Values in all, and processes.
    state : callable
        What else a process has found, once its values are there.

    Returns
    -------
    tuple
        The values; of each other process how many are its own, and its state.
    """
    start = time.perf_counter()
    done = min(TIMED, count)
    first = run(0, done)
    each = (time.perf_counter() - start) / max(done, 1)
    if (count - done) * each < WORTH:
        return np.concatenate([first, run(done, count)]), []
    borders = np.linspace(done, count, workers + 1).astype(int).tolist()
    parts = list(itertools.pairwise(borders[1:]))
    waits = [begin(functools.partial(_there, run, state, *part), Limits()) for part in parts]
    values, states = [first, run(done, borders[1])], []
    limits = Limits(timeout=PATIENCE * each * (borders[-1] - borders[-2]) + GRACE)
    for wait, part in zip(waits, parts, strict=True):
        found = wait(limits)
        if found is None or isinstance(found, Crash):
            values.append(run(*part))
            continue
        there, held = found
        values.append(there)
        states.append((len(there), held))
    return np.concatenate(values), states


def _there(
    run: Callable[[int, int], Floats], state: Callable[[], S], first: int, last: int
) -> tuple[Floats, S] | None:
    """In a fork: values and what was noticed on the way; None where the loss raised."""
    try:
        torch = sys.modules.get("torch")
        if torch is not None:
            torch.set_num_threads(1)
        return run(first, last), state()
    except BaseException:
        return None
