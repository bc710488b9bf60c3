"""A scalar loss computed once, of last states and of frozen data."""

from gradcheck_rnn.language import cell, cross_entropy, elementwise, frozen, sin, softplus
from gradcheck_rnn.language.network import Network

hill = elementwise("hill", "1 / (1 + x**2)")


@cell(inputs="x: p", states="h: p", params="W: p p", outputs="h y")
def layer(x, h, W):
    return {"h": hill(abs(softplus(x))), "y": (W * W).T @ x}


@cell(inputs="x1 x2: p", data="r: ", outputs="loss y")
def readout(x1, x2, r):
    loss = sin(cross_entropy(x1, x1)) + (x2[1:2] + frozen(r))
    return {"loss": loss, "y": x1 * 1}


definition = Network("definition")
x = definition.input("x", "d")
first = definition.scan(layer, suffix="_1", reverse=True, initial={"h": None}, x=x)
last = definition.scan(readout, suffix="_3", axis=None, x1=first.final("h"))
definition.output(first.h, first.y, first.final("h"))
definition.loss(last.loss)
