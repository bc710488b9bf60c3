"""Options of ``[tool.gradcheck-rnn]`` in a project's pyproject.toml, checked as they are read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import GradcheckError, UsageError

__all__ = ["OPTIONS", "read_options"]

OPTIONS = ("seed", "budget", "undecided", "jobs", "shapes", "timeout", "memory", "github", "report")


def read_options(
    folder: Path | None = None, convert: Callable[[str, Any], Any] = lambda _, value: value
) -> dict[str, Any]:
    """The options of a project, as texts that a command line could give.

    Parameters
    ----------
    folder : Path, optional
        Where to look for the project; by default the working folder.
    convert : callable, optional
        ``convert(name, value)`` as the command line would; raises what it would.

    Raises
    ------
    UsageError
        A key that is no option, or a value that the option does not take; names file and key.
    """
    from ..loading import suggest
    from ..project import TABLE, find_options

    found = find_options(Path.cwd() if folder is None else folder)
    if found is None:
        return {}
    path, table = found
    shown = path.name if path.parent == Path.cwd() else str(path)
    values = {}
    for key, value in table.items():
        if key == "pythonpath":
            continue
        if key not in OPTIONS:
            raise UsageError(
                f"{shown}: [tool.{TABLE}] {suggest(key, (*OPTIONS, 'pythonpath'), 'key')}"
            )
        try:
            values[key] = _plain(key, value)
            _check(key, convert(key, values[key]))
        except Exception as error:
            if not isinstance(error, GradcheckError) and not hasattr(error, "format_message"):
                raise
            told = getattr(error, "message", None) or str(error)
            raise UsageError(f"{shown}: [tool.{TABLE}] {key}: {told}") from None
    return values


def _plain(key: str, value: Any) -> Any:
    """The value as a command line has it.

    Raises
    ------
    UsageError
        It has a type that the option does not have.
    """
    if key == "github":
        if not isinstance(value, bool):
            raise UsageError("write true or false")
        return value
    if key == "report":
        names = [value] if isinstance(value, str) else value
        if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
            raise UsageError('write a file or a list of files, as ["found.html"]')
        return names
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise UsageError(f"{value!r} is neither a text nor a number")
    return str(value)


def _check(key: str, value: Any) -> None:
    """What would be said later, without the name of the file."""
    from .limits import Limits
    from .options import parse_seed
    from .target import Budget

    if key == "seed" and value != "fresh":
        parse_seed(value)
    elif key == "budget":
        text = str(value).strip()
        Budget(int(text) if text.isdigit() else text)
    elif key == "undecided" and str(value) not in ("fail", "warn"):
        raise UsageError(f"{value!r} is unknown; write 'fail' or 'warn'")
    elif key in ("timeout", "memory"):
        Limits.parse(**{"timeout": None, "memory": None, key: value})
