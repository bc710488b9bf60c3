"""Traced expressions as the user wrote them, for messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .values import Expr

__all__ = ["describe"]

_INFIX = {"mul": " * ", "div": " / ", "matmul": " @ ", "scale": " * ", "greater": " > "}


def describe(e: Expr) -> str:
    """The expression as the user wrote it, for messages."""
    inner = [describe(a) for a in e.args]
    if e.op == "symbol":
        s = e.symbol
        return f"{s.name}[t-{s.lag}]" if s.lag else s.name
    if e.op == "literal":
        return str(e.data["value"])
    if e.op == "add":
        text = inner[0]
        for a, t in zip(e.args[1:], inner[1:], strict=True):
            text += f" - {t[1:]}" if a.op == "neg" else f" + {t}"
        return f"({text})"
    if e.op in _INFIX:
        return "(" + _INFIX[e.op].join(inner) + ")"
    if e.op == "neg":
        return f"-{inner[0]}"
    if e.op == "pow":
        return f"{inner[0]}**{e.data['exponent']}"
    if e.op == "transpose":
        return f"{inner[0]}.T"
    if e.op == "broadcast":
        return inner[0]
    if e.op == "slice":
        return f"{inner[0]}[{e.data['start']}:{e.data['stop']}]"
    if e.op in ("size", "eye"):
        return f"{e.op}({e.data['dim']})"
    head = e.data.get("function", e.op)
    return f"{head}({', '.join(inner)})"
