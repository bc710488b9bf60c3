"""Strides, offsets, workspaces and reductions of kernels; parts of layers that get nothing."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradcheck_rnn import check_model, check_torch, check_vjp, load
from tests.museum.autograd import tensors
from tests.museum.exhibits import exhibit
from tests.museum.parts import (
    Arrays,
    elman_forward,
    lstm_backward,
    lstm_forward,
    lstm_step,
    normal,
    sigmoid,
)


def taps(x: Any, weight: Any) -> Any:
    """A causal convolution of two taps, x (B, T, n), weight (2, n)."""
    before = np.concatenate([np.zeros_like(x[:, :1]), x[:, :-1]], axis=1)
    return x * weight[0] + before * weight[1], (x, before, weight)


@exhibit(
    "https://github.com/fla-org/flash-linear-attention/pull/955",
    "With packed sequences every program of the batch adds all shares of the weight's gradient.",
    arrays="weight",
    place=("B = [23]",),
)
def fla_955_weight_counted_for_every_program(wrong: bool) -> Any:
    def backward(dy: Any, saved: Any) -> Any:
        x, before, weight = saved
        after = np.concatenate([dy[:, 1:], np.zeros_like(dy[:, :1])], axis=1)
        dweight = np.zeros_like(weight)
        for _ in range(len(x) if wrong else 1):  # programs
            dweight += np.stack([(dy * x).sum(axis=(0, 1)), (dy * before).sum(axis=(0, 1))])
        return dy * weight[0] + after * weight[1], dweight

    def inputs(B: int) -> Arrays:
        return normal(x=(B, 4, 3), weight=(2, 3))

    # check
    return check_vjp(taps, backward, inputs, shapes={"B": [1, 2, 3]})


def decayed(q: Any, k: Any, v: Any, g: Any) -> Any:
    """Heads of gated linear attention at once: q, k (H, T, K), v (H, T, V), g (H, T)."""
    G = np.cumsum(g, axis=1)
    D = np.tril(np.exp(G[:, :, None] - G[:, None]))
    A = q @ k.transpose(0, 2, 1)
    return (A * D) @ v, (q, k, v, A, D)


def decayed_backward(do: Any, saved: Any, gated: bool = True, head: Any = None) -> Any:
    """`gated`: v's gradient decays; `head`: the head whose decay is read, all their own if None."""
    q, k, v, A, D = saved
    kept = D if head is None else np.broadcast_to(D[head], D.shape)
    dv = (A * (kept if gated else np.tril(np.ones_like(D)))).transpose(0, 2, 1) @ do
    dP = do @ v.transpose(0, 2, 1)
    dA, dG = dP * D, dP * A * D
    dg = np.cumsum((dG.sum(axis=2) - dG.sum(axis=1))[:, ::-1], axis=1)[:, ::-1]
    return dA @ k, dA.transpose(0, 2, 1) @ q, dv, dg


HEADS = {"q": (2, 5, 3), "k": (2, 5, 3), "v": (2, 5, 4), "g": (2, 5)}


@exhibit(
    "https://github.com/fla-org/flash-linear-attention/pull/6",
    "The values' gradient lacks the decay.",
    arrays="v",
)
def fla_6_value_without_gating(wrong: bool) -> Any:
    def backward(do: Any, saved: Any) -> Any:
        return decayed_backward(do, saved, gated=not wrong)

    # check
    return check_vjp(decayed, backward, normal(**HEADS))


@exhibit(
    "https://github.com/fla-org/flash-linear-attention/issues/1115",
    "The decay is loaded without the head's offset: every head reads the first one's.",
    arrays="v",
    place=("\\[1, \\d, \\d\\]",),
)
def fla_1115_decay_of_the_first_head(wrong: bool) -> Any:
    def backward(do: Any, saved: Any) -> Any:
        return decayed_backward(do, saved, head=0 if wrong else None)

    # check
    return check_vjp(decayed, backward, normal(**HEADS))


@exhibit(
    "https://github.com/fla-org/flash-linear-attention/issues/632",
    "The values' gradient is stored with the keys' row length: right where both have one size.",
    arrays="v",
    place=("V = 4",),
)
def fla_632_row_length_of_the_keys(wrong: bool) -> Any:
    def backward(do: Any, saved: Any) -> Any:
        dq, dk, dv, dg = decayed_backward(do, saved)
        (_, T, K), V = dk.shape, dv.shape[2]
        out = np.zeros_like(dv)
        for flat, right in zip(out.reshape(len(dv), -1), dv, strict=True):
            for t in range(T):
                start = t * (K if wrong else V)
                flat[start : start + V] = right[t]
        return dq, dk, out, dg

    def inputs(V: int) -> Arrays:
        return normal(**HEADS | {"v": (2, 5, V)})

    # check
    return check_vjp(decayed, backward, inputs, shapes={"V": [3, 4]})


