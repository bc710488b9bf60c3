"""Names for buffers: what a person would call them, and never a name twice."""

from __future__ import annotations

import keyword
from collections.abc import Iterable, Mapping

from .nodes import Node
from .ops import Access

__all__ = ["Namer"]


class Namer:
    """Hands out names that are free."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self.taken = set(taken)

    def fresh(self, wanted: str) -> str:
        """``wanted``, or ``wanted_2``, ``wanted_3``, … if it is taken."""
        name, count = wanted, 1
        while name in self.taken or keyword.iskeyword(name):
            count += 1
            name = f"{wanted}_{count}"
        self.taken.add(name)
        return name

    def value(
        self, n: Node, labels: Mapping[Node, str], homes: Mapping[Node, Access], purpose: str = ""
    ) -> str:
        """A name for the buffer of a node."""
        if n in labels:
            return self.fresh(labels[n])
        guess = self._guess(n, labels, homes)
        if guess in _VAGUE and purpose:
            guess = f"{purpose}_{guess}"
        return self.fresh(guess)

    def _guess(self, n: Node, labels: Mapping[Node, str], homes: Mapping[Node, Access]) -> str:
        def name(a: Node) -> str:
            if a in labels:
                return labels[a]
            if a in homes:
                return homes[a].buffer.name
            if a.op in ("state", "adjoint", "start"):
                return ("d_" if a.op != "state" else "") + str(
                    a.data[0] if a.op != "adjoint" else a.data
                )
            if a.op in ("given", "final", "cotangent"):
                return str(a.data)
            return ""

        if n.op == "apply" and name(n.args[0]):
            return f"{n.data}_{name(n.args[0])}"
        if n.op == "gemm" and name(n.args[1]) and name(n.args[0]):
            return f"{name(n.args[1])}_{name(n.args[0])}"
        if n.op in ("softmax", "log_softmax") and name(n.args[0]):
            return f"{n.op}_{name(n.args[0])}"
        return _KINDS.get(n.op, "value")


_KINDS = {
    "mul": "factor", "add": "part", "div": "ratio", "sum": "unit_sum", "total": "entry_sum",
    "reduce": "over_time", "outer": "d_weight", "transpose": "transposed", "neg": "minus",
}  # fmt: skip
_VAGUE = {*_KINDS.values(), "value"}
