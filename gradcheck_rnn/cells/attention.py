"""Sequences as operands: of another scan as a whole, or rows of a matrix state.

Such a memory has a row a position; the positions of a step come as one-hot data.
"""

# Definitions are written as equations, so: untyped, and every result has a name.
# mypy: disallow-untyped-defs=False

from __future__ import annotations

from ..language import attend, cell, outer, sigmoid, softmax, tanh, where
from ..language.network import Network
from ._catalogue import system
from .elman import elman_hidden

__all__ = ["ZOO", "attention_decoder", "causal_attention", "tree_lstm"]

BAHDANAU = "Bahdanau et al. 2015, Neural Machine Translation by Jointly Learning to Align"


@cell(
    inputs="y: d; H: n k",
    states="s: p",
    params="W_a: m p; U_a: m k; v: m; W W_z W_r: p d; U U_z U_r: p p; C C_z C_r: p k",
    data="there: n",
    outputs="s c",
    domains={"there": "0/1"},
    source=f"{BAHDANAU}, eqs. (5)–(6) and appendix A.2.2, no biases",
)
def aligning(y, H, s, W_a, U_a, v, W, W_z, W_r, U, U_z, U_r, C, C_z, C_r, there):
    """GRU decoder that reads annotations H by additive attention; there is 1 at words."""
    e = tanh(H @ U_a.T + (W_a @ s).T) @ v
    alpha = softmax(where(there, e, -1e30))
    c = H.T @ alpha
    z = sigmoid(W_z @ y + U_z @ s + C_z @ c)
    r = sigmoid(W_r @ y + U_r @ s + C_r @ c)
    candidate = tanh(W @ y + U @ (r * s) + C @ c)
    s = (1 - z) * s + z * candidate
    return {"s": s, "c": c}


@system("attention_decoder", f"{BAHDANAU}, eqs. (5)–(6), 3.2 and appendix A")
def attention_decoder(network: Network) -> None:
    """A decoder with attention: the S states of an encoder are read at each of T steps.

    The encoder has one direction; there is 1 where the source has a word.
    """
    source = network.input("x", "e", axis="S")
    dims = {"d": "e", "p": "k"}
    encoder = network.scan(elman_hidden, suffix="_src", axis="S", x=source, dims=dims)
    there = network.input("there", "", axis="S", data=True)
    made = network.scan(aligning, H=encoder.h.whole("H"), there=there.whole("words"))
    network.output(made.s, made.c, made.final("s"))


@cell(
    inputs="q k: m; v: p",
    states="K: n m; V: n p",
    data="place past: n",
    outputs="o",
    domains={"place": "one-hot", "past": "0/1"},
    source="Vaswani et al. 2017, Attention Is All You Need, 3.2.3: masked self-attention",
)
def causal_attention(q, k, v, K, V, place, past):
    """Attention over the own past: k, v go into a cache, of which the rows ``past`` are read."""
    K = K + outer(place, k)
    V = V + outer(place, v)
    o = attend(q, K, V, past)
    return {"K": K, "V": V, "o": o}


@cell(
    inputs="x: d",
    states="H C: n p",
    params="W_i W_f W_o W_u: p d; U_i U_f U_o U_u: p p; b_i b_f b_o b_u: p",
    data="place children: n",
    outputs="h c",
    domains={"place": "one-hot", "children": "0/1"},
    source="Tai et al. 2015, Tree-Structured LSTM Networks, eqs. (2)–(8), child-sum",
)
def tree_lstm(x, H, C, W_i, W_f, W_o, W_u, U_i, U_f, U_o, U_u, b_i, b_f, b_o, b_u, place, children):
    """Child-sum Tree-LSTM on a given tree: one node a step, children before their parent."""
    below = H.T @ children
    i = sigmoid(W_i @ x + U_i @ below + b_i)
    o = sigmoid(W_o @ x + U_o @ below + b_o)
    u = tanh(W_u @ x + U_u @ below + b_u)
    F = sigmoid(H @ U_f.T + (W_f @ x + b_f).T)
    c = i * u + (F * C).T @ children
    h = o * tanh(c)
    H = H + outer(place, h)
    C = C + outer(place, c)
    return {"H": H, "C": C, "h": h, "c": c}


ZOO = (attention_decoder, causal_attention, tree_lstm)