def convolve(stride: str) -> Any:
    """Two taps with a past; "dy" or "dh0" is where backward believes dy to be contiguous."""
    import torch

    class Convolution(torch.autograd.Function):  # x (T, d), past (1, d), a and b (d,)
        @staticmethod
        def forward(ctx: Any, x: Any, past: Any, a: Any, b: Any) -> Any:
            before = torch.cat([past, x[:-1]])
            ctx.save_for_backward(x, before, a, b)
            return a * x + b * before

        @staticmethod
        def backward(ctx: Any, dy: Any) -> Any:
            x, before, a, b = ctx.saved_tensors
            T, d = dy.shape
            room = dy.untyped_storage().nbytes() // dy.element_size() - dy.storage_offset()
            fits = room >= T * d  # out of bounds otherwise
            dense = dy.as_strided((T, d), (d, 1)) if fits else torch.zeros_like(x)
            first = dense if stride == "dh0" else dy
            dy = dense if stride == "dy" else dy
            after = torch.cat([dy[1:], torch.zeros_like(dy[:1])])
            return dy * a + after * b, first[:1] * b, (dy * x).sum(0), (dy * before).sum(0)

    return Convolution


CONVOLVED = {"x": (4, 3), "past": (1, 3), "a": (3,), "b": (3,)}


@exhibit(
    "https://github.com/fla-org/flash-linear-attention/pull/871",
    "Backward reads the gradient handed in as if it were contiguous.",
    arrays="",
    place=("contiguous|stride",),
    torch=True,
)
def fla_871_gradient_not_contiguous(wrong: bool) -> Any:
    # check
    return check_torch(convolve("dy" if wrong else ""), tensors(**CONVOLVED))


@exhibit(
    "https://github.com/fla-org/flash-linear-attention/issues/1138",
    "Only the initial state's gradient reads the gradient handed in with the wrong strides.",
    place=("'past'", "contiguous"),
    torch=True,
)
def fla_1138_initial_state_with_wrong_strides(wrong: bool) -> Any:
    # check
    return check_torch(convolve("dh0" if wrong else ""), tensors(**CONVOLVED))


@exhibit(
    "https://github.com/state-spaces/mamba/pull/537",
    "The remainder of a block is not set to zero: memory keeps what was there.",
    place=("index 4 of 5",),
)
def mamba_537_remainder_not_zeroed(wrong: bool) -> Any:
    pool = np.zeros((2, 5))  # what an allocator hands out again

    def backward(do: Any, saved: Any) -> Any:
        dq, dk, dv, dg = decayed_backward(do, saved)
        before = pool.copy()
        pool[...] = 1 + np.abs(dg)
        if wrong:
            dg[:, 4:] += before[:, 4:]
        return dq, dk, dv, dg

    # check
    return check_vjp(decayed, backward, normal(**HEADS))


@exhibit(
    "https://github.com/asappresearch/sru/pull/52",
    "Every sequence stores its bias gradient, none is added up.",
    arrays="b",
    place=("B = [23]",),
)
def sru_52_bias_not_reduced(wrong: bool) -> Any:
    def forward(x: Any, c0: Any, b: Any) -> Any:  # x (T, B, n), c0 (B, n), b (n,)
        c, f = [c0], sigmoid(x + b)
        for x_t, f_t in zip(x, f, strict=True):
            c.append(f_t * c[-1] + (1 - f_t) * x_t)
        return np.stack(c[1:]), (x, f, c)

    def backward(dc: Any, saved: Any) -> Any:
        x, f, c = saved
        dx, carried, rows = np.zeros_like(x), 0.0, np.zeros_like(x[0])
        for t in reversed(range(len(x))):
            carried = carried + dc[t]
            da = carried * (c[t] - x[t]) * f[t] * (1 - f[t])
            dx[t], carried = carried * (1 - f[t]) + da, carried * f[t]
            rows += da
        return dx, carried, rows[-1] if wrong else rows.sum(axis=0)

    def inputs(B: int) -> Arrays:
        return normal(x=(4, B, 3), c0=(B, 3), b=(3,))

    # check
    return check_vjp(forward, backward, inputs, shapes={"B": [1, 2, 3]})


