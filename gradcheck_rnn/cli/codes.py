"""Exit codes: what the shell and CI are told."""

__all__ = ["FAIL", "INTERNAL", "MISUSE", "PASS", "SIGINT", "SIGPIPE", "UNDECIDED"]

PASS, FAIL, MISUSE, UNDECIDED = 0, 1, 2, 3
# sysexits' EX_SOFTWARE: a fault of ours must not look like a failed check.
INTERNAL = 70
SIGINT, SIGPIPE = 130, 141
