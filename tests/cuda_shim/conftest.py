"""The fixtures of the test bench, for its own tests."""

from tests.cuda_shim.fixtures import compile_sm90, cupy, cupy_both_orders

__all__ = ["compile_sm90", "cupy", "cupy_both_orders"]
