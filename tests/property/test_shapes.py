"""The strategies for shapes and regimes give what they say, and zoo kernels hold over them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradcheck_rnn import api
from gradcheck_rnn.language.network import Network
from gradcheck_rnn.language.running import array_shape, to_columns
from tests.strategies.shapes import (
    REGIMES,
    arrays,
    dtypes,
    lengths,
    network_sizes,
    regime_values,
    sizes,
)

from .generated import load_module, numpy_stage
from .pipeline import Examined
from .reference import Case, complex_gradients

ZOO = ("elman", "lstm", "gru", "elman_delayed", "bidirectional_elman")


@given(sizes("dpqr"))
def test_sizes_are_pairwise_different(found: dict[str, int]) -> None:
    assert len(set(found.values())) == 4
    assert min(found.values()) >= 2


@given(arrays((3, 4)), dtypes())
def test_arrays_are_finite_in_every_regime(array: np.ndarray[Any, Any], dtype: Any) -> None:
    assert array.shape == (3, 4)
    with np.errstate(under="ignore"):
        assert np.isfinite(array.astype(dtype)).all()


def test_regimes_reach_their_places() -> None:
    rng = np.random.default_rng(0)
    made = {r: regime_values(r, (400,), rng) for r in REGIMES}
    assert np.all(np.tanh(made["saturated"]) ** 2 == 1)
    assert 0 < np.max(np.abs(made["tiny"])) < 1e-140
    assert np.mean(np.abs(made["exploding"])) > 2
    assert np.any(made["near kinks"] == 0)
    assert np.max(np.abs(made["near kinks"])) < 0.1
    with pytest.raises(ValueError, match="no regime"):
        regime_values("odd", (1,), rng)


def _case(data: st.DataObject, network: Network) -> Case:
    """Sizes, lengths, batch and a regime for each array, drawn by hypothesis."""
    found, steps = data.draw(network_sizes(network, 6)), data.draw(lengths(network))
    batch = data.draw(st.integers(1, 3))
    # Exploding values overflow a recurrence of several steps, which no comparison survives.
    regimes = ("ordinary", "saturated", "near kinks")
    values = {}
    for ref in (*network.parameters.values(), *network.inputs.values()):
        shape = array_shape(ref, found, batch=batch, lengths=steps)
        array = data.draw(arrays(shape, regimes))
        if ref.name in network.domains:
            rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
            array = network.domains[ref.name].draw(rng, shape, data=False)
        values[ref.name] = to_columns(ref, array)
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    cotangents = {}
    for label, ref in network.outputs.items():
        shape = array_shape(ref, found, batch=batch, lengths=steps)
        cotangents[label] = to_columns(ref, rng.normal(size=shape))
    return Case(network, values, cotangents, found, steps, batch)


@pytest.mark.parametrize("name", ZOO)
@settings(max_examples=12)
@given(data=st.data())
def test_zoo_kernels_over_shapes_and_regimes(name: str, data: st.DataObject) -> None:
    derivation = api.derive(name)
    case = _case(data, derivation.network)
    numpy_stage(derivation, case, complex_gradients(case), Examined())


def test_a_module_is_loaded_by_itself() -> None:
    module = load_module("x = 3", "three")
    assert module.x == 3
