"""Weights of different height that read one value, which no state needs."""

from gradcheck_rnn.language import cell, tanh


@cell(
    inputs="x: d",
    states="h: p",
    params="W1: p d; W2: p+q p; W3: p p; W4: q p",
    outputs="h y1 y2 y3",
)
def definition(x, h, W1, W2, W3, W4):
    v3 = W1 @ x
    return {"h": tanh(W3 @ v3), "y1": W2 @ v3 + 0.5, "y2": W4 @ h, "y3": W1.T @ h}
