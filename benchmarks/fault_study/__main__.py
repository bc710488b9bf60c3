"""``python -m benchmarks.fault_study -o FILE``: run the study, one JSON line a system and part."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from gradcheck_rnn import api

__all__ = ["main", "quick", "tasks"]

PARTS = ("model", "blackbox", "ends", "own", "correct", "others")
#: Systems with more mutants than this are sampled in the black box: every n-th mutant.
QUICK_CELLS = ("elman", "gru", "indrnn")
Task = tuple[Callable[..., dict[str, Any]], tuple[Any, ...], dict[str, Any]]


def tasks(
    parts: list[str], cells: list[str], seed: int, *, every: int, thin: int, checks: int
) -> Iterator[Task]:
    """What is to be run: functions that return one line of results each.

    ``every`` n-th mutant in model mode, every ``thin``-th through the black box, ``checks``
    correct checks at least.
    """
    from . import black_box, correct, ends, model_mode, others, own

    for name in cells:
        network = api.load(name)
        for loss in [False] * bool(network.outputs) + [True] * bool(network.loss_terms):
            if "model" in parts:
                yield model_mode.study, (name, seed, every), {"loss": loss}
        if "blackbox" in parts:
            yield black_box.study, (name, seed, thin), {}
        if "ends" in parts:
            yield ends.study, (name, seed), {}
    if "own" in parts:
        for source in own.SOURCES:
            yield own.study, (source, seed), {}
    if "correct" in parts:
        for task in correct.plan(cells, seed, checks):
            yield correct.study, task, {}
    if "others" in parts:
        yield others.study, (seed,), {}


def _call(task: Task) -> dict[str, Any]:
    function, arguments, options = task
    return function(*arguments, **options)


def quick(seed: int = 0) -> list[dict[str, Any]]:
    """A small study for benchmarks: seconds, not minutes."""
    chosen = tasks(
        ["model", "blackbox", "correct"], list(QUICK_CELLS), seed, every=9, thin=19, checks=500
    )  # fmt: skip
    return [_call(t) for t in chosen]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fault_study", description=__doc__)
    parser.add_argument("--cells", nargs="*", help="systems of the zoo; all by default")
    parser.add_argument("--parts", nargs="*", default=list(PARTS), choices=PARTS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--every", type=int, default=1, help="every n-th mutant in model mode")
    parser.add_argument("--thin", type=int, default=4, help="every n-th through the black box")
    parser.add_argument("--checks", type=int, default=100_000, help="correct checks")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="a small study")
    parser.add_argument("-o", "--output", type=Path, help="JSON lines; printed by default")
    given = parser.parse_args(arguments)
    for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    cells = given.cells or list(api.names())
    if given.quick:
        lines: Iterator[dict[str, Any]] = iter(quick(given.seed))
    else:
        todo = list(
            tasks(given.parts, cells, given.seed, every=given.every, thin=given.thin,
                  checks=given.checks)
        )  # fmt: skip
        lines = _run(todo, given.jobs)
    out = given.output.open("a", encoding="utf-8") if given.output else sys.stdout
    for line in lines:
        print(json.dumps(line, ensure_ascii=False), file=out, flush=True)
    return 0


def _run(todo: list[Task], jobs: int) -> Iterator[dict[str, Any]]:
    if jobs == 1:
        yield from map(_call, todo)
        return
    with ProcessPoolExecutor(jobs) as pool:
        for done in as_completed([pool.submit(_call, t) for t in todo]):
            yield done.result()


if __name__ == "__main__":
    sys.exit(main())
