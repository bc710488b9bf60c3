"""Linear attention, state space models and convolutions: chunks, decays, initial states."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradcheck_rnn import check_vjp
from tests.museum.exhibits import exhibit
from tests.museum.parts import Arrays, normal, sigmoid


def conv_forward(x: Any, weight: Any, initial_state: Any) -> Any:
    """A causal convolution of width W: x (T, d), weight (d, W), the last inputs (d, W)."""
    W = weight.shape[1]
    past = np.concatenate([initial_state.T, x])  # (W + T, d)
    y = np.stack([(past[t + 1 : t + 1 + W] * weight.T).sum(axis=0) for t in range(len(x))])
    return {"y": y, "final_state": past[len(x) :].T}, (past, weight)


def conv_backward(cotangents: Arrays, saved: Any, shift: int, keep: bool) -> Arrays:
    """`shift` moves the final state's gradient, `keep` passes it on to the initial state."""
    past, weight = saved
    dy, W = cotangents["y"], weight.shape[1]
    dpast, dweight, dht = np.zeros_like(past), np.zeros_like(weight), cotangents["final_state"].T
    for t in range(len(dy)):
        dpast[t + 1 : t + 1 + W] += dy[t] * weight.T
        dweight += (past[t + 1 : t + 1 + W] * dy[t]).T
    for w in range(W):
        row = len(dy) + w
        if row >= W:  # an input of this call
            dpast[row] += dht[max(w - shift, 0)]
        elif keep:  # still the initial state
            dpast[row] += dht[w]
    return {"x": dpast[W:], "weight": dweight, "initial_state": dpast[:W].T}


CONV = {"x": (2, 3), "weight": (3, 4), "initial_state": (3, 4)}  # T = 2 is shorter than W - 1


@exhibit(
    "https://github.com/fla-org/flash-linear-attention/issues/1140",
    "Below T = W - 1 the final state's gradient goes to inputs W - 1 - T slots away.",
    arrays="x",
    place=("final_state -> x",),
)
def fla_1140_final_state_gradient_shifted(wrong: bool) -> Any:
    def backward(cotangents: Arrays, saved: Any) -> Arrays:
        T, W = len(cotangents["y"]), saved[1].shape[1]
        return conv_backward(cotangents, saved, max(0, W - 1 - T) if wrong else 0, keep=True)

    # check
    return check_vjp(conv_forward, backward, normal(**CONV))


@exhibit(
    "https://github.com/fla-org/flash-linear-attention/pull/1141",
    "What of the initial state is still in the final state gets no gradient.",
    arrays="initial_state",
    place=("final_state -> initial_state",),
)
def fla_1141_initial_state_still_in_the_final(wrong: bool) -> Any:
    def backward(cotangents: Arrays, saved: Any) -> Arrays:
        return conv_backward(cotangents, saved, 0, keep=not wrong)

    # check
    return check_vjp(conv_forward, backward, normal(**CONV))


def attention_forward(q: Any, k: Any, v: Any, g: Any, S0: Any) -> Any:
    """S_t = exp(g_t) S_{t-1} + k_t v_tᵀ, o_t = S_tᵀ q_t: q, k (T, m), v (T, n), g (T,)."""
    S, o = [S0], []
    for t in range(len(q)):
        S.append(np.exp(g[t]) * S[-1] + k[t][:, None] * v[t])
        o.append(q[t] @ S[-1])
    return {"o": np.stack(o), "S_T": S[-1]}, (q, k, v, g, S)


def chunk_backward(cotangents: Arrays, saved: Any, C: int, **slips: Any) -> Arrays:
    """Chunks of C steps from the last to the first, dg as a reversed sum within each."""
    q, k, v, g, S = saved
    dS, do, T = cotangents["S_T"], cotangents["o"], len(q)
    dq, dk, dv, dg = (np.zeros_like(a) for a in (q, k, v, g))
    for start in reversed(range(0, T, C)):
        stop = min(start + C, T)
        last, at_end = (dS * S[stop]).sum(), np.zeros(C)
        for t in reversed(range(start, stop)):
            dS = dS + np.outer(q[t], do[t])
            dq[t], dk[t], dv[t] = S[t + 1] @ do[t], dS @ v[t], k[t] @ dS
            at_end[t - start] = q[t] @ dq[t] - k[t] @ dk[t]
            dS = dS * np.exp(g[t])
        row = C - 1 if slips.get("last_row") else stop - start - 1
        at_end[row] += last
        n = stop - start  # what lies beyond is dropped by the store
        dg[start:stop] = [at_end[i:n].sum() for i in range(n)]
        if slips.get("cut"):
            dS = 0 * dS
    return {"q": dq, "k": dk, "v": dv, "g": dg, "S0": dS}


