"""Generated CuPy modules on a GPU; ``python -m pytest -m gpu`` runs them.

Needs CuPy (the extra ``cuda12`` or ``cuda13``) and a device; skipped where there is none.
"""

from __future__ import annotations

import functools
import importlib
import types
from typing import Any

import numpy as np
import pytest

from tests.codegen.support import load

from .support import FEW_ON_GPU, NAMES, case, cast, excess, on_cupy, text, upstream

pytestmark = pytest.mark.gpu


@functools.cache
def no_gpu() -> str:
    """Why there is no GPU to run on; empty if there is one."""
    try:
        cupy = importlib.import_module("cupy")
        count = cupy.cuda.runtime.getDeviceCount()
    except ImportError:
        return "CuPy is not installed: pip install 'gradcheck-rnn[cuda13]' (or cuda12)"
    except Exception as problem:  # CuPy's own error class is not importable without CuPy
        return f"no CUDA device: {problem}"
    return "" if count else "no CUDA device"


@pytest.fixture(scope="module")
def cupy() -> Any:
    if reason := no_gpu():
        pytest.skip(reason)
    return importlib.import_module("cupy")


@functools.cache
def module(name: str) -> types.ModuleType:
    return load(text(name), f"{name}_gpu")


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", NAMES)
def test_outputs_and_gradients(name: str, dtype: str, cupy: Any) -> None:
    c, given = case(name), upstream(case(name))
    found = on_cupy(c, module(name), cupy, cast(c.arrays, dtype), cast(given, dtype))
    over = {n: r for n, r in excess(c, found, dtype, given).items() if not r <= FEW_ON_GPU}
    assert not over


def test_a_second_run_gives_the_same_bits(cupy: Any) -> None:
    """Nothing is left over between calls, and no sum depends on the order of blocks."""
    for name in ("lstm", "lstm_layer_norm", "char_rnn"):
        c = case(name)
        one, two = (on_cupy(c, module(name), cupy, c.arrays, upstream(c)) for _ in range(2))
        assert all(np.array_equal(a, two[n]) for n, a in one.items())
