"""Functions made of operations, and what NumPy's functions and ufuncs mean on values of a cell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import UnsupportedOperation
from .dims import Dim, Shape, sequences_in_front
from .values import FUNCTIONS, UFUNCS, ArrayValue, Expr, operate

__all__ = [
    "clip",
    "identity_like",
    "largest",
    "logaddexp",
    "minimum",
    "roll",
    "sign",
    "smallest",
    "tr",
]


def minimum(a: Any, b: Any) -> Any:
    """Elementwise minimum, −maximum(−a, −b)."""
    return operate("neg", operate("maximum", operate("neg", a), operate("neg", b)))


def clip(x: Any, low: Any, high: Any) -> Any:
    """``x`` between ``low`` and ``high``; beyond them and at them its derivative is 0."""
    return minimum(operate("maximum", x, low), high)


def modulo(x: Any, period: Any) -> Any:
    """``x`` − ``period`` ⌊x / period⌋, of which the floor has derivative 0."""
    if isinstance(period, int | float) and period == 1:
        return x - operate("apply", x, function="floor")
    return x - period * floor_divide(x, period)


def floor_divide(a: Any, b: Any) -> Any:
    """⌊a / b⌋; its derivative is 0."""
    return operate("apply", operate("div", a, b), function="floor")


def sign(x: Any) -> Any:
    """1, 0 or −1; its derivative is 0."""
    return operate("add", operate("greater", x, 0), operate("neg", operate("greater", 0, x)))


def identity_like(x: Any) -> Any:
    """The identity matrix of as many rows as ``x`` has."""
    rows = x.shape.rows if isinstance(x, Expr) else x.shape[-2]
    if isinstance(rows, Dim):
        return Expr("eye", (), Shape(rows, rows), {"dim": rows})
    return ArrayValue(np.eye(rows, dtype=int))


def tr(x: Any) -> Any:
    """The sum of the diagonal of a square matrix."""
    rows = x.shape.rows if isinstance(x, Expr) else x.shape[-2]
    one = (
        Expr("ones", (), Shape(rows), {"dim": rows})
        if isinstance(rows, Dim)
        else ArrayValue(np.ones((rows, 1), dtype=int))
    )
    return operate("dot", one, operate("matmul", operate("mul", x, identity_like(x)), one))


def largest(x: Any) -> Any:
    """The largest unit, or entry of a matrix of the sequences; on ties the first has the slope."""
    matrix = not x.shape.column if isinstance(x, Expr) else x.shape[-1] != 1
    if matrix and sequences_in_front.get():
        x = operate("vec", x)
    return operate("dot", operate("unit_map", x, function="one_hot_max"), x)


def smallest(x: Any) -> Any:
    """The smallest unit, a scalar per sequence; on ties the derivative goes to the first."""
    return operate("neg", largest(operate("neg", x)))


def roll(x: Any, by: int) -> Any:
    """Units moved on by ``by`` places, the last ones to the front, as ``np.roll``."""
    return operate("concat", x[-by:], x[:-by]) if by else x


def _over_units(function: Callable[[Any], Any], name: str) -> Callable[..., Any]:
    """NumPy's spelling of a function over units, with the axis that is that of units."""

    def spelled(x: Any, axis: Any = None, *, keepdims: bool = True) -> Any:
        units = (None, -2) if sequences_in_front.get() else (None, -2, 0)
        if axis not in units:
            raise UnsupportedOperation(
                f"np.{name} with axis={axis} is not in the language: units are axis −2 here; "
                f'write {name}(x) for all units, S @ ones("m") for the columns of a matrix'
            )
        if axis is not None and isinstance(x, Expr) and not x.shape.column:
            raise UnsupportedOperation(
                f'np.{name} with axis={axis} is of vectors here; write S.T @ ones("n") for the '
                "sums of the columns of a matrix"
            )
        return function(x)

    return spelled


def _turned(x: Any, *axes: Any) -> Any:
    """NumPy's transpose without axes."""
    if axes:
        raise UnsupportedOperation(f"transpose with axes {axes} is not in the language; write x.T")
    return operate("transpose", x)


def _diagonal_matrix(x: Any) -> Any:
    """NumPy's diag of a vector."""
    if isinstance(x, Expr) and not x.shape.column:
        raise UnsupportedOperation(
            "np.diag of a matrix is not in the language; write "
            f'(A * eye("{x.shape.rows}")) @ ones("{x.shape.rows}") for its diagonal'
        )
    return x * identity_like(x)


def logaddexp(a: Any, b: Any) -> Any:
    """log(exp(a) + exp(b)), as b + softplus(a − b)."""
    return b + operate("apply", a - b, function="softplus")


UFUNCS |= {
    "add": lambda a, b: operate("add", a, b),
    "subtract": lambda a, b: operate("add", a, operate("neg", b)),
    "multiply": lambda a, b: operate("mul", a, b),
    "divide": lambda a, b: operate("div", a, b),
    "matmul": lambda a, b: operate("matmul", a, b),
    "negative": lambda a: operate("neg", a),
    "absolute": lambda a: operate("abs", a),
    "square": lambda a: operate("pow", a, exponent=2),
    "power": lambda a, n: a**n,
    "maximum": lambda a, b: operate("maximum", a, b),
    "minimum": minimum,
    "logaddexp": logaddexp,
    "greater": lambda a, b: operate("greater", a, b),
    "less": lambda a, b: operate("greater", b, a),
    "remainder": modulo,
    "floor_divide": floor_divide,
    "sign": sign,
    "ceil": lambda a: operate("neg", operate("apply", operate("neg", a), function="floor")),
}
FUNCTIONS |= {
    "where": lambda c, a, b: operate("where", c, a, b),
    "concatenate": lambda parts: operate("concat", *parts),
    "dot": lambda a, b: operate("matmul", a, b),
    "sum": _over_units(lambda x: operate("sum", x), "sum"),
    "mean": _over_units(lambda x: operate("mean", x), "mean"),
    "max": _over_units(largest, "max"),
    "amax": _over_units(largest, "max"),
    "min": _over_units(smallest, "min"),
    "amin": _over_units(smallest, "min"),
    "clip": clip,
    "roll": roll,
    "cumsum": _over_units(lambda x: operate("unit_map", x, function="cumsum"), "cumsum"),
    "solve": lambda a, b: operate("solve", a, b),
    "transpose": _turned,
    "diag": _diagonal_matrix,
    "copy": lambda x: x,
    "trace": tr,
    "vdot": lambda a, b: operate("dot", a, b),
    "norm": lambda x: operate("apply", operate("dot", x, x), function="sqrt"),
    "outer": lambda a, b: operate("matmul", a, operate("transpose", b)),
    "zeros_like": lambda x: operate("mul", 0, x),
    "ones_like": lambda x: operate("add", operate("mul", 0, x), 1),
}
