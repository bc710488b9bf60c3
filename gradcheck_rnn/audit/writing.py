"""Trees and derived equations as text."""

from __future__ import annotations

from ..calculus.printing import to_text
from ..calculus.terms import Term
from ..derivation.pages.adjoints import line_of
from ..derivation.program import Derivation
from .tree import Call, Name, Node, Number

__all__ = ["derived_line", "written"]


def derived_line(derivation: Derivation, left: Node) -> str:
    """The derived equation of what a line defines, as text."""
    if not isinstance(left, Name):
        return ""
    if not left.adjoint:
        for program in derivation.scans:
            for e in program.equations:
                if e.name == left.name:
                    return f"{to_text(e.symbol)} = {to_text(e.rhs)}"
        return ""
    line = line_of(derivation, left.name)
    if line is None or not isinstance(line.left, Term):
        return ""
    note = "".join(p if isinstance(p, str) else to_text(p) for p in line.note)
    return f"{to_text(line.left)} = {to_text(line.right)}" + (f"    ({note})" if note else "")


def written(node: Node) -> str:
    """A tree as text."""
    if isinstance(node, Number):
        return str(node.value)
    if isinstance(node, Name):
        return str(node)
    a = [written(x) for x in node.args]
    inner = [f"({s})" if isinstance(x, Call) and x.op == "add" else s
             for s, x in zip(a, node.args, strict=True)]  # fmt: skip
    if node.op == "add":
        return " + ".join(a).replace("+ −", "− ")
    if node.op == "neg":
        return f"−{inner[0]}"
    signs = {"times": " ⊙ ", "product": " ", "divide": " ⊘ ", "kron": " ⊗ "}
    if node.op in signs:
        return signs[node.op].join(inner)
    if node.op == "transpose":
        return f"{inner[0]}ᵀ"
    if node.op in ("power", "superscript"):
        return f"{inner[0]}^{node.data}"
    if node.op in ("time sum", "time product") and isinstance(node.data, tuple):
        letter = node.data[0] or "t"
        return f"{'Σ' if node.op == 'time sum' else 'Π'}_{letter} {inner[0]}"
    if node.op == "jacobian":
        return f"∂{node.data or ''}{a[0]}/∂{a[1]}"
    return f"{node.op}({', '.join(a)})"
