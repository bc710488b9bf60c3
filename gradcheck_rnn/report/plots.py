"""Pictures for paper and screen: one SVG that follows the reader's light or dark mode.

Colours are those of Okabe & Ito 2008; in dark mode the darker of them give way to lighter ones of
the same family. Text stays text, so that it is set in the document's own type.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["BLUE", "GREEN", "INK", "ORANGE", "drawing", "new_figure", "svg_of"]

INK, GRID = "#1b1f24", "#b9bfc6"
BLUE, ORANGE, GREEN, PURPLE = "#0072b2", "#d55e00", "#009e73", "#cc79a7"
#: On dark paper: what is too dark there, and what takes its place.
DARK = {
    INK: "#e4e6e8",
    "#000000": "#e4e6e8",
    BLUE: "#6db8ec",
    ORANGE: "#ff9550",
    GREEN: "#39d0a2",
    PURPLE: "#e6a3cb",
    GRID: "#4a5058",
    "#7f7f7f": "#8d949c",
    "#808080": "#8d949c",
    "#bfbfbf": "#5d646c",
    "#b0b0b0": "#4a5058",
    "#cccccc": "#4a5058",
    "#ffffff": "#16181b",
}
FAMILY = "Libertinus Serif"
_RC = {
    "svg.fonttype": "none",
    "svg.hashsalt": "gradcheck_rnn",
    "font.family": "serif",
    "font.size": 12,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": GRID,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "mathtext.fontset": "dejavuserif",
}


@contextmanager
def drawing(*, mathematics: bool = True) -> Iterator[None]:
    """Our settings of matplotlib, for as long as something is drawn.

    Parameters
    ----------
    mathematics : bool
        Whether dollars set mathematics; not where labels are names of files. Logarithmic axes need
        it for their numbers.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise UsageError("pictures need matplotlib: pip install 'gradcheck-rnn[report]'") from error
    with matplotlib.rc_context({**_RC, "text.parse_math": mathematics}):
        yield


def new_figure(width: float = 5.6, height: float = 3.5, rows: int = 1, cols: int = 1) -> Any:
    """A figure and its axes, an array of ``(rows, cols)``; call within `drawing`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, cols, squeeze=False)


def svg_of(figure: Figure) -> str:
    """The figure as SVG with a dark mode; call within `drawing`."""
    held = io.StringIO()
    figure.savefig(held, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    return in_both_modes(held.getvalue())


def in_both_modes(svg: str) -> str:
    """Text in the document's type, and colours that follow the reader's mode."""
    svg = svg[svg.index("<svg") :]
    # A hundredth of a point is finer than any screen; longer numbers are most of a curve's size.
    svg = re.sub(r"(\d\.\d\d)\d+", r"\1", svg)
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.S)
    svg = re.sub(r"'DejaVu Serif'[^\";]*(?=[\";])", f"'{FAMILY}', Georgia, serif", svg)
    rules = []
    for light, dark in DARK.items():
        if light not in svg:
            continue
        for what in ("fill", "stroke"):
            rules.append(
                f'[style*="{what}: {light}"],[{what}="{light}"]{{{what}:{dark} !important}}'
            )
    media = f"@media (prefers-color-scheme:dark){{{''.join(rules)}}}"
    # Text has no colour of its own in matplotlib's SVG where it is black.
    return re.sub(r"(<svg[^>]*>)", rf"\1<style>{media}</style>", svg, count=1)
