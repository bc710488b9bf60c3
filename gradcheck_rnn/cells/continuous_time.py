"""Discretised differential equations, orthogonal recurrences, and recurrences at several rates."""

# Definitions are written as equations, so: untyped, and every result has a name.
# mypy: disallow-untyped-defs=False
# ruff: noqa: RET504

from __future__ import annotations

from ..language import cell, dot, eye, repeat, sigmoid, surrogate, tanh, where
from ..language import name as label
from ..language import sum as total
from ..language.cell import Cell
from .lstm import _GATES

__all__ = [
    "ZOO",
    "antisymmetric",
    "cfc",
    "clockwork",
    "cornn",
    "highway",
    "householder",
    "lif",
    "liquid",
    "ltc",
    "phased_lstm",
    "recurrent_highway",
]


@cell(
    inputs="x: d",
    data="on: p",
    states="h: p",
    params="W: p p; U: p d; b_i: p",
    fixed="M: p p",
    domains={"on": "0/1"},
    source="Koutník et al. 2014, A Clockwork RNN, with its schedule as data and a mask",
)
def clockwork(x, on, h, W, U, b_i, M):
    """Clockwork network: units with on = 1 are updated, M is 1 where slower units are read."""
    i = (M * W) @ h + U @ x + b_i
    h = on * tanh(i) + (1 - on) * h
    return h


@cell(
    inputs="x: d",
    data="time:; cycle: p",
    states="h c: p",
    params=f"{_GATES}; tau s: p",
    fixed="r_on alpha:",
    outputs="h",
    domains={"tau": ">= 1", "r_on": "(0, 1)", "alpha": "(0, 1)"},
    source="Neil et al. 2016, Phased LSTM, without peepholes",
)
def phased_lstm(
    x, time, cycle, h, c, W_i, W_f, W_o, W_c, U_i, U_f, U_o, U_c, b_i, b_f, b_o, b_c, tau, s,
    r_on, alpha,
):  # fmt: skip
    """Phased LSTM: a gate k of the phase φ = (t − s) / τ − cycle opens once in a period τ.

    ``cycle`` is floor((t − s) / τ), whose derivative is zero, and therefore data.
    """
    phi = (time - s) / tau - cycle
    rising = 2 * phi / r_on
    k = where(r_on > phi, where(r_on > 2 * phi, rising, 2 - rising), alpha * phi)
    i = sigmoid(W_i @ h + U_i @ x + b_i)
    f = sigmoid(W_f @ h + U_f @ x + b_f)
    o = sigmoid(W_o @ h + U_o @ x + b_o)
    c_tilde = tanh(W_c @ h + U_c @ x + b_c)
    c_open = f * c + i * c_tilde
    h_open = o * tanh(c_open)
    c = k * c_open + (1 - k) * c
    h = k * h_open + (1 - k) * h
    return h, c


def highway(depth: int = 2, name: str = "recurrent_highway") -> Cell:
    """Recurrent highway network.

    Parameters
    ----------
    depth : int
        Highway layers within a step.
    name : str
        The name of the cell.

    Returns
    -------
    Cell
        h = z ⊙ c + (1 − z) ⊙ h for every layer, with c = tanh(R_c h + …), z = σ(R_z h + …).
    """
    layers = range(1, depth + 1)
    each = " ".join(f"R_c{k} R_z{k}" for k in layers)
    biases = " ".join(f"b_c{k} b_z{k}" for k in layers)

    @cell(
        inputs="x: d",
        states="h: p",
        params=f"U_c U_z: p d; {each}: p p; {biases}: p",
        name=name,
        source="Zilly et al. 2017, Recurrent Highway Networks, eqs. (6)–(9), coupled gates",
    )
    def recurrent_highway(x, h, U_c, U_z, **given):
        """Recurrent highway network: highway layers (here 2) within a step, the first reads x."""
        read = {"c": U_c @ x, "z": U_z @ x}
        for k in layers:
            a = {g: given[f"R_{g}{k}"] @ h + given[f"b_{g}{k}"] for g in "cz"}
            if k == 1:
                a = {g: read[g] + a[g] for g in "cz"}
            c = label(tanh(a["c"]), f"c_{k}")
            z = label(sigmoid(a["z"]), f"z_{k}")
            h = z * c + (1 - z) * h
            if k < depth:
                h = label(h, f"h_{k}")
        return h

    return recurrent_highway


recurrent_highway = highway()


@cell(
    inputs="x: d",
    states="h: p",
    params="u_1 u_2 b_i: p; U: p d",
    source="Mhammedi et al. 2017, Efficient Orthogonal Parametrisation, two reflections, tanh",
)
def householder(x, h, u_1, u_2, b_i, U):
    """Orthogonal recurrence: h = tanh(H_1 H_2 h₋ + U x + b_i), reflections H = I − 2 u uᵀ / uᵀu."""
    s_2 = 2 * dot(u_2, h) / total(u_2**2)
    h_2 = h - s_2 * u_2
    s_1 = 2 * dot(u_1, h_2) / total(u_1**2)
    h_1 = h_2 - s_1 * u_1
    i = h_1 + U @ x + b_i
    h = tanh(i)
    return h


