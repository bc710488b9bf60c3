"""Where chunks of work run: processes of this machine, a Dask cluster, or a borrowed executor."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import re
import signal
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, CancelledError, Executor, ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

from .. import loading
from ..errors import GradcheckError, UsageError

__all__ = ["Borrowed", "Cluster", "Crash", "Pool", "Processes"]

#: Read by BLAS and OpenMP when NumPy is loaded: two workers of two threads each on two cores are
#: slower than two workers of one.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS",
           "VECLIB_MAXIMUM_THREADS", "NUMEXPR_NUM_THREADS")  # fmt: skip
PATIENCE = 10.0
#: Dask itself retries for long, then fails, on what is no address.
ADDRESS = r"inproc://.+|(\w+://)?[^/\s]+:\d+(/.*)?"


@dataclass(frozen=True)
class Crash:
    """In place of a result: the worker died each time it ran this chunk."""

    times: int


class Pool(Protocol):
    """Where chunks run.

    ``window`` is how many are handed over at once (None: all), ``renews`` whether `start` gives
    a new executor after one broke.
    """

    window: int | None
    renews: bool

    def start(self) -> Executor:
        """An executor that works."""

    def explain(self, error: BaseException) -> Crash | GradcheckError | None:
        """What an error of the executor itself means: the chunk's fault, the end, or neither."""

    def check(self) -> None:
        """Called now and then while nothing comes back; raises if nothing will."""

    def close(self) -> None:
        """Stop, without waiting for what has not begun."""


class Processes:
    """Processes of this machine, one BLAS thread each.

    Parameters
    ----------
    jobs : int
        How many; 0 for one a core.

    Raises
    ------
    UsageError
        A negative number.
    """

    renews = True

    def __init__(self, jobs: int = 0) -> None:
        if jobs < 0:
            raise UsageError(f"--jobs {jobs} must not be negative; 0 is one a core")
        self.jobs = jobs or _cores()
        self.window: int | None = 2 * self.jobs
        self._executor: ProcessPoolExecutor | None = None
        self._before: dict[str, str | None] | None = None

    def start(self) -> Executor:
        import multiprocessing

        again = self._executor is not None
        self.close()
        # Children read these when they load NumPy, and they are started as work comes in.
        self._before = {name: os.environ.get(name) for name in THREADS}
        os.environ.update(dict.fromkeys(THREADS, "1"))
        # Spawned, not forked: a fork copies locks of BLAS threads that do not exist in the child.
        self._executor = ProcessPoolExecutor(
            self.jobs, multiprocessing.get_context("spawn"), initializer=_leave_interrupts
        )
        if again:
            # What broke before may break every time, before any work is begun.
            try:
                self._executor.submit(os.getpid).result()
            except BrokenExecutor:
                raise UsageError(
                    "worker processes die when they start; a script that uses them must keep what "
                    "it runs under if __name__ == '__main__'"
                ) from None
        return self._executor

    def explain(self, error: BaseException) -> Crash | GradcheckError | None:
        return None

    def check(self) -> None:
        pass  # a process that dies breaks the executor, which says so at once

    def close(self) -> None:
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)
            self._executor = None
        for name, value in (self._before or {}).items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        self._before = None


def _cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _leave_interrupts() -> None:
    """Ctrl-C is the parent's to handle; otherwise every worker prints a traceback."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class Borrowed:
    """An executor of the caller's, which stays open."""

    renews = False

    def __init__(self, executor: Executor, window: int | None = None) -> None:
        self.executor, self.window = executor, window

    def start(self) -> Executor:
        return self.executor

    def explain(self, error: BaseException) -> Crash | GradcheckError | None:
        if isinstance(error, BrokenExecutor):
            return UsageError(f"the executor broke ({error}); give one that works")
        return None

    def check(self) -> None:
        pass

    def close(self) -> None:
        pass


class Cluster:
    """A Dask cluster: its scheduler runs what a dead worker had in hand on another one.

    Parameters
    ----------
    address : str
        Of the scheduler, ``tcp://host:8786``.
    patience : float
        Seconds to wait for the scheduler, and for a first worker.

    Raises
    ------
    UsageError
        Dask is not installed, nothing answers there, or the cluster has no worker.
    """

    renews = False
    window: int | None = None

    def __init__(self, address: str, patience: float = PATIENCE) -> None:
        try:
            distributed = _distributed()
        except ImportError:
            raise UsageError(
                "--dask needs Dask: pip install 'gradcheck-rnn[dask]', here and on the workers"
            ) from None
        if not re.fullmatch(ADDRESS, address):
            raise UsageError(f"--dask {address!r} is no address; one looks like tcp://host:8786")
        self.address, self.patience = address, patience
        with _silent("distributed"):
            try:
                self.client = distributed.Client(address, timeout=patience, set_as_default=False)
            except (OSError, TimeoutError, ValueError) as error:
                raise UsageError(
                    f"the cluster at {address} does not answer within {patience:g} s "
                    f"({loading.describe(error)}); start dask scheduler there, or give its address"
                ) from None
            try:
                self.client.wait_for_workers(1, timeout=patience)
            except TimeoutError:
                self.client.close()
                raise UsageError(
                    f"the cluster at {address} has no worker; start one with: dask worker {address}"
                ) from None

    def start(self) -> Executor:
        executor: Executor = self.client.get_executor()
        return executor

    def explain(self, error: BaseException) -> Crash | GradcheckError | None:
        distributed = _distributed()
        if isinstance(error, distributed.KilledWorker):
            return Crash(int(error.allowed_failures) + 1)
        if isinstance(error, CancelledError | OSError):
            return UsageError(f"the cluster at {self.address} has stopped answering")
        if isinstance(error, ImportError):
            return UsageError(
                f"a worker of {self.address} cannot import {error.name}; install the same version "
                "of gradcheck-rnn there"
            )
        # What a chunk raises comes back as a value: this is the cluster's own.
        return UsageError(f"the cluster at {self.address} failed: {loading.describe(error)}")

    def check(self) -> None:
        if self.client.status != "running" or not self.client.scheduler_info()["workers"]:
            # A nanny starts its worker anew; give it the time it gave us.
            with _silent("distributed"):
                try:
                    self.client.wait_for_workers(1, timeout=self.patience)
                except (TimeoutError, OSError, ValueError):
                    raise UsageError(
                        f"the cluster at {self.address} has no worker left, or is gone"
                    ) from None

    def close(self) -> None:
        with _silent("distributed"), contextlib.suppress(Exception):
            self.client.close()


def _distributed() -> Any:
    return importlib.import_module("distributed")


@contextlib.contextmanager
def _silent(name: str) -> Iterator[None]:
    """Keep a library's log off the terminal: the one line is ours."""
    log = logging.getLogger(name)
    before = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        log.setLevel(before)
