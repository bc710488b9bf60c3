"""`verify` of many targets: one line each, then the whole story of what did not pass."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gradcheck_rnn.cli.codes import MISUSE
from gradcheck_rnn.cli.printing import emit_json
from gradcheck_rnn.cli.verdicts import (
    STYLES,
    annotate,
    code,
    keep,
    plain,
    show,
    waiting,
    wide_console,
)

if TYPE_CHECKING:
    from pathlib import Path

    from gradcheck_rnn.verify.pools import Pool
    from gradcheck_rnn.verify.session import Verification

__all__ = ["verify"]

#: A log of a machine that nobody watches gets a line after each of these shares of a plan.
LINES = 10


def verify(
    targets: Sequence[str],
    *,
    jobs: int | None,
    dask: str | None,
    github: bool | None,
    as_json: bool,
    report: Sequence[Path] = (),
    **options: Any,
) -> int:
    """Verify targets, all of the zoo if none is named, and print what was found.

    Parameters
    ----------
    jobs, dask : int, str, optional
        Processes, or the address of a Dask cluster; in this process when both are left out.
    report : sequence of Path
        Write what was found as HTML or PDF, too.
    **options
        Of `api.verify_many`.

    Returns
    -------
    int
        0 pass, 1 fail, 2 when a function of the user raises, 3 undecided.

    Raises
    ------
    GradcheckError
        Misuse, or a cluster that does not answer.
    """
    from gradcheck_rnn import api, loading
    from gradcheck_rnn.errors import GradcheckError, UsageError
    from gradcheck_rnn.verify.executors import RemoteError

    if jobs is not None and dask is not None:
        raise UsageError("--jobs and --dask exclude each other: the cluster has its own workers")
    names = list(targets) or list(api.names())
    with waiting(f"verifying {len(names)} targets") as note, _quiet():
        watched = _watched()

        def on_done(done: int, total: int, target: str) -> None:
            note(f"{done} of {total} chunks done, {target} last")
            if not watched and done * LINES // total > (done - 1) * LINES // total:
                sys.stderr.write(f"{done} of {total} chunks done\n")

        try:
            found = api.verify_many(names, pool=_pool(jobs, dask), on_done=on_done, **options)
        except RemoteError as error:
            failure = error.traceback
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
    keep(found, report)
    if as_json:
        emit_json(_plain(found))
    else:
        _show(found)
    annotate(found, github, stderr=as_json)
    return code(found)


def _quiet() -> contextlib.AbstractContextManager[Any]:
    """What the user's code prints is not ours; stdout is."""
    return contextlib.redirect_stdout(sys.stderr)


def _watched() -> bool:
    return sys.stderr.isatty()


def _pool(jobs: int | None, dask: str | None) -> Pool | None:
    from gradcheck_rnn.verify.pools import Cluster, Processes

    if dask is not None:
        return Cluster(dask)
    return None if jobs is None else Processes(jobs)


def _verdict(found: Sequence[Verification]) -> str:
    verdicts = [str(v.verdict) for v in found]
    return next((v for v in ("fail", "undecided") if v in verdicts), "pass")


def _plain(found: Sequence[Verification]) -> dict[str, Any]:
    """As docs/json-schema/verify.json has it."""
    return {
        "kind": "plan",
        "verdict": _verdict(found),
        "passed": all(v.passed for v in found),
        "verifications": [plain(v) for v in found],
    }


def _show(found: Sequence[Verification]) -> None:
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
