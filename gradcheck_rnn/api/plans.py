"""Many verifications at once: a plan of independent chunks, run here, in processes or on a cluster.

A chunk is a target at one shape and a group of its gradients. The chunks depend on the plan alone,
never on the number of workers, so that any way of running them gives the same verdicts.
"""

from __future__ import annotations

import functools
import hashlib
import os
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradcheck_rnn import loading
from gradcheck_rnn.checks import check_names, check_whole
from gradcheck_rnn.errors import UsageError
from gradcheck_rnn.reading import read_bytes

from .chunks import Chunk
from .verification import Undecided, kernel_of, subject_of

if TYPE_CHECKING:
    from gradcheck_rnn.verify.children import Child, Crash
    from gradcheck_rnn.verify.executor_chunks import Raised
    from gradcheck_rnn.verify.outcome import Report
    from gradcheck_rnn.verify.pools import Pool
    from gradcheck_rnn.verify.session import Verification

__all__ = ["Chunk", "Plan", "Progress", "make_plan", "verify_many"]

#: Every shape is drawn and planned before the first is checked.
MOST_SHAPES = 10_000
#: Entries of the gradients of one chunk: enough to be worth a message, few enough to be shared out.
GRAIN = 2000

#: Runs a function of chunks somewhere, and returns its value, or what became of it.
Ask = Callable[..., Any]
#: Called with the chunks done, all chunks, and the target of the last one.
Progress = Callable[[int, int, str], None]


def call(function: Callable[..., Any], *arguments: Any) -> Any:
    """Run a function here; what it raises is raised."""
    return function(*arguments)


def asking(child: Child | None, keep_going: bool) -> Ask:
    """How to run functions in a child, or here.

    With `keep_going` what they raise is a result, unless it is a fault of ours.
    """

    from gradcheck_rnn.verify.executor_chunks import Raised, attempt

    def ask(function: Callable[..., Any], *arguments: Any) -> Any:
        if child is None and not keep_going:
            return function(*arguments)
        run = call if child is None else child.call
        result = run(attempt, function, *arguments)
        if isinstance(result, Raised) and (result.kind == "ours" or not keep_going):
            raise result.again()
        return result

    return ask


def make_plan(
    targets: Sequence[str],
    *,
    seed: int | str | None = None,
    select: Iterable[str] | None = None,
    shapes: int | Sequence[int] = 1,
    definition: str | None = None,
    loss: str | None = None,
    layout: str | None = None,
    grain: int | None = GRAIN,
    local: bool = False,
    ask: Ask = call,
) -> Plan:
    """Split the verification of many targets into chunks.

    Parameters
    ----------
    targets : sequence of str
        As `api.verify` takes them, by name.
    seed, select, definition, loss, layout
        As in `api.verify`; a gradient that `select` names must be one of some target.
    shapes : int or sequence of int
        Check kernels at this many different shapes, or at these.
    grain : int or None
        Entries of the gradients of one chunk, as far as whole parameters allow; None is one chunk
        a case or kernel.
    local : bool
        Whether the chunks run where files have the names they have here.
    ask : callable
        Runs what touches the user's files; a `Crash` or `Raised` that it returns is the result of
        the chunk for which it asked.

    Raises
    ------
    UsageError
        A target is unknown or twice in the plan, or `select` names what no target has.
    """
    from gradcheck_rnn.verify.children import Crash
    from gradcheck_rnn.verify.executor_chunks import Raised

    if isinstance(shapes, int):
        check_whole(shapes, "shapes", 1, MOST_SHAPES)
    targets = check_names(targets, "targets")
    numbers = list(range(shapes)) if isinstance(shapes, int) else list(shapes)
    if not numbers:
        raise UsageError(f"shapes {shapes} must be at least 1")
    for name in targets:
        if list(targets).count(name) > 1:
            raise UsageError(f"{name} is in the plan twice")
    wanted = None if select is None else check_names(select, "select")
    seen: list[str] = []
    plan = Plan()
    for number, target in enumerate(targets):
        path, _ = loading.split_target(target)
        where = target if path is None else os.path.realpath(path) + target[len(path) :]
        chunk = Chunk(
            number, target, target if local else where, definition=definition, loss=loss,
            layout=layout, stamp=_stamp(path), seed=seed,
        )  # fmt: skip
        parts = ask(_outline, chunk, numbers)
        if isinstance(parts, Crash | Raised):
            if isinstance(parts, Raised) and (len(targets) == 1 or not chunk.stamp):
                raise parts.again()  # nothing else to do, or no such target
            plan.add(chunk, parts)
            continue
        for part in parts:
            groups: Sequence[tuple[str, ...] | None] = [None]
            if wanted is not None or grain is not None:
                entries = ask(_entries, part)
                if isinstance(entries, Crash | Raised):
                    plan.add(part, entries)
                    continue
                seen += entries
                groups = _groups(entries, wanted, grain)
            for group in groups:
                plan.add(replace(part, select=group, seed=_seed(part, seed, groups)))
    unknown = [n for n in wanted or () if n not in seen]
    if unknown and not plan.early:
        known = ", ".join(dict.fromkeys(seen))
        raise UsageError(f"select names {unknown[0]!r}, which is no parameter; choose from {known}")
    return plan


