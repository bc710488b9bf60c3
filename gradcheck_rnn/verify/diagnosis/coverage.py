"""Was everything run that is declared, and is it enough for a verdict?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...language.network import Network
from ..harness.plan import Hint, Shapes, wanted_sizes
from ..points import Point
from ..verdict import Finding

__all__ = ["coverage"]


def coverage(
    network: Network,
    points: Sequence[Point],
    shapes: Shapes | None,
    chunk: Hint | None = None,
    tile: Hint | None = None,
) -> list[Finding]:
    """Findings that leave a verdict undecided: declared sizes and recurrent steps not run."""
    reached: dict[str, set[int]] = {}
    for point in points:
        for name, size in (*point.sizes.items(), *point.lengths.items(), ("B", point.batch)):
            reached.setdefault(name, set()).add(size)
    out = []
    for name, wanted in wanted_sizes(network, shapes or {}, chunk, tile).items():
        left = [n for n in wanted if n not in reached.get(name, ())]
        if left:
            out.append(
                _undecided(
                    f"{name} = {_listed(left)} {'is' if len(left) == 1 else 'are'} declared and "
                    f"not run (run: {_listed(sorted(reached.get(name, ())))}); use the full plan, "
                    "or declare what is to be checked"
                )
            )
    for name in network.axes:
        block = chunk.get(name) if isinstance(chunk, Mapping) else chunk
        if block is not None and max(reached[name]) <= block:
            out.append(
                _undecided(
                    f"no {name} above the chunk of {block} is declared: nothing was carried from "
                    "one chunk to the next"
                )
            )
    return out + _recurrence(network, reached)


def _recurrence(network: Network, reached: dict[str, set[int]]) -> list[Finding]:
    out = []
    for scan in network.scans:
        lags = [lag for state in scan.states for lag in state.lags]
        if scan.axis is None or not lags:
            continue
        longest = max(reached[scan.axis])
        if longest <= max(lags):
            out.append(
                _undecided(
                    f"{scan.axis} = {longest} is the longest that was run: no recurrent step"
                    + (f" at lag {max(lags)}" if max(lags) > 1 else "")
                    + f", no gradient is carried; declare {scan.axis} ≥ {max(lags) + 1}"
                )
            )
    if reached["B"] == {0}:
        out.append(_undecided("B = 0 is all that was run: no sequence; declare B ≥ 2"))
    if reached["B"] == {1}:
        out.append(
            Finding(
                "one-sequence",
                "only B = 1 was run, as declared: sums over the batch were not seen",
            )
        )
    return list(dict.fromkeys(out))


def _undecided(message: str) -> Finding:
    return Finding("not-run", message, undecided=True)


def _listed(sizes: Sequence[int]) -> str:
    shown = ", ".join(map(str, sizes[:8]))
    return shown + (f" and {len(sizes) - 8} more" if len(sizes) > 8 else "")
