"""From rows of single time steps to a sentence: at which lags or steps a gradient is wrong.

A row ``h at step 3 -> x`` says how h_3 depends on every x_t; its entries at t are 3 - t steps back.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .trees import Tree
from .verdict import EntryState, Finding, Row

__all__ = ["wrong_lags"]


def wrong_lags(rows: Sequence[Row], tree: Tree, axis: int) -> list[Finding]:
    """One finding an output and input of equally many steps, where only some lags are wrong.

    Parameters
    ----------
    rows
        Of a vector-Jacobian check; others than of single steps are passed over.
    tree
        The inputs.
    axis
        The axis of time, of outputs and inputs alike.
    """
    leaves = dict(zip(tree.names, tree.leaves, strict=True))
    found: dict[tuple[str, str], dict[int, Row]] = {}
    for row in rows:
        if row.step and row.states is not None:
            found.setdefault((row.output, row.source), {})[row.step - 1] = row
    said = []
    for (output, name), by_step in found.items():
        leaf, steps = leaves[name], len(by_step)
        if leaf.ndim <= axis or leaf.shape[axis] != steps:
            continue
        wrong, looked = set(), set()
        for at, row in by_step.items():
            states = np.moveaxis(np.asarray(row.states), axis, 0).reshape(steps, -1)
            for t in range(steps):
                if np.any(states[t] == EntryState.FAIL):
                    wrong.add((at, t))
                if np.any(states[t] != EntryState.UNPROBED):
                    looked.add((at, t))
        sentence = _sentence(wrong, looked)
        if sentence:
            said.append(Finding("lags", f"the gradient of '{name}' from '{output}' {sentence}"))
    return said


def _sentence(wrong: set[tuple[int, int]], looked: set[tuple[int, int]]) -> str:
    """What the wrong pairs (step of the output, step of the input) have in common, or nothing."""
    if not wrong:
        return ""
    lags, right = ({at - t for at, t in pairs} for pairs in (wrong, looked - wrong))
    if not lags & right:
        shortest, longest = min(lags), max(at - t for at, t in looked)
        plural = "s" if shortest != 1 else ""
        if len(lags) == 1:
            return f"is wrong {shortest} step{plural} back only"
        if shortest > 0 and lags == set(range(shortest, longest + 1)):
            return f"is wrong {shortest} step{plural} back and more, right before"
    for s in {at for at, _ in looked}:
        if wrong == {(at, t) for at, t in looked if t < s <= at}:
            return f"is wrong wherever it goes back from step {s + 1} to step {s}"
    for which, who in ((1, "to"), (0, "from")):
        steps = {pair[which] for pair in wrong}
        if len(steps) == 1:
            return f"is wrong {who} step {steps.pop() + 1} only"
    return ""
