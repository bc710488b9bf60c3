"""The one error of the test bench, apart from those that real CuPy raises."""

from __future__ import annotations

__all__ = ["ShimError"]


class ShimError(Exception):
    """A kernel or its launch is wrong: a race, a stray index, divergence, an argument mismatch."""
