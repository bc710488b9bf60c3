"""Checksums of arrays: whether a call changed one, and seeds made of contents."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["array_checksum"]

#: Bytes from which the words of an array are summed: in so many places, a prime number so that no
#: shift by a row maps places on themselves, and of so many rows at once. An odd number of rows: a
#: change of all signs, which adds the same to every word, changes its sum.
LONG, WORDS, AT_ONCE = 2**16, 1021, 31


def array_checksum(array: NDArray[Any]) -> int:
    """A checksum of the bytes, 32 bits: of long arrays one of sums of words, in less time."""
    flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    if flat.size < LONG:
        return zlib.crc32(flat.data)
    whole = flat.size // (8 * WORDS) * WORDS
    words = flat[: 8 * whole].view(np.uint64).reshape(-1, WORDS)
    found, k = zlib.crc32(flat[8 * whole :].data), 0
    while k < len(words):
        rows = min(AT_ONCE, len(words) - k)
        rows -= 1 - rows % 2
        found = zlib.crc32(np.add.reduce(words[k : k + rows], axis=0).data, found)
        k += rows
    return found
