"""Stacks, directions, masks, shared and packed parameters."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradcheck_rnn import check_gradient, check_model, check_vjp, load
from tests.museum.exhibits import exhibit
from tests.museum.parts import Arrays, elman_forward, normal, sigmoid


@exhibit(
    "https://github.com/lmnt-com/haste/issues/43",
    "The backward pass uses the zoneout mask of the first step at all steps.",
    arrays="W U b_i x h0",
    term=("z_1|first step",),
)
def haste_43_mask_of_the_first_step(wrong: bool) -> Any:
    def forward(x: Any, z: Any, h0: Any, W: Any, U: Any, b_i: Any) -> Any:
        h, a = [h0], []
        for x_t, z_t in zip(x, z, strict=True):
            a.append(np.tanh(h[-1] @ W.T + x_t @ U.T + b_i))
            h.append(z_t * h[-1] + (1 - z_t) * a[-1])
        return {"h": np.stack(h[1:]), "h_final": h[-1]}, (x, z, h, a, W, U)

    def backward(cotangents: Arrays, saved: Any) -> Arrays:
        x, z, h, a, W, U = saved
        dh, grads, dx = cotangents["h_final"], {"W": 0.0, "U": 0.0, "b_i": 0.0}, np.empty_like(x)
        for t in reversed(range(len(x))):
            mask = z[0] if wrong else z[t]
            dh = dh + cotangents["h"][t]
            da = dh * (1 - mask) * (1 - a[t] ** 2)
            grads["W"] += da.T @ h[t]
            grads["U"] += da.T @ x[t]
            grads["b_i"] += da.sum(axis=0)
            dx[t], dh = da @ U, da @ W + dh * mask
        return grads | {"x": dx, "h0": dh}

    # check
    return check_model(load("elman_zoneout"), forward=forward, backward=backward)


def scan(x: Any, W: Any, U: Any) -> Any:
    """States h_0 … h_T of a plain network from zeros: x (T, B, d), W (p, p), U (d, p)."""
    h = [np.zeros((x.shape[1], len(W)), dtype=x.dtype)]
    for x_t in x:
        h.append(np.tanh(h[-1] @ W + x_t @ U))
    return np.stack(h)


def scan_back(dh: Any, x: Any, h: Any, W: Any, U: Any) -> tuple[Any, Any, Any, Any]:
    """Gradients of x, W, U and of the pre-activations."""
    da, carried = np.zeros_like(dh), 0.0
    for t in reversed(range(len(x))):
        da[t] = (dh[t] + carried) * (1 - h[t + 1] ** 2)
        carried = da[t] @ W.T
    return da @ U.T, np.einsum("tbi,tbj->ij", h[:-1], da), np.einsum("tbi,tbj->ij", x, da), da


@exhibit(
    "https://github.com/apache/mxnet/pull/18203",
    "dx of the left-to-right direction is written over dy before the other direction has read it.",
    arrays="x W_back U_back",
)
def mxnet_18203_dy_overwritten_by_dx(wrong: bool) -> Any:
    def forward(x: Any, W: Any, U: Any, W_back: Any, U_back: Any) -> Any:
        there, back = scan(x, W, U), scan(x[::-1], W_back, U_back)
        y = np.concatenate([there[1:], back[:0:-1]], axis=2)  # as wide as x: one buffer for both
        return y, (x, there, back, W, U, W_back, U_back)

    def backward(dy: Any, saved: Any) -> Arrays:
        x, there, back, W, U, W_back, U_back = saved
        p, buffer = len(W), dy.copy()
        dx, dW, dU, _ = scan_back(buffer[..., :p], x, there, W, U)
        if wrong:
            buffer[:] = dx
        dx2, dW2, dU2, _ = scan_back(buffer[::-1, :, p:], x[::-1], back, W_back, U_back)
        return {"x": dx + dx2[::-1], "W": dW, "U": dU, "W_back": dW2, "U_back": dU2}

    # check
    inputs = normal(0.6, x=(4, 3, 2), W=(1, 1), U=(2, 1), W_back=(1, 1), U_back=(2, 1))
    return check_vjp(forward, backward, inputs, time_axis=0)


@exhibit(
    "https://github.com/mlpack/mlpack/pull/1742",
    "The gradient of the backward direction is computed and never added to the total.",
    arrays="W_back U_back",
    place=("zero",),
)
def mlpack_1742_backward_direction_not_added(wrong: bool) -> Any:
    def loss(p: Arrays) -> Any:
        y = scan(x, p["W"], p["U"])[1:] + scan(x[::-1], p["W_back"], p["U_back"])[:0:-1]
        return 0.5 * ((y - target) ** 2).sum()

    def gradient(p: Arrays) -> Arrays:
        there, back = scan(x, p["W"], p["U"]), scan(x[::-1], p["W_back"], p["U_back"])
        dy = there[1:] + back[:0:-1] - target
        _, dW, dU, _ = scan_back(dy, x, there, p["W"], p["U"])
        total = {"W": dW, "U": dU, "W_back": 0 * dW, "U_back": 0 * dU}
        _, dW, dU, _ = scan_back(dy[::-1], x[::-1], back, p["W_back"], p["U_back"])
        if not wrong:
            total |= {"W_back": dW, "U_back": dU}
        return total

    x, target = normal(x=(5, 2, 4), y=(5, 2, 3)).values()
    # check
    p = normal(0.6, W=(3, 3), U=(4, 3), W_back=(3, 3), U_back=(4, 3))
    return check_gradient(loss, gradient, p)


def stack_back(dy: Any, saved: Any, order: Any) -> tuple[Any, Arrays]:
    """A stack of plain layers; `order` may change what each layer's weight gradients read."""
    x, hs, p = saved
    grads: Arrays = {}
    for k in reversed(range(len(hs))):
        below = hs[k - 1][1:] if k else x
        dy, dW, _, da = scan_back(dy, below, hs[k], p[f"W{k}"], p[f"U{k}"])
        grads |= {f"W{k}": dW, f"U{k}": np.einsum("tbi,tbj->ij", order(k, below, hs[k][1:]), da)}
    return dy, grads