@cell(
    inputs="x: d",
    states="h: p",
    params="W: p p; U: p d; b_i: p",
    fixed="epsilon gamma:",
    domains={"epsilon": "(0, 1)", "gamma": "(0, 1)"},
    source="Chang et al. 2019, AntisymmetricRNN, with diffusion γ",
)
def antisymmetric(x, h, W, U, b_i, epsilon, gamma):
    """Antisymmetric network: h = h₋ + ε tanh((W − Wᵀ − γ I) h₋ + U x + b_i), an Euler step."""
    i = (W - W.T - gamma * eye("p")) @ h + U @ x + b_i
    h = h + epsilon * tanh(i)
    return h


@cell(
    inputs="u: d",
    states="y z: p",
    params="W W_z: p p; V: p d; b: p",
    fixed="dt gamma epsilon:",
    domains={"dt": "(0, 1)", "gamma": "> 0", "epsilon": "> 0"},
    source="Rusch & Mishra 2021, Coupled Oscillatory RNN, eq. (3) with n̄ = n − 1",
)
def cornn(u, y, z, W, W_z, V, b, dt, gamma, epsilon):
    """Coupled oscillators: y″ = tanh(W y + W_z y′ + V u + b) − γ y − ε y′, velocity z first."""
    force = tanh(W @ y + W_z @ z + V @ u + b)
    z = z + dt * (force - gamma * y - epsilon * z)
    y = y + dt * z
    return y, z


def liquid(steps: int = 2, name: str = "ltc") -> Cell:
    """Liquid time-constant network.

    Parameters
    ----------
    steps : int
        Fused Euler substeps of length dt within a step.
    name : str
        The name of the cell.

    Returns
    -------
    Cell
        h = (h + Δt f ⊙ A) / (1 + Δt (1 / τ + f)), f = σ(W h + U x + b), so often.
    """

    @cell(
        inputs="x: d",
        states="h: p",
        params="W: p p; U: p d; b A tau: p",
        fixed="dt:",
        domains={"tau": "> 0", "dt": "(0, 1)"},
        name=name,
        source="Hasani et al. 2021, Liquid Time-constant Networks, algorithm 1, f sigmoid",
    )
    def ltc(x, h, W, U, b, A, tau, dt):
        """Liquid time-constant network: 2 fused Euler steps of h′ = −h / τ + f ⊙ (A − h)."""
        drive = U @ x + b

        def step(h):
            f = label(sigmoid(W @ h + drive), "f")
            return (h + dt * f * A) / label(1 + dt * (1 / tau + f), "e")

        h = repeat(steps, step, h)
        return h

    return ltc


ltc = liquid()


@cell(
    inputs="x: d",
    data="elapsed:",
    states="h: p",
    params="W: m p; U: m d; b: m; W_f W_g W_k: p m; b_f b_g b_k: p",
    domains={"elapsed": ">= 0"},
    source="Hasani et al. 2022, Closed-form Continuous-time Neural Networks, gated form",
)
def cfc(x, elapsed, h, W, U, b, W_f, W_g, W_k, b_f, b_g, b_k):
    """Closed-form continuous time: h = σ(−f t) ⊙ g + (1 − σ(−f t)) ⊙ k, with f, g, k of [h₋, x]."""
    a = tanh(W @ h + U @ x + b)
    f = W_f @ a + b_f
    g = tanh(W_g @ a + b_g)
    k = tanh(W_k @ a + b_k)
    gate = sigmoid(-f * elapsed)
    h = gate * g + (1 - gate) * k
    return h


@cell(
    inputs="x: d",
    states="v s: p",
    params="W: p p; U: p d; b: p",
    fixed="beta:",
    outputs="s",
    domains={"beta": "(0, 1)"},
    source="Neftci et al. 2019, Surrogate Gradient Learning, fast sigmoid; Zenke & Ganguli 2018",
)
def lif(x, v, s, W, U, b, beta):
    """Leaky integrate-and-fire units: a spike s where v > 1, with slope 1 / (1 + 10 |v − 1|)²."""
    fires = surrogate(lambda v: v > 1, lambda v: 1 / (1 + 10 * abs(v - 1)) ** 2)
    v = beta * v + W @ s + U @ x + b - s
    s = fires(v)
    return v, s


ZOO = (
    clockwork,
    phased_lstm,
    recurrent_highway,
    householder,
    antisymmetric,
    cornn,
    ltc,
    cfc,
    lif,
)
