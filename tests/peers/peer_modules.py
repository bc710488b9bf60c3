"""Modules of Flax, Equinox and Keras through the adapters, as the how-to says."""

from __future__ import annotations

import equinox
import jax
import numpy as np
from flax import linen

from gradcheck_rnn import check_jax

jax.config.update("jax_enable_x64", True)
KEY = jax.random.PRNGKey(1)
X = jax.random.normal(KEY, (2, 4, 3), dtype=np.float64)


def test_flax() -> None:
    layer = linen.RNN(linen.GRUCell(2, param_dtype=np.float64))
    params = layer.init(KEY, X)
    report = check_jax(lambda params, x: layer.apply(params, x), [params, X])
    assert report.passed, str(report)
    assert "outputs -> params.params.cell.hn.kernel" in {r.name for r in report.rows}


def test_equinox() -> None:
    layer = equinox.nn.LSTMCell(3, 2, key=KEY, dtype=np.float64)
    arrays, rest = equinox.partition(layer, equinox.is_array)
    start = (np.full(2, 0.3), np.full(2, -0.2))
    report = check_jax(
        lambda arrays, x, state: equinox.combine(arrays, rest)(x, state), [arrays, X[0, 0], start]
    )
    assert report.passed, str(report)
    assert "[0] -> arrays.weight_hh" in {r.name for r in report.rows}
