"""Random cells with a matrix for every sequence, as source text written the way a user writes one.

Values are built top down from a wanted shape over the dims n and m; what could grow is squashed, so
that a few steps stay in the ordinary regime.
"""

from __future__ import annotations

from .choices import Choices

__all__ = ["random_loop", "random_reader", "random_stack_cell"]

#: Rows and columns of a value; ``""`` is one.
Kind = tuple[str, str]
_OTHER = {"n": "m", "m": "n"}
_LEAVES: dict[Kind, tuple[str, ...]] = {
    ("", ""): ("g", "w", "0.5"),
    ("n", ""): ("q", "k", "z", "b"),
    ("m", ""): ("v", "u"),
    ("n", "m"): ("S", "A"),
    ("n", "n"): ("P", '(P - eye("n"))'),
    ("m", "m"): ("R",),
    ("n*m", ""): ("x", "f"),
}
_HEADER = """\
from gradcheck_rnn.language import (
    cell, clip, concat, cos, cumsum, diag, dim, dot, erf, exp, expm1, eye, floor, gelu, log_softmax,
    logaddexp, maximum, mean, merge_heads, norm, one_hot_max, ones, outer, repeat, sigmoid, silu,
    sin, softmax, split_heads, sum, sum_heads, tanh, unvec, vec, where,
)


@cell(
    inputs="q k: n; v: m; g: ; x: n*m", data="u: m", states="S: n m; z: n",
    params="w:; b: n; A: n m; P: n n; R: m m; f: n*m", outputs="y s",
)
def stacked(q, k, v, g, x, u, S, z, w, b, A, P, R, f):
"""


#: The same with heads: some of what is read is shared by them.
_IN_HEADS = """\
    heads="H", inputs="q: n; k: H n; v: H m; g: H; x: n*m", data="u: m", states="S: H n m; z: H n",
    params="w:; b: H n; A: H n m; P: n n; R: H m m; f: H n*m", outputs="y s",
"""


#: What every head has for itself.
_OWN = {("", ""): "g", ("n", ""): "k", ("m", ""): "v", ("n", "m"): "S", ("m", "m"): "R",
        ("n*m", ""): "f"}  # fmt: skip


