"""Diagnosis: which term of a hand-written gradient is wrong. Imports the derivation, lazily."""

from .check import check_model

__all__ = ["check_model"]
