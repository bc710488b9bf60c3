"""What a certificate says: which entries are equal without any probability of error."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

__all__ = ["Certificate", "CertifiedGroup"]

_SHOWN = 4


@dataclass(frozen=True)
class CertifiedGroup:
    """The entries of one array in one form.

    Attributes
    ----------
    form, what : str
        ``BPTT, matrix form`` and ``dW``, as in `Group`.
    different : tuple of str
        Entries proved different (``dW[1,2]``), or why nothing could be compared.
    undecided : tuple of (str, str)
        Entries that could not be decided, each with its reason: "undecided" is never "equal".
    """

    form: str
    what: str
    entries: int
    different: tuple[str, ...] = ()
    undecided: tuple[tuple[str, str], ...] = ()

    @property
    def certified(self) -> int:
        """How many entries are proved equal."""
        return max(0, self.entries - len(self.different) - len(self.undecided))


@dataclass(frozen=True)
class Certificate:
    """The outcome of an exact certification.

    Attributes
    ----------
    identities : int
        Identities between two numbers decided by polynomial normal form; the other entries are
        equal because both sides do the same operations on numbers already proved equal.
    largest : int
        Terms of the largest polynomial met.
    seconds : float
        Time taken.
    """

    name: str
    sizes: dict[str, int]
    lengths: dict[str, int]
    groups: tuple[CertifiedGroup, ...]
    identities: int
    largest: int
    frozen: bool
    seconds: float

    @property
    def entries(self) -> int:
        """Number of entries that were to be certified."""
        return sum(g.entries for g in self.groups)

    @property
    def certified(self) -> int:
        """Number of entries proved equal without error."""
        return sum(g.certified for g in self.groups)

    @property
    def exact(self) -> bool:
        """Whether there is something to certify and all of it is."""
        return bool(self.groups) and all(g.certified == g.entries for g in self.groups)

    @property
    def different(self) -> tuple[str, ...]:
        """Entries proved different, with the form they differ in."""
        return tuple(f"{g.form}: {entry}" for g in self.groups for entry in g.different)

    @property
    def undecided(self) -> tuple[tuple[str, str], ...]:
        """Entries that are not decided, with the form, and the reason."""
        return tuple((f"{g.form}: {e}", why) for g in self.groups for e, why in g.undecided)

    @property
    def verdict(self) -> str:
        """``certified``, ``different`` or ``undecided``."""
        return "certified" if self.exact else "different" if self.different else "undecided"

    def with_groups_of(self, other: Certificate) -> Certificate:
        """This certificate and another one of the same network and sizes in one."""
        return Certificate(
            self.name,
            self.sizes,
            self.lengths,
            (*self.groups, *other.groups),
            self.identities + other.identities,
            max(self.largest, other.largest),
            self.frozen or other.frozen,
            self.seconds + other.seconds,
        )

    def document(self) -> dict[str, Any]:
        """The certificate as plain data for JSON."""
        return {
            "verdict": self.verdict,
            "sizes": self.sizes,
            "lengths": self.lengths,
            "entries": self.entries,
            "certified": self.certified,
            "identities": self.identities,
            "largest_polynomial": self.largest,
            "seconds": round(self.seconds, 4),
            "groups": [
                {
                    "form": g.form,
                    "what": g.what,
                    "entries": g.entries,
                    "certified": g.certified,
                    "different": list(g.different),
                    "undecided": [{"entry": e, "reason": why} for e, why in g.undecided],
                }
                for g in self.groups
            ],
        }

    def __str__(self) -> str:
        setting = ", ".join(f"{n} = {s}" for n, s in {**self.sizes, **self.lengths}.items())
        lines = [f"{self.name}: {self.verdict} exactly at {setting} ({self.seconds:.2f} s)"]
        if self.verdict != "certified":
            lines = [f"{self.name}: {self.verdict} at {setting} ({self.seconds:.2f} s)"]
        return "\n".join([*lines, *self.lines()])

    def lines(self) -> list[str]:
        """One line a form, then what is different and what is undecided and why."""
        forms: dict[str, list[CertifiedGroup]] = {}
        for g in self.groups:
            forms.setdefault(g.form, []).append(g)
        width = max((len(f) for f in forms), default=0)
        out = []
        for form, groups in forms.items():
            total, exact = sum(g.entries for g in groups), sum(g.certified for g in groups)
            line = f"  {form:<{width}}  {exact} of {total} entries certified"
            different = [e for g in groups for e in g.different]
            if different:
                line += f", different: {_listed(different)}"
            out.append(line)
            undecided = [pair for g in groups for pair in g.undecided]
            for reason, count in Counter(why for _, why in undecided).items():
                which = _listed([e for e, why in undecided if why == reason])
                out.append(f"  {'':<{width}}  undecided ({count}), {reason}: {which}")
        out.append(
            f"  {self.identities} identities decided by polynomial normal form, the largest of "
            f"{self.largest} terms"
        )
        if self.frozen:
            out.append(
                "  frozen values are held: this is by intent not the derivative of the loss as run"
            )
        return out


def _listed(entries: list[str]) -> str:
    more = f", … ({len(entries)} in all)" if len(entries) > _SHOWN else ""
    return ", ".join(entries[:_SHOWN]) + more
