"""The zoo: every system of the source documents, and some that show that nothing is reserved.

Pure definitions on top of the language, one file a family. Networks are built when they are asked
for; neither SymPy nor SciPy is imported.
"""

from __future__ import annotations

import difflib

from ..errors import UsageError
from ..language.network import Network
from . import (
    bidirectional,
    echo_state,
    elman,
    elmo,
    fast_weights,
    gru,
    heads,
    linear,
    losses,
    lstm,
    modern,
    readout,
    regularised,
    stacked,
    tasks,
)
from ._catalogue import Entry, entry
from .losses import LOSSES, with_loss

__all__ = ["LOSSES", "Entry", "describe", "get", "names", "with_loss"]

_FAMILIES = (
    elman,
    linear,
    echo_state,
    lstm,
    gru,
    modern,
    fast_weights,
    heads,
    regularised,
    readout,
    stacked,
    bidirectional,
    elmo,
    tasks,
    losses,
)

_ENTRIES: dict[str, Entry] = {e.name: e for family in _FAMILIES for e in map(entry, family.ZOO)}


def names() -> tuple[str, ...]:
    """Names of all systems, family by family."""
    return tuple(_ENTRIES)


def describe() -> list[tuple[str, str, str, str]]:
    """(name, kind, what, source) of all systems; kind is cell, network or loss."""
    return [(e.name, e.kind, e.what, e.source) for e in _ENTRIES.values()]


def get(name: str) -> Network:
    """A fresh network of that name, to be added to freely.

    Parameters
    ----------
    name : str
        One of `names()`.

    Returns
    -------
    Network
        A cell comes as a network of one scan that hands out its outputs and last states.

    Raises
    ------
    UsageError
        No system of that name; the message suggests near ones.
    """
    if name not in _ENTRIES:
        near = difflib.get_close_matches(name.lower(), _ENTRIES, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(_ENTRIES)}"
        raise UsageError(f"unknown cell {name!r}; {hint}")
    return _ENTRIES[name].build()
