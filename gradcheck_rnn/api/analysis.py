"""Gradient decay, and reports of everything."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradcheck_rnn.checks import check_path, shown
from gradcheck_rnn.errors import UsageError

from .definitions import derive, load, prove
from .verification import kernel_of

if TYPE_CHECKING:
    from gradcheck_rnn.dynamics.analysis import Analysis
    from gradcheck_rnn.language.cell import Cell
    from gradcheck_rnn.language.network import Network
    from gradcheck_rnn.report.manuscript import Manuscript
    from gradcheck_rnn.verify.outcome import Report

__all__ = ["decay", "report", "report_plain"]


def decay(
    target: str | os.PathLike[str] | Cell | Network,
    *,
    weights: str | os.PathLike[str] | None = None,
    loss: str | None = None,
    **options: Any,
) -> list[Analysis]:
    """See where the gradient of a recurrent network goes.

    Parameters
    ----------
    target, loss
        As in `load`.
    weights : path, optional
        ``.npz``, ``.safetensors`` or ``.pt``: parameters by the network's names, or a PyTorch
        state_dict of RNN, LSTM or GRU layers. Drawn when left out.
    **options
        Of `gradcheck_rnn.dynamics.model_source.follow`: ``inputs``, ``steps``, ``sizes``, ``init``,
        ``gain``, ``seed``, ``start``, ``draws``, ``burn_in``, ``remedies``, ``device``, ``name``,
        ``progress``, ``announce``.

    Returns
    -------
    list of Analysis
        One for each recurrence (time axis and direction) of the network.

    Raises
    ------
    UsageError
        Files that cannot be read or do not fit, inputs that are too short, a trajectory that
        diverges.
    """
    from gradcheck_rnn import cells
    from gradcheck_rnn.cells.bidirectional import join
    from gradcheck_rnn.dynamics.model_source import follow

    kinds = {"rnn": "elman_hidden", "gru": "gru_reset_after", "lstm": "lstm"}
    layers = {kind: cells.get(n).scans[0].cell for kind, n in kinds.items()}
    file = None if weights is None else check_path(weights, "weights")
    return follow(load(target, loss=loss), file, layers, join, **options)


def report(
    subject: str | os.PathLike[str] | Cell | Network | Sequence[Report] | Sequence[Analysis],
    *paths: str | os.PathLike[str],
    notation: str | os.PathLike[str] | None = None,
    loss: str | None = None,
    slides: bool = False,
    progress: Callable[[str], None] = lambda stage: None,
) -> list[Path]:
    """Write a report as HTML or PDF, one self-contained file each.

    Parameters
    ----------
    subject : str, os.PathLike, Cell, Network, sequence of Report or of Analysis
        A cell as in `load`: its derivation, proof, verification and kernel. The result of `verify`
        or of `decay`: what was found.
    *paths : str or os.PathLike
        ``.html``, ``.pdf`` or ``.typ`` (the typst source without its pictures); several are made
        from one computation.
    notation : path, optional
        As in `render`.
    loss : str, optional
        As in `load`.
    slides : bool
        The equations of a cell on slides for a lecture, ``.pdf`` or ``.typ``, instead of a chapter.
    progress : callable, optional
        Called with the name of each stage as it begins.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    UsageError
        Another suffix, a path that cannot be written, missing packages; before any work.
    GradcheckError
        As `derive`.
    """
    from gradcheck_rnn.report.typesetting import check_output, need_extra, write

    if not paths:
        raise UsageError("a report needs a file to be written to")
    need_extra()
    for path in paths:
        out = check_output(check_path(path, "the path of a report"))
        if slides and out.suffix.lower() == ".html":
            raise UsageError(f"cannot write slides to {out}: give .pdf or .typ")
    if slides:
        manuscript = _slides(subject, notation, loss)
    else:
        manuscript = _manuscript(subject, notation, loss, progress)
    progress("typesetting")
    return [write(manuscript, path) for path in paths]


def report_plain(
    reports: Sequence[Mapping[str, Any]], *paths: str | os.PathLike[str]
) -> list[Path]:
    """Write the report of verifications kept as plain data.

    Parameters
    ----------
    reports : sequence of mapping
        The key ``reports`` of ``verify --json`` or of pytest's ``--gradcheck-report``.
    *paths : str or os.PathLike
        As in `report`.
    """
    from gradcheck_rnn.report.verification import reports_of

    return report(reports_of(reports), *paths)


def _slides(subject: Any, notation: str | os.PathLike[str] | None, loss: str | None) -> Manuscript:
    """The slides of a cell."""
    from gradcheck_rnn.report.derivation import notation_of
    from gradcheck_rnn.report.slides import slides

    if isinstance(subject, list | tuple):
        raise UsageError("slides are of a cell, not of results")
    derivation = derive(load(subject, loss=loss))
    return slides(derivation, notation=notation_of(derivation, notation))


def _manuscript(
    subject: Any,
    notation: str | os.PathLike[str] | None,
    loss: str | None,
    progress: Callable[[str], None],
) -> Manuscript:
    """The manuscript of a report, not yet typeset."""
    from gradcheck_rnn.verify.outcome import Report

    if isinstance(subject, list | tuple):
        if all(isinstance(r, Report) for r in subject):
            from gradcheck_rnn.report.verification import verification_report

            return verification_report(subject)
        from gradcheck_rnn.dynamics.analysis import Analysis
        from gradcheck_rnn.report.decay import decay_report

        wrong = [x for x in subject if not isinstance(x, Analysis)]
        if wrong:
            raise UsageError(
                f"{shown(wrong[0])} is no result: a report is of a cell, or of what verify or "
                "decay returned"
            )
        return decay_report(subject)
    from gradcheck_rnn.report.derivation import derivation_report, notation_of

    progress("derivation")
    network = load(subject, loss=loss)
    derivation = derive(network)
    chosen = notation_of(derivation, notation)
    progress("proof")
    proof = prove(network)
    progress("verification")
    kernel, text = kernel_of(network)
    found = _checks(network, kernel)
    progress("writing")
    return derivation_report(derivation, notation=chosen, proof=proof, reports=found, kernel=text)


#: Entries × equations that a report may perturb: more would keep its reader waiting. The first
#: checks of a large network are shown, those of a very large one along random directions;
#: `verify` runs them all, entry by entry.
MOST_WORK = 15_000
DIRECTIONS = 400


def _checks(network: Network, kernel: Any) -> list[Report]:
    """The first checks of a kernel, as many as a reader will wait for, at a fixed seed."""
    from itertools import islice

    from gradcheck_rnn.verify.kernel_check import check_kernel
    from gradcheck_rnn.verify.points import draw_point

    entries = sum(a.size for a in draw_point(network, 1).differentiated.values())
    equations = sum(len(s.equations) for s in network.scans)
    affordable = MOST_WORK // max(1, entries * equations)
    checks = check_kernel(
        network, kernel, seed=1, budget=lambda left: None if affordable else DIRECTIONS
    )
    return list(islice(checks, 1 + max(1, affordable)))
