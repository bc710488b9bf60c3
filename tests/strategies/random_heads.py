"""Random cells with heads, as source text written the way a user writes one.

Values are built top down from a wanted shape: units or a matrix, of each head or shared by all.
What could grow is squashed, so that a few steps stay in the ordinary regime.
"""

from __future__ import annotations

from .choices import Choices

__all__ = ["random_head_cell"]

#: Whether each head has its own, rows, columns.
Kind = tuple[bool, str, str]
_LEAVES: dict[Kind, tuple[str, ...]] = {
    (True, "", ""): ("g", "a"),
    (True, "p", ""): ("x", "z", "w"),
    (True, "p", "q"): ("S", "A"),
    (True, "q", ""): ("v",),
    (False, "", ""): ("r", "0.5"),
    (False, "p", ""): ("c", "b"),
    (False, "q", ""): ("u",),
}
_HEADER = """\
from gradcheck_rnn.language import (
    cell, cos, dot, mean, outer, sigmoid, sin, softmax, sum, sum_heads, tanh, where,
)


@cell(
    heads="H", inputs="x: H p; v: H q; g: H; r:", states="S: H p q; z: H p; c: p",
    params="w: H p; A: H p q; a: H; b: p; u: q", outputs="y s",
)
def headed(x, v, g, r, S, z, c, w, A, a, b, u):
"""


class _Draw:
    def __init__(self, choices: Choices) -> None:
        self.choices = choices

    def value(self, kind: Kind, depth: int) -> str:
        own, rows, cols = kind
        if depth <= 0:
            return self.leaf(kind)
        options = ["leaf", "add", "mul", "function", "where"]
        if not own and not cols:
            options += ["over heads", "over heads", "over heads"]
        if rows and not cols:
            options += ["read", "scaled"] if own else ["read", "scaled", "softmax"]
        elif cols:
            options += ["outer"]
        else:
            options += ["dot", "mean"]
        made: str = getattr(self, "_" + self.choices.pick(options).replace(" ", "_"))(kind, depth)
        return made

    def leaf(self, kind: Kind) -> str:
        return self.choices.pick(_LEAVES[kind])

    def part(self, kind: Kind, depth: int) -> str:
        """A value of the shape that a head may share, where all heads have one."""
        own, rows, cols = kind
        shared = own and not cols and self.choices.chance(25)
        return self.value((own and not shared, rows, cols), depth)

    def _leaf(self, kind: Kind, depth: int) -> str:
        return self.leaf(kind)

    def _add(self, kind: Kind, depth: int) -> str:
        sign = self.choices.pick(("+", "-"))
        return f"({self.value(kind, depth - 1)} {sign} {self.part(kind, depth - 1)})"

    def _mul(self, kind: Kind, depth: int) -> str:
        return f"({self.value(kind, depth - 1)} * {self.part(kind, depth - 1)})"

    def _function(self, kind: Kind, depth: int) -> str:
        f = self.choices.pick(("tanh", "sigmoid", "sin", "cos"))
        return f"{f}({self.value(kind, depth - 1)})"

    def _where(self, kind: Kind, depth: int) -> str:
        a, b = self.value(kind, depth - 1), self.value(kind, depth - 1)
        return f"where({self.leaf(kind).replace('0.5', 'r')} > 0.1, {a}, {b})"

    def _over_heads(self, kind: Kind, depth: int) -> str:
        return f"sum_heads({self.value((True, *kind[1:]), depth - 1)})"

    def _read(self, kind: Kind, depth: int) -> str:
        own, rows, _ = kind
        if not own:
            return self._over_heads(kind, depth)
        if rows == "p":
            return f"({self.value((True, 'p', 'q'), depth - 1)} @ {self.leaf((True, 'q', ''))})"
        return f"({self.value((True, 'p', 'q'), depth - 1)}.T @ {self.leaf((True, 'p', ''))})"

    def _softmax(self, kind: Kind, depth: int) -> str:
        return f"softmax({self.value(kind, depth - 1)})"

    def _scaled(self, kind: Kind, depth: int) -> str:
        return f"({self.value((kind[0], '', ''), depth - 1)} * {self.value(kind, depth - 1)})"

    def _outer(self, kind: Kind, depth: int) -> str:
        a = self.part((True, "p", ""), depth - 1)
        return f"outer({a}, {self.leaf((True, 'q', ''))})"

    def _dot(self, kind: Kind, depth: int) -> str:
        vector = (kind[0], "p", "")
        return f"dot({self.value(vector, depth - 1)}, {self.leaf(vector)})"

    def _mean(self, kind: Kind, depth: int) -> str:
        f = self.choices.pick(("mean", "sum"))
        return f"{f}({self.value((kind[0], 'p', ''), depth - 1)})"


def random_head_cell(choices: Choices) -> str:
    """The text of a file that defines ``headed``; every declared name is read."""
    it = _Draw(choices)
    lines = [
        f"S_new = tanh({it.value((True, 'p', 'q'), 2)}) + 0.4 * sigmoid(g) * S + outer(w, v) * A",
        f"z_new = sin({it.value((True, 'p', ''), 2)}) + 0.3 * z + S_new @ (u * v) * a",
        f"c_new = tanh({it.value((False, 'p', ''), 2)} + b * sum_heads(z_new * x) + r * c)",
        f"s = {it.value((False, '', ''), 2)} + dot(c_new, b)",
        f"y = {it.value((True, 'p', ''), 2)} + c_new",
        'return {"S": S_new, "z": z_new, "c": c_new, "y": y, "s": s}',
    ]
    return _HEADER + "\n".join(f"    {line}" for line in lines) + "\n"
