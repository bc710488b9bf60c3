"""Expressions of parameters as CuPy text: computed once a call, outside all loops."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from ..expressions import ArrayPrinter, Precedence, declared_helpers

__all__ = ["Host", "helper_texts"]

#: Helper functions of the module, for what CuPy has no name for, beside elementwise functions.
_HELPERS: dict[str, str] = {
    "greater": '''
def greater(a: Array, b: Array) -> Array:
    """1 where a > b, else 0."""
    return (a > b).astype(np.result_type(a, b))
''',
    "softmax": '''
def softmax(x: Array) -> Array:
    """exp(x) / Σ exp(x) over the units of a parameter."""
    y = cp.exp(x - x.max(axis=0))
    return y / y.sum(axis=0)
''',
    "log_softmax": '''
def log_softmax(x: Array) -> Array:
    """x − log Σ exp(x) over the units of a parameter."""
    y = x - x.max(axis=0)
    return y - cp.log(cp.exp(y).sum(axis=0))
''',
    "pad": '''
def pad(x: Array, start: int, rows: int) -> Array:
    """The rows of x from row ``start`` on among zeros."""
    x = x if x.ndim else x.reshape(1)
    y = cp.zeros((rows, *x.shape[1:]), dtype=x.dtype)
    y[start : start + len(x)] = x
    return y
''',
}


def helper_texts() -> dict[str, str]:
    """Texts of all helper functions by name, in the order in which a module has them."""
    return {**declared_helpers("cupy"), **_HELPERS}


class Host(ArrayPrinter):
    """Prints expressions of arrays on the device."""

    backend, title, module = "cupy", "CuPy", "cp"
    helpers = _HELPERS
    divisor = Precedence.POWER
    filled = "(cp.zeros({0}, dtype) + {1:product})"
    templates: ClassVar[Mapping[str, str]] = {
        "greater": "greater({all})",
        "softmax": "softmax({0})",
        "log_softmax": "log_softmax({0})",
        "matmul": "cp.dot({all})",
        "parameter_outer": "cp.outer({all})",
        "outer": "cp.outer({all})",
        "abs": "cp.abs({0})",
        "sign": "cp.sign({0})",
        "maximum": "cp.maximum({all})",
        "where": "cp.where({0} != 0, {1}, {2})",
        "total": "cp.sum({0})",
    }
