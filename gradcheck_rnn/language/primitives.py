"""The vocabulary of a cell definition beyond operators.

Every function takes values of the cell (or plain arrays) and numbers. Unit operations act on the
units of a vector, axis −2. Conventions at kinks: ``maximum(a, b)`` passes the derivative to ``b``
on ties, so relu has derivative 0 at 0; ``abs`` has derivative 0 at 0; ``where`` never
differentiates its condition.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import numpy as np

from ..errors import DimensionError, UnsupportedOperation
from . import numeric
from .dims import ONE, Dim, Shape, parse_dim, parse_shape
from .source_lines import calling_place
from .spellings import (
    clip,
    identity_like,
    largest,
    logaddexp,
    minimum,
    roll,
    sign,
    smallest,
    tr,
)  # fmt: skip
from .user_functions import PLACES, USER_FUNCTIONS
from .values import ArrayValue, Expr, dim_value, operate

__all__ = [
    "attend",
    "clip",
    "concat",
    "cross_entropy",
    "diag",
    "dim",
    "dot",
    "elementwise",
    "eye",
    "frozen",
    "gelu_tanh",
    "layer_norm",
    "log_softmax",
    "logaddexp",
    "max",
    "maximum",
    "mean",
    "merge_heads",
    "min",
    "minimum",
    "name",
    "norm",
    "ones",
    "outer",
    "roll",
    "shift",
    "sign",
    "softmax",
    "solve",
    "split",
    "split_heads",
    "sum",
    "sum_heads",
    "surrogate",
    "tr",
    "unvec",
    "vec",
    "where",
    "zeros",
]

#: Values named with `name` during the current trace; they are held, so that no other value can
#: come to have the identity of one that the definition has dropped.
given_names: ContextVar[list[tuple[Expr, str]] | None] = ContextVar("given_names", default=None)


def maximum(a: Any, b: Any) -> Any:
    """Elementwise maximum; on ties the derivative goes to ``b``."""
    return operate("maximum", a, b)


def where(condition: Any, a: Any, b: Any) -> Any:
    """``a`` where the condition (a comparison or a 0/1 data value) holds, else ``b``."""
    return operate("where", condition, a, b)


def _of_the_cell(x: Any) -> bool:
    """Whether it is a value of a cell, or an array of vectors; the rest is Python's."""
    return isinstance(x, Expr | ArrayValue) or (isinstance(x, np.ndarray) and x.ndim >= 2)


def sum(x: Any, *start: Any) -> Any:  # noqa: A001
    """Sum over units or entries, a scalar per sequence; of a list or other iterable, Python's."""
    if (_of_the_cell(x) or isinstance(x, np.generic | int | float)) and not start:
        return operate("sum", x)
    return builtins.sum(x, *start)


def max(x: Any, *others: Any, **options: Any) -> Any:  # noqa: A001
    """The largest unit, a scalar per sequence; on ties the derivative goes to the first.

    Of numbers, lists and other iterables it is Python's.
    """
    if _of_the_cell(x) and not others and not options:
        return largest(x)
    return builtins.max(x, *others, **options)


def min(x: Any, *others: Any, **options: Any) -> Any:  # noqa: A001
    """The smallest unit, a scalar per sequence; on ties the derivative goes to the first.

    Of numbers, lists and other iterables it is Python's.
    """
    if _of_the_cell(x) and not others and not options:
        return smallest(x)
    return builtins.min(x, *others, **options)


def shift(x: Any, by: int) -> Any:
    """Units moved on by ``by`` places (back, if it is negative), zeros where none comes from."""
    if not by:
        return x
    size = Dim((), abs(by))
    none: Any = np.zeros((abs(by), 1), dtype=int)
    if isinstance(x, Expr):
        column = Expr("ones", (), Shape(size), {"dim": size})
        none = 0 if size == ONE else operate("mul", 0, column)
    return concat(none, x[:-by]) if by > 0 else concat(x[-by:], none)


def gelu_tanh(x: Any) -> Any:
    """½ x (1 + tanh(√(2/π) (x + 0.044715 x³))), which is near `gelu`."""
    inner = 0.7978845608028654 * (x + 0.044715 * x**3)
    return 0.5 * x * (1 + operate("apply", inner, function="tanh"))


