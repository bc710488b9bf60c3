"""The kernels of all modules compile for sm_90, with the options CuPy gives to NVRTC."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .support import NAMES, REALS, ZOO, modules, options


@pytest.mark.parametrize("real", REALS.values())
@pytest.mark.parametrize("name", NAMES)
def test_compiles_for_sm_90(name: str, real: str, compile_sm90: Callable[..., bytes]) -> None:
    source = modules()[name].CUDA
    if "__global__" not in source:
        pytest.skip(f"{name} needs no kernel")
    if name not in ZOO and real == "double":
        pytest.skip("one dtype is enough for what the zoo has not")
    assert compile_sm90(source, options(real))[:4] == b"\x7fELF"
