"""Losses: cells without a state, with one scalar output ``loss`` that is summed over time.

All losses take scores y (before an activation), so that softmax and logistic are not computed
twice and stay accurate when they saturate. L = Σ_t L_t is the survey's eq. (7).
"""

# Definitions are written as equations, so: untyped, and every result has a name.
# mypy: disallow-untyped-defs=False
# ruff: noqa: RET504

from __future__ import annotations

from collections.abc import Mapping

from ..errors import DefinitionError, UsageError
from ..language import cell, cross_entropy, dot, softplus, sum  # noqa: A004
from ..language.cell import Cell
from ..language.network import Network, Ref, as_network
from ..language.tracing import trace
from ._catalogue import HONG, KIM, SURVEY
from .readout import heads_readout, readout

__all__ = [
    "LOSSES",
    "ZOO",
    "given_gradient",
    "logistic_cross_entropy",
    "softmax_cross_entropy",
    "squared_error",
    "with_loss",
]


@cell(
    inputs="y: q",
    data="target: q",
    outputs="loss",
    domains={"target": "simplex"},
    source=f"{SURVEY}, eqs. (6), (7), (9)",
)
def softmax_cross_entropy(y, target):
    """Cross-entropy of softmax(y): L_t = −Σ target ⊙ log softmax(y).

    As a target sums to one, eq. (9)'s product ∂L/∂ŷ · ∂ŷ/∂y is softmax(y) − target.
    """
    loss = cross_entropy(y, target)
    return loss


@cell(
    inputs="y: q",
    data="target: q",
    outputs="loss",
    source=f"{KIM}, eq. (3)",
)
def squared_error(y, target):
    """Squared error L_t = ½ Σ (target − y)²."""
    error = target - y
    loss = 0.5 * sum(error**2)
    return loss


@cell(
    inputs="y: q",
    data="target: q",
    outputs="loss",
    domains={"target": "[0, 1]"},
    source=f"{HONG}, RNN output layer: logistic regression for binary classification",
)
def logistic_cross_entropy(y, target):
    """Binary cross-entropy of σ(y), summed over units: L_t = Σ (log(1 + exp(y)) − target ⊙ y)."""
    loss = sum(softplus(y) - target * y)
    return loss


@cell(
    inputs="y: q",
    data="target: q",
    outputs="loss",
    source=f"{SURVEY}, eq. (8): any loss enters through ∂L_t/∂y_t",
)
def given_gradient(y, target):
    """The linear loss L_t = targetᵀ y, whose gradient ∂L_t/∂y_t is the given target."""
    loss = dot(target, y)
    return loss


LOSSES: dict[str, Cell] = {
    c.name: c
    for c in (softmax_cross_entropy, squared_error, logistic_cross_entropy, given_gradient)
}


def with_loss(
    network: Network | Cell,
    loss: str | Cell = "softmax_cross_entropy",
    *,
    domains: Mapping[str, str] | None = None,
) -> Network:
    """The network with a loss on its output ``y``.

    Parameters
    ----------
    network : Network or Cell
        Not changed. If it has a loss already, a copy is given back as it is. If it has no output
        ``y``, a linear readout of dim q with parameters V, b_y is added to its first output.
    loss : str or Cell
        One of `LOSSES`, or a cell with inputs ``y``, ``target`` and the scalar output ``loss``.
    domains : mapping, optional
        Where the loss's data lie, in place of what it declares: ``{"target": "one-hot"}`` for
        classes, ``{"target": "0/1"}`` for bits.

    Returns
    -------
    Network
        With an input ``target``: one vector a step, or one a sequence if the output is one.
        Where the network has a name already, those of the readout get the suffix ``_out`` and
        those of the loss ``_loss``.

    Raises
    ------
    UsageError
        No loss of that name.
    DefinitionError
        The network has no output.
    """
    if isinstance(loss, str) and loss not in LOSSES:
        raise UsageError(f"unknown loss {loss!r}; there are {', '.join(LOSSES)}")
    definition = LOSSES[loss] if isinstance(loss, str) else loss
    whole = as_network(network).copy()
    if whole.loss_terms:
        return whole
    y = whole.outputs.get("y")
    if y is None:
        y = _read(whole)
    suffix = _suffix(whole, definition, "y", "_loss")
    scan = whole.scan(definition, axis=y.axis, suffix=suffix, domains=domains, y=y)
    whole.loss(scan.loss)
    return whole


def _suffix(network: Network, definition: Cell, bound: str, wanted: str) -> str:
    """A suffix with which a cell's names, but for what is bound, are free in a network."""
    own = {*definition.shapes, *(e.name for e in trace(definition).equations)} - {bound}
    taken = network.taken_names
    titles = {s.name for s in network.scans}
    suffix, count = "", 1
    while definition.name + suffix in titles or any(n + suffix in taken for n in own):
        suffix = wanted if count == 1 else f"{wanted}{count}"
        count += 1
    return suffix


def _read(network: Network) -> Ref:
    vectors = [r for r in network.outputs.values() if r.shape.column]
    vectors.sort(key=lambda r: r.shape.headed)
    first = next((r for r in vectors if r.kind != "final"), vectors[0] if vectors else None)
    if first is None:
        what = "vector among its outputs" if network.outputs else "output"
        raise DefinitionError(f"network {network.name!r} has no {what} to put a loss on")
    definition = heads_readout if first.shape.headed else readout
    suffix = _suffix(network, definition, "h", "_out")
    y = network.scan(definition, axis=first.axis, suffix=suffix, h=first).y
    network.output(y)
    return y


ZOO = tuple(LOSSES.values())
