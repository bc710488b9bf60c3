"""Model mode: a user's code beside a definition, by a declared layout."""

from .layout import Layout
from .ready import ready

__all__ = ["Layout", "ready"]
