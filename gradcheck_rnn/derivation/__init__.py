"""From equations to the adjoint (BPTT) and tangent (RTRL) programs."""

from .derive import derive
from .program import Derivation, Edge, EquationProgram, ScanProgram, Step
from .render import render

__all__ = ["Derivation", "Edge", "EquationProgram", "ScanProgram", "Step", "derive", "render"]
