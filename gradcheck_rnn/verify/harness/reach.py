"""How strongly does the end of a sequence answer its beginning? Long lags are checked only then.

Recurrent weights of spectral radius one keep a signal alive where units are smooth; units with
flat pieces (relu, a clip) may all be off at some step, and then nothing passes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...language.network import Network, Scan
from ...language.running import run, to_columns

__all__ = ["answer"]

Array = NDArray[Any]
#: A complex step: the answer is exact, however small.
STEP = 1e-100


def answer(network: Network, values: Mapping[str, Array], lengths: Mapping[str, int]) -> float:
    """The least that a recurrent scan's last state moves with its start and first inputs.

    Parameters
    ----------
    values, lengths
        Arrays in the doors' layout, and steps along each axis.

    Returns
    -------
    The largest derivative of an entry of the last state, of that scan where it is smallest; 1 for
    a network without recurrence.
    """
    refs = {**network.parameters, **network.inputs}
    columns = {n: to_columns(refs[n], a) for n, a in values.items()}
    least = 1.0
    for reverse in (False, True):
        scans = [s for s in network.scans if s.states and s.reverse is reverse]
        if not scans:
            continue
        with np.errstate(all="ignore"):
            nudged = _nudged(network, scans, columns)
            made = run(network, nudged, lengths, everything=True)["everything"]
        last = 0 if reverse else -1
        for scan in scans:
            felt = (np.max(np.abs(np.imag(made[s.name][last])), initial=0.0) for s in scan.states)
            least = min(least, float(max(felt)) / STEP)
    return least


def _nudged(network: Network, scans: list[Scan], columns: Mapping[str, Array]) -> dict[str, Array]:
    """The values with the starts of those scans and what they are given first moved a little."""
    starts = {s.name: _starts([s]) for s in network.scans}
    others = set().union(*starts.values()) - _starts(scans)
    out, first = dict(columns), -1 if scans[0].reverse else 0
    for n, ref in {**network.inputs, **network.parameters}.items():
        moves = ref.kind in ("input", "static") or n in _starts(scans)
        if not moves or n in others:
            continue
        out[n] = columns[n].astype(np.complex128)
        if ref.axis is None:
            out[n] += 1j * STEP
        else:
            out[n][first] += 1j * STEP
    return out


def _starts(scans: list[Scan]) -> set[str]:
    return {i.ref.name for s in scans for state in s.states for i in state.initial if i.ref}
