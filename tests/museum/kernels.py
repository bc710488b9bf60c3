"""Scans, losses over lattices and kernels that keep buffers."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradcheck_rnn import check_gradient, check_model, check_vjp, load
from tests.museum.exhibits import exhibit
from tests.museum.layers import scan, scan_back
from tests.museum.parts import Arrays, normal, sigmoid


@exhibit(
    "https://github.com/soumith/cudnn.torch/pull/235",
    "gradHiddenOutput is kept from the last call and added again, although the states were reset.",
    place=("state|again|repeat|calls?",),
)
def cudnn_torch_235_gradient_of_the_last_call(wrong: bool) -> Any:
    kept = {"dh": 0.0}

    def forward(x: Any, W: Any, U: Any) -> Any:
        h = scan(x, W, U)
        return h[1:], (x, h, W, U)

    def backward(dhs: Any, saved: Any) -> Arrays:
        x, h, W, U = saved
        dhs = dhs.copy()
        dhs[-1] += kept["dh"]
        dx, dW, dU, da = scan_back(dhs, x, h, W, U)
        if wrong:
            kept["dh"] = da[0] @ W.T
        return {"x": dx, "W": dW, "U": dU}

    # check
    inputs = normal(0.6, x=(4, 2, 5), W=(3, 3), U=(5, 3))
    return check_vjp(forward, backward, inputs, time_axis=0)


@exhibit(
    "https://github.com/Theano/Theano/issues/5439",
    "A scan that stops early puts its gradient at the end of the sequence, not at its beginning.",
    arrays="x",
    place=("\\[0, |\\[0\\]", "zero|of 10 entries"),
)
def theano_5439_gradient_after_the_stop(wrong: bool) -> Any:
    stop = 1.5

    def states(x: Any) -> Any:
        h = [0.2]
        for x_t in x:
            h.append(np.tanh(0.8 * h[-1] + x_t))
            if np.real(x_t) > stop:
                break
        return h

    def gradient(x: Any) -> Any:
        h, dx, dh = states(x), np.zeros_like(x), 0.0
        n = len(h) - 1
        for t in reversed(range(n)):
            da = (2 * h[t + 1] + dh) * (1 - h[t + 1] ** 2)
            dx[t + (len(x) - n if wrong else 0)] = da
            dh = 0.8 * da
        return {"x": dx}

    # check
    x = np.array([0.3, -0.7, 0.5, 2.0, 0.1, -0.4, 0.9, 0.2, -1.1, 0.6])
    return check_gradient(
        lambda p: sum(h * h for h in states(p["x"])[1:]), lambda p: gradient(p["x"]), {"x": x}
    )


@exhibit(
    "https://github.com/Theano/Theano/pull/166",
    "Inputs longer than n_steps are reversed for the gradient before they are cut to n_steps.",
    arrays="x W U",
    place=("step 1 -> U|step 1 -> x",),
)
def theano_166_reversed_before_cut(wrong: bool) -> Any:
    n_steps = 4

    def forward(x: Any, W: Any, U: Any) -> Any:
        h = scan(x[:n_steps], W, U)
        return h[1:], (x, h, W, U)

    def backward(dhs: Any, saved: Any) -> Arrays:
        x, h, W, U = saved
        seen = x[::-1][:n_steps] if wrong else x[:n_steps][::-1]
        dh, dW, dU, dx = 0.0, 0.0, 0.0, np.zeros_like(x)
        for k, x_t in enumerate(seen):
            t = n_steps - 1 - k
            da = (dhs[t] + dh) * (1 - np.tanh(h[t] @ W + x_t @ U) ** 2)
            dW, dU, dh = dW + h[t].T @ da, dU + x_t.T @ da, da @ W.T
            dx[len(x) - 1 - k if wrong else t] = da @ U.T
        return {"x": dx, "W": dW, "U": dU}

    # check
    inputs = normal(0.6, x=(6, 2, 5), W=(3, 3), U=(5, 3))
    return check_vjp(forward, backward, inputs, time_axis=0)


@exhibit(
    "https://github.com/Theano/Theano/pull/315",
    "Of a state that is read with several delays, one delay's gradient replaces the other's.",
    arrays="W_1 W_3 U b_i x h0_1 h0_2 h0_3",
    term=("W_3|lag|delay",),
    named="not among the mistakes that are tried",
)
def theano_315_one_delay_replaces_the_other(wrong: bool) -> Any:
    def forward(x: Any, h0_1: Any, h0_2: Any, h0_3: Any, **p: Any) -> Any:
        h = [h0_3, h0_2, h0_1]
        for x_t in x:
            a = h[-1] @ p["W_1"].T + h[-3] @ p["W_3"].T + x_t @ p["U"].T + p["b_i"]
            h.append(np.tanh(a))
        y = np.stack(h[3:]) @ p["V"].T + p["b_y"]
        return {"h": np.stack(h[3:]), "h_final": h[-1], "y": y}, (x, h, p)

    def backward(cotangents: Arrays, saved: Any) -> Arrays:
        x, h, p = saved
        T, dy = len(x), cotangents["y"]
        dh = [np.zeros_like(h[0]) for _ in range(T + 3)]
        dh[-1] += cotangents["h_final"]
        for t in range(T):
            dh[t + 3] += cotangents["h"][t] + dy[t] @ p["V"]
        grads: Arrays = dict.fromkeys(("W_1", "W_3", "U", "b_i"), 0.0)
        dx, later = np.empty_like(x), (None, None)
        for t in reversed(range(T)):
            da = dh[t + 3] * (1 - h[t + 3] ** 2)
            grads["W_1"] += da.T @ h[t + 2]
            grads["W_3"] += da.T @ h[t]
            grads["U"] += da.T @ x[t]
            grads["b_i"] += da.sum(axis=0)
            dx[t], dh[t] = da @ p["U"], dh[t] + da @ p["W_3"]
            dh[t + 2] += da @ p["W_1"]
            if wrong and t < T - 2:  # what came with the delay of 3 steps is gone
                dh[t + 2] -= later[1] @ p["W_3"]
            later = (da, later[0])
        grads |= {"V": np.einsum("tbq,tbp->qp", dy, np.stack(h[3:])), "b_y": dy.sum(axis=(0, 1))}
        return grads | {"x": dx, "h0_1": dh[2], "h0_2": dh[1], "h0_3": dh[0]}

    # check
    return check_model(load("elman_delayed"), forward=forward, backward=backward)


@exhibit(
    "https://github.com/HawkAaron/warp-transducer/issues/55",
    "The last blank's share of the loss is subtracted in every row, not in the last.",
    arrays="logits",
    place=("\\[\\d, \\d, \\d", "of 36 entries"),
)
def warp_transducer_55_last_blank(wrong: bool) -> Any:
    labels = (1, 2)  # T = 4 frames, U = 3 rows, 3 symbols of which 0 is the blank

    def lattice(p: Any) -> tuple[Any, Any, Any]:
        log_p = p - np.log(np.exp(p).sum(axis=2, keepdims=True))
        T, U = p.shape[:2]
        alpha, beta = np.zeros((T, U), dtype=p.dtype), np.zeros((T, U), dtype=p.dtype)
        alpha[0, 0], beta[-1, -1] = 1.0, np.exp(log_p[-1, -1, 0])
        for t in range(T):
            for u in range(U):
                if t:
                    alpha[t, u] += alpha[t - 1, u] * np.exp(log_p[t - 1, u, 0])
                if u:
                    alpha[t, u] += alpha[t, u - 1] * np.exp(log_p[t, u - 1, labels[u - 1]])
        for t in reversed(range(T)):
            for u in reversed(range(U)):
                if t < T - 1:
                    beta[t, u] += beta[t + 1, u] * np.exp(log_p[t, u, 0])
                if u < U - 1:
                    beta[t, u] += beta[t, u + 1] * np.exp(log_p[t, u, labels[u]])
        return log_p, alpha, beta

    def gradient(logits: Any) -> Any:
        log_p, alpha, beta = lattice(logits)
        T, U, _ = logits.shape
        p, total = np.exp(log_p), beta[0, 0]
        grad = p * (alpha * beta / total)[:, :, None]
        grad[:-1, :, 0] -= alpha[:-1] * beta[1:] * p[:-1, :, 0] / total
        for u in range(U - 1):
            grad[:, u, labels[u]] -= alpha[:, u] * beta[:, u + 1] * p[:, u, labels[u]] / total
        last = (slice(T - 1, T), slice(None)) if wrong else (slice(T - 1, T), slice(U - 1, U))
        grad[(*last, 0)] -= (alpha * p[:, :, 0] / total)[last]
        return {"logits": grad}

    # check
    return check_gradient(
        lambda p: -np.log(lattice(p["logits"])[2][0, 0]),
        lambda p: gradient(p["logits"]),
        normal(logits=(4, 3, 3)),
    )


@exhibit(
    "https://github.com/pytorch/FBGEMM/pull/5754",
    "Steps beyond max_length are never written: what lay in the buffer is returned.",
    arrays="x",
    place=("\\[[34], |steps? [45]|differs between calls|not finite|nan",),
    located="its entries are named, but its row is undecided: noise is in the bounds",
)
def fbgemm_5754_rows_never_written(wrong: bool) -> Any:
    lengths, max_length = (5, 2), 3
    stale = np.random.default_rng(3)

    def forward(x: Any) -> Any:  # x packs the sequences: (5 + 2, 3)
        first, second = x[:3], np.concatenate([x[5:], np.zeros((1, 3))])
        return np.stack([first, second]), x.shape

    def backward(dy: Any, shape: Any) -> Any:
        dx = stale.normal(size=shape) if wrong else np.zeros(shape)  # what malloc would give
        start = 0
        for row, length in zip(dy, lengths, strict=True):
            n = min(length, max_length)
            dx[start : start + n] = row[:n]
            start += length
        return {"x": dx}

    # check
    return check_vjp(forward, backward, normal(x=(7, 3)))


@exhibit(
    "https://github.com/rsarxiv/seq2seq-attention/issues/7",
    "The gradient of the attention's context is not passed to the encoder's states.",
    arrays="We Ue",
)
def rsarxiv_7_context_not_passed_to_the_encoder(wrong: bool) -> Any:
    x, y, target = normal(x=(5, 2, 4), y=(3, 2, 6), target=(3, 2, 3)).values()

    def run(p: Arrays) -> Any:
        enc = scan(x, p["We"], p["Ue"])
        s, steps = enc[-1], []
        for y_t in y:
            score = np.exp(np.einsum("tbp,bp->tb", enc[1:], s))
            w = score / score.sum(axis=0)
            context = np.einsum("tb,tbp->bp", w, enc[1:])
            steps.append((y_t, s, w, context))
            s = np.tanh(s @ p["Wd"] + y_t @ p["Ud"] + context @ p["C"])
        return enc, steps, [step[1] for step in steps[1:]] + [s]

    def gradient(p: Arrays) -> Arrays:
        enc, steps, states = run(p)
        grads = {n: np.zeros_like(p[n]) for n in ("Wd", "Ud", "C")}
        ds, denc = 0.0, np.zeros_like(enc[1:])
        for (y_t, s, w, context), s_t, goal in list(zip(steps, states, target, strict=True))[::-1]:
            da = (s_t - goal + ds) * (1 - s_t**2)
            grads["Wd"] += s.T @ da
            grads["Ud"] += y_t.T @ da
            grads["C"] += context.T @ da
            dcontext = da @ p["C"].T
            dw = np.einsum("bp,tbp->tb", dcontext, enc[1:])
            dscore = w * (dw - (w * dw).sum(axis=0))
            if not wrong:
                denc += w[:, :, None] * dcontext + dscore[:, :, None] * s
            ds = da @ p["Wd"].T + np.einsum("tb,tbp->bp", dscore, enc[1:])
        denc[-1] += ds
        _, dW, dU, _ = scan_back(denc, x, enc, p["We"], p["Ue"])
        return grads | {"We": dW, "Ue": dU}

    # check
    p = normal(0.6, We=(3, 3), Ue=(4, 3), Wd=(3, 3), Ud=(6, 3), C=(3, 3))
    squares = lambda p: 0.5 * sum(((s - g) ** 2).sum() for s, g in zip(run(p)[2], target))  # noqa
    return check_gradient(squares, gradient, p)


@exhibit(
    "https://github.com/fangwei123456/spikingjelly/pull/715",
    "The gradient of the first membrane potential is scaled by 1/τ, as an input's is.",
    arrays="v0",
    place=("0\\.25|1/4",),
)
def spikingjelly_715_first_potential_scaled(wrong: bool) -> Any:
    tau, rest, critical, a0 = 4.0, -0.4, 0.3, 0.7

    def forward(x: Any, v0: Any) -> Any:
        v = [v0]
        for x_t in x:
            v.append(v[-1] + (x_t + a0 * (v[-1] - rest) * (v[-1] - critical)) / tau)
        return np.stack(v[1:]), v

    def backward(dv: Any, v: Any) -> Arrays:
        dx, dh = np.empty_like(dv), 0.0
        for t in reversed(range(len(dv))):
            dh = dv[t] + dh
            dx[t] = dh / tau
            dh = dh * (1 + a0 * (2 * v[t] - rest - critical) / tau)
        return {"x": dx, "v0": dh / tau if wrong else dh}

    # check
    return check_vjp(forward, backward, normal(x=(4, 2, 3), v0=(2, 3)), time_axis=0)


@exhibit(
    "https://github.com/fla-org/flash-linear-attention/issues/1272",
    "A padded step adds nothing to the state but still decays it.",
    arrays="k v g",
)
def fla_1272_decay_counted_through_padding(wrong: bool) -> Any:
    mask = np.array([1, 1, 0, 0, 1])  # padding inside the sequence

    def states(p: Arrays, steps: Any) -> Any:  # the loss leaves padded steps out
        S = np.zeros((3, 4))
        for t in steps:
            S = S * sigmoid(p["g"][t]) + np.outer(p["k"][t], p["v"][t])
        return S

    def gradient(p: Arrays) -> Arrays:
        decay, mk = sigmoid(p["g"]), p["k"] * mask[:, None]
        kept = decay if wrong else np.where(mask == 1, decay, 1.0)
        S = [np.zeros((3, 4))]
        for t in range(5):
            S.append(S[-1] * kept[t] + np.outer(mk[t], p["v"][t]))
        dS, grads = 2 * S[-1], {n: np.zeros_like(v) for n, v in p.items()}
        for t in reversed(range(5)):
            grads["k"][t], grads["v"][t] = mask[t] * (dS @ p["v"][t]), dS.T @ mk[t]
            slope = kept[t] * (1 - kept[t])
            grads["g"][t], dS = (dS * S[t]).sum() * slope, dS * kept[t]
        return grads

    # check
    p = normal(k=(5, 3), v=(5, 4), g=(5,))
    return check_gradient(lambda p: (states(p, np.flatnonzero(mask)) ** 2).sum(), gradient, p)
