"""NumPy: readable modules that import nothing but numpy."""

from .module import print_module

__all__ = ["print_module"]
