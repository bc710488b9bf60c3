"""Cells whose state is a matrix for every sequence: an association of keys with values.

They take queries, keys, values and gates as a layer computes them, as the kernels do; one head.
"""

# Definitions are written as equations, so: untyped, and every result has a name.
# mypy: disallow-untyped-defs=False

from __future__ import annotations

from ..language import cell, dot, exp, eye, maximum, outer, sigmoid, softplus, sqrt
from ..language import sum as total

__all__ = [
    "ZOO",
    "delta_net",
    "gated_delta_net",
    "gated_linear_attention",
    "hgrn2",
    "linear_attention",
    "mlstm",
    "retention",
    "rwkv4",
    "rwkv6",
    "rwkv7",
]


@cell(
    inputs="q k: n; v: m",
    states="S: n m; z: n",
    outputs="o",
    source="Katharopoulos et al. 2020, Transformers are RNNs, eqs. (16)–(20), with features q, k",
    domains={"q": "> 0", "k": "> 0", "z": ">= 0"},
)
def linear_attention(q, k, v, S, z):
    """Linear attention: S = S₋ + k vᵀ, z = z₋ + k, o = Sᵀ q / (zᵀ q) with features q, k > 0."""
    S = S + outer(k, v)
    z = z + k
    o = S.T @ q / dot(z, q)
    return {"S": S, "z": z, "o": o}


@cell(
    inputs="q k: n; v: m",
    states="S: n m",
    fixed="gamma:",
    outputs="o",
    source="Sun et al. 2023, Retentive Network, eq. (6), recurrent form of one head",
    domains={"gamma": "(0, 1)"},
)
def retention(q, k, v, S, gamma):
    """Retention: S = γ S₋ + k vᵀ, o = Sᵀ q, with a decay γ that is not trained."""
    S = gamma * S + outer(k, v)
    o = S.T @ q
    return {"S": S, "o": o}


@cell(
    inputs="q k alpha: n; v: m",
    states="S: n m",
    outputs="o",
    source="Yang et al. 2024, Gated Linear Attention Transformers, eq. (3)",
)
def gated_linear_attention(q, k, alpha, v, S):
    """Gated linear attention: S = diag(α) S₋ + k vᵀ, o = Sᵀ q."""
    S = alpha * S + outer(k, v)
    o = S.T @ q
    return {"S": S, "o": o}


@cell(
    inputs="q f: n; v: m",
    states="S: n m",
    outputs="o",
    source="Qin et al. 2024, HGRN2, Gated Linear RNNs with State Expansion, section 3",
    domains={"f": "(0, 1)"},
)
def hgrn2(q, f, v, S):
    """HGRN2: S = diag(f) S₋ + (1 − f) vᵀ, o = Sᵀ q: what is forgotten is what is written."""
    S = f * S + outer(1 - f, v)
    o = S.T @ q
    return {"S": S, "o": o}


@cell(
    inputs="q k: n; v: m; alpha beta:",
    states="S: m n",
    outputs="o",
    source="Yang et al. 2025, Gated Delta Networks, eq. (10); α = 1: Schlag et al. 2021",
)
def delta_net(q, k, v, alpha, beta, S):
    """Gated delta rule: S = α S₋ (I − β k kᵀ) + β v kᵀ, o = S q."""
    S = alpha * (S @ (eye("n") - beta * outer(k, k))) + beta * outer(v, k)
    o = S @ q
    return {"S": S, "o": o}


@cell(
    inputs="q k: n; v: m; a b:",
    states="S: m n",
    params="A_log dt_bias:",
    outputs="o",
    source="Yang et al. 2025, Gated Delta Networks, eq. (10) with the gates and the normalised "
    "keys of its layer",
)
def gated_delta_net(q, k, v, a, b, S, A_log, dt_bias):
    """Gated DeltaNet: the gated delta rule with k / |k|, q / |q|, β = σ(b) and a decay of a."""
    alpha = exp(-exp(A_log) * softplus(a + dt_bias))
    beta = sigmoid(b)
    k_hat = k / sqrt(total(k**2) + 1e-6)
    q_hat = q / sqrt(total(q**2) + 1e-6)
    error = v - alpha * (S @ k_hat)
    S = alpha * S + beta * outer(error, k_hat)
    o = S @ q_hat
    return {"S": S, "o": o}


@cell(
    inputs="q k: n; v: m; i f:",
    states="C: m n; z: n; s:",
    outputs="h",
    source="Beck et al. 2024, xLSTM, eqs. (19)–(27), stabilised as in its appendix, no output gate",
)
def mlstm(q, k, v, i, f, C, z, s):
    """Matrix memory of xLSTM: C = f′ C₋ + i′ v kᵀ, z = f′ z₋ + i′ k, h = C q / max(|zᵀ q|, e⁻ˢ)."""
    kept = s - softplus(-f)
    s = maximum(kept, i)
    write = exp(i - s)
    keep = exp(kept - s)
    C = keep * C + write * outer(v, k)
    z = keep * z + write * k
    h = C @ q / maximum(abs(dot(z, q)), exp(-s))
    return {"C": C, "z": z, "s": s, "h": h}


@cell(
    inputs="r k v: p",
    states="a b m: p",
    params="w u: p",
    outputs="o",
    source="Peng et al. 2023, RWKV, time mixing, stabilised as in its appendix",
    domains={"w": "> 0", "b": ">= 0"},
)
def rwkv4(r, k, v, a, b, m, w, u):
    """RWKV-4: o = σ(r) ⊙ (a₋ + e^(u+k) v) / (b₋ + e^(u+k)), with a, b kept as multiples of e^m."""
    top = maximum(m, u + k)
    past = exp(m - top)
    now = exp(u + k - top)
    below = past * b + now
    wkv = (past * a + now * v) / below
    o = sigmoid(r) * wkv
    kept = m - w
    m = maximum(kept, k)
    keep = exp(kept - m)
    write = exp(k - m)
    a = keep * a + write * v
    b = keep * b + write
    return {"a": a, "b": b, "m": m, "o": o}


@cell(
    inputs="r k d: n; v: m",
    states="S: n m",
    params="u: n",
    outputs="o",
    source="Peng et al. 2024, Eagle and Finch, RWKV-6 time mixing of one head",
)
def rwkv6(r, k, d, v, S, u):
    """RWKV-6: o = (S₋ + (u ⊙ k) vᵀ)ᵀ r, S = diag(w) S₋ + k vᵀ, w = exp(−e^d)."""
    w = exp(-exp(d))
    o = S.T @ r + dot(u * k, r) * v
    S = w * S + outer(k, v)
    return {"S": S, "o": o}


@cell(
    inputs="r d k kappa a: n; v: m",
    states="S: m n",
    outputs="o",
    source="Peng et al. 2025, RWKV-7 Goose, generalised delta rule of one head",
)
def rwkv7(r, d, k, kappa, a, v, S):
    """RWKV-7: S = S₋ (diag(w) − κ̂ (a ⊙ κ̂)ᵀ) + v kᵀ, o = S r, with κ̂ = κ / |κ| and w = exp(−e^d)."""
    w = exp(-exp(d))
    kappa_hat = kappa / sqrt(total(kappa**2))
    S = S * w.T - outer(S @ kappa_hat, a * kappa_hat) + outer(v, k)
    o = S @ r
    return {"S": S, "o": o}


ZOO = (
    linear_attention,
    retention,
    gated_linear_attention,
    hgrn2,
    delta_net,
    gated_delta_net,
    mlstm,
    rwkv4,
    rwkv6,
    rwkv7,
)
