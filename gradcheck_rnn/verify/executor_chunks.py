"""Independent chunks of work over any `concurrent.futures.Executor`, each counted exactly once.

A worker's death is the result of the chunk that it had in hand (see `children`). Users' exceptions
cross the border as text: a traceback cannot.
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
from ..errors import GradcheckError, Signalled, UsageError, moved_out
from .children import Crash
from .pools import Pool

__all__ = ["Crash", "Raised", "RemoteError", "attempt", "run_chunks"]

#: Seconds without a result after which a pool is asked whether it still lives.
PULSE = 2.0
C = TypeVar("C")
R = TypeVar("R")


class RemoteError(GradcheckError):
    """A function of the user raised in a worker; ``traceback`` shows the user's frames only."""

    def __init__(self, message: str, frames: str) -> None:
        super().__init__(message)
        self.traceback = frames


@dataclass(frozen=True)
class Raised:
    """An exception as text; ``frames`` are those of the user's files, or all if there are none.

    ``kind`` tells misuse, an exception of the user's code, its leaving of the process
    (`SystemExit`), too little memory, and a fault of ours.
    """

    kind: Literal["misuse", "user", "exit", "memory", "ours"]
    message: str
    frames: str = ""

    def again(self) -> Exception:
        """The exception to be raised here."""
        if self.kind == "ours":
            return RuntimeError(f"in a worker: {self.message}\n{self.frames}")
        if self.frames:
            return RemoteError(self.message, self.frames)
        return UsageError(self.message)


def run_chunks(
    function: Callable[[C], R],
    chunks: Sequence[C],
    pool: Pool,
    on_done: Callable[[int, R | Crash | Raised], None] = lambda index, result: None,
    *,
    keep_going: bool = False,
) -> list[R | Crash | Raised]:
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
    keep_going : bool
        Whether what the function raises is a result, too, and the other chunks go on.

    Returns
    -------
    list
        Results in the order of the chunks; `Crash` for a chunk that ends its worker.

    Raises
    ------
    GradcheckError
        What the function raised first: misuse as it was, a user's exception as `RemoteError`.
    """
    work = _Work(function, chunks, pool, on_done, keep_going)
    try:
        work.drain(pool.start())
    finally:
        pool.close()
    return [work.results[i] for i in range(len(chunks))]


class _Work:
    """What is to be done, what is in hand, what is done."""

    def __init__(
        self, function: Any, chunks: Sequence[Any], pool: Pool, on_done: Callable[..., None],
        keep_going: bool,
    ) -> None:  # fmt: skip
        self.function, self.chunks, self.pool, self.on_done = function, chunks, pool, on_done
        self.keep_going = keep_going
        self.waiting = deque(range(len(chunks)))
        self.results: dict[int, Any] = {}
        self.in_hand: dict[Future[Any], int] = {}

    def drain(self, executor: Executor) -> None:
        """Work until all is done."""
        while self.waiting or self.in_hand:
            try:
                self._hand_over(executor)
            except BrokenExecutor as error:
                raise self._meaning(error) from None
            self._take()

    def _hand_over(self, executor: Executor) -> None:
        window = self.pool.window or len(self.chunks)
        while self.waiting and len(self.in_hand) < window:
            index = self.waiting[0]
            self.in_hand[executor.submit(_attempt_alone, self.function, self.chunks[index])] = index
            self.waiting.popleft()

    def _take(self) -> None:
        done, _ = wait(self.in_hand, timeout=PULSE, return_when=FIRST_COMPLETED)
        if not done:
            self.pool.check()
        for future in sorted(done, key=self.in_hand.__getitem__):
            index = self.in_hand.pop(future)
            error = CancelledError() if future.cancelled() else future.exception()
            result = future.result() if error is None else self._meaning(error)
            if isinstance(result, BaseException):
                raise result from None
            if isinstance(result, Raised) and (result.kind == "ours" or not self.keep_going):
                raise result.again()
            self.results[index] = result
            self.on_done(index, result)

    def _meaning(self, error: BaseException) -> Any:
        """What an error of the executor itself means: a `Crash` of the chunk, or the end."""
        return self.pool.explain(error) or error


def attempt(function: Callable[..., R], *arguments: Any) -> R | Raised:
    """What a function returns where the user's code runs, or what it raises as text."""
    try:
        with loading.no_exit():
            result = function(*arguments)
        loading.check_modules()
        return result
    except GradcheckError as error:
        place, text = loading.place_of(error), loading.shorten(str(error))
        named = place is None or place.rpartition(":")[0] in text
        return Raised("misuse", text if named else f"{place}: {text}")
    except MemoryError as error:
        return Raised("memory", f"needs more memory than there is{loading.at(error)}")
    except SystemExit as error:
        return Raised("exit", loading.describe_exit(error))
    except Signalled:
        raise
    except BaseException as error:
        try:
            loading.check_modules()
        except GradcheckError as cause:
            return Raised("misuse", str(cause))
        frames = loading.user_frames(error)
        if frames and (moved := moved_out(error)):
            place = f"{loading.place_of(error)}: " * bool(loading.place_of(error))
            return Raised("misuse", f"{place}{loading.describe(error)}; {moved}")
        if frames:
            return Raised("user", loading.describe(error), loading.shorten("".join(frames)))
        return Raised("ours", loading.describe(error), traceback.format_exc())


def _attempt_alone(function: Callable[..., R], chunk: Any) -> R | Raised:
    """In one of many workers: with one BLAS thread."""
    with _one_thread():
        return attempt(function, chunk)


def _one_thread() -> contextlib.AbstractContextManager[Any]:
    """For workers that we did not start: their BLAS is loaded, only threadpoolctl reaches it."""
    try:
        threadpoolctl: Any = importlib.import_module("threadpoolctl")
    except ImportError:
        return contextlib.nullcontext()
    limits: contextlib.AbstractContextManager[Any] = threadpoolctl.threadpool_limits(1)
    return limits
