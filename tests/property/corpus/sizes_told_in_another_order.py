"""d + p is given before 2*p, which tells p, and so d."""

from gradcheck_rnn.language import cell, dim


@cell(inputs="x: d+p", states="h: 2*p", outputs="h y")
def definition(x, h):
    return {"h": 0.5 * h, "y": x[: dim("d")]}
