"""The rules of the calculus, one module a family."""

from .base import Rule, RuleTable
from .heads import RULES as HEADS
from .linear import RULES as LINEAR
from .pointwise import RULES as POINTWISE
from .selection import RULES as SELECTION
from .softmax import RULES as SOFTMAX
from .systems import RULES as SYSTEMS
from .units import RULES as UNITS

__all__ = ["RULES", "Rule", "RuleTable"]

RULES = RuleTable((*LINEAR, *POINTWISE, *UNITS, *SELECTION, *SOFTMAX, *HEADS, *SYSTEMS))
