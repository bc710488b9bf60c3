"""Products of thousands of matrices in log scale: nothing under- or overflows.

`LogMatrix` is a matrix times e^shift. `QRProduct` keeps P = J_k … J_1 as Q R with Q orthogonal;
the logarithms of R's diagonal are summed (Lyapunov exponents), R itself and its inverse are kept
normalised (extreme singular values of P).

Source: Benettin et al. 1980, Meccanica 15; Eckmann & Ruelle 1985, Rev. Mod. Phys. 57, §V;
Dieci & Van Vleck 1995 on the accuracy of QR.
"""

from __future__ import annotations

import importlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import UsageError

__all__ = ["LogMatrix", "QRProduct", "array_module", "on_host", "pairwise"]

Array = Any

#: Steps are multiplied out before they are orthogonalised as long as the product's condition number
#: is expected to stay below e^14; where it comes out above e^18 they are done again, one at a time.
#: log |diag R| then has an absolute error of at most about e^18 · 1e-16 ≈ 1e-8 a product.
STRETCH, LIMIT = 14.0, 18.0


def array_module(name: str) -> Any:
    """``numpy`` or ``cupy``; raises UsageError if it is not installed or has no device."""
    if name not in ("numpy", "cupy"):
        raise UsageError(f"unknown array module {name!r}; there are numpy and cupy")
    try:
        module = importlib.import_module(name)
        module.zeros(1)
    except Exception as error:
        raise UsageError(f"{name} cannot be used here: {type(error).__name__}: {error}") from error
    return module


def on_host(x: Array) -> np.ndarray[Any, Any]:
    """The array as a NumPy array."""
    return x.get() if hasattr(x, "get") else np.asarray(x)