@exhibit(
    "https://github.com/apache/mxnet/issues/17898",
    "In the layers between first and last the input weights' gradient reads the layer's output.",
    arrays="U1",
)
def mxnet_17898_middle_layer_reads_its_output(wrong: bool) -> Any:
    def forward(x: Any, **p: Any) -> Any:
        hs, below = [], x
        for k in range(3):
            hs.append(scan(below, p[f"W{k}"], p[f"U{k}"]))
            below = hs[-1][1:]
        return below, (x, hs, p)

    def backward(dy: Any, saved: Any) -> Arrays:
        dx, grads = stack_back(dy, saved, lambda k, x, y: y if wrong and k == 1 else x)
        return grads | {"x": dx}

    # check
    shapes = {"U0": (4, 3), "U1": (3, 3), "U2": (3, 3)} | dict.fromkeys(("W0", "W1", "W2"), (3, 3))
    return check_vjp(forward, backward, normal(0.6, x=(5, 2, 4), **shapes), time_axis=0)


@exhibit(
    "https://github.com/apache/mxnet/pull/17872",
    "The second layer's bias gradient is written at half its offset, over the first's.",
    arrays="b",
    place=("12 of 12|9 of 12|6 of 12",),
)
def mxnet_17872_offset_of_packed_biases(wrong: bool) -> Any:
    def forward(x: Any, W: Any, U: Any, b: Any) -> Any:
        hs, below = [], x
        for k in range(2):  # b packs b_i2h and b_h2h of every layer
            h = [np.zeros(x.shape[1:])]
            for x_t in below:
                h.append(
                    np.tanh(x_t @ U[k] + h[-1] @ W[k] + b[6 * k : 6 * k + 3] + b[6 * k + 3 :][:3])
                )
            hs.append(np.stack(h))
            below = hs[-1][1:]
        return below, (x, hs, W, U)

    def backward(dy: Any, saved: Any) -> Arrays:
        x, hs, W, U = saved
        dW, dU, db = np.zeros_like(W), np.zeros_like(U), np.zeros(12)
        for k in (1, 0):
            below = hs[0][1:] if k else x
            dy, dW[k], dU[k], da = scan_back(dy, below, hs[k], W[k], U[k])
            offset = (3 if wrong else 6) * k
            db[offset : offset + 6] += np.tile(da.sum(axis=(0, 1)), 2)
        return {"x": dy, "W": dW, "U": dU, "b": db}

    # check
    inputs = normal(0.6, x=(4, 2, 3), W=(2, 3, 3), U=(2, 3, 3), b=(12,))
    return check_vjp(forward, backward, inputs, time_axis=0)


