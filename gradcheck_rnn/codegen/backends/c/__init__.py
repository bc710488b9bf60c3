"""C99: one readable source file and a header that need nothing but the C library."""

from .module import print_files

__all__ = ["print_files"]
