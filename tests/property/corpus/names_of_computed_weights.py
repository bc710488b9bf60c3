"""Products with one operand, kept side by side, whose weights are powers."""

from gradcheck_rnn.language import cell, tanh


@cell(inputs="x: d", states="h c: p", params="W1: p d; W2: p d", outputs="h c")
def definition(x, h, c, W1, W2):
    v = (0.5 + abs(W1)) ** 1.5
    w = (0.5 + abs(W2)) ** 1.5
    return tanh(v @ x + h), tanh(w @ x + c)
