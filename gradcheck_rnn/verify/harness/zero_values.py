"""Exact zeros among the values of a point: rows and steps of inputs, starts, biases.

Code that takes a row of zeros for padding, a start of zeros for none, or equal entries for
something special is wrong there and nowhere else, and random numbers never are zero. Zeros are put
in wherever a definition has a derivative with them; what has a kink there, or no value, keeps its
numbers and is named.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from ...language.domains import Domain
from ...language.network import Network, Ref
from ...language.running import run, to_columns

__all__ = ["with_zeros"]

Array = NDArray[np.float64]
Arrays = Mapping[str, Array]
DATA = ("data", "static_data")
#: A move of every number, and the bend over it that counts as a kink, relative to the largest
#: slope: a curvature as large as the slope bends by the move.
MOVE, BEND = 2.0**-26, 2.0**-14
#: What must be left of the largest slope.
ALIVE = 2.0**-6


def with_zeros(
    network: Network, values: Arrays, lengths: Mapping[str, int], rng: np.random.Generator
) -> tuple[dict[str, Array], dict[str, str]]:
    """Values with zeros in them, and a reason for every name that has none.

    A sequence gets a row of zeros in its second step, a step of zeros, and a row of equal entries;
    an initial state, another value of a sequence, and a vector of parameters are zero altogether.
    Matrices of parameters keep their numbers.
    """
    zeroed, left = {}, {}
    for ref in (*network.inputs.values(), *network.parameters.values()):
        whole = ref.kind in ("static", "static_data") or (ref.kind == "param" and ref.shape.column)
        if not (whole or ref.kind in ("input", "data")):
            continue
        domain, old = network.domains.get(ref.name), values[ref.name]
        if domain is not None and not _allows(domain):
            left[ref.name] = domain.words
            continue
        new = np.zeros_like(old) if whole else _rows(old, domain)
        if not np.array_equal(new, old):
            zeroed[ref.name] = new
    look = _Look(network, values, lengths, rng)
    out = {**values, **zeroed}
    if look.against(out):
        out = dict(values)
        for name, new in zeroed.items():
            if why := look.against({**out, name: new}):
                left[name] = why
            else:
                out[name] = new
    return out, left


def _allows(domain: Domain) -> bool:
    """Whether vectors of zeros are among the values."""
    if domain.of_vectors:
        return False
    above = domain.low < 0 or (domain.low == 0 and not domain.open_low)
    return above and (domain.high > 0 or (domain.high == 0 and not domain.open_high))


def _rows(sequence: Array, domain: Domain | None) -> Array:
    """A sequence ``(T, B, …)`` with rows of zeros and one of equal entries, ends as they are."""
    new = sequence.copy()
    steps = len(new)
    if steps and new.shape[1]:
        new[min(1, steps - 1), 0] = 0.0
        if steps > 3:
            new[2] = 0.0
            if domain is None:
                new[3, -1] = new[3, -1].ravel()[0] if new[3, -1].size else 0.0
    return new


class _Look:
    """What the definition is at values that have zeros."""

    def __init__(
        self, network: Network, values: Arrays, lengths: Mapping[str, int], rng: np.random.Generator
    ) -> None:
        self.network, self.lengths = network, lengths
        self.refs: dict[str, Ref] = {**network.parameters, **network.inputs}
        self.moves = {
            n: MOVE * rng.standard_normal(a.shape)
            for n, a in values.items()
            if self.refs[n].kind not in DATA
        }
        self.given = [n for n in self.moves if n in network.inputs] or list(self.moves)
        self.slope = float(np.max(np.abs(self._difference(values)), initial=0.0))

    def _at(self, values: Arrays, sign: float, names: Iterable[str]) -> Array:
        moved = dict(values)
        for n in names:
            moved[n] = values[n] + sign * self.moves[n]
        columns = {n: to_columns(self.refs[n], a) for n, a in moved.items()}
        with np.errstate(all="ignore"):
            made = run(self.network, columns, self.lengths)
        return np.concatenate([np.asarray(a, np.float64).ravel() for a in made.values()])

    def _difference(self, values: Arrays) -> Array:
        """What a move of inputs and starts changes."""
        return self._at(values, 1.0, self.given) - self._at(values, -1.0, self.given)

    def against(self, values: Arrays) -> str:
        """What speaks against these values: no value, no derivative, or none to speak of."""
        below, here, above = (self._at(values, s, self.moves) for s in (-1.0, 0.0, 1.0))
        with np.errstate(all="ignore"):
            bend, slope = np.abs(above - 2 * here + below), np.abs(above - below)
            rounding = 64 * 2.0**-52 * (np.abs(here) + np.max(np.abs(here), initial=0.0))
            most = BEND * max(float(np.max(slope, initial=0.0)), MOVE)
            if not np.all(bend <= most + rounding):  # NaN is not
                return "no derivative there"
        left = float(np.max(np.abs(self._difference(values)), initial=0.0))
        return "" if left >= ALIVE * self.slope else "nothing depends on the inputs there"
