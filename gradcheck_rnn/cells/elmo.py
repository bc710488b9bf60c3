"""Embeddings from Language Model: a weighted mix of the layers of a bidirectional LSTM."""

# Definitions are written as equations, so: untyped, and every result has a name.
# mypy: disallow-untyped-defs=False
# ruff: noqa: RET504

from __future__ import annotations

from typing import Any

from ..language import cell
from ..language.cell import Cell
from ..language.network import Network
from ._catalogue import SURVEY, system
from .bidirectional import finals, join, two_ways
from .lstm import lstm

__all__ = ["ZOO", "mix"]


def mix(layers: int) -> Cell:
    """The weighted sum of layers.

    Parameters
    ----------
    layers : int
        How many inputs h_1, h_2, …, all of dim m.

    Returns
    -------
    Cell
        y = γ Σ_l s_l h_l, with scalar parameters gamma, s_1, s_2, ….
    """
    names = range(1, layers + 1)

    @cell(
        inputs=f"{' '.join(f'h_{n}' for n in names)}: m",
        params=f"gamma {' '.join(f's_{n}' for n in names)}:",
        outputs="y",
        name="mix",
        source=f"{SURVEY}, eq. (52)",
    )
    def weighted(gamma, **given):
        """Weighted mix of layers: y = γ Σ_l s_l h_l."""
        total = given["s_1"] * given["h_1"]
        for n in names[1:]:
            total = total + given[f"s_{n}"] * given[f"h_{n}"]
        y = gamma * total
        return y

    return weighted


def elmo_layers(network: Network, layers: int = 2) -> None:
    """Fill a network with ``layers`` bidirectional LSTM layers and their mix.

    Parameters
    ----------
    network : Network
        Is added to.
    layers : int
        The survey's L.
    """
    below = network.input("x", "d")
    joined = []
    for layer in range(1, layers + 1):
        ways = two_ways(network, lstm, below, f"_{layer}")
        finals(network, lstm, *ways)
        joined.append(network.scan(join, suffix=f"_{layer}", h_fwd=ways[0].h, h_bwd=ways[1].h).h)
        below = joined[-1]
    bound: dict[str, Any] = {f"h_{n}": ref for n, ref in enumerate(joined, start=1)}
    network.output(network.scan(mix(layers), **bound).y)


@system("elmo", f"{SURVEY}, eq. (52)")
def elmo(network: Network) -> None:
    """ELMo: two bidirectional LSTM layers, states concatenated, y = γ Σ_l s_l h^(l).

    The survey calls γ and s_l hyperparameters; they are parameters here, as in Peters et al. 2018.
    """
    elmo_layers(network)


ZOO = (elmo,)
