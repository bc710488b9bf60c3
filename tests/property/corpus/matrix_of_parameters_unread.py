"""Several scans of one cell, of whose values only those of the first are handed out."""

from gradcheck_rnn.language import cell, elementwise, sigmoid
from gradcheck_rnn.language.network import Network

soft_sign = elementwise("soft_sign", "x / (1 + abs(x))")
hill = elementwise("hill", "1 / (1 + x**2)")


@cell(inputs="x: d", states="h c: p", params="W: p p; V: p d", outputs="c y")
def layer(x, h, c, W, V):
    v = sigmoid(W.T)
    z = sigmoid(V @ soft_sign(x))
    g = sigmoid(c)
    new = hill((c + 0.5) / (1 + (g * c + (1 - g) * c) ** 2))
    return {"h": z * c + (1 - z) * h, "c": new, "y": v @ c}


definition = Network("definition")
x = definition.input("x", "d")
first = definition.scan(layer, suffix="_1", x=x)
second = definition.scan(layer, suffix="_2", x=first.final("c"))
third = definition.scan(layer, suffix="_3", x=second.final("c"))
definition.output(first.c)
