"""The zoo: every system of the source documents, and some that show that nothing is reserved.

Pure definitions on top of the language, one file a family. Networks are built when they are asked
for; neither SymPy nor SciPy is imported.
"""

from __future__ import annotations

import difflib

from ..errors import UsageError
from ..language.network import Network
from . import (
    attention,
    bidirectional,
    continuous_time,
    convolutional,
    echo_state,
    elman,
    elmo,
    fast_weights,
    gru,
    heads,
    kernel_arguments,
    linear,
    losses,
    lstm,
    memory,
    modern,
    quasi_recurrent,
    readout,
    regularised,
    stacked,
    state_space,
    tasks,
)
from ._catalogue import Entry, backwards, entry
from .losses import LOSSES, with_loss

__all__ = ["LOSSES", "Entry", "describe", "families", "get", "known", "names", "with_loss"]

#: The families of the zoo, in their order: cells by what they are made of and roughly by their age.
_FAMILIES = {
    "Simple recurrent networks (1990–2016)": (elman, linear, echo_state),
    "Gated cells (1997–2024)": (lstm, gru, modern, regularised),
    "Orthogonal, continuous-time and multi-rate cells (2014–2022)": (continuous_time,),
    "Convolutional and quasi-recurrent cells (2015–2024)": (convolutional, quasi_recurrent),
    "State spaces (2022–2024)": (state_space,),
    "Linear attention and fast weights (2020–2025)": (fast_weights, heads),
    "Memories with addresses or gradient steps (2014–2025)": (memory,),
    "Sequences and trees that are read (2015–2017)": (attention,),
    "Readouts": (readout,),
    "Layers: stacked, bidirectional, mixed": (stacked, bidirectional, elmo),
    "Tasks": (tasks,),
    "Losses": (losses,),
}

_BY_FAMILY: dict[str, tuple[Entry, ...]] = {
    title: tuple(entry(row) for module in modules for row in module.ZOO)
    for title, modules in _FAMILIES.items()
}
_ENTRIES: dict[str, Entry] = {e.name: e for rows in _BY_FAMILY.values() for e in rows}
#: What kernels of packages compute; not among the names, as it is another form of cells there.
_KERNELS: dict[str, Entry] = {c.name: entry(c) for c in kernel_arguments.KERNELS}
_KERNELS |= {f"{c.name}_reverse": backwards(c) for c in kernel_arguments.SEQUENCES}


def names() -> tuple[str, ...]:
    """Names of all systems, family by family."""
    return tuple(_ENTRIES)


def known(name: str) -> bool:
    """Whether `get` has a system of that name."""
    return name in _ENTRIES or name in _KERNELS


def families() -> dict[str, tuple[str, ...]]:
    """Titles of the families, with the names of the systems in each."""
    return {title: tuple(e.name for e in rows) for title, rows in _BY_FAMILY.items()}


def describe() -> list[tuple[str, str, str, str, str]]:
    """(name, kind, what, source, family) of all systems; kind is cell, network or loss."""
    return [
        (e.name, e.kind, e.what, e.source, title)
        for title, rows in _BY_FAMILY.items()
        for e in rows
    ]


def get(name: str) -> Network:
    """A fresh network of that name, to be added to freely.

    Parameters
    ----------
    name : str
        One of `names()`, or the definition of a ready layout (`verify.harness.packages`).

    Returns
    -------
    Network
        A cell comes as a network of one scan that hands out its outputs and last states.

    Raises
    ------
    UsageError
        No system of that name; the message suggests near ones.
    """
    if name in _KERNELS:
        return _KERNELS[name].build()
    if name not in _ENTRIES:
        near = difflib.get_close_matches(name.lower(), _ENTRIES, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(_ENTRIES)}"
        raise UsageError(f"unknown cell {name!r}; {hint}")
    return _ENTRIES[name].build()
