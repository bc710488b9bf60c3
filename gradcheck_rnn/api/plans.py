"""Many verifications at once: a plan of independent chunks, run here, in processes or on a cluster.

A chunk is a target at one shape and a group of its gradients. The chunks depend on the plan alone,
never on the number of workers, so that any way of running them gives the same verdicts.
"""

from __future__ import annotations

import functools
import hashlib
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradcheck_rnn import loading
from gradcheck_rnn.checks import check_names, check_whole
from gradcheck_rnn.errors import UsageError

from .verification import Undecided, kernel_of, subject_of

if TYPE_CHECKING:
    from gradcheck_rnn.verify.executors import Crash
    from gradcheck_rnn.verify.outcome import Report
    from gradcheck_rnn.verify.pools import Pool
    from gradcheck_rnn.verify.session import Verification

__all__ = ["Chunk", "Progress", "make_plan", "verify_many"]

#: Every shape is drawn and planned before the first is checked.
MOST_SHAPES = 10_000
#: Entries of the gradients of one chunk: enough to be worth a message, few enough to be shared out.
GRAIN = 2000

#: Called with the chunks done, all chunks, and the target of the last one.
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Chunk:
    """What a worker needs to know; everything pickles.

    ``number`` is the target's in the plan, ``case`` a gradient case of its file, ``select`` the
    gradients of this chunk (all if None), ``stamp`` the hash of the target's file.
    """

    number: int
    target: str
    where: str
    case: str | None = None
    select: tuple[str, ...] | None = None
    shape: int = 0
    seed: int | str | None = None
    budget: int | str | None = None
    definition: str | None = None
    loss: str | None = None
    stamp: str = ""

    @property
    def label(self) -> str:
        """How progress names it."""
        return self.target if self.case is None else f"{self.target}:{self.case}"


def make_plan(
    targets: Sequence[str],
    *,
    seed: int | str | None = None,
    select: Iterable[str] | None = None,
    shapes: int = 1,
    definition: str | None = None,
    loss: str | None = None,
    grain: int = GRAIN,
) -> list[Chunk]:
    """Split the verification of many targets into chunks.

    Parameters
    ----------
    targets : sequence of str
        As `api.verify` takes them, by name.
    seed, select, definition, loss
        As in `api.verify`; a gradient that `select` names must be one of some target.
    shapes : int
        Check kernels at this many different shapes.
    grain : int
        Entries of the gradients of one chunk, as far as whole parameters allow.

    Raises
    ------
    UsageError
        A target is unknown or twice in the plan, or `select` names what no target has.
    """
    check_whole(shapes, "shapes", 1, MOST_SHAPES)
    targets = check_names(targets, "targets")
    for name in targets:
        if list(targets).count(name) > 1:
            raise UsageError(f"{name} is in the plan twice")
    wanted = None if select is None else check_names(select, "select")
    seen: list[str] = []
    plan: list[Chunk] = []
    for number, target in enumerate(targets):
        path, _ = loading.split_target(target)
        where = target if path is None else str(Path(path).resolve()) + target[len(path) :]
        stamp = _stamp(path)
        chunk = Chunk(number, target, where, definition=definition, loss=loss, stamp=stamp)
        subject = subject_of(target, definition, loss)
        if isinstance(subject, list):
            parts = [(replace(chunk, case=c.name), c.build().chosen()) for c in subject]
        else:
            from gradcheck_rnn.verify.points import draw_point

            sizes = {
                s: {n: a.size for n, a in draw_point(subject[0], 0, s).differentiated.items()}
                for s in range(shapes)
            }
            parts = [(replace(chunk, shape=s), sizes[s]) for s in range(shapes)]
        for part, entries in parts:
            seen += entries
            groups = _groups(entries, wanted, grain)
            plan += [replace(part, select=g, seed=_seed(part, seed, groups)) for g in groups]
    unknown = [n for n in wanted or () if n not in seen]
    if unknown:
        known = ", ".join(dict.fromkeys(seen))
        raise UsageError(f"select names {unknown[0]!r}, which is no parameter; choose from {known}")
    return plan


def _groups(
    entries: Mapping[str, int], wanted: Sequence[str] | None, grain: int
) -> list[tuple[str, ...] | None]:
    """Gradients in groups of about `grain` entries; None alone stands for all of them."""
    names = [n for n in entries if wanted is None or n in wanted]
    if wanted is None and sum(entries.values()) <= grain:
        return [None]
    groups: list[list[str]] = []
    room = 0
    for name in names:
        if not groups or entries[name] > room:
            groups.append([])
            room = grain
        groups[-1].append(name)
        room -= entries[name]
    return [tuple(g) for g in groups]


def _seed(chunk: Chunk, seed: int | str | None, groups: Sequence[Any]) -> int | str | None:
    """One seed for all chunks of a case: by default it would depend on what each selects."""
    if seed is not None or chunk.case is None or len(groups) == 1:
        return seed
    return int(hashlib.sha256(f"{chunk.stamp}:{chunk.case}".encode()).hexdigest()[:12], 16)


def _stamp(path: str | None) -> str:
    if path is None or not Path(path).is_file():
        return ""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]


# -- running --------------------------------------------------------------------------------------


