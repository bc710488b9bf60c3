"""Verification: any gradient against finite differences that know their own error."""

from __future__ import annotations

from .blackbox import check_gradient
from .outcome import GradientMismatch, Report
from .verdict import Finding, Row, Verdict
from .vjp import check_vjp

__all__ = ["Finding", "GradientMismatch", "Report", "Row", "Verdict", "check_gradient", "check_vjp"]
