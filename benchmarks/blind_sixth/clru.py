"""Linear recurrent unit, complex and diagonal, as pairs of real arrays: time first."""

from __future__ import annotations

import numpy as np

from gradcheck_rnn import Layout, cell
from gradcheck_rnn.language import cos, exp, sin, sqrt


@cell(
    inputs="u: m",
    states="x_re x_im: n",
    params="nu theta: n; B_re B_im: n m; C_re C_im: m n; D: m",
    outputs="y",
    source="Orvieto et al. 2023, Resurrecting Recurrent Neural Networks, with γ = sqrt(1 − |λ|²)",
)
def clru(u, x_re, x_im, nu, theta, B_re, B_im, C_re, C_im, D):
    size = exp(-exp(nu))
    phase = exp(theta)
    gamma = sqrt(1 - size**2)
    l_re = size * cos(phase)
    l_im = size * sin(phase)
    new_re = l_re * x_re - l_im * x_im + gamma * (B_re @ u)
    new_im = l_re * x_im + l_im * x_re + gamma * (B_im @ u)
    y = C_re @ new_re - C_im @ new_im + D * u
    return {"x_re": new_re, "x_im": new_im, "y": y}


def forward(u, xr0, xi0, nu, theta, Br, Bi, Cr, Ci, D):
    size, phase = np.exp(-np.exp(nu)), np.exp(theta)
    gamma = np.sqrt(1 - size**2)
    lr, li = size * np.cos(phase), size * np.sin(phase)
    xr, xi = [xr0], [xi0]
    for u_t in u:
        p, q = xr[-1], xi[-1]
        xr.append(lr * p - li * q + gamma * (u_t @ Br.T))
        xi.append(lr * q + li * p + gamma * (u_t @ Bi.T))
    xr, xi = np.stack(xr), np.stack(xi)
    y = xr[1:] @ Cr.T - xi[1:] @ Ci.T + D * u
    return {"y": y, "xr_T": xr[-1], "xi_T": xi[-1]}, (u, xr, xi, nu, theta, Br, Bi, Cr, Ci, D)


def backward(cot, saved):
    u, xr, xi, nu, theta, Br, Bi, Cr, Ci, D = saved
    size, phase = np.exp(-np.exp(nu)), np.exp(theta)
    gamma = np.sqrt(1 - size**2)
    lr, li = size * np.cos(phase), size * np.sin(phase)
    dy = cot["y"]
    dCr = np.einsum("tbm,tbn->mn", dy, xr[1:])
    dCi = -np.einsum("tbm,tbn->mn", dy, xi[1:])
    dD = (dy * u).sum(axis=(0, 1))
    dr_out = dy @ Cr
    di_out = -dy @ Ci
    dr, di = np.zeros_like(xr), np.zeros_like(xi)
    r_next, i_next = cot["xr_T"], cot["xi_T"]
    for t in range(len(u), 0, -1):
        dr[t] = dr_out[t - 1] + r_next
        di[t] = di_out[t - 1] + i_next
        r_next = lr * dr[t] + li * di[t]
        i_next = lr * di[t] - li * dr[t]
    gr, gi, pr, pi = dr[1:], di[1:], xr[:-1], xi[:-1]
    dlr = (gr * pr + gi * pi).sum(axis=(0, 1))
    dli = (gi * pr - gr * pi).sum(axis=(0, 1))
    dgamma = (gr * (u @ Br.T) + gi * (u @ Bi.T)).sum(axis=(0, 1))
    dBr = np.einsum("tbn,tbm->nm", gamma * gr, u)
    dBi = np.einsum("tbn,tbm->nm", gamma * gi, u)
    du = (gamma * gr) @ Br + (gamma * gi) @ Bi
    du += D * dy
    dsize = dlr * np.cos(phase) + dli * np.sin(phase)
    dsize -= dgamma * size / gamma
    dphase = dli * lr - dlr * li
    dnu = -dsize * size * np.exp(nu)
    dtheta = dphase * phase
    grads = {"u": du, "xr0": r_next, "xi0": i_next, "nu": dnu, "theta": dtheta}
    return grads | {"Br": dBr, "Bi": dBi, "Cr": dCr, "Ci": dCi, "D": dD}


MODEL = (
    clru,
    Layout(
        {"nu": "nu", "theta": "theta", "D": "D"}
        | {"Br": "B_re", "Bi": "B_im", "Cr": "C_re", "Ci": "C_im"},
        {"u": "u: T B n", "xr0": "x_re0: B n", "xi0": "x_im0: B n"},
        {"y": "y: T B n", "xr_T": "x_re_final: B n", "xi_T": "x_im_final: B n"},
    ),
)
