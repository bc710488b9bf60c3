"""The minimum is minus the maximum of minuses; one operand is a scalar that is negative itself."""

from gradcheck_rnn.language import cell, cross_entropy, minimum, where


@cell(inputs="x1: q; x2: d", states="h: p", outputs="h y")
def definition(x1, x2, h):
    v = minimum(where(x1 > x1, x1, 0.5), cross_entropy(x2, x2))
    return {"h": h, "y": v}
