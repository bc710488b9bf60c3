"""Arrays for a network of the zoo: pairwise different dims, T and B."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradcheck_rnn.language.network import Network
from gradcheck_rnn.language.running import array_shape, run, to_columns, to_rows

SIZES = {"d": 2, "p": 3, "q": 4, "m": 7, "k": 9, "v": 10, "e": 11, "n": 4, "H": 2}
SIZES |= {"p_1": 3, "p_2": 8, "p_fwd": 3, "p_bwd": 8}
LENGTHS = {"T": 5, "S": 12}
BATCH = 6


def draw(network: Network, seed: int = 0, batch: int = BATCH) -> dict[str, Any]:
    """Normal values in the doors' layout, inside the domains that the cells declare."""
    rng = np.random.default_rng(seed)
    values = {}
    for ref in (*network.parameters.values(), *network.inputs.values()):
        sizes = {n: SIZES[n] for n in network.dims}
        shape = array_shape(ref, sizes, batch=batch, lengths=LENGTHS)
        array = rng.normal(size=shape)
        if ref.name in network.domains:
            array = network.domains[ref.name].draw(rng, shape, data=False)
        values[ref.name] = array
    return values


def forward(network: Network, values: dict[str, Any]) -> dict[str, Any]:
    """`run` between arrays in the doors' layout."""
    refs = network.parameters | network.inputs
    made = run(network, {n: to_columns(refs[n], a) for n, a in values.items()}, LENGTHS)
    return {n: a if n == "loss" else to_rows(network.outputs[n], a) for n, a in made.items()}
