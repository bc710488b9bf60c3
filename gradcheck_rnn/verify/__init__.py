"""Verification: any gradient against finite differences that know their own error."""

from __future__ import annotations
