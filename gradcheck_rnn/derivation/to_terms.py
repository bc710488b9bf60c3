"""From traced expressions to terms: one node to one node, nothing simplified."""

from __future__ import annotations

from typing import Any

from sympy import Expr as Scalar
from sympy import Integer

from ..calculus import terms as T
from ..language.dims import Dim
from ..language.network import Scan
from ..language.ops.unit_maps import UNIT_MAPS
from ..language.values import Expr

__all__ = ["lower", "lower_dim", "symbol_for"]


def lower_dim(d: Dim) -> Scalar:
    """A named dim as a SymPy expression."""
    out: Scalar = Integer(d.const)
    for product, coefficient in d.terms:
        one: Scalar = Integer(coefficient)
        for name in product.split("*"):
            one = one * T.dim(name)
        out = out + one
    return out


def symbol_for(name: str, shape: Any, kind: str, lag: int | None, mark: str = "") -> T.Sym:
    """A variable of the equations as a term."""
    return T.Sym(
        name, lower_dim(shape.rows), lower_dim(shape.cols), kind, lag, mark, lower_dim(shape.heads)
    )


def lower(e: Expr, scan: Scan) -> T.Term:
    """The right-hand side of an equation of ``scan`` as a term.

    In a scan that runs backwards, the state read ``k`` steps before is the one at time t + k.
    """
    if e.op == "symbol":
        s = e.symbol
        lag = s.lag
        if lag is not None and s.kind == "state" and scan.reverse:
            lag = -lag
        return symbol_for(s.name, e.shape, s.kind, lag)
    if e.op == "literal":
        return T.Num(e.data["value"])
    if e.op == "size":
        return T.Size(lower_dim(e.data["dim"]))
    if e.op == "eye":
        return T.Eye(lower_dim(e.data["dim"]))
    if e.op == "head_block":
        return T.HeadBlock(lower_dim(e.shape.cols), lower_dim(e.shape.heads))
    if e.op == "ones":
        return T.Ones(lower_dim(e.data["dim"]))
    args = [lower(a, scan) for a in e.args]
    if e.op == "apply":
        return T.Apply(e.data["function"], args[0])
    if e.op == "unit_map":
        node = T.ChooseUnits if UNIT_MAPS[e.data["function"]].constant else T.MapUnits
        return node(args[0], e.data["function"])
    if e.op == "pow":
        return T.Power(args[0], e.data["exponent"])
    if e.op == "broadcast":
        return T.Broadcast(args[0], lower_dim(e.shape.rows), lower_dim(e.shape.cols))
    if e.op == "spread":
        rows, cols = lower_dim(e.shape.rows), lower_dim(e.shape.cols)
        column = e.args[0].shape.column
        return (
            T.Times(args[0], T.Transpose(T.Ones(cols)))
            if column
            else T.Times(T.Ones(rows), args[0])
        )
    if e.op == "sum_heads":
        return T.HeadSum(args[0], lower_dim(e.args[0].shape.heads))
    if e.op == "slice":
        return T.Slice(args[0], lower_dim(e.data["start"]), lower_dim(e.data["stop"]))
    if e.op == "unvec":
        return T.Unvec(args[0], lower_dim(e.shape.rows), lower_dim(e.shape.cols))
    return _NODES[e.op](*args)


_NODES: dict[str, Any] = {
    "add": T.Plus,
    "neg": T.Neg,
    "mul": T.Hadamard,
    "scale": T.Scale,
    "div": T.Divide,
    "matmul": T.Times,
    "transpose": T.Transpose,
    "abs": T.Abs,
    "frozen": T.Frozen,
    "maximum": T.Maximum,
    "greater": T.Greater,
    "where": T.Where,
    "surrogate": T.Surrogate,
    "solve": T.Solve,
    "vec": T.Vec,
    "sum": T.UnitSum,
    "dot": T.Dot,
    "concat": T.Concat,
    "softmax": T.Softmax,
    "log_softmax": T.LogSoftmax,
    "cross_entropy": T.CrossEntropy,
}
