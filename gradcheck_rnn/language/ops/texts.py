"""Texts of a declared function for the backends that generated code is written for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from ...errors import UnsupportedOperation

__all__ = ["WithTexts", "helpers_of"]


class WithTexts:
    """Gives a declaration its texts: the name that a backend has, or the text of a helper."""

    #: What is declared, and in which file.
    FAMILY: ClassVar[tuple[str, str]]
    name: str

    def texts(self, backend: str) -> tuple[str, str]:
        """What a backend calls the function, and the text of a helper that it needs for that.

        Raises
        ------
        UnsupportedOperation
            The function has no text for this backend (``"numpy"``, ``"cupy"`` or ``"cuda"``; for
            maps of units also ``"c"``).
        """
        text: str = getattr(self, backend)
        if not text:
            what, where = self.FAMILY
            raise UnsupportedOperation(
                f"the backend {backend} has no text for the {what} {self.name!r}; "
                f"its declaration in language/ops/{where} lacks {backend}="
            )
        return (self.name, text) if "\n" in text or "(" in text else (text, "")


def helpers_of(backend: str, *tables: Mapping[str, WithTexts]) -> dict[str, str]:
    """Texts of helper functions of a backend by name, in the order of the declarations."""
    return {
        n: f.texts(backend)[1]
        for table in tables
        for n, f in table.items()
        if getattr(f, backend) and f.texts(backend)[1]
    }
