"""Losses at every step of something that does not move with time."""

from gradcheck_rnn.language import cell, elementwise, sum  # noqa: A004
from gradcheck_rnn.language.network import Network

soft_sign = elementwise("soft_sign", "x / (1 + abs(x))")


@cell(inputs="x: q", states="h: p", params="W: p q", outputs="h loss")
def layer(x, h, W):
    v = h + 1e-3
    return {"h": soft_sign(v), "loss": sum(W @ x)}


definition = Network("definition")
x = definition.input("x", "d")
first = definition.scan(layer, suffix="_1", x=x)
second = definition.scan(layer, suffix="_2", axis="S", x=first.final("h"))
definition.loss(first.loss)
definition.loss(second.loss)
