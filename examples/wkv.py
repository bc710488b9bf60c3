"""The wkv recurrence of RWKV-4, stabilised: sums are kept as multiples of e^m, m a running maximum.

The result does not depend on m, so backward treats every m as a constant. Only the last state,
(a, b, m) as it is handed on, depends on it: that part follows the maxima back to where they came
from. Arrays are (B, T, C), w > 0 and u (C,).

    gradcheck-rnn verify examples/wkv.py
"""

from __future__ import annotations

import numpy as np

from gradcheck_rnn import Layout, gradient_case, load


def wkv_forward(r, k, v, w, u, a, b, m):
    """o (B, T, C), the last a, b, m (B, C), and what backward needs."""
    o, steps = np.empty_like(k), []
    for t in range(k.shape[1]):
        top = np.maximum(m, u + k[:, t])
        past, now = np.exp(m - top), np.exp(u + k[:, t] - top)
        below = past * b + now
        wkv = (past * a + now * v[:, t]) / below
        o[:, t] = wkv / (1 + np.exp(-r[:, t]))
        after = np.maximum(m - w, k[:, t])
        keep, write = np.exp(m - w - after), np.exp(k[:, t] - after)
        steps.append((a, b, m, past, now, below, wkv, keep, write))
        a, b, m = keep * a + write * v[:, t], keep * b + write, after
    return o, (a, b, m), (r, k, v, w, steps, a, b)


def wkv_backward(do, da, db, dm, saved):
    """Gradients of all arguments; da, db, dm (B, C) are those of the last state."""
    r, k, v, w, steps, last_a, last_b = saved
    dr, dk, dv = map(np.empty_like, (r, k, v))
    dw, du = np.zeros_like(w), np.zeros_like(w)
    dm = dm - last_a * da - last_b * db  # a and b are multiples of e^m
    for t in reversed(range(k.shape[1])):
        a, b, m, past, now, below, wkv, keep, write = steps[t]
        s = 1 / (1 + np.exp(-r[:, t]))
        dr[:, t] = do[:, t] * wkv * s * (1 - s)
        dwkv = do[:, t] * s / below
        dnow = dwkv * (v[:, t] - wkv) * now
        decayed = keep * (da * a + db * b)
        written = write * (da * v[:, t] + db)
        carried = m - w > k[:, t]
        dv[:, t] = dwkv * now + da * write
        dk[:, t] = dnow + written + np.where(carried, 0, dm)
        dw -= (decayed + np.where(carried, dm, 0)).sum(axis=0)
        du += dnow.sum(axis=0)
        da, db = da * keep + dwkv * past, db * keep - dwkv * past * wkv
        dm = np.where(carried, dm, 0)
    a, b, *_ = steps[0]
    return {
        "r": dr,
        "k": dk,
        "v": dv,
        "w": dw,
        "u": du,
        "a": da,
        "b": db,
        "m": dm + da * a + db * b,
    }


LAYOUT = Layout(
    parameters={"w": "w", "u": "u"},
    inputs={
        **{n: f"{n}: B T n" for n in ("r", "k", "v")},
        **{n: f"{n}0: B n" for n in ("a", "b", "m")},
    },
    outputs={"o": "o: B T n", **{f"{n}_last": f"{n}_final: B n" for n in ("a", "b", "m")}},
)


@gradient_case(model=load("rwkv4"), layout=LAYOUT)
def wkv():
    """The recurrence beside the equations of the zoo."""

    def forward(**arrays):
        o, (a, b, m), saved = wkv_forward(**arrays)
        return {"o": o, "a_last": a, "b_last": b, "m_last": m}, saved

    def backward(cotangents, saved):
        lasts = (cotangents[f"{n}_last"] for n in ("a", "b", "m"))
        return wkv_backward(cotangents["o"], *lasts, saved)

    return forward, backward
