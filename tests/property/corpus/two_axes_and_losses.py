"""Losses on two time axes; data only, frozen, and made of parameters only."""

from gradcheck_rnn.language import cell, dot, elementwise, frozen, layer_norm, maximum, sigmoid
from gradcheck_rnn.language.network import Network

soft_sign = elementwise("soft_sign", "x / (1 + abs(x))")
hill = elementwise("hill", "1 / (1 + x**2)")


@cell(
    inputs="x1: q; x2: d",
    states="h: ",
    data="r: p",
    params="W1: p d; b: q; W2: q d; W3: q q",
    outputs="h y1 y2 loss",
)
def layer(x1, x2, h, r, W1, b, W2, W3):
    v = abs(x1) * layer_norm(x1, b, b, 0.1)
    loss = soft_sign(dot(soft_sign(x1), W2 @ x2 + W3 @ x1 + b))
    return {"h": hill(dot(r, r)), "y1": sigmoid(W1) @ x2, "y2": v, "loss": loss}


@cell(inputs="x: p", states="h: q", data="r1: ; r2: q", outputs="h loss y")
def copies(x, h, r1, r2):
    return {"h": r2, "loss": frozen(maximum(r1, r1)), "y": x + x}


definition = Network("definition")
x = definition.input("x", "d")
first = definition.scan(copies, suffix="_1", x=x)
second = definition.scan(layer, suffix="_2", axis="S", x1=first.final("h"), x2=first.final("h"))
definition.loss(second.loss)