@exhibit(
    "https://github.com/pytorch/pytorch/issues/190056",
    "The backward pass between two layers ignores the dropout mask that the forward pass applied.",
    arrays="x U0 W0 U1",
)
def pytorch_190056_dropout_ignored_backward(wrong: bool) -> Any:
    def forward(x: Any, mask: Any, **p: Any) -> Any:
        below = scan(x, p["W0"], p["U0"])
        above = scan(below[1:] * mask / 0.5, p["W1"], p["U1"])
        return above[1:], (x, mask, below, above, p)

    def backward(dy: Any, saved: Any) -> Arrays:
        x, mask, below, above, p = saved
        kept = 1.0 if wrong else mask / 0.5
        dy, dW1, dU1, _ = scan_back(dy, below[1:] * kept, above, p["W1"], p["U1"])
        dx, dW0, dU0, _ = scan_back(dy * kept, x, below, p["W0"], p["U0"])
        return {"x": dx, "mask": None, "W0": dW0, "U0": dU0, "W1": dW1, "U1": dU1}

    # check
    inputs: Arrays = normal(0.6, x=(4, 2, 5), W0=(3, 3), U0=(5, 3), W1=(1, 1), U1=(3, 1))
    inputs["mask"] = np.random.default_rng(1).integers(0, 2, size=(4, 2, 3))
    return check_vjp(forward, backward, inputs, time_axis=0)


@exhibit(
    "https://github.com/apache/mxnet/pull/4986",
    "The gradient of masked steps is filled with the mask's value where it is zero.",
    arrays="x",
    place=("\\[3, 0, |\\[2, 0, |steps? 3", "(4|6|2) of 24 entries"),
)
def mxnet_4986_mask_value_in_the_gradient(wrong: bool) -> Any:
    value = -1.0

    def forward(x: Any, lengths: Any) -> Any:
        outside = np.arange(len(x))[:, None] >= lengths  # (T, B)
        return np.where(outside[:, :, None], value, x), outside

    def backward(dy: Any, outside: Any) -> Arrays:
        return {"x": np.where(outside[:, :, None], value if wrong else 0.0, dy), "lengths": None}

    # check
    inputs = {"x": normal(x=(4, 2, 3))["x"], "lengths": np.array([2, 4])}
    return check_vjp(forward, backward, inputs, time_axis=0)


@exhibit(
    "https://github.com/tensorflow/tensorflow/issues/34171",
    "What reaches c_{t-1} through the peepholes is taken of the first sequence for all sequences.",
    arrays="x h0 c0 W_i W_f W_o W_c U_i U_f U_o U_c b_i b_f b_o b_c p_i p_f p_o",
    place=("right for one sequence",),
    term=("of the first sequence",),
    named="not among the mistakes that are tried",
)
def tensorflow_34171_peephole_broadcast(wrong: bool) -> Any:
    gates = "ifoc"

    def forward(x: Any, h0: Any, c0: Any, **p: Any) -> Any:
        h, c, hs, steps = h0, c0, [], []
        for x_t in x:
            a = {k: h @ p[f"W_{k}"].T + x_t @ p[f"U_{k}"].T + p[f"b_{k}"] for k in gates}
            i, f = sigmoid(a["i"] + p["p_i"] * c), sigmoid(a["f"] + p["p_f"] * c)
            g, c_prev, h_prev = np.tanh(a["c"]), c, h
            c = f * c + i * g
            o = sigmoid(a["o"] + p["p_o"] * c)
            h = o * np.tanh(c)
            steps.append((x_t, h_prev, c_prev, i, f, o, g, c))
            hs.append(h)
        return {"h": np.stack(hs), "h_final": h, "c_final": c}, (steps, p)

    def backward(cotangents: Arrays, saved: Any) -> Arrays:
        steps, p = saved
        dh, dc, dx = cotangents["h_final"], cotangents["c_final"], []
        grads: Arrays = dict.fromkeys(p, 0.0)
        for t in reversed(range(len(steps))):
            x_t, h, c_prev, i, f, o, g, c = steps[t]
            dh, th = dh + cotangents["h"][t], np.tanh(c)
            d = {"o": dh * th * o * (1 - o)}
            dc = dc + dh * o * (1 - th**2) + d["o"] * p["p_o"]
            d |= {
                "i": dc * g * i * (1 - i),
                "f": dc * c_prev * f * (1 - f),
                "c": dc * i * (1 - g**2),
            }
            for k in gates:
                one = {"W": d[k].T @ h, "U": d[k].T @ x_t, "b": d[k].sum(axis=0)}
                one |= {"p": (d[k] * (c if k == "o" else c_prev)).sum(axis=0)}
                grads |= {n: grads[n] + v for m, v in one.items() if (n := f"{m}_{k}") in grads}
            peep = d["i"] * p["p_i"] + d["f"] * p["p_f"]
            dc = dc * f + (peep[:1] if wrong else peep)
            dx.append(sum(d[k] @ p[f"U_{k}"] for k in gates))
            dh = sum(d[k] @ p[f"W_{k}"] for k in gates)
        return grads | {"x": np.stack(dx[::-1]), "h0": dh, "c0": dc}

    # check
    return check_model(load("lstm_peephole"), forward=forward, backward=backward)


