"""The language: named dims, `cell`, primitives, scans and networks; tracing and running."""

from . import (
    primitives,
    shapes,  # noqa: F401  (enters the shape rules in `values.RULES`)
)
from .cell import Cell
from .declaring import cell
from .loops import repeat
from .ops.choices import *  # noqa: F403
from .ops.elementwise import ELEMENTWISE
from .ops.functions import *  # noqa: F403
from .ops.normal import *  # noqa: F403
from .ops.structural import *  # noqa: F403
from .ops.unit_maps import UNIT_MAPS
from .primitives import *  # noqa: F403
from .tracing import Equation, TracedCell, trace

__all__ = [
    *ELEMENTWISE,
    *UNIT_MAPS,
    *primitives.__all__,
    "Cell",
    "Equation",
    "TracedCell",
    "cell",
    "repeat",
    "trace",
]
