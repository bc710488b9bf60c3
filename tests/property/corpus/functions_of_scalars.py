"""Elementwise functions of scalar parameters and of matrices."""

from gradcheck_rnn.language import cell, elementwise, sigmoid, softplus, tanh

swish = elementwise("swish", "x * sigmoid(x)")


@cell(inputs="x: d; u: ", states="h: p", params="W: p d; g k: ", outputs="h y z")
def definition(x, u, h, W, g, k):
    v = tanh(tanh(W) + swish(g))
    return {"h": h, "y": v @ x, "z": sigmoid(g) * softplus(k) * u}
