"""A command that runs a user's file, in a process whose end is noticed and named.

Compiled code can end a process without a word and with exit code 0. Commands that print or write
something would then look as if they had. So they run in a fork, which hands its exit code over
when it is done; without one, its end is a failure. (`verify` has processes of its own, a case
each: `gradcheck_rnn.verify.children`.)
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Sequence

from gradcheck_rnn.cli.codes import MISUSE
from gradcheck_rnn.ends import end_with, named_signal

__all__ = ["supervised", "users_code"]

#: Commands that read a definition from a file.
COMMANDS = ("cells", "derive", "generate", "prove", "report", "decay", "vectors", "check-equations")
#: Windows has no SIGHUP; nothing is forked there, but this module is imported.
FORWARDED = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
#: Seconds after which an interrupt that came to the parent alone is passed on.
PATIENCE = 0.5


def users_code(arguments: Sequence[str]) -> str:
    """The file or module of the user's that a command will run; empty where it runs none."""
    if not hasattr(os, "fork") or not arguments or arguments[0] not in COMMANDS:
        return ""
    return next((a for a in arguments if ":" in a or a.endswith((".py", ".ipynb"))), "")


def supervised(run: Callable[[], int], what: str) -> int:
    """What ``run()`` returns in a fork of this process; a line on stderr if it returns nothing.

    Parameters
    ----------
    run : callable
        Runs the command and returns its exit code.
    what : str
        The user's file or module, to name it.

    Returns
    -------
    int
        That exit code, in the fork and here; 2 if the fork ended before it had one.
    """
    ours, theirs = os.pipe()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        os.close(ours)
        end_with(parent, signal.SIGTERM, MISUSE)
        code = run()
        with contextlib.suppress(OSError):
            os.write(theirs, bytes([code]))
        return code
    os.close(theirs)
    os.set_blocking(ours, False)
    status = _awaited(child)
    try:
        told = os.read(ours, 1)
    except BlockingIOError:  # a process that the user's code left behind holds the other end
        told = b""
    os.close(ours)
    return told[0] if told else _ended(status, what)


def _awaited(child: int) -> int:
    """Wait for the fork, and pass signals on; Ctrl-C it has from the terminal, or a bit later."""

    def pass_on(number: int, frame: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, number)

    def later(number: int, frame: object) -> None:
        signal.signal(signal.SIGALRM, lambda *_: pass_on(number, None))
        signal.setitimer(signal.ITIMER_REAL, PATIENCE)

    usual = (signal.SIG_DFL, signal.default_int_handler)
    for number, handler in zip(FORWARDED, (later, pass_on, pass_on), strict=True):
        if signal.getsignal(number) in usual:
            signal.signal(number, handler)
    return os.waitpid(child, 0)[1]


def _ended(status: int, what: str) -> int:
    """Say how a fork ended that did not finish."""
    code = os.waitstatus_to_exitcode(status)
    how = f"with exit code {code}" if code >= 0 else f"by {named_signal(code)}"
    sys.stderr.write(
        f"error: {what}: it, or a library it loads, ended the process {how} before the command "
        "was done\n"
    )
    return MISUSE
