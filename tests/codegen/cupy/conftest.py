"""The fixtures of the GPU test bench."""

from tests.cuda_shim.fixtures import compile_sm90

__all__ = ["compile_sm90"]
