"""One BLAS thread for many small factorisations.

A QR of 128 columns takes a millisecond; handing it to several threads gains little on an idle
machine, and on a busy one the threads wait for each other: fifty times slower was measured with
two threads on two busy cores.
"""

from __future__ import annotations

import contextlib
import importlib
from typing import Any

__all__ = ["SMALL", "few_threads"]

#: Up to this size one thread is used.
SMALL = 384


def few_threads(n: int) -> contextlib.AbstractContextManager[Any]:
    """A context in which BLAS runs on one thread if the matrices are small.

    Needs the package threadpoolctl; without it nothing is changed, and ``OPENBLAS_NUM_THREADS=1``
    in the environment does the same.
    """
    if n > SMALL:
        return contextlib.nullcontext()
    try:
        pools = importlib.import_module("threadpoolctl")
    except ImportError:
        return contextlib.nullcontext()
    made: contextlib.AbstractContextManager[Any] = pools.threadpool_limits(1, user_api="blas")
    return made
