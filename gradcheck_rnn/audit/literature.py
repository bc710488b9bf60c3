"""Published derivations as data: read, judged, and judged again by finite differences.

A file of claims is one source: its author, title, year and address, and its equations in the
notation that `check-equations` reads. Claims that are no equation (decay, bounds) name a function
that computes numbers.
"""

from __future__ import annotations

import importlib.util
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..derivation.program import Derivation
from ..errors import UsageError
from .conventions import CONVENTIONS
from .difference_quotients import Differences
from .extraction import read_lines
from .judge import judge_at
from .line_values import Judge
from .note import RIGHT, Judged, Note
from .tree import Written
from .truth import Source
from .vocabulary import Vocabulary
from .wrong_lines import Naming

__all__ = ["VERDICTS", "Audit", "Claim", "Publication", "Result", "read_claims"]

#: From best to worst; the last is for statements that have no truth value.
VERDICTS = ("right", "right in a convention", "right for one unit", "wrong", "not understood")


@dataclass(frozen=True)
class Claim:
    """One statement of a publication.

    Attributes
    ----------
    at : str
        Equation number or place.
    cell : str
        A system of the zoo, or ``cells.py:name`` beside the file.
    lines : tuple of str
        The claim as equations; all must be right for it to be right.
    given : tuple of str
        Equations of the author that the claim reads (own quantities), not judged here.
    check : str
        A function of ``decay.py`` beside the file, for a claim that is no equation.
    expects : str
        One of `VERDICTS`.
    says, remark : str
        What it states, in words of ours; what is to be said of it.
    """

    at: str
    expects: str
    cell: str = ""
    lines: tuple[str, ...] = ()
    given: tuple[str, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    check: str = ""
    says: str = ""
    remark: str = ""


@dataclass(frozen=True)
class Publication:
    """A source with its claims."""

    key: str
    author: str
    title: str
    year: str
    address: str
    kind: str
    claims: tuple[Claim, ...]


@dataclass(frozen=True)
class Result:
    """What was found about a claim.

    Attributes
    ----------
    verdict : str
        One of `VERDICTS`.
    sense : str
        The convention in which it is right.
    what, derived, numbers : str
        What is wrong, the derived equation, the counter-example in numbers.
    again : str
        The verdict by finite differences alone, with their numbers for a wrong claim.
    agrees : bool
        Both verdicts are the same, and a wrong claim has numbers.
    """

    claim: Claim
    verdict: str
    sense: str = ""
    what: str = ""
    derived: str = ""
    numbers: str = ""
    again: str = ""
    agrees: bool = True

    @property
    def expected(self) -> bool:
        """Whether the verdict is the one that the data has."""
        return self.verdict == self.claim.expects


def read_claims(folder: Path) -> list[Publication]:
    """All ``*.toml`` of a folder, in the order of their names.

    Raises
    ------
    UsageError
        A file is no TOML, or lacks something.
    """
    out = []
    for path in sorted(folder.glob("*.toml")):
        try:
            data = tomllib.loads(path.read_text(encoding="utf-8"))
            claims = tuple(_claim(c) for c in data.pop("claim"))
            source = Publication(path.stem, claims=claims, **data)
        except (tomllib.TOMLDecodeError, KeyError, TypeError) as problem:
            raise UsageError(f"{path}: {problem}") from None
        for claim in source.claims:
            if claim.expects not in VERDICTS or bool(claim.check) == bool(claim.lines):
                raise UsageError(f"{path}, {claim.at}: a verdict of {VERDICTS}, lines or a check")
        out.append(source)
    return out


def _claim(data: dict[str, Any]) -> Claim:
    given: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
    return Claim(**given)


class Audit:
    """Judges claims; derivations and points are kept from one claim to the next.

    Parameters
    ----------
    folder : Path
        Where the claims are, with ``cells.py`` and ``decay.py``.
    derive : callable
        Name of a cell, or file and name → its derivation.
    """

    def __init__(self, folder: Path, derive: Callable[[str], Derivation]) -> None:
        self.folder, self.derive = folder, derive
        self._sources: dict[str, tuple[Source, Source]] = {}
        self._checks: Any = None

    def judge(self, claim: Claim) -> Result:
        """The verdict on one claim, and the second opinion."""
        return self._computed(claim) if claim.check else self._equations(claim)

    def _source(self, cell: str) -> tuple[Source, Source]:
        if cell not in self._sources:
            target = str(self.folder / cell) if ".py:" in cell else cell
            derivation = self.derive(target)
            self._sources[cell] = Source(derivation), Source(derivation, make=Differences.of)
        return self._sources[cell]

    def _equations(self, claim: Claim) -> Result:
        exact, measured = self._source(claim.cell)
        text = [*claim.given, *claim.lines]
        read = read_lines(text, Vocabulary.of(exact.known(), claim.names))
        # A line of several equals signs is several claims.
        judged = [k for k, e in enumerate(read) if e.line > len(claim.given)]
        note = judge_at(exact, read)
        lines = [note.lines[k] for k in judged]
        verdict = _verdict(lines, claim)
        second = judge_at(measured, read, explain=False)
        again = _verdict([second.lines[k] for k in judged], claim)
        bad = next((k for k in judged if note.lines[k].status == "wrong"), None)
        numbers = "" if bad is None else self._numbers(exact, measured, read, bad, note)
        wrong = note.lines[bad] if bad is not None else Judged("", 0, "right")
        sense = "" if note.convention == "columns" else note.convention
        whys = [j.why for j in lines if j.status in RIGHT and j.why]
        if note.loss is not None:
            whys.insert(0, f"a loss of {', '.join(note.loss)} alone")
        unread = [j.why for j in lines if j.status == "not understood"]
        return Result(
            claim, verdict, "; ".join(dict.fromkeys([x for x in (sense, *whys) if x])),
            wrong.why or "; ".join(unread), wrong.derived, wrong.evidence, numbers or again,
            again == verdict and (bad is None or bool(numbers)),
        )  # fmt: skip

    def _numbers(
        self, exact: Source, source: Source, read: Sequence[Written | Judged], bad: int, note: Note
    ) -> str:
        """A counter-example by finite differences: the line and the quantity itself."""
        convention = next(c for c in CONVENTIONS if c.name == note.convention)
        lines = Judge(exact.known(outputs=note.loss), convention, read)
        lines.here = bad
        e = read[bad]
        assert isinstance(e, Written)
        return Naming(lines, exact, note.loss).evidence(e, source)

    def _computed(self, claim: Claim) -> Result:
        if self._checks is None:
            spec = importlib.util.spec_from_file_location("decay", self.folder / "decay.py")
            assert spec is not None
            assert spec.loader is not None
            self._checks = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(self._checks)
        check = getattr(self._checks, claim.check, None)
        if check is None:
            raise UsageError(f"{claim.at}: decay.py has no {claim.check!r}")
        verdict, numbers = check()
        return Result(
            claim, verdict, numbers=numbers, again="computed directly", agrees=bool(numbers)
        )


def _verdict(lines: Sequence[Judged], claim: Claim) -> str:
    """The verdict on a claim by those on its lines.

    That a wrong equation is right for one unit excuses it only where the data says that its source
    leaves the dims open.
    """
    bad = [j for j in lines if j.status in ("wrong", "not understood")]
    if not bad:
        plain = all(j.status in ("right", "own") for j in lines)
        return (
            "right" if lines and plain else "right in a convention" if lines else "not understood"
        )
    if claim.expects == "right for one unit" and all(j.one_unit for j in bad):
        return "right for one unit"
    return "wrong" if any(j.status == "wrong" for j in bad) else "not understood"