@exhibit(
    "https://github.com/fla-org/flash-linear-attention/issues/1142",
    "The gate gradient of a whole chunk is put in row C - 1, which a partial last chunk has not.",
    arrays="g",
    place=("S_T -> g", "(1|2|3) of 5 entries|\\[[34]\\]"),
)
def fla_1142_gate_gradient_of_a_partial_chunk(wrong: bool) -> Any:
    def backward(cotangents: Arrays, saved: Any) -> Arrays:
        return chunk_backward(cotangents, saved, 3, last_row=wrong)

    # check
    inputs = normal(0.7, q=(5, 4), k=(5, 4), v=(5, 2), g=(5,), S0=(4, 2))
    return check_vjp(attention_forward, backward, inputs, time_axis={"o": 0})


@exhibit(
    "https://github.com/NX-AI/mlstm_kernels/pull/10",
    "With other chunks than the forward pass used, the states' gradient between chunks is wrong.",
    arrays="k v g S0",
    place=("wrong are exactly indices 0 to 2 of 4",),
)
def mlstm_kernels_10_between_chunks(wrong: bool) -> Any:
    def backward(cotangents: Arrays, saved: Any) -> Arrays:
        return chunk_backward(cotangents, saved, 3, cut=wrong)

    # check
    inputs = normal(0.7, q=(4, 3), k=(4, 3), v=(4, 1), g=(4,), S0=(3, 1))
    return check_vjp(attention_forward, backward, inputs, time_axis={"o": 0})


@exhibit(
    "https://github.com/huggingface/transformers/pull/23774",
    "The backward pass takes the gradient of the returned state as an argument and never uses it.",
    arrays="k v g S0",
    place=("S_T -> S0", "zero"),
)
def transformers_23774_state_gradient_ignored(wrong: bool) -> Any:
    def backward(cotangents: Arrays, saved: Any) -> Arrays:
        ignored = {"S_T": 0 * cotangents["S_T"]} if wrong else {}
        return chunk_backward(cotangents | ignored, saved, 3)

    # check
    inputs = normal(0.7, q=(5, 4), k=(5, 4), v=(5, 2), g=(5,), S0=(4, 2))
    return check_vjp(attention_forward, backward, inputs, time_axis={"o": 0})


@exhibit(
    "https://github.com/proger/accelerated-scan/pull/15",
    "A block's carry multiplies the scan within the block where it is multiplied by the gates.",
    arrays="x f",
    place=("back|lag|step [456]",),
)
def accelerated_scan_15_carry_between_blocks(wrong: bool) -> Any:
    def forward(x: Any, f: Any) -> Any:  # h_t = f_t h_{t-1} + x_t, (T, B)
        h = [np.zeros_like(x[0])]
        for x_t, f_t in zip(x, f, strict=True):
            h.append(f_t * h[-1] + x_t)
        return np.stack(h[1:]), (f, np.stack(h))

    def backward(dh: Any, saved: Any) -> Arrays:
        (f, h), C = saved, 3
        dx, F, X = np.zeros_like(dh), np.ones_like(dh[0]), np.zeros_like(dh[0])
        for start in reversed(range(0, len(dh), C)):
            local, gates = 0 * X, 1.0
            for t in reversed(range(start, start + C)):
                local = dh[t] + local
                dx[t] = local * F + X if wrong else local + gates * X
                local, gates = f[t] * local, f[t] * gates
            F, X = F * gates, local + gates * X
        return {"x": dx, "f": dx * h[:-1]}

    # check
    return check_vjp(forward, backward, normal(0.8, x=(6, 2), f=(6, 2)), time_axis=0)


