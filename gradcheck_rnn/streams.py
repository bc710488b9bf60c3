"""Streams of random numbers by name: of one seed, no two uses draw the same numbers."""

from __future__ import annotations

from enum import IntEnum, unique
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Stream", "generator", "random_signs"]


@unique
class Stream(IntEnum):
    """What random numbers are drawn for; a number that was given is not given again."""

    NOISE_OF_LOSS = 0
    ROUNDOFF = 1
    COMPLEX_STEP = 2
    WIDE_NOISE = 3
    SECOND_LOOK = 4
    OTHER_POINT = 5
    ROUNDOFF_LEVELS = 6
    POINT = 7
    KERNEL_NEIGHBOURS = 8
    ZEROS = 9
    ZEROS_ELSEWHERE = 10
    PLAN = 11
    UNUSED_ENTRIES = 12
    FORWARD_NEIGHBOURS = 13
    GRADIENT_NEIGHBOURS = 14
    DEVIATIONS = 15
    CONFIRMATION = 16
    SHAPE = 17
    PLAN_SIZES = 19
    EXPLAINED = 21
    EXPLAINED_COTANGENTS = 22
    LINE_ROUNDING = 23
    TYPICAL_ERRORS = 24
    INITIAL_STATES = 31
    VECTOR_DIRECTIONS = 38
    VECTOR_BOUNDS = 39
    CLAIMED_EQUATIONS = 41
    COTANGENT_NEIGHBOURS = 42
    WIDE_RESPONSE = 43
    CONSTANTS = 44
    EVIDENCE = 45
    SAVED_ROUNDING = 46
    LINEARITY = 47
    OTHER_FORMS = 48
    WITH_ZEROS = 49
    BESIDE_KINKS = 50
    CANCELLING = 51
    SPECIAL_VALUES = 52


def generator(seed: int, stream: Stream, *parts: int) -> np.random.Generator:
    """A generator of one stream; `parts` number what is drawn separately within it.

    Zeros at the end of a seed change nothing in NumPy, so part 0 draws what the stream without
    parts does: a stream has parts everywhere or nowhere.
    """
    return np.random.default_rng([seed, int(stream), *parts])


_SIGNS = np.array([-1.0, 1.0])


def random_signs(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[Any]:
    """−1 or 1 in every place."""
    return np.asarray(_SIGNS[rng.integers(0, 2, size=shape)])
