"""Terms evaluated on NumPy arrays, written from the definitions, for the tests of this floor."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from sympy import Expr, Integer

from gradcheck_rnn.calculus import terms as t

Dims = Mapping[str, int]


def size(expr: Expr, dims: Dims) -> int:
    return int(expr.subs({t.dim(name): Integer(n) for name, n in dims.items()}))


def shape(term: t.Term, dims: Dims) -> tuple[int, int]:
    return size(term.shape[0], dims), size(term.shape[1], dims)


def vec(a: np.ndarray) -> np.ndarray:
    return np.reshape(a, (-1, 1), order="F")


def random_values(term: t.Term, dims: Dims, seed: int = 0) -> dict[t.Sym, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {s: rng.uniform(0.5, 1.5, shape(s, dims)) for s in t.symbols_in(term)}


def dense(term: t.Term, values: Mapping[t.Sym, np.ndarray], dims: Dims) -> np.ndarray:
    """The array of a term; every result must have the shape that the term declares."""
    result = _dense(term, values, dims)
    assert result.shape == shape(term, dims), (term, result.shape, shape(term, dims))
    return result


def _softmax(x: np.ndarray) -> np.ndarray:
    return np.exp(x) / np.exp(x).sum()


FUNCTIONS = {
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "relu": lambda x: np.maximum(x, 0),
    # Row vectors: what `transpose_equation` writes for Softmax and LogSoftmax.
    "softmax": _softmax,
    "log_softmax": lambda x: np.log(_softmax(x)),
}


def _dense(term: t.Term, values: Mapping[t.Sym, np.ndarray], dims: Dims) -> np.ndarray:
    if isinstance(term, t.Sym):
        return values[term]
    xs = [dense(x, values, dims) for x in term.operands]
    rows, cols = shape(term, dims)
    match term:
        case t.Num():
            return np.array([[float(term.value)]])
        case t.Size():
            return np.array([[float(size(term.size, dims))]])
        case t.Ones():
            return np.ones((rows, cols))
        case t.Zeros():
            return np.zeros((rows, cols))
        case t.Eye():
            return np.eye(rows)
        case t.Commutation():
            m, n = (size(a, dims) for a in term.args)
            k = np.zeros((m * n, m * n))
            for i in range(m):
                for j in range(n):
                    k[i * n + j, j * m + i] = 1
            return k
        case t.MapUnits():
            lower = np.tri(rows)
            return {"cumsum": lower, "reverse_cumsum": lower.T}[term.map.name] @ xs[0]
        case t.Plus():
            return np.sum(xs, axis=0)
        case t.Neg():
            return -xs[0]
        case t.Times():
            result = xs[0]
            for x in xs[1:]:
                result = result @ x
            return result
        case t.Hadamard():
            return np.prod(xs, axis=0)
        case t.Scale():
            return xs[0].item() * xs[1]
        case t.Divide():
            return xs[0] / xs[1]
        case t.Power():
            return xs[0] ** float(term.exponent)
        case t.Apply():
            return FUNCTIONS[term.fname](xs[0])
        case t.Broadcast():
            return np.full((rows, cols), xs[0].item())
        case t.Dot():
            return xs[0].T @ xs[1]
        case t.UnitSum():
            return xs[0].sum(keepdims=True)
        case t.Transpose():
            return xs[0].T
        case t.Concat():
            return np.vstack(xs)
        case t.Slice():
            return xs[0][size(term.args[1], dims) : size(term.args[2], dims)]
        case t.Pad():
            out = np.zeros((rows, cols))
            start = size(term.args[1], dims)
            out[start : start + len(xs[0])] = xs[0]
            return out
        case t.Softmax():
            return _softmax(xs[0])
        case t.LogSoftmax():
            return np.log(_softmax(xs[0]))
        case t.CrossEntropy():
            return -(xs[1].T @ np.log(_softmax(xs[0])))
        case t.Maximum():
            return np.maximum(*xs)
        case t.Greater():
            return (xs[0] > xs[1]).astype(float)
        case t.Where():
            return np.where(xs[0] != 0, xs[1], xs[2])
        case t.Abs():
            return np.abs(xs[0])
        case t.Sign():
            return np.sign(xs[0])
        case t.Surrogate():
            return xs[0]
        case t.Solve():
            return np.linalg.solve(*xs)
        case t.Frozen():
            return xs[0]
        case t.Diag():
            return np.diag(xs[0][:, 0])
        case t.Kron():
            return np.kron(*xs)
        case t.Vec():
            return vec(xs[0])
        case t.Unvec():
            return np.reshape(xs[0], (rows, cols), order="F")
        case t.Block():
            grid = iter(xs)
            return np.block([[next(grid) for _ in row] for row in term.grid])
        case t.TimeSum():
            # The tests give every time-indexed variable one value, so the sum is a multiple.
            return xs[0] * (size(term.args[2], dims) - size(term.args[1], dims) + 1)
        case t.HeadSum():
            # Nor does a variable differ from head to head here.
            return xs[0] * size(term.heads, dims)
        case t.PerHead():
            return xs[0]
    raise TypeError(f"no dense value for {type(term).__name__}")
