"""A linear recurrent unit in complex numbers; its gradients are pairs, as its parameters are.

The gradient of a real loss with respect to a complex z is held as ∂L/∂re z + i ∂L/∂im z. For a
product y = a z it is conj(a) times that of y, which is where conjugates are forgotten or doubled.

    gradcheck-rnn verify examples/lru_complex.py
"""

from __future__ import annotations

import numpy as np

from gradcheck_rnn import gradient_case, load

PAIRS = {"B": ("B_re", "B_im"), "C": ("C_re", "C_im"), "x0": ("x_re0", "x_im0")}


def lru_forward(u, x0, nu, theta, log_gamma, B, C, D):
    """u (T, N, d) and the complex x0 (N, n), B (n, d), C (q, n) to y (T, N, q) and all states."""
    lam = np.exp(-np.exp(nu) + 1j * np.exp(theta))
    Bu = u @ B.T
    xs = [x0]
    for t in range(len(u)):
        xs.append(lam * xs[-1] + np.exp(log_gamma) * Bu[t])
    y = (np.stack(xs[1:]) @ C.T).real + u @ D.T
    return y, xs[-1], (u, xs, lam, Bu, nu, theta, log_gamma, B, C, D)


def lru_backward(dy, dx, saved):
    """Gradients of all arguments; dy is real, dx, of the last state, complex."""
    u, xs, lam, Bu, nu, theta, log_gamma, B, C, D = saved
    dlam, dgamma = np.zeros_like(lam), np.zeros_like(nu)
    dBu, gamma = np.empty_like(Bu), np.exp(log_gamma)
    for t in reversed(range(len(u))):
        dx = dx + dy[t] @ C.conj()
        dlam += (dx * xs[t].conj()).sum(axis=0)
        dgamma += (dx * Bu[t].conj()).real.sum(axis=0)
        dBu[t] = gamma * dx
        dx = dx * lam.conj()
    states = np.stack(xs[1:])
    dlog = dlam * lam.conj()  # lam = exp(log lam)
    return {
        "nu": -dlog.real * np.exp(nu),
        "theta": dlog.imag * np.exp(theta),
        "log_gamma": dgamma * gamma,
        "B": np.einsum("tbn,tbd->nd", dBu, u),
        "C": np.einsum("tbq,tbn->qn", dy, states.conj()),
        "D": np.einsum("tbq,tbd->qd", dy, u),
        "u": (dBu @ B.conj()).real + dy @ D,
        "x0": dx,
    }


@gradient_case(model=load("lru"))
def lru():
    """The same code with pairs of real arrays, beside the equations of the zoo."""

    def forward(**arrays):
        for name, (re, im) in PAIRS.items():
            arrays[name] = arrays.pop(re) + 1j * arrays.pop(im)
        y, last, saved = lru_forward(**arrays)
        return {"y": y, "x_re_final": last.real, "x_im_final": last.imag}, saved

    def backward(cotangents, saved):
        dlast = cotangents["x_re_final"] + 1j * cotangents["x_im_final"]
        grads = lru_backward(cotangents["y"], dlast, saved)
        for name, (re, im) in PAIRS.items():
            pair = grads.pop(name)
            grads |= {re: pair.real, im: pair.imag}
        return grads

    return forward, backward
