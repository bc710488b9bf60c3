"""Cells with heads, as people write them."""

# mypy: disallow-untyped-defs=False

from __future__ import annotations

from gradcheck_rnn.language import (
    cell,
    dot,
    exp,
    eye,
    maximum,
    mean,
    ones,
    outer,
    sigmoid,
    softplus,
    sqrt,
    sum_heads,
    tanh,
)


@cell(heads="H", inputs="q k: H n; v: H m; g: H", states="S: H n m", outputs="o")
def gated(q, k, v, g, S):
    """S = g S₋ + k vᵀ, o = Sᵀ q, for every head by itself."""
    S = g * S + outer(k, v)
    o = S.T @ q
    return {"S": S, "o": o}


@cell(
    heads="H",
    inputs="x: d",
    states="S: H n m",
    params="W_q W_k: H n d; W_v: H m d; a: H; W_o: H d m",
    outputs="y",
)
def retention(x, S, W_q, W_k, W_v, a, W_o):
    """A layer: the heads share the input, each has weights and a decay of its own."""
    q, k, v = W_q @ x, W_k @ x, W_v @ x
    gamma = exp(-exp(a))
    S = gamma * S + outer(k, v)
    o = S.T @ q
    y = sum_heads(W_o @ o)
    return {"S": S, "y": y}


@cell(
    heads="H",
    inputs="q k: H n; v: m; beta: H; r:",
    states="S: H m n; z: H n; c: m",
    params="w: H m; b: m; u: n; P: m m",
    outputs="o y",
)
def mixed(q, k, v, beta, r, S, z, c, w, b, u, P):
    """A delta rule whose heads share values and norms; what they find is summed into a state."""
    S = S @ (eye("n") - beta * outer(k, k)) + beta * outer(P @ v + c, k)
    z = sigmoid(r) * z + k * u
    o = S @ q * tanh(dot(z, q)) + b
    o = w * (o - mean(o)) / sqrt(mean((o - mean(o)) ** 2) + 0.5)
    c = tanh(c + sum_heads(o + b))
    y = dot(c, v) + sum_heads(beta * r)
    return {"S": S, "z": z, "c": c, "o": o, "y": y}


@cell(
    heads="G",
    inputs="Q: G n r; k: G n; v: G m; g: G",
    states="S: G n m",
    params="W: G r m",
    outputs="y",
)
def grouped(Q, k, v, g, S, W):
    """Queries of a group are the columns of a matrix; they share the group's keys and values."""
    S = g * S + outer(k, v)
    y = sum_heads((W * (Q.T @ S)) @ ones("m"))
    return {"S": S, "y": y}


@cell(
    heads="H",
    inputs="q k: H n; v: H m; i f: H",
    states="C: H m n; z: H n; s: H",
    outputs="h",
)
def mlstm(q, k, v, i, f, C, z, s):
    """Exponential gates, held down by s, of a matrix memory in every head."""
    kept = s - softplus(-f)
    s = maximum(kept, i)
    write, keep = exp(i - s), exp(kept - s)
    C = keep * C + write * outer(v, k)
    z = keep * z + write * k
    h = (C @ q) / maximum(abs(dot(z, q)), exp(-s))
    return {"C": C, "z": z, "s": s, "h": h}
