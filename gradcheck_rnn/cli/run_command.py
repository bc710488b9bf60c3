"""Run the command line: every user's mistake is one line on stderr and exit code 2."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any, NoReturn

from gradcheck_rnn.cli import completion, output
from gradcheck_rnn.cli.codes import INTERNAL, MISUSE, PASS, SIGINT, SIGPIPE, SIGTERM, UNWRITTEN
from gradcheck_rnn.ends import end_with, named_signal
from gradcheck_rnn.errors import GradcheckError, Signalled

__all__ = ["main"]


class _Interrupted(Signalled):
    """Ctrl-C; a `KeyboardInterrupt` is one that a user's file raised."""


class _Through(Exception):
    """Carries what the parser of the command line would take for its own: it leaves the process."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error


class _Ended(Signalled):
    """SIGTERM or SIGHUP; what was started is ended on the way out."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run `gradcheck-rnn` and return its exit code.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments after the program's name; those of the process when left out.

    Returns
    -------
    int
        0 pass, 1 fail, 2 misuse, 3 undecided; 70 for a fault of the tool itself, 74 when stdout
        cannot be written, 130, 141 and 143 after Ctrl-C, a closed pipe and SIGTERM.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    _open_streams()
    # A caller's own process is not forked: it may have threads.
    if argv is None and (what := users_code(arguments)):
        return supervised(lambda: _run(arguments), what)
    return _run(arguments)


def _run(arguments: list[str]) -> int:
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show σ shows a question mark, not a traceback.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        with _signals():
            if completion.complete(command := _command()):
                return PASS
            code = command(args=arguments, prog_name="gradcheck-rnn", standalone_mode=False)
            if sys.stdout is not None:
                sys.stdout.flush()
    except _Interrupted:
        return _say("interrupted", SIGINT)
    except _Ended:
        return _say("ended by a signal", SIGTERM)
    except _Through as through:
        error = through.error
        return _unwritten(error) if isinstance(error, OSError) else _report(error)
    except OSError as error:
        return _unwritten(error)
    except SystemExit as error:  # the parser's own, when nobody reads its help
        _drop_stdout()
        return SIGPIPE if error.code else PASS
    except Exception as error:
        return _report(error)
    return code if isinstance(code, int) else PASS


def _command() -> Any:
    """The commands, each with stdout for its result alone and with `os._exit` held back."""
    import typer.main

    from gradcheck_rnn import loading
    from gradcheck_rnn.cli.app import app

    group: Any = typer.main.get_command(app)

    def quiet(callback: Any) -> Any:
        @functools.wraps(callback)
        def run(*args: Any, **options: Any) -> Any:
            try:
                with output.claimed(), loading.no_exit():
                    return callback(*args, **options)
            except (OSError, EOFError, KeyboardInterrupt, SystemExit) as error:
                raise _Through(error) from error

        return run

    for command in group.commands.values():
        command.callback = quiet(command.callback)
    return group


def _open_streams() -> None:
    """Where stdin, stdout or stderr is closed, keep its number from the next file opened."""
    with contextlib.suppress(OSError):
        while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
            pass
        os.close(number)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    """Turn signals that end this process into exceptions, so that it ends its workers first."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> NoReturn:
        raise _Interrupted

    def end(number: int, frame: FrameType | None) -> NoReturn:
        raise _Ended

    ours = {signal.SIGINT: interrupt, signal.SIGTERM: end}
    if hasattr(signal, "SIGHUP"):
        ours[signal.SIGHUP] = end
    # What is ignored (nohup) stays ignored; another handler than Python's own is somebody's.
    usual = (signal.SIG_DFL, signal.default_int_handler)
    before = {n: signal.signal(n, h) for n, h in ours.items() if signal.getsignal(n) in usual}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _unwritten(error: OSError) -> int:
    """Stdout took nothing, or not all: no pass, and no fault of ours."""
    from gradcheck_rnn import loading

    if loading.place_of(error) is not None:
        return _report(error)
    _drop_stdout()
    if isinstance(error, BrokenPipeError):  # the reader has what it wanted: `| head`
        return SIGPIPE
    if error.filename is not None:
        return _misuse(f"{error.filename}: {error.strerror or error}")
    return _say(f"the output cannot be written: {error.strerror or error}", UNWRITTEN)


def _drop_stdout() -> None:
    """Keep the interpreter from trying again when it ends."""
    if sys.stdout is not None:
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _report(error: BaseException) -> int:
    from gradcheck_rnn import loading

    if os.environ.get("GRADCHECK_TRACEBACK"):
        raise error
    if not isinstance(error, GradcheckError):
        try:
            loading.check_modules()
        except GradcheckError as cause:
            error = cause
    if isinstance(error, GradcheckError):
        return _misuse(_placed(loading.shorten(str(error)), loading.place_of(error)))
    if isinstance(error, SystemExit):
        return _misuse(f"the user's code {loading.describe_exit(error)}")
    if hasattr(error, "format_message"):  # a parser's complaint (unknown option, bad number)
        complaint = error.format_message().replace(": Value error, ", ": ")
        return _misuse(_one_line(complaint) + "; see --help")
    if type(error).__name__ == "Abort":
        return SIGINT
    if isinstance(error, MemoryError):
        return _misuse(f"out of memory: {error or 'an array'} did not fit; give smaller sizes")
    place = loading.place_of(error)
    if place is not None:
        return _misuse(f"{place}: {loading.describe(error)}")
    if isinstance(error, KeyboardInterrupt):
        return _say("interrupted", SIGINT)
    import traceback

    with contextlib.suppress(OSError):
        traceback.print_exception(error)
    return _say("this is a fault of gradcheck-rnn itself; please report the above", INTERNAL)


def _misuse(message: str) -> int:
    return _say(_one_line(message), MISUSE)


def _say(message: str, code: int) -> int:
    """One line on stderr, if anybody listens there."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"error: {message}\n")
        sys.stderr.flush()
    return code


def _placed(message: str, place: str | None) -> str:
    """The message with file and line in front, unless it names the file already."""
    if place is None or place.rpartition(":")[0] in message:
        return message
    return f"{place}: {message}"


#: A word beyond this, or a message, is cut: what a user named may be as long as a file.
MOST_WORD, MOST_MESSAGE = 200, 1200


def _one_line(message: str) -> str:
    """The message on one line, without control characters and without endless words."""
    joined = " ".join(part.strip() for part in message.strip().splitlines()).rstrip(".")
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in joined)
    words = [w if len(w) <= MOST_WORD else f"{w[:MOST_WORD]}…" for w in shown.split(" ")]
    text = " ".join(words)
    return text if len(text) <= MOST_MESSAGE else f"{text[:MOST_MESSAGE]}…"


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
