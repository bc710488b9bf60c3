"""Values that a definition gives to its fixed parameters: a mask, a filter, a Hilbert matrix."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import DefinitionError
from .domains import Domain

__all__ = ["split_given"]

#: Numbers of an array that is written out in a kernel, at most.
_LONGEST = 1024


def split_given(
    title: str, fixed: str | Mapping[str, Any]
) -> tuple[str | dict[str, str], dict[str, Domain]]:
    """Shapes of fixed parameters, and the values of those that have some.

    ``{"P": array}`` has the sizes of the array; ``{"P": ("n n", values)}`` named dims, and
    ``values`` an array or a function of the sizes, called as ``np.eye(n, n)`` is.

    Raises
    ------
    DefinitionError
        What is given is no array of finite numbers and no function.
    """
    if not isinstance(fixed, Mapping):
        return fixed, {}
    shapes: dict[str, str] = {}
    domains: dict[str, Domain] = {}
    for name, entry in fixed.items():
        if isinstance(entry, str):
            shapes[name] = entry
            continue
        dims, values = entry if _is_pair(entry) else (None, entry)
        domains[name], sizes = _domain(f"cell {title!r}: fixed {name!r}", values)
        if dims is None and sizes is None:
            raise DefinitionError(
                f"cell {title!r}: fixed {name!r} is given by a function; say of which dims, as in "
                f'fixed={{{name!r}: ("n n", values)}}'
            )
        shapes[name] = dims if dims is not None else " ".join(map(str, sizes or ()))
    return shapes, domains


def _is_pair(entry: Any) -> bool:
    return isinstance(entry, tuple) and len(entry) == 2 and isinstance(entry[0], str)


def _domain(what: str, values: Any) -> tuple[Domain, tuple[int, ...] | None]:
    """The domain of an array or function, and the sizes of an array."""
    if callable(values):
        shown = values.func if isinstance(values, functools.partial) else values
        label = getattr(shown, "__qualname__", type(values).__name__)
        text = _function_text(values)
        return Domain("given", values=values, label=f"{label} ({what})", text=text), None
    try:
        array = np.array(values, dtype=float)
    except (TypeError, ValueError):
        array = np.full((1,), np.nan)
    if not np.isfinite(array).all() or not array.size or array.ndim > 3:
        raise DefinitionError(
            f"{what} is {type(values).__name__}; give an array of finite numbers, a shape such as "
            '"n n", or both as ("n n", values)'
        )
    array.setflags(write=False)
    digest = hashlib.sha256(array.tobytes()).hexdigest()[:12]
    label = f"an array {array.shape}, {digest} ({what})"
    text = f"np.array({array.tolist()!r})" if array.size <= _LONGEST else ""
    return Domain("given", values=lambda *shape: array, label=label, text=text), array.shape


def _function_text(values: Any) -> str:
    """The call of a function of NumPy, alone or with keywords of its own: ``np.eye``."""
    plain = isinstance(values, functools.partial) and not values.args
    function = values.func if plain else values
    keywords = values.keywords if plain else {}
    name = getattr(function, "__name__", "")
    known = getattr(np, name, None) is function if name else False
    if not known or not all(isinstance(v, bool | int | float) for v in keywords.values()):
        return ""
    return f"np.{name}({', '.join(['*sizes', *(f'{k}={v!r}' for k, v in keywords.items())])})"
