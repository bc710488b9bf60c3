"""How many operations of a network follow one another: what rounding errors add up along."""

from __future__ import annotations

from collections.abc import Mapping

from .network import Network
from .scans import Scan
from .values import Expr

__all__ = ["depth"]


def depth(network: Network, lengths: Mapping[str, int]) -> int:
    """An upper bound on the operations in a row, from what a network is given to its results.

    Parameters
    ----------
    lengths : mapping
        Time axis → steps.

    Returns
    -------
    int
        The longest chain within a step of each scan, times its steps, summed over the scans.
    """
    return sum(_of_step(scan) * lengths.get(scan.axis or "", 1) for scan in network.scans)


def _of_step(scan: Scan) -> int:
    """The longest chain of operations within one step."""
    named: dict[str, int] = {}
    for equation in scan.equations:
        named[equation.name] = _of_term(equation.rhs, named)
    return max(named.values(), default=0)


def _of_term(root: Expr, named: Mapping[str, int]) -> int:
    if not root.args:
        symbol = root.data.get("symbol")
        return named.get(symbol.name, 0) if symbol is not None and symbol.lag == 0 else 0
    return 1 + max(_of_term(a, named) for a in root.args)
