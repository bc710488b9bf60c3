"""An attention decoder whose annotations are rows of a matrix state, as its code in the corpus."""

# mypy: disallow-untyped-defs=False

from __future__ import annotations

from gradcheck_rnn.cells.attention import aligning
from gradcheck_rnn.language import cell, outer, tanh
from gradcheck_rnn.language.network import Network

__all__ = ["decoder_by_place"]


@cell(
    inputs="x: d", states="h: k; H: n k", params="W: k k; U: k d; b: k", data="place: n",
    outputs="h", domains={"place": "one-hot"},
)  # fmt: skip
def annotating(x, h, H, W, U, b, place):
    """Elman encoder that keeps its states: row ``place`` of H is h."""
    h = tanh(W @ h + U @ x + b)
    H = H + outer(place, h)
    return {"h": h, "H": H}


def decoder_by_place() -> Network:
    """The S states of an encoder are read at each of T steps."""
    network = Network("attention_decoder")
    x = network.input("x", "e", axis="S")
    encoder = network.scan(annotating, suffix="_src", axis="S", x=x, dims={"d": "e"})
    there = network.input("there", "n", axis=None, data=True)
    made = network.scan(aligning, H=encoder.final("H"), there=there)
    network.output(made.s, made.c, made.final("s"))
    return network