@exhibit(
    "https://github.com/lmnt-com/haste/issues/17",
    "On one device some calls lose a part of the sum.",
    place=("call|differ|unsteady",),
)
def haste_17_some_calls_lose_a_part(wrong: bool) -> Any:
    calls = np.random.default_rng(3)

    def backward(do: Any, saved: Any) -> Any:
        dq, dk, dv, dg = decayed_backward(do, saved)
        if wrong and calls.random() < 0.3:
            dk[1] -= dk[1, :1]
        return dq, dk, dv, dg

    # check
    return check_vjp(decayed, backward, normal(**HEADS))


@exhibit(
    "https://github.com/open-lm-engine/lm-engine/pull/505",
    "What is carried is clipped, which no function's gradient is.",
    arrays="x h0 W",
    place=("linear|twice|1024",),
)
def lm_engine_505_carried_gradient_clipped(wrong: bool) -> Any:
    def forward(x: Any, h0: Any, W: Any) -> Any:
        h = [h0]
        for x_t in x:
            h.append(np.tanh(h[-1] @ W + x_t))
        return np.stack(h[1:]), (np.stack(h), W)

    def backward(dh: Any, saved: Any) -> Any:
        h, W = saved
        dx, dW, carried = np.zeros_like(dh), np.zeros_like(W), np.zeros_like(h[0])
        for t in reversed(range(len(dh))):
            carried = np.clip(carried, -1, 1) if wrong else carried
            dx[t] = (dh[t] + carried) * (1 - h[t + 1] ** 2)
            dW += h[t].T @ dx[t]
            carried = dx[t] @ W.T
        return dx, carried, dW

    # check
    return check_vjp(forward, backward, normal(0.4, x=(5, 2, 3), h0=(2, 3), W=(3, 3)), time_axis=0)


@exhibit(
    "https://github.com/ooples/AiDotNet/pull/722",
    "The gradient that goes to the state before is set to zero.",
    arrays="x h0 c0 Wx Wh b",
    term=("nothing is carried|δh",),
)
def aidotnet_722_hidden_gradient_zeroed(wrong: bool) -> Any:
    def backward(cotangents: Arrays, saved: Any) -> Arrays:
        steps, x, Wx, Wh = saved
        return lstm_backward(lstm_step)(cotangents, (steps, x, Wx, 0 * Wh if wrong else Wh))

    # check
    model = load("lstm")
    return check_model(model, forward=lstm_forward, backward=backward, layout="lecture lstm")


@exhibit(
    "https://github.com/ooples/AiDotNet/pull/455",
    "The bias takes part in forward by a copy that needs no gradient.",
    arrays="b_i",
    term=("b_i",),
)
def aidotnet_455_bias_without_gradient(wrong: bool) -> Any:
    def backward(cotangents: Arrays, saved: Any) -> Arrays:
        x, h, W, U = saved
        d: Arrays = {"W": np.zeros_like(W), "U": np.zeros_like(U), "b_i": np.zeros(len(W))}
        dx, dh = np.zeros_like(x), cotangents["h_final"]
        for t in reversed(range(len(x))):
            da = (cotangents["h"][t] + dh) * (1 - h[t + 1] ** 2)
            d["W"] += da.T @ h[t]
            d["U"] += da.T @ x[t]
            if not wrong:
                d["b_i"] += da.sum(axis=0)
            dx[t], dh = da @ U, da @ W
        return d | {"x": dx, "h0": dh}

    # check
    return check_model(load("elman_hidden"), forward=elman_forward, backward=backward)


def cells_forward(x: Any, h0: Any, c0: Any, Wx: Any, Wh: Any, b: Any) -> Any:
    """The shared LSTM with every c among the outputs."""
    outputs, saved = lstm_forward(x, h0, c0, Wx, Wh, b)
    return {"h": outputs["h"], "c": np.stack([s[4] for s in saved[0]], axis=1)}, saved


