"""Right backward passes written by hand, and the faults of `hand_faults`: (old, new, right term).

The pattern is searched in what the diagnosis says.
"""

from __future__ import annotations

__all__ = ["FAULTS", "SOURCES"]

ELMAN = """
import numpy as np

def forward(x, h0, W, U, b_i):
    h, hs, zs = h0, [h0], []
    for t in range(len(x)):
        z = h @ W.T + x[t] @ U.T + b_i
        h = np.tanh(z)
        hs.append(h)
        zs.append(z)
    return {"h": np.stack(hs[1:]), "h_final": h}, (x, hs, zs, W, U)

def backward(bars, cache):
    x, hs, zs, W, U = cache
    T = len(x)
    dW, dU, db = np.zeros_like(W), np.zeros_like(U), np.zeros(len(W))
    dx = np.zeros_like(x)
    dh = bars["h_final"].copy()
    for t in reversed(range(T)):
        dh = dh + bars["h"][t]
        da = dh * (1 - hs[t + 1] ** 2)
        dW += da.T @ hs[t]
        dU += da.T @ x[t]
        db += da.sum(axis=0)
        dx[t] = da @ U
        dh = da @ W
    return {"W": dW, "U": dU, "b_i": db, "x": dx, "h0": dh}
"""

LSTM = """
import numpy as np

def sigmoid(z):
    return 1 / (1 + np.exp(-z))

def forward(x, h0, c0, W_i, W_f, W_o, W_c, U_i, U_f, U_o, U_c, b_i, b_f, b_o, b_c):
    h, c, hs, saved = h0, c0, [], []
    for t in range(len(x)):
        zi = h @ W_i.T + x[t] @ U_i.T + b_i
        zf = h @ W_f.T + x[t] @ U_f.T + b_f
        zo = h @ W_o.T + x[t] @ U_o.T + b_o
        zg = h @ W_c.T + x[t] @ U_c.T + b_c
        i, f, o, g = sigmoid(zi), sigmoid(zf), sigmoid(zo), np.tanh(zg)
        new = f * c + i * g
        saved.append((x[t], h, c, i, f, o, g, new, zi, zf, zo, zg))
        h, c = o * np.tanh(new), new
        hs.append(h)
    weights = (W_i, W_f, W_o, W_c, U_i, U_f, U_o, U_c)
    return {"h": np.stack(hs), "h_final": h, "c_final": c}, (saved, weights)

def backward(bars, cache):
    saved, (W_i, W_f, W_o, W_c, U_i, U_f, U_o, U_c) = cache
    T = len(saved)
    W, U = (W_i, W_f, W_o, W_c), (U_i, U_f, U_o, U_c)
    dW, dU = [np.zeros_like(w) for w in W], [np.zeros_like(u) for u in U]
    db = [np.zeros(len(w)) for w in W]
    dx = np.zeros((T, *saved[0][0].shape))
    dh, dc = bars["h_final"].copy(), bars["c_final"].copy()
    for t in reversed(range(T)):
        xt, h, c, i, f, o, g, new, zi, zf, zo, zg = saved[t]
        dh = dh + bars["h"][t]
        tc = np.tanh(new)
        do = dh * tc
        dc = dc + dh * o * (1 - tc ** 2)
        di = dc * g
        df = dc * c
        dg = dc * i
        dzi = di * i * (1 - i)
        dzf = df * f * (1 - f)
        dzo = do * o * (1 - o)
        dzg = dg * (1 - g ** 2)
        dz = (dzi, dzf, dzo, dzg)
        for k in range(4):
            dW[k] += dz[k].T @ h
            dU[k] += dz[k].T @ xt
            db[k] += dz[k].sum(axis=0)
        dx[t] = dzi @ U_i + dzf @ U_f + dzo @ U_o + dzg @ U_c
        dh = dzi @ W_i + dzf @ W_f + dzo @ W_o + dzg @ W_c
        dc = dc * f
    names = "ifoc"
    out = {"x": dx, "h0": dh, "c0": dc}
    for k in range(4):
        out["W_" + names[k]] = dW[k]
        out["U_" + names[k]] = dU[k]
        out["b_" + names[k]] = db[k]
    return out
"""

