"""Rows of an adjoint that are read in the loop and again after it."""

from gradcheck_rnn.language import cell, concat, dim, tanh


@cell(inputs="x1: q; x2: p", states="h: 2*p", params="W: p p; V: p q", lags={"h": (1, 2)})
def definition(x1, x2, h, W, V):
    v = x2 + h[2][: dim("p")]
    return tanh(h[1] + concat(v, W @ v + V @ x1))
