"""Pictures of gradient decay: matplotlib figures, colour-blind safe, told apart by line style too.

Colours are those of Okabe & Ito 2008. Norms are drawn as powers of ten of the lag.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UsageError
from .analysis import Analysis

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "comparison_figure",
    "decay_figure",
    "expansion_figure",
    "exponents_figure",
    "overview",
    "paths_figure",
    "perturbation_figure",
    "remedies_figure",
    "spectrum_figure",
]

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)), (0, (1, 1)))
LN10 = math.log(10)


def _axes(rows: int = 1, cols: int = 1) -> tuple[Figure, Any]:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UsageError("pictures need matplotlib: pip install 'gradcheck-rnn[report]'") from error
    figure = Figure(figsize=(5.6 * cols, 3.8 * rows), layout="constrained")
    return figure, figure.subplots(rows, cols, squeeze=False)


def _line(ax: Axes, k: int, x: Any, y: Any, label: str, **more: Any) -> None:
    y = np.where(np.isfinite(y), y, np.nan) / LN10
    style: Any = STYLES[k % len(STYLES)]
    ax.plot(x, y, color=COLOURS[k % len(COLOURS)], linestyle=style, label=label, **more)


def _finish(ax: Axes, title: str, x: str = "lag T − t", y: str = "log₁₀ norm") -> None:
    ax.set_title(title, fontsize="medium")
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    ax.grid(alpha=0.3)
    if ax.get_legend_handles_labels()[0]:
        ax.legend(fontsize="small", framealpha=0.8)


def draw_decay(ax: Axes, a: Analysis) -> None:
    """Measured decay between its bounds, with the slope λ₁."""
    d = a.decay
    _line(ax, 0, d.lags, d.norm, "‖∂s_T/∂s_t‖₂", linewidth=2)
    _line(ax, 1, d.lags, d.adjoint, "‖∂L_T/∂s_t‖₂")
    _line(ax, 2, d.lags, d.smallest, "σ_min(∂s_T/∂s_t)")
    _line(ax, 4, a.bounds.lags, a.bounds.per_step, "bound ∏ ‖J_t‖₂")
    _line(ax, 6, d.lags, a.exponents.leading * d.lags, "slope λ₁", linewidth=1)
    floor = float(np.nanmin(np.where(np.isfinite(d.norm), d.norm, np.nan)) / LN10)
    ax.set_ylim(bottom=min(2.2 * floor, -4.0), top=max(2.0, float(d.norm.max() / LN10) + 4.0))
    _finish(ax, f"{a.name}: gradient against lag")


def draw_paths(ax: Axes, a: Analysis) -> None:
    """Each path alone, and the whole without each gate."""
    d = a.decay
    k = 0
    for title, curve in d.paths.items():
        shown = np.isfinite(curve)
        _line(ax, k, d.lags[shown], curve[shown], f"only through {title}")
        k += 1
    for gate, curve in d.without.items():
        _line(ax, k, d.lags, curve, f"without {gate}", linewidth=1)
        k += 1
    _line(ax, 6, d.lags, d.norm, "all paths", linewidth=2)
    _finish(ax, f"{a.name}: paths and gates")


def draw_spectrum(ax: Axes, a: Analysis) -> None:
    """Eigenvalues of the recurrent matrices and of J_t with the unit circle."""
    angle = np.linspace(0, 2 * np.pi, 200)
    ax.plot(np.cos(angle), np.sin(angle), color="0.5", linewidth=1)
    values = a.jacobians.eigenvalues.ravel()
    ax.plot(values.real, values.imag, ".", color="0.75", markersize=2, label="J_t", zorder=1)
    for k, (s, mark) in enumerate(zip(a.spectra, "ox^sDvP" * 9, strict=False)):
        e = s.eigenvalues
        colour = COLOURS[k % len(COLOURS)]
        label = f"{s.name}, ρ = {s.radius:.2f}"
        ax.plot(e.real, e.imag, mark, color=colour, markersize=4, label=label, fillstyle="none")
    ax.set_aspect("equal", adjustable="datalim")
    _finish(ax, f"{a.name}: eigenvalues", "real part", "imaginary part")
    # Beside the plane, where no eigenvalue is.
    ax.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5), borderaxespad=0.5)


def draw_exponents(ax: Axes, a: Analysis) -> None:
    """The Lyapunov spectrum with its standard errors."""
    e = a.exponents
    shown = np.isfinite(e.exponents)
    index = np.arange(1, len(e.exponents) + 1)
    ax.errorbar(
        index[shown], e.exponents[shown], e.errors[shown], fmt=".", color=COLOURS[0], capsize=2
    )
    ax.axhline(0.0, color="0.5", linewidth=1)
    title = f"{a.name}: λ₁ = {e.leading:+.4f}"
    if e.dimension is not None:
        title += f", Kaplan–Yorke dimension {e.dimension:.3g}"
    _finish(ax, title, "index i", "exponent λ_i (nats a step)")


def draw_expansion(ax: Axes, a: Analysis) -> None:
    """Error of the first k terms of ∂s_T/∂W."""
    for k, e in enumerate(a.expansions):
        with np.errstate(divide="ignore"):
            curve = np.log(e.error)
        label = f"{e.parameter}: 99 % by {e.carrying()} terms"
        _line(ax, k, np.arange(len(curve)), curve, label)
    ax.axhline(-2.0, color="0.5", linewidth=1, label="1 %")
    _finish(ax, f"{a.name}: terms of ∂s_T/∂W", "terms kept", "log₁₀ relative error")


def draw_perturbation(ax: Axes, a: Analysis) -> None:
    """The λᵗε picture: what the survey's eq. (24) says, and what happens."""
    if a.perturbation is not None:
        for k, (key, label) in enumerate((("claimed", "λᵗε"), ("measured", "measured"))):
            curve = a.perturbation[key]
            _line(ax, k, np.arange(len(curve)), curve, label)
    _finish(ax, f"{a.name}: a change ε along the leading eigenvector", "step t", "log₁₀ |change|")


