"""Follow the tutorials command by command in empty folders: seconds, exit codes, lines written.

python -m benchmarks.tutorials [page ...], in an environment into which the package was installed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PAGES = Path(__file__).parent.parent / "docs" / "tutorials"
BLOCK = re.compile(r"^```(python|cpp|toml|console)\n(.*?)^```$", re.M | re.S)
NAME = re.compile(r"(?:#|//) (\S+\.\w+)\n")


def follow(page: str, folder: Path) -> None:
    """Write the files of a page, run its commands, print what each took."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    lines: dict[str, int] = {}
    spent = 0.0
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
                command, shell=True, cwd=folder, capture_output=True, check=False,
                env={**os.environ, "PATH": path},
            )  # fmt: skip
            took = time.perf_counter() - start
            spent += took
            print(f"{page}: {took:5.1f} s, exit code {ran.returncode}: {command}")
    print(f"{page}: {spent:.1f} s in all; lines: {lines}", flush=True)


if __name__ == "__main__":
    for page in sys.argv[1:] or sorted(p.stem for p in PAGES.glob("*.md")):
        with tempfile.TemporaryDirectory() as folder:
            follow(page, Path(folder))