@exhibit(
    "https://github.com/fla-org/flash-linear-attention/pull/875",
    "The normaliser's running sum of k is taken without gradient: the chain from k is cut.",
    arrays="k",
)
def fla_875_normaliser_without_gradient(wrong: bool) -> Any:
    def forward(q: Any, k: Any, v: Any) -> Any:
        S, z = np.cumsum(k[:, :, None] * v[:, None], axis=0), np.cumsum(k, axis=0)
        num, den = np.einsum("tm,tmn->tn", q, S), (q * z).sum(axis=1)[:, None]
        return num / den, (q, k, v, S, z, num, den)

    def backward(do: Any, saved: Any) -> Arrays:
        q, k, v, S, z, num, den = saved
        dnum, dden = do / den, -(do * num).sum(axis=1) / den[:, 0] ** 2
        dS = np.cumsum((q[:, :, None] * dnum[:, None])[::-1], axis=0)[::-1]
        dz = np.cumsum((q * dden[:, None])[::-1], axis=0)[::-1]
        dq = np.einsum("tmn,tn->tm", S, dnum) + dden[:, None] * z
        dk = np.einsum("tmn,tn->tm", dS, v) + (0.0 if wrong else dz)
        return {"q": dq, "k": dk, "v": np.einsum("tmn,tm->tn", dS, k)}

    # check
    inputs = normal(q=(4, 3), k=(4, 3), v=(4, 2))
    inputs |= {name: abs(inputs[name]) + 0.1 for name in ("q", "k")}
    return check_vjp(forward, backward, inputs, time_axis=0)


def wkv_forward(w: Any, u: Any, k: Any, v: Any) -> Any:
    """RWKV-4 in its plain form, decay exp(-exp(w)): k, v (T, B, d), w and u (d,)."""
    decay = np.exp(-np.exp(w))
    num, den, y, steps = 0 * v[0], 0 * v[0], [], []
    for t in range(len(k)):
        here, now = np.exp(u + k[t]), np.exp(k[t])
        top, bottom = num + here * v[t], den + here
        y.append(top / bottom)
        steps.append((num, den, here, now, bottom))
        num, den = decay * num + now * v[t], decay * den + now
    return np.stack(y), (steps, np.stack(y), w, v, decay)


def wkv_backward(dy: Any, saved: Any, chain: bool = True) -> tuple[Any, ...]:
    """Gradients of w and u for each sequence, of k and v; without `chain` dw is d(-exp(w))."""
    steps, y, w, v, decay = saved
    dnum, dden, dw, du = 0.0, 0.0, 0.0, 0.0
    dk, dv = np.empty_like(v), np.empty_like(v)
    for t in reversed(range(len(v))):
        num, den, here, now, bottom = steps[t]
        dw = dw + (dnum * num + dden * den) * decay
        top, low = dy[t] / bottom, -dy[t] * y[t] / bottom
        dhere, dnow = top * v[t] + low, dnum * v[t] + dden
        du, dk[t], dv[t] = du + dhere * here, dhere * here + dnow * now, top * here + dnum * now
        dnum, dden = top + dnum * decay, low + dden * decay
    return (dw * -np.exp(w) if chain else dw), du, dk, dv


WKV = {"w": (3,), "u": (3,), "k": (4, 2, 3), "v": (4, 2, 3)}


@exhibit(
    "https://github.com/fla-org/flash-linear-attention/pull/360",
    "The forward pass starts with w = -exp(w), which the backward pass leaves out.",
    arrays="w",
)
def fla_360_decay_parameter_without_its_chain(wrong: bool) -> Any:
    def backward(dy: Any, saved: Any) -> Arrays:
        dw, du, dk, dv = wkv_backward(dy, saved, chain=not wrong)
        return {"w": dw.sum(axis=0), "u": du.sum(axis=0), "k": dk, "v": dv}

    # check
    return check_vjp(wkv_forward, backward, normal(0.7, **WKV), time_axis=0)


@exhibit(
    "https://github.com/fla-org/flash-linear-attention/pull/360",
    "gw and gu are loaded, added to and stored by all sequences at once: one may be lost.",
    place=("differs between calls|not deterministic|random",),
)
def fla_360_race_loses_a_sequence(wrong: bool) -> Any:
    order = np.random.default_rng(7)

    def backward(dy: Any, saved: Any) -> Arrays:
        dw, du, dk, dv = wkv_backward(dy, saved)
        if wrong and order.random() < 0.05:
            dw, du = dw[1:], du[1:]
        return {"w": dw.sum(axis=0), "u": du.sum(axis=0), "k": dk, "v": dv}

    # check
    return check_vjp(wkv_forward, backward, normal(0.7, **WKV))


