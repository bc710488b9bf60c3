"""Run the command line: every user's mistake is one line on stderr and exit code 2."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from gradcheck_rnn.cli.codes import INTERNAL, MISUSE, PASS, SIGINT, SIGPIPE
from gradcheck_rnn.errors import GradcheckError

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run `gradcheck-rnn` and return its exit code.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments after the program's name; those of the process when left out.

    Returns
    -------
    int
        0 pass, 1 fail, 2 misuse, 3 undecided; 70 for a fault of the tool itself.
    """
    from gradcheck_rnn.cli.app import app

    arguments = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show σ shows a question mark, not a traceback.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        code = app(arguments, prog_name="gradcheck-rnn", standalone_mode=False)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return SIGINT
    except BrokenPipeError:
        # The reader (head, less) has gone: nobody to tell, but keep the interpreter from trying.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return SIGPIPE
    except Exception as error:
        return _report(error)
    return code if isinstance(code, int) else PASS


def _report(error: Exception) -> int:
    from gradcheck_rnn import loading

    if os.environ.get("GRADCHECK_TRACEBACK"):
        raise error
    if isinstance(error, GradcheckError):
        return _misuse(_placed(loading.shorten(str(error)), loading.place_of(error)))
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
    import traceback

    traceback.print_exception(error)
    sys.stderr.write("error: this is a fault of gradcheck-rnn itself; please report the above\n")
    return INTERNAL


def _misuse(message: str) -> int:
    sys.stderr.write(f"error: {_one_line(message)}\n")
    return MISUSE


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
