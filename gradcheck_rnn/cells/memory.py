"""Memories that are written at every step: by a gradient step, or at addresses.

One head each, with the keys, values and gates that a controller computes.
"""

# Definitions are written as equations, so: untyped, and every result has a name.
# mypy: disallow-untyped-defs=False

from __future__ import annotations

from ..language import cell, concat, dim, exp, log, ones, outer, softmax, sqrt
from ..language import sum as total

__all__ = ["ZOO", "ntm_head", "titans"]


@cell(
    inputs="k e a: m; beta g gamma:; s: 3",
    states="M: n m; w: n",
    outputs="r",
    domains={
        "w": "simplex",
        "beta": "> 0",
        "g": "(0, 1)",
        "s": "simplex",
        "gamma": ">= 1",
        "e": "(0, 1)",
    },
    source="Graves et al. 2014, Neural Turing Machines, eqs. (2)–(9), one head",
)
def ntm_head(k, e, a, beta, g, gamma, s, M, w):
    """Neural Turing machine head: w by content, shift s, power γ; r = M₋ᵀ w, then write."""
    size = sqrt(M**2 @ ones("m") + 1e-6) * sqrt(total(k**2) + 1e-6)
    content = softmax(beta * (M @ k) / size)
    gated = g * content + (1 - g) * w
    ahead = concat(gated[1:], gated[:1])
    behind = concat(gated[dim("n") - 1 :], gated[: dim("n") - 1])
    moved = s[:1] * ahead + s[1:2] * gated + s[2:] * behind
    power = exp(gamma * log(moved))
    w = power / total(power)
    r = M.T @ w
    M = M * (1 - outer(w, e)) + outer(w, a)
    return {"M": M, "w": w, "r": r}


@cell(
    inputs="q k: n; v: m; alpha eta theta:",
    states="M S: m n",
    outputs="y",
    source="Behrouz et al. 2025, Titans, linear memory: gradient of |M k − v|² with momentum",
)
def titans(q, k, v, alpha, eta, theta, M, S):
    """Test-time memory: S = η S₋ − 2 θ (M₋ k − v) kᵀ, M = (1 − α) M₋ + S, y = M q."""
    error = M @ k - v
    S = eta * S - 2 * theta * outer(error, k)
    M = (1 - alpha) * M + S
    y = M @ q
    return {"M": M, "S": S, "y": y}


ZOO = (ntm_head, titans)
