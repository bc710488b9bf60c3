"""Shape rules of the primitives by named dims: what fits, what it gives, and what to say if not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import DimensionError, UnsupportedOperation
from . import numeric
from .dims import ONE, Dim, Shape, sequences_in_front
from .user_functions import check_user_function
from .values import RULES, Expr, describe, literal

__all__ = ["RULES"]


def _misfit(what: str, a: Expr, b: Expr) -> DimensionError:
    return DimensionError(
        f"{what}: {describe(a)} has shape {a.shape} but {describe(b)} has shape {b.shape}"
    )


def _broadcast(e: Expr, like: Shape) -> Expr:
    if e.op == "neg":  # x - mean(x) stays a difference
        inner = _broadcast(e.args[0], like)
        return Expr("neg", (inner,), inner.shape)
    shape = Shape(like.rows, like.cols, e.shape.batch)
    return Expr("broadcast", (e,), shape)


def _aligned(what: str, *args: Expr) -> tuple[tuple[Expr, ...], Shape]:
    """Bring operands of an elementwise operation to one shape; only scalars are broadcast."""
    full = next((a for a in args if not a.shape.scalar), args[0])
    full = next((a for a in args if _spreads(full.shape, a.shape)), full)
    batch = any(a.shape.batch for a in args)
    out = []
    for a in args:
        if (a.shape.rows, a.shape.cols) == (full.shape.rows, full.shape.cols):
            out.append(a)
        elif a.shape.scalar:
            out.append(_broadcast(a, full.shape))
        elif _spreads(a.shape, full.shape):
            out.append(Expr("spread", (a,), Shape(full.shape.rows, full.shape.cols, a.shape.batch)))
        else:
            raise _misfit(what, full, a)
    if batch and not full.shape.column and not sequences_in_front.get():
        raise UnsupportedOperation(
            f"{what}: {describe(full)} is a matrix and cannot be combined with a batch vector"
        )
    return tuple(out), Shape(full.shape.rows, full.shape.cols, batch)


def _spreads(a: Shape, b: Shape) -> bool:
    """Whether a column, or a row, goes beside every column, or row, of a matrix, as in NumPy."""
    if not sequences_in_front.get() or (a.rows, a.cols) == (b.rows, b.cols):
        return False
    column = a.rows == b.rows and a.cols == ONE
    row = a.cols == b.cols and a.rows == ONE
    return (column or row) and not a.scalar


def _add(a: Expr, b: Expr) -> Expr:
    args, shape = _aligned("+", a, b)
    return Expr("add", args, shape)


def _neg(a: Expr) -> Expr:
    return Expr("neg", (a,), a.shape)


def _mul(a: Expr, b: Expr) -> Expr:
    if a.shape.scalar != b.shape.scalar:
        s, x = (a, b) if a.shape.scalar else (b, a)
        if s.shape.batch and not x.shape.column and not sequences_in_front.get():
            raise UnsupportedOperation(
                f"*: {describe(x)} is a matrix and cannot be scaled by {describe(s)}, which "
                "differs from sequence to sequence of the batch"
            )
        return Expr(
            "scale", (s, x), Shape(x.shape.rows, x.shape.cols, a.shape.batch or b.shape.batch)
        )
    if a.shape.scalar and (a.op == "literal" or b.op == "literal"):
        s, x = (a, b) if a.op == "literal" else (b, a)
        return Expr("scale", (s, x), x.shape)
    if (a.shape.rows, a.shape.cols) == (b.shape.cols, b.shape.rows) or a.shape.cols == b.shape.rows:
        hint = " (write @ for a matrix product)"
    else:
        hint = ""
    same = (a.shape.rows, a.shape.cols) == (b.shape.rows, b.shape.cols)
    if not (same or _spreads(a.shape, b.shape) or _spreads(b.shape, a.shape)):
        problem = _misfit("*", a, b)
        raise DimensionError(str(problem) + hint)
    args, shape = _aligned("*", a, b)
    return Expr("mul", args, shape)


def _div(a: Expr, b: Expr) -> Expr:
    if b.op == "literal" and b.data["value"] == 0:
        raise UnsupportedOperation(f"{describe(a)} / 0 is a division by zero")
    args, shape = _aligned("/", a, b)
    return Expr("div", args, shape)


def _matmul(a: Expr, b: Expr) -> Expr:
    if a.shape.cols != b.shape.rows:
        raise DimensionError(f"{_misfit('@', a, b)}{_other_product(a, b)}")
    batch = a.shape.batch or b.shape.batch
    if a.shape.batch and not sequences_in_front.get():
        raise UnsupportedOperation(
            f"{describe(a)} @ {describe(b)} mixes sequences of the batch: the left factor must be "
            "a parameter; write dot(a, b) for an inner product over units"
        )
    return Expr("matmul", (a, b), Shape(a.shape.rows, b.shape.cols, batch))


def _turned(e: Expr) -> str:
    """The transpose as text."""
    return describe(e.args[0]) if e.op == "transpose" else f"{describe(e)}.T"


def _other_product(a: Expr, b: Expr) -> str:
    """The product that would fit: vectors are columns, and weights stand on the left."""
    if a.shape.column and not b.shape.column:
        for rows, cols, text in (
            (b.shape.rows, b.shape.cols, f"{_turned(b)} @ {describe(a)}"),
            (b.shape.cols, b.shape.rows, f"{describe(b)} @ {describe(a)}"),
        ):
            if a.shape.rows == rows and (not b.shape.batch or cols == rows):
                return f"; vectors are columns and weights stand on the left: write {text}"
        return "; vectors are columns and weights stand on the left, as in W @ h"
    if a.shape.column and b.shape.column and a.shape.rows == b.shape.rows:
        return f"; write dot({describe(a)}, {describe(b)}) for an inner product, * elementwise"
    if not a.shape.batch and a.shape.rows == b.shape.rows:
        return f"; write {describe(a)}.T @ {describe(b)} if that is meant"
    return ""


def _pow(a: Expr, exponent: Any) -> Expr:
    value = literal(exponent).data["value"]
    whole = isinstance(value, float) and value.is_integer()
    return Expr("pow", (a,), a.shape, {"exponent": int(value) if whole else value})


def _same(op: str) -> Callable[..., Expr]:
    return lambda a: Expr(op, (a,), a.shape)


def _transpose(a: Expr) -> Expr:
    if a.shape.batch and not sequences_in_front.get():
        raise UnsupportedOperation(
            f"{describe(a)}.T would mix sequences of the batch; write dot(a, b) for aᵀb, and "
            "v * dot(k, q) for (v @ k.T) @ q"
        )
    return Expr("transpose", (a,), Shape(a.shape.cols, a.shape.rows, a.shape.batch))


def _matrices_of_sequences(op: str) -> None:
    if not sequences_in_front.get():
        raise UnsupportedOperation(
            f"{op} is of cells that have a matrix for every sequence: declare one, as "
            'inputs="A: n m" or states="S: n m", or a vector of a product of dims, as "x: n*m"'
        )


def _vec(a: Expr) -> Expr:
    _matrices_of_sequences("vec")
    if ONE in (a.shape.rows, a.shape.cols):
        return a if a.shape.column else _transpose(a)
    return Expr("vec", (a,), Shape(a.shape.rows * a.shape.cols, batch=a.shape.batch))


def _unvec(a: Expr, rows: Dim, cols: Dim) -> Expr:
    _matrices_of_sequences("unvec")
    _column("unvec", a)
    if rows * cols != a.shape.rows:
        raise DimensionError(
            f"unvec: {describe(a)} has shape {a.shape}, which is no {rows} times {cols} entries"
        )
    if ONE in (rows, cols):
        return a if cols == ONE else _transpose(a)
    return Expr("unvec", (a,), Shape(rows, cols, a.shape.batch), {"rows": rows, "cols": cols})


def _apply(a: Expr, function: str) -> Expr:
    if function not in numeric.ELEMENTWISE:
        raise UnsupportedOperation(
            f"unknown elementwise function {function!r}; make one with "
            "elementwise(name, expression)"
        )
    check_user_function(function)
    return Expr("apply", (a,), a.shape, {"function": function})


def _two(op: str) -> Callable[..., Expr]:
    def rule(a: Expr, b: Expr) -> Expr:
        args, shape = _aligned(op, a, b)
        return Expr(op, args, shape)

    return rule


def _declared(value: Expr, slope: Expr, x: Expr) -> Expr:
    args, shape = _aligned("surrogate", value, slope, x)
    if (shape.rows, shape.cols) != (x.shape.rows, x.shape.cols):
        raise _misfit("surrogate", value, x)
    return Expr("surrogate", args, shape)


def _solve(a: Expr, b: Expr) -> Expr:
    if a.shape.rows != a.shape.cols:
        raise DimensionError(f"solve: {describe(a)} has shape {a.shape}, which is not square")
    if a.shape.cols != b.shape.rows:
        raise _misfit("solve", a, b)
    if not sequences_in_front.get():
        if a.shape.batch and not a.shape.scalar:
            raise UnsupportedOperation(
                f"solve: {describe(a)} would mix sequences of the batch; declare a matrix for "
                'every sequence, as inputs="A: n n"'
            )
        if a.shape.scalar:
            return _div(b, a)
    return Expr("solve", (a, b), Shape(b.shape.rows, b.shape.cols, a.shape.batch or b.shape.batch))


def _where(condition: Expr, a: Expr, b: Expr) -> Expr:
    args, shape = _aligned("where", condition, a, b)
    return Expr("where", args, shape)


def _column(op: str, a: Expr) -> None:
    if not a.shape.column:
        raise UnsupportedOperation(f"{op} acts on the units of a vector; {describe(a)} is a matrix")


def _of_entries(op: str, a: Expr) -> Expr:
    """Sums over the rows of a matrix, of which the sum is that of all its entries."""
    if a.shape.column or not sequences_in_front.get():
        _column(op, a)
        return a
    return _matmul(a, Expr("ones", (), Shape(a.shape.cols), {"dim": a.shape.cols}))


def _reduce(op: str) -> Callable[..., Expr]:
    def rule(a: Expr) -> Expr:
        a = _of_entries(op, a)
        return Expr(op, (a,), Shape(Dim((), 1), batch=a.shape.batch))

    return rule


def _mean(a: Expr) -> Expr:
    total = _reduce("sum")(a)
    for dim in (a.shape.rows, a.shape.cols):
        if dim != ONE or a.shape.scalar:
            total = _div(total, Expr("size", (), Shape(ONE), {"dim": dim}))
    return total


def _pair(op: str) -> Callable[..., Expr]:
    def rule(a: Expr, b: Expr) -> Expr:
        if op == "dot" and not a.shape.column and sequences_in_front.get():
            return _reduce("sum")(_mul(a, b))
        for e in (a, b):
            _column(op, e)
        if a.shape.rows != b.shape.rows:
            raise _misfit(op, a, b)
        return Expr(op, (a, b), Shape(Dim((), 1), batch=a.shape.batch or b.shape.batch))

    return rule


def _concat(*args: Expr) -> Expr:
    batch = any(a.shape.batch for a in args)
    rows = Dim()
    for a in args:
        if a.shape.cols != args[0].shape.cols:
            raise _misfit("concat", args[0], a)
        rows = rows + a.shape.rows
    return Expr("concat", args, Shape(rows, args[0].shape.cols, batch))


def _slice(a: Expr, start: Dim, stop: Dim) -> Expr:
    size = stop - start
    inside = a.shape.rows - stop
    if any(d.const < 0 and not d.terms for d in (size, inside)) or any(
        c < 0 for d in (size, inside) for _, c in d.terms
    ):
        raise DimensionError(f"slice [{start}:{stop}] does not lie in {describe(a)} of {a.shape}")
    return Expr(
        "slice", (a,), Shape(size, a.shape.cols, a.shape.batch), {"start": start, "stop": stop}
    )


def _units(op: str) -> Callable[..., Expr]:
    def rule(a: Expr) -> Expr:
        if op == "softmax" and not a.shape.column:
            raise UnsupportedOperation(
                f"softmax acts on the units of a vector; {describe(a)} is a matrix: write "
                f'e / (e @ ones("{a.shape.cols}")) with e = exp({describe(a)}) for its rows, or '
                'give the rows to heads, heads="n"'
            )
        _column(op, a)
        return Expr(op, (a,), a.shape)

    return rule


def _unit_map(a: Expr, function: str) -> Expr:
    _column(function, a)
    return Expr("unit_map", (a,), a.shape, {"function": function})


def _sum_heads(a: Expr) -> Expr:
    if not a.shape.headed:
        raise DimensionError(
            f"sum_heads: {describe(a)} is the same for all heads; declare what every head has with "
            'the axis of heads first, as in heads="H", inputs="x: H n"'
        )
    return Expr("sum_heads", (a,), Shape(a.shape.rows, a.shape.cols, a.shape.batch))


def _head_block(heads: Dim, units: Dim) -> Expr:
    return Expr("head_block", (), Shape(heads * units, units, False, heads))


def _split_heads(a: Expr, heads: Dim, units: Dim) -> Expr:
    _column("split_heads", a)
    if a.shape.headed:
        raise DimensionError(f"split_heads: {describe(a)} is one of every head already")
    if a.shape.rows != heads * units:
        raise DimensionError(
            f"split_heads: {describe(a)} has shape {a.shape}, which is not {units} units of each "
            f"of {heads} heads; declare it with {heads * units} units"
        )
    if not sequences_in_front.get():
        raise UnsupportedOperation(
            f'split_heads is of cells with heads: declare them, heads="{heads}"'
        )
    return _matmul(_transpose(_head_block(heads, units)), a)


def _merge_heads(a: Expr) -> Expr:
    _column("merge_heads", a)
    if not a.shape.headed:
        raise DimensionError(f"merge_heads: {describe(a)} is the same for all heads")
    return _sum_heads(_matmul(_head_block(a.shape.heads, a.shape.rows), a))


RULES |= {
    "sum_heads": _sum_heads,
    "split_heads": _split_heads,
    "merge_heads": _merge_heads,
    "add": _add,
    "neg": _neg,
    "mul": _mul,
    "div": _div,
    "matmul": _matmul,
    "pow": _pow,
    "abs": _same("abs"),
    "frozen": _same("frozen"),
    "transpose": _transpose,
    "vec": _vec,
    "unvec": _unvec,
    "apply": _apply,
    "maximum": _two("maximum"),
    "greater": _two("greater"),
    "where": _where,
    "surrogate": _declared,
    "solve": _solve,
    "sum": _reduce("sum"),
    "mean": _mean,
    "dot": _pair("dot"),
    "cross_entropy": _pair("cross_entropy"),
    "concat": _concat,
    "slice": _slice,
    "softmax": _units("softmax"),
    "log_softmax": _units("log_softmax"),
    "unit_map": _unit_map,
}
