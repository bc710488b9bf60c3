"""Says what was being checked when pytest's own process ended without a word.

A check that runs in pytest's process can take it away: an end in compiled code runs no handler, and
with `_exit(0)` even the exit code is that of a pass. Nobody in that process can say so; another
one, which waits for the end of a pipe, can. The exit code it cannot change: where that counts, run
the checks in processes of their own, or with ``-n 1`` of pytest-xdist.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

__all__ = ["SENTINEL", "Sentinel"]

SENTINEL = pytest.StashKey["Sentinel"]()
#: The last line read is what is to be said; nothing, between checks.
SCRIPT = """
import json, sys
said = '""'
for said in sys.stdin:
    pass
sys.stdout.write(json.loads(said))
"""


class Sentinel:
    """A process that outlives this one; started with the first check that runs here.

    Parameters
    ----------
    config : pytest.Config
        While nothing is captured yet: what is said goes to the stderr of now.
    """

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.owner = os.getpid()
        self.process: subprocess.Popen[str] | None = None
        self.stream: int | None = None
        if not hasattr(config, "workerinput"):  # xdist notices the end of its workers
            with contextlib.suppress(OSError):
                self.stream = os.dup(2)

    @contextlib.contextmanager
    def watching(self, test: str, file: str, line: int) -> Iterator[None]:
        """Run a check; should this process end in it, the test is named.

        Parameters
        ----------
        test : str
            Its node.
        file, line : str, int
            Where an annotation is to be shown.
        """
        from gradcheck_rnn.verify.annotations import annotation, on_github

        how = "the process of pytest ended before there was a result; what follows did not run"
        said = f"\nerror: {test}: {how}\n"
        if on_github(self.config.getoption("--gradcheck-github")):
            report = {"verdict": "fail", "title": test, "rows": (),
                      "findings": [{"fatal": True, "message": how}]}  # fmt: skip
            said += f"{annotation(report, file=file, line=line)}\n"
        self._keep(said)
        try:
            yield
        finally:
            self._keep("")

    def close(self) -> None:
        """End the process; there is nothing to be said."""
        if self.process is not None:
            with contextlib.suppress(OSError):
                self.process.communicate()
        if self.stream is not None:
            os.close(self.stream)

    def _keep(self, said: str) -> None:
        if self.stream is None or os.getpid() != self.owner:
            return
        with contextlib.suppress(OSError):
            if self.process is None:
                self.process = subprocess.Popen(
                    [sys.executable, "-I", "-S", "-c", SCRIPT], stdin=subprocess.PIPE,
                    stdout=self.stream, stderr=self.stream, text=True, start_new_session=True,
                )  # fmt: skip
            assert self.process.stdin is not None
            self.process.stdin.write(json.dumps(said) + "\n")
            self.process.stdin.flush()
