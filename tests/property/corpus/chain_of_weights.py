"""Weights multiplied with each other, and one weight read by three equations."""

from gradcheck_rnn.language import cell, sigmoid, tanh


@cell(
    inputs="x1: d; x2: p; x3: 2*p",
    states="h: p",
    params="W1: 2*p q; W2: q d; b1: d; W3: q q; W4: p p",
    fixed="k1: ",
    outputs="h y1 y2 y3",
)
def definition(x1, x2, x3, h, W1, W2, b1, W3, W4, k1):
    v1 = ((W1 @ W2) @ (k1 * b1)) * 0.5
    v2 = (W2 + W2) @ x1
    v3 = x2[0:1]
    v4 = sigmoid(v3)
    v5 = tanh((W2 @ x1) * (W3 @ v2))
    v6 = W4 @ x2
    return {"h": tanh(v6), "y1": v1 * x3, "y2": v4, "y3": v5}
