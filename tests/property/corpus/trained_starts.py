"""Starts that are trained, zero, or another scan's last state, in both directions and masked."""

from gradcheck_rnn.language import cell, elementwise, exp, tanh
from gradcheck_rnn.language.network import Network

hill = elementwise("hill", "1 / (1 + x**2)")


@cell(inputs="x: p", states="h c: p", outputs="c y loss")
def layer(x, h, c):
    new = hill(h + h / exp(tanh(h)))
    return {"h": new, "c": 0.5 * c + 0.5 * tanh(x), "y": abs(x) * h, "loss": hill(x)[0:1]}


definition = Network("definition")
x = definition.input("x", "p")
mask = definition.input("mask", "", data=True)
s1 = definition.scan(layer, suffix="_1", x=x, initial={"h": None})
start = definition.parameter("h_start", "p")
s2 = definition.scan(
    layer, suffix="_2", x=s1.final("c"), reverse=True, mask=mask,
    initial={"h": start, "c": s1.final("h")},
)  # fmt: skip
definition.output(s1.c, s2.y, s2.final("h"))
definition.loss(s1.loss)
definition.loss(s2.loss)
