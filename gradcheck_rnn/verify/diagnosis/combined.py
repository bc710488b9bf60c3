"""Judged lines and the search together: the lines say where, the search says what."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ...derivation import Derivation, derive
from ...derivation.edits import Edits
from ...language.network import Network
from .lines import Line
from .search import Diagnosis

__all__ = ["beside_lines", "needs_search", "of_lines"]


def needs_search(lines: Sequence[Line]) -> bool:
    """Whether no line is wrong, or it is not known what stands in one that is."""
    wrong = [line for line in lines if line.verdict == "wrong"]
    return not wrong or any(not line.said for line in wrong)


def beside_lines(found: Diagnosis, lines: Sequence[Line], network: Network) -> Diagnosis:
    """The result of a search without what the judged lines refute; wrong lines tell it.

    A mistake that makes the gradients and would be in a line that is right is dropped where
    another one is left. Nothing is changed where no line is wrong.
    """
    wrong = [line for line in lines if line.verdict == "wrong"]
    if not wrong:
        return found
    right = {line.name for line in lines if line.verdict == "right"}
    right -= {line.name for line in wrong}
    derivation = derive(network)
    good = [m for m in found.matches if not right & set(_targets(m.candidate.edits, derivation))]
    matches = good or found.matches
    says = "; or ".join(m.candidate.says for m in matches)
    for line in wrong:
        if not line.said:
            line.searched = says
    return replace(found, matches=matches, steps="")


def _targets(edits: Edits, derivation: Derivation) -> Iterator[str]:
    """Names whose lines are edited."""
    own = (*edits.terms, *edits.only_steps, *edits.skip_steps, *edits.pinned)
    for edge in {*own, *(edge for _, edge in edits.shares)}:
        yield derivation.edge(edge).operand.name


def of_lines(lines: Sequence[Line]) -> Diagnosis:
    """The diagnosis where the judged lines tell what is wrong."""
    wrong = [line for line in lines if line.verdict == "wrong"]
    return Diagnosis(wrong=[line.name for line in wrong], where=[str(line) for line in wrong])