@exhibit(
    "https://github.com/sony/nnabla/pull/532",
    "A variable that a function uses twice keeps the gradient of one use: the embedding is tied.",
    arrays="U",
    term=("without the term .*δy_t h_tᵀ",),
)
def nnabla_532_shared_parameter_counted_once(wrong: bool) -> Any:
    def forward(x: Any, h0: Any, W: Any, U: Any, b_i: Any, b_y: Any) -> Any:
        out, saved = elman_forward(x, h0, W, U, b_i)
        return out | {"y": out["h"] @ U + b_y}, saved

    def backward(cotangents: Arrays, saved: Any) -> Arrays:
        x, h, W, U = saved
        dy, dh = cotangents["y"], cotangents["h_final"]
        grads: Arrays = {"W": 0.0, "b_i": 0.0, "b_y": dy.sum(axis=(0, 1))}
        readout, embedding = np.einsum("tbp,tbv->pv", h[1:], dy), 0.0
        for t in reversed(range(len(x))):
            da = (dy[t] @ U.T + cotangents["h"][t] + dh) * (1 - h[t + 1] ** 2)
            grads["W"] += da.T @ h[t]
            embedding += da.T @ x[t]
            grads["b_i"] += da.sum(axis=0)
            dh = da @ W
        return grads | {"U": embedding if wrong else embedding + readout, "h0": dh}

    # check
    return check_model(load("elman_tied"), forward=forward, backward=backward)


@exhibit(
    "https://github.com/BVLC/caffe/pull/3254",
    "The kernel writes a shared weight's gradient where it has to add: the last write remains.",
    arrays="W",
    term=("overwritten, not accumulated",),
)
def caffe_3254_overwritten_where_added(wrong: bool) -> Any:
    def backward(cotangents: Arrays, saved: Any) -> Arrays:
        x, h, W, U = saved
        dh, grads, dx = cotangents["h_final"], {"W": 0.0, "U": 0.0, "b_i": 0.0}, np.empty_like(x)
        for t in reversed(range(len(x))):
            da = (cotangents["h"][t] + dh) * (1 - h[t + 1] ** 2)
            grads["W"] = da.T @ h[t] + (0.0 if wrong else grads["W"])
            grads["U"] += da.T @ x[t]
            grads["b_i"] += da.sum(axis=0)
            dx[t], dh = da @ U, da @ W
        return grads | {"x": dx, "h0": dh}

    # check
    return check_model(load("elman_hidden"), forward=elman_forward, backward=backward)


@exhibit(
    "https://github.com/pytorch/pytorch/pull/95137",
    "With the batch first, dx (T, B, d) is reshaped to (B, T, d) where it is to be transposed.",
    arrays="x",
)
def pytorch_95137_batch_first_reshaped(wrong: bool) -> Any:
    def forward(x: Any, W: Any, U: Any) -> Any:  # x (B, T, d)
        h = scan(x.swapaxes(0, 1), W, U)
        return h[1:].swapaxes(0, 1), (x, h, W, U)

    def backward(dh: Any, saved: Any) -> Arrays:
        x, h, W, U = saved
        dx, dW, dU, _ = scan_back(dh.swapaxes(0, 1), x.swapaxes(0, 1), h, W, U)
        return {"x": dx.reshape(x.shape) if wrong else dx.swapaxes(0, 1), "W": dW, "U": dU}

    # check
    inputs = normal(0.6, x=(2, 4, 3), W=(5, 5), U=(3, 5))
    return check_vjp(forward, backward, inputs, time_axis=1)


@exhibit(
    "https://github.com/elixir-nx/axon/pull/646",
    "The steps of a loop are combined in the order in which they ran, not from the last one back.",
    arrays="x h0 W U",
)
def axon_646_steps_in_the_forward_order(wrong: bool) -> Any:
    def forward(x: Any, h0: Any, W: Any, U: Any) -> Any:
        h = [h0]
        for x_t in x:
            h.append(np.tanh(x_t @ U + h[-1] @ W))
        return h[-1], (x, h, W, U)

    def backward(dh: Any, saved: Any) -> Arrays:
        x, h, W, U = saved
        dx, dW, dU = np.zeros_like(x), np.zeros_like(W), np.zeros_like(U)
        order = range(len(x)) if wrong else reversed(range(len(x)))
        for t in order:
            da = dh * (1 - h[t + 1] ** 2)
            dx[t], dh = da @ U.T, da @ W.T
            dW += h[t].T @ da
            dU += x[t].T @ da
        return {"x": dx, "h0": dh, "W": dW, "U": dU}

    # check
    return check_vjp(forward, backward, normal(x=(4, 2, 3), h0=(2, 5), W=(5, 5), U=(3, 5)))
