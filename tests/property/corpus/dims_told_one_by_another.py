"""q is given, p follows from p + q, and d, which a slice needs, from d + p given before."""

from gradcheck_rnn.language import cell, dim


@cell(inputs="x1: d+p; x2: p+q; x3: q", states="h: p+q", outputs="h y1 y2")
def definition(x1, x2, x3, h):
    return {"h": 0.5 * h + x2, "y1": x1[: dim("d")], "y2": x3}
