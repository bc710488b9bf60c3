"""The Elman network and the variants that were made to keep its gradient alive.

The survey derives (12)–(21) from (3)–(5). Its eq. (14), ∂h/∂i = (1 − hᵀh) I, is wrong for p > 1:
hᵀh is one number, while tanh acts unit by unit, so the Jacobian is diag(1 − h ⊙ h). Its
∂h_{t+1}/∂h_t = W (1 − hᵀh) I has the factors in denominator layout; in numerator layout it is
diag(1 − h_{t+1} ⊙ h_{t+1}) W.
"""

# Definitions are written as equations, so: untyped, and every result has a name.
# mypy: disallow-untyped-defs=False
# ruff: noqa: RET504

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..language import cell, concat, eye, relu, sigmoid, split, tanh
from ..language.cell import Cell
from ._catalogue import CS231N, HONG, KIM, LEE, SURVEY

__all__ = ["ZOO", "delayed", "elman", "elman_hidden", "general", "multihead"]

_PARAMS = "W: p p; U: p d; b_i: p; V: q p; b_y: q"


@cell(
    inputs="x: d",
    states="h: p",
    params=_PARAMS,
    outputs="h y",
    source=f"{SURVEY}, eqs. (3)–(5); {HONG}, eq. (1); {LEE}, RNN layer; {CS231N}, vanilla RNN",
)
def elman(x, h, W, U, b_i, V, b_y):
    """Elman network with a linear readout: h = tanh(W h₋ + U x + b_i), y = V h + b_y."""
    i = W @ h + U @ x + b_i
    h = tanh(i)
    y = V @ h + b_y
    return h, y


@cell(
    inputs="x: d",
    states="h: p",
    params="W: p p; U: p d; b_i: p",
    source=f"{SURVEY}, eqs. (3)–(4), and the note after (35): readout V = I, b_y = 0",
)
def elman_hidden(x, h, W, U, b_i):
    """Elman network read at its state, y = h (the readout V = I, b_y = 0)."""
    i = W @ h + U @ x + b_i
    h = tanh(i)
    return h


def general(f: Callable[[Any], Any], g: Callable[[Any], Any], name: str = "elman_general") -> Cell:
    """Elman network with any activations.

    Parameters
    ----------
    f, g : callable
        Elementwise functions of the language for the state and for the output.
    name : str
        The name of the cell.

    Returns
    -------
    Cell
        h = f(W h₋ + U x + b_h), o = g(V h + b_o), with Kim's W_hh, W_hx, W_oh as W, U, V.
    """

    @cell(
        inputs="x: d",
        states="h: p",
        params="W: p p; U: p d; b_h: p; V: q p; b_o: q",
        outputs="h y",
        name=name,
        source=f"{KIM}, eqs. (1)–(2)",
    )
    def elman_general(x, h, W, U, b_h, V, b_o):
        """Elman network with any activations: h = f(W h₋ + U x + b_h), y = g(V h + b_o)."""
        i = W @ h + U @ x + b_h
        h = f(i)
        a_y = V @ h + b_o
        y = g(a_y)
        return h, y

    return elman_general


elman_general = general(sigmoid, tanh)


@cell(inputs="x: d", states="h: p", params=_PARAMS, outputs="h y", source=f"{SURVEY}, eq. (25)")
def elman_residual(x, h, W, U, b_i, V, b_y):
    """Elman network with a copy of the previous state: h = tanh((W + I) h₋ + U x + b_i)."""
    i = (W + eye("p")) @ h + U @ x + b_i
    h = tanh(i)
    y = V @ h + b_y
    return h, y


def delayed(lags: tuple[int, ...], name: str = "elman_delayed") -> Cell:
    """Elman network with connections over long delays.

    Parameters
    ----------
    lags : tuple of int
        The delays k that exist, each with its own matrix W_k.
    name : str
        The name of the cell.

    Returns
    -------
    Cell
        h = tanh(Σ_k W_k h_{t−k} + U x + b_i), y = V h + b_y.
    """
    weights = " ".join(f"W_{k}" for k in lags)

    @cell(
        inputs="x: d",
        states="h: p",
        params=f"{weights}: p p; U: p d; b_i: p; V: q p; b_y: q",
        outputs="h y",
        lags={"h": lags},
        name=name,
        source=f"{SURVEY}, eq. (26)",
    )
    def elman_delayed(x, h, U, b_i, V, b_y, **W):
        """Elman network with delays (here 1 and 3): h = tanh(Σ_k W_k h_{t−k} + U x + b_i)."""
        past = {1: h} if tuple(lags) == (1,) else h
        i = U @ x + b_i
        for k in reversed(lags):
            i = W[f"W_{k}"] @ past[k] + i
        h = tanh(i)
        y = V @ h + b_y
        return h, y

    return elman_delayed


