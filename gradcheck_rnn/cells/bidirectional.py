"""Both directions of time: h⃗ reads the past, h⃖ the future."""

# Definitions are written as equations, so: untyped, and every result has a name.
# mypy: disallow-untyped-defs=False
# ruff: noqa: RET504

from __future__ import annotations

from ..language import cell, concat
from ..language.cell import Cell
from ..language.network import Network, Ref, ScanHandle
from ._catalogue import SURVEY, system
from .elman import elman_hidden
from .lstm import lstm
from .readout import deep_readout, two_readout

__all__ = ["ZOO", "join", "two_ways"]


@cell(
    inputs="h_fwd: p_fwd; h_bwd: p_bwd",
    outputs="h",
    source=f"{SURVEY}, Embeddings from Language Model: h = [h⃗ᵀ, h⃖ᵀ]ᵀ",
)
def join(h_fwd, h_bwd):
    """Both directions put together: h = [h⃗ᵀ, h⃖ᵀ]ᵀ."""
    h = concat(h_fwd, h_bwd)
    return h


def two_ways(
    network: Network, definition: Cell, x: Ref, layer: str = ""
) -> tuple[ScanHandle, ScanHandle]:
    """Scan a cell with input ``x`` and state ``h`` forwards and backwards.

    Parameters
    ----------
    network : Network
        Is added to; names end in ``_fwd`` and ``_bwd``, dims of the states are p_fwd and p_bwd.
    definition : Cell
        Has an input x of dim d and a state h of dim p.
    x : Ref
        What both read.
    layer : str
        A further suffix, for stacks.

    Returns
    -------
    tuple of ScanHandle
        Forwards, backwards.
    """
    forwards = network.scan(definition, suffix=f"_fwd{layer}", x=x, dims={"p": "p_fwd"})
    backwards = network.scan(
        definition, suffix=f"_bwd{layer}", x=x, dims={"p": "p_bwd"}, reverse=True
    )
    return forwards, backwards


def finals(network: Network, definition: Cell, *handles: ScanHandle) -> None:
    """Hand out the last states of scans of one cell."""
    for handle in handles:
        network.output(*(handle.final(s) for s in definition.states))


def _bidirectional(network: Network, definition: Cell, top: Cell) -> None:
    x = network.input("x", "d")
    forwards, backwards = two_ways(network, definition, x)
    network.output(network.scan(top, h_fwd=forwards.h, h_bwd=backwards.h).y)
    finals(network, definition, forwards, backwards)


@system("bidirectional_elman", f"{SURVEY}, eqs. (49)–(51)")
def bidirectional_elman(network: Network) -> None:
    """Bidirectional Elman network: y = V⃗ h⃗ + V⃖ h⃖ + b_y."""
    _bidirectional(network, elman_hidden, two_readout)


@system("bidirectional_lstm", f"{SURVEY}, Bidirectional LSTM; eq. (51)")
def bidirectional_lstm(network: Network) -> None:
    """Bidirectional LSTM with the readout of both directions."""
    _bidirectional(network, lstm, two_readout)


@system("bidirectional_deep_output", f"{SURVEY}, Bidirectional RNN, third multilayer network")
def bidirectional_deep_output(network: Network) -> None:
    """Bidirectional Elman network whose output is a third, multilayer network."""
    _bidirectional(network, elman_hidden, deep_readout)


@system("bidirectional_stack", f"{SURVEY}, Bidirectional RNN, deep variant")
def bidirectional_stack(network: Network) -> None:
    """Two bidirectional Elman layers; the second reads both directions of the first."""
    x = network.input("x", "d")
    below = two_ways(network, elman_hidden, x, "_1")
    joined = network.scan(join, suffix="_1", h_fwd=below[0].h, h_bwd=below[1].h)
    above = two_ways(network, elman_hidden, joined.h, "_2")
    network.output(network.scan(two_readout, h_fwd=above[0].h, h_bwd=above[1].h).y)
    finals(network, elman_hidden, *below, *above)


ZOO = (bidirectional_elman, bidirectional_lstm, bidirectional_stack, bidirectional_deep_output)