@exhibit(
    "https://github.com/state-spaces/mamba/issues/368",
    "The tail of a partial chunk has softplus(0 + bias), not 0: it decays what comes from behind.",
    arrays="delta u A bias h0",
    place=("h_T -> h0", "h_T -> u"),
)
def mamba_368_softplus_of_padding(wrong: bool) -> Any:
    C = 4

    def forward(delta: Any, u: Any, A: Any, bias: Any, h0: Any) -> Any:
        dt, h, hs = np.log1p(np.exp(delta + bias)), h0, [h0]
        for t in range(len(u)):
            h = np.exp(dt[t] * A) * h + dt[t] * u[t]
            hs.append(h)
        return {"h": np.stack(hs[1:]), "h_T": h}, (delta, u, A, bias, dt, hs)

    def backward(cotangents: Arrays, saved: Any) -> Arrays:
        delta, u, A, bias, dt, hs = saved
        T, dh = len(u), cotangents["h_T"]
        if wrong:  # steps that pad the last chunk: delta is zero there before the softplus
            for _ in range(-T % C):
                dh = dh * np.exp(np.log1p(np.exp(bias)) * A)
        ddt, du, dA = np.zeros_like(dt), np.zeros_like(u), 0.0
        for t in reversed(range(T)):
            dh, decay = dh + cotangents["h"][t], np.exp(dt[t] * A)
            ddt[t], du[t] = dh * (hs[t] * decay * A + u[t]), dh * dt[t]
            dA, dh = dA + (dh * hs[t] * decay * dt[t]).sum(axis=0), dh * decay
        ddelta = ddt * sigmoid(delta + bias)
        return {"delta": ddelta, "u": du, "A": dA, "bias": ddelta.sum(axis=(0, 1)), "h0": dh}

    # check
    inputs = normal(0.7, delta=(6, 2, 3), u=(6, 2, 3), A=(3,), bias=(3,), h0=(2, 3))
    return check_vjp(forward, backward, inputs, time_axis={"h": 0})


@exhibit(
    "https://github.com/state-spaces/mamba/pull/919",
    "B is saved after its RMS norm and normalised a second time in the backward pass.",
    arrays="u",
)
def mamba_919_normalised_twice(wrong: bool) -> Any:
    def rms(z: Any) -> Any:
        return np.sqrt((z * z).mean(axis=1, keepdims=True) + 1e-2)

    def forward(u: Any, B: Any) -> Any:  # u (T,), B (T, n)
        n = B / rms(B)
        h = [np.zeros(B.shape[1])]
        for u_t, n_t in zip(u, n, strict=True):
            h.append(0.8 * h[-1] + u_t * n_t)
        return np.stack(h[1:]), (u, B, n)

    def backward(dh: Any, saved: Any) -> Arrays:
        u, B, n = saved
        if wrong:
            n = n / rms(n)
        carried, dn, du = 0.0, np.empty_like(B), np.empty_like(u)
        for t in reversed(range(len(u))):
            carried = dh[t] + carried
            du[t], dn[t], carried = carried @ n[t], u[t] * carried, 0.8 * carried
        r = rms(B)
        return {"u": du, "B": dn / r - B * (dn * B).mean(axis=1, keepdims=True) / r**3}

    # check
    return check_vjp(forward, backward, normal(u=(5,), B=(5, 3)), time_axis=0)


