"""Independent chunks of work over any `concurrent.futures.Executor`, each counted exactly once.

When a worker dies, what was in hand is run again, each chunk alone, so that one that kills its
worker is told from its neighbours. Users' exceptions cross the border as text: a traceback cannot.
"""

from __future__ import annotations

import contextlib
import importlib
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    wait,
)
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from .. import loading
from ..errors import GradcheckError, UsageError
from .pools import Crash, Pool

__all__ = ["Crash", "RemoteError", "run_chunks"]

#: Seconds without a result after which a pool is asked whether it still lives.
PULSE = 2.0
#: Deaths, all alone in its pool, that convict a chunk: one may be the operator's, or memory's.
ALONE = 2
C = TypeVar("C")
R = TypeVar("R")


class RemoteError(GradcheckError):
    """A function of the user raised in a worker; ``traceback`` shows the user's frames only."""

    def __init__(self, message: str, frames: str) -> None:
        super().__init__(message)
        self.traceback = frames


@dataclass(frozen=True)
class _Raised:
    """An exception as text; ``frames`` are those of the user's files, or all if there are none."""

    kind: Literal["misuse", "user", "ours"]
    message: str
    frames: str = ""

    def again(self) -> Exception:
        if self.kind == "misuse":
            return UsageError(self.message)
        if self.kind == "user":
            return RemoteError(self.message, self.frames)
        return RuntimeError(f"in a worker: {self.message}\n{self.frames}")


def run_chunks(
    function: Callable[[C], R],
    chunks: Sequence[C],
    pool: Pool,
    on_done: Callable[[int, R | Crash], None] = lambda index, result: None,
) -> list[R | Crash]:
    """Run a function on every chunk, in any order; each result is taken exactly once.

    Parameters
    ----------
    function : callable
        Importable by name where the chunks run.
    chunks : sequence
        Its arguments; what they and the results hold must pickle.
    pool : Pool
        `Processes`, `Cluster`, or any executor as `Borrowed`.
    on_done : callable, optional
        Called here, with the number of a chunk and its result, as soon as it is there.

    Returns
    -------
    list
        Results in the order of the chunks; `Crash` for a chunk that kills its worker.

    Raises
    ------
    GradcheckError
        What the function raised first: misuse as it was, a user's exception as `RemoteError`.
    """
    work = _Work(function, chunks, pool, on_done)
    try:
        while work.waiting or work.suspects:
            work.drain(pool.start())
    finally:
        pool.close()
    return [work.results[i] for i in range(len(chunks))]


class _Work:
    """What is to be done, what is in hand, what is done."""

    def __init__(
        self, function: Any, chunks: Sequence[Any], pool: Pool, on_done: Callable[..., None]
    ) -> None:
        self.function, self.chunks, self.pool, self.on_done = function, chunks, pool, on_done
        self.waiting = deque(range(len(chunks)))
        self.suspects: deque[int] = deque()
        self.results: dict[int, Any] = {}
        self.in_hand: dict[Future[Any], int] = {}
        self.deaths: dict[int, int] = {}
        self.solitary = False

    def drain(self, executor: Executor) -> None:
        """Work until all is done or the executor breaks."""
        while self.waiting or self.suspects or self.in_hand:
            if not self._hand_over(executor) or not self._take():
                return

    def _hand_over(self, executor: Executor) -> bool:
        if not self.in_hand:
            self.solitary = bool(self.suspects)
        queue = self.suspects if self.solitary else self.waiting
        window = 1 if self.solitary else self.pool.window or len(self.chunks)
        while queue and len(self.in_hand) < window:
            index = queue.popleft()
            try:
                future = executor.submit(_call, self.function, self.chunks[index])
            except BrokenExecutor as error:
                queue.appendleft(index)  # it was never begun
                return self._broken(error)
            self.in_hand[future] = index
        return True

    def _take(self) -> bool:
        done, _ = wait(self.in_hand, timeout=PULSE, return_when=FIRST_COMPLETED)
        if not done:
            self.pool.check()
        broken: BaseException | None = None
        for future in sorted(done, key=self.in_hand.__getitem__):
            error = CancelledError() if future.cancelled() else future.exception()
            if error is None:
                self._keep(self.in_hand.pop(future), future.result())
                continue
            meaning = self.pool.explain(error)
            if isinstance(meaning, Crash):
                self._keep(self.in_hand.pop(future), meaning)
            elif meaning is not None:
                raise meaning from None
            elif isinstance(error, BrokenExecutor) and self.pool.renews:
                broken = error
            else:
                raise error
        return broken is None or self._broken(broken)

    def _broken(self, error: BaseException) -> bool:
        """Sort what was in hand: done after all, guilty, or to be run again."""
        alone = self.solitary
        if not self.pool.renews:
            meaning = self.pool.explain(error)
            raise meaning if isinstance(meaning, GradcheckError) else error
        lost = []
        for future, index in self.in_hand.items():
            if future.done() and not future.cancelled() and future.exception() is None:
                self._keep(index, future.result())
            else:
                lost.append(index)
        self.in_hand.clear()
        for index in sorted(lost):
            self.deaths[index] = self.deaths.get(index, 0) + alone
            if self.deaths[index] >= ALONE:
                self._keep(index, Crash(self.deaths[index] + 1))
            else:
                self.suspects.append(index)
        return False

    def _keep(self, index: int, result: Any) -> None:
        if isinstance(result, _Raised):
            raise result.again()
        self.results[index] = result
        self.on_done(index, result)


def _call(function: Callable[[C], R], chunk: C) -> R | _Raised:
    """In the worker: one BLAS thread, and exceptions turned into text."""
    with _one_thread():
        try:
            return function(chunk)
        except GradcheckError as error:
            place, text = loading.place_of(error), loading.shorten(str(error))
            named = place is None or place.rpartition(":")[0] in text
            return _Raised("misuse", text if named else f"{place}: {text}")
        except Exception as error:
            frames = loading.user_frames(error)
            if frames:
                return _Raised("user", loading.describe(error), loading.shorten("".join(frames)))
            return _Raised("ours", loading.describe(error), traceback.format_exc())


def _one_thread() -> contextlib.AbstractContextManager[Any]:
    """For workers that we did not start: their BLAS is loaded, only threadpoolctl reaches it."""
    try:
        threadpoolctl: Any = importlib.import_module("threadpoolctl")
    except ImportError:
        return contextlib.nullcontext()
    limits: contextlib.AbstractContextManager[Any] = threadpoolctl.threadpool_limits(1)
    return limits