def pairwise(blocks: Array, group: int, xp: Any = np) -> Array:
    """Products of `group` consecutive steps, later times earlier; ``(m, n, n)`` → ``(m/group, …)``.

    `group` is a power of two; a rest shorter than `group` is left to the caller.
    """
    out = blocks[: len(blocks) // group * group]
    while group > 1:
        out = xp.matmul(out[1::2], out[0::2])
        group //= 2
    return out


@dataclass
class LogMatrix:
    """``matrix · e^shift`` with max |matrix| = 1; a zero matrix has shift −∞."""

    matrix: Array
    shift: float = 0.0

    def normalised(self) -> LogMatrix:
        top = float(abs(self.matrix).max()) if self.matrix.size else 0.0
        if top == 0.0:
            return LogMatrix(self.matrix, -math.inf)
        return LogMatrix(self.matrix / top, self.shift + math.log(top))

    def log_norm(self) -> float:
        """log ‖·‖₂."""
        if not math.isfinite(self.shift):
            return self.shift
        values = np.linalg.svd(on_host(self.matrix), compute_uv=False)
        return self.shift + _log(float(values[0]))

    def log_frobenius(self) -> float:
        """log ‖·‖_F."""
        if not math.isfinite(self.shift):
            return self.shift
        return self.shift + _log(float(np.linalg.norm(on_host(self.matrix))))


def _log(x: float) -> float:
    return math.log(x) if x > 0 else -math.inf


def _stretch(rates: np.ndarray[Any, Any]) -> int:
    """How many steps may be multiplied out at these growth rates: a power of two up to 64."""
    if not np.isfinite(rates).all():
        return 1
    allowed = STRETCH / max(float(rates.max() - rates.min()), 1e-3)
    # Far from one, the product itself must stay within the exponents of a double.
    allowed = min(allowed, 200.0 / max(float(abs(rates).max()), 1e-3), 64.0)
    return int(2 ** math.floor(math.log2(max(allowed, 1.0))))


class QRProduct:
    """The product of the matrices fed so far, as Q R.

    Parameters
    ----------
    n : int
        Size of the matrices.
    leading : int, optional
        Columns of Q that are kept; with fewer than n only the largest growth rates are seen, and
        there are no extreme singular values.
    extremes : bool
        Keep R and its inverse, normalised, for `log_extremes`.
    xp : module
        NumPy or CuPy.
    """

    def __init__(
        self,
        n: int,
        *,
        leading: int | None = None,
        extremes: bool = False,
        seed: int | None = None,
        xp: Any = np,
    ) -> None:
        self.n, self.xp = n, xp
        self.kept = n if leading is None else min(leading, n)
        start = np.eye(n)[:, : self.kept]
        if seed is not None:
            # A generic frame: a coordinate one can lie in an invariant subspace.
            start = np.linalg.qr(np.random.default_rng(seed).normal(size=(n, self.kept)))[0]
        self.q = xp.asarray(start)
        self.log_diagonal = np.zeros(self.kept)
        self.group = 1
        self._upper = LogMatrix(xp.eye(n)) if extremes else None
        self._inverse = LogMatrix(xp.eye(n)) if extremes else None

    def feed(self, blocks: Array) -> np.ndarray[Any, Any]:
        """Multiply by the steps of ``(m, n, n)``, the first of them first.

        Returns
        -------
        array ``(kept,)``
            The growth of log |diag R| over these steps; −∞ where a direction is lost.
        """
        xp = self.xp
        blocks = xp.asarray(blocks)
        before = self.log_diagonal.copy()
        done = 0
        while done < len(blocks):
            group = self.group
            while group > len(blocks) - done:
                group //= 2
            # A few groups at a time, so that the length follows the spectrum as it is seen.
            stop = done + max(1, min((len(blocks) - done) // group, 8)) * group
            if self.kept < self.n:
                self._thin(blocks[done:stop], group)
            else:
                for k, product in enumerate(pairwise(blocks[done:stop], group, xp)):
                    at = done + k * group
                    self._orthogonalise(product @ self.q, blocks[at : at + group])
            done = stop
        with np.errstate(invalid="ignore"):
            grown = self.log_diagonal - before
        return np.where(np.isneginf(self.log_diagonal), -np.inf, grown)

    def _thin(self, blocks: Array, group: int) -> None:
        # With few columns it is cheaper to go step by step than to multiply matrices.
        for k in range(0, len(blocks), group):
            z = self.q
            for block in blocks[k : k + group]:
                z = block @ z
            self._orthogonalise(z, blocks[k : k + group])

    def _orthogonalise(self, z: Array, blocks: Array) -> None:
        """Take in z = (product of `blocks`) Q."""
        xp, group = self.xp, len(blocks)
        if float(abs(z).max()) == 0.0:
            self.log_diagonal[:] = -np.inf
            self._vanish()
            return
        q, r = xp.linalg.qr(z)
        diagonal = abs(on_host(xp.diagonal(r)))
        with np.errstate(divide="ignore"):
            logs = np.log(diagonal)
        if group > 1 and not logs.max() - logs.min() <= LIMIT:
            for block in blocks:
                self._orthogonalise(block @ self.q, block[None])
            return
        self.q = q
        self.log_diagonal = self.log_diagonal + logs
        self.group = _stretch(logs / group)
        if self._upper is not None and self._inverse is not None:
            self._upper = LogMatrix(r @ self._upper.matrix, self._upper.shift).normalised()
            if diagonal.min() == 0.0:
                self._inverse = LogMatrix(self._inverse.matrix, math.inf)
            elif math.isfinite(self._inverse.shift):
                self._invert(r)

    def _invert(self, r: Array) -> None:
        """Take R⁻¹ into the inverse by substitution: the transpose of Rᵀ X = Sᵀ."""
        held = self._inverse
        if held is None:
            return
        try:
            back = self.xp.linalg.solve(r.T, held.matrix.T).T
        except np.linalg.LinAlgError:
            back = None
        if back is None or not bool(self.xp.isfinite(back).all()):
            # A pivot so small that 1/pivot overflows: the direction is lost.
            self._inverse = LogMatrix(held.matrix, math.inf)
        else:
            self._inverse = LogMatrix(back, held.shift).normalised()

    def _vanish(self) -> None:
        if self._upper is not None and self._inverse is not None:
            self._upper = LogMatrix(self._upper.matrix, -math.inf)
            self._inverse = LogMatrix(self._inverse.matrix, math.inf)

    def log_extremes(self) -> tuple[float, float]:
        """log σ_max and log σ_min of the whole product.

        σ_min is −∞ where a direction is lost. Where a single step has singular values more than
        36 nats apart (1e-16), the smallest of them is what rounding makes of it.
        """
        if self._upper is None or self._inverse is None:
            raise UsageError("extreme singular values were not asked for: pass extremes=True")
        return self._upper.log_norm(), -self._inverse.log_norm()
