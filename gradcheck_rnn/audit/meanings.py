"""What a right-hand side may mean: which derivatives are total, how a product is ordered."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .tree import Applied, Node, Quantity
from .truth import READINGS, Values

__all__ = ["DEFAULT", "Meaning", "calls", "has", "meanings", "words"]


@dataclass(frozen=True)
class Meaning:
    """What derivatives on the right-hand side mean, and how a product over time is ordered.

    Attributes
    ----------
    states, parameters : str
        One of `READINGS`, for ∂/∂ of what moves with time and of what does not.
    ascending : bool
        Factors of a product over time stand in the order of their index.
    diagonals : bool
        A vector that stands as a factor beside a matrix is a diagonal matrix.
    """

    states: str = "total"
    parameters: str = "within"
    ascending: bool = False
    diagonals: bool = False


DEFAULT = Meaning()
_WORDS = {
    "total": "total derivatives",
    "within": "derivatives within one step, earlier states held",
    "direct": "partial derivatives of one equation",
}


def words(meaning: Meaning, tree: Node, known: Values) -> str:
    """What a meaning says of a right-hand side, for those who read a verdict."""
    out = []
    by = [c.args[1] for c in calls(tree) if c.op == "jacobian"]
    moving = {known.moves(n.name) for n in by if isinstance(n, Quantity) and known.knows(n.name)}
    if True in moving and meaning.states != DEFAULT.states:
        out.append(f"∂ by a state read as {_WORDS[meaning.states]}")
    if False in moving:
        out.append(f"∂ by a parameter read as {_WORDS[meaning.parameters]}")
    if has(tree, "time product") and meaning.ascending:
        out.append("the factors of the product in the order of their index")
    return "; ".join(out)


def calls(node: Node) -> Iterator[Applied]:
    """All operations in a tree."""
    if isinstance(node, Applied):
        yield node
        for a in node.args:
            yield from calls(a)


def has(node: Node, op: str) -> bool:
    """Whether an operation is in a tree."""
    return any(c.op == op for c in calls(node))


def meanings(right: Node) -> Iterator[Meaning]:
    """Senses of a right-hand side; one where it has neither derivatives nor products over time."""
    orders = (False, True) if has(right, "time product") else (False,)
    if not has(right, "jacobian"):
        yield from (Meaning(ascending=a) for a in orders)
        if any(c.op == "product" for c in calls(right)):
            yield from (Meaning(ascending=a, diagonals=True) for a in orders)
        return
    for ascending in orders:
        for states in READINGS:
            for parameters in ("within", "total"):
                yield Meaning(states, parameters, ascending)
