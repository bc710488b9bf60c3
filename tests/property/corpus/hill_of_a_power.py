"""Soft maxima of bounded functions of powers; matrices made of parameters applied to inputs."""

from gradcheck_rnn.language import cell, elementwise, sigmoid, softmax, tanh

hill = elementwise("hill", "1 / (1 + x**2)")


@cell(
    inputs="x1: ; x2: q; x3: p; x4: d",
    states="h: p",
    params="W1: p d; W2: p p; W3: p q",
    outputs="h y1 y2 y3 y4",
)
def definition(x1, x2, x3, x4, h, W1, W2, W3):
    v1 = softmax(hill(h**4))
    v3 = tanh(W1)
    v4 = abs(tanh(W2 * W2))
    gate = sigmoid(tanh(x3))
    new = gate * v1 + (1 - gate) * h
    return {"h": new, "y1": tanh(tanh(x1)), "y2": v3 @ x4, "y3": v4 @ x3, "y4": W3 @ x2}