def verify_many(
    targets: Sequence[str],
    *,
    pool: Pool | None = None,
    seed: int | str | None = None,
    select: Iterable[str] | None = None,
    budget: int | str | None = None,
    undecided: Undecided = "fail",
    definition: str | None = None,
    loss: str | None = None,
    shapes: int = 1,
    grain: int = GRAIN,
    on_done: Progress = lambda done, total, target: None,
) -> list[Verification]:
    """Verify many targets; what one worker does not know, another finds.

    Parameters
    ----------
    targets, seed, select, definition, loss, shapes, grain
        As in `make_plan`.
    pool : Pool, optional
        `verify.pools.Processes`, `Cluster` or `Borrowed`; in this process when left out.
    budget : int or str, optional
        Loss evaluations, or seconds as ``"10s"``, for all chunks together.
    undecided : {"fail", "warn"}
        As in `api.verify`.
    on_done : callable, optional
        Progress.

    Returns
    -------
    list of Verification
        One for each target and shape, in order.

    Raises
    ------
    UsageError
        As `make_plan`, and what a chunk raises; `RemoteError` for a user's exception in a worker.
    """
    if isinstance(seed, str) and seed == "fresh":
        from gradcheck_rnn.verify.oracle.directions import fresh_seed

        seed = fresh_seed()
    plan = make_plan(
        targets, seed=seed, select=select, shapes=shapes, definition=definition, loss=loss,
        grain=grain,
    )  # fmt: skip
    share = _shares(budget, len(plan), getattr(pool, "jobs", 1))
    plan = [replace(chunk, budget=share) for chunk in plan]
    done: set[int] = set()

    def tell(index: int, result: Any) -> None:
        done.add(index)
        on_done(len(done), len(plan), plan[index].label)

    results: list[Any] = []
    if pool is None:
        _ready.cache_clear()  # a process lives longer than a plan: files move and change
        for index, chunk in enumerate(plan):
            results.append(run_chunk(replace(chunk, where=chunk.target)))
            tell(index, results[-1])
    else:
        from gradcheck_rnn.verify.executors import run_chunks

        results = run_chunks(run_chunk, plan, pool, tell)
    return list(_merged(plan, results, undecided))


def _shares(budget: int | str | None, chunks: int, workers: int) -> int | str | None:
    if budget is None or not chunks:
        return budget
    from gradcheck_rnn.verify.target import Budget

    Budget(budget)  # raises for what is no budget
    if isinstance(budget, str):
        return f"{float(budget.strip().removesuffix('s')) * min(workers, chunks) / chunks:.6f}s"
    return max(budget // chunks, 1)


def run_chunk(chunk: Chunk) -> list[Report]:
    """In the worker: run a chunk and give reports that are light to send."""
    from gradcheck_rnn.verify.session import verify_cases, verify_kernel

    subject = _ready(chunk.where, chunk.definition, chunk.loss, chunk.stamp)
    if isinstance(subject, list):
        cases = [c for c in subject if c.name == chunk.case]
        done = verify_cases(
            cases, target=chunk.target, seed=chunk.seed, select=chunk.select, budget=chunk.budget
        )
    else:
        network, kernel, text = subject
        done = verify_kernel(
            network, kernel, text, target=chunk.target, seed=chunk.seed, select=chunk.select,
            budget=chunk.budget, shape=chunk.shape,
        )  # fmt: skip
    return [report.to_send() for report in done]


@functools.lru_cache(maxsize=4)
def _ready(where: str, definition: str | None, loss: str | None, stamp: str) -> Any:
    """What is under test, made once a worker; a file must be the one that was planned."""
    path, _ = loading.split_target(where)
    if stamp and path is not None:
        here = socket.gethostname()
        if not Path(path).is_file():
            raise UsageError(
                f"there is no file {path} on the worker {here}; put it where all workers see it"
            )
        if _stamp(path) != stamp:
            raise UsageError(f"{path} on the worker {here} is another file than here, or changed")
    subject = subject_of(where, definition, loss)
    if isinstance(subject, list) or subject[1] is not None:
        return subject
    return (subject[0], *kernel_of(subject[0]))


def _merged(
    plan: Sequence[Chunk], results: Sequence[list[Report] | Crash], undecided: Undecided
) -> Iterator[Verification]:
    """Chunks of one target and shape put together: rows side by side, costs added."""
    from gradcheck_rnn.verify.executors import Crash
    from gradcheck_rnn.verify.session import Verification

    together: dict[tuple[int, int], list[tuple[Chunk, Any]]] = {}
    for chunk, result in zip(plan, results, strict=True):
        together.setdefault((chunk.number, chunk.shape), []).append((chunk, result))
    for parts in together.values():
        first = parts[0][0]
        said = {"--definition": first.definition, "--loss": first.loss}
        options = [w for k, v in said.items() if v is not None for w in (k, v)]
        options += ["--shape", str(first.shape)] if first.shape else []
        merged = Verification(
            target=first.target, kind="kernel" if first.case is None else "cases",
            undecided=undecided, options=options,
        )  # fmt: skip
        reports: dict[str, Report] = {}
        for chunk, result in parts:
            if isinstance(result, Crash):
                crashed = _crashed(chunk, result)
                reports.setdefault(f"{crashed.title} {chunk.select}", crashed)
                continue
            for report in result:
                if report.title in reports:
                    _join(reports[report.title], report)
                else:
                    reports[report.title] = report
        merged.extend(reports.values())
        yield merged


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


def _crashed(chunk: Chunk, crash: Crash) -> Report:
    from gradcheck_rnn.verify.outcome import Report
    from gradcheck_rnn.verify.verdict import Finding

    what = "" if chunk.select is None else f" with {', '.join(chunk.select)}"
    message = (
        f"the worker died each of the {crash.times} times it ran this{what}: a crash in compiled "
        "code, or not enough memory"
    )
    title = chunk.case or f"{chunk.target}: crash"
    return Report(title, [], [Finding("crash", message, fatal=True)], mode="crash")
