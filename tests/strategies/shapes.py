"""Hypothesis strategies for sizes, dtypes, regimes and arrays, for tests of any room.

Sizes of different dims are pairwise different, because equal ones hide transposes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

from gradcheck_rnn.language.network import Network

__all__ = ["REGIMES", "arrays", "dtypes", "lengths", "network_sizes", "regime_values", "sizes"]

#: Regime → how values are drawn from a generator: the places where gradients go wrong.
REGIMES = ("ordinary", "saturated", "tiny", "exploding", "near kinks")


def sizes(names: Sequence[str], smallest: int = 2, largest: int = 9) -> st.SearchStrategy[Any]:
    """Dim → size, pairwise different."""
    values = st.lists(
        st.integers(smallest, largest), min_size=len(names), max_size=len(names), unique=True
    )
    return values.map(lambda found: dict(zip(names, found, strict=True)))


def network_sizes(network: Network, largest: int = 9) -> st.SearchStrategy[Any]:
    """Sizes of a network's dims, pairwise different, sums of dims included."""
    shapes = [r.shape for r in (*network.parameters.values(), *network.inputs.values())]
    dims = {d for s in shapes for d in (s.rows, s.cols)}

    def different(found: dict[str, int]) -> bool:
        known = [d.size(found) for d in dims]
        return len(set(known)) == len(known)

    return sizes(network.dims, largest=max(largest, 2 + 2 * len(network.dims))).filter(different)


def lengths(network: Network, longest: int = 6) -> st.SearchStrategy[Any]:
    """Time axis → steps; at least 3, and more than the longest delay, so that carries matter."""
    axes = network.axes
    lags = [lag for scan in network.scans for s in scan.states for lag in s.lags]
    least = max(3, *lags, 0) + 1 if lags else 3
    values = st.lists(
        st.integers(least, max(longest, least)), min_size=len(axes), max_size=len(axes)
    )
    return values.map(lambda found: dict(zip(axes, found, strict=True)))


def dtypes(exact: bool = False) -> st.SearchStrategy[Any]:
    """Floating-point types kernels and oracles take; ``exact`` leaves out single precision."""
    kinds: list[Any] = [np.float64, np.longdouble]
    return st.sampled_from(kinds if exact else [*kinds, np.float32])


def regime_values(
    regime: str, shape: tuple[int, ...], rng: np.random.Generator
) -> np.ndarray[Any, Any]:
    """Values of one regime.

    ``saturated`` values drive tanh and σ to their ends, ``tiny`` ones are near the smallest
    normal number, ``exploding`` ones make a recurrence grow, and those ``near kinks`` are a few
    roundings to a few steps of a difference away from 0, on either side, some of them 0.
    """
    normal = rng.normal(size=shape)
    if regime == "ordinary":
        return normal
    if regime == "saturated":
        return np.sign(normal) * (20 + 30 * np.abs(normal))
    if regime == "tiny":
        return normal * 10.0 ** rng.uniform(-300, -150, size=shape)
    if regime == "exploding":
        return 3 * normal + np.sign(normal)
    if regime == "near kinks":
        away = 10.0 ** rng.uniform(-16, -2, size=shape)
        return np.where(rng.random(shape) < 0.2, 0.0, np.sign(normal) * away)
    raise ValueError(f"there is no regime {regime!r}; there are {', '.join(REGIMES)}")


@st.composite
def arrays(
    draw: st.DrawFn,
    shape: tuple[int, ...],
    regimes: Sequence[str] = REGIMES,
    dtype: Any = np.float64,
) -> np.ndarray[Any, Any]:
    """An array of a shape in one of the regimes; hypothesis draws the regime and a seed."""
    regime = draw(st.sampled_from(list(regimes)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    with np.errstate(under="ignore"):
        return regime_values(regime, shape, rng).astype(dtype)
