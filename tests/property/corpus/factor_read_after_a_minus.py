"""A sum of negatives whose later term reads the factor that is computed in the sum's place."""

from gradcheck_rnn.language import cell, dot, elementwise, maximum, sqrt, tanh

hill = elementwise("hill", "1 / (1 + x**2)")


@cell(inputs="x1: ; x2: p", states="h: p")
def definition(x1, x2, h):
    v = maximum(dot(h, h), x1)
    return hill((x2 + v) / sqrt(2 + tanh(v)))
