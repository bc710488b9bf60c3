"""Diagnosis: which term of a hand-written gradient is wrong. Imports the derivation, lazily."""

from .check import ModelReport, check_model

__all__ = ["ModelReport", "check_model"]
