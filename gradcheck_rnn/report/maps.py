"""Heat maps of where errors are: over the entries of an array, over time and lag."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..verify.outcome import Report
from ..verify.verdict import Row
from .manuscript import Manuscript
from .mathematics import plain, sentence_list
from .plots import drawing, new_figure, svg_of

__all__ = ["entries_map", "lag_maps"]

Array = np.ndarray[Any, Any]
#: Beyond this a picture is no longer legible.
MOST_CELLS = 4096
_PLURAL = {"entry": "entries", "row": "rows", "column": "columns"}


def entries_map(m: Manuscript, row: Row) -> None:
    """Where in an array the wrong entries are."""
    if row.ratios is None or row.ratios.size > MOST_CELLS or row.ratios.size < 2:
        return
    ratios = np.asarray(row.ratios, dtype=float)
    flat = ratios.reshape(len(ratios), -1) if ratios.ndim > 1 else ratios[None, :]
    names = {1: ("", "entry"), 2: ("row", "column")}.get(
        ratios.ndim, ("first axis (step)", "other axes, flattened")
    )
    bad = max(row.failing, int(np.sum(ratios > 1)))
    caption = (
        f"Error ÷ bound of the entries of `{row.name}`, {plain(' × '.join(map(str, row.shape)))}: {bad} of "
        f"{ratios.size} are wrong{_pattern(ratios > 1)}."
    )
    _heat(m, flat, names, caption)


def _pattern(bad: Array) -> str:
    """What the wrong entries have in common."""
    if bad.all():
        return ", all of them"
    words = []
    for axis, name in enumerate({1: ("entry",), 2: ("row", "column")}.get(bad.ndim, ())):
        others = tuple(a for a in range(bad.ndim) if a != axis)
        lines = np.flatnonzero(bad.any(axis=others))
        if len(lines) <= max(1, bad.shape[axis] // 2):
            words.append(
                f"{name if len(lines) == 1 else _PLURAL[name]} {sentence_list(str(int(i)) for i in lines)}"
            )
    return f", in {sentence_list(words)} (counted from 0)" if words else ""


def lag_maps(m: Manuscript, report: Report) -> None:
    """Errors of input gradients by step of the cotangent and lag, where cotangents were apart."""
    for name, grid in _lag_grids(report):
        wrong = np.argwhere(grid > 1)
        lags = sorted({int(k) for _, k in wrong})
        where = f"lags {lags[0]} to {lags[-1]}" if len(lags) > 1 else f"lag {lags[0]}"
        caption = (
            f"Error ÷ bound of the gradient of `{name}` by the step of the cotangent and the lag "
            f"from it: wrong at {where}. Empty cells lie before the start."
        )
        _heat(m, grid, ("step t of the cotangent", "lag"), caption)


def _lag_grids(report: Report) -> Iterator[tuple[str, Array]]:
    for comparison in report.comparisons[:2]:
        point = comparison.point
        T = max(point.lengths.values(), default=0)
        grids: dict[str, Array] = {}
        for record in comparison.records:
            if record.case.step is None:
                continue
            piece = point.fitted.pieces[record.user][0]
            ref = point.network.inputs.get(piece.name)
            if ref is None or ref.axis is None:
                continue
            ratio = record.ratio.reshape(-1)[piece.index]
            grid = grids.setdefault(record.user, np.full((T, T), np.nan))
            for t in range(min(record.case.step + 1, len(ratio))):
                lag = record.case.step - t
                grid[record.case.step, lag] = np.nanmax(ratio[t])
        yield from ((n, g) for n, g in grids.items() if np.nanmax(g) > 1)


def _heat(m: Manuscript, values: Array, names: tuple[str, str], caption: str) -> None:
    from matplotlib.colors import TwoSlopeNorm

    with drawing(), np.errstate(all="ignore"):
        rows, cols = values.shape
        figure, axes = new_figure(5.2, min(4.6, max(2.3, 1.1 + 3.6 * rows / max(rows, cols))))
        ax = axes[0, 0]
        shown = np.log10(np.clip(values, 1e-3, 1e6))
        top = max(1.0, float(np.nanmax(shown)))
        image = ax.pcolormesh(
            shown, cmap="PuOr_r", norm=TwoSlopeNorm(0.0, -3.0, top), edgecolors="face"
        )
        ax.invert_yaxis()
        ax.set_xticks(
            np.arange(cols)[:: max(1, cols // 12)] + 0.5, np.arange(cols)[:: max(1, cols // 12)]
        )
        ax.set_yticks(
            np.arange(rows)[:: max(1, rows // 8)] + 0.5, np.arange(rows)[:: max(1, rows // 8)]
        )
        ax.set_ylabel(names[0])
        ax.set_xlabel(names[1])
        bar = figure.colorbar(image, ax=ax)
        bar.set_label("log₁₀ (error ÷ bound)")
        svg = svg_of(figure)
    alt = f"Heat map of {rows} by {cols} cells; the largest is 10 to the power {top:.1f}."
    m.picture(svg, alt, caption, "72%")