def sum_heads(x: Any) -> Any:
    """Sum over the heads of a cell that declares them: ``y = sum_heads(W_o @ o)``."""
    return operate("sum_heads", x)


def split_heads(x: Any, shape: str) -> Any:
    """The part of every head of a vector that the heads share: ``split_heads(x, "H n")``.

    Units (h − 1) n + 1 to h n are those of head h, as of ``x.reshape(H, n)``.
    """
    heads, units = (parse_dim(part) for part in shape.split())
    return operate("split_heads", x, heads=dim_value(heads), units=dim_value(units))


def merge_heads(x: Any) -> Any:
    """One vector with the units of all heads below each other: the inverse of `split_heads`."""
    return operate("merge_heads", x)


def mean(x: Any) -> Any:
    """Mean over units, or the entries of a matrix, a scalar per sequence."""
    return operate("mean", x)


def dot(a: Any, b: Any) -> Any:
    """Inner product over units, or the entries of matrices, a scalar per sequence."""
    return operate("dot", a, b)


def norm(x: Any) -> Any:
    """sqrt(Σ x²) over units or entries; it has no derivative where x is zero."""
    return operate("apply", operate("dot", x, x), function="sqrt")


def softmax(x: Any) -> Any:
    """Softmax over units."""
    return operate("softmax", x)


def attend(query: Any, keys: Any, values: Any, mask: Any = None) -> Any:
    """valuesᵀ softmax(keys query) over the rows of two matrices of every sequence.

    Parameters
    ----------
    query, keys, values : value of a cell
        ``m``, ``n m`` and ``n p``: a key and a value for each of ``n`` positions. A factor such as
        1/√m is the caller's.
    mask : value of a cell, optional
        ``n`` numbers, of which 0 marks a position that is not read. One at least is not 0.

    Returns
    -------
    value of a cell
        ``p`` units.
    """
    scores = operate("matmul", keys, query)
    if mask is not None:
        scores = operate("where", mask, scores, -1e30)
    return operate("matmul", operate("transpose", values), operate("softmax", scores))


def log_softmax(x: Any) -> Any:
    """log of the softmax over units."""
    return operate("log_softmax", x)


def cross_entropy(y: Any, target: Any) -> Any:
    """−Σ target ⊙ log softmax(y) over units, a scalar per sequence."""
    return operate("cross_entropy", y, target)


def concat(*parts: Any) -> Any:
    """Stack vectors (or matrices with equal columns) along units."""
    return operate("concat", *parts)


def frozen(x: Any) -> Any:
    """The value of ``x`` with no derivative (a stopped gradient).

    A gradient that passes ``frozen`` is by intent not the derivative of the loss as run; every
    report says so.
    """
    return operate("frozen", x)