GRU = """
import numpy as np

def sigmoid(z):
    return 1 / (1 + np.exp(-z))

def forward(x, h0, W_r, W_z, W_c, U_r, U_z, U_c, b_r, b_z, b_c):
    h, hs, saved = h0, [], []
    for t in range(len(x)):
        ar = h @ W_r.T + x[t] @ U_r.T + b_r
        az = h @ W_z.T + x[t] @ U_z.T + b_z
        r, z = sigmoid(ar), sigmoid(az)
        ac = (r * h) @ W_c.T + x[t] @ U_c.T + b_c
        n = np.tanh(ac)
        saved.append((x[t], h, r, z, n, ar, az, ac))
        h = (1 - z) * h + z * n
        hs.append(h)
    return {"h": np.stack(hs), "h_final": h}, (saved, W_r, W_z, W_c, U_r, U_z, U_c)

def backward(bars, cache):
    saved, W_r, W_z, W_c, U_r, U_z, U_c = cache
    T = len(saved)
    gW_r, gW_z, gW_c = np.zeros_like(W_r), np.zeros_like(W_z), np.zeros_like(W_c)
    gU_r, gU_z, gU_c = np.zeros_like(U_r), np.zeros_like(U_z), np.zeros_like(U_c)
    gb_r, gb_z, gb_c = np.zeros(len(W_r)), np.zeros(len(W_r)), np.zeros(len(W_r))
    dx = np.zeros((T, *saved[0][0].shape))
    dh = bars["h_final"].copy()
    for t in reversed(range(T)):
        xt, h, r, z, n, ar, az, ac = saved[t]
        dh = dh + bars["h"][t]
        dn = dh * z
        dz = dh * (n - h)
        dac = dn * (1 - n ** 2)
        drh = dac @ W_c
        dr = drh * h
        dar = dr * r * (1 - r)
        daz = dz * z * (1 - z)
        gW_c += dac.T @ (r * h)
        gW_r += dar.T @ h
        gW_z += daz.T @ h
        gU_c += dac.T @ xt
        gU_r += dar.T @ xt
        gU_z += daz.T @ xt
        gb_c += dac.sum(axis=0)
        gb_r += dar.sum(axis=0)
        gb_z += daz.sum(axis=0)
        dx[t] = dac @ U_c + dar @ U_r + daz @ U_z
        dh = dh * (1 - z) + drh * r + dar @ W_r + daz @ W_z
    return {"W_r": gW_r, "W_z": gW_z, "W_c": gW_c, "U_r": gU_r, "U_z": gU_z, "U_c": gU_c,
            "b_r": gb_r, "b_z": gb_z, "b_c": gb_c, "x": dx, "h0": dh}
"""

SOURCES = {"elman": ELMAN, "lstm": LSTM, "gru": GRU}

