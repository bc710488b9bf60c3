"""A process that runs what it is given, one call at a time, and whose death is noticed and named.

The user's code runs in the child, the account of it is kept in the parent: a call of `os._exit`, a
crash in compiled code, a loop without end or too much memory costs the call that was in hand and no
other. The child is forked where the parent has run nothing of the user's yet (no second start of
Python), and otherwise a fresh interpreter: a fork copies the locks of threads that do not exist in
the child. It ends with its parent, however that ends, and has no hold on the parent's stdout.
"""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import os
import pickle
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe
from typing import Any, Literal, NoReturn

from ..ends import end_with, named_signal
from ..errors import UsageError
from .limits import Limits

__all__ = ["Child", "Crash", "begin", "can_fork", "forked"]

#: Seconds between looks at a child that says nothing.
PULSE = 0.2
#: Seconds that a child which closed its pipe has to end, and to run its exit handlers.
GRACE = 2.0
#: Deaths by SIGKILL that convict a call: one may be the operator's, or the memory's.
ALONE = 2
#: Read by BLAS and OpenMP when NumPy is loaded: two workers of two threads each on two cores are
#: slower than two workers of one.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS",
           "VECLIB_MAXIMUM_THREADS", "NUMEXPR_NUM_THREADS")  # fmt: skip
#: Above the number of any file that is open.
MOST_FILES = 1 << 16
#: Exit code of a child that cannot answer.
CLOSED = 107
#: Sent by a fresh interpreter when it can work.
READY = b"ready"

Kind = Literal["crash", "timeout", "memory"]


@dataclass(frozen=True)
class Crash:
    """In place of a result: the process ended, or was ended, before there was one.

    ``times`` it was tried; ``how`` says what happened, as the end of a sentence.
    """

    times: int
    kind: Kind = "crash"
    how: str = "died"


