"""The command `verify`: from what is named to an exit code."""

from __future__ import annotations

import contextlib
import math
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradcheck_rnn.cli.printing import emit_json
from gradcheck_rnn.cli.verdict_tables import (
    STYLES,
    account,
    annotate,
    annotate_misuse,
    code,
    keep,
    plain,
    say_lost,
    show,
    show_all,
    show_failing,
    waiting,
    wide_console,
)
from gradcheck_rnn.errors import GradcheckError, UsageError

if TYPE_CHECKING:
    from gradcheck_rnn.verify.limits import Limits
    from gradcheck_rnn.verify.pools import Pool
    from gradcheck_rnn.verify.session import Verification

__all__ = ["judge", "read_budget", "verify"]

#: A log of a machine that nobody watches gets a line after each of these shares of a plan.
LINES = 10


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
    timeout: str | None,
    memory: str | None,
    github: bool | None,
    as_json: bool,
    report: Sequence[Path] = (),
    quiet: bool = False,
    verbose: bool = False,
    **options: Any,
) -> int:
    """Verify what is named and print what was found.

    Parameters
    ----------
    targets : sequence of str
        All of the zoo with `every`; one by itself is told in full, several as a table.
    jobs, dask : int, str, optional
        Processes, or the address of a Dask cluster; one process when both are left out.
    timeout, memory : str, optional
        Limits of a case or kernel; see `verify.limits`.
    report : sequence of Path
        Write what was found as HTML or PDF, too.
    quiet, verbose : bool
        Print a line for what did not pass and nothing else, or everything that reports hold.
    **options
        Of `api.verify_many`: select, undecided, definition, loss.

    Returns
    -------
    int
        0 pass, 1 fail, 2 when a function of the user raises, 3 undecided.

    Raises
    ------
    GradcheckError
        Misuse, or a cluster that does not answer; one line for the caller to print.
    """
    from gradcheck_rnn import api
    from gradcheck_rnn.api.plans import GRAIN
    from gradcheck_rnn.verify.children import Child
    from gradcheck_rnn.verify.limits import Limits

    _one_of(quiet, verbose, as_json)
    if every == bool(targets):
        raise UsageError("give TARGETs to verify, or --all for the whole zoo")
    check_reports(report)
    limits = Limits.parse(timeout, memory)
    several = every or len(targets) > 1 or jobs is not None or dask is not None or shapes > 1
    if several and shape:
        raise UsageError("--shape repeats one check: give it one TARGET and no --jobs")
    pool = _pool(jobs, dask, limits)
    names = list(targets) or list(api.names())
    options.update(seed=seed, budget=read_budget(budget), select=options["select"] or None)
    # The user's code runs in a fork of this process, which keeps the account of it.
    with (
        waiting(f"verifying {names[0] if len(names) == 1 else f'{len(names)} targets'}") as note,
        contextlib.closing(Child(limits, fresh=False)) as child,
    ):
        try:
            found = api.verify_many(
                names, pool=pool, child=child, shapes=shapes if several else [shape],
                grain=GRAIN if several else None, keep_going=True,
                on_done=_progress(note, several), **options,
            )  # fmt: skip
        except GradcheckError as error:
            annotate_misuse(error, github, stderr=as_json)
            raise
    if not found:
        raise UsageError("there is nothing to verify: no target has what --select names")
    keep(found, report)
    say_lost(found)
    if as_json:
        emit_json(plain_plan(found) if several else plain(found[0]))
    elif any(v.reported for v in found) or any(r.mode != "error" for v in found for r in v):
        if quiet:
            show_failing(found)
        elif verbose:
            show_all(found)
        elif several:
            show_plan(found)
        else:
            show(wide_console(), found[0], options["budget"])
    annotate(found, github, stderr=as_json)
    return code(found)


def _progress(note: Callable[[str], None], several: bool) -> Callable[[int, int, str], None]:
    """Tell how far it is: on a terminal always, in a log that nobody watches now and then."""
    watched = sys.stderr.isatty()

    def tell(done: int, total: int, target: str) -> None:
        note(f"{done} of {total} checks done, {target} last")
        if several and not watched and done * LINES // total > (done - 1) * LINES // total:
            sys.stderr.write(f"{done} of {total} checks done\n")

    return tell


def _pool(jobs: int | None, dask: str | None, limits: Limits) -> Pool | None:
    from gradcheck_rnn.verify.pools import Cluster, Processes

    if dask is None:
        return None if jobs is None else Processes(jobs, limits)
    if jobs is not None:
        raise UsageError("--jobs and --dask exclude each other: the cluster has its own workers")
    if limits.timeout is not None or limits.memory is not None:
        raise UsageError("--timeout and --memory are for processes here, not for those of --dask")
    return Cluster(dask)


