"""What a row of the zoo is: a name, a line, a source, and a way to build a fresh network."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace

from ..language.cell import Cell
from ..language.network import Network, as_network

__all__ = ["CS231N", "HONG", "KIM", "LEE", "SURVEY", "Entry", "backwards", "entry", "system"]

# The source documents, as they are cited throughout the zoo.
SURVEY = "Ghojogh & Ghodsi 2023"
HONG = "Hong, Fundamentals of RNN and LSTM (Yonsei University)"
LEE = "Lee 2024, RNN & LSTM (Seoul National University)"
CS231N = "CS231n lecture 7, Recurrent Neural Networks"
KIM = "Kim 2019, 5.2 Long Short-term Memory (GDG Sigongmo)"


@dataclass(frozen=True)
class Entry:
    """A row of the catalogue; ``kind`` is cell, network or loss."""

    name: str
    kind: str
    what: str
    source: str
    build: Callable[[], Network]


def entry(item: Cell | Entry) -> Entry:
    """A cell as a row: traced and made a network of one scan only when it is built."""
    if isinstance(item, Entry):
        return item
    kind = "loss" if item.outputs == ("loss",) else "cell"
    return Entry(item.name, kind, item.what, item.source, lambda: as_network(item))


def backwards(item: Cell) -> Entry:
    """A cell that runs from the last step to the first, as a row."""
    name, what = f"{item.name}_reverse", f"{item.what} From the last step to the first."
    return Entry(
        name, "network", what, item.source, lambda: as_network(replace(item, name=name), True)
    )


def system(name: str, source: str) -> Callable[[Callable[[Network], object]], Entry]:
    """Make a row of a function that fills a fresh network; its first doc line is the description.

    Parameters
    ----------
    name, source : str
        The name in the catalogue, and where the equations are from.

    Returns
    -------
    callable
        A decorator that turns the function into an `Entry`.
    """

    def declare(fill: Callable[[Network], object]) -> Entry:
        what = (inspect.getdoc(fill) or "").split("\n")[0]

        def build() -> Network:
            network = Network(name, what, source)
            fill(network)
            return network

        return Entry(name, "network", what, source, build)

    return declare
