"""Follow the tutorials command by command in empty folders: seconds, exit codes, lines written.

python -m benchmarks.tutorials [page ...], in an environment into which the package was installed.
The table at the end is that of docs/index.md: lines beside one's own code and commands up to the
first verdict, and in parentheses up to the term by name where that is a later one.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

PAGES = Path(__file__).parent.parent / "docs" / "tutorials"
BLOCK = re.compile(r"^```(python|cpp|toml|console)\n(.*?)^```$", re.M | re.S)
NAME = re.compile(r"(?:#|//) (\S+\.\w+)\n")
#: Files that their author had before, and what the pages are called in the table.
OWN = {"lstm.py", "cell.py", "elman.hpp", "mine.py", "packed.py"}
TITLES = {"numpy": "NumPy", "torch": "torch", "jax": "JAX", "cpp": "C++", "paper": "paper"}
#: A verdict that something is wrong, or for the page without a mistake that all is proved.
WRONG, NAMED = 1, "are what you get with|is what you get with"
PROVED = "proved"


class Spent(NamedTuple):
    """What had been written and run when something was known: lines, commands, seconds."""

    lines: int
    commands: int
    seconds: float


def follow(page: str, folder: Path) -> tuple[Spent, Spent, Spent]:
    """Write the files of a page, run its commands; up to the verdict, the name and the end."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    lines: dict[str, int] = {}
    commands, spent = 0, 0.0
    verdict = named = None
    for kind, text in BLOCK.findall((PAGES / f"{page}.md").read_text(encoding="utf-8")):
        if kind != "console":
            name = NAME.match(text)
            assert name is not None, text
            (folder / name[1]).write_text(text, encoding="utf-8")
            lines[name[1]] = sum(bool(line.strip()) for line in text.splitlines()[1:])
            continue
        for command in re.findall(r"^\$ (.*)$", text, re.M):
            start = time.perf_counter()
            ran = subprocess.run(
                command, shell=True, cwd=folder, capture_output=True, text=True, check=False,
                env={**os.environ, "PATH": path, "COLUMNS": "200"},
            )  # fmt: skip
            took = time.perf_counter() - start
            spent, commands = spent + took, commands + 1
            print(f"{page}: {took:5.1f} s, exit code {ran.returncode}: {command}")
            now = Spent(sum(n for f, n in lines.items() if f not in OWN), commands, spent)
            if verdict is None and (ran.returncode == WRONG or PROVED in ran.stdout):
                verdict = now
            if named is None and re.search(NAMED, ran.stdout):
                named = now
    end = Spent(sum(n for f, n in lines.items() if f not in OWN), commands, spent)
    print(f"{page}: {spent:.1f} s in all; lines: {lines}", flush=True)
    assert verdict is not None, f"{page} has no verdict"
    return verdict, named or verdict, end


def row(page: str, verdict: Spent, named: Spent, end: Spent) -> str:
    """A line of the table."""

    def both(one: float, other: float) -> str:
        return f"{one:.0f}" if one == other else f"{one:.0f} ({other:.0f})"

    cells = [both(a, b) for a, b in zip(verdict, named, strict=True)]
    return f"| {' | '.join([TITLES[page], *cells, f'{end.seconds:.0f}'])} |"


if __name__ == "__main__":
    rows = []
    for page in sys.argv[1:] or TITLES:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(row(page, *follow(page, Path(folder))))
    print("| tutorial | lines beside the code | commands to the verdict | "
          "seconds to the verdict | seconds in all |")  # fmt: skip
    print("|---|---|---|---|---|", *rows, sep="\n")
