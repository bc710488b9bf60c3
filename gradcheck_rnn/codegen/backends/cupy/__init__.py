"""CuPy: readable modules whose pointwise work runs in fused CUDA kernels of their own."""

from .module import print_module

__all__ = ["print_module"]
