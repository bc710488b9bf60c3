"""Fixtures of the test bench; a test package takes them over in its conftest.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType

import pytest

from tests.cuda_shim import fake_cupy, nvrtc

__all__ = ["compile_sm90", "cupy", "cupy_both_orders"]


@pytest.fixture
def cupy() -> Iterator[ModuleType]:
    """The stand-in, importable as ``cupy`` during the test."""
    with fake_cupy.installed() as module:
        yield module


@pytest.fixture(params=["first to last", "last to first"])
def cupy_both_orders(request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    """The stand-in, once for each order in which threads and blocks are run."""
    with fake_cupy.installed(reverse=request.param == "last to first") as module:
        yield module


@pytest.fixture(scope="session")
def compile_sm90() -> Callable[..., bytes]:
    """Compile a CUDA source for sm_90, or skip where NVRTC is not installed."""
    reason = nvrtc.unavailable()
    if reason is not None:
        pytest.skip(reason)
    return nvrtc.compile_sm90
