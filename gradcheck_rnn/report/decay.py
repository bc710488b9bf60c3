"""The report of gradient decay: pictures whose captions say what is seen in them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..dynamics import figures
from ..dynamics.analysis import Analysis
from ..dynamics.verdict import power_of_ten
from ..errors import UsageError
from .manuscript import Manuscript
from .mathematics import plain
from .plots import drawing, new_figure, svg_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["decay_report"]

MOST_POINTS = 1000


def decay_report(analyses: Sequence[Analysis], title: str = "") -> Manuscript:
    """Write the report of one or several analyses.

    Parameters
    ----------
    analyses : sequence of Analysis
        From `api.decay`; several are compared first.
    title : str
        The models' names when left out.

    Raises
    ------
    UsageError
        There is no analysis.
    """
    if not analyses:
        raise UsageError("there is no recurrence to report on")
    names = list(dict.fromkeys(a.name for a in analyses))
    title = title or f"Gradient decay: {', '.join(names[:4])}{' …' if len(names) > 4 else ''}"
    m = Manuscript(title, description="Where the gradient of a recurrent network goes.")
    m.say(
        "How much of the loss's gradient reaches a state $k$ steps back is decided by the product "
        "of $k$ transition Jacobians, $partial s_T \\/ partial s_(T-k)$. Its norm grows or falls, "
        "in the long run, like $e^(lambda_1 k)$ with the largest Lyapunov exponent $lambda_1$. "
        "All products here are those of the derived Jacobians along one trajectory, accumulated "
        "in log scale."
    )
    if len(analyses) > 1:
        _comparison(m, analyses)
    for a in analyses:
        _one(m, a)
    return m


def _comparison(m: Manuscript, analyses: Sequence[Analysis]) -> None:
    m.heading("Comparison")
    rows = []
    for a in analyses:
        v = a.verdict
        rows.append(
            [
                plain(a.name),
                plain(v.kind),
                f"${v.rate:+.4f}$",
                "–" if v.lag is None else str(v.lag),
                _power(float(a.decay.norm[-1])),
            ]
        )
    header = ("Model", "Verdict", "$lambda_1$", "from lag", "norm at the last lag")
    m.table(header, rows, align="(left, left, right, right, right)")
    with drawing():
        figure, axes = new_figure(5.6, 4.0)
        ax = axes[0, 0]
        for k, a in enumerate(analyses):
            y = np.where(np.isfinite(a.decay.norm), a.decay.norm, np.nan) / math.log(10)
            style: Any = figures.STYLES[k % len(figures.STYLES)]
            colour = figures.COLOURS[k % len(figures.COLOURS)]
            ax.plot(a.decay.lags, y, color=colour, ls=style, label=a.name)
        ax.set_xlabel("lag T − t")
        ax.set_ylabel("log₁₀ ‖∂s_T/∂s_t‖₂")
        ax.grid(alpha=0.5, lw=0.6)
        ax.legend(fontsize="small")
        svg = svg_of(figure)
    last = [float(a.decay.norm[-1]) for a in analyses]
    best, worst = analyses[int(np.argmax(last))], analyses[int(np.argmin(last))]
    caption = (
        f"Norm of $partial s_T \\/ partial s_t$ against the lag. Most is left in "
        f"{plain(best.name)}, "
        f"{_power(max(last))} after {int(best.decay.lags[-1])} steps, least in "
        f"{plain(worst.name)}, "
        f"{_power(min(last))}."
    )
    m.picture(svg, "Curves of the log norm against the lag, one for each model.", caption, "84%")


def _one(m: Manuscript, a: Analysis) -> None:
    m.heading(a.name)
    m.say(f"#aside[{plain(f'{a.system}, {a.size} state entries, {a.steps} steps.')}]")
    m.say(plain(" ".join(a.verdict.sentences)))
    for make, alt, caption in _pictures(a):
        with drawing():
            figure = make(a)
            # The caption names the model; a title would only repeat it.
            for ax in figure.axes:
                ax.set_title("")
                for line in ax.lines:
                    # Thousands of eigenvalues would make the file large and the page slow.
                    line.set_rasterized(len(line.get_xdata()) > MOST_POINTS)
            svg = svg_of(figure)
        m.picture(svg, alt, caption, "80%")
    if a.bounds.rates:
        m.heading("Bounds", 2)
        m.table(
            ("Bound on $lambda_1$", "a step", "What it says"),
            [[plain(b.name), f"${b.rate:+.4f}$", plain(b.says)] for b in a.bounds.rates],
            "(auto, auto, 1fr)",
            "(left, right, left)",
        )
    _remedies(m, a)


def _pictures(a: Analysis) -> list[tuple[Callable[[Analysis], Figure], str, str]]:
    d, e = a.decay, a.exponents
    out: list[tuple[Callable[[Analysis], Figure], str, str]] = [
        (
            figures.decay_figure,
            "Log norms against the lag, with their bounds.",
            f"Gradient against lag in {plain(a.name)}. The norm falls or grows by "
            f"${d.slope():+.4f}$ a step over the second half, beside $lambda_1 = "
            f"{e.leading:+.4f}$; at lag {int(d.lags[-1])} it is {_power(float(d.norm[-1]))}, and "
            "the product of norms of single steps would allow "
            f"{_power(float(a.bounds.per_step[-1]))}.",
        )
    ]
    if d.paths or d.without:
        out.append((figures.paths_figure, "Log norms of single paths against the lag.", _paths(a)))
    if a.spectra:
        s = max(a.spectra, key=lambda x: x.radius)
        out.append(
            (
                figures.spectrum_figure,
                "Eigenvalues in the complex plane with the unit circle.",
                f"Eigenvalues of the recurrent matrices, and in grey those of the transition "
                f"Jacobian along the trajectory. The largest spectral radius is "
                f"${s.radius:.3f}$, of "
                f"{plain(s.name)}, whose largest singular value is ${s.norm:.3f}$.",
            )
        )
    out.append(
        (
            figures.exponents_figure,
            "The Lyapunov spectrum with error bars.",
            f"Lyapunov spectrum: {int(np.sum(e.exponents > 0))} of {len(e.exponents)} exponents "
            f"are positive; $lambda_1 = {e.leading:+.4f}$, a memory of ${e.horizons[0]:.3g}$ "
            "steps.",
        )
    )
    if a.expansions:
        x = a.expansions[0]
        out.append(
            (
                figures.expansion_figure,
                "Error of partial sums of the parameter's total derivative.",
                "What is missing when only the most recent terms of the total derivative are "
                f"kept: for {plain(x.parameter)}, {x.carrying()} terms carry 99 %; two terms are "
                f"off by {100 * x.two_term_error:.2g} %.",
            )
        )
    if a.perturbation is not None:
        out.append(
            (
                figures.perturbation_figure,
                "A perturbation along the leading eigenvector, claimed and measured.",
                "A small change along the leading eigenvector of the recurrent matrix: what "
                "$lambda^t epsilon$ says, and what the network makes of it.",
            )
        )
    return out


def _paths(a: Analysis) -> str:
    d = a.decay
    text = "The gradient along single paths, and without what enters through single gates."
    finite = {k: float(c[-1]) for k, c in d.paths.items() if np.isfinite(c[-1])}
    if finite:
        name = max(finite, key=lambda k: finite[k])
        text += (
            f" Most arrives through {plain(name)}, {_power(finite[name])} of "
            f"{_power(float(d.norm[-1]))} at the last lag."
        )
    for c in a.carousels:
        if c.constant:
            text += f" Through {plain(c.state)} nothing is lost: a constant error carousel."
        else:
            text += f" The direct path through {plain(c.state)} keeps ${c.mean_gate:.3g}$ a step."
    return text


def _remedies(m: Manuscript, a: Analysis) -> None:
    if not a.remedies:
        return
    m.heading("What the usual remedies do to this model", 2)
    rows = []
    for r in a.remedies:
        if r.applies:
            change = f"{r.change}; {r.note}" if r.note else r.change
            rows.append([plain(r.name), plain(change), f"${r.rate:+.4f}$", _power(r.log_norm)])
        else:
            rows.append([plain(r.name), plain(r.note), "–", "–"])
    header = ("Remedy", "What was changed", "$lambda_1$ then", "norm then")
    m.table(header, rows, "(auto, 1fr, auto, auto)", "(left, left, right, right)")
    applied = [r for r in a.remedies if r.applies and math.isfinite(r.rate)]
    if applied:
        with drawing():
            figure = figures.remedies_figure(a)
            for ax in figure.axes:
                ax.set_title("")
            svg = svg_of(figure)
        best = min(applied, key=lambda r: abs(r.rate))
        caption = (
            f"$lambda_1$ as it is and after each remedy. Nearest to 0 comes {plain(best.name)}, "
            f"${best.rate:+.4f}$ instead of ${a.exponents.leading:+.4f}$."
        )
        m.picture(svg, "Bars of the largest exponent for each remedy.", caption, "80%")


def _power(log: float) -> str:
    """e^log as typst mathematics."""
    text = power_of_ten(log)
    head, caret, exponent = text.partition("^")
    return f"${head}^({exponent})$" if caret else f"${text}$".replace("∞", "infinity")
