"""What was found about the lines of a note."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

__all__ = ["RIGHT", "Judged", "Note", "Status"]

Status = Literal["right", "convention", "consistent", "wrong", "own", "not understood"]
#: Verdicts under which a line is right.
RIGHT: tuple[Status, ...] = ("right", "convention", "consistent")
_WORDS: dict[str, str] = {
    "right": "right",
    "convention": "right in a convention",
    "consistent": "right with the note's own definitions",
    "wrong": "WRONG",
    "own": "the note's own quantity",
    "not understood": "not understood",
}


@dataclass
class Judged:
    """One line and what was found.

    Attributes
    ----------
    status : str
        ``"right"``; ``"convention"``: right in the sense that ``why`` names; ``"consistent"``:
        right with what the author's other lines define, though not with ∂L/∂(·) of those names;
        ``"wrong"``; ``"own"``: it defines a quantity of the author's; ``"not understood"``.
    why : str
        What was not understood, the convention, or what is wrong.
    derived : str
        The derived line, for a wrong one.
    evidence : str
        Where and by how much it is wrong: an entry, with both numbers.
    one_unit : bool
        A wrong line that is right where every dim is 1.
    misfit : bool
        Shapes do not fit in this convention.
    """

    text: str
    line: int
    status: Status
    defines: str = ""
    why: str = ""
    derived: str = ""
    evidence: str = ""
    one_unit: bool = False
    misfit: bool = False


@dataclass
class Note:
    """All lines of a note, in order, and the convention in which most of them are right."""

    cell: str
    convention: str = "columns"
    loss: tuple[str, ...] | None = None
    lines: list[Judged] = field(default_factory=list)

    def count(self, *status: str) -> int:
        """How many lines have one of these verdicts."""
        return sum(j.status in status for j in self.lines)

    @property
    def passed(self) -> bool:
        """Nothing wrong, nothing not understood, and at least one line judged."""
        return bool(self.count(*RIGHT)) and not self.count("wrong", "not understood")

    def to_json(self) -> dict[str, Any]:
        """Plain data for `json.dumps`."""
        return {
            "cell": self.cell,
            "convention": self.convention,
            "loss_of": None if self.loss is None else list(self.loss),
            "passed": self.passed,
            "lines": [asdict(j) for j in self.lines],
        }

    def __str__(self) -> str:
        """Every line with its verdict; for a wrong one what is wrong, the derived line, numbers."""
        counts = [f"{self.count(s)} {_WORDS[s]}" for s in _WORDS if self.count(s)]
        sense = self.convention
        if self.loss is not None:
            sense += f", a loss of {', '.join(self.loss)} alone"
        out = [f"{self.cell}, read as {sense}: {', '.join(counts)}"]
        width = max((len(_WORDS[j.status]) for j in self.lines), default=0)
        for j in self.lines:
            out.append(f"  line {j.line:<4} {_WORDS[j.status]:<{width}}  {j.text}")
            if j.status == "wrong":
                out.append(f"    what      {j.why}")
                out += [f"    derived   {j.derived}"] if j.derived else []
                out += [f"    numbers   {j.evidence}"] if j.evidence else []
            elif j.why and j.status in ("not understood", "convention"):
                out.append(f"    {j.why}")
            if j.one_unit:
                out.append("    with one unit (all dims 1) it is right")
        return "\n".join(out)
