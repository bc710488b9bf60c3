"""Trees and derived equations as text."""

from __future__ import annotations

import re

from ..calculus.printing import to_text
from ..calculus.rules.base import product
from ..calculus.terms import Plus, Term, shift
from ..derivation.pages.adjoints import line_of
from ..derivation.program import Derivation
from ..derivation.simplification import tidy
from .tree import Applied, Constant, Node, Quantity

__all__ = ["derived_line", "written"]


def derived_line(derivation: Derivation, left: Node) -> str:
    """The derived equation of what a line defines, as text."""
    if isinstance(left, Applied) and left.op == "jacobian":
        return _derived_jacobian(derivation, left)
    if not isinstance(left, Quantity):
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


def _derived_jacobian(derivation: Derivation, left: Applied) -> str:
    """∂a_t/∂b_{t−lag} through the equations of one step, for column vectors."""
    of, by = left.args
    if not isinstance(of, Quantity) or not isinstance(by, Quantity):
        return ""
    program = next(
        (p for p in derivation.scans if any(e.name == of.name for e in p.equations)), None
    )
    static = by.name in derivation.network.parameters
    if program is None or not (static or _comparable(of, by)):
        return ""
    lag = None if static else _offset(of) - _offset(by)
    through: dict[str, Term] = {}
    for e in program.equations:
        for edge in e.edges:
            own = edge.operand.name == by.name and (edge.lag or 0) == (lag or 0)
            inner = through.get(edge.operand.name)
            if not own and (inner is None or edge.kind != "equation"):
                continue
            jacobian = edge.jacobian
            part = jacobian if own or inner is None else product(jacobian, inner)
            through[e.name] = Plus(through[e.name], part) if e.name in through else part
    found = through.get(of.name)
    if found is None:
        return ""
    return f"{written(left)} = {to_text(shift(tidy(found), _offset(of)))}"


def _offset(name: Quantity) -> int:
    return name.time.offset if name.time is not None else 0


def _comparable(of: Quantity, by: Quantity) -> bool:
    """Whether two times differ by a fixed number of steps."""
    a, b = (n.time.anchor if n.time is not None else "t" for n in (of, by))
    return a == b and a != ""


def written(node: Node) -> str:
    """A tree as text."""
    if isinstance(node, Constant):
        return str(node.value)
    if isinstance(node, Quantity):
        return str(node)
    a = [written(x) for x in node.args]
    inner = [f"({s})" if isinstance(x, Applied) and x.op == "add" else s
             for s, x in zip(a, node.args, strict=True)]  # fmt: skip
    if node.op == "add":
        return " + ".join(a).replace("+ −", "− ")
    if node.op == "neg":
        return f"−{inner[0]}"
    signs = {"times": " ⊙ ", "product": " ", "divide": " ⊘ ", "kron": " ⊗ "}
    if node.op in signs:
        return signs[node.op].join(inner)
    if node.op == "outer":
        return f"{inner[0]} {inner[1]}ᵀ"
    if node.op == "inner":
        return f"⟨{a[0]}, {a[1]}⟩"
    if node.op in ("column", "row", "entry sum"):
        return f"sum({a[0]})" if node.op == "entry sum" else inner[0]
    if node.op == "transpose":
        return f"{inner[0]}ᵀ"
    if node.op in ("power", "superscript"):
        return f"{inner[0]}^{node.data}"
    if node.op in ("time sum", "time product") and isinstance(node.data, tuple):
        letter = node.data[0] or "t"
        return f"{'Σ' if node.op == 'time sum' else 'Π'}_{letter} {inner[0]}"
    if node.op == "jacobian":
        above, below = (re.sub(r"_(\w[+−]\d+)$", r"_{\1}", x) for x in a)
        return f"∂{'⁺' if node.data else ''}{above}/∂{below}"
    return f"{node.op}({', '.join(a)})"
