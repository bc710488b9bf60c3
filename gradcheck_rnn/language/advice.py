"""What to write in place of what the language does not have: the nearest thing that works."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import UnsupportedOperation

__all__ = ["of_attribute", "of_constant", "of_function", "of_index", "refusing"]

_MODULE = "gradcheck_rnn.language"
_STAIRS = "floor(x + 0.5), whose derivative is 0"
#: Functions and ufuncs of NumPy by name.
_FUNCTIONS = {
    "sum": "sum(x)", "add.reduce": "sum(x)", "mean": "mean(x)", "average": "mean(x)",
    "max": "max(x)", "min": "min(x)", "zeros": 'zeros("p")',
    "var": "mean((x - mean(x)) ** 2)", "std": "sqrt(mean((x - mean(x)) ** 2))",
    "clip": "clip(x, low, high)",
    "full_like": "0 * x + value", "empty_like": "0 * x", "stack": "concat(a, b)",
    "hstack": "concat(a, b)", "vstack": "concat(a, b)", "append": "concat(a, b)",
    "split": "split(x, parts)", "array_split": "split(x, parts)", "inner": "dot(a, b)",
    "einsum": "W @ x, dot(a, b) or a * b", "tensordot": "W @ x or dot(a, b)",
    "eye": 'eye("p")', "identity": 'eye("p")', "transpose": "W.T",
    "copy": "x", "asarray": "x", "array": "x", "nan_to_num": "x", "real": "x",
    "expand_dims": "x; a scalar is broadcast by itself", "squeeze": "x",
    "reshape": 'unvec(x, "m n").T for a matrix of n*m units, vec(S.T) for its rows in a vector',
    "ravel": "vec(S.T) for the rows of a matrix",
    "kron": "vec(A @ X @ B.T) for kron(B, A) @ vec(X)",
    "flip": "a fixed matrix P @ x",
    "cumsum": "cumsum(x)", "diag": "diag(w), or w * x for diag(w) @ x",
    "heaviside": "where(x > 0, 1.0, 0.0)",
    "rint": _STAIRS, "round": _STAIRS, "trunc": _STAIRS, "fmod": "x % period",
    "divmod": "x // y and x % y",
    "sinh": "0.5 * (exp(x) - exp(-x))", "cosh": "0.5 * (exp(x) + exp(-x))",
    "tan": "sin(x) / cos(x)", "exp2": "exp(x * log(2))", "log2": "log(x) / log(2)",
    "log10": "log(x) / log(10)", "reciprocal": "1 / x", "positive": "x", "cbrt": "x ** (1 / 3)",
    "hypot": "sqrt(a**2 + b**2)", "fabs": "abs(x)",
    "fmax": "maximum(a, b)", "fmin": "minimum(a, b)", "float_power": "x ** 3",
    "greater_equal": "a >= b", "less_equal": "a <= b", "equal": "where(a > b, u, v)",
    "not_equal": "where(a > b, u, v)", "logical_and": "c1 * c2", "bitwise_and": "c1 * c2",
    "logical_or": "maximum(c1, c2)", "bitwise_or": "maximum(c1, c2)", "logical_not": "1 - c",
    "invert": "1 - c", "logical_xor": "c1 + c2 - 2 * c1 * c2",
    "bitwise_xor": "c1 + c2 - 2 * c1 * c2", "select": "where(c, a, b)",
    "piecewise": "where(c, a, b)",
    "softmax": "softmax(x)", "isnan": "", "isfinite": "",
    "inv": "solve(A, b) for inv(A) @ b", "pinv": "solve(A.T @ A, A.T @ b)",
    "lstsq": "solve(A.T @ A, A.T @ b)", "det": "", "cholesky": "L @ L.T with a parameter L",
    "sort": "max(x) and min(x)", "argmax": "one_hot_max(x), which is 1 at the largest unit",
    "argmin": "one_hot_max(-x), which is 1 at the smallest unit",
    "prod": "exp(sum(log(x))) for positive x", "cumprod": "exp(cumsum(log(x))) for positive x",
    "diff": "x[1:] - x[:-1]", "gradient": "x[1:] - x[:-1]", "pad": "concat(0 * x[:1], x)",
    "tile": "concat(x, x)", "repeat": "P @ x with a fixed 0/1 matrix P",
    "convolve": "a sum of w[k] * shift(x, k)", "correlate": "a sum of w[k] * shift(x, -k)",
    "diagonal": '(A * eye("n")) @ ones("n")', "tril": "A * M with a fixed 0/1 matrix M",
    "triu": "A * M with a fixed 0/1 matrix M", "swapaxes": "S.T", "moveaxis": "S.T",
    "apply_along_axis": "the operation itself, which is of all units",
    "frompyfunc": 'elementwise("name", "expression in x")',
    "fft": "C @ x and D @ x with fixed matrices of cosines and sines",
    "take": "P @ x with a fixed 0/1 matrix P", "choose": "where(c, a, b)",
    "interp": "where(c, a, b)", "cross": "concat of products of x[i]",
}  # fmt: skip
_ATTRIBUTES = {
    "dot": "W @ x, or dot(a, b) for two vectors", "astype": "x", "item": "x",
    "flatten": "vec(S.T) for the rows of a matrix",
    "view": "x", "tolist": "x", "numpy": "x", "detach": "frozen(x)", "data": "x",
    "conj": "x", "ndim": "the dims that are declared", "size": 'dim("p")', "device": "x",
    "unsqueeze": "x; a scalar is broadcast by itself", "tanh": "tanh(x)", "exp": "exp(x)",
    "sigmoid": "sigmoid(x)", "relu": "relu(x)", "abs": "abs(x)", "pow": "x ** 2", "mm": "W @ x",
    "matmul": "W @ x", "chunk": "split(x, parts)", "t": "W.T", "fill": "0 * x + value",
}  # fmt: skip
_OPERATORS = {
    "&": "c1 * c2", "|": "maximum(c1, c2)", "^": "c1 + c2 - 2 * c1 * c2", "~": "1 - c",
    "round": _STAIRS, "<<": "", ">>": "",
    "divmod": "x // y and x % y",
}  # fmt: skip


def _write(advice: str) -> str:
    if advice:
        return f"write {advice} ({_MODULE})"
    return f"there is nothing like it; see {_MODULE} for what there is"


def of_function(name: str) -> str:
    """What to write for a NumPy function."""
    return _write(_FUNCTIONS.get(name, ""))


def of_attribute(name: str) -> str:
    """What to write for an attribute or a method of an array."""
    return _write(_ATTRIBUTES.get(name) or _FUNCTIONS.get(name, ""))


def of_index(key: Any, condition: bool) -> str:
    """What to write for an index that is no plain slice; ``condition``: it is a value itself."""
    if isinstance(key, int):
        stop = "" if key == -1 else key + 1
        return f"; write x[{key}:{stop}] for unit {key}, e @ W with a fixed e for a row of W"
    if condition:
        return "; write where(condition, a, b) for what a condition chooses"
    return "; write P @ x with a fixed matrix P for other choices of units"


def of_constant(value: Any) -> str:
    """What to write for a constant that is no number."""
    if isinstance(value, bool):
        return f"; write {float(value)}"
    if value is None:
        return "; write minimum(x, high) or maximum(x, low) for clip with one bound"
    if isinstance(value, np.ndarray):
        return '; write eye("p") for an identity matrix, 1.0 for ones and 0 * x for zeros'
    return ""


def refusing(sign: str) -> Callable[..., Any]:
    """A method for a Python operator that the language does not have."""

    def refused(*_: Any) -> Any:
        raise UnsupportedOperation(
            f"{sign} is not an operation of the language; {_write(_OPERATORS[sign])}"
        )

    return refused