class _Draw:
    def __init__(self, choices: Choices, heads: bool = False) -> None:
        self.choices, self.heads = choices, heads

    def value(self, kind: Kind, depth: int) -> str:
        if depth <= 0:
            return self.leaf(kind)
        rows, cols = kind
        options = ["leaf", "add", "mul", "function", "scaled", "where"]
        if rows and cols:
            options += ["outer", "product", "product", "rows", "columns", "turned"]
            options += ["diagonal"] if rows == cols else ["filled"]
        elif rows == "n*m":
            options += ["folded", "folded"]
        elif rows:
            options += ["read", "read", "read turned", "row sums"]
            options += ["units", "pieces"]
        else:
            options += ["dot", "quadratic", "sum", "entries"]
        options += ["over heads"] * (self.heads and kind in _OWN)
        options += ["all units"] * (self.heads and kind in (("n", ""), ("m", "")))
        made: str = getattr(self, "_" + self.choices.pick(options).replace(" ", "_"))(kind, depth)
        return made

    def leaf(self, kind: Kind) -> str:
        if kind in _LEAVES:
            return self.choices.pick(_LEAVES[kind])
        return f"{self.leaf((kind[1], kind[0]))}.T"

    def _leaf(self, kind: Kind, depth: int) -> str:
        return self.leaf(kind)

    def _add(self, kind: Kind, depth: int) -> str:
        sign = self.choices.pick(("+", "-"))
        return f"({self.value(kind, depth - 1)} {sign} {self.value(kind, depth - 1)})"

    def _mul(self, kind: Kind, depth: int) -> str:
        a, b = self.value(kind, depth - 1), self.value(kind, depth - 1)
        return self.choices.pick(
            (f"({a} * {b})", f"({a} * {b})", f"clip({a}, -0.7, {b})", f"logaddexp({a}, {b})")
        )

    def _function(self, kind: Kind, depth: int) -> str:
        f = self.choices.pick(
            ("tanh", "sigmoid", "sin", "cos", "abs", "silu", "expm1 of sin", "gelu", "erf", "floor")
        )
        first, _, second = f.partition(" of ")
        inner = self.value(kind, depth - 1)
        return f"{first}({second}({inner}))" if second else f"{f}({inner})"

    def _over_heads(self, kind: Kind, depth: int) -> str:
        return f"sum_heads({_OWN[kind]} * {self.value(kind, depth - 1)})"

    def _all_units(self, kind: Kind, depth: int) -> str:
        merged = f"merge_heads({_OWN[kind]} * {self.value(kind, depth - 1)})"
        f = self.choices.pick(("softmax", "cumsum", "sin"))
        return f'split_heads({f}({merged}), "H {kind[0]}")'

    def _diagonal(self, kind: Kind, depth: int) -> str:
        return f"diag({self.value((kind[0], ''), depth - 1)})"

    def _filled(self, kind: Kind, depth: int) -> str:
        return f'unvec({self.value(("n*m", ""), depth - 1)}, "{kind[0]} {kind[1]}")'

    def _folded(self, kind: Kind, depth: int) -> str:
        inner = self.choices.pick((("n", "m"), ("m", "n")))
        return f"vec({self.value(inner, depth - 1)})"

    def _entries(self, kind: Kind, depth: int) -> str:
        a, b = self.value(("n", "m"), depth - 1), self.value(("n", "m"), depth - 1)
        return self.choices.pick(
            (f"sum({a})", f"mean({a})", f"dot({a}, {b})", f"norm(1.5 + {a} * {a})")
        )

    def _scaled(self, kind: Kind, depth: int) -> str:
        return f"({self.value(('', ''), depth - 1)} * {self.value(kind, depth - 1)})"

    def _where(self, kind: Kind, depth: int) -> str:
        a, b = self.value(kind, depth - 1), self.value(kind, depth - 1)
        condition = self.leaf(kind).replace("0.5", "g")
        return f"where({condition} > 0.1, {a}, {b})"

    def _outer(self, kind: Kind, depth: int) -> str:
        a, b = self.value((kind[0], ""), depth - 1), self.value((kind[1], ""), depth - 1)
        return f"outer({a}, {b})" if self.choices.chance(50) else f"({a} @ {b}.T)"

    def _product(self, kind: Kind, depth: int) -> str:
        inner = self.choices.pick(("n", "m"))
        a, b = self.value((kind[0], inner), depth - 1), self.value((inner, kind[1]), depth - 1)
        return f"({a} @ {b})"

    def _rows(self, kind: Kind, depth: int) -> str:
        return f"({self.value((kind[0], ''), depth - 1)} * {self.value(kind, depth - 1)})"

    def _columns(self, kind: Kind, depth: int) -> str:
        return f"({self.value(kind, depth - 1)} * {self.value((kind[1], ''), depth - 1)}.T)"

    def _turned(self, kind: Kind, depth: int) -> str:
        return f"({self.value((kind[1], kind[0]), depth - 1)}.T)"

    def _read(self, kind: Kind, depth: int) -> str:
        other = self.choices.pick(("n", "m"))
        a, b = self.value((kind[0], other), depth - 1), self.value((other, ""), depth - 1)
        return f"({a} @ {b})"

    def _read_turned(self, kind: Kind, depth: int) -> str:
        other = self.choices.pick(("n", "m"))
        a, b = self.value((other, kind[0]), depth - 1), self.value((other, ""), depth - 1)
        return f"({a}.T @ {b})"

    def _row_sums(self, kind: Kind, depth: int) -> str:
        other = _OTHER[kind[0]]
        return f'({self.value((kind[0], other), depth - 1)} @ ones("{other}"))'

    def _units(self, kind: Kind, depth: int) -> str:
        f = self.choices.pick(("softmax", "cumsum", "log_softmax", "one_hot_max"))
        return f"{f}({self.value(kind, depth - 1)})"

    def _pieces(self, kind: Kind, depth: int) -> str:
        a, b = self.value(kind, depth - 1), self.value(kind, depth - 1)
        return self.choices.pick(
            (f"concat({a}[1:], {b}[:1])", f"concat({a}, {b})[1 : dim({kind[0]!r}) + 1]")
        )

    def _dot(self, kind: Kind, depth: int) -> str:
        inner = (self.choices.pick(("n", "m")), "")
        a, b = self.value(inner, depth - 1), self.value(inner, depth - 1)
        return f"dot({a}, {b})" if self.choices.chance(50) else f"({a}.T @ {b})"

    def _quadratic(self, kind: Kind, depth: int) -> str:
        a, b = self.value(("n", ""), depth - 1), self.value(("m", ""), depth - 1)
        return f"({a}.T @ {self.value(('n', 'm'), depth - 1)} @ {b})"

    def _sum(self, kind: Kind, depth: int) -> str:
        f = self.choices.pick(("sum", "mean"))
        return f"{f}({self.value((self.choices.pick(('n', 'm')), ''), depth - 1)})"


