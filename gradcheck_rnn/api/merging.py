"""The results of chunks put together again, every planned case with a report or a reason."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from gradcheck_rnn import loading
from gradcheck_rnn.verify.children import Crash
from gradcheck_rnn.verify.executor_chunks import Raised
from gradcheck_rnn.verify.session import LostKind, Verification, lost

if TYPE_CHECKING:
    from gradcheck_rnn.verify.outcome import Report

    from .chunks import Chunk
    from .verification import Undecided

__all__ = ["merged"]

#: Kinds of `Raised` as modes of reports.
KINDS: dict[str, LostKind] = {
    "misuse": "error", "user": "error", "exit": "exit", "memory": "memory",
}  # fmt: skip


def merged(
    plan: Sequence[Chunk], results: Sequence[Any], undecided: Undecided
) -> Iterator[Verification]:
    """Chunks of one target and shape: rows side by side, costs added.

    Parameters
    ----------
    plan : sequence of Chunk
        What was to be done.
    results : sequence
        For each chunk its reports, a `Crash`, a `Raised`, or None if nothing came back.
    undecided : {"fail", "warn"}
        As in `api.verify`.
    """
    together: dict[tuple[int, int], list[tuple[Chunk, Any]]] = {}
    for chunk, result in zip(plan, results, strict=True):
        together.setdefault((chunk.number, chunk.shape), []).append((chunk, result))
    for parts in together.values():
        first = parts[0][0]
        said = {
            "--layout": first.layout, "--definition": first.definition, "--loss": first.loss,
        }  # fmt: skip
        options = [w for k, v in said.items() if v is not None for w in (k, v)]
        options += ["--shape", str(first.shape)] if first.shape else []
        done = Verification(
            target=first.target, kind="kernel" if first.case is None else "cases",
            undecided=undecided, options=options,
        )  # fmt: skip
        done.planned = len({chunk.case for chunk, _ in parts})
        reports: dict[str, Report] = {}
        gone: dict[str | None, tuple[Chunk, Report]] = {}
        for chunk, result in parts:
            if not isinstance(result, list) or not result:
                gone.setdefault(chunk.case, (chunk, _lost(chunk, result)))
                continue
            for report in result:
                if report.title in reports:
                    _join(reports[report.title], report)
                else:
                    reports[report.title] = report
        done.extend(reports.values())
        for chunk, report in gone.values():
            done.append(report)
            path, _ = loading.split_target(chunk.target)
            if path is not None and chunk.line is not None:
                report.place = (path, chunk.line)
        cases = list(dict.fromkeys(chunk.case for chunk, _ in parts))
        done.sort(key=lambda r: cases.index(r.title) if r.title in cases else 0)
        yield done


def _join(report: Report, more: Report) -> None:
    if report.mode == "forward":
        return  # every chunk of a kernel begins with the same comparison
    report.rows += more.rows
    report.evaluations += more.evaluations
    report.gradients += more.gradients
    report.deterministic = report.deterministic and more.deterministic
    report.noise = max(report.noise, more.noise)
    known = [f.message for f in report.findings]
    report.findings += [f for f in more.findings if f.message not in known]


def _lost(chunk: Chunk, result: Any) -> Report:
    """The report of a chunk that gave none."""
    title = chunk.case or chunk.target
    if isinstance(result, Raised):
        return lost(title, KINDS[result.kind], result.message, result.frames)
    if isinstance(result, Crash):
        what = "" if chunk.select is None else f" with {', '.join(chunk.select)}"
        often = f", each of the {result.times} times it was run" if result.times > 1 else ""
        return lost(title, result.kind, f"{result.how}{what}{often}")
    return lost(title, "crash", "was planned, but no report of it came back")
