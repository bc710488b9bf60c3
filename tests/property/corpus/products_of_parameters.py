"""Products of parameters that do not depend on the sequence, next to some that do."""

from gradcheck_rnn.language import cell, dot, tanh


@cell(
    inputs="x: d",
    states="h c s: p",
    params="W: q d; b: q; V: p q; R: p p",
    outputs="h c s y",
)
def definition(x, h, c, s, W, b, V, R):
    y = dot(W @ x + W @ x + b, tanh(b))
    v = (V @ b) / (2 + tanh(tanh(R @ s)))
    return {"h": tanh(v), "c": tanh(v), "s": tanh(v), "y": y}
