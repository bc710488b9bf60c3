"""Faults of our own, outside the mutant grammar: patches of hand-written code, one line each.

(source, old text, new text). The grammar drops, scales by ±1, 2 and 1/2, transposes, shifts by a
step, confuses like with like, cuts and clips; these do something else. All of them change the
gradient at ordinary points.
"""

from __future__ import annotations

__all__ = ["FAULTS"]

_LSTM = [
    ("(1 - tanh_c**2)", "(1 - tanh_c) ** 2"),
    ("(1 - tanh_c**2)", "(1 + tanh_c**2)"),
    ("(1 - tanh_c**2)", "(1 - np.abs(tanh_c))"),
    ("di * i * (1 - i)", "di * i * (1 - f)"),
    ("di * i * (1 - i)", "di * i * (1 - i * i)"),
    ("df * f * (1 - f)", "df * f * (1 + f)"),
    ("df * f * (1 - f)", "df * np.minimum(f, 1 - f)"),
    ("do * o * (1 - o)", "do * (o * (1 - o)) ** 2"),
    ("dg * (1 - g**2)", "dg * (1 - g) ** 2"),
    ("dg * (1 - g**2)", "dg * (1 - g**3)"),
    ("dc = dnext_c + ", "dc = 0.9 * dnext_c + "),
    ("dprev_c = dc * f", "dprev_c = dc * np.sqrt(f)"),
    ("dprev_c = dc * f", "dprev_c = np.maximum(dc, 0) * f"),
    ("dprev_h = da @ Wh.T", "dprev_h = 0.99 * (da @ Wh.T)"),
    ("dprev_h = da @ Wh.T", "dprev_h = np.tanh(da @ Wh.T)"),
    ("dprev_h = da @ Wh.T", "dprev_h = np.roll(da @ Wh.T, 1, axis=1)"),
    ("dWh = prev_h.T @ da", "dWh = np.tanh(prev_h).T @ da"),
    ("dWh = prev_h.T @ da", "dWh = prev_h[::-1].T @ da"),
    ("dWx = x.T @ da", "dWx = np.roll(x, 1, axis=1).T @ da"),
    ("dWx = x.T @ da", "dWx = np.sign(x).T @ da"),
    ("db = da.sum(axis=0)", "db = da.max(axis=0)"),
    ("db = da.sum(axis=0)", "db = np.abs(da).sum(axis=0)"),
    ("dx = da @ Wx.T", "dx = da @ np.abs(Wx).T"),
    ("dx = da @ Wx.T", "da = np.where(np.abs(da) < 1e-2, 0, da); dx = da @ Wx.T"),
    ("dx = da @ Wx.T", "da = da.astype(np.float32).astype(float); dx = da @ Wx.T"),
    ("dx = da @ Wx.T", "da = da.astype(np.float16).astype(float); dx = da @ Wx.T"),
    ("dx = da @ Wx.T", "da = da * (np.random.rand(*da.shape) > 0.05); dx = da @ Wx.T"),
    ("dx = da @ Wx.T", "da = da * (1 + 1e-6 * np.random.randn(*da.shape)); dx = da @ Wx.T"),
    ("do = dnext_h * tanh_c", "do = dnext_h * np.arctan(tanh_c)"),
    ("df = dc * prev_c", "df = dc * np.maximum(prev_c, 0)"),
    ("di = dc * g", "di = dc * np.abs(g)"),
    ("dg = dc * i", "dg = dc * np.round(i, 2)"),
    ("in reversed(range(dh.shape[1]))", "in range(dh.shape[1])"),
    ("dWh += step[4]", "dWh += step[4] * (t + 1)"),
    ("dWx += step[3]", "dWx = np.maximum(dWx, step[3])"),
    ("db += step[5]", "db += 0.9**t * step[5]"),
    ("dprev_c, caches[t])", "dprev_c, caches[max(t - 1, 0)])"),
    ("dh[:, t] + dprev_h", "dh[:, t] + np.sign(dprev_h) * np.sqrt(np.abs(dprev_h))"),
    ("dh[:, t] + dprev_h", "dh[:, t] + dprev_h / (1 + np.linalg.norm(dprev_h))"),
    ("dh[:, t] + dprev_h", "dh[:, t] + dprev_h.mean(axis=0)"),
    ("dh[:, t] + dprev_h", "dh[:, t] + dprev_h * (np.arange(len(dprev_h)) > 0)[:, None]"),
]
_GRU = [
    ("(1 - n * n)", "(1 - np.abs(n))"),
    ("dz = dh * (hs[t] - n)", "dz = dh * hs[t] * n"),
    ("dz = dh * (hs[t] - n) * z * (1 - z)", "dz = dh * (hs[t] - n) * z * (1 - z * z)"),
    ("dr = dn * m * r * (1 - r)", "dr = dn * m * r * (1 - r * r)"),
    ("dr = dn * m * r * (1 - r)", "dr = dn * (m + 0.1) * r * (1 - r)"),
    ("[dr, dz, dn * r]", "[dr, dz, dn * r * r]"),
    ("[dr, dz, dn * r]", "[dr, dz, dn * np.sqrt(r)]"),
    ("dah[t] @ Wh.T", "np.tanh(dah[t]) @ Wh.T"),
    ("dh = dh + dhs[t]", "dh = 0.99 * dh + dhs[t]"),
    ("dh = dh + dhs[t]", "dh = dh + dhs[t].mean(axis=0)"),
    ('"bx": dax2.sum(axis=0)', '"bx": np.median(dax2, axis=0) * len(dax2)'),
    ('"bh": dah2.sum(axis=0)', '"bh": dah2[:-1].sum(axis=0)'),
    ("hs[:-1].reshape(T * B, -1)", "hs[:-1].swapaxes(0, 1).reshape(T * B, -1)"),
    ('"Wx": x.reshape(T * B, -1)', '"Wx": x.swapaxes(0, 1).reshape(T * B, -1)'),
    ('"x": dax @ Wx.T', '"x": dax[::-1] @ Wx.T'),
    ('"h0": dh', '"h0": dh - dh.mean(axis=0)'),
    ("dn = dh * (1 - z) * (1 - n * n)", "dn = dh * (1 - z) ** 2 * (1 - n * n)"),
    ("np.split(gates[t], 4, axis=1)", "np.split(gates[t - 1], 4, axis=1)"),
]
_PEEPHOLE = [
    ("ao = dh * tc * o * (1 - o)", "ao = dh * tc * o * (1 - tc)"),
    ("ao * p_o", "ao * np.abs(p_o)"),
    ("ao * p_o", "ao * p_o * o"),
    ("dc = dc * f + ai * p_i + af * p_f", "dc = dc * f + (ai + af) * (p_i + p_f) / 2"),
    ("(ai * c).sum(0)", "(ai * np.tanh(c)).sum(0)"),
    ("(ao * new).sum(0)", "(ao * (new + c) / 2).sum(0)"),
    ("(af * c).sum(0)", "(af * c * f).sum(0)"),
    ("a.sum(0)", "(a * (1 + 0.01 * np.arange(len(a)))[:, None]).sum(0)"),
    ("np.stack(dx[::-1])", "np.stack(dx)"),
    ("dc * i * (1 - c_new**2)", "dc * i * (1 - i * c_new**2)"),
]
_MGU = [
    ("(s - h) + reset * h", "(s - h) + reset * s"),
    ("reset = ac @ W_c", "reset = dh @ W_c"),
    ("dh * (1 - f) + reset * f", "dh * (1 - f) + reset * f**2"),
    ("(1 - s * s)", "(1 - s * s) ** 1.5"),
    ("ac.T @ (f * h)", "ac.T @ (f * np.tanh(h))"),
    ("af @ W_f", "af @ np.abs(W_f)"),
]
_CHAR = [
    ("(1 - hs[t] * hs[t]) * dh", "(1 - np.abs(hs[t])) * dh"),
    ("(1 - hs[t] * hs[t]) * dh", "(1 - hs[t]) * (1 + hs[t - 1]) * dh"),
    ("dy[targets[t]] -= 1", "dy[targets[t]] -= 0.9"),
    ("dy[targets[t]] -= 1", "dy[targets[t - 1]] -= 1"),
    ("dy = np.copy(ps[t])", "dy = ps[t] ** 2"),
    ("dWhy += dy @ hs[t].T", "dWhy += dy @ np.sign(hs[t]).T"),
    ("dbh += draw", "dbh += draw * (t % 2)"),
    ("dWxh += draw @ xs[t].T", "dWxh += draw @ np.roll(xs[t], 1).T"),
    ("dWhh += draw @ hs[t - 1].T", "dWhh += draw @ hs[max(t - 1, 0)].T"),
    ("dhnext = Whh.T @ draw", "dhnext = 0.999 * Whh.T @ draw"),
    ("dhnext = Whh.T @ draw", "dhnext = np.tanh(Whh.T @ draw)"),
    ("dh = Why.T @ dy + dhnext", "dh = np.maximum(Why.T @ dy + dhnext, 0)"),
    ("dby += dy", "dby += dy - dy[0]"),
]
_ELMAN = [
    ("(1 - h * h)", "(1 - h**4)"),
    ("y.T @ hs[t + 1]", "(y * np.abs(y)).T @ hs[t + 1]"),
    ('g["b"] += dz.sum(0)', 'g["b"] += np.abs(dz).sum(0)'),
    ('carry = dz @ (P["W"].T if transpose else P["W"])', 'carry = dz @ (P["W"].T + P["W"]) / 2'),
    ('dh = y @ P["V"] + carry', 'dh = y @ P["V"] + 0.95 * carry'),
]
_LSTM_ROWS = [
    ("dc * g * i * (1 - i)", "dc * g * i * (1 - i) ** 2"),
    ('dh, dc = dz @ P["W"], dc * f', 'dh, dc = dz @ P["W"], dc * np.minimum(f, 0.5)'),
    ("(1 - tc * tc)", "(1 - tc * new)"),
    ("dh * tc * o * (1 - o)", "dh * tc * np.sqrt(o * (1 - o))"),
]  # fmt: skip
FAULTS: dict[str, list[tuple[str, str]]] = {
    "lstm_caches": _LSTM,
    "batched_gru": _GRU,
    "peephole by hand": _PEEPHOLE,
    "mgu by hand": _MGU,
    "char_rnn": _CHAR,
    "elman rows": _ELMAN,
    "lstm rows": _LSTM_ROWS,
}
