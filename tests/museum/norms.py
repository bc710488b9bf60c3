"""Normalisation over the units at every step."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradcheck_rnn import check_vjp
from tests.museum.exhibits import exhibit
from tests.museum.parts import Arrays, normal


def ln_rnn_forward(x: Any, W: Any, U: Any, gamma: Any) -> Any:
    """h = tanh(γ ⊙ normalised(h W + x U)), each row normalised over its units."""
    h, hs, steps = np.zeros((x.shape[1], len(W))), [], []
    for x_t in x:
        a = h @ W + x_t @ U
        var = a.var(axis=1, keepdims=True) + 1e-3
        n = (a - a.mean(axis=1, keepdims=True)) / np.sqrt(var)
        steps.append((x_t, h, n, var))
        h = np.tanh(gamma * n)
        hs.append(h)
    return np.stack(hs), (steps, np.stack(hs), W, U, gamma)


def ln_rnn_backward(dhs: Any, saved: Any, means: int = 1, invert: Any = None) -> Arrays:
    """The gradients; `means` times the mean is subtracted, `invert` makes 1/σ of the variance."""
    steps, hs, W, U, gamma = saved
    dh, dW, dU, dgamma, dx = 0.0, 0.0, 0.0, 0.0, []
    for t in reversed(range(len(steps))):
        x_t, h, n, var = steps[t]
        da = (dhs[t] + dh) * (1 - hs[t] ** 2)
        dn, dgamma = da * gamma, dgamma + (da * n).sum(axis=0)
        mean, slope = dn.mean(axis=1, keepdims=True), (dn * n).mean(axis=1, keepdims=True)
        inverse = invert(var) if invert else 1 / np.sqrt(var)
        dz = (dn - means * mean - n * slope) * inverse
        dW, dU, dh = dW + h.T @ dz, dU + x_t.T @ dz, dz @ W.T
        dx.append(dz @ U.T)
    return {"x": np.stack(dx[::-1]), "W": dW, "U": dU, "gamma": dgamma}


LAYER_NORM = {"x": (3, 2, 1), "W": (4, 4), "U": (1, 4), "gamma": (4,)}


@exhibit(
    "https://github.com/tenstorrent/tt-metal/issues/53204",
    "The backward pass of layer normalisation subtracts the mean of dy γ twice.",
    arrays="x W U gamma",
    place=("h|output", "step 1 -> U|outputs at step 1 -> U"),
)
def tt_metal_53204_mean_subtracted_twice(wrong: bool) -> Any:
    def backward(dhs: Any, saved: Any) -> Arrays:
        return ln_rnn_backward(dhs, saved, means=2 if wrong else 1)

    # check
    return check_vjp(ln_rnn_forward, backward, normal(**LAYER_NORM), time_axis=0)


@exhibit(
    "https://github.com/ooples/AiDotNet.Tensors/pull/784",
    "The forward pass saves 1/σ, the backward pass takes it for the variance and inverts again.",
    arrays="x W U gamma",
    place=("step 1 -> U|outputs at step 1 -> U",),
)
def aidotnet_784_inverse_deviation_inverted(wrong: bool) -> Any:
    def inverse(var: Any) -> Any:
        saved = 1 / np.sqrt(var)
        return 1 / np.sqrt(saved + 1e-3) if wrong else saved

    # check
    def backward(dhs: Any, saved: Any) -> Arrays:
        return ln_rnn_backward(dhs, saved, invert=inverse)

    return check_vjp(ln_rnn_forward, backward, normal(**LAYER_NORM), time_axis=0)


@exhibit(
    "https://github.com/Oneflow-Inc/oneflow/pull/6149",
    "The gradients of scale and shift of a layer normalisation are handed out the wrong way round.",
    arrays="gamma beta",
)
def oneflow_6149_scale_and_shift_exchanged(wrong: bool) -> Any:
    def forward(x: Any, gamma: Any, beta: Any) -> Any:  # a state that decays, normalised each step
        hs, h = [], 0 * x[0]
        for x_t in x:
            h = 0.7 * h + x_t
            hs.append(h)
        a = np.stack(hs)
        centred = a - a.mean(axis=2, keepdims=True)
        n = centred / np.sqrt((centred**2).mean(axis=2, keepdims=True) + 1e-3)
        return gamma * n + beta, (n, centred, gamma)

    def backward(dy: Any, saved: Any) -> Arrays:
        n, centred, gamma = saved
        dn = dy * gamma
        mean, slope = dn.mean(axis=2, keepdims=True), (dn * n).mean(axis=2, keepdims=True)
        da = (dn - mean - n * slope) / np.sqrt((centred**2).mean(axis=2, keepdims=True) + 1e-3)
        for t in reversed(range(len(da) - 1)):
            da[t] += 0.7 * da[t + 1]
        scale, shift = (dy * n).sum(axis=(0, 1)), dy.sum(axis=(0, 1))
        return {"x": da} | dict(
            zip(("beta", "gamma") if wrong else ("gamma", "beta"), (scale, shift), strict=True)
        )

    # check
    return check_vjp(forward, backward, normal(x=(3, 2, 4), gamma=4, beta=4), time_axis=0)


@exhibit(
    "https://github.com/flagos-ai/FlagGems/issues/5392",
    "The backward pass takes all but the first axis as normalised, the forward pass the last one.",
    arrays="x",
)
def flaggems_5392_backward_for_two_axes_only(wrong: bool) -> Any:
    def forward(x: Any) -> Any:  # (B, T, d)
        centred = x - x.mean(axis=2, keepdims=True)
        r = 1 / np.sqrt((centred**2).mean(axis=2, keepdims=True) + 1e-3)
        return centred * r, (centred * r, r)

    def backward(dy: Any, saved: Any) -> Arrays:
        (n, r), axes = saved, (1, 2) if wrong else 2
        mean, slope = dy.mean(axis=axes, keepdims=True), (dy * n).mean(axis=axes, keepdims=True)
        return {"x": (dy - mean - n * slope) * r}

    # check
    return check_vjp(forward, backward, normal(x=(2, 4, 3)), time_axis=1)