@exhibit(
    "https://github.com/tile-ai/TileOPs/issues/632",
    "A port from gated linear attention passes dS on by I where the delta rule has I - β k kᵀ.",
    arrays="k v beta S0",
    place=("back|lag|at step 2 -> ",),
)
def tileops_632_delta_rule_carry(wrong: bool) -> Any:
    def forward(q: Any, k: Any, v: Any, beta: Any, S0: Any) -> Any:
        S, o = [S0], []
        for t in range(len(q)):
            e = beta[t] * (v[t] - k[t] @ S[-1])
            S.append(S[-1] + k[t][:, None] * e)
            o.append(q[t] @ S[-1])
        return {"o": np.stack(o), "S_T": S[-1]}, (q, k, v, beta, S)

    def backward(cotangents: Arrays, saved: Any) -> Arrays:
        q, k, v, beta, S = saved
        dS = cotangents["S_T"]
        dq, dk, dv, dbeta = (np.zeros_like(a) for a in (q, k, v, beta))
        for t in reversed(range(len(q))):
            dS = dS + np.outer(q[t], cotangents["o"][t])
            dq[t] = S[t + 1] @ cotangents["o"][t]
            residual = v[t] - k[t] @ S[t]
            de = k[t] @ dS
            dk[t] = dS @ residual * beta[t] - beta[t] * S[t] @ de
            dv[t], dbeta[t] = beta[t] * de, residual @ de
            dS = dS - (0.0 if wrong else beta[t] * np.outer(k[t], de))
        return {"q": dq, "k": dk, "v": dv, "beta": dbeta, "S0": dS}

    # check
    inputs = normal(0.7, q=(4, 3), k=(4, 3), v=(4, 1), beta=(4,), S0=(3, 1))
    return check_vjp(forward, backward, inputs, time_axis={"o": 0})


@exhibit(
    "https://github.com/alxndrTL/mamba.py/issues/65",
    "The reversed scan of complex states takes the gates as they are, not their conjugates.",
    arrays="re_a im_a re_x im_x",
)
def mamba_py_65_gates_not_conjugated(wrong: bool) -> Any:
    def forward(re_a: Any, im_a: Any, re_x: Any, im_x: Any) -> Any:
        re, im, out = [0 * re_x[0]], [0 * im_x[0]], []
        for t in range(len(re_x)):
            r, i = re[-1], im[-1]
            re.append(re_a[t] * r - im_a[t] * i + re_x[t])
            im.append(re_a[t] * i + im_a[t] * r + im_x[t])
            out.append(np.stack([re[-1], im[-1]]))
        return np.stack(out), (re_a, im_a, np.stack(re), np.stack(im))

    def backward(dout: Any, saved: Any) -> Arrays:
        re_a, im_a, re, im = saved
        a, h, carried = re_a + 1j * im_a, re + 1j * im, 0.0
        da, dx = np.empty_like(a), np.empty_like(a)
        for t in reversed(range(len(a))):
            dx[t] = dout[t, 0] + 1j * dout[t, 1] + carried
            da[t] = dx[t] * h[t].conj()
            carried = dx[t] * (a[t] if wrong else a[t].conj())
        return {"re_a": da.real, "im_a": da.imag, "re_x": dx.real, "im_x": dx.imag}

    # check
    inputs = normal(0.8, re_a=(4, 2), im_a=(4, 2), re_x=(4, 2), im_x=(4, 2))
    return check_vjp(forward, backward, inputs, time_axis=0)


@exhibit(
    "https://github.com/fla-org/flash-linear-attention/pull/1214",
    "The state's gradient is stored in float16 and overflows: inf times zero makes NaN.",
    arrays="e x",
    place=("nan|NaN|not finite|inf at",),
)
def fla_1214_overflow_in_float16(wrong: bool) -> Any:
    def forward(e: Any, x: Any) -> Any:  # h_t = h_{t-1} + e_t x_t
        return np.cumsum(e * x, axis=0), (e, x)

    def backward(dh: Any, saved: Any) -> Arrays:
        e, x = saved
        with np.errstate(all="ignore"):
            tape = np.cumsum(dh[::-1], axis=0)[::-1].astype(np.float16 if wrong else np.float64)
            return {"e": np.where(x == 0, tape * 0, tape * x), "x": tape.astype(np.float64) * e}

    # check
    inputs = normal(e=(5, 3), x=(5, 3))
    inputs["e"], inputs["x"][2] = inputs["e"] * 1e-6, 0.0
    return check_vjp(lambda e, x: scaled(forward(e, x)), lambda d, s: backward(d * 1e6, s), inputs)


def scaled(result: Any) -> Any:
    """Losses of a million: gradients beyond what float16 can hold."""
    return result[0] * 1e6, result[1]