def draw_remedies(ax: Axes, a: Analysis) -> None:
    """λ₁ before and after every remedy."""
    shown = [r for r in a.remedies if r.applies and math.isfinite(r.rate)]
    names = ["as it is", *(r.name for r in shown)]
    rates = [a.exponents.leading, *(r.rate for r in shown)]
    colours = ["#7f7f7f"] + [COLOURS[0] if r >= rates[0] else COLOURS[1] for r in rates[1:]]
    place = np.arange(len(names))[::-1]
    ax.barh(place, np.where(np.isfinite(rates), rates, 0.0), color=colours)
    ax.set_yticks(place, names)
    ax.axvline(0.0, color="0.5", linewidth=1)
    _finish(ax, f"{a.name}: what the remedies do", "λ₁ (nats a step)", "")


def _one(draw: Any, a: Analysis) -> Figure:
    figure, ax = _axes()
    draw(ax[0, 0], a)
    return figure


def decay_figure(a: Analysis) -> Figure:
    """Gradient against lag between its bounds."""
    return _one(draw_decay, a)


def paths_figure(a: Analysis) -> Figure:
    """Single paths and gates."""
    return _one(draw_paths, a)


def spectrum_figure(a: Analysis) -> Figure:
    """Eigenvalues and the unit circle."""
    return _one(draw_spectrum, a)


def exponents_figure(a: Analysis) -> Figure:
    """The Lyapunov spectrum."""
    return _one(draw_exponents, a)


def expansion_figure(a: Analysis) -> Figure:
    """The error of partial sums of ∂s_T/∂W."""
    return _one(draw_expansion, a)


def perturbation_figure(a: Analysis) -> Figure:
    """λᵗε, claimed and measured."""
    return _one(draw_perturbation, a)


def remedies_figure(a: Analysis) -> Figure:
    """λ₁ before and after each remedy."""
    return _one(draw_remedies, a)


def comparison_figure(analyses: Sequence[Analysis]) -> Figure:
    """‖∂s_T/∂s_t‖ and ‖∂L_T/∂s_t‖ of several models against the lag."""
    figure, ax = _axes(1, 2)
    for k, a in enumerate(analyses):
        label = f"{a.name}: λ₁ = {a.exponents.leading:+.3f}"
        _line(ax[0, 0], k, a.decay.lags, a.decay.norm, label)
        _line(ax[0, 1], k, a.decay.lags, a.decay.adjoint, a.name)
    _finish(ax[0, 0], "‖∂s_T/∂s_t‖₂ against lag")
    _finish(ax[0, 1], "‖∂L_T/∂s_t‖₂ against lag")
    return figure


def overview(analyses: Sequence[Analysis]) -> Figure:
    """One page: a model in six panels, or the comparison of several."""
    if len(analyses) != 1:
        return comparison_figure(analyses)
    figure, ax = _axes(3, 2)
    a = analyses[0]
    drawers = (draw_decay, draw_paths, draw_spectrum, draw_exponents, draw_expansion)
    last = draw_remedies if a.remedies else draw_perturbation
    for place, draw in zip(ax.flat, (*drawers, last), strict=True):
        draw(place, a)
    return figure
