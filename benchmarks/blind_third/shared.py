"""What the systems of the third blind corpus share."""

from __future__ import annotations

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def fused(kind: str, names: str, suffix: str = "") -> str:
    """Several arrays of a definition one below the other, as a layout writes them."""
    return "[" + "; ".join(f"{kind}_{name}{suffix}" for name in names) + "]"
