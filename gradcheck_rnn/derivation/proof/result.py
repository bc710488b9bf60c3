"""What a proof says: entries compared, entries that differ, and the probability of error."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ...html import block
from .certified import Certificate

__all__ = ["Claims", "ClaimsAlong", "DirectionalClaims", "Group", "ProofResult", "place"]


@dataclass(frozen=True)
class DirectionalClaims:
    """Gradients that cost less along one direction than entry by entry.

    Attributes
    ----------
    along : callable
        Name → direction, shaped like the array, to the derivative, a number.
    entries : callable
        Name → gradient, asked for where a direction shows a difference.
    """

    along: Callable[[Mapping[str, Any]], Any]
    entries: Callable[[], Mapping[str, Any]]


#: What is to be proved about a setting: (form, kind, claims by name), kind "value" or "gradient".
Claims = Iterable[tuple[str, str, Mapping[str, Any]]]
#: The same of a proof at a random point, where gradients may be given along a direction.
ClaimsAlong = Iterable[tuple[str, str, Mapping[str, Any] | DirectionalClaims]]
_PRIME_BITS = 127
_SHOWN = 8


@dataclass(frozen=True)
class Group:
    """The entries of one array in one form.

    Attributes
    ----------
    form, what : str
        ``BPTT, matrix form`` and ``dW``.
    mismatches : tuple of str
        The entries that differ (``dW[1,2]``, counted from 0), or why nothing could be compared.
    degree : int
        The highest degree of a difference that was tested for zero.
    """

    form: str
    what: str
    entries: int
    degree: int
    mismatches: tuple[str, ...]


@dataclass(frozen=True)
class ProofResult:
    """The outcome of a proof at one random point.

    Attributes
    ----------
    collisions : int
        Degree of the event that two different arguments of an elementary function have the same
        value at the point; it adds to the probability of error of the whole.
    operations : int
        Scalar operations of the unrolled network.
    frozen : bool
        The network holds something frozen: what is proved is by intent not the derivative of the
        loss as run.
    added : str
        What was put on the definition for the proof, in words: a loss, a readout.
    certificate : Certificate, optional
        Which of the entries are proved without any probability of error, where that was asked for.
    """

    name: str
    sizes: dict[str, int]
    lengths: dict[str, int]
    seed: int
    redraws: int
    groups: tuple[Group, ...]
    collisions: int
    operations: int
    frozen: bool
    seconds: float
    certificate: Certificate | None = None
    added: str = ""

    @property
    def proved(self) -> bool:
        """Whether there is something to compare and all of it is equal."""
        refused = self.certificate is not None and self.certificate.different
        return bool(self.groups) and not self.mismatches and not refused

    @property
    def mismatches(self) -> tuple[str, ...]:
        """All entries that differ, with the form they differ in."""
        return tuple(f"{g.form}: {m}" for g in self.groups for m in g.mismatches)

    @property
    def entries(self) -> int:
        """Number of comparisons."""
        return sum(g.entries for g in self.groups)

    @property
    def degree(self) -> int:
        """The highest degree of a difference."""
        return max((g.degree for g in self.groups), default=0)

    @property
    def bits(self) -> int:
        """An unequal entry passes with probability below 2^−bits (Schwartz–Zippel)."""
        return _bits(self.degree)

    @property
    def total_bits(self) -> int:
        """The same for all entries together, chance collisions of arguments included."""
        return _bits(self.collisions + sum(g.entries * g.degree for g in self.groups))

    def to_json(self) -> dict[str, Any]:
        """The result as plain data for `json.dumps`."""
        return {
            "name": self.name,
            "proved": self.proved,
            "sizes": self.sizes,
            "lengths": self.lengths,
            "seed": self.seed,
            "redraws": self.redraws,
            "prime": "2^127-1",
            "degree": self.degree,
            "error_bits_per_entry": self.bits,
            "error_bits_total": self.total_bits,
            "operations": self.operations,
            "frozen": self.frozen,
            "seconds": round(self.seconds, 4),
            "groups": [
                {
                    "form": g.form,
                    "what": g.what,
                    "entries": g.entries,
                    "degree": g.degree,
                    "mismatches": list(g.mismatches),
                }
                for g in self.groups
            ],
            **({"certificate": self.certificate.document()} if self.certificate else {}),
        }

    def dumps(self) -> str:
        """`to_json` as text."""
        return json.dumps(self.to_json(), indent=2)

    def _repr_html_(self) -> str:
        return block(str(self))

    def __str__(self) -> str:
        setting = ", ".join(f"{n} = {s}" for n, s in {**self.sizes, **self.lengths}.items())
        verdict = "proved" if self.proved else "not proved"
        lines = [f"{self.name}: {verdict} at {setting}, seed {self.seed} ({self.seconds:.2f} s)"]
        if self.added:
            lines.append(f"  of the definition with {self.added}")
        forms: dict[str, list[Group]] = {}
        for g in self.groups:
            forms.setdefault(g.form, []).append(g)
        width = max((len(f) for f in forms), default=0)
        for form, groups in forms.items():
            total = sum(g.entries for g in groups)
            wrong = [m for g in groups for m in g.mismatches]
            line = f"  {form:<{width}}  {total} entries"
            if wrong:
                more = f", … ({len(wrong)} in all)" if len(wrong) > _SHOWN else ""
                line += f", different: {', '.join(wrong[:_SHOWN])}{more}"
            else:
                line += " equal"
            lines.append(line)
        lines.append(
            f"  error probability below 2^-{self.bits} an entry (degree {self.degree} over the "
            f"prime 2^127 - 1), below 2^-{self.total_bits} for all together"
        )
        if self.mismatches:
            lines.append(
                "  an entry also differs if its equality needs a relation between function values, "
                "such as tanh z = 2σ(2z) − 1"
            )
        if self.frozen:
            lines.append(
                "  frozen values are held: this is by intent not the derivative of the loss as run"
            )
        if self.certificate is not None:
            lines.append(str(self.certificate))
        return "\n".join(lines)


def _bits(degree: int) -> int:
    """The largest k with degree ÷ prime < 2^−k."""
    return max(0, math.floor(_PRIME_BITS - math.log2(max(1, degree)) - 1e-9))


def place(index: tuple[int, ...], shape: tuple[int, ...]) -> str:
    """``[t=0][2]`` or ``[1,2]``, counted from 0; axes of one entry at the end are left out."""
    lead, unit = index[:-2], index[-2:]
    text = f"[t={lead[0]}]" if lead else ""
    if shape[-1] == 1:
        return text if shape[-2] == 1 else f"{text}[{unit[0]}]"
    return f"{text}[{unit[0]},{unit[1]}]"
