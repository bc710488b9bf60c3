"""One entry of a vector of parameters beside parameters that are scalars."""

from gradcheck_rnn.language import cell, sin


@cell(inputs="x1: p; x2: ", states="h: p", params="g: ; b: p", outputs="h loss")
def definition(x1, x2, h, g, b):
    v = sin(g) * b[1:2]
    return {"h": 0.5 * h + x1, "loss": v * x2}
