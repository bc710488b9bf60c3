"""Kernels from derivations: a backend-neutral schedule, and one printer a backend."""

from __future__ import annotations

from ..derivation.program import Derivation
from ..errors import UsageError

__all__ = ["generate"]


def generate(derivation: Derivation, backend: str = "numpy") -> str:
    """Print a standalone module that computes outputs and gradients.

    Parameters
    ----------
    derivation : Derivation
        Of a cell or a network.
    backend : {"numpy", "cupy"}
        What the module computes with; it imports nothing else.

    Returns
    -------
    str
        The module's text, the same for the same derivation.

    Raises
    ------
    UsageError
        No such backend.
    UnsupportedOperation
        The definition has an operation for which there is no kernel.
    """
    if backend == "numpy":
        from .backends.numpy import print_module

        return print_module(derivation)
    if backend == "cupy":
        from .backends import cupy

        return cupy.print_module(derivation)
    raise UsageError(f"there is no backend {backend!r}; there are numpy and cupy")
