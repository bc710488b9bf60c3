"""A state that copies an input, data in a where, and a readout that is not handed out."""

from gradcheck_rnn.language import cell, where
from gradcheck_rnn.language.network import Network


@cell(
    inputs="x1: q; x2: p+q",
    states="h: p; c: p+q",
    data="m: q",
    outputs="h c y",
)
def layer(x1, x2, h, c, m):
    return {"h": h, "c": x2, "y": where(m, x1, 0.5)}


@cell(inputs="x: p", params="W: p p", outputs="z")
def readout(x, W):
    return W @ x


definition = Network("definition")
x = definition.input("x", "d")
first = definition.scan(layer, suffix="_1", x1=x)
second = definition.scan(layer, suffix="_2", x1=first.final("h"))
third = definition.scan(readout, suffix="_3", x=second.final("h"))
definition.output(second.final("h"))
