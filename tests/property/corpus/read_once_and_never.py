"""A readout that runs once on a last state and on data, and a scan that nothing reads."""

from gradcheck_rnn.language import cell
from gradcheck_rnn.language.network import Network


@cell(states="h: p")
def layer(h):
    return h * 0.5


@cell(inputs="x: p", data="r: d", params="W: p p; V: p d", outputs="y")
def readout(x, r, W, V):
    return W @ x + V @ r


definition = Network("definition")
x = definition.input("x", "d")
first = definition.scan(layer, suffix="_1")
second = definition.scan(layer, suffix="_2")
last = definition.scan(readout, suffix="_3", x=second.final("h"))
definition.output(second.final("h"), last.y)