#: Repeated by the language, and by the reader of the text: the same numbers.
_LOOP = "S, z = repeat(3, step, S, z)"
_WRITTEN = """\
    for _ in range(3):
        S, z = step(S, z)"""


def random_loop(choices: Choices, heads: bool = False) -> tuple[str, str]:
    """The text of a cell whose states are made by a loop, and the same with the steps written out.

    What is behind the loop reads the states too.
    """
    it = _Draw(choices, heads)
    step = [
        f"S_new = 0.4 * S + tanh({it.value(('n', 'm'), 2)}) * A + outer(k, v) * g",
        f"z_new = 0.3 * z + sin({it.value(('n', ''), 2)}) * b + S_new @ u",
        "return tanh(S_new), z_new",
    ]
    lines = [
        "def step(S, z):",
        *(f"    {line}" for line in step),
        "",
        _LOOP,
        f"y = {it.value(('m', ''), 1)} + S.T @ (P @ z) + R @ v",
        f"s = w * {it.value(('', ''), 1)} + dot(vec(S), f * x) + dot(q, z)",
        'return {"S": S, "z": z, "y": y, "s": s}',
    ]
    text = _text(lines, heads)
    return text, text.replace(f"    {_LOOP}", _WRITTEN)


#: A scan whose sequence the cell reads whole; r is the number of its steps.
_SOURCE = """

@cell(inputs="e: d", states="h: m", params="U: m d; V: m m", outputs="h")
def source(e, h, U, V):
    return tanh(V @ h + U @ e)


stacked = Network("stacked")
made = stacked.scan(source, suffix="_src", axis="N", e=stacked.input("e", "d", axis="N"))
read = stacked.scan(reader, K=made.h.whole())
stacked.output(read.y, read.s, read.final("z"), made.final("h"))
"""


def random_reader(choices: Choices) -> str:
    """The text of a network in which a cell attends to the whole sequence of another scan."""
    it = _Draw(choices)
    queries = [it.value(("m", ""), 1) for _ in range(3)]
    lines = [
        f"o = attend({queries[0]}, K, tanh(K * {queries[1]}.T)) + K.T @ softmax(K @ {queries[2]})",
        f"z_new = sin({it.value(('n', ''), 2)}) + 0.3 * z + A @ o",
        f"S_new = tanh({it.value(('n', 'm'), 2)}) + 0.5 * g * S + outer(k, o)",
        f"y = {it.value(('m', ''), 2)} + S_new.T @ (P @ z_new + b) + R @ (v * u)",
        f"s = w * {it.value(('', ''), 2)} + dot(vec(S), f * x) + dot(q, z)",
        'return {"S": tanh(S_new), "z": z_new, "y": y, "s": s}',
    ]
    text = _text(lines, heads=False).replace("def stacked(", "def reader(K, ")
    text = text.replace("    cell, clip", "    attend, cell, clip", 1)
    return f"from gradcheck_rnn import Network\n{text.replace('x: n*m', 'x: n*m; K: r m')}{_SOURCE}"


def random_stack_cell(choices: Choices, heads: bool = False) -> str:
    """The text of a file that defines ``stacked``; every declared name is read."""
    it = _Draw(choices, heads)
    lines = [
        f"T1 = {it.value(('n', 'm'), 2)}",
        f"t2 = {it.value(('n', ''), 2)}",
        f"s = {it.value(('', ''), 2)} + dot(q, P @ k) * w + dot(vec(S), f * x)",
        f"S_new = tanh({it.value(('n', 'm'), 2)}) + 0.5 * sigmoid(g) * S + T1 * A",
        'S_new = S_new + unvec(f * x, "n m")',
        f"z_new = sin({it.value(('n', ''), 2)}) + 0.3 * t2 + b * z",
        f"y = {it.value(('m', ''), 2)} + S_new.T @ z_new + R @ (u * v)",
        'return {"S": tanh(S_new), "z": z_new, "y": y, "s": s}',
    ]
    return _text(lines, heads)


def _text(lines: list[str], heads: bool) -> str:
    header = _HEADER
    if heads:
        first, last = header.index("    inputs="), header.index(")\ndef")
        header = header[:first] + _IN_HEADS + header[last:]
        lines[-1] = lines[-1].replace('"s": s', '"s": sum_heads(s)')
    return header + "\n".join(f"    {line}" for line in lines) + "\n"
