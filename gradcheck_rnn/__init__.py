"""Gradient verification for recurrent networks: derive, prove, generate, verify."""

from __future__ import annotations

from gradcheck_rnn._version import __version__

__all__ = ["__version__"]
