"""Functions of states that start at zero, where exact arithmetic has to stay exact."""

from gradcheck_rnn.language import cell, log, softmax, softplus, sqrt, tanh
from gradcheck_rnn.language.network import Network


@cell(inputs="x: d", states="h c: p", params="W: p p; U: p d", outputs="h c y")
def layer(x, h, c, W, U):
    a = softmax(h) / sqrt(2 + tanh(c))
    new = tanh(W @ h + U @ x) * log(1.5 + softplus(c))
    return {"h": new, "c": tanh(abs(h) - a), "y": a**-0.5}


definition = Network("definition")
only = definition.scan(layer, x=definition.input("x", "d"), initial={"h": None, "c": None})
definition.output(only.h, only.y, only.final("c"))
