"""``python -m gradcheck_rnn`` is the command line."""

from __future__ import annotations

import sys

from gradcheck_rnn.cli import main

if __name__ == "__main__":
    sys.exit(main())
