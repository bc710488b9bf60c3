"""A softmax of a parameter inside the recurrence, and functions of a matrix outside it."""

from gradcheck_rnn.language import cell, cos, elementwise, softmax, tanh

hill = elementwise("hill", "1 / (1 + x**2)")


@cell(
    inputs="x: d",
    states="h c s: p",
    params="W1: p p; W2: p d; b: d",
    outputs="h c s y",
)
def definition(x, h, c, s, W1, W2, b):
    v1 = (1 + hill(W1 @ s + W2 @ softmax(b)) ** 2) ** -1
    v3 = tanh(tanh(tanh(cos(W2))))
    new = tanh(W1 @ v1)
    return {"h": new, "c": new, "s": new, "y": v3 @ x}
