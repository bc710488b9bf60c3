"""Stacks: the state of a layer is the input of the next, each layer has its own weights."""

from __future__ import annotations

from ..language.cell import Cell
from ..language.network import Network, Ref, ScanHandle
from ._catalogue import CS231N, HONG, system
from .elman import elman_hidden
from .lstm import lstm
from .readout import readout

__all__ = ["ZOO", "layer_dim", "layers", "stack"]


def layer_dim(layer: int) -> str:
    """Name of the dim of a layer's state: ``p_1``, ``p_2``, …; layers may differ in width."""
    return f"p_{layer}"


def stack(network: Network, definition: Cell, x: Ref, layers: int) -> list[ScanHandle]:
    """Scan ``layers`` copies of a cell with input ``x`` and state ``h`` on top of each other.

    Parameters
    ----------
    network : Network
        Is added to; names of layer l end in ``_l``, from ten layers on in ``_01``, ``_02``, …
    definition : Cell
        Has an input x of dim d and a state h of dim p.
    x : Ref
        The input of the first layer.
    layers : int
        How many.

    Returns
    -------
    list of ScanHandle
        The layers, first to last.
    """
    made: list[ScanHandle] = []
    below = x
    # The start of c_1 is called c_10, as c of a tenth layer would be.
    digits = len(str(layers))
    for layer in range(1, layers + 1):
        made.append(
            network.scan(
                definition, suffix=f"_{layer:0{digits}}", x=below, dims={"p": layer_dim(layer)}
            )
        )
        below = made[-1].h
    return made


def layers(definition: Cell, num_layers: int, bidirectional: bool, join: Cell) -> Network:
    """Layers of one cell and width as libraries have them, in one direction or both.

    Names of layer k, from 0 on, end in ``_lk``, backwards ``_lk_reverse``, as in PyTorch; the
    outputs are the states of the last layer, and the last states of all.

    Parameters
    ----------
    definition : Cell
        Has an input x of dim d and a state h, its first.
    join : Cell
        Puts the states of both directions together, ``h_fwd`` and ``h_bwd`` to ``h``.
    """
    ways = ", both directions" if bidirectional else ""
    name = f"{definition.name}_{num_layers}" + ("_both" if bidirectional else "")
    network = Network(name, f"{num_layers} layers of {definition.name}{ways}", definition.source)
    below = network.input("x", "d")
    made: list[ScanHandle] = []
    # The start of c_l1 is called c_l10, as c of layer 10 would be.
    digits = len(str(num_layers - 1))
    for k in (f"{layer:0{digits}}" for layer in range(num_layers)):
        widths = {n: n for s in definition.states for n in definition.shapes[s].rows.names}
        of_layer = [
            network.scan(definition, suffix=f"_l{k}{way}", x=below, dims=widths, reverse=bool(way))
            for way in (("", "_reverse") if bidirectional else ("",))
        ]
        below = of_layer[0].h
        if bidirectional:
            there, back = of_layer
            below = network.scan(join, suffix=f"_l{k}_both", h_fwd=there.h, h_bwd=back.h).h
        made += of_layer
    network.output(below)
    for state in definition.states:
        network.output(*(one.final(state) for one in made))
    return network


def _stacked(network: Network, definition: Cell, layers: int = 2) -> None:
    x = network.input("x", "d")
    made = stack(network, definition, x, layers)
    network.output(network.scan(readout, h=made[-1].h).y)
    for handle in made:
        network.output(*(handle.final(s) for s in definition.states))


@system("stacked_elman", f"{CS231N}, Multilayer RNNs; {HONG}, RNN")
def stacked_elman(network: Network) -> None:
    """Two Elman layers and a readout, each layer with its own weights and width."""
    _stacked(network, elman_hidden)


@system("stacked_lstm", f"{CS231N}, Multilayer RNNs")
def stacked_lstm(network: Network) -> None:
    """Two LSTM layers and a readout, each layer with its own weights and width."""
    _stacked(network, lstm)


@system("stacked_tied", f"{CS231N}, Multilayer RNNs, with the recurrent matrix shared")
def stacked_tied(network: Network) -> None:
    """Two Elman layers that share their recurrent matrix W, with trainable initial states."""
    x = network.input("x", "d")
    shared = network.parameter("W", "p p")
    start = network.parameter("h0", "p")
    low = network.scan(
        elman_hidden, suffix="_1", x=x, W=shared, dims={"p": "p"}, initial={"h": start}
    )
    high = network.scan(
        elman_hidden, suffix="_2", x=low.h, W=shared, dims={"p": "p"}, initial={"h": start}
    )
    network.output(network.scan(readout, h=high.h).y)
    network.output(low.final("h"), high.final("h"))


ZOO = (stacked_elman, stacked_lstm, stacked_tied)
