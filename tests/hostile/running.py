"""Runs one hostile input in a process of its own, in a folder of its own, and says how it ended."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

#: Classes of endings; the first five are faults.
SILENT, TRACEBACK, RUNNING, HALF, EXECUTED, UNCLEAR = (
    "silent", "traceback", "left running", "half-written", "executed", "unclear message",
)  # fmt: skip
REFUSED, ANSWERED = "one line", "answered"
FAULTS = (SILENT, TRACEBACK, RUNNING, HALF, EXECUTED, UNCLEAR)
#: Written by code in untrusted files, should it ever run.
CANARY = "executed.canary"
#: Address space that a process may take beyond what it has when it is forked.
MEMORY = 4 << 30


@dataclass(frozen=True)
class Hostile:
    """An input.

    Attributes
    ----------
    kind : str
        Production of the grammar that it comes from.
    argv : tuple of str
        The arguments after ``gradcheck-rnn``.
    files : mapping
        Name → bytes, or a function that makes it at a path.
    refused : bool
        Whether the only right ending is one line and exit code 2; otherwise any verdict will do.
    call : callable, optional
        Called instead of the command line: a use of the API.
    absent : tuple of str
        What must not stand in any output file or on stdout.
    """

    kind: str
    argv: tuple[str, ...]
    files: Mapping[str, bytes | Callable[[Path], None]] = field(default_factory=dict)
    refused: bool = True
    call: Callable[[], object] | None = None
    absent: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ending:
    """How it ended: a class, the exit code (None: killed after the time limit) and the texts."""

    kind: str
    code: int | None
    out: str
    err: str
    seconds: float


def _make(files: Mapping[str, bytes | Callable[[Path], None]], folder: Path) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if callable(content):
            content(path)
        else:
            path.write_bytes(content)


def _child(item: Hostile, folder: Path, outputs: Path) -> int:
    """In the forked process: run and return the exit code."""
    os.setsid()
    os.chdir(folder)
    with open("/proc/self/statm") as stream:
        held = int(stream.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY, held + MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(outputs / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.path.insert(0, "")
    if item.call is None:
        from gradcheck_rnn.cli import main

        return main(item.argv)
    from gradcheck_rnn.errors import GradcheckError

    try:
        item.call()
    except GradcheckError as error:
        sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
        return 2
    return 0


def _forked(item: Hostile, folder: Path, outputs: Path, limit: float) -> int | None:
    child = os.fork()
    if not child:
        code = 70
        try:
            code = _child(item, folder, outputs)
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(Exception):
                    stream.flush()
            os._exit(code)
    return _waited(child, limit)


def _waited(child: int, limit: float) -> int | None:
    end = time.monotonic() + limit
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def _spawned(item: Hostile, folder: Path, outputs: Path, limit: float) -> int | None:
    """A real process: interpreter start, real streams."""
    with (outputs / "out").open("wb") as out, (outputs / "err").open("wb") as err:
        made = subprocess.Popen(
            [sys.executable, "-m", "gradcheck_rnn", *item.argv],
            cwd=folder, stdout=out, stderr=err, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            return made.wait(limit)
        except subprocess.TimeoutExpired:
            os.killpg(made.pid, signal.SIGKILL)
            made.wait()
            return None


@contextlib.contextmanager
def _place() -> Iterator[tuple[Path, Path]]:
    root = Path(tempfile.mkdtemp(prefix="hostile."))
    (root / "work").mkdir()
    (root / "streams").mkdir()
    try:
        yield root / "work", root / "streams"
    finally:
        shutil.rmtree(root, ignore_errors=True)


def run(item: Hostile, *, limit: float = 60.0, spawn: bool = False) -> Ending:
    """Run one input.

    Parameters
    ----------
    limit : float
        Seconds after which it counts as left running.
    spawn : bool
        In a fresh interpreter instead of a fork of this one.
    """
    with _place() as (folder, outputs):
        _make(item.files, folder)
        before = {p.relative_to(folder) for p in folder.rglob("*")}
        started = time.monotonic()
        plain = item.call is None and not any("\0" in a for a in item.argv)
        way = _spawned if spawn and plain else _forked
        code = way(item, folder, outputs, limit)
        seconds = time.monotonic() - started
        out, err = (
            (outputs / n).read_bytes().decode("utf-8", "replace") if (outputs / n).exists() else ""
            for n in ("out", "err")
        )
        made = {p.relative_to(folder) for p in folder.rglob("*")} - before
        made = {p for p in made if "__pycache__" not in p.parts}
        texts = [out, *((folder / p).read_bytes().decode("utf-8", "replace")
                        for p in made if (folder / p).is_file())]  # fmt: skip
        return Ending(_class(item, code, err, made, texts), code, out, err, seconds)


def _class(item: Hostile, code: int | None, err: str, made: set[Path], texts: list[str]) -> str:
    if any(p.name == CANARY for p in made):
        return EXECUTED
    if code is None:
        return RUNNING
    if code not in (0, 1, 2, 3):
        return TRACEBACK
    if any(p.suffix == ".tmp" for p in made) or (code == 2 and made):
        return HALF
    if any(word in text for word in item.absent for text in texts):
        return SILENT
    if code == 2:
        lines = [x for x in err.splitlines() if x.strip()]
        plain = len(lines) >= 1 and lines[-1].startswith("error: ") and "Traceback" not in err
        return REFUSED if plain and len(lines[-1]) < 1500 else UNCLEAR
    return SILENT if item.refused else ANSWERED
