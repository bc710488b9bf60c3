"""Spectra of the recurrent matrices and of the transition Jacobian along a trajectory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..calculus.terms import Sym, subterms
from ..errors import UsageError
from .initialisation import square_blocks
from .system import Model, System
from .trajectory import forward

__all__ = [
    "JacobianSpectra",
    "MatrixSpectrum",
    "jacobian_spectra",
    "matrix_spectrum",
    "perturbation",
    "recurrent_names",
    "recurrent_spectra",
]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class MatrixSpectrum:
    """Eigenvalues and singular values of one square matrix.

    Attributes
    ----------
    eigenvalues : complex array ``(p,)``
        By falling modulus.
    singular_values : array ``(p,)``
        Falling.
    departure : float
        Henrici's departure from normality ‖W‖_F² − Σ|λ|², square root, divided by ‖W‖_F: 0 for a
        normal matrix, near 1 for a nilpotent one. Where it is not small, powers of W grow before
        they decay and eigenvalues alone mislead (Trefethen & Embree 2005, Spectra and
        Pseudospectra).
    """

    name: str
    eigenvalues: Array
    singular_values: Array
    departure: float

    @property
    def radius(self) -> float:
        """The spectral radius."""
        return float(abs(self.eigenvalues[0]))

    @property
    def norm(self) -> float:
        """σ_max."""
        return float(self.singular_values[0])


def matrix_spectrum(matrix: Array, name: str = "W") -> MatrixSpectrum:
    """Spectrum of a square matrix; raises UsageError for another shape or values not finite."""
    w = np.asarray(matrix, dtype=float)
    if w.ndim != 2 or w.shape[0] != w.shape[1]:
        raise UsageError(f"{name} has shape {w.shape}; eigenvalues need a square matrix")
    if not np.isfinite(w).all():
        raise UsageError(f"{name} is not finite")
    values = np.linalg.eigvals(w)
    values = values[np.argsort(-abs(values), kind="stable")]
    largest = float(abs(w).max(initial=0.0)) or 1.0
    frobenius = float(np.linalg.norm(w / largest))
    rest = max(frobenius**2 - float((abs(values / largest) ** 2).sum()), 0.0)
    departure = np.sqrt(rest) / frobenius if frobenius else 0.0
    singular = np.linalg.svd(w, compute_uv=False)
    return MatrixSpectrum(name, values, singular, float(departure))


def recurrent_names(system: System) -> tuple[str, ...]:
    """The matrices through which a system reads its own past, in forward order."""
    found: dict[str, None] = {}
    for edge in system.entries:
        for node in subterms(edge.jacobian):
            if isinstance(node, Sym) and node.kind in ("param", "fixed") and node.shape[1] != 1:
                found[node.name] = None
    return tuple(found)


def recurrent_spectra(model: Model, system: System) -> list[MatrixSpectrum]:
    """Spectra of all recurrent matrices; packed ones block by block, ``W[0:p]``, ``W[p:2p]``, …"""
    out = []
    for name in recurrent_names(system):
        matrix = model.values[name]
        blocks = square_blocks(matrix)
        matrix = matrix.reshape(-1, matrix.shape[-1])
        for k, rows in enumerate(blocks or []):
            title = name if len(blocks or []) == 1 else f"{name}[{k}]"
            out.append(matrix_spectrum(matrix[rows], title))
    return out


@dataclass(frozen=True)
class JacobianSpectra:
    """Spectra of the transition Jacobian at some steps of a trajectory.

    Attributes
    ----------
    times : array ``(m,)``
        Steps from 1.
    radii, norms, smallest : array ``(m,)``
        Spectral radius, σ_max and σ_min of J_t.
    eigenvalues : complex array ``(m, n)``
    """

    times: Array
    radii: Array
    norms: Array
    smallest: Array
    eigenvalues: Array


def jacobian_spectra(system: System, steps: int, samples: int = 64) -> JacobianSpectra:
    """The transition Jacobian's spectrum at up to `samples` steps, evenly spread."""
    wanted = np.unique(np.linspace(0, steps - 1, min(samples, steps)).astype(int))
    picked: list[Array] = []
    for segment in forward(system, steps):
        inside = wanted[(wanted >= segment.start) & (wanted < segment.start + segment.steps)]
        if len(inside):
            picked.extend(segment.jacobian()[inside - segment.start])
    jacobians = np.stack(picked)
    values = np.linalg.eigvals(jacobians)
    order = np.argsort(-abs(values), axis=1)
    values = np.take_along_axis(values, order, axis=1)
    singular = np.linalg.svd(jacobians, compute_uv=False)
    return JacobianSpectra(wanted + 1, abs(values[:, 0]), singular[:, 0], singular[:, -1], values)


def perturbation(
    system: System, matrix: Array, steps: int, *, epsilon: float = 1e-6
) -> dict[str, Array]:
    """The λᵗε picture of the survey's eq. (24), and what becomes of ε in the system itself.

    A change ε along the leading eigenvector of W is followed for `steps` steps: as the linear
    claim λᵗε has it, and through the transition Jacobians (the first state's block at lag 1).

    Returns
    -------
    dict
        ``claimed`` and ``measured``: log |change| after 0, 1, …, `steps` steps, ``(steps + 1,)``.
    """
    values, vectors = np.linalg.eig(matrix)
    k = int(np.argmax(abs(values)))
    slot = system.slots[0]
    if len(matrix) != slot.stop - slot.start:
        raise UsageError(
            f"the matrix has {len(matrix)} columns, state {slot.name!r} {slot.stop - slot.start}"
        )
    change = np.zeros(system.n, dtype=complex)
    change[slot.at] = vectors[:, k]
    t = np.arange(steps + 1)
    claimed = np.full(steps + 1, np.log(epsilon))
    with np.errstate(divide="ignore"):
        claimed[1:] += t[1:] * np.log(abs(values[k]))
    measured = np.full(steps + 1, -np.inf)
    measured[0] = shift = np.log(epsilon)
    for segment in forward(system, steps):
        for j, jacobian in enumerate(segment.jacobian()):
            change = jacobian @ change
            size = float(np.linalg.norm(change))
            if size == 0.0:
                return {"claimed": claimed, "measured": measured}
            shift += np.log(size)
            change = change / size
            measured[segment.start + j + 1] = shift + np.log(
                max(float(np.linalg.norm(change[slot.at])), 5e-324)
            )
    return {"claimed": claimed, "measured": measured}
