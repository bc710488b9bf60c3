"""Recurrence whose products are convolutions over positions."""

# Definitions are written as equations, so: untyped, and every result has a name.
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False

from __future__ import annotations

from functools import partial

import numpy as np

from ..language import cell, ones, sigmoid, tanh

__all__ = ["ZOO", "conv_lstm"]

_TAPS = "; ".join(f"W_{g}1 W_{g}2 W_{g}3: k k; U_{g}1 U_{g}2 U_{g}3: k d; b_{g}: k" for g in "ifoc")


@cell(
    inputs="X: d n",
    states="H C: k n",
    params=_TAPS,
    fixed={"L": ("n n", partial(np.eye, k=-1))},
    outputs="H y",
    source="Shi et al. 2015, Convolutional LSTM Network, eq. (3), one dimension, width 3",
)
def conv_lstm(X, H, C, L, **given):
    """Convolutional LSTM: k channels at n positions, moved by L; y sums each channel.

    L is n by n with ones below the diagonal: H L and H Lᵀ move the positions by one, zeros beyond
    the ends. There are no peepholes.
    """

    def convolved(gate):
        before, here, after = (given[f"W_{gate}{j}"] for j in (1, 2, 3))
        of_h = before @ H @ L.T + here @ H + after @ H @ L
        before, here, after = (given[f"U_{gate}{j}"] for j in (1, 2, 3))
        of_x = before @ X @ L.T + here @ X + after @ X @ L
        return of_h + of_x + given[f"b_{gate}"]

    i = sigmoid(convolved("i"))
    f = sigmoid(convolved("f"))
    o = sigmoid(convolved("o"))
    c_tilde = tanh(convolved("c"))
    C = f * C + i * c_tilde
    H = o * tanh(C)
    y = H @ ones("n")
    return {"H": H, "C": C, "y": y}


ZOO = (conv_lstm,)
