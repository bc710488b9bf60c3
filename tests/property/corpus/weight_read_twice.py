"""One weight in two products of one equation, and the same product twice."""

from gradcheck_rnn.language import cell, cross_entropy, tanh


@cell(inputs="x: q", states="h c: p", params="W: q p")
def definition(x, h, c, W):
    v = -cross_entropy(tanh(W @ c + W @ c), tanh(x))
    return {"h": tanh(c + v), "c": tanh(c + v)}