def surrogate(function: Callable[[Any], Any], slope: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """An elementwise function with a declared derivative, as spiking units have.

    Parameters
    ----------
    function, slope : callable
        What it is, and what its derivative is declared to be, in the words of a definition:
        ``surrogate(lambda v: v > 1, lambda v: 1 / (1 + 10 * abs(v - 1)) ** 2)``.

    Returns
    -------
    callable
        For use in definitions. Code is held to the declared derivative, which by intent is not
        that of the loss as run; pages and reports say so.
    """

    def declared(x: Any) -> Any:
        return operate("surrogate", function(x), slope(x), x)

    return declared


def solve(a: Any, b: Any) -> Any:
    """A⁻¹ b for a square matrix and a vector or matrix: the solution x of A x = b."""
    return operate("solve", a, b)


def vec(x: Any) -> Any:
    """The columns of a matrix below each other; of ``x.T`` its rows, as NumPy's ``reshape``."""
    return operate("vec", x)


def unvec(x: Any, shape: str) -> Any:
    """The matrix of which a vector of ``n*m`` units has the columns: ``unvec(x, "n m")``.

    ``unvec(x, "m n").T`` is filled row by row, as NumPy's ``reshape`` does.
    """
    wanted = parse_shape(shape)
    return operate("unvec", x, rows=dim_value(wanted.rows), cols=dim_value(wanted.cols))


def dim(text: str) -> Any:
    """A named dim (``"p"``, ``"2*p"``) as slice bound: the size when the definition runs."""
    return dim_value(parse_dim(text))


def split(x: Any, *parts: int | str) -> tuple[Any, ...]:
    """Cut a vector along units into ``split(x, 4)`` equal parts, or ``split(x, "p", "q")``."""
    rows = x.shape.rows if isinstance(x, Expr) else x.shape[-2]
    if len(parts) == 1 and isinstance(parts[0], int):
        count = parts[0]
        if isinstance(rows, Dim):
            sizes: list[Any] = [rows.divided(count)] * count
        elif rows % count:
            raise DimensionError(f"cannot split {rows} units into {count} equal parts")
        else:
            sizes = [rows // count] * count
    else:
        sizes = [dim(str(p)) for p in parts]
    out, start = [], Dim() if isinstance(rows, Dim) else 0
    for size in sizes:
        stop = start + size
        out.append(operate("slice", x, start=start, stop=stop))
        start = stop
    if start != rows:
        raise DimensionError(f"split into {', '.join(map(str, sizes))} does not cover dim {rows}")
    return tuple(out)


def eye(text: str) -> Any:
    """The identity matrix of a named dim."""
    size = dim(text)
    if isinstance(size, Dim):
        return Expr("eye", (), Shape(size, size), {"dim": size})
    return ArrayValue(np.eye(size, dtype=int))


def ones(text: str) -> Any:
    """The column of ones of a named dim: ``S @ ones("m")`` sums the rows of a matrix."""
    size = dim(text)
    if isinstance(size, Dim):
        return Expr("ones", (), Shape(size), {"dim": size})
    return ArrayValue(np.ones((size, 1), dtype=int))


def zeros(text: str) -> Any:
    """The column of zeros of a named dim."""
    return 0 * ones(text)


def diag(x: Any) -> Any:
    """The square matrix with the units of a vector on its diagonal, for every sequence."""
    return x * identity_like(x)


def outer(a: Any, b: Any) -> Any:
    """a bᵀ, a matrix for every sequence (in a cell that has such a state or input)."""
    return operate("matmul", a, operate("transpose", b))


def layer_norm(x: Any, gain: Any, bias: Any, epsilon: float = 1e-5) -> Any:
    """gain ⊙ (x − mean x) / sqrt(mean (x − mean x)² + ε) + bias over units (Ba et al. 2016)."""
    centred = name(x - mean(x), "centred")
    scale = name(operate("apply", mean(centred**2) + epsilon, function="sqrt"), "scale")
    return gain * (centred / scale) + bias


def name(x: Any, as_name: str) -> Any:
    """Give a value a name in the equations (locals of the definition are named by themselves)."""
    table = given_names.get()
    if isinstance(x, Expr) and table is not None:
        if not as_name.isidentifier():
            raise UnsupportedOperation(f"{as_name!r} is not a valid name for a value")
        table.append((x, as_name))
    return x


def elementwise(function_name: str, expression: str) -> Any:
    """Make an elementwise function from a SymPy scalar expression in ``x``.

    Parameters
    ----------
    function_name : str
        Its name in equations and generated code.
    expression : str
        Text SymPy can read, in the one variable ``x``: ``"x / (1 + abs(x))"``.

    Returns
    -------
    callable
        A function for use in definitions; it runs on arrays of every dtype of the language.

    Raises
    ------
    UnsupportedOperation
        The name is taken by another expression. What cannot be differentiated is refused when a
        definition that uses it is traced.
    """
    if not isinstance(function_name, str) or not function_name.isidentifier():
        raise UnsupportedOperation(f"{function_name!r} is not a valid function name")
    if not isinstance(expression, str):
        raise UnsupportedOperation(
            f"elementwise {function_name!r}: give the expression as text in x, not a "
            f"{type(expression).__name__}"
        )
    taken = numeric.ELEMENTWISE.get(function_name)
    if taken is not None and USER_FUNCTIONS.get(function_name) != expression:
        raise UnsupportedOperation(f"an elementwise function {function_name!r} exists already")
    if taken is None:
        from .scalar_functions import array_function

        numeric.ELEMENTWISE[function_name] = array_function(function_name, expression)
        USER_FUNCTIONS[function_name] = expression
        PLACES[function_name] = calling_place()

    def function(x: Any) -> Any:
        return operate("apply", x, function=function_name)

    function.__name__ = function_name
    return function
