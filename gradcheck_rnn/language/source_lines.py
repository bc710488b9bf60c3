"""Lines of the user's files: where a function was made, where a constant comes from."""

from __future__ import annotations

import sys
from contextvars import ContextVar
from typing import Any

__all__ = ["calling_place", "noted_place", "noting"]

#: File whose lines constants note, while a definition is traced to see where they come from.
noting: ContextVar[str | None] = ContextVar("noting", default=None)


def noted_place() -> dict[str, Any]:
    """``{"place": "file:line"}`` of the definition's line that is running, where that is noted."""
    file = noting.get()
    frame = sys._getframe(1) if file else None
    while frame is not None and frame.f_code.co_filename != file:
        frame = frame.f_back
    return {} if frame is None else {"place": f"{file}:{frame.f_lineno}"}


def calling_place() -> str:
    """File and line of the first frame outside of the package's language."""
    here = __name__.rpartition(".")[0]
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(here):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
