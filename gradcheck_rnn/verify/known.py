"""Losses that tell more of themselves than their value.

A loss is taken for one by its class, never by the names of its attributes: those of a user's object
may be anything (a network with a `depth`, a counter called `reads`).
"""

from __future__ import annotations

from typing import Any

__all__ = ["KnownLoss", "tells"]


class KnownLoss:
    """Base of such a loss; each of these is optional.

    - ``many(parameters, stacks)``: values at many values of some arrays, by name.
    - ``depth``: how many operations follow one another in it.
    - ``derivatives(parameters)``: name → (derivative, bound on its error), what is known of them.
    - ``holds``: whether it holds values of the point on purpose, as those that are frozen.
    - ``reads(name)``: whether anything in it may read a parameter.
    """


def tells(loss: Any, what: str) -> bool:
    """Whether a loss is a `KnownLoss` that has one of these."""
    return isinstance(loss, KnownLoss) and hasattr(loss, what)
