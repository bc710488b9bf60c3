"""Verdicts: error divided by bound, for every entry, with no constant tolerance anywhere.

The bound of an entry is the error of the finite difference plus the roundoff of the gradient under
test, both measured. What is not resolved well enough to mean something is undecided, with why.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from .oracle.differences import Estimate
from .oracle.kinks import Kink
from .oracle.noise import Noise
from .scales import norm_of

__all__ = [
    "EntryCheck",
    "EntryState",
    "Finding",
    "Probe",
    "Row",
    "Verdict",
    "combine",
    "judge",
    "relative_resolution",
    "whole_slices",
]

Floats = NDArray[np.float64]
#: Runs of steps that are named.
MOST_RUNS = 3


class Verdict(Enum):
    """Outcome of a check."""

    PASS = "pass"
    FAIL = "fail"
    UNDECIDED = "undecided"

    def __str__(self) -> str:
        return self.value


class EntryState:
    """Codes of single entries, small integers so that a block of them is an array."""

    PASS, FAIL, KINK, BLIND, UNPROBED, ROUNDED = range(6)


@dataclass(frozen=True)
class Finding:
    """Something seen beside the numbers: a mutated input, an alias, a suspicion of the cause.

    `kind` is a stable identifier, `fatal` whether it fails the check by itself, `undecided` whether
    it leaves the check undecided: something that was declared has not been looked at. Of a row it
    is a reason why the row is no pass, or what its wrong entries have in common; the kind ``count``
    says in words how many entries or probes are wrong, which the row has in numbers. Of a diagnosis
    it is a known mistake: `id` is its identifier and `residual` what it leaves of the gradient,
    relative to the largest entry.
    """

    kind: str
    message: str
    fatal: bool = False
    undecided: bool = False
    id: str = ""
    #: Not a number where there is none, which no copy of it equals.
    residual: float = field(default=float("nan"), compare=False)

    @property
    def rank(self) -> str:
        """How it is announced: a diagnosis, a fault, undecided, or a note."""
        if self.kind == "diagnosis":
            return "diagnosis"
        return "fault" if self.fatal else "undecided" if self.undecided else "note"


@dataclass
class EntryCheck:
    """Derivatives of one block by differences, flat: values, errors, states, and kinks by entry.

    `noise` is that of the loss; `reasons` say why the difference of an entry is not known.
    """

    block: int
    value: Floats
    error: Floats
    state: NDArray[np.int8]
    kinks: dict[int, Kink]
    methods: set[str]
    seen: Floats
    noise: Noise
    reasons: dict[int, str] = field(default_factory=dict)

    def ratio(self, gradient: Floats, roundoff: Floats) -> Floats:
        """Error ÷ bound of every entry."""
        return judge(gradient.ravel(), self.value, self.error + roundoff.ravel())


@dataclass(frozen=True)
class Probe:
    """The derivative of the loss along one unit direction, from the gradient and by differences.

    `rounded`: it differs, in a sharper oracle, by the rounding of saturated units only. `beyond`:
    it differs on one step of the loss, and not over several.
    """

    number: int
    analytic: float
    estimate: Estimate
    roundoff: float
    kink: Kink | None
    rounded: bool = False
    beyond: bool = False

    @property
    def bound(self) -> float:
        """Error of the difference plus roundoff of the gradient under test."""
        return self.estimate.error + self.roundoff

    @property
    def ratio(self) -> float:
        """Error ÷ bound, NaN where the difference is not known."""
        if not self.estimate.trusted:
            return float("nan")
        error = abs(self.analytic - self.estimate.value)
        return error / self.bound if error else 0.0


@dataclass
class Row:
    """The verdict on one parameter, one output and input of a vector-Jacobian product, or one line.

    `ratio` is the largest error ÷ bound and `worst` where it is; `analytic`, `numeric` and `bound`
    are the numbers there (along a probe: the directional derivatives). `resolution` is the bound
    of the whole block relative to the gradient's norm: what a fault must exceed to be seen. `rms`
    is the root mean square of the error relative to that of the gradient (model mode: against the
    definition in float64, the worst of all probes).
    `output`, `step` (from 1, 0 for the whole output) and `source` say of which output and input a
    vector-Jacobian product is. `ratios` and `states` are arrays of the block's shape in entrywise
    mode, else None; `check` and `probes` are the numbers behind the verdict, by entry or by
    direction: working state, left out where a report is sent. `in_pieces` says that what is checked
    is constant around the point, with a gradient of zero, and around most other points that were
    looked at, and changes between them.

    Of a line of a backward pass that hands its adjoints over `step` is the first wrong one as the
    pass runs and `source` the equation; its findings are what the derived line is (``derived``),
    what the code has in its place (``mistake``, or ``fit`` of the derived terms), whether it is
    ``another-quantity``, and what it reads (``reads``, ``unseen`` if it was not handed over).
    """

    name: str
    shape: tuple[int, ...]
    verdict: Verdict
    ratio: float
    worst: str
    analytic: float
    numeric: float
    bound: float
    resolution: float
    failing: int = 0
    undecided: int = 0
    entries: int = 0
    method: str = ""
    reasons: tuple[Finding, ...] = ()
    missed: str = ""
    rms: float = float("nan")
    ratios: Floats | None = field(default=None, repr=False)
    states: NDArray[np.int8] | None = field(default=None, repr=False)
    check: EntryCheck | None = field(default=None, repr=False, compare=False)
    probes: tuple[Probe, ...] = field(default=(), repr=False, compare=False)
    output: str = ""
    step: int = 0
    source: str = ""
    in_pieces: bool = field(default=False, repr=False)

    @property
    def hidden(self) -> int:
        """Entries that are smaller than the error of their difference: a factor would not show."""
        return int(np.count_nonzero(self._small()))

    @property
    def hidden_places(self) -> str:
        """Where all entries of steps (the first axis) are hidden: ``" (all of [0] to [19])"``."""
        return whole_slices(self._small().reshape(self.shape)) if self.hidden else ""

    def _small(self) -> NDArray[np.bool_]:
        if self.check is None or self.ratios is None:
            return np.zeros(0, dtype=bool)
        found = self.check
        small = (np.abs(found.value) < found.error) & (found.state == EntryState.PASS)
        return np.asarray(small & ((found.value != 0) | (self.ratios.ravel() > 0)))

    @property
    def without_value(self) -> bool:
        """Whether it is undecided, and an entry or a direction has no difference at any step."""
        found = [p.estimate.value for p in self.probes] if self.check is None else self.check.value
        return self.verdict is Verdict.UNDECIDED and bool(np.isnan(found).any())

    @property
    def reason(self) -> str:
        """All reasons as one text."""
        return "; ".join(r.message for r in self.reasons)

    @property
    def cause(self) -> str:
        """The reasons as one text, but for what the numbers of the row say."""
        return "; ".join(r.message for r in self.reasons if r.kind != "count")

    def has(self, kind: str) -> bool:
        """Whether there is a reason of a kind."""
        return any(r.kind == kind for r in self.reasons)

    def told(self, kind: str) -> list[str]:
        """The messages of the reasons of a kind."""
        return [r.message for r in self.reasons if r.kind == kind]

    def explained(self, kind: str, text: str) -> None:
        """Add a reason."""
        self.reasons = (*self.reasons, Finding(kind, text))

    def settled(self, missed: str = "") -> None:
        """Make it a pass."""
        self.verdict, self.reasons = Verdict.PASS, ()
        self.missed = missed or self.missed


def whole_slices(mask: NDArray[np.bool_]) -> str:
    """Positions on the first axis at which all of a mask holds, as words; '' if there are none."""
    if mask.ndim < 2 or not mask.size:
        return ""
    whole = mask.reshape(len(mask), -1).all(axis=1)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], whole, [False]]).astype(np.int8)))
    runs = [
        f"[{first}]" if last == first + 1 else f"[{first}] to [{last - 1}]"
        for first, last in edges.reshape(-1, 2)
    ]
    more = f" and {len(runs) - MOST_RUNS} more" if len(runs) > MOST_RUNS else ""
    return f" (all of {', '.join(runs[:MOST_RUNS])}{more})" if runs else ""


def judge(analytic: Floats, numeric: Floats, bound: Floats) -> Floats:
    """Error ÷ bound, elementwise; 0 where both derivatives agree exactly, NaN where unknown."""
    with np.errstate(all="ignore"):
        error = np.abs(analytic - numeric)
        ratio = np.where(error == 0, 0.0, error / bound)
    unknown = ~np.isfinite(bound) | np.isnan(numeric)
    if unknown.any():
        ratio[unknown] = np.nan
    return np.asarray(ratio)


def relative_resolution(analytic: Floats, numeric: Floats, bound: Floats) -> float:
    """Norm of the bounds ÷ norm of the gradient; infinite for a gradient that vanishes.

    Entries whose bound is unknown count as unresolved.
    """
    worst = norm_of(bound)
    if not 0 < worst < np.inf:
        return 0.0 if worst == 0 else float("inf")
    size = norm_of(np.maximum(np.abs(analytic), np.abs(numeric)))
    return worst / size if size else float("inf")


def combine(verdicts: Sequence[Verdict]) -> Verdict:
    """One failure fails, one undecided without failure leaves it undecided."""
    for verdict in (Verdict.FAIL, Verdict.UNDECIDED):
        if verdict in verdicts:
            return verdict
    return Verdict.PASS
