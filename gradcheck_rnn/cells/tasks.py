"""Task shapes: how inputs and outputs line up in time. Each ends in a loss."""

# Definitions are written as equations, so: untyped, and every result has a name.
# mypy: disallow-untyped-defs=False
# ruff: noqa: RET504

from __future__ import annotations

from ..language import cell, tanh
from ..language.cell import Cell
from ..language.network import Network
from ._catalogue import CS231N, HONG, system
from .elman import elman, elman_hidden
from .losses import softmax_cross_entropy
from .lstm import lstm
from .readout import readout

__all__ = ["ZOO", "decoder", "embed", "generator"]

#: Targets are classes: words, characters, labels.
CLASSES = {"target": "one-hot"}


@cell(
    inputs="x: d",
    params="A: p d; b_a: p",
    outputs="a",
    source=f"{CS231N}, one-to-many: a fixed-size input starts the sequence",
)
def embed(x, A, b_a):
    """The first state from one input vector: a = tanh(A x + b_a)."""
    a = tanh(A @ x + b_a)
    return a


@cell(
    states="h: p; y: q",
    params="W: p p; R: p q; b_i: p; V: q p; b_y: q",
    outputs="y",
    source=f"{CS231N}, one-to-many: the output is fed back",
)
def generator(h, y, W, R, b_i, V, b_y):
    """Elman network that reads its own previous output: h = tanh(W h₋ + R y₋ + b_i)."""
    i = W @ h + R @ y + b_i
    h = tanh(i)
    y = V @ h + b_y
    return h, y


@cell(
    inputs="x: d; s: m",
    states="h: p",
    params="W: p p; U: p d; C: p m; b_i: p; V: q p; b_y: q",
    outputs="h y",
    source=f"{CS231N}, many-to-many: an encoder's last state is decoded",
)
def decoder(x, s, h, W, U, C, b_i, V, b_y):
    """Elman decoder that reads the source's summary s at every step."""
    i = W @ h + U @ x + C @ s + b_i
    h = tanh(i)
    y = V @ h + b_y
    return h, y


@system("one_to_many", f"{HONG}, one-to-many; {CS231N}, Figure 1")
def one_to_many(network: Network) -> None:
    """One input vector, a sequence of outputs: the output is fed back as a delayed state."""
    x = network.input("x", "d", axis=None)
    start = network.scan(embed, axis=None, x=x).a
    made = network.scan(generator, initial={"h": start, "y": None})
    network.output(made.y, made.final("h"))
    network.loss(network.scan(softmax_cross_entropy, domains=CLASSES, y=made.y).loss)


@system("many_to_one", f"{HONG}, many-to-one; {CS231N}, Figure 1")
def many_to_one(network: Network) -> None:
    """A sequence of inputs, one output, read from the last state."""
    x = network.input("x", "d")
    made = network.scan(elman_hidden, x=x)
    y = network.scan(readout, axis=None, h=made.final("h")).y
    network.output(y, made.final("h"))
    network.loss(network.scan(softmax_cross_entropy, axis=None, domains=CLASSES, y=y).loss)


@system("many_to_many", f"{CS231N}, Figure 1, the aligned variation of many-to-many")
def many_to_many(network: Network) -> None:
    """An output for every input (aligned)."""
    x = network.input("x", "d")
    made = network.scan(elman, x=x)
    network.output(made.h, made.y, made.final("h"))
    network.loss(network.scan(softmax_cross_entropy, domains=CLASSES, y=made.y).loss)


@system("encoder_decoder", f"{CS231N}, Figure 1, many-to-many as in machine translation")
def encoder_decoder(network: Network) -> None:
    """A sequence of S steps is read, then one of T steps is written, from the last state on.

    The decoder starts from the encoder's last state and also reads it at every step; its input x
    is the previous word of the target (teacher forcing).
    """
    source = network.input("x_src", "e", axis="S")
    encoder = network.scan(elman_hidden, suffix="_src", axis="S", x=source)
    summary = encoder.final("h")
    made = network.scan(decoder, s=summary, initial={"h": summary}, dims={"p": "p"})
    network.output(made.y, made.final("h"))
    network.loss(network.scan(softmax_cross_entropy, domains=CLASSES, y=made.y).loss)


def _language_model(network: Network, definition: Cell) -> None:
    """One-hot characters of a vocabulary of v in, scores for the next character out."""
    x = network.input("x", "v", data=True, domain="one-hot")
    made = network.scan(definition, x=x)
    y = network.scan(readout, h=made.h, dims={"q": "v"}).y
    network.output(y)
    network.output(*(made.final(s) for s in definition.states))
    network.loss(network.scan(softmax_cross_entropy, domains=CLASSES, y=y).loss)


@system("char_rnn", f"{CS231N}, RNN example as character-level language model")
def char_rnn(network: Network) -> None:
    """Character-level language model: one-hot characters, Elman network, softmax cross-entropy."""
    _language_model(network, elman_hidden)


@system("char_lstm", f"{CS231N}, character-level language model with an LSTM")
def char_lstm(network: Network) -> None:
    """Character-level language model with an LSTM."""
    _language_model(network, lstm)


ZOO = (one_to_many, many_to_one, many_to_many, encoder_decoder, char_rnn, char_lstm)
