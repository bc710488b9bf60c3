"""The matrix memory of xLSTM with its stabiliser: einsum, a dict saved a step."""

from __future__ import annotations

import numpy as np

from benchmarks.blind_third.shared import sigmoid

MODEL = ("mlstm", None)


def forward(q, k, v, i, f, C0, z0, s0):
    C, n, m, hs, tape = C0, z0, s0, [], []
    for t in range(len(q)):
        old = {"C": C, "n": n}
        kept = m - np.log1p(np.exp(-f[t]))
        m_new = np.maximum(kept, i[t])
        fp, ip = np.exp(kept - m_new), np.exp(i[t] - m_new)
        C = fp[:, None, None] * C + ip[:, None, None] * np.einsum("bm,bn->bmn", v[t], k[t])
        n = fp[:, None] * n + ip[:, None] * k[t]
        qn, low = np.einsum("bn,bn->b", n, q[t]), np.exp(-m_new)
        den = np.maximum(np.abs(qn), low)
        h = np.einsum("bmn,bn->bm", C, q[t]) / den[:, None]
        new = {"C2": C, "n2": n, "fp": fp, "ip": ip, "qn": qn, "low": low, "den": den, "h": h}
        tape.append(old | new | {"kept_wins": kept > i[t]})
        m = m_new
        hs.append(h)
    return {"h": np.stack(hs), "C_final": C, "z_final": n, "s_final": m}, (q, k, v, f, tape)


def backward(cot, saved):
    q, k, v, f, tape = saved
    dq, dk, dv = np.zeros_like(q), np.zeros_like(k), np.zeros_like(v)
    di, df = np.zeros_like(f), np.zeros_like(f)
    dC, dn, dm = cot["C_final"], cot["z_final"], cot["s_final"]
    for t in reversed(range(len(tape))):
        s, dh = tape[t], cot["h"][t]
        dnum = dh / s["den"][:, None]
        dden = -(dh * s["h"]).sum(axis=1) / s["den"]
        big = np.abs(s["qn"]) > s["low"]
        dqn = dden * big * np.sign(s["qn"])
        dlow = dden * ~big
        dC = dC + np.einsum("bm,bn->bmn", dnum, q[t])
        dn = dn + dqn[:, None] * q[t]
        dq[t] = np.einsum("bmn,bm->bn", s["C2"], dnum) + dqn[:, None] * s["n2"]
        dk[t] = s["ip"][:, None] * (np.einsum("bmn,bm->bn", dC, v[t]) + dn)
        dv[t] = s["ip"][:, None] * np.einsum("bmn,bn->bm", dC, k[t])
        dfp = np.einsum("bmn,bmn->b", dC, s["C"]) + (dn * s["n"]).sum(axis=1)
        dip = np.einsum("bmn,bm,bn->b", dC, v[t], k[t]) + (dn * k[t]).sum(axis=1)
        dlf = dfp * s["fp"]
        dli = dip * s["ip"]
        dm = dm - dlf - dli - dlow * s["low"]
        dkept = dlf + dm * s["kept_wins"]
        di[t] = dli + dm * ~s["kept_wins"]
        df[t] = dkept * sigmoid(-f[t])
        dm = dkept
        dC = s["fp"][:, None, None] * dC
        dn = s["fp"][:, None] * dn
    return {"q": dq, "k": dk, "v": dv, "i": di, "f": df, "C0": dC, "z0": dn, "s0": dm}
