"""Random directions, and what a probe along one of them can miss.

A fault of the gradient shows along a direction only by its projection; on the sphere the
distribution of that projection is known, so the chance that a fault slips through can be printed.
"""

from __future__ import annotations

import hashlib
import math
import secrets
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from ..array_checksum import array_checksum

__all__ = ["beta_regularised", "content_seed", "draw_direction", "fresh_seed", "miss_probability"]

Floats = NDArray[np.float64]
#: Bytes of an array from which its checksum stands for its content.
LARGE = 2**17
#: Entries from which coordinates are uniform, which takes a fifth of the time of normal ones.
MANY = 2**14
#: Twice the largest density of a sum of uniform numbers of variance 1 with weights of norm 1: no
#: section of a unit cube by a hyperplane has a content of more than √2 (K. Ball, Cube slicing in
#: R^n, Proc. Amer. Math. Soc. 97, 1986), and the density of such a sum is highest at 0.
DENSITY = 2.0 * math.sqrt(2.0 / 12.0)


def content_seed(arrays: Iterable[NDArray[np.generic]]) -> int:
    """Seed from what is under test: a rerun repeats, a changed gradient gets new directions."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(str((array.shape, array.dtype.str)).encode())
        if array.nbytes < LARGE:
            digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        else:
            digest.update(array_checksum(array).to_bytes(4, "big"))
    return int.from_bytes(digest.digest()[:6], "big")


def fresh_seed() -> int:
    """A seed nobody has used, for nightly runs; log it."""
    return secrets.randbits(48)


def draw_direction(shape: tuple[int, ...], seed: int, block: str, probe: int = 0) -> Floats:
    """Random unit direction of the given shape; (seed, block name, probe number) repeat it.

    Uniform on the sphere, or, of many entries, in a cube: the norm is then 1 within one in a
    hundred. Of an empty shape there is one, which is empty.
    """
    if 0 in shape:
        return np.zeros(shape)
    label = int.from_bytes(hashlib.sha256(block.encode()).digest()[:8], "big")
    generator = np.random.default_rng([seed, label, probe])
    size = math.prod(shape)
    if size >= MANY:
        draw = generator.random(shape)
        draw -= 0.5
        draw *= math.sqrt(12.0 / size)
        return draw
    while True:
        draw = np.asarray(generator.standard_normal(shape))
        flat = draw.reshape(-1)
        norm = math.sqrt(np.einsum("i,i", flat, flat))  # BLAS would take threads
        if norm > 1e-100:
            draw /= norm
            return draw


def beta_regularised(x: float, a: float, b: float) -> float:
    """Regularised incomplete beta function I_x(a, b), for a, b > 0 and x in [0, 1].

    Continued fraction of DLMF 8.17.22 by Lentz's method, on the side where it converges fast.
    """
    if x <= 0.0:
        return 0.0
    if x >= 1.0:
        return 1.0
    if x > (a + 1) / (a + b + 2):
        return 1.0 - beta_regularised(1.0 - x, b, a)
    log_front = (
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )
    tiny = 1e-300
    c, d = 1.0, 1.0 - (a + b) * x / (a + 1)
    d = 1.0 / (d if abs(d) > tiny else tiny)
    fraction = d
    for m in range(1, 10_000):
        for numerator in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1.0 + numerator * d
            d = 1.0 / (d if abs(d) > tiny else tiny)
            c = 1.0 + numerator / c
            c = c if abs(c) > tiny else tiny
            change = c * d
            fraction *= change
        if abs(change - 1.0) < 1e-15:
            break
    return math.exp(log_front) * fraction / a


def miss_probability(size: int, threshold: float, fault: float, probes: int = 1) -> float:
    """Probability that a fault goes unseen along independent uniform directions.

    Parameters
    ----------
    size
        n, entries of the block.
    threshold
        Smallest projection that a probe detects.
    fault
        Euclidean norm of the fault, in the units of the threshold.
    probes
        Independent directions; one is enough to find the fault.

    Returns
    -------
    P(|<u, v>| < threshold/fault)^probes for a unit u, which is I_{c²}(1/2, (n-1)/2): the sphere
    without the two caps around ±u. Of many entries, whose directions are drawn from a cube, a
    bound that holds for every fault.
    """
    if fault <= threshold:
        return 1.0
    if size == 1:
        return 0.0
    c = threshold / fault
    if size >= MANY:
        return float(min(DENSITY * c * math.sqrt(size), 1.0)) ** probes
    return beta_regularised(c * c, 0.5, (size - 1) / 2) ** probes
