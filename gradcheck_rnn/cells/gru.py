"""Gated recurrent units. Everywhere h = (1 − z) ⊙ h₋ + z ⊙ h̃, as in the survey.

Many libraries exchange the roles of z and 1 − z. Eqs. (44) and (47) of the survey have a
parenthesis too many: as printed, U_c x + b_c stands outside tanh; it belongs inside. The text
before (46) calls the forget gate r_t; it is f_t.
"""

# Definitions are written as equations, so: untyped, and every result has a name.
# mypy: disallow-untyped-defs=False
# ruff: noqa: RET504

from __future__ import annotations

from ..language import cell, sigmoid, tanh
from ._catalogue import SURVEY

__all__ = ["ZOO", "gru", "gru_reset_after", "mgu"]


@cell(
    inputs="x: d",
    states="h: p",
    params="W_r W_z W_c: p p; U_r U_z U_c: p d; b_r b_z b_c: p",
    source=f"{SURVEY}, eqs. (42)–(45), with the parenthesis of (44) put right",
)
def gru(x, h, W_r, W_z, W_c, U_r, U_z, U_c, b_r, b_z, b_c):
    """Gated recurrent unit, reset before the product: h̃ = tanh(W_c (r ⊙ h₋) + U_c x + b_c)."""
    r = sigmoid(W_r @ h + U_r @ x + b_r)
    z = sigmoid(W_z @ h + U_z @ x + b_z)
    h_tilde = tanh(W_c @ (r * h) + U_c @ x + b_c)
    h = (1 - z) * h + z * h_tilde
    return h


@cell(
    inputs="x: d",
    states="h: p",
    params="W_r W_z W_c: p p; U_r U_z U_c: p d; b_r b_z b_c d_c: p",
    source="Cho et al. 2014, arXiv:1406.1078v1, and GPU libraries; not in the source documents",
)
def gru_reset_after(x, h, W_r, W_z, W_c, U_r, U_z, U_c, b_r, b_z, b_c, d_c):
    """Gated recurrent unit, reset after the product: h̃ = tanh(r ⊙ (W_c h₋ + d_c) + U_c x + b_c)."""
    r = sigmoid(W_r @ h + U_r @ x + b_r)
    z = sigmoid(W_z @ h + U_z @ x + b_z)
    s = W_c @ h + d_c
    h_tilde = tanh(r * s + U_c @ x + b_c)
    h = (1 - z) * h + z * h_tilde
    return h


@cell(
    inputs="x: d",
    states="h: p",
    params="W_f W_c: p p; U_f U_c: p d; b_f b_c: p",
    source=f"{SURVEY}, eqs. (46)–(48), with the parenthesis of (47) put right",
)
def mgu(x, h, W_f, W_c, U_f, U_c, b_f, b_c):
    """Minimal gated unit: one forget gate f takes the place of reset and update."""
    f = sigmoid(W_f @ h + U_f @ x + b_f)
    h_tilde = tanh(W_c @ (f * h) + U_c @ x + b_c)
    h = (1 - f) * h + f * h_tilde
    return h


ZOO = (gru, gru_reset_after, mgu)