@exhibit(
    "https://github.com/PaddlePaddle/Paddle/issues/6970",
    "Gradients handed in for the cell states are set to zero.",
    arrays="x h0 c0 Wx Wh b",
    place=("\\bc\\b.* -> ",),
)
def paddle_6970_cell_states_ignored(wrong: bool) -> Any:
    def backward(cotangents: Arrays, saved: Any) -> Arrays:
        dh, dc_all = cotangents["h"], cotangents["c"] * (0 if wrong else 1)
        at = iter(reversed(range(dh.shape[1])))

        def local(dh_t: Any, dc: Any, step: Any) -> Any:
            return lstm_step(dh_t, dc + dc_all[:, next(at)], step)

        rest = {"h": dh, "h_T": 0 * dh[:, 0], "c_T": 0 * dh[:, 0]}
        return lstm_backward(local)(rest, saved)

    shapes = {"x": (2, 4, 3), "h0": (2, 5), "c0": (2, 5), "Wx": (3, 20), "Wh": (5, 20), "b": 20}
    # check
    return check_vjp(cells_forward, backward, normal(0.5, **shapes), time_axis=1)


@exhibit(
    "https://github.com/microsoft/onnxruntime/issues/16862",
    "The reset gate is kept before its activation, which forward applies to a copy.",
    arrays="x h0 W R b",
)
def onnxruntime_16862_gate_kept_before_activation(wrong: bool) -> Any:
    def forward(x: Any, h0: Any, W: Any, R: Any, b: Any) -> Any:  # x (T, B, d), gates r, z, n
        h, cache, hs = h0, [], []
        for x_t in x:
            ax, ah = np.split(x_t @ W + b, 3, axis=1), np.split(h @ R, 3, axis=1)
            r, z = sigmoid(ax[0] + ah[0]), sigmoid(ax[1] + ah[1])
            n = np.tanh(ax[2] + r * ah[2])
            cache.append((x_t, h, ax[0] + ah[0] if wrong else r, z, n, ah[2]))
            h = (1 - z) * n + z * h
            hs.append(h)
        return np.stack(hs), (cache, W, R)

    def backward(dhs: Any, saved: Any) -> Any:
        cache, W, R = saved
        dW, dR, db, dx, dh = np.zeros_like(W), np.zeros_like(R), np.zeros(W.shape[1]), [], 0.0
        for (x, h, r, z, n, s), dh_t in zip(cache[::-1], dhs[::-1], strict=True):
            dh = dh + dh_t
            dn = dh * (1 - z) * (1 - n**2)
            dr, dz = dn * s * r * (1 - r), dh * (h - n) * z * (1 - z)
            dax, dah = np.hstack([dr, dz, dn]), np.hstack([dr, dz, dn * r])
            dW, dR, db = dW + x.T @ dax, dR + h.T @ dah, db + dax.sum(axis=0)
            dx.insert(0, dax @ W.T)
            dh = dh * z + dah @ R.T
        return np.stack(dx), dh, dW, dR, db

    # check
    shapes = {"x": (4, 2, 3), "h0": (2, 5), "W": (3, 15), "R": (5, 15), "b": 15}
    return check_vjp(forward, backward, normal(**shapes), time_axis=0)


@exhibit(
    "https://github.com/deeplearning4j/deeplearning4j/pull/3195",
    "Backward returns the gradient of what is normalised, not of what goes in.",
    arrays="x h0 W",
)
def dl4j_3195_normalisation_not_differentiated(wrong: bool) -> Any:
    def forward(x: Any, h0: Any, W: Any) -> Any:
        h, cache, hs = h0, [], []
        for x_t in x:
            a = x_t + h @ W
            scale = a.std(axis=1, keepdims=True)
            n = (a - a.mean(axis=1, keepdims=True)) / scale
            h_prev, h = h, np.tanh(n)
            cache.append((h_prev, scale, n, h))
            hs.append(h)
        return np.stack(hs), (cache, W)

    def backward(dhs: Any, saved: Any) -> Any:
        cache, W = saved
        dx, dW, dh = [], np.zeros_like(W), 0.0
        for (h_prev, scale, n, h), dh_t in zip(cache[::-1], dhs[::-1], strict=True):
            da = (dh + dh_t) * (1 - h**2)
            if not wrong:
                mean, along = (v.mean(axis=1, keepdims=True) for v in (da, da * n))
                da = (da - mean - n * along) / scale
            dx.insert(0, da)
            dW, dh = dW + h_prev.T @ da, da @ W.T
        return np.stack(dx), dh, dW

    # check
    return check_vjp(forward, backward, normal(x=(4, 2, 5), h0=(2, 5), W=(5, 5)), time_axis=0)
