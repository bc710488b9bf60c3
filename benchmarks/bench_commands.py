"""Processor time of every command and of collecting the tests, this tree beside others.

python -m benchmarks.bench_commands [OTHER_TREE ...]

Trees take turns, so that a busy machine slows all of them alike; of each the least time counts.
An exclamation mark stands where the exit status is not 0.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parents[1]
TURNS = 2
RUN = ["-m", "gradcheck_rnn"]
COMMANDS = {
    "--help": [*RUN, "--help"],
    "cells": [*RUN, "cells"],
    "layouts": [*RUN, "layouts"],
    "derive lstm": [*RUN, "derive", "lstm"],
    "prove gru": [*RUN, "prove", "gru"],
    "generate lstm": [*RUN, "generate", "lstm", "-o", "lstm.py"],
    "verify lstm": [*RUN, "verify", "lstm", "--seed", "1"],
    "vectors gru": [*RUN, "vectors", "gru", "-o", "gru.npz"],
    "decay gru": [*RUN, "decay", "gru"],
    "report gru": [*RUN, "report", "gru", "-o", "gru.html"],
    # Exit 1: some lines of its chapter on local derivatives are not understood.
    "check-equations": [*RUN, "check-equations", str(HERE / "derivations" / "gru.md"), "gru"],
    "collect tests": ["-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"],
}


def seconds(tree: Path, words: list[str]) -> tuple[float, int]:
    """Processor time of a command in a tree, with its children, and its exit status."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, *words],
            cwd=tree if "pytest" in words else folder,
            env={**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            check=False,
        )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return used, done.returncode


def main() -> None:
    trees = [HERE, *map(Path, sys.argv[1:])]
    print(f"{'seconds':16}" + "".join(f"{tree.name:>12}" for tree in trees))
    for name, words in COMMANDS.items():
        times: dict[Path, list[float]] = {tree: [] for tree in trees}
        status = {}
        for _ in range(TURNS):
            for tree in trees:
                used, status[tree] = seconds(tree, words)
                times[tree].append(used)
        cells = (f"{min(times[t]):.2f}" + "!" * bool(status[t]) for t in trees)
        print(f"{name:16}" + "".join(f"{cell:>12}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
