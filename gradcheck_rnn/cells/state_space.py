"""State spaces that are linear in the state, discretised; complex states are pairs of real ones.

A complex eigenvalue λ = λ_re + i λ_im acts on a state x_re + i x_im as two real equations; the
gradient of a pair is the pair of the real gradients, ∂L/∂x_re and ∂L/∂x_im, which is what
PyTorch and JAX (up to conjugation) call the gradient of a complex number.
"""

# Definitions are written as equations, so: untyped, and every result has a name.
# mypy: disallow-untyped-defs=False

from __future__ import annotations

from ..language import cell, cos, dot, exp, outer, sigmoid, sin, softplus, sqrt

__all__ = ["ZOO", "lru", "mamba2", "rg_lru", "s4d", "selective_scan"]


@cell(
    inputs="u:",
    states="x_re x_im: n",
    params="log_dt:; log_a a_im C_re C_im: n; D:",
    outputs="y",
    source="Gu et al. 2022, Parameterization and Initialization of Diagonal State Space Models, "
    "zero-order hold, B = 1, one channel",
)
def s4d(u, x_re, x_im, log_dt, log_a, a_im, C_re, C_im, D):
    """S4D: x = Ā x₋ + B̄ u, y = 2 Re(C x) + D u, Ā = exp(Δ A), B̄ = (Ā − 1) / A, A diagonal."""
    dt = exp(log_dt)
    a_re = -exp(log_a)
    growth = exp(dt * a_re)
    l_re = growth * cos(dt * a_im)
    l_im = growth * sin(dt * a_im)
    square = a_re**2 + a_im**2
    b_re = ((l_re - 1) * a_re + l_im * a_im) / square
    b_im = (l_im * a_re - (l_re - 1) * a_im) / square
    new_re = l_re * x_re - l_im * x_im + b_re * u
    new_im = l_re * x_im + l_im * x_re + b_im * u
    y = 2 * (dot(C_re, new_re) - dot(C_im, new_im)) + D * u
    return {"x_re": new_re, "x_im": new_im, "y": y}


@cell(
    inputs="u: d",
    states="x_re x_im: n",
    params="nu theta log_gamma: n; B_re B_im: n d; C_re C_im: q n; D: q d",
    outputs="y",
    source="Orvieto et al. 2023, Resurrecting Recurrent Neural Networks for Long Sequences, "
    "section 3 and appendix A",
)
def lru(u, x_re, x_im, nu, theta, log_gamma, B_re, B_im, C_re, C_im, D):
    """Linear recurrent unit: x = λ x₋ + γ B u, y = Re(C x) + D u, λ = exp(−e^ν + i e^θ)."""
    size = exp(-exp(nu))
    phase = exp(theta)
    gamma = exp(log_gamma)
    l_re = size * cos(phase)
    l_im = size * sin(phase)
    new_re = l_re * x_re - l_im * x_im + gamma * (B_re @ u)
    new_im = l_re * x_im + l_im * x_re + gamma * (B_im @ u)
    y = C_re @ new_re - C_im @ new_im + D @ u
    return {"x_re": new_re, "x_im": new_im, "y": y}


@cell(
    inputs="u delta: n; B C: m",
    states="S: n m",
    params="A: n m; D: n",
    outputs="y",
    source="Gu & Dao 2023, Mamba, algorithm 2 (S6): exp(Δ A) for A, Δ B for B",
)
def selective_scan(u, delta, B, C, S, A, D):
    """Selective state space: S = exp(δ ⊙ A) ⊙ S₋ + (δ ⊙ u) Bᵀ, y = S C + D ⊙ u."""
    S = exp(delta * A) * S + outer(delta * u, B)
    y = S @ C + D * u
    return {"S": S, "y": y}


@cell(
    inputs="x: p",
    states="h: p",
    params="W_a W_x: p p; b_a b_x lam: p",
    source="De et al. 2024, Griffin, eqs. (1)–(4), RG-LRU with c = 8 and a = σ(λ)^(c r)",
)
def rg_lru(x, h, W_a, W_x, b_a, b_x, lam):
    """Real-gated linear recurrent unit: h = a ⊙ h₋ + sqrt(1 − a²) ⊙ (i ⊙ x), a of the input."""
    r = sigmoid(W_a @ x + b_a)
    i = sigmoid(W_x @ x + b_x)
    a = exp(-8 * r * softplus(-lam))
    return {"h": a * h + sqrt(1 - a**2) * (i * x)}


@cell(
    inputs="x: m; B C: n; dt:",
    states="S: m n",
    params="A_log dt_bias D:",
    outputs="y",
    source="Dao & Gu 2024, Transformers are SSMs (Mamba-2), recurrent form of one head",
)
def mamba2(x, B, C, dt, S, A_log, dt_bias, D):
    """Mamba-2: S = a S₋ + Δ x Bᵀ, y = S C + D x, a = exp(−e^A_log Δ) one number a head and step."""
    step = softplus(dt + dt_bias)
    a = exp(-exp(A_log) * step)
    S = a * S + step * outer(x, B)
    y = S @ C + D * x
    return {"S": S, "y": y}


ZOO = (s4d, lru, selective_scan, rg_lru, mamba2)