class Plan(list[Chunk]):
    """Chunks in order; ``early`` holds the results of those that were lost while planning."""

    def __init__(self) -> None:
        super().__init__()
        self.early: dict[int, Crash | Raised] = {}

    def add(self, chunk: Chunk, result: Crash | Raised | None = None) -> None:
        """A chunk, and its result if it is there already."""
        if result is not None:
            self.early[len(self)] = result
        self.append(chunk)


def _outline(chunk: Chunk, shapes: Sequence[int]) -> list[Chunk]:
    """The cases of a target, or its kernel at each shape."""
    subject = _subject(*chunk.subject)
    if isinstance(subject, list):
        if len(shapes) == 1 and shapes[0]:
            raise UsageError("shape is for kernels; a gradient case has the shapes it returns")
        return [replace(chunk, case=c.name, line=c.line) for c in subject]
    return [replace(chunk, shape=s) for s in shapes]


def _entries(chunk: Chunk) -> dict[str, int]:
    """Names of the gradients of a case or kernel, and how many entries each has."""
    from gradcheck_rnn.verify.points import draw_point

    subject = _subject(*chunk.subject)
    if isinstance(subject, list):
        (case,) = (c for c in subject if c.name == chunk.case)
        return case.build().chosen()
    return {n: a.size for n, a in draw_point(subject[0], 0, chunk.shape).differentiated.items()}


def _groups(
    entries: Mapping[str, int], wanted: Sequence[str] | None, grain: int | None
) -> list[tuple[str, ...] | None]:
    """Gradients in groups of about `grain` entries; None alone stands for all of them."""
    names = [n for n in entries if wanted is None or n in wanted]
    if grain is None:
        return [tuple(names)] if names else []
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
    if path is None or not os.path.isfile(path):
        return ""
    return hashlib.sha256(read_bytes(Path(path), "file")).hexdigest()[:16]


# -- running --------------------------------------------------------------------------------------