FAULTS: dict[str, list[tuple[str, str, str]]] = {
    "elman": [
        ("(1 - hs[t + 1] ** 2)", "hs[t + 1] * (1 - hs[t + 1])", "σ′"),
        ("(1 - hs[t + 1] ** 2)", "hs[t + 1]", "h_t instead of φ′"),
        ("(1 - hs[t + 1] ** 2)", "np.tanh(hs[t + 1])", r"tanh\(h_t\)"),
        ("(1 - hs[t + 1] ** 2)", "(1 - zs[t] ** 2)", r"(?:φ′|square|i_t).*i_t"),
        ("(1 - hs[t + 1] ** 2)", "(1 - hs[t + 1])", r"power|square|1 − h_t|factor h_t|²|\^2"),
        ("(1 - hs[t + 1] ** 2)", "(1 - hs[t] ** 2)", r"h_\{t−1\} instead of h_t"),
        (
            "da = dh * (1 - hs[t + 1] ** 2)",
            "da = dh - bars['h'][t] * hs[t + 1] ** 2",
            r"(?:bracket|without|one of|share).*φ′|φ′.*(?:bracket|share|only)",
        ),
        ("dW += da.T @ hs[t]", "dW += da.T @ hs[t + 1]", r"W.*h_t instead of h_\{t−1\}"),
        ("dW += da.T @ hs[t]", "dW += da.T @ hs[0]", r"(?:first step|h_0)"),
        ("dW += da.T @ hs[t]", "dW += dh.T @ hs[t]", r"W.*(?:δh|without.*φ′)"),
        ("dU += da.T @ x[t]", "dU += da.T @ x[0]", "first step"),
        ("dU += da.T @ x[t]", "dU = da.T @ x[t]", "only the first step"),
        ("db += da.sum(axis=0)", "db += da[0]", "first sequence"),
        ("db += da.sum(axis=0)", "db += dh.sum(axis=0)", r"b_i.*(?:δh|without.*φ′)"),
        ("dx[t] = da @ U", "dx[t] = dh @ U", r"x.*(?:δh|without.*φ′)"),
        ("dh = da @ W", "dh = -(da @ W)", r"h_\{t−1\} with the sign"),
        ("dh = da @ W\n", "dh = da @ W if t % 3 else 0 * dh\n", r"(?:every|blocks of) 3"),
        ("reversed(range(T))", "reversed(range(1, T))", "first step"),
        ("reversed(range(T))", "reversed(range(T - 1))", "last step"),
        ('dh = dh + bars["h"][t]', 'dh = dh + 0 * bars["h"][t]', "cotangents? of h "),
        (
            'dh = dh + bars["h"][t]',
            'dh = bars["h"][t]',
            r"carried|ignored|δh_t with nothing but the cotangents of outputs",
        ),
        ("dh = da @ W", "dh = dh + da @ W", r"δh|h_\{t−1\}"),
    ],
    "lstm": [
        ("dzf = df * f * (1 - f)", "dzf = df * (1 - f ** 2)", r"f.*tanh′"),
        ("dzg = dg * (1 - g ** 2)", "dzg = dg * g * (1 - g)", r"c.*σ′"),
        ("dzg = dg * (1 - g ** 2)", "dzg = dg * np.tanh(g)", r"tanh\(c̃_t\)"),
        ("dzi = di * i * (1 - i)", "dzi = di * sigmoid(i)", r"σ\(i_t\)"),
        ("dzo = do * o * (1 - o)", "dzo = do * zo * (1 - zo)", r"o.*a_\{o,t\} instead"),
        ("dzo = do * o * (1 - o)", "dzo = do * o", r"a_\{o,t\}.*o_t"),
        ("dzo = do * o * (1 - o)", "dzo = do * (1 - o)", r"a_\{o,t\}.*o_t"),
        ("dc = dc + dh * o * (1 - tc ** 2)", "dc = dc + dh * o - tc ** 2", r"δc_t.*a bracket lost"),
        ("dc = dc + dh * o * (1 - tc ** 2)", "dc = (dc + dh * o) * (1 - tc ** 2)", r"φ′|1 − tanh"),
        ("dc = dc + dh * o * (1 - tc ** 2)", "dc = dc + dh * (1 - tc ** 2)", r"δc_t.*o_t"),
        ("dc = dc + dh * o * (1 - tc ** 2)", "dc = dc + dh * o", r"without φ′"),
        ("dc = dc + dh * o * (1 - tc ** 2)", "dc = dc + dh * o * (1 - new ** 2)", r"c_t instead"),
        (
            "dc = dc + dh * o * (1 - tc ** 2)",
            "dc = 2 * dc + dh * o * (1 - tc ** 2)",
            r"δc.*(?:2 times|twice|doubled)|(?:2 times|twice|doubled).*δc",
        ),
        ("di = dc * g", "di = dc * i", r"i_t instead of c̃_t"),
        ("di = dc * g", "di = dc * zg", r"a_\{c,t\} instead of c̃_t"),
        ("df = dc * c\n", "df = dc * new\n", r"c_t instead of c_\{t−1\}"),
        ("dg = dc * i", "dg = dc * f", r"f_t instead of i_t"),
        ("dg = dc * i", "dg = dc * (1 - i)", r"1 − i_t"),
        ("dg = dc * i", "dg = dc * g", r"c̃_t instead of i_t|exchanged"),
        ("do = dh * tc", "do = dh * new", r"c_t instead of|without tanh|φ|tanh"),
        ("do = dh * tc", "do = dh * np.tanh(tc)", r"tanh\(tanh"),
        ("do = dh * tc", "do = dh * np.tanh(c)", r"c_\{t−1\} instead of c_t"),
        ("dc = dc * f\n", "dc = dc * i\n", r"i_t instead of f_t"),
        ("dc = dc * f\n", "dc = dc\n", r"c_\{t−1\}.*(?:without|f_t)"),
        ("dc = dc * f\n", "dc = -dc * f\n", r"c_\{t−1\} with the sign"),
        ("dc = dc * f\n", "dc = dc * (1 - f)\n", r"1 − f_t"),
        ("dc = dc * f\n", "dc = 0 * dc\n", r"c_\{t−1\}|carried"),
        ("dc = dc * f\n", "dc = bars['c_final'] * f\n", "cotangent of the final state c instead"),
        ("df = dc * c\n", "df = (dc - dh * o * (1 - tc ** 2)) * c\n", r"f.*(?:share|without)"),
        ("di = dc * g", "di = (dc - dh * o * (1 - tc ** 2)) * g", r"i.*(?:share|without)"),
        (
            "dz = (dzi, dzf, dzo, dzg)",
            "dz = (dzf, dzi, dzo, dzg)",
            r"exchanged|order|δa_\{f,t\} instead of δa_\{i,t\}",
        ),
        (
            "db[k] += dz[k].sum(axis=0)",
            "db[k] += dz[0].sum(axis=0)",
            r"b_.*δa_\{i,t\}|lie in the order",
        ),
        ("db[k] += dz[k].sum(axis=0)", "db[k] += dz[k].mean(axis=0)", r"1/B"),
        ("db[k] += dz[k].sum(axis=0)", "db[k] = dz[k].sum(axis=0)", "only the first step"),
        ("dW[k] += dz[k].T @ h", "dW[k] += dz[k].T @ (o * tc)", r"h_t instead of h_\{t−1\}"),
        ("dW[k] += dz[k].T @ h", "dW[k] = dz[k].T @ h", "only the first step"),
        (
            "dW[k] += dz[k].T @ h",
            "dW[k] += dz[k].T @ h if t else 0",
            "without the first step|initial state of h is taken as zero",
        ),
        ("dW[k] += dz[k].T @ h", "dW[k] += dz[k].T @ saved[0][1]", "first step|h_0"),
        ("dU[k] += dz[k].T @ xt", "dU[k] += dz[k].T @ saved[0][0]", "first step"),
        ("dU[k] += dz[k].T @ xt", "dU[k] += dz[k].T @ saved[t - 1][0]", r"x_\{t−1\}|(?!)"),
        ("+ dzo @ W_o + dzg @ W_c\n", "+ dzo @ W_o\n", r"W_cᵀ"),
        (
            "dh = dzi @ W_i + dzf @ W_f + dzo @ W_o",
            "dh = dzi @ W_f + dzf @ W_i + dzo @ W_o",
            r"W_[if].*(?:instead|exchanged)",
        ),
        ("dh = dzi @ W_i", "dh = dzi @ W_i.T", r"W_i instead of W_iᵀ|W_i\b.*ᵀ"),
        ("dx[t] = dzi @ U_i + dzf @ U_f", "dx[t] = dzi @ U_i", r"x_t without.*U_f"),
        ("dx[t] = dzi @ U_i", "dx[t] = dzf @ U_i", r"x_t.*δa_\{f,t\}"),
        (
            'dh, dc = bars["h_final"].copy(), bars["c_final"].copy()',
            'dh, dc = bars["h_final"].copy(), 0 * bars["c_final"]',
            "final state c is lost",
        ),
        (
            'dh, dc = bars["h_final"].copy(), bars["c_final"].copy()',
            'dh, dc = bars["c_final"].copy(), bars["h_final"].copy()',
            "exchanged|h_final.*c_final",
        ),
        ('dh = dh + bars["h"][t]', 'dh = dh + bars["h"][-1]', "last step"),
        ("reversed(range(T))", "reversed(range(1, T))", "first step"),
        ("reversed(range(T))", "reversed(range(T - 1))", "last step"),
        (
            'dh = dh + bars["h"][t]',
            'dh = dh + bars["h"][t] * (t == T - 1)',
            "cotangent.* last step",
        ),
    ],
    "gru": [
        ("dn = dh * z", "dn = dh * (1 - z)", r"1 − z_t"),
        ("dn = dh * z", "dn = dh", r"z_t"),
        ("dz = dh * (n - h)", "dz = dh * (h - n)", r"sign"),
        ("dz = dh * (n - h)", "dz = dh * n", r"h_\{t−1\}"),
        ("dz = dh * (n - h)", "dz = dh * (n - (1 - z) * h - z * n)", r"h_t instead of h_\{t−1\}"),
        ("dz = dh * (n - h)", "dz = dh * (ac - h)", r"instead of h̃_t"),
        ("dac = dn * (1 - n ** 2)", "dac = dn * n * (1 - n)", r"σ′"),
        ("dac = dn * (1 - n ** 2)", "dac = dn * (1 - ac ** 2)", r"instead of h̃_t|φ′ taken at"),
        ("drh = dac @ W_c", "drh = dac @ W_c.T", r"W_c instead of W_cᵀ"),
        ("drh = dac @ W_c", "drh = dac @ W_r", r"W_r.*instead of W_c"),
        ("dr = drh * h", "dr = drh * r", r"r_t instead of h_\{t−1\}|exchanged"),
        ("dr = drh * h", "dr = dac * h", r"W_c"),
        ("dar = dr * r * (1 - r)", "dar = dr * (1 - r ** 2)", "tanh′"),
        ("dar = dr * r * (1 - r)", "dar = dr * ar * (1 - ar)", r"a_\{r,t\} instead|φ′ taken at"),
        ("daz = dz * z * (1 - z)", "daz = dz * z", r"φ′|z_t"),
        ("daz = dz * z * (1 - z)", "daz = dz * sigmoid(z) * (1 - sigmoid(z))", r"σ\(z_t\)"),
        ("gW_c += dac.T @ (r * h)", "gW_c += dac.T @ h", r"W_c.*r_t"),
        ("gW_c += dac.T @ (r * h)", "gW_c += dac.T @ (z * h)", r"z_t instead of r_t"),
        ("gW_r += dar.T @ h", "gW_r += daz.T @ h", r"W_r.*δa_\{z,t\}"),
        ("gW_r += dar.T @ h", "gW_r += dar.T @ (r * h)", r"W_r.*r_t"),
        ("gU_z += daz.T @ xt", "gU_z = daz.T @ xt", "only the first step"),
        ("gb_z += daz.sum(axis=0)", "gb_z += dar.sum(axis=0)", r"b_z.*δa_\{r,t\}"),
        (
            "gb_z += daz.sum(axis=0)",
            "gb_z += daz.sum(axis=0) if t else 0",
            "without the first step",
        ),
        ('"b_r": gb_r, "b_z": gb_z', '"b_r": gb_z, "b_z": gb_r', "exchanged"),
        ('"W_r": gW_r, "W_z": gW_z', '"W_r": gW_z, "W_z": gW_r', "exchanged"),
        ("dh = dh * (1 - z) +", "dh = dh * z +", r"h_\{t−1\}.*z_t instead of 1 − z_t|z_t"),
        ("dh = dh * (1 - z) +", "dh =", r"h_\{t−1\} without"),
        ("dh = dh * (1 - z) +", "dh = dh +", r"h_\{t−1\}.*1 − z"),
        (" + drh * r +", " + drh +", r"r_t"),
        (" + drh * r +", " + drh * z +", r"z_t instead of r_t"),
        ("+ dar @ W_r + daz @ W_z", "+ dar @ W_z + daz @ W_r", r"W_[rz].*(?:instead|exchanged)"),
        ("+ dar @ W_r + daz @ W_z", "+ daz @ W_z", r"W_rᵀ"),
        ('dh = dh + bars["h"][t]', 'dh = dh + bars["h"][0]', "first step"),
        ("        dn = dh * z\n", "        dn = dh * z\n        dh = dn\n", r"δh|z_t"),
    ],
}
