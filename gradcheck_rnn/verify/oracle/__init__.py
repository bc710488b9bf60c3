"""Numerical oracle: derivatives of a function from its values alone, each with its own error.

Nothing here knows where a gradient under test came from; only NumPy is imported.
"""

from __future__ import annotations

from .complex_step import ComplexStep, complex_step
from .differences import Estimate, Ladder, differentiate
from .directions import draw_direction, miss_probability
from .jumps import Jump, find_jump
from .kinks import Kink, find_kink
from .lattice import Lattice, find_lattice
from .line_functions import Lines
from .noise import Noise, ecnoise, measure_noise
from .three_points import three_points
from .witnesses import insist

__all__ = [
    "ComplexStep",
    "Estimate",
    "Jump",
    "Kink",
    "Ladder",
    "Lattice",
    "Lines",
    "Noise",
    "complex_step",
    "differentiate",
    "draw_direction",
    "ecnoise",
    "find_jump",
    "find_kink",
    "find_lattice",
    "insist",
    "measure_noise",
    "miss_probability",
    "three_points",
]
