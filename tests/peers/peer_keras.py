"""Layers of Keras 3 on JAX, against the cells of the zoo, in float32."""

from __future__ import annotations

import os
from typing import Any

os.environ["KERAS_BACKEND"] = "jax"

import keras
import pytest

from gradcheck_rnn import Layout, Network, check_model, load
from gradcheck_rnn.verify.harness.ready import definition, ready

LAYERS = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU, "rnn": keras.layers.SimpleRNN}
CASES = [
    ("lstm", {}), ("lstm", {"use_bias": False}), ("gru", {}), ("gru", {"reset_after": False}),
    ("gru", {"use_bias": False}), ("gru", {"reset_after": False, "use_bias": False}), ("rnn", {}),
    ("rnn", {"use_bias": False}),
]  # fmt: skip


def runner(kind: str, options: dict[str, Any], layout: Layout) -> Any:
    """A function of the layout's arrays."""
    layers: dict[tuple[int, ...], Any] = {}

    def run(**given: Any) -> Any:
        inputs, states = given["inputs"], [given[n] for n in ("h0", "c0") if n in given]
        key = (inputs.shape[-1], states[0].shape[-1])
        if key not in layers:
            layers[key] = LAYERS[kind](key[1], return_sequences=True, return_state=True, **options)
            layers[key].build((None, None, key[0]))
        layer = layers[key]
        weights = [given[n] for n in layout.parameters]
        more = {"mask": given["mask"]} if "mask" in given else {}
        out, _ = layer.stateless_call(
            weights, [v.value for v in layer.non_trainable_variables], inputs,
            initial_state=states, **more,
        )  # fmt: skip
        return tuple(out)

    return run


@pytest.mark.parametrize(("kind", "options"), CASES, ids=str)
def test_options_of_layers(kind: str, options: dict[str, Any]) -> None:
    name = " ".join([f"keras {kind}", *(f"{n}={v}" for n, v in options.items())])
    report = check_model(
        load(definition(name)), module=runner(kind, options, ready(name)), layout=name,
        array="jax", plan="point", dtype="float32",
    )  # fmt: skip
    assert report.passed, str(report)


@pytest.mark.parametrize("kind", list(LAYERS))
def test_masks(kind: str) -> None:
    name = f"keras {kind}"
    network = Network(f"masked_{kind}", "a masked layer", "")
    x, mask = network.input("x", "d"), network.input("m", "1", data=True, domain="0/1")
    made = network.scan(load(definition(name)).scans[0].cell, x=x, mask=mask)
    network.output(*(made.final(s) for s in (["h", "c"] if kind == "lstm" else ["h"])))
    plain = ready(name)
    outputs = {n: t for n, t in plain.outputs.items() if n != "sequence"}
    layout = Layout(plain.parameters, {**plain.inputs, "mask": "m: B T as bool"}, outputs)
    run = runner(kind, {}, layout)
    report = check_model(
        network, module=lambda **given: run(**given)[1:], layout=layout, array="jax", plan="point",
        dtype="float32",
    )  # fmt: skip
    assert report.passed, str(report)