def judge(
    results: Sequence[str],
    against: Path | None,
    *,
    github: bool | None,
    as_json: bool,
    report: Sequence[Path] = (),
    quiet: bool = False,
    verbose: bool = False,
    **options: Any,
) -> int:
    """Judge a file of results by the vectors they are for; see `verify`."""
    from gradcheck_rnn import api

    if len(results) != 1:
        raise UsageError("--against wants one TARGET: the file or folder of results to be judged")
    check_reports(report)
    _one_of(quiet, verbose, as_json)
    done = api.judge_results(results[0], against, **options)
    keep([done], report)
    if as_json:
        emit_json(plain(done))
    elif quiet:
        show_failing([done])
    elif verbose:
        show_all([done])
    else:
        show(wide_console(), done)
    annotate([done], github, stderr=as_json)
    return code([done])


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


def holds_results(targets: Sequence[str]) -> str:
    """The target that is a folder of vectors, if any; a cell of the zoo wins (``./lstm``)."""
    for target in targets:
        if os.path.isdir(target):  # a name may be too long for a path
            from gradcheck_rnn import api
            from gradcheck_rnn.verify.vectorfolder import is_folder

            if target not in api.names() and is_folder(target):
                return target
    return ""


def refuse_beside_against(folder: str, **given: Any) -> None:
    """Options of a check say nothing about results that were computed elsewhere.

    Parameters
    ----------
    folder
        The folder of vectors that is judged by itself; empty with ``--against``.
    given
        Values of options by name.

    Raises
    ------
    UsageError
        One of them is given.
    """
    beside = f"the folder of vectors {folder}" if folder else "--against"
    for name, value in given.items():
        if value:
            option = "--all" if name == "every" else f"--{name}"
            raise UsageError(
                f"{option} says nothing beside {beside}: results are judged as they are, in the "
                "layout that the vectors were written in"
            )


def refuse_without_against(dtype: str | None) -> None:
    """The format of results belongs to --against; a kernel's is its module's own.

    Raises
    ------
    UsageError
        It is given.
    """
    if dtype is not None:
        raise UsageError("--dtype is the number format of results; give --against with it")


def _one_of(quiet: bool, verbose: bool, as_json: bool) -> None:
    if quiet + verbose + as_json > 1:
        raise UsageError("give one of --quiet, --verbose and --json")


def read_budget(text: str | None) -> int | str | None:
    """A plain number counts evaluations, ``10s`` is seconds."""
    return int(text) if text is not None and text.strip().isdigit() else text


if TYPE_CHECKING:
    from gradcheck_rnn.verify.session import Verification

__all__ = ["plain_plan", "show_plan"]


def _verdict(found: Sequence[Verification]) -> str:
    if not found:
        return "undecided"
    verdicts = [str(v.verdict) for v in found]
    return next((v for v in ("fail", "undecided") if v in verdicts), "pass")


def plain_plan(found: Sequence[Verification]) -> dict[str, Any]:
    """As docs/json-schema/verify.json has it."""
    return {
        "kind": "plan",
        "verdict": _verdict(found),
        "passed": bool(found) and all(v.passed for v in found),
        "accounting": account(found),
        "verifications": [plain(v) for v in found],
    }


def show_plan(found: Sequence[Verification]) -> None:
    """Print a table of verifications, and those that did not pass in full."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    out = wide_console()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("target", "shape", "verdict", "gradients", "error÷bound", "not seen below"):
        table.add_column(column, justify="left" if column in ("target", "verdict") else "right",
                         no_wrap=True)  # fmt: skip
    for v in found:
        rows = [row for report in v for row in report.rows if report.mode != "forward"]
        blind = [row.resolution for row in rows]
        verdict = str(v.verdict)
        table.add_row(
            Text(v.target), v.options[-1] if "--shape" in v.options else "0",
            Text(verdict, style=STYLES[verdict]), str(len(rows)),
            _number(max((row.ratio for row in rows), default=math.nan)),
            _number(max(blind, default=math.nan)),
        )  # fmt: skip
    out.print(table)
    for v in found:
        if str(v.verdict) != "pass":
            show(out, v)
    passed = sum(v.passed for v in found)
    evaluations = sum(report.evaluations for v in found for report in v)
    verdict = _verdict(found)
    out.print(
        f"{verdict}: {passed} of {len(found)} passed ({evaluations} loss evaluations)",
        style=STYLES[verdict], markup=False, soft_wrap=True,
    )  # fmt: skip


def _number(x: float) -> str:
    return f"{x:.2g}" if math.isfinite(x) else "–"
