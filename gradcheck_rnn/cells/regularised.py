"""Cells with per-step data: dropout and zoneout masks are drawn outside and given as data."""

# Definitions are written as equations, so: untyped, and every result has a name.
# mypy: disallow-untyped-defs=False
# ruff: noqa: RET504

from __future__ import annotations

from ..language import cell, sigmoid, tanh
from .lstm import _GATES

__all__ = ["ZOO", "elman_zoneout", "lstm_dropout"]


@cell(
    inputs="x: d",
    states="h c: p",
    params=_GATES,
    data="r_x: d; r_c: p",
    outputs="h",
    domains={"r_x": ">= 0", "r_c": ">= 0"},
    source="Semeniuta et al. 2016 (on c̃), Zaremba et al. 2014 (on x); not in the source documents",
)
def lstm_dropout(
    x, h, c, W_i, W_f, W_o, W_c, U_i, U_f, U_o, U_c, b_i, b_f, b_o, b_c, r_x, r_c
):  # fmt: skip
    """Long short-term memory with dropout on the input and on the new memory (scaled masks r)."""
    u = r_x * x
    i = sigmoid(W_i @ h + U_i @ u + b_i)
    f = sigmoid(W_f @ h + U_f @ u + b_f)
    o = sigmoid(W_o @ h + U_o @ u + b_o)
    c_tilde = tanh(W_c @ h + U_c @ u + b_c)
    c = f * c + i * (r_c * c_tilde)
    h = o * tanh(c)
    return h, c


@cell(
    inputs="x: d",
    states="h: p",
    params="W: p p; U: p d; b_i: p",
    data="z: p",
    domains={"z": "0/1"},
    source="Krueger et al. 2017; not in the source documents",
)
def elman_zoneout(x, h, W, U, b_i, z):
    """Elman network with zoneout: where the mask z is 1 the unit keeps its previous value."""
    i = W @ h + U @ x + b_i
    h = z * h + (1 - z) * tanh(i)
    return h


ZOO = (lstm_dropout, elman_zoneout)
