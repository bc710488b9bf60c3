"""Arguments that callers hand in: of the right kind, or one line that says what they are to be."""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from gradcheck_rnn.errors import UsageError

__all__ = [
    "check_choice",
    "check_flag",
    "check_function",
    "check_kind",
    "check_names",
    "check_path",
    "check_placed",
    "check_real",
    "check_sizes",
    "check_text",
    "check_whole",
    "shown",
]

#: Longest part of a value that is repeated in a message.
MOST_SHOWN = 60


def check_placed(layout: Mapping[str, Any]) -> None:
    """Refuse parts of a layout that are no texts by name.

    Raises
    ------
    UsageError
        A list, or something else that is no text, in the place of a mapping; a text for a list.
    """
    for part in ("parameters", "inputs", "outputs", "adjoints"):
        given = layout[part]
        if not isinstance(given, Mapping) or not all(
            isinstance(text, str) for item in given.items() for text in item
        ):
            raise UsageError(
                f"layout: {part} is {shown(given)}; give texts by name, your name → where it is in "
                'the definition, as {"W_hh": "W"}'
            )
    if isinstance(layout["zero"], str):
        raise UsageError(f"layout: zero is {layout['zero']!r}; give a list of names")


def shown(value: Any) -> str:
    """A value for a message: on one line and short, its type where it says nothing by itself."""
    if isinstance(value, str | bytes | int | float | bool | None | tuple | list | dict | set):
        text = _repr(value)
        return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}…"
    return f"a {type(value).__name__}"


def _repr(value: Any) -> str:
    try:
        return repr(value)
    except ValueError:  # an integer of more digits than Python prints
        return f"a {type(value).__name__} of very many digits"


def check_whole(value: Any, name: str, least: int = 0, most: int | None = None) -> int:
    """A whole number from `least` to `most`.

    Raises
    ------
    UsageError
        It is something else; booleans are no numbers here.
    """
    limits = f"{least} or more" if most is None else f"from {least} to {most}"
    wrong = UsageError(f"{name} is {shown(value)}; give a whole number, {limits}")
    if isinstance(value, bool):
        raise wrong
    try:
        number = operator.index(value)
    except TypeError:
        raise wrong from None
    if number < least or (most is not None and number > most):
        raise wrong
    return number


def check_real(value: Any, name: str) -> float:
    """A finite real number.

    Raises
    ------
    UsageError
        It is something else.
    """
    wrong = UsageError(f"{name} is {shown(value)}; give a finite number")
    if isinstance(value, bool | str | bytes):
        raise wrong
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise wrong from None
    if not math.isfinite(number):
        raise wrong
    return number


def check_choice(value: Any, name: str, choices: Iterable[str]) -> str:
    """One of some words.

    Raises
    ------
    UsageError
        It is none of them.
    """
    known = tuple(choices)
    if not isinstance(value, str) or value not in known:
        raise UsageError(f"{name} is {shown(value)}; choose from {', '.join(known)}")
    return value


def check_text(value: Any, name: str, what: str) -> str:
    """A string that is not empty; `what` says what it names.

    Raises
    ------
    UsageError
        It is something else.
    """
    if not isinstance(value, str) or not value:
        raise UsageError(f"{name} is {shown(value)}; give {what}")
    return value


def check_flag(value: Any, name: str) -> bool:
    """True or False.

    Raises
    ------
    UsageError
        It is something else.
    """
    if not isinstance(value, bool):
        raise UsageError(f"{name} is {shown(value)}; give True or False")
    return value


def check_names(value: Any, name: str) -> list[str]:
    """One name or several, as a list.

    Raises
    ------
    UsageError
        It is neither a string nor made of strings.
    """
    if isinstance(value, str):
        return [value]
    wrong = UsageError(f"{name} is {shown(value)}; give a name or a list of names")
    if isinstance(value, bytes | Mapping) or not isinstance(value, Iterable):
        raise wrong
    try:
        names = list(value)
    except TypeError:  # an array without a dimension says that it is iterable, and is not
        raise wrong from None
    if not all(isinstance(n, str) for n in names):
        raise wrong
    return names


def check_path(value: Any, name: str) -> Path:
    """A path.

    Raises
    ------
    UsageError
        It is none, or holds the character that no path can.
    """
    if not isinstance(value, str | os.PathLike):
        raise UsageError(f"{name} is {shown(value)}; give a path")
    path = Path(value)
    if "\0" in str(path):
        raise UsageError(f"{name} is {shown(str(path))}; a path has no null character")
    return path


def check_function(value: Any, name: str) -> Any:
    """Something that can be called.

    Raises
    ------
    UsageError
        It cannot.
    """
    if not callable(value):
        raise UsageError(f"{name} is {shown(value)}; give a function")
    return value


def check_kind(value: Any, kind: type, what: str) -> None:
    """An instance of a class; `what` says what is to be given.

    Raises
    ------
    UsageError
        It is something else.
    """
    if not isinstance(value, kind):
        raise UsageError(f"{shown(value)} is something else than {what}")


def check_sizes(value: Any, name: str = "sizes") -> dict[str, int]:
    """Dim → size, sizes from 1 on; None is no size.

    Raises
    ------
    UsageError
        It is no mapping from names to such numbers.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(n, str) for n in value):
        raise UsageError(f"{name} is {shown(value)}; give a mapping such as {{'p': 64}}")
    return {n: check_whole(size, f"{name}[{n!r}]", 1) for n, size in value.items()}
