"""`record`: one line in a backward loop hands the adjoints of this step to the check.

    for t in reversed(range(T)):
        ...
        record(da_f=da_f, dc=dc, t=t)

Outside of a check the call does nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..checks import shown
from ..errors import UsageError

__all__ = ["Recorded", "record", "recording"]


@dataclass
class Recorded:
    """What was recorded during one call: name → {step from 0, or None for all: array}."""

    arrays: dict[str, dict[int | None, Any]] = field(default_factory=dict)


_RECORDED: ContextVar[Recorded | None] = ContextVar("recorded adjoints", default=None)


def record(
    arrays: Mapping[str, Any] | None = None, /, *, t: int | None = None, **named: Any
) -> None:
    """Hand intermediate adjoints, or saved values, to the check that is running.

    Parameters
    ----------
    arrays : mapping, optional
        Name → array, for names that are no Python identifiers.
    t : int, optional
        The index of the step, from 0 along time whichever way the loop runs. Without it arrays
        hold all steps.
    **named
        ``da_f``, ``dc``, ``delta_h``, ``grad_a_f``: adjoints of the definition's equations a_f,
        c, h. A name without prefix is a saved value. They are copied at once.

    Raises
    ------
    UsageError
        ``t`` is no index.
    """
    held = _RECORDED.get()
    if held is None:
        return
    if t is not None and (isinstance(t, bool) or not isinstance(t, int | np.integer) or t < 0):
        raise UsageError(f"record: t is {shown(t)}; give the index of the step, from 0")
    from .harness.arrays import to_numpy

    for name, array in {**(arrays or {}), **named}.items():
        held.arrays.setdefault(name, {})[None if t is None else int(t)] = to_numpy(array)


@contextmanager
def recording() -> Iterator[Recorded]:
    """Collect what is recorded inside."""
    held = Recorded()
    token = _RECORDED.set(held)
    try:
        yield held
    finally:
        _RECORDED.reset(token)
