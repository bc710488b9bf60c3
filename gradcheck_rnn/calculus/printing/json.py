"""Terms as nested dictionaries of strings, lists and numbers, and back."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

from sympy import Basic, Expr, Integer, Rational, Tuple
from sympy.core.symbol import Str

from gradcheck_rnn.calculus import terms as term_classes
from gradcheck_rnn.calculus.terms import Num, Power, Sym, Term, dim
from gradcheck_rnn.errors import UsageError

__all__ = ["from_json", "to_json"]


def to_json(term: Term) -> dict[str, Any]:
    """Return the term as a dictionary that ``json.dumps`` accepts.

    ``op`` is the class, ``shape`` the two dims as text (``"4*p"``), ``args`` the constructor's
    arguments: nested terms, dims as text, numbers as ``"1/2"``, lists for the grid of a block. A
    variable has ``name``, ``kind``, ``lag`` (None without time, a text for a time of its own) and
    ``mark`` instead of ``args``, and ``heads`` if every head has one.
    """
    head: dict[str, Any] = {"op": type(term).__name__, "shape": [str(n) for n in term.shape]}
    if isinstance(term, Sym):
        time = term.time or term.lag
        head |= {"name": term.name, "kind": term.kind, "lag": time, "mark": term.mark}
        return head | {"heads": str(term.heads)} if term.heads != 1 else head
    return head | {"args": [_argument(a) for a in term.args]}


def _argument(argument: Basic) -> Any:
    if isinstance(argument, Term):
        return to_json(argument)
    if isinstance(argument, Tuple):
        return [_argument(a) for a in argument]
    return argument.name if isinstance(argument, Str) else str(argument)


def from_json(data: Mapping[str, Any]) -> Term:
    """Rebuild a term from `to_json`'s dictionary; shapes are checked again.

    Raises
    ------
    UsageError
        If `data` is not such a dictionary.
    DimensionError
        If the shapes in it do not fit together.
    """
    try:
        op = data["op"]
        cls = getattr(term_classes, op) if op in term_classes.__all__ else None
        if not (isinstance(cls, type) and issubclass(cls, Term)) or cls is Term:
            raise UsageError(f"{op!r} is not a term class.")
        if cls is Sym:
            rows, cols = (_dim(n) for n in data["shape"])
            heads = _dim(data.get("heads", "1"))
            return Sym(data["name"], rows, cols, data["kind"], data["lag"], data["mark"], heads)
        return cls(*[_read(cls, k, a) for k, a in enumerate(data["args"])])
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"not a term in JSON form: {error}.") from error


def _read(cls: type[Term], position: int, value: Any) -> Any:
    if isinstance(value, Mapping):
        return from_json(value)
    if isinstance(value, list):
        return [_read(cls, position, v) for v in value]
    if cls is Num or (cls is Power and position == 1):
        return Rational(value)
    if cls is term_classes.Apply:
        return value
    return _dim(value)


def _dim(text: str) -> Expr:
    """Read a dim such as ``4*p - 1`` without evaluating the text as code."""
    return _dim_node(ast.parse(text, mode="eval").body)


def _dim_node(node: ast.AST) -> Expr:
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        return Integer(node.value)
    if isinstance(node, ast.Name):
        return dim(node.id)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_dim_node(node.operand)
    if isinstance(node, ast.BinOp):
        left, right = _dim_node(node.left), _dim_node(node.right)
        if isinstance(node.op, ast.Add):
            return left + right
        if isinstance(node.op, ast.Sub):
            return left - right
        if isinstance(node.op, ast.Mult):
            return left * right
        if isinstance(node.op, ast.Div):
            return left / right
        if isinstance(node.op, ast.Pow):
            return left**right
    raise ValueError(f"{ast.unparse(node)!r} is not a dim")
