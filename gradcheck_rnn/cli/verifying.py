"""The command `verify`: from what is named to an exit code."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradcheck_rnn.cli.codes import MISUSE
from gradcheck_rnn.cli.printing import emit_json
from gradcheck_rnn.cli.verdicts import annotate, code, keep, plain, show, waiting, wide_console
from gradcheck_rnn.errors import GradcheckError, UsageError

if TYPE_CHECKING:
    from gradcheck_rnn.verify import Report
    from gradcheck_rnn.verify.session import Verification

__all__ = ["judge", "verify"]


def verify(
    targets: Sequence[str],
    *,
    every: bool,
    seed: str | None,
    budget: str | None,
    shape: int,
    shapes: int,
    jobs: int | None,
    dask: str | None,
    github: bool | None,
    as_json: bool,
    report: Sequence[Path] = (),
    **options: Any,
) -> int:
    """Verify what is named and print what was found.

    Parameters
    ----------
    targets : sequence of str
        One is verified here; several, or one with `jobs`, `dask` or `shapes`, are a plan.
    report : sequence of Path
        Write what was found as HTML or PDF, too.
    **options
        Of `api.verify`: select, undecided, definition, loss.

    Returns
    -------
    int
        0 pass, 1 fail, 2 when a function of the user raises, 3 undecided.

    Raises
    ------
    GradcheckError
        Misuse; one line for the caller to print.
    """
    if every == bool(targets):
        raise UsageError("give TARGETs to verify, or --all for the whole zoo")
    check_reports(report)
    options.update(seed=seed, budget=_budget(budget), select=options["select"] or None)
    if every or len(targets) > 1 or jobs is not None or dask is not None or shapes > 1:
        if shape:
            raise UsageError("--shape repeats one check: give it one TARGET and no --jobs")
        from gradcheck_rnn.cli import planning

        return planning.verify(
            targets, jobs=jobs, dask=dask, shapes=shapes, github=github, as_json=as_json,
            report=report, **options,
        )  # fmt: skip
    return _verify_one(targets[0], shape, github, as_json, report, options)


def _verify_one(
    target: str,
    shape: int,
    github: bool | None,
    as_json: bool,
    report: Sequence[Path],
    options: dict[str, Any],
) -> int:
    from gradcheck_rnn import api, loading

    reports: list[Report] = []
    with waiting(f"verifying {target}") as note, contextlib.redirect_stdout(sys.stderr):

        def on_report(report: Report, left: int) -> None:
            reports.append(report)
            note(f"{target}: {report.title.rpartition(': ')[2]} done, {left} to come")

        try:
            done = api.verify(target, shape=shape, on_report=on_report, **options)
        except GradcheckError:
            raise
        except Exception as error:
            frames = loading.user_frames(error)
            if not frames:
                raise
            failure = loading.shorten("".join(frames))
        else:
            failure = ""
    if failure:
        sys.stderr.write(failure)
        return MISUSE
    keep([done], report)
    return _tell(done, github, as_json, options["budget"])


def judge(
    results: Sequence[str],
    against: Path,
    *,
    github: bool | None,
    as_json: bool,
    report: Sequence[Path] = (),
    **options: Any,
) -> int:
    """Judge a file of results by the vectors they are for; see `verify`."""
    from gradcheck_rnn import api

    if len(results) != 1:
        raise UsageError("--against wants one TARGET: the file of results to be judged")
    check_reports(report)
    done = api.judge_results(results[0], against, **options)
    keep([done], report)
    return _tell(done, github, as_json)


def check_reports(paths: Sequence[Path]) -> None:
    """Say before the work that a report cannot be written.

    Raises
    ------
    UsageError
        The extra is not installed, a path cannot be written or its format is unknown.
    """
    if paths:
        from gradcheck_rnn.report.typesetting import check_output, need_extra

        need_extra()
        for path in paths:
            check_output(path)


def refuse_beside_against(**given: Any) -> None:
    """Options of a check say nothing about results that were computed elsewhere.

    Raises
    ------
    UsageError
        One of them is given.
    """
    for name, value in given.items():
        if value:
            option = "--all" if name == "every" else f"--{name}"
            raise UsageError(f"{option} says nothing beside --against, which judges given results")


def refuse_without_against(dtype: str | None) -> None:
    """The format of results belongs to --against; a kernel's is its module's own.

    Raises
    ------
    UsageError
        It is given.
    """
    if dtype is not None:
        raise UsageError("--dtype is the number format of results; give --against with it")


def _tell(
    done: Verification, github: bool | None, as_json: bool, budget: int | str | None = None
) -> int:
    if as_json:
        emit_json(plain(done))
    else:
        show(wide_console(), done, budget)
    annotate([done], github, stderr=as_json)
    return code([done])


def _budget(text: str | None) -> int | str | None:
    """A plain number counts evaluations, ``10s`` is seconds."""
    return int(text) if text is not None and text.strip().isdigit() else text
