"""Elementwise functions made by users: where they were made, and whether they can be derived.

What no later command could handle is refused when a definition that uses it is traced, with the
line on which the function was made. SymPy is loaded only then.
"""

from __future__ import annotations

from functools import cache

from ..errors import UnsupportedOperation

__all__ = ["PLACES", "USER_FUNCTIONS", "check_user_function"]

#: SymPy source text of elementwise functions made by users, by name, and file and line of each.
USER_FUNCTIONS: dict[str, str] = {}
PLACES: dict[str, str] = {}


def check_user_function(name: str) -> None:
    """Raise where a user's function cannot be differentiated or printed as code.

    Raises
    ------
    UnsupportedOperation
        With the line on which it was made, what is in the way, and what can be written.
    """
    if name not in USER_FUNCTIONS:
        return
    said = _refusal(name, USER_FUNCTIONS[name])
    if said:
        raise UnsupportedOperation(f"{PLACES[name]}: {said}")


@cache
def _refusal(name: str, expression: str) -> str:
    from .scalar_functions import parse_scalar, refused

    try:
        reason = refused(parse_scalar(name, expression))
    except UnsupportedOperation as problem:
        return str(problem)
    return f"elementwise {name!r}: {reason}" if reason else ""
