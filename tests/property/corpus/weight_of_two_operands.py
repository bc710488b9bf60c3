"""One weight times two operands, one of which it made itself."""

from gradcheck_rnn.language import cell, sigmoid, tanh


@cell(inputs="x: p", states="h: p", params="W: p p", outputs="h y")
def definition(x, h, W):
    v = W @ h
    u = W @ v
    gate = sigmoid(tanh(-h))
    return {"h": gate * x + (1 - gate) * h, "y": u}
