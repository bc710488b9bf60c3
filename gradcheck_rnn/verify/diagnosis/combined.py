"""Judged lines and the search together: the lines say where, the search says what."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ...derivation import Derivation, derive
from ...derivation.edits import Edits
from ...language.network import Network
from ..outcome import Diagnosis
from ..verdict import Finding, Row, Verdict

__all__ = ["beside_lines", "needs_search"]


def needs_search(lines: Sequence[Row]) -> bool:
    """Whether no line is wrong, or it is not known what stands in one that is."""
    wrong = [line for line in lines if line.verdict is Verdict.FAIL]
    return not wrong or any(not line.told("mistake") for line in wrong)


def beside_lines(found: Diagnosis, lines: Sequence[Row], network: Network) -> Diagnosis:
    """The result of a search without what the judged lines refute; wrong lines tell it.

    A mistake that makes the gradients and would be in a line that is right is dropped where
    another one is left. Nothing is changed where no line is wrong.
    """
    wrong = [line for line in lines if line.verdict is Verdict.FAIL]
    if not wrong:
        return found
    right = {line.source for line in lines} - {line.source for line in wrong}
    derivation = derive(network)
    good = [c for c in found.candidates if not right & set(_targets(c.edits, derivation))]
    candidates = good or found.candidates
    ids = {c.id for c in candidates}
    matches = [m for m in found.matches if m.id in ids]
    says = "; or ".join(m.message for m in matches)
    for line in wrong:
        if says and not line.told("mistake"):
            line.reasons = (*line.reasons, Finding("by-gradients", says))
    return replace(found, matches=matches, candidates=candidates, steps="")


def _targets(edits: Edits, derivation: Derivation) -> Iterator[str]:
    """Names whose lines are edited."""
    for edge in edits.edges:
        yield derivation.edge(edge).operand.name