def verify_many(
    targets: Sequence[str],
    *,
    pool: Pool | None = None,
    child: Child | None = None,
    seed: int | str | None = None,
    select: Iterable[str] | None = None,
    budget: int | str | None = None,
    undecided: Undecided = "fail",
    definition: str | None = None,
    loss: str | None = None,
    layout: str | None = None,
    shapes: int | Sequence[int] = 1,
    grain: int | None = GRAIN,
    keep_going: bool = False,
    on_done: Progress = lambda done, total, target: None,
) -> list[Verification]:
    """Verify many targets; what one worker does not know, another finds.

    Parameters
    ----------
    targets, seed, select, definition, loss, layout, shapes, grain
        As in `make_plan`.
    pool : Pool, optional
        `verify.pools.Processes`, `Cluster` or `Borrowed`, which share the chunks out.
    child : Child, optional
        Without a pool: the process that runs one chunk after the other; this one when left out.
    budget : int or str, optional
        Loss evaluations, or seconds as ``"10s"``, for all chunks together.
    undecided : {"fail", "warn"}
        As in `api.verify`.
    keep_going : bool
        Whether a case that raises is accounted for in `Verification.lost`, and the others go on.
    on_done : callable, optional
        Progress.

    Returns
    -------
    list of Verification
        One for each target and shape, in order.

    Raises
    ------
    UsageError
        As `make_plan`, and, unless `keep_going`, what a chunk raises; `RemoteError` for a user's
        exception in a worker.
    """
    if isinstance(seed, str) and seed == "fresh":
        from gradcheck_rnn.verify.oracle.directions import fresh_seed

        seed = fresh_seed()
    elif seed is not None:
        from gradcheck_rnn.verify.options import parse_seed

        seed = parse_seed(seed)
    from gradcheck_rnn.verify.executor_chunks import run_chunks
    from gradcheck_rnn.verify.session import Allowance

    from .merging import merged

    allow = Allowance(budget)
    _subject.cache_clear()  # a process lives longer than a plan: files move and change
    _ready.cache_clear()
    planner = child if pool is None else pool.planner()
    try:
        plan = make_plan(
            targets, seed=seed, select=select, shapes=shapes, definition=definition, loss=loss,
            layout=layout, grain=grain, local=pool is None or pool.local,
            ask=asking(planner, keep_going),
        )  # fmt: skip
        results: dict[int, Any] = dict(plan.early)

        def tell(index: int, result: Any) -> None:
            results[index] = result
            on_done(len(results), len(plan), plan[index].label)

        rest = [i for i in range(len(plan)) if i not in plan.early]
        if pool is None:
            ask = asking(child, keep_going)
            for k, i in enumerate(rest):
                tell(i, ask(run_chunk, replace(plan[i], budget=allow(len(rest) - k))))
        else:
            share = _shares(budget, len(rest), getattr(pool, "jobs", 1))
            run_chunks(
                run_chunk, [replace(plan[i], budget=share) for i in rest], pool,
                lambda k, result: tell(rest[k], result), keep_going=keep_going,
            )  # fmt: skip
    finally:
        if pool is not None:
            pool.close()
    return list(merged(plan, [results.get(i) for i in range(len(plan))], undecided))


def _shares(budget: int | str | None, chunks: int, workers: int) -> int | str | None:
    if budget is None or not chunks:
        return budget
    if isinstance(budget, str):
        return f"{float(budget.strip().removesuffix('s')) * min(workers, chunks) / chunks:.6f}s"
    return max(budget // chunks, 1)


def run_chunk(chunk: Chunk) -> list[Report]:
    """In the worker: run a chunk and give reports that are light to send."""
    from gradcheck_rnn.verify.session import verify_cases, verify_kernel

    subject = _ready(*chunk.subject)
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


@functools.lru_cache(maxsize=64)
def _subject(
    where: str, definition: str | None, loss: str | None, layout: str | None, stamp: str
) -> Any:
    """What is under test, made once a worker; a file must be the one that was planned."""
    path, _ = loading.split_target(where)
    if stamp and path is not None:
        here = socket.gethostname()
        if not os.path.isfile(path):
            raise UsageError(
                f"there is no file {path} on the worker {here}; put it where all workers see it"
            )
        if _stamp(path) != stamp:
            raise UsageError(f"{path} on the worker {here} is another file than here, or changed")
    return subject_of(where, definition, loss, layout)


@functools.lru_cache(maxsize=4)
def _ready(
    where: str, definition: str | None, loss: str | None, layout: str | None, stamp: str
) -> Any:
    """What is under test, with a kernel generated where there is none."""
    subject = _subject(where, definition, loss, layout, stamp)
    if isinstance(subject, list) or subject[1] is not None:
        return subject
    return (subject[0], *kernel_of(subject[0]))
