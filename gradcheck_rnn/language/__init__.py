"""The language: named dims, `cell`, primitives, scans and networks; tracing and running."""

from . import shapes  # noqa: F401  (enters the shape rules in `values.RULES`)
from .cell import Cell, cell
from .ops.elementwise import ELEMENTWISE
from .ops.functions import *  # noqa: F403
from .ops.structural import *  # noqa: F403
from .ops.unit_maps import UNIT_MAPS
from .primitives import (
    concat,
    cross_entropy,
    dim,
    dot,
    elementwise,
    eye,
    frozen,
    layer_norm,
    log_softmax,
    maximum,
    mean,
    minimum,
    name,
    softmax,
    split,
    sum,  # noqa: A004
    where,
)
from .tracing import Equation, TracedCell, trace

__all__ = [
    *ELEMENTWISE,
    *UNIT_MAPS,
    "Cell",
    "Equation",
    "TracedCell",
    "cell",
    "concat",
    "cross_entropy",
    "dim",
    "dot",
    "elementwise",
    "eye",
    "frozen",
    "layer_norm",
    "log_softmax",
    "maximum",
    "mean",
    "minimum",
    "name",
    "softmax",
    "split",
    "sum",
    "trace",
    "where",
]
