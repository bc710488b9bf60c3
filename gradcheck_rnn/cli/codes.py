"""Exit codes: what the shell and CI are told."""

__all__ = [
    "FAIL",
    "INTERNAL",
    "MISUSE",
    "PASS",
    "SIGINT",
    "SIGPIPE",
    "SIGTERM",
    "UNDECIDED",
    "UNWRITTEN",
]

PASS, FAIL, MISUSE, UNDECIDED = 0, 1, 2, 3
# sysexits' EX_SOFTWARE: a fault of ours must not look like a failed check.
INTERNAL = 70
# sysexits' EX_IOERR: stdout is closed, or its disk is full.
UNWRITTEN = 74
SIGINT, SIGPIPE, SIGTERM = 130, 141, 143
