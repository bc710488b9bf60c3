"""Dims that are told by sums only: q by p + q, and p by a zero start of 2*p units."""

from gradcheck_rnn.language import cell, sin, softmax, split, tanh
from gradcheck_rnn.language.network import Network


@cell(inputs="x1: ; x2: p; x3: 2*p", states="h: p+q; c: 2*p", lags={"h": (1, 2)}, outputs="h y")
def layer(x1, x2, x3, h, c):
    first, _ = split(h[2], "q", "p")
    return {"h": sin(x1 * h[2]) + 0.1 * h[1], "c": tanh(x3 + c), "y": softmax(first + sin(x2)[:1])}


definition = Network("definition")
x = definition.input("x", "p")
start = definition.parameter("h_start", "p+q")
first = definition.scan(layer, suffix="_1", x2=x, initial={"h": (start, None), "c": None})
second = definition.scan(
    layer, suffix="_2", x2=x, reverse=True, initial={"h": (None, first.final("h")), "c": None}
)
definition.output(first.h, first.y, second.h, second.final("c"))
