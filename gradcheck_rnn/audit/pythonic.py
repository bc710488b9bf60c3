"""Equations as NumPy lines: ``da_f = df * f * (1 - f)``, ``dW_f += da_f @ h[t-1].T``.

``d`` before a name that the definition has makes it an adjoint; an index ``[t-1]`` or the endings
``_prev`` and ``_next`` are times; a name without one is at t if it moves with time.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from fractions import Fraction

from .text_notation import UnreadableEquation
from .tree import Applied, Constant, Node, Quantity, Time, Written

__all__ = ["parse_line"]

_BINARY: dict[type[ast.operator], str] = {ast.Mult: "times", ast.Div: "divide"}
_PRODUCTS = {"multiply": "times", "divide": "divide"}


def _matmul(a: Node, b: Node) -> Node:
    return Applied("product", (a, b), "code")


def _new(e: ast.expr) -> bool:
    """Whether an index makes a new axis."""
    newaxis = isinstance(e, ast.Attribute) and e.attr == "newaxis"
    return newaxis or (isinstance(e, ast.Constant) and e.value is None)


def _dots(e: ast.expr) -> bool:
    return isinstance(e, ast.Constant) and e.value is ...


def _whole(e: ast.expr) -> bool:
    """Whether an index keeps all of an axis, or makes one."""
    bare = isinstance(e, ast.Slice) and not (e.lower or e.upper or e.step)
    return bare or _new(e) or _dots(e)


def parse_line(text: str, line: int, known: Callable[[str], bool]) -> Written:
    """One assignment; ``known`` tells the definition's names.

    Raises
    ------
    UnreadableEquation
        It is no assignment of one quantity, or has something that is not in the notation.
    """
    try:
        (statement,) = ast.parse(text.strip()).body
    except (SyntaxError, ValueError):
        raise UnreadableEquation(f"{text.strip()!r} is no line of Python") from None
    reader = _Reader(text, known)
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        left, right = reader.node(statement.targets[0]), reader.node(statement.value)
        if isinstance(right, Applied) and right.op == "add" and right.args[0] == left:
            return Written(left, right.args[1], text.strip(), line, accumulates=True, code=True)
        return Written(left, right, text.strip(), line, code=True)
    if isinstance(statement, ast.AugAssign) and isinstance(statement.op, ast.Add | ast.Sub):
        left, right = reader.node(statement.target), reader.node(statement.value)
        if isinstance(statement.op, ast.Sub):
            right = Applied("neg", (right,))
        return Written(left, right, text.strip(), line, accumulates=True, code=True)
    raise UnreadableEquation(f"{text.strip()!r} assigns nothing")


class _Reader:
    def __init__(self, text: str, known: Callable[[str], bool]) -> None:
        self.text, self.known = text.strip(), known

    def node(self, e: ast.expr) -> Node:
        if isinstance(e, ast.Constant) and isinstance(e.value, int | float):
            return Constant(Fraction(repr(e.value)))
        if isinstance(e, ast.Name):
            return self._name(e.id)
        if isinstance(e, ast.Subscript):
            return self._indexed(e)
        if isinstance(e, ast.Attribute) and e.attr == "T":
            return Applied("transpose", (self.node(e.value),))
        if isinstance(e, ast.UnaryOp) and isinstance(e.op, ast.USub):
            return Applied("neg", (self.node(e.operand),))
        if isinstance(e, ast.BinOp):
            return self._binary(e)
        if isinstance(e, ast.Call):
            return self._call(e)
        raise UnreadableEquation(f"{self.text!r}: {ast.unparse(e)!r} is not understood here")

    def _indexed(self, e: ast.Subscript) -> Node:
        """``h[t-1]``, and new axes: ``k[:, None]``, ``k[t, None, :]``."""
        parts = list(e.slice.elts) if isinstance(e.slice, ast.Tuple) else [e.slice]
        held = self.node(e.value)
        if parts and not _whole(parts[0]) and isinstance(held, Quantity) and held.time is None:
            held = Quantity(held.name, self._time(parts.pop(0)), held.adjoint)
        kept = ["new" if _new(p) else "" for p in parts if not _dots(p)]
        if not all(_whole(p) for p in parts) or kept.count("") > 2:
            raise UnreadableEquation(f"{self.text!r}: {ast.unparse(e)!r} is not understood here")
        if kept[-2:] == ["", "new"]:
            return Applied("column", (held,))
        if kept[-2:] == ["new", ""]:
            return Applied("row", (held,))
        return held

    def _binary(self, e: ast.BinOp) -> Node:
        left, right = self.node(e.left), self.node(e.right)
        if isinstance(e.op, ast.Add):
            return Applied("add", (left, right))
        if isinstance(e.op, ast.Sub):
            return Applied("add", (left, Applied("neg", (right,))))
        if isinstance(e.op, ast.Pow) and isinstance(right, Constant):
            return Applied("power", (left,), right.value)
        if isinstance(e.op, ast.MatMult):
            return _matmul(left, right)
        if type(e.op) in _BINARY:
            return Applied(_BINARY[type(e.op)], (left, right))
        raise UnreadableEquation(f"{self.text!r}: {ast.unparse(e)!r} is not understood here")

    def _call(self, e: ast.Call) -> Node:
        function = e.func
        name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        method = isinstance(function, ast.Attribute) and not (
            isinstance(function.value, ast.Name) and function.value.id in ("np", "numpy", "torch")
        )
        args = [self.node(a) for a in e.args]
        if method and isinstance(function, ast.Attribute):
            args = [self.node(function.value), *args]
        if name == "sum" and args:
            kept = any(k.arg == "keepdims" for k in e.keywords)
            return Applied("entry sum", (args[0],), (self._axis(e, method), kept))
        if name in ("copy", "astype", "reshape"):
            return args[0]
        if name in ("outer", "vdot") and len(args) == 2:
            return Applied("inner" if name == "vdot" else "outer", tuple(args))
        if name in ("dot", "matmul") and len(args) == 2:
            return _matmul(*args)
        if name in _PRODUCTS and len(args) == 2:
            return Applied(_PRODUCTS[name], tuple(args))
        if name == "square":
            return Applied("power", (args[0],), Fraction(2))
        if name == "transpose":
            return Applied("transpose", (args[0],))
        if name == "diag":
            return Applied("diag", (args[0],))
        if len(args) == 1 and name:
            return Applied(name, tuple(args))
        raise UnreadableEquation(f"{self.text!r}: {ast.unparse(e)!r} is not understood here")

    def _axis(self, e: ast.Call, method: bool) -> int | None:
        """The axis of a sum, None for all."""
        given = e.args[0 if method else 1 :] + [k.value for k in e.keywords if k.arg == "axis"]
        if not given:
            return None
        try:
            axis = ast.literal_eval(given[0])
        except ValueError:
            axis = given
        if axis is None or (isinstance(axis, tuple) and len(axis) == 2):
            return None
        if not isinstance(axis, int):
            raise UnreadableEquation(f"{self.text!r}: the axis of {ast.unparse(e)!r}")
        return axis

    def _name(self, text: str) -> Quantity:
        time: Time | None = None
        for end, offset in (("_prev", -1), ("_next", 1)):
            base = text.removesuffix(end)
            if base != text and self.known(base):
                text, time = base, Time("t", offset)
        if not self.known(text):
            for prefix in ("grad_", "d_", "d", "delta_", "bar_"):
                bare = text.removeprefix(prefix)
                if bare != text and self.known(bare):
                    return Quantity(bare, time, adjoint=True)
        return Quantity(text, time)

    def _time(self, e: ast.expr) -> Time:
        if isinstance(e, ast.Name):
            return Time("t" if e.id in ("t", "i", "step") else e.id)
        if isinstance(e, ast.Constant) and isinstance(e.value, int):
            return Time("", e.value) if e.value >= 0 else Time("T", e.value + 1)
        if (
            isinstance(e, ast.BinOp)
            and isinstance(e.op, ast.Add | ast.Sub)
            and isinstance(e.right, ast.Constant)
            and isinstance(e.right.value, int)
        ):
            base = self._time(e.left)
            sign = 1 if isinstance(e.op, ast.Add) else -1
            return Time(base.anchor, base.offset + sign * e.right.value)
        raise UnreadableEquation(f"{self.text!r}: the index {ast.unparse(e)!r}")
