"""Where chunks of work run: processes of this machine, a Dask cluster, or a borrowed executor."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import queue
import re
from collections.abc import Callable, Iterator
from concurrent.futures import (
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ThreadPoolExecutor,
)
from typing import Any, Protocol

from .. import loading
from ..errors import GradcheckError, UsageError
from .children import Child, Crash
from .limits import Limits

__all__ = ["Borrowed", "Cluster", "Crash", "Pool", "Processes"]

PATIENCE = 10.0
#: Dask itself retries for long, then fails, on what is no address.
ADDRESS = r"inproc://.+|(\w+://)?[^/\s]+:\d+(/.*)?"


class Pool(Protocol):
    """Where chunks run.

    ``window`` is how many are handed over at once (None: all), ``local`` whether files have the
    names there that they have here.
    """

    window: int | None
    local: bool

    def start(self) -> Executor:
        """An executor that works."""

    def planner(self) -> Child | None:
        """Where a plan is made; in this process if None."""

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
    limits : Limits, optional
        Of each chunk.

    Raises
    ------
    UsageError
        A negative number.
    """

    local = True

    def __init__(self, jobs: int = 0, limits: Limits | None = None) -> None:
        if jobs < 0:
            raise UsageError(f"--jobs {jobs} must not be negative; 0 is one a core")
        self.jobs = jobs or _cores()
        self.limits = limits or Limits()
        self.window: int | None = 2 * self.jobs
        self._executor: _Children | None = None

    def start(self) -> Executor:
        if self._executor is None:
            self._executor = _Children(self.jobs, self.limits)
        return self._executor

    def planner(self) -> Child | None:
        self.start()
        assert self._executor is not None
        return self._executor.children[0]

    def explain(self, error: BaseException) -> Crash | GradcheckError | None:
        return error if isinstance(error, GradcheckError) else None

    def check(self) -> None:
        pass  # each thread notices the death of its process

    def close(self) -> None:
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)
            self._executor = None


class _Children(Executor):
    """Processes that each run one call at a time; a thread here waits for each."""

    def __init__(self, jobs: int, limits: Limits) -> None:
        self.children = [Child(limits) for _ in range(jobs)]
        self._free: queue.LifoQueue[Child] = queue.LifoQueue()
        for child in reversed(self.children):
            self._free.put(child)
        self._threads = ThreadPoolExecutor(jobs)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return self._threads.submit(self._run, fn, args)

    def _run(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        child = self._free.get()
        try:
            return child.call(function, *arguments)
        finally:
            self._free.put(child)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._threads.shutdown(wait=False, cancel_futures=cancel_futures)
        for child in self.children:
            child.close()
        self._threads.shutdown(wait=wait)


def _cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Borrowed:
    """An executor of the caller's, which stays open."""

    local = False

    def __init__(self, executor: Executor, window: int | None = None) -> None:
        self.executor, self.window = executor, window

    def start(self) -> Executor:
        return self.executor

    def planner(self) -> Child | None:
        return None

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

    window: int | None = None
    local = False

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
        self._planner = Child()
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

    def planner(self) -> Child | None:
        return self._planner

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
        self._planner.close()
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
