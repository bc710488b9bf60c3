"""The expansion of ∂h_t/∂W term by term: Kim's eq. (5) written out, with what each term weighs.

∂s_t/∂W = Σ_k J_t J_{t−1} … J_{t−k+1} ∂⁺s_{t−k}/∂W, where ∂⁺ is the immediate derivative (W of that
step only). Term k carries what happened k steps ago. For f′ ≪ 1 Kim keeps two terms,
f′_t (h_{t−1} + W f′_{t−1} h_{t−2}); here the error of that is measured, not assumed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..calculus import terms as T
from ..derivation.program import Edge
from ..errors import UsageError
from .accumulate import LogMatrix
from .system import System
from .trajectory import Segment, backward

__all__ = ["Carousel", "Expansion", "carousel", "expansion"]

Array = np.ndarray[Any, Any]
#: Entries of one immediate Jacobian that are held without using its Kronecker structure.
DENSE = 4_000_000


@dataclass(frozen=True)
class Expansion:
    """The terms of ∂s_T/∂W, term k from k steps before T.

    Attributes
    ----------
    parameter : str
    terms : array ``(K,)``
        ‖term k‖_F ÷ ‖∂s_T/∂W‖_F; they may sum to more than 1, as terms cancel.
    error : array ``(K + 1,)``
        ‖∂s_T/∂W − first k terms‖_F ÷ ‖∂s_T/∂W‖_F, k = 0 … K.
    log_norm : float
        log ‖∂s_T/∂W‖_F.
    rest : float
        Size of the last terms kept ÷ ‖∂s_T/∂W‖_F where earlier ones were left out; else 0.
    """

    parameter: str
    terms: Array
    error: Array
    log_norm: float
    rest: float

    def carrying(self, share: float = 0.99) -> int:
        """How many terms are needed until the relative error stays below 1 − `share`."""
        above = np.flatnonzero(self.error > 1.0 - share)
        return int(above[-1]) + 1 if len(above) else 0

    @property
    def two_term_error(self) -> float:
        """The relative error of the two-term approximation."""
        return float(self.error[min(2, len(self.error) - 1)])


def _reading(system: System, parameter: str) -> Edge:
    edges = [e for p in system.programs for x in p.equations for e in x.edges]
    found = [e for e in edges if e.operand.name == parameter]
    if not found:
        names = {e.operand.name for e in edges if e.kind in ("param", "fixed")}
        raise UsageError(f"no equation reads {parameter!r}; there are {', '.join(sorted(names))}")
    if len(found) > 1:
        raise UsageError(f"{parameter!r} is read {len(found)} times a step; expand one at a time")
    return found[0]


def expansion(
    system: System, parameter: str, steps: int, *, most: int = 400, floor: float = 1e-12
) -> Expansion:
    """Expand ∂s_T/∂`parameter` for T = `steps`.

    Parameters
    ----------
    most : int
        Largest number of terms.
    floor : float
        Stop when terms are this small beside the largest; `rest` then says how small.

    Raises
    ------
    UsageError
        Nothing, or more than one place, reads the parameter; or it is too large to expand.
    """
    edge = _reading(system, parameter)
    product = LogMatrix(np.eye(system.n))
    made: list[tuple[Array, Array | None, float]] = []  # (left, vector or None, log scale)
    sizes: list[float] = []
    for segment in backward(system, steps):
        jacobians = segment.jacobian()
        lefts, vectors = _immediate(segment, edge)
        for j in range(segment.steps - 1, -1, -1):
            left = product.matrix @ lefts[j]
            vector = None if vectors is None else vectors[j]
            made.append((left, vector, product.shift))
            size = float(np.linalg.norm(left)) * (
                1.0 if vector is None else float(np.linalg.norm(vector))
            )
            sizes.append(product.shift + (math.log(size) if size else -math.inf))
            product = LogMatrix(product.matrix @ jacobians[j], product.shift).normalised()
            # With delays single terms can be small, or zero before the start: all must be.
            latest = sizes[-(2 * system.depth + 1) :]
            tiny = len(sizes) > len(latest) and max(latest) < max(sizes) + math.log(floor)
            lost = not math.isfinite(product.shift)
            if tiny or lost or len(made) == most:
                cut = len(made) < steps and not lost
                rest = math.exp(max(latest) - max(sizes)) if cut else 0.0
                return _sum(parameter, made, np.array(sizes), rest)
    return _sum(parameter, made, np.array(sizes), 0.0)


def _immediate(segment: Segment, edge: Edge) -> tuple[Array, Array | None]:
    """∂⁺s/∂W at every step: as (A, v) with A (vᵀ ⊗ I) where it has this form, else dense."""
    system = segment.system
    onward = segment.onward(edge.equation.name)
    n = system.n
    width = system.entries_of(edge.equation)
    lefts = np.zeros((segment.steps, n, width))
    for name, factor in onward.items():
        lefts[:, system.slot(name, 1).at] = factor.dense()
    jacobian = edge.jacobian
    if (
        isinstance(jacobian, T.Kron)
        and isinstance(jacobian.operands[0], T.Transpose)
        and isinstance(jacobian.operands[1], T.Eye)
        and jacobian.operands[0].shape[0] == 1
        and not system.batches.heads
    ):
        column = jacobian.operands[0].operands[0]
        values = system.leading(column, segment.leading)
        return lefts, np.broadcast_to(values, (segment.steps, *values.shape[-2:]))[:, :, 0]
    cols = system.entries_of(edge.operand)
    if n * cols > DENSE:
        raise UsageError(
            f"∂⁺s/∂{edge.operand.name} has {n}×{cols} entries and no Kronecker form; use a smaller "
            "model"
        )
    factor = segment.edge(edge)
    return lefts @ np.broadcast_to(factor.dense(), (segment.steps, width, cols)), None


def _sum(
    parameter: str, made: list[tuple[Array, Array | None, float]], sizes: Array, rest: float
) -> Expansion:
    """Tails from the last term to the first, so that small terms are added to small ones."""
    top = float(sizes.max())
    if not math.isfinite(top):
        return Expansion(parameter, np.zeros(len(sizes)), np.zeros(len(sizes) + 1), top, rest)
    errors = np.zeros(len(made) + 1)
    tail: Any = 0.0
    for k in range(len(made) - 1, -1, -1):
        left, vector, shift = made[k]
        if math.isfinite(shift):
            scale = math.exp(min(shift - top, 700.0))
            term = scale * left if vector is None else scale * left[:, :, None] * vector
            tail = tail + term
        errors[k] = float(np.linalg.norm(tail))
    whole = errors[0]
    if whole == 0.0:
        return Expansion(parameter, np.exp(sizes - top), errors, -math.inf, rest)
    return Expansion(
        parameter, np.exp(sizes - top) / whole, errors / whole, top + math.log(whole), rest / whole
    )


@dataclass(frozen=True)
class Carousel:
    """The direct path of a state through time, ∏ f_t, unit by unit.

    Attributes
    ----------
    state : str
    lags : array ``(k,)``
    log_products : array ``(k, size)``
        log |∏ ∂state_t/∂state_{t−1}| of each unit; 0 at all lags is a constant error carousel.
    mean_gate : float
        Mean of the factor itself, the forget gate of an LSTM.
    """

    state: str
    lags: Array
    log_products: Array
    mean_gate: float

    @property
    def constant(self) -> bool:
        """Whether nothing is lost on this path at any lag."""
        return bool((self.log_products == 0.0).all())


def carousel(system: System, steps: int, lags: Array) -> list[Carousel]:
    """∏ f_t of every state whose direct reading of itself is elementwise."""
    out = []
    for state in system.states:
        edges = {
            e.id
            for e in system.entries
            if e.operand.name == state and e.equation.name == state and abs(e.lag or 0) == 1
        }
        if not edges:
            continue
        found = _carousel(system, state, edges, steps, lags)
        if found is not None:
            out.append(found)
    return out


def _carousel(
    system: System, state: str, edges: set[str], steps: int, lags: Array
) -> Carousel | None:
    size = system.sizes[state]
    total = np.zeros(size)
    kept = np.zeros((len(lags), size))
    at, k, gate = 0, int(lags[0] == 0), 0.0
    for segment in backward(system, steps):
        factor = segment.blocks(lambda e: e.id in edges)[state][(state, 1)]
        if factor.matrix is not None:
            return None
        scale = np.ones((size, 1)) if factor.scale is None else factor.scale
        values = np.broadcast_to(scale, (segment.steps, size, 1))[::-1, :, 0]
        gate += float(values.sum())
        with np.errstate(divide="ignore"):
            sums = total + np.cumsum(np.log(np.abs(values)), axis=0)
        while k < len(lags) and lags[k] <= at + segment.steps:
            kept[k] = sums[lags[k] - at - 1]
            k += 1
        total, at = sums[-1], at + segment.steps
    return Carousel(state, lags, kept, gate / (at * size))
