"""Bounds on ‖∂h_T/∂h_t‖ beside what is measured, with what each of them proves.

A norm of a product is at most the product of the norms: ‖∏ J‖ ≤ ∏ ‖J_t‖ ≤ (max ‖J_t‖)^k, and for
J = diag(φ′) W, ‖J‖ ≤ γ σ_max(W) with γ = sup |φ′| (Pascanu et al. 2013). Upper bounds below
one prove that a gradient vanishes; upper bounds above one prove nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..calculus import terms as T
from ..language.ops.elementwise import ELEMENTWISE
from .factors import Factor
from .system import System
from .trajectory import Segment, backward

__all__ = ["Bound", "Bounds", "bounds", "steepest"]

Array = np.ndarray[Any, Any]

#: Steps over which singular values of single Jacobians are computed.
EXACT = 1000


def steepest(function: str) -> float:
    """sup |φ′| of an elementwise function; infinite where it is not bounded or not known."""
    return ELEMENTWISE[function].supremum if function in ELEMENTWISE else np.inf


@dataclass(frozen=True)
class Bound:
    """One bound: log of the factor a step, and what follows from its sign."""

    name: str
    rate: float
    says: str


@dataclass(frozen=True)
class Bounds:
    """Bounds on log ‖∂s_T/∂s_t‖.

    Attributes
    ----------
    lags : array ``(k,)``
    per_step : array ``(k,)``
        Σ log ‖J_t‖₂ over the last k steps: the best bound that norms of single steps give. Beyond
        the last 1,000 steps √(‖J‖₁ ‖J‖_∞) ≥ ‖J‖₂ is summed, which needs no singular values.
    floor : array ``(k,)``
        Σ log σ_min(J_t): the gradient cannot be smaller; −∞ (no statement) beyond those steps.
    rates : tuple of Bound
        Bounds that are a constant a step.
    """

    lags: Array
    per_step: Array
    floor: Array
    rates: tuple[Bound, ...]


_SUFFICIENT = (
    "below 0 it is sufficient for vanishing; above 0 it is necessary for explosion, not sufficient"
)
_LINEAR = (
    "necessary and sufficient for a linear recurrence as the lag grows; with a nonlinearity "
    "neither one nor the other: saturation lowers the rate, departure from normality and changing "
    "Jacobians raise it"
)


def bounds(system: System, steps: int, lags: Array) -> Bounds:
    """Per-step and constant bounds along the trajectory that ends at T = `steps`."""
    norms: list[Array] = []
    smallest: list[Array] = []
    caps: dict[tuple[str, tuple[str, int], str], tuple[float, float]] = {}
    done = 0
    for segment in backward(system, steps):
        jacobians = segment.jacobian()[::-1]
        if done < EXACT:
            values = np.linalg.svd(jacobians, compute_uv=False)
            norms.append(values[:, 0])
            smallest.append(values[:, -1])
            _caps(segment, caps)
        else:
            sizes = np.abs(jacobians)
            norms.append(np.sqrt(sizes.sum(axis=1).max(axis=1) * sizes.sum(axis=2).max(axis=1)))
            smallest.append(np.zeros(len(jacobians)))
        done += segment.steps
    with np.errstate(divide="ignore"):
        tops = np.concatenate([[0.0], np.cumsum(np.log(np.concatenate(norms)))])
        lows = np.concatenate([[0.0], np.cumsum(np.log(np.concatenate(smallest)))])
        worst = float(np.log(np.concatenate(norms)[:EXACT].max()))
    where = "on this trajectory" if steps <= EXACT else f"over the last {EXACT} steps"
    rates = [
        Bound(f"max ‖J_t‖ {where}", worst, _SUFFICIENT),
        Bound(f"γ·σ_max, γ measured {where}", _combined(system, caps), _SUFFICIENT),
    ]
    closed = _closed_form(system)
    if closed is not None:
        gamma, norm, radius = closed
        with np.errstate(divide="ignore"):
            rates.append(
                Bound(f"γ·σ_max(W), γ = {gamma:g} for any input", np.log(gamma * norm), _SUFFICIENT)
            )
            rates.append(Bound("spectral radius of W, no slope", np.log(radius), _LINEAR))
    return Bounds(lags, tops[lags], lows[lags], tuple(rates))


def _caps(
    segment: Segment, caps: dict[tuple[str, tuple[str, int], str], tuple[float, float]]
) -> None:
    """Largest |scale| and ‖matrix‖ of every (state, source, reading) so far."""
    system = segment.system
    for edge in system.entries:
        blocks = segment.blocks(lambda e, i=edge.id: e.id == i)  # type: ignore[misc]
        for state in system.states:
            for source, factor in blocks[state].items():
                gamma, norm = _cap(factor)
                key = (state, source, edge.id)
                old = caps.get(key, (0.0, 0.0))
                caps[key] = (max(old[0], gamma), max(old[1], norm))


def _cap(factor: Factor) -> tuple[float, float]:
    gamma = 1.0 if factor.scale is None else float(np.abs(factor.scale).max())
    if factor.matrix is None:
        return gamma, 1.0
    return gamma, float(np.linalg.norm(factor.matrix, 2, axis=(-2, -1)).max())


def _combined(
    system: System, caps: dict[tuple[str, tuple[str, int], str], tuple[float, float]]
) -> float:
    """log ‖·‖₂ of the matrix of block bounds: a norm is at most that of the block norms."""
    index = {(s.name, s.lag): k for k, s in enumerate(system.slots)}
    table = np.zeros((len(index), len(index)))
    leak = system.variant.leak
    for (state, (name, lag), _), (gamma, norm) in caps.items():
        for back, weight in (system.variant.mix or {lag: 1.0}).items():
            share = 1.0 if leak is None else leak
            table[index[state, 1], index[name, back]] += share * abs(weight) * gamma * norm
    for s in system.slots:
        if s.lag > 1:
            table[index[s.name, s.lag], index[s.name, s.lag - 1]] = 1.0
        elif leak is not None:
            table[index[s.name, 1], index[s.name, 1]] += 1.0 - leak
    with np.errstate(divide="ignore"):
        return float(np.log(np.linalg.norm(table, 2)))


def _closed_form(system: System) -> tuple[float, float, float] | None:
    """(γ, σ_max(W), ρ(W)) where the whole state is h = φ(W h₋ + …) or h = W h₋ + …, else None."""
    if (
        len(system.slots) != 1
        or len(system.entries) != 1
        or system.variant != type(system.variant)()
    ):
        return None
    edge = system.entries[0]
    jacobian = edge.jacobian
    matrix = None
    if isinstance(jacobian, T.Sym):
        matrix = system.model.values[jacobian.name]
    elif isinstance(jacobian, T.Plus) and all(
        isinstance(x, T.Eye) or (isinstance(x, T.Sym) and x.kind in ("param", "fixed"))
        for x in jacobian.operands
    ):
        parts = [
            np.eye(system.n) if isinstance(x, T.Eye) else system.model.values[x.name]
            for x in jacobian.operands
        ]
        matrix = np.sum(parts, axis=0)
    elif isinstance(jacobian, T.Eye):
        matrix = np.eye(system.n)
    if matrix is None:
        return None
    name = system.states[0]
    gamma = 1.0
    if edge.equation.name != name:
        rhs = system.equations[name].rhs
        if not isinstance(rhs, T.Apply) or rhs.x != edge.equation or steepest(rhs.fname) == np.inf:
            return None
        gamma = steepest(rhs.fname)
    radius = float(abs(np.linalg.eigvals(matrix)).max())
    return gamma, float(np.linalg.norm(matrix, 2)), radius
