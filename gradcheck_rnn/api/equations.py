"""Backward equations that somebody wrote, against the derivation of the cell they are of."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from .definitions import derive

if TYPE_CHECKING:
    from gradcheck_rnn.audit.note import Note
    from gradcheck_rnn.language.cell import Cell
    from gradcheck_rnn.language.network import Network

__all__ = ["check_equations", "write_note_report"]


def check_equations(
    note: str | os.PathLike[str],
    target: str | os.PathLike[str] | Cell | Network,
    *,
    names: Mapping[str, str] | None = None,
    notation: str | os.PathLike[str] | None = None,
    loss: str | None = None,
    seed: int = 0,
) -> Note:
    """Judge every equation of a note given the others, exactly, at random points of a prime field.

    Parameters
    ----------
    note : path
        A ``.tex``, ``.md`` or ``.ipynb`` file with LaTeX formulas, or plain text with one equation
        a line, as `derive` prints them or as NumPy assignments.
    target, loss
        As in `load`.
    names : mapping, optional
        The note's name → the definition's (``{"W_hh": "W"}``); ``{"delta": "d:i"}`` says that δ
        is the adjoint of the definition's i.
    notation : path, optional
        A notation file as `render` takes it: its names are those of the note.
    seed : int
        Of the random points.

    Returns
    -------
    Note
        `.lines` with a verdict each, `.passed`, `.to_json()`; print it.

    Raises
    ------
    UsageError
        The file cannot be read or has no equation; a name that the definition does not have.
    NotationError
        The notation file cannot be read or names an unknown symbol.
    """
    from gradcheck_rnn.audit.extraction import names_in, read_note
    from gradcheck_rnn.audit.judge import judge_at
    from gradcheck_rnn.audit.truth import Source
    from gradcheck_rnn.audit.vocabulary import Vocabulary
    from gradcheck_rnn.errors import UsageError
    from gradcheck_rnn.language.loops import at_most

    derivation = derive(target, loss=loss)
    with at_most(1):  # t counts substeps, so that a step may have one
        source = Source(derivation, seed)
        truth = source.known()
        renamed = dict(names or {})
        if notation is not None:
            renamed = {**names_in(notation, truth.values), **renamed}
        for theirs, ours in renamed.items():
            if not truth.knows(ours.removeprefix("d:")):
                there = ", ".join(n for n in truth.values if not n.startswith("g_"))
                raise UsageError(
                    f"names: {theirs!r} is to be {ours!r}, which {derivation.network.name!r} does "
                    f"not have; it has {there}"
                )
        return judge_at(source, read_note(note, Vocabulary.of(truth, renamed)))


def write_note_report(note: Note, title: str, *paths: str | os.PathLike[str]) -> None:
    """Write what was found about a note, as HTML or PDF.

    Parameters
    ----------
    title : str
        What was judged.
    paths : path
        Files ending in ``.html``, ``.pdf`` or ``.typ``.

    Raises
    ------
    UsageError
        A path that cannot be written, another suffix, missing packages.
    """
    from gradcheck_rnn.report.equations import note_report
    from gradcheck_rnn.report.typesetting import check_output, write

    for path in paths:
        check_output(path)
    manuscript = note_report(note, title)
    for path in paths:
        write(manuscript, path)
