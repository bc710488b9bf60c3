"""What was compared at a point: the user's gradients, the definition's, and how sure they are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..roundoff import spread
from ..verdict import judge
from .aggregates import Along, Whole
from .excess import Excess, Suspect
from .modelpoint import ModelPoint
from .plan import Case
from .sweep import Gradients

__all__ = ["SPREADS", "Comparison", "Record", "ratio_of", "room"]

Array = NDArray[Any]
Arrays = dict[str, Array]
#: Deviations under rounding that a bound allows for.
SPREADS = 4.0


@dataclass
class Record:
    """One array of the user in one case: what it is, what it should be, how sure that is.

    Until all is judged: ``noise`` is the rounding in ``bound`` that was seen, ``sums`` the sizes of
    the terms of every sum.
    """

    user: str
    case: Case
    got: Array
    want: Array
    bound: Array
    ratio: Array
    noise: Array | None = None
    whole: Whole | None = None
    along: dict[str, Along] = field(default_factory=dict)
    sums: Array | None = None
    suspect: Suspect | None = field(default=None, repr=False)


@dataclass
class Comparison:
    """All records of a point, and the definition's gradients they were made from."""

    point: ModelPoint
    records: list[Record] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    settled: bool = False
    truth: Gradients | None = None
    excess: list[Excess] = field(default_factory=list)
    #: What another form of a function explains, and nothing else.
    reformed: list[Excess] = field(default_factory=list)
    #: By output, the largest deviation between calls of forward at this very point.
    restless: Arrays = field(default_factory=dict, repr=False)

    @property
    def wrong(self) -> list[Record]:
        return [r for r in self.records if np.any(r.ratio > 1)]


def ratio_of(got: Array, want: Array, bound: Array) -> Array:
    """Error ÷ bound by entry, infinite where what should be finite is not.

    Not a number where the definition has none, or no bound: there nothing is judged.
    """
    ratio = judge(got, want, bound)
    if np.isfinite(got).all():
        return ratio
    known = np.isfinite(want) & np.isfinite(bound)
    return np.where(known & ~np.isfinite(got), np.inf, ratio)


def room(samples: Array) -> Array:
    """What deviations under rounding allow each entry; infinite where they leave no number."""
    lost = np.any(np.isinf(samples), axis=0)
    if not lost.any():
        return SPREADS * spread(samples)
    return np.where(lost, np.inf, SPREADS * spread(np.where(lost, 0.0, samples)))
