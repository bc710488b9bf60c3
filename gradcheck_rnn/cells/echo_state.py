"""Echo state network: a fixed reservoir with a readout that is trained by least squares."""

# Definitions are written as equations, so: untyped, and every result has a name.
# mypy: disallow-untyped-defs=False

from __future__ import annotations

from ..language import cell, tanh
from ._catalogue import SURVEY

__all__ = ["ZOO", "echo_state"]


@cell(
    inputs="x: d",
    states="h: p",
    fixed="W: p p; U: p d; b_i: p",
    params="V: q p; b_y: q",
    outputs="h y",
    source=f"{SURVEY}, Echo State Networks, with eqs. (3)–(5)",
)
def echo_state(x, h, W, U, b_i, V, b_y):
    """Echo state network: fixed sparse reservoir W, U, b_i; only the readout V, b_y is trained.

    Squared error is linear least squares in (V, b_y), so that its minimum has a closed form and
    no gradient has to pass through time.
    """
    i = W @ h + U @ x + b_i
    h = tanh(i)
    y = V @ h + b_y
    return h, y


ZOO = (echo_state,)
