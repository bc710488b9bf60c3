"""The command `check-equations`: a note's backward equations, line by line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gradcheck_rnn.cli.codes import FAIL, PASS, UNDECIDED
from gradcheck_rnn.cli.printing import console, emit_json
from gradcheck_rnn.cli.verifying import check_reports
from gradcheck_rnn.errors import UsageError

__all__ = ["check_equations"]


def check_equations(
    note: Path,
    cell: str,
    *,
    names: Sequence[str],
    notation: Path | None,
    loss: str | None,
    seed: int,
    as_json: bool,
    report: Sequence[Path],
) -> int:
    """Judge the lines of a note and print what was found.

    Returns
    -------
    int
        0 all right, 1 a line is wrong, 3 a line is not understood, or none was judged.

    Raises
    ------
    UsageError
        A name that is not ``THEIRS=OURS``; a report that cannot be written.
    """
    from gradcheck_rnn import api

    check_reports(report)
    given = {}
    for text in names:
        theirs, equals, ours = text.partition("=")
        if not equals or not theirs or not ours:
            raise UsageError(f"--name {text!r} is not THEIRS=OURS, such as W_hh=W or delta=d:i")
        given[theirs] = ours
    found = api.check_equations(note, cell, names=given, notation=notation, loss=loss, seed=seed)
    if report:
        api.write_note_report(found, note.name, *report)
    if as_json:
        emit_json(found.to_json())
    else:
        console().print(str(found), markup=False, highlight=False, soft_wrap=True)
    if found.count("wrong"):
        return FAIL
    return PASS if found.passed else UNDECIDED
