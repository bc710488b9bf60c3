"""Model mode: a user's code beside a definition, by a declared layout."""

from .layout import Layout

__all__ = ["Layout"]