elman_delayed = delayed((1, 3))


@cell(
    inputs="x: d",
    states="h: p",
    params=f"{_PARAMS}; tau: p",
    outputs="h y",
    domains={"tau": ">= 1"},
    source=f"{SURVEY}, eq. (27)",
)
def elman_leaky(x, h, W, U, b_i, V, b_y, tau):
    """Leaky units: h = (1 − 1/τ) ⊙ h₋ + (1/τ) ⊙ tanh(W h₋ + U x + b_i), τ ≥ 1 per unit.

    At τ = 1 the first term is 0 and (27) is (4), as the survey says; its text for τ = 1 still
    carries a factor 1/τ, which is 1. It also speaks of keeping directions with τ = 1 and
    forgetting those with τ ≫ 1; from (27) it is the other way round: τ ≫ 1 keeps.
    """
    i = W @ h + U @ x + b_i
    leak = 1 / tau
    h = (1 - leak) * h + leak * tanh(i)
    y = V @ h + b_y
    return h, y


@cell(
    data="x: v",
    domains={"x": "one-hot"},
    states="h: p",
    params="W: p p; U: p v; b_i: p; b_y: v",
    outputs="h y",
    source=f"{SURVEY}, eqs. (3)–(5) with V = Uᵀ (input and output embedding tied)",
)
def elman_tied(x, h, W, U, b_i, b_y):
    """Elman language model whose readout is the input embedding: y = Uᵀ h + b_y."""
    i = W @ h + U @ x + b_i
    h = tanh(i)
    y = U.T @ h + b_y
    return h, y


def multihead(heads: int = 2, name: str = "elman_multihead") -> Cell:
    """Elman network with a block-diagonal recurrent matrix.

    Parameters
    ----------
    heads : int
        How many blocks W_1, …, each p by p; the state has ``heads * p`` units.
    name : str
        The name of the cell.

    Returns
    -------
    Cell
        h = tanh(blockdiag(W_1, …) h₋ + U x + b_i).
    """
    weights = " ".join(f"W_{k}" for k in range(1, heads + 1))

    @cell(
        inputs="x: d",
        states=f"h: {heads}*p",
        params=f"{weights}: p p; U: {heads}*p d; b_i: {heads}*p",
        name=name,
        source=f"{SURVEY}, eqs. (3)–(4) with W block-diagonal",
    )
    def elman_multihead(x, h, U, b_i, **W):
        """Elman network with block-diagonal recurrent weights ("heads")."""
        parts = split(h, heads)
        mixed = concat(*(W[f"W_{k}"] @ part for k, part in enumerate(parts, start=1)))
        i = mixed + U @ x + b_i
        h = tanh(i)
        return h

    return elman_multihead


elman_multihead = multihead()


@cell(
    states="h: p",
    params="W: p p; b_i: p; V: q p; b_y: q",
    outputs="h y",
    source=f"{SURVEY}, eq. (1)",
)
def autonomous(h, W, b_i, V, b_y):
    """Recurrence without input, h = f(h₋), with f = tanh(W · + b_i)."""
    i = W @ h + b_i
    h = tanh(i)
    y = V @ h + b_y
    return h, y


@cell(
    inputs="x: d",
    states="h: p",
    params="W: m p; U: m d; b_i: m; A: p m; b_h: p; V: q p; b_y: q",
    outputs="h y",
    source=f"{SURVEY}, eq. (2); {CS231N}, h_t = f_W(h_{{t−1}}, x_t)",
)
def driven(x, h, W, U, b_i, A, b_h, V, b_y):
    """Driven recurrence h = f(h₋, x) with f a network of one hidden layer of m units."""
    a = relu(W @ h + U @ x + b_i)
    h = A @ a + b_h
    y = V @ h + b_y
    return h, y


ZOO = (
    elman,
    elman_hidden,
    elman_general,
    elman_residual,
    elman_delayed,
    elman_leaky,
    elman_tied,
    elman_multihead,
    autonomous,
    driven,
)
