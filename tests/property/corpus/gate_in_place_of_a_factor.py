"""A gate computed in the place of a value that another statement of the same kernel reads."""

from gradcheck_rnn.language import cell, sigmoid


@cell(inputs="x: p", states="h c: p", params="b: p", outputs="h c")
def definition(x, h, c, b):
    v = sigmoid(x) * c + (1 - sigmoid(x)) * x
    return v, sigmoid(v) * (b * x) + (1 - sigmoid(v)) * c
