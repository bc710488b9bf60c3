"""Pairs whose outputs have no entry, as for no step or no sequence: every gradient is zero."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .pairs import Pair
from .trees import match_gradient
from .verdict import Finding, Row, Verdict

__all__ = ["rows_of_nothing"]

Array = NDArray[Any]


def rows_of_nothing(pair: Pair, inputs: Iterable[int]) -> list[Row]:
    """A row for each of these inputs: what backward gives for cotangents without an entry.

    Raises
    ------
    UsageError, DimensionError
        A gradient is missing or of another shape than its input.
    """
    tree, outs = pair.tree, pair.outs
    given = {k: y for k, y in enumerate(outs.leaves) if y.dtype.kind == "f"}
    raw = {tree.names[i]: g for i, g in pair.pull(tree.leaves, given).items()}
    found = match_gradient(raw, tree, list(inputs))
    whose = outs.names[0] if len(outs.names) == 1 else "outputs"
    return [_row(whose, tree.names[i], np.asarray(g, np.float64)) for i, g in found.items()]


def _row(whose: str, name: str, gradient: Array) -> Row:
    wrong = gradient != 0  # NaN is not zero
    at = int(np.argmax(np.nan_to_num(np.abs(gradient), nan=np.inf)))
    bad = int(np.sum(wrong))
    reason = Finding("empty", "the outputs have no entry, so that nothing depends on it")
    return Row(
        f"{whose} -> {name}", gradient.shape,
        Verdict.FAIL if bad else Verdict.PASS, float("inf") if bad else 0.0,
        str([int(i) for i in np.unravel_index(at, gradient.shape)]),
        float(gradient.reshape(-1)[at]), 0.0, 0.0, 0.0,
        failing=bad, entries=gradient.size, source=name, reasons=(reason,) if bad else (),
    )  # fmt: skip
