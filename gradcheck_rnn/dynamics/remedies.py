"""What the usual remedies do to this model: each is applied, and the decay measured again."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..calculus.terms import Sym, subterms
from ..derivation.program import Edge
from ..errors import GradcheckError
from .causes import direct_edges
from .initialisation import orthogonal, square_blocks
from .lyapunov import lyapunov
from .products import norm_at
from .spectrum import recurrent_names
from .system import Model, System, Variant
from .trajectory import backward

__all__ = ["Remedy", "gate_bias", "remedies"]

Array = np.ndarray[Any, Any]
LEAK, DELAY, BIAS = 0.1, 5, 2.0


@dataclass(frozen=True)
class Remedy:
    """One remedy, applied.

    Attributes
    ----------
    name, change : str
        What it is called, and what was changed in this model.
    rate : float
        λ₁ afterwards; NaN where it does not apply.
    log_norm : float
        log of the gradient's norm at the lag that is compared, afterwards.
    note : str
        Why it does not apply, or what else happens.
    """

    name: str
    change: str
    rate: float
    log_norm: float
    note: str = ""

    @property
    def applies(self) -> bool:
        return not math.isnan(self.rate)


def remedies(model: Model, index: int, steps: int, lag: int, *, seed: int = 0) -> list[Remedy]:
    """Apply every remedy to one system of a model.

    Parameters
    ----------
    index : int
        Which of ``model.systems()``.
    steps : int
        Trajectory length.
    lag : int
        Where gradients are compared.
    """
    system = model.systems(steps=steps)[index]
    rng = np.random.default_rng(seed)
    names = [n for n in recurrent_names(system) if square_blocks(model.values[n])]
    out: list[Remedy] = []

    def try_one(name: str, change: str, make: Callable[[], System]) -> None:
        try:
            made = make()
            rate = lyapunov(made, steps, leading=1).leading
            at = norm_at(made, steps, lag)
            out.append(Remedy(name, change, rate, at))
        except GradcheckError as problem:
            out.append(_not(name, str(problem)))

    def with_weights(change: Callable[[Array], Array]) -> Callable[[], System]:
        changed = {n: _blockwise(model.values[n], change) for n in names}
        return lambda: model.with_values(**changed).systems(steps=steps)[index]

    which = ", ".join(names)
    if names:
        try_one(
            "orthogonal start",
            f"{which} replaced by random orthogonal matrices",
            with_weights(lambda w: orthogonal(len(w), rng)),
        )
        try_one(
            "identity start",
            f"{which} replaced by the identity",
            with_weights(lambda w: np.eye(len(w))),
        )
        try_one(
            "λ slightly below 1",
            f"{which} scaled to spectral radius 0.99",
            with_weights(_to_radius),
        )
    else:
        out.append(_not("orthogonal start", "the cell has no square recurrent matrix"))
    direct = direct_edges(system)
    if names and not direct:
        try_one(
            "residual",
            f"{which} + I, the survey's eq. (25)",
            with_weights(lambda w: w + np.eye(len(w))),
        )
    else:
        out.append(_not("residual", "the state already has a direct path to itself"))
    out.extend(_forget_bias(model, system, index, steps, lag, direct))
    try_one(
        "leak",
        f"s ↦ {1 - LEAK:g} s₋ + {LEAK:g} F(s₋), τ = {1 / LEAK:g}",
        lambda: model.systems(Variant(leak=LEAK), steps)[index],
    )
    try_one(
        "delays",
        f"the recurrence reads ½ (s_{{t−1}} + s_{{t−{DELAY}}})",
        lambda: model.systems(Variant(mix={1: 0.5, DELAY: 0.5}), steps)[index],
    )
    out.append(_clipping(system, steps, lag))
    return out


def _not(name: str, why: str) -> Remedy:
    return Remedy(name, "", math.nan, math.nan, f"does not apply: {why}")


def _blockwise(matrix: Array, change: Callable[[Array], Array]) -> Array:
    stacked = matrix.reshape(-1, matrix.shape[-1])
    made = np.concatenate([change(stacked[rows]) for rows in square_blocks(matrix) or []])
    return made.reshape(matrix.shape)


def _to_radius(w: Array) -> Array:
    radius = float(abs(np.linalg.eigvals(w)).max())
    return w * (0.99 / radius) if radius > 0 else w


def gate_bias(model: Model, system: System, edge: Edge) -> str | None:
    """The bias of the gate that multiplies a state's direct path; None if there is none."""
    table = system.equations
    waiting = [
        x.name for x in subterms(edge.jacobian) if isinstance(x, Sym) and x.kind == "equation"
    ]
    seen: set[str] = set()
    while waiting:
        name = waiting.pop(0)
        if name in seen or name not in table or name in system.sizes:
            continue
        seen.add(name)
        for x in table[name].edges:
            if x.kind == "equation":
                waiting.append(x.operand.name)
            elif x.kind == "param" and model.values[x.operand.name].shape[-1] == 1:
                return str(x.operand.name)
    return None


def _forget_bias(
    model: Model, system: System, index: int, steps: int, lag: int, direct: dict[str, list[Edge]]
) -> list[Remedy]:
    gates = {s: gate_bias(model, system, e[0]) for s, e in direct.items()}
    gates = {s: b for s, b in gates.items() if b is not None and b.startswith("b")}
    if not gates:
        return [_not("forget-gate bias", "no gate with a bias multiplies a direct path")]
    best: Remedy | None = None
    # In some cells the gate is f, in others 1 − z: which sign opens it is measured.
    for sign in (1.0, -1.0):
        changed = {b: model.values[b] + sign * BIAS for b in gates.values() if b}
        made = model.with_values(**changed).systems(steps=steps)[index]
        rate = lyapunov(made, steps, leading=1).leading
        at = norm_at(made, steps, lag)
        names = ", ".join(dict.fromkeys(map(str, gates.values())))
        found = Remedy(
            "forget-gate bias",
            f"{names} {'+' if sign > 0 else '−'} {BIAS:g}",
            rate,
            at,
        )
        if best is None or found.rate > best.rate:
            best = found
    return [best] if best is not None else []


def _clipping(system: System, steps: int, lag: int) -> Remedy:
    """Clip the error signal to its norm at step T, at every step on the way back."""
    rng = np.random.default_rng(0)
    delta = rng.standard_normal(system.n)
    delta /= np.linalg.norm(delta)
    log, at, clipped = 0.0, 0, 0
    for segment in backward(system, steps):
        for jacobian in segment.jacobian()[::-1]:
            delta = delta @ jacobian
            size = float(np.linalg.norm(delta))
            at += 1
            if size == 0.0:
                log = -math.inf
                break
            delta /= size
            log += math.log(size)
            if log > 0.0:
                log, clipped = 0.0, clipped + 1
            if at == lag:
                break
        if at == lag or not math.isfinite(log):
            break
    change = "the error signal cut to its norm at T"
    if clipped:
        return Remedy("clipping", change, log / at, log, f"clipped at {clipped} of {at} steps")
    # Nothing was cut, so the numbers are those of the model as it is.
    rate = lyapunov(system, steps, leading=1).leading
    norm = norm_at(system, steps, lag)
    note = "never active: clipping only shortens gradients, it does not bring them back"
    return Remedy("clipping", change, rate, norm, note)