class Child:
    """A process that runs functions; started when the first one comes, and again after a death.

    Parameters
    ----------
    limits : Limits
        Of each call.
    fresh : bool
        Whether it is a new interpreter with one BLAS thread, or a fork of this one.
    """

    def __init__(self, limits: Limits | None = None, *, fresh: bool = True) -> None:
        self.limits = limits or Limits()
        self.fresh = fresh or not can_fork()
        self._process: _Process | None = None
        self._closed = False

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What a function returns, or `Crash`.

        Parameters
        ----------
        function : callable
            Importable by name; it must not raise.
        *arguments
            They and the result must pickle.

        Raises
        ------
        UsageError
            No process can be started.
        """
        request = pickle.dumps((function, arguments))
        times = 0
        while True:
            times += 1
            process = self._started()
            with contextlib.suppress(OSError):  # it died since: there will be no answer
                process.connection.send_bytes(request)
            found = process.answer(self.limits)
            if not isinstance(found, Crash):
                return pickle.loads(found)
            self._end()
            killed = found.kind == "crash" and process.code == -signal.SIGKILL
            if not killed or times == ALONE or self._closed:
                return Crash(times, found.kind, found.how)

    def close(self) -> None:
        """End the process, and what it started."""
        self._closed = True
        self._end()

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.end()

    def _started(self) -> _Process:
        if self._closed:
            raise UsageError("the process is closed")
        if self._process is None:
            self._process = _start_fresh(self.limits) if self.fresh else _fork(self.limits, _serve)
        return self._process


def forked(function: Callable[[], Any], limits: Limits) -> Any:
    """What a function returns in a fork of this process, or `Crash`; its result must pickle."""
    return begin(function, limits)(limits)


def begin(function: Callable[[], Any], limits: Limits) -> Callable[[Limits], Any]:
    """Start a function in a fork of this process; what is returned waits for it, as `forked`."""
    process = _fork(limits, lambda connection: connection.send_bytes(_pickled(function())))

    def wait(limits: Limits) -> Any:
        try:
            found = process.answer(limits)
        finally:
            process.end()
        return found if isinstance(found, Crash) else pickle.loads(found)

    return wait


def can_fork() -> bool:
    """Whether a fork of a process that has loaded NumPy works; on macOS its BLAS does not."""
    return hasattr(os, "fork") and sys.platform != "darwin"


# -- in the parent --------------------------------------------------------------------------------


class _Process:
    """A child with the pipe to it; ``code`` is its exit status once known, negative for signals."""

    def __init__(
        self, pid: int, poll: Callable[[], int | None], connection: Connection, life: int, *,
        group: bool,
    ) -> None:  # fmt: skip
        self.pid, self.poll, self.connection, self.life = pid, poll, connection, life
        self.group = group
        self.code: int | None = None
        self.idle = False

    def answer(self, limits: Limits) -> bytes | Crash:
        """What it sends, as soon as it is there."""
        self.idle = False
        end = None if limits.timeout is None else time.monotonic() + limits.timeout
        while True:
            left = PULSE if end is None else min(PULSE, end - time.monotonic())
            try:
                # Its end of the pipe may live on in a process that it forked: look at it, too.
                if self.connection.poll(max(left, 0)) or (self._gone() and self.connection.poll(0)):
                    found = self.connection.recv_bytes()
                    self.idle = True
                    return found
            except (EOFError, OSError):
                return self._crash(limits)
            if self._gone():
                return self._crash(limits)
            if end is not None and time.monotonic() >= end:
                return Crash(1, "timeout", f"did not end within {limits.timeout:g} s")

    def _crash(self, limits: Limits) -> Crash:
        self._wait(GRACE)
        if self.code in (None, CLOSED):
            how = "closed the files by which its process answers"
        elif self.code >= 0:
            how = f"its process ended with exit code {self.code} before there was a result"
        else:
            how = f"its process died of {named_signal(self.code)}"
            if limits.memory is not None:
                how += f" (its memory is limited to {limits.text})"
        return Crash(1, "crash", how)

    def end(self) -> None:
        """Let it run its exit handlers if it is idle, then kill it and its group."""
        with contextlib.suppress(OSError):
            self.connection.close()
        if self.idle:
            self._wait(GRACE)
        with contextlib.suppress(OSError):
            (os.killpg if self.group else os.kill)(self.pid, signal.SIGKILL)
        self._wait(GRACE)
        with contextlib.suppress(OSError):
            os.close(self.life)

    def _wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self._gone() and time.monotonic() < end:
            time.sleep(0.005)

    def _gone(self) -> bool:
        if self.code is None:
            self.code = self.poll()
        return self.code is not None


def _fork(limits: Limits, work: Callable[[Connection], None]) -> _Process:
    """A fork of this process that does its work and ends."""
    ours, theirs = Pipe()
    watched, life = os.pipe()
    parent = os.getpid()
    # In a terminal it stays in our group, or it could not read what is typed (a debugger).
    group = not _is_terminal(0)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads; see the module's text
        pid = os.fork()
    if pid == 0:
        ours.close()
        os.close(life)
        _work(theirs, watched, parent, limits, group, work)
    if group:
        with contextlib.suppress(OSError):  # it does so itself; whoever is first
            os.setpgid(pid, pid)
    theirs.close()
    os.close(watched)

    def poll() -> int | None:
        try:
            found, status = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:  # somebody else took its status
            return 0
        return os.waitstatus_to_exitcode(status) if found else None

    return _Process(pid, poll, ours, life, group=group)


def _start_fresh(limits: Limits) -> _Process:
    """A new interpreter that serves calls.

    Raises
    ------
    UsageError
        It ends before it can work.
    """
    ours, theirs = Pipe()
    watched, life = os.pipe()
    numbers = (theirs.fileno(), watched)
    code = (
        f"import sys; sys.path[:] = {sys.path!r}; from {__name__} import serve; "
        f"serve(*{numbers!r}, {os.getpid()}, {limits.timeout!r}, {limits.memory!r})"
    )
    with theirs:
        process = subprocess.Popen(
            [sys.executable, *subprocess._args_from_interpreter_flags(), "-c", code],  # type: ignore[attr-defined]
            stdin=subprocess.DEVNULL, pass_fds=numbers, process_group=0,
            env={**os.environ, **dict.fromkeys(THREADS, "1")},
        )  # fmt: skip
        os.close(watched)
    found = _Process(process.pid, process.poll, ours, life, group=True)
    if found.answer(Limits()) != READY:
        found.end()
        raise UsageError(
            "worker processes end when they start; what they printed is above (is gradcheck_rnn "
            "installed for this Python?)"
        )
    return found


def _is_terminal(number: int) -> bool:
    try:
        return os.isatty(number)
    except OSError:
        return False


# -- in the child ---------------------------------------------------------------------------------


def serve(
    number: int, watched: int, parent: int, timeout: float | None, memory: int | None
) -> None:
    """What a fresh interpreter runs: say that it works, then answer calls."""

    def work(connection: Connection) -> None:
        connection.send_bytes(READY)
        _serve(connection)

    _work(Connection(number), watched, parent, Limits(timeout, memory), True, work)


def _work(
    connection: Connection, watched: int, parent: int, limits: Limits, group: bool,
    work: Callable[[Connection], None],
) -> NoReturn:  # fmt: skip
    """Do the work in a process of its own, and never return."""
    code = 1
    try:
        atexit._clear()  # the parent's are not ours to run
        if group:
            with contextlib.suppress(OSError):
                os.setpgid(0, 0)
        # Ctrl-C is the parent's to handle. No SIG_IGN, which what we start would inherit.
        signal.signal(signal.SIGINT, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        _end_with(parent, watched, group)
        _no_stdout()
        limits.apply()
        work(connection)
        code = 0
    except (EOFError, BrokenPipeError, ConnectionResetError):
        code = 0  # the parent closed the pipe
    except OSError:
        code = CLOSED
    except BaseException:
        sys.excepthook(*sys.exc_info())
    with contextlib.suppress(BaseException):
        atexit._run_exitfuncs()
    with contextlib.suppress(BaseException):
        sys.stderr.flush()
    os._exit(code)


def _serve(connection: Connection) -> None:
    """Answer calls until the pipe is closed."""
    me, leave = os.getpid(), os._exit
    while True:
        function, arguments = pickle.loads(connection.recv_bytes())
        answer = _pickled(function(*arguments))
        if os.getpid() != me:
            leave(0)  # a process that the user's code forked came back here
        connection.send_bytes(answer)


def _pickled(value: Any) -> bytes:
    return pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)


def _end_with(parent: int, watched: int, group: bool) -> None:
    """End when the parent does, with all that the user's code started.

    The kernel of Linux tells this process at once. A second one, which holds nothing but the end of
    a pipe from the parent, does what is left: other systems, and the rest of the group.
    """
    end_with(parent, signal.SIGKILL, 1)
    me = os.getpid()
    between = os.fork()
    if between == 0:
        if os.fork() == 0:  # a grandchild, so that the user's code never waits for it
            _watch(watched, me, group)
        os._exit(0)
    os.waitpid(between, 0)
    os.close(watched)


def _watch(watched: int, child: int, group: bool) -> NoReturn:
    os.closerange(0, watched)
    os.closerange(watched + 1, MOST_FILES)
    with contextlib.suppress(OSError):
        os.read(watched, 1)  # until the parent closes it, or ends
    with contextlib.suppress(OSError):
        (os.killpg if group else os.kill)(child, signal.SIGKILL)
    os._exit(0)


def _no_stdout() -> None:
    """Send what is printed, in Python or below it, to stderr: stdout is the parent's."""
    with contextlib.suppress(OSError):
        os.dup2(2, 1)
    try:
        stream = open(2, "w", buffering=1, encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
    except OSError:  # stderr is closed
        stream = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    sys.stdout = sys.stderr = stream
    if faulthandler.is_enabled():
        faulthandler.enable(file=stream)
