"""The command line `gradcheck-rnn`: argument parsing and printing, nothing else.

Exit codes: 0 pass, 1 fail, 2 misuse (one line on stderr), 3 undecided.
"""

from gradcheck_rnn.cli.run_command import main

__all__ = ["main"]
