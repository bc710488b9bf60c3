"""Maximum of a vector and a scalar made of parameters."""

from gradcheck_rnn.language import cell, elementwise, maximum, sum, tanh  # noqa: A004

hill = elementwise("hill", "1 / (1 + x**2)")


@cell(states="h c: p", params="W: p q; b: q; V: p p")
def definition(h, c, W, b, V):
    v = W @ b + V @ c
    return {"h": hill(v), "c": tanh(maximum(v + 0.5, sum(b)))}
