"""Expressions as NumPy text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from ...schedule.ops import Call
from ..expressions import ArrayPrinter, Precedence, Text
from .config import HELPERS

__all__ = ["NumPy"]


class NumPy(ArrayPrinter):
    """Prints expressions of arrays of any floating point dtype, complex ones too."""

    backend, title, module = "numpy", "NumPy", "np"
    helpers = HELPERS
    filled = "np.full({0}, {1}, dtype=dtype)"
    templates: ClassVar[Mapping[str, str]] = {
        "abs": "absolute({0})",
        "greater": "greater({all})",
        "where": "where({all})",
        "maximum": "maximum({all})",
        "softmax": "softmax({0})",
        "log_softmax": "log_softmax({0})",
        "sign": "np.sign(np.real({0}))",
        "total": "np.sum({0})",
        "parameter_outer": "np.outer({all})",
    }

    def other(self, e: Call, args: list[Text]) -> Text | None:
        if e.op == "matmul":
            return Text(f"{args[0]:product} @ {args[1]:unary}", Precedence.PRODUCT)
        return super().other(e, args)
