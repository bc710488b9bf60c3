"""Gradients that a kernel computes by a recursion of their own, which differs from the others'.

Kernels of linear attention have a backward pass for δv, one for δk and one for the decay. What is
wrong in one of their recursions is wrong in its gradient alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...calculus.printing.text import to_text
from ...derivation import Derivation
from .candidates import Beside, Candidate

__all__ = ["own_recursions"]

#: Kinds of mistakes in what is carried.
KINDS = ("dropped", "step", "factor", "time", "scale", "sign", "final")


def own_recursions(derivation: Derivation, single: Sequence[Candidate]) -> Iterator[Candidate]:
    """Mistakes in what is carried through states, in the gradient of one moving input alone."""
    carried = {e.id for e in derivation.edges if e.kind == "state"}
    states = {s.name for p in derivation.scans for s in p.scan.states}
    inputs = {
        e.operand.name: to_text(e.operand.with_(mark="bar"))
        for e in derivation.edges if e.kind == "input" and e.lag is not None
    }  # fmt: skip
    for c in single:
        if c.kind not in KINDS or (c.where not in carried and c.where not in states):
            continue
        for name, bar in inputs.items():
            if c.touches is not None and name not in c.touches:
                continue
            yield Candidate(
                f"own:{name}:{c.id}", "own-recursion",
                f"{bar} out of a recursion of its own: {c.says}",
                beside=(Beside(c.edits, frozenset({name})),), touches=frozenset({name}),
            )  # fmt: skip
