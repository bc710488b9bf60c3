"""Readouts: cells without a state, on top of one or two sequences."""

# Definitions are written as equations, so: untyped, and every result has a name.
# mypy: disallow-untyped-defs=False
# ruff: noqa: RET504

from __future__ import annotations

from ..language import cell, sigmoid, softmax, sum_heads, tanh
from ._catalogue import HONG, SURVEY

__all__ = [
    "ZOO", "deep_readout", "heads_readout", "readout", "sigmoid_readout", "softmax_readout",
    "two_readout",
]  # fmt: skip


@cell(
    inputs="h: p",
    params="V: q p; b_y: q",
    outputs="y",
    source=f"{SURVEY}, eqs. (5) and (35)",
)
def readout(h, V, b_y):
    """Linear readout y = V h + b_y."""
    y = V @ h + b_y
    return y


@cell(
    heads="H",
    inputs="h: H p",
    params="V: H q p; b_y: q",
    outputs="y",
    source="Vaswani et al. 2017, Attention Is All You Need, sec. 3.2.2: Concat(head_1, …) W^O",
)
def heads_readout(h, V, b_y):
    """Readout of the heads side by side, a block of weights each: y = Σ_h V h + b_y."""
    y = sum_heads(V @ h) + b_y
    return y


@cell(
    inputs="h: p",
    params="V: q p; b_y: q",
    outputs="y_hat",
    source=f"{SURVEY}, eqs. (5)–(6); the numerator of (6) is that of one component, exp(y_j)",
)
def softmax_readout(h, V, b_y):
    """Softmax readout ŷ = softmax(V h + b_y)."""
    y = V @ h + b_y
    y_hat = softmax(y)
    return y_hat


@cell(
    inputs="h: p",
    params="V: q p; b_y: q",
    outputs="y_hat",
    source=f"{HONG}, eq. (1), with f = σ for binary classification",
)
def sigmoid_readout(h, V, b_y):
    """Logistic readout ŷ = σ(V h + b_y)."""
    y = V @ h + b_y
    y_hat = sigmoid(y)
    return y_hat


@cell(
    inputs="h_fwd: p_fwd; h_bwd: p_bwd",
    params="V_fwd: q p_fwd; V_bwd: q p_bwd; b_y: q",
    outputs="y",
    source=f"{SURVEY}, eq. (51)",
)
def two_readout(h_fwd, h_bwd, V_fwd, V_bwd, b_y):
    """Readout of both directions: y = V⃗ h⃗ + V⃖ h⃖ + b_y."""
    y = V_fwd @ h_fwd + V_bwd @ h_bwd + b_y
    return y


@cell(
    inputs="h_fwd: p_fwd; h_bwd: p_bwd",
    params="V_fwd: m p_fwd; V_bwd: m p_bwd; b_a: m; V: q m; b_y: q",
    outputs="y",
    source=f'{SURVEY}, Bidirectional RNN: "replaced by a third multi-layer neural network"',
)
def deep_readout(h_fwd, h_bwd, V_fwd, V_bwd, b_a, V, b_y):
    """A multilayer network on top of both directions: y = V tanh(V⃗ h⃗ + V⃖ h⃖ + b_a) + b_y."""
    a = tanh(V_fwd @ h_fwd + V_bwd @ h_bwd + b_a)
    y = V @ a + b_y
    return y


ZOO = (readout, softmax_readout, sigmoid_readout, two_readout, deep_readout)
