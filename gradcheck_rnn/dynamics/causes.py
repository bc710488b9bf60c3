"""Why a gradient vanishes or explodes: each suspect is taken out and the rate measured again.

The trajectory stays as it is; only the Jacobians are changed. What a suspect accounts for is the
difference of λ₁ with and without it, so that the answer is about this model and these inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..calculus import terms as T
from ..derivation.program import Edge
from .bounds import steepest
from .factors import Factor
from .lyapunov import lyapunov
from .spectrum import recurrent_spectra
from .system import System
from .trajectory import forward

__all__ = ["Cause", "causes", "direct_edges", "saturation"]

Array = np.ndarray[Any, Any]
Edit = Callable[[Edge, Factor], Factor]


@dataclass(frozen=True)
class Cause:
    """One suspect.

    Attributes
    ----------
    name, detail : str
        What it is, and the numbers that describe it in this model.
    rate : float
        λ₁ with the suspect taken out.
    effect : float
        λ₁ as it is minus `rate`: negative where the suspect makes gradients smaller.
    """

    name: str
    detail: str
    rate: float
    effect: float


def direct_edges(system: System) -> dict[str, list[Edge]]:
    """State → the readings of itself without a nonlinearity in between (f ⊙ c, (1 − 1/τ) ⊙ h)."""
    out: dict[str, list[Edge]] = {}
    for e in system.entries:
        if e.equation.name == e.operand.name and _elementwise(e.jacobian):
            out.setdefault(e.operand.name, []).append(e)
    return out


def _elementwise(jacobian: T.Term) -> bool:
    if isinstance(jacobian, T.Neg):
        return _elementwise(jacobian.operands[0])
    return isinstance(jacobian, T.Diag | T.Eye)


def _slopes(system: System) -> dict[str, tuple[Edge, float]]:
    """Equations h = φ(i) on the way, with the edge that is φ′ and sup |φ′|."""
    out: dict[str, tuple[Edge, float]] = {}
    for name, e in system.equations.items():
        if name not in system.on_the_way:
            continue
        rhs = e.rhs
        if isinstance(rhs, T.Apply) and isinstance(rhs.x, T.Sym) and steepest(rhs.fname) < np.inf:
            edges = [x for x in e.edges if x.kind == "equation"]
            if len(edges) == 1:
                out[name] = (edges[0], steepest(rhs.fname))
    return out


def saturation(system: System, steps: int) -> dict[str, tuple[float, float]]:
    """Equation φ(·) → (mean of |φ′| ÷ sup |φ′|, share of units and steps below a tenth of it)."""
    slopes = _slopes(system)
    sums = {n: np.zeros(3) for n in slopes}
    for segment in forward(system, steps):
        for name, (edge, gamma) in slopes.items():
            scale = segment.edge(edge).scale
            if scale is not None:
                relative = np.abs(scale) / gamma
                sums[name] += (relative.sum(), (relative < 0.1).sum(), relative.size)
    return {n: (float(s[0] / s[2]), float(s[1] / s[2])) for n, s in sums.items() if s[2]}


def causes(system: System, steps: int, rate: float) -> list[Cause]:
    """The suspects, largest effect first.

    Parameters
    ----------
    steps : int
        Length of the trajectory on which each rate is measured.
    rate : float
        λ₁ of the model as it is, on the same steps.
    """
    out: list[Cause] = []

    def measure(name: str, detail: str, edit: Edit) -> None:
        system.edit = edit
        try:
            changed = lyapunov(system, steps, leading=1).leading
        finally:
            system.edit = None
        # A suspect that alone decides everything gives an infinite rate; that is an answer too.
        out.append(Cause(name, detail, changed, rate - changed if rate != changed else 0.0))

    slopes = _slopes(system)
    if slopes:
        measured = saturation(system, steps)
        detail = "; ".join(
            f"{n}: mean slope {100 * m:.0f} % of its largest, "
            f"{100 * s:.0f} % of the units below 10 %"
            for n, (m, s) in measured.items()
        )
        gammas = {edge.id: gamma for edge, gamma in slopes.values()}
        measure("saturation", detail, lambda e, f: _flat(f, gammas[e.id]) if e.id in gammas else f)
    for state, edges in direct_edges(system).items():
        ids = {e.id for e in edges}
        name, detail = _describe(system, state, edges, steps)
        measure(name, detail, lambda e, f, ids=ids: Factor(f.rows, f.cols) if e.id in ids else f)  # type: ignore[misc]
    spectra = recurrent_spectra(system.model, system)
    if spectra:
        radius = max(s.radius for s in spectra)
        if radius > 0:
            detail = ", ".join(f"ρ({s.name}) = {s.radius:.3g}" for s in spectra)
            direct = {e.id for v in direct_edges(system).values() for e in v}
            entries = {e.id for e in system.entries} - direct
            measure(
                "spectral radius",
                detail,
                lambda e, f: f.scaled(np.float64(1.0 / radius)) if e.id in entries else f,
            )
    return sorted(out, key=lambda c: -abs(c.effect))


def _flat(factor: Factor, gamma: float) -> Factor:
    return Factor(factor.rows, factor.cols, np.full((factor.rows, 1), gamma))


def _describe(system: System, state: str, edges: list[Edge], steps: int) -> tuple[str, str]:
    """Whether the direct path is a gate (moves with time) or a leak, and its mean."""
    ids = {e.id for e in edges}
    total, count, moves = 0.0, 0, False
    for segment in forward(system, min(steps, 256)):
        factor = segment.blocks(lambda e: e.id in ids)[state][(state, 1)]
        if factor.scale is None:
            return f"direct path of {state}", "factor 1: nothing is lost"
        moves = moves or factor.scale.ndim == 3
        total += float(factor.scale.sum())
        count += factor.scale.size
    kind = "closed forget gates" if moves else "leak"
    return f"{kind} ({state})", f"mean factor of {state}_{{t−1}} is {total / count:.3g}"
