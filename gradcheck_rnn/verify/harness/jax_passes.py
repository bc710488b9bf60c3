"""JAX functions as they are handed over: told from others, and compiled.

A ``lax.scan`` over a function that every call makes anew is compiled in every call; inside
`jax.jit` it is compiled once for each shape.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

from ...errors import UsageError

__all__ = ["compiled", "is_jax"]


def is_jax(value: Any) -> bool:
    """Whether it is a function made by `jax.custom_vjp`, `jax.jit` or the like."""
    return callable(value) and type(value).__module__.split(".")[0] in ("jax", "jaxlib")


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of JAX arrays, compiled; run as it is once it cannot be traced.

    Raises
    ------
    UsageError
        JAX is not installed. Exceptions of the function itself propagate from its calls.
    """
    try:
        jax = importlib.import_module("jax")
    except ImportError:
        raise UsageError("array='jax': the library jax is not installed") from None
    run = jax.jit(function)

    @functools.wraps(function)
    def called(*args: Any, **named: Any) -> Any:
        nonlocal run
        try:
            return run(*args, **named)
        except Exception:
            if run is function:
                raise
            found = function(*args, **named)  # raises what is no fault of tracing
            run = function
            return found

    return called
