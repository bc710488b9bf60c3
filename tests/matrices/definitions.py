"""Cells with a matrix for every sequence, as people write them."""

# mypy: disallow-untyped-defs=False

from __future__ import annotations

from gradcheck_rnn.language import (
    cell,
    dot,
    exp,
    eye,
    maximum,
    ones,
    outer,
    sigmoid,
    tanh,
)


@cell(inputs="q k: n; v: m; g:", states="S: n m", outputs="o")
def linear_attention(q, k, v, g, S):
    """S = g S₋ + k vᵀ, o = Sᵀ q."""
    S = g * S + k @ v.T
    o = S.T @ q
    return {"S": S, "o": o}


@cell(inputs="q k: n; v: m; beta:", states="S: m n", outputs="S o")
def delta_rule(q, k, v, beta, S):
    """S = S₋ (I − β k kᵀ) + β v kᵀ, o = S q."""
    S = S @ (eye("n") - beta * (k @ k.T)) + beta * (v @ k.T)
    o = S @ q
    return {"S": S, "o": o}


@cell(
    inputs="x: d", states="S: n m; z: n", params="W_q W_k: n d; W_v: m d; w: d; P: m m", outputs="o"
)
def projected(x, S, z, W_q, W_k, W_v, w, P):
    """A layer: projections of x, gates a row each, a normaliser."""
    q, k, v = W_q @ x, W_k @ x, W_v @ x
    a = sigmoid(k)
    S = (a @ v.T) * S @ P + tanh(k @ v.T)
    z = a * z + k
    o = S.T @ q / maximum(abs(dot(z, q)), 1)
    return {"S": S, "z": z, "o": o * dot(w, x)}


@cell(inputs="delta: n; u: n; B_t C_t: m", states="h: n m", params="A: n m; D: n", outputs="y")
def selective(delta, u, B_t, C_t, h, A, D):
    """A selective state space: h = exp(δ ⊙ A) ⊙ h₋ + (δ u) Bᵀ, y = h C + D u."""
    h = exp(delta * A) * h + (delta * u) @ B_t.T
    y = h @ C_t + D * u
    return {"h": h, "y": y}


@cell(inputs="q k: n; v: m; alpha: n; gamma: m", states="S: n m", outputs="o s")
def gated(q, k, v, alpha, gamma, S):
    """Rows and columns are scaled; sums over rows, over columns and of both."""
    S = alpha * S * gamma.T + outer(k, v)
    o = S.T @ q
    rows = S @ ones("m")
    s = dot(rows, q) * (ones("n").T @ S @ ones("m"))
    return {"S": S, "o": o + S.T @ ones("n"), "s": s}


@cell(inputs="k: n; v: m", states="S: n m", params="tau: n; b: n", outputs="S")
def forgetful(k, v, S, tau, b):
    """S = λ S₋ + tanh(k + b) vᵀ: the rate λ = σ(τ) of a row is the same for all sequences."""
    lam = sigmoid(tau)
    return lam * S + tanh(k + b) @ v.T
