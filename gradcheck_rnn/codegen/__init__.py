"""Kernels from derivations: a backend-neutral schedule, and one printer a backend."""

from __future__ import annotations

from ..derivation.program import Derivation
from ..errors import UsageError
from .backends.substeps import for_kernels

__all__ = ["generate"]


def generate(derivation: Derivation, backend: str = "numpy", origin: str = "") -> str:
    """Print a standalone module that computes outputs and gradients.

    Parameters
    ----------
    derivation : Derivation
        Of a cell or a network.
    backend : {"numpy", "cupy"}
        What the module computes with; it imports nothing else.
    origin : str
        The file the definition stands in, ``file.py`` or ``file.py:name``, if it is not in the
        zoo; the module's docstring keeps it.

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
    derivation = for_kernels(derivation)
    if backend == "numpy":
        from .backends.numpy import print_module

        return print_module(derivation, origin)
    if backend == "cupy":
        from .backends import cupy

        return cupy.print_module(derivation, origin)
    raise UsageError(f"there is no backend {backend!r}; there are numpy and cupy")
