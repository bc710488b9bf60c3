"""The layouts of torch.nn.RNN, LSTM and GRU: stacked gates, two biases, layers, directions.

Row blocks of ``weight_ih_l0`` and ``weight_hh_l0``: LSTM i, f, g, o; GRU r, z, n. PyTorch's GRU
keeps z ⊙ h₋ where this package keeps (1 − z) ⊙ h₋, so z is taken with the opposite sign:
σ(−a) = 1 − σ(a).

Source: the documentation of torch.nn.RNN, LSTM and GRU (2.x), "Variables".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UsageError
from ..language.cell import Cell
from ..language.network import Network, Ref
from .weights import table_of

__all__ = ["Layers", "find_layers", "network_of"]

Array = np.ndarray[Any, Any]

_KEY = re.compile(r"^(?P<prefix>.*?)(?P<what>weight|bias)_(?P<side>ih|hh|hr)_l(?P<layer>[0-9]{1,9})"
                  r"(?P<reverse>_reverse)?$")  # fmt: skip
#: Gates of the kinds by their number of row blocks; the sign turns z around.
_GATES: dict[str, tuple[tuple[str, float], ...]] = {
    "rnn": (("", 1.0),),
    "gru": (("_r", 1.0), ("_z", -1.0), ("_c", 1.0)),
    "lstm": (("_i", 1.0), ("_f", 1.0), ("_c", 1.0), ("_o", 1.0)),
}


@dataclass(frozen=True)
class Layers:
    """The recurrent layers found in a state_dict.

    Attributes
    ----------
    kind : {"rnn", "gru", "lstm"}
    layers, bidirectional, inputs, hidden
        As in the constructor of the PyTorch module.
    prefix : str
        What stands before ``weight_ih_l0``, such as ``"rnn."``.
    others : tuple of str
        Keys that belong to other modules (embeddings, readouts).
    """

    kind: str
    layers: int
    bidirectional: bool
    inputs: int
    hidden: int
    prefix: str
    others: tuple[str, ...]

    def __str__(self) -> str:
        ways = ", bidirectional" if self.bidirectional else ""
        return f"torch.nn.{self.kind.upper()}({self.inputs}, {self.hidden}, {self.layers}{ways})"


def find_layers(arrays: Mapping[str, Array], path: Path) -> Layers | None:
    """Recognise PyTorch's recurrent layers by their keys; None if there are none.

    Raises
    ------
    UsageError
        Several recurrent modules, a projection, a missing key, or shapes that do not fit.
    """
    found = {k: m for k in arrays if (m := _KEY.match(k))}
    if not found:
        return None
    prefixes = sorted({m["prefix"] for m in found.values()})
    if len(prefixes) > 1:
        raise UsageError(
            f"{path} holds several recurrent modules ({', '.join(map(repr, prefixes))}); save one "
            "of them to a file of its own"
        )
    prefix = prefixes[0]
    if any(m["side"] == "hr" for m in found.values()):
        raise UsageError(f"{path}: LSTM projections (proj_size) have no layout here")
    layers = 1 + max(int(m["layer"]) for m in found.values())
    if layers > len(found):
        raise UsageError(
            f"{path} names layer {layers - 1} in {len(found)} arrays: layers are missing"
        )
    both = any(m["reverse"] for m in found.values())
    biased = any(m["what"] == "bias" for m in found.values())
    first = f"{prefix}weight_hh_l0"
    if first not in arrays:
        raise UsageError(f"{path}: missing {first}; it has {table_of(_shapes(arrays, found))}")
    if arrays[first].ndim != 2:
        raise UsageError(f"{path}: {first} has shape {arrays[first].shape}, expected a matrix")
    rows, hidden = arrays[first].shape
    kinds = {len(g): kind for kind, g in _GATES.items()}
    if not hidden or rows % hidden or rows // hidden not in kinds:
        raise UsageError(
            f"{path}: {first} has shape {(rows, hidden)}; expected (p, p) for RNN, (3p, p) for GRU "
            "or (4p, p) for LSTM"
        )
    width = f"{prefix}weight_ih_l0"
    inputs = arrays[width].shape[-1] if width in arrays else 0
    expected: dict[str, tuple[int, ...]] = {}
    for layer in range(layers):
        reads = inputs if layer == 0 else hidden * (2 if both else 1)
        for way in ("", "_reverse") if both else ("",):
            end = f"_l{layer}{way}"
            expected[f"{prefix}weight_ih{end}"] = (rows, reads)
            expected[f"{prefix}weight_hh{end}"] = (rows, hidden)
            if biased:
                expected[f"{prefix}bias_ih{end}"] = expected[f"{prefix}bias_hh{end}"] = (rows,)
    wrong = [n for n, s in expected.items() if n in arrays and arrays[n].shape != s]
    missing = [n for n in expected if n not in arrays]
    if wrong or missing:
        said = [f"missing: {table_of({n: expected[n] for n in missing})}"] if missing else []
        said += [f"{n} has shape {arrays[n].shape}, expected {expected[n]}" for n in wrong]
        raise UsageError(f"{path} is not a whole torch.nn module; {'; '.join(said)}")
    others = tuple(k for k in arrays if k not in expected)
    return Layers(kinds[rows // hidden], layers, both, inputs, hidden, prefix, others)


def _shapes(arrays: Mapping[str, Array], names: Any) -> dict[str, Any]:
    return {n: arrays[n].shape for n in names}


def network_of(
    found: Layers, arrays: Mapping[str, Array], cell: Cell, join: Cell, path: Path
) -> tuple[Network, dict[str, Array]]:
    """The network of these layers and its parameters by our names.

    Parameters
    ----------
    cell : Cell
        One step of a layer, with the parameters of the zoo's elman_hidden, lstm or
        gru_reset_after.
    join : Cell
        ``h = [h_fwd; h_bwd]``, for bidirectional layers.

    Raises
    ------
    UsageError
        The cell has other parameters than the layer.
    """
    network = Network(cell.name, f"{found} from {path.name}", str(path.name))
    x = network.input("x", "d")
    values: dict[str, Array] = {}
    plain = found.layers == 1 and not found.bidirectional
    for layer in range(found.layers):
        ways = ("", "_reverse") if found.bidirectional else ("",)
        made = []
        for way in ways:
            suffix = "" if plain else f"_l{layer}{way}"
            one = _parameters(found, arrays, f"_l{layer}{way}")
            trained = set(cell.of_kind("param"))
            if set(one) != trained:
                raise UsageError(
                    f"{path} is {found}, whose parameters are {', '.join(one)}; cell {cell.name!r} "
                    f"has {', '.join(sorted(trained))}"
                )
            values.update({n + suffix: a for n, a in one.items()})
            made.append(network.scan(cell, suffix=suffix, x=x, dims={"p": "p"}, reverse=bool(way)))
        x = _above(network, made, join, layer)
    network.output(x)
    return network, values


def _above(network: Network, made: list[Any], join: Cell, layer: int) -> Ref:
    if len(made) == 1:
        return made[0].h
    both = network.scan(join, suffix=f"_l{layer}_both", h_fwd=made[0].h, h_bwd=made[1].h)
    return both.h


def _parameters(found: Layers, arrays: Mapping[str, Array], end: str) -> dict[str, Array]:
    def part(what: str, k: int) -> Array:
        rows = slice(k * found.hidden, (k + 1) * found.hidden)
        name = f"{found.prefix}{what}{end}"
        # bias=False: the module has no bias, which is a bias of zero.
        return arrays[name][rows] if name in arrays else np.zeros(found.hidden)

    out: dict[str, Array] = {}
    for k, (gate, sign) in enumerate(_GATES[found.kind]):
        out[f"W{gate}"] = sign * part("weight_hh", k)
        out[f"U{gate}"] = sign * part("weight_ih", k)
        bias = "b_i" if found.kind == "rnn" else f"b{gate}"
        if found.kind == "gru" and gate == "_c":
            # The reset gate multiplies W_c h₋ + d_c, so the two biases stay apart.
            out["b_c"], out["d_c"] = part("bias_ih", k), part("bias_hh", k)
        else:
            out[bias] = sign * (part("bias_ih", k) + part("bias_hh", k))
    return out
