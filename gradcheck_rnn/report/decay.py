"""The report of gradient decay: pictures whose captions say what is seen in them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..dynamics import figures
from ..dynamics.analysis import Analysis
from ..dynamics.decay_verdict import power_of_ten
from ..errors import UsageError
from .listing import labelled
from .manuscript import Manuscript
from .plots import drawing, new_figure, svg_of
from .typst_mathematics import plain, sentence_list

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
    between = "; " if any("," in name for name in names) else ", "
    shown = between.join(map(labelled, names[:4])) + (" …" if len(names) > 4 else "")
    title = title or f"Gradient decay: {shown}"
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
                plain(labelled(a.name)),
                plain(v.kind),
                f"${v.rate:+.4f}$",
                "–" if v.lag is None else str(v.lag),
                _power(float(a.decay.norm[-1])),
            ]
        )
    header = ("Model", "Verdict", "$lambda_1$", "from lag", "norm at the last lag")
    m.table(header, rows, align="(left, left, right, right, right)")
    with drawing(mathematics=False):
        figure, axes = new_figure(5.6, 4.0)
        ax = axes[0, 0]
        for k, a in enumerate(analyses):
            y = np.where(np.isfinite(a.decay.norm), a.decay.norm, np.nan) / math.log(10)
            style: Any = figures.STYLES[k % len(figures.STYLES)]
            colour = figures.COLOURS[k % len(figures.COLOURS)]
            ax.plot(a.decay.lags, y, color=colour, ls=style, label=labelled(a.name))
        ax.set_xlabel("lag T − t")
        ax.set_ylabel("log₁₀ ‖∂s_T/∂s_t‖₂")
        ax.grid(alpha=0.5, lw=0.6)
        ax.legend(fontsize="small")
        svg = svg_of(figure)
    last = [float(a.decay.norm[-1]) for a in analyses]
    best, worst = analyses[int(np.argmax(last))], analyses[int(np.argmin(last))]
    caption = (
        f"Norm of $partial s_T \\/ partial s_t$ against the lag. Most is left in "
        f"{plain(labelled(best.name))}, "
        f"{_power(max(last))} after {int(best.decay.lags[-1])} steps, least in "
        f"{plain(labelled(worst.name))}, "
        f"{_power(min(last))}."
    )
    m.picture(svg, "Curves of the log norm against the lag, one for each model.", caption, "84%")


def _one(m: Manuscript, a: Analysis) -> None:
    m.heading(labelled(a.name))
    m.say(f"#aside[{plain(f'Scan {a.system}, {a.size} state entries, {a.steps} steps.')}]")
    m.say(" ".join(sentence(x) for x in a.verdict.sentences))
    if a.verdict.causes:
        m.say("What causes it:")
        m.items(sentence(x) for x in a.verdict.because)
    tables: dict[Any, Callable[[Manuscript, Analysis], None]] = {
        figures.paths_figure: _shares,
        figures.spectrum_figure: _matrices,
        figures.expansion_figure: _terms,
    }
    for make, alt, caption in _pictures(a):
        with drawing(mathematics=False):
            figure = make(a)
            # The caption names the model; a title would only repeat it.
            for ax in figure.axes:
                ax.set_title("")
                for line in ax.lines:
                    # Thousands of eigenvalues would make the file large and the page slow.
                    line.set_rasterized(len(line.get_xdata()) > MOST_POINTS)
            svg = svg_of(figure)
        m.picture(svg, alt, caption, "80%")
        if make in tables:
            tables[make](m, a)
    if a.bounds.rates:
        m.heading("Bounds", 2)
        m.table(
            ("Bound on $lambda_1$", "a step", "What it says"),
            [[sentence(b.name), f"${b.rate:+.4f}$", plain(b.says)] for b in a.bounds.rates],
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
            f"Gradient against lag in {plain(labelled(a.name))}. Over the second half the logarithm "
            f"of the norm changes by ${d.slope():+.4f}$ a step, beside $lambda_1 = "
            f"{e.leading:+.4f}$. At lag {int(d.lags[-1])} the norm is {_power(float(d.norm[-1]))}; "
            "the product of the norms of single steps would allow "
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
                f"${s.radius:.3f}$, of {sentence(s.name)}"
                f"{', outside' if s.radius > 1 else ', inside'} the unit circle; its largest "
                f"singular value is ${s.norm:.3f}$.",
            )
        )
    out.append(
        (
            figures.exponents_figure,
            "The Lyapunov spectrum with error bars.",
            f"Lyapunov spectrum: {int(np.sum(e.exponents > 0))} of {len(e.exponents)} exponents "
            f"are positive. $lambda_1 = {e.leading:+.4f} plus.minus {e.errors[0]:.4f}$, a memory "
            f"horizon $1 \\/ abs(lambda_1)$ of ${e.horizons[0]:.3g}$ steps{_dimension(a)}.",
        )
    )
    if a.expansions:
        x = a.expansions[0]
        out.append(
            (
                figures.expansion_figure,
                "Error of partial sums of the parameter's total derivative.",
                "What is missing when only the most recent terms of the total derivative are "
                f"kept. For {sentence(x.parameter)}, {x.carrying()} terms carry 99 %; the "
                f"approximation by two terms is off by {100 * x.two_term_error:.2g} %.",
            )
        )
    if a.perturbation is not None:
        out.append(
            (
                figures.perturbation_figure,
                "A perturbation along the leading eigenvector, claimed and measured.",
                "A small change along the leading eigenvector of the recurrent matrix: what "
                "$lambda^t epsilon$ says, and what the network makes of it. " + _claim(a),
            )
        )
    return out


def _dimension(a: Analysis) -> str:
    e = a.exponents
    words = []
    if e.dimension is not None:
        words.append(f"Kaplan–Yorke dimension ${e.dimension:.3g}$")
    if e.entropy_rate is not None:
        words.append(f"an entropy rate of at most ${e.entropy_rate:.3g}$ nats a step")
    return f", {sentence_list(words)}" if words else ""


def _claim(a: Analysis) -> str:
    """How far the claim and the measurement are apart at the end."""
    if a.perturbation is None:
        return ""
    said, seen = (np.asarray(a.perturbation[k], dtype=float) for k in ("claimed", "measured"))
    both = np.flatnonzero(np.isfinite(said) & np.isfinite(seen))
    if len(both) < 2:
        return ""
    k = int(both[-1])
    return f"After {k} steps the one is {_power(said[k])}, the other {_power(seen[k])}."


def _at(a: Analysis, lag: int) -> float:
    d = a.decay
    return float(d.norm[int(np.argmin(np.abs(np.asarray(d.lags) - lag)))])


def _shares(m: Manuscript, a: Analysis) -> None:
    """What single paths keep, and what a gate's contribution is: the rate with and without."""
    d = a.decay
    whole, rows = d.slope(), []
    for name, curve in d.paths.items():
        rows.append([f"only through {plain(name)}", *_rate(d.lags, curve, None)])
    for name, curve in d.without.items():
        rows.append([f"without {sentence(name)}", *_rate(d.lags, curve, whole)])
    for name, curves in d.heads.items():
        for h, curve in enumerate(curves.T, 1):
            rows.append([f"within head {h} of {plain(name)}", *_rate(d.lags, curve, None)])
    rows.append(["all paths", f"${whole:+.4f}$", "", _power(float(d.norm[-1]))])
    header = ("Path", "rate a step", "its contribution", f"norm at lag {int(d.lags[-1])}")
    m.table(header, rows, "(1fr, auto, auto, auto)", "(left, right, right, right)")


def _rate(lags: Any, curve: Any, whole: float | None) -> tuple[str, str, str]:
    """Slope over the second half, what leaving the path out takes away, and the last norm."""
    kept = np.flatnonzero(np.isfinite(curve))
    last = _power(float(curve[-1]))
    half = kept[kept >= len(curve) // 2]
    if len(half) < 2 or half[-1] != len(curve) - 1:
        return ("–", "", last)
    a, b = half[0], half[-1]
    slope = float((curve[b] - curve[a]) / (lags[b] - lags[a]))
    return (f"${slope:+.4f}$", "" if whole is None else f"${whole - slope:+.4f}$", last)


def _matrices(m: Manuscript, a: Analysis) -> None:
    m.table(
        ("Matrix", "spectral radius", "$sigma_max$".replace("max", '"max"'), "non-normality"),
        [
            [sentence(s.name), f"${s.radius:.4f}$", f"${s.norm:.4f}$", f"${s.departure:.2f}$"]
            for s in a.spectra
        ],
        "(1fr, auto, auto, auto)",
        "(left, right, right, right)",
    )


def _terms(m: Manuscript, a: Analysis) -> None:
    m.table(
        ("Derivative with respect to", "terms for 99 %", "error of two terms"),
        [
            [sentence(x.parameter), str(x.carrying()), f"{100 * x.two_term_error:.2g} %"]
            for x in a.expansions
        ],
        "(1fr, auto, auto)",
        "(left, right, right)",
    )


def _paths(a: Analysis) -> str:
    d = a.decay
    text = "The gradient along single paths, and without what enters through single gates."
    finite = {k: float(c[-1]) for k, c in d.paths.items() if np.isfinite(c[-1])}
    if finite:
        name = max(finite, key=lambda k: finite[k])
        text += (
            f" Most arrives through {plain(name)} alone: {_power(finite[name])} of "
            f"{_power(float(d.norm[-1]))} at lag {int(d.lags[-1])}."
        )
    for c in a.carousels:
        if c.constant:
            text += f" Through {plain(c.state)} nothing is lost: a constant error carousel."
        else:
            text += (
                f" The direct path through {plain(c.state)} keeps ${c.mean_gate:.3g}$ a step, "
                "the mean factor in $product f_t$."
            )
    return text


def _remedies(m: Manuscript, a: Analysis) -> None:
    if not a.remedies:
        return
    m.heading("What the usual remedies do to this model", 2)
    rows = []
    for r in a.remedies:
        if r.applies:
            change = f"{r.change}; {r.note}" if r.note else r.change
            rows.append([plain(r.name), sentence(change), f"${r.rate:+.4f}$", _power(r.log_norm)])
        else:
            rows.append([plain(r.name), plain(r.note), "–", "–"])
    header = ("Remedy", "What was changed", "$lambda_1$ then", "norm then")
    at = min(a.steps // 2, 50)
    m.say(
        f"Each was applied to this model and the analysis repeated. The norm is that of the "
        f"gradient {at} steps back, without a remedy {_power(_at(a, at))}."
    )
    m.table(header, rows, "(auto, 1fr, auto, auto)", "(left, left, right, right)")
    applied = [r for r in a.remedies if r.applies and math.isfinite(r.rate)]
    if applied:
        with drawing(mathematics=False):
            figure = figures.remedies_figure(a)
            for ax in figure.axes:
                ax.set_title("")
            svg = svg_of(figure)
        best = min(applied, key=lambda r: abs(r.rate))
        caption = (
            f"$lambda_1$ as it is and after each remedy. Nearest to 0 comes {plain(best.name)}, "
            f"${best.rate:+.4f}$ instead of ${a.exponents.leading:+.4f}$. Blue bars raise it, "
            "orange ones lower it."
        )
        m.picture(svg, "Bars of the largest exponent for each remedy.", caption, "80%")


def _power(log: float) -> str:
    """e^log as typst mathematics."""
    text = power_of_ten(log)
    head, caret, exponent = text.partition("^")
    return f"${head}^({exponent})$" if caret else f"${text}$".replace("∞", "infinity")


_LETTERS = {"σ": "sigma", "ρ": "rho", "λ": "lambda", "γ": "gamma", "τ": "tau", "μ": "mu"}
_NORM = r"[‖|]?(?:∂[A-Za-z]_?\w*/∂[A-Za-z]_?\w*)[‖|]?"
_MATHS = re.compile(
    r"(?P<power>10\^-?\d+)"
    rf"|(?P<partial>{_NORM})"
    r"|(?P<norm>‖[A-Za-z]_\w‖)"
    r"|(?P<name>(?<!\w)[A-Za-zσρλγτμ]_(?:\{[^}]*\}|\w+))"
    r"|(?P<lambda>λ₁)"
    r"|(?P<number>(?<![\w.^-])[-+]\d+(?:\.\d+)?)"
)


def sentence(text: str) -> str:
    """Markup of a sentence such as ``λ₁ = -0.42: W_f decays to 10^-9``."""
    out, at = "", 0
    for found in _MATHS.finditer(text):
        out += (plain(text[at : found.start()]) if found.start() > at else "") + _set(found)
        at = found.end()
    return out + (plain(text[at:]) if text[at:] else "")


def _set(found: re.Match[str]) -> str:
    kind, text = str(found.lastgroup), found[0]
    if kind == "power":
        return f"$10^({text[3:]})$"
    if kind == "number":
        return f"${text}$"
    if kind == "lambda":
        return "$lambda_1$"
    if kind == "name":
        return f"${_name(text)}$"
    inner = text.strip("‖|")
    if kind == "norm":
        return f"$norm({_name(inner)})$"
    above, below = (_name(x.removeprefix("∂")) for x in inner.split("/"))
    whole = f"partial {above} \\/ partial {below}"
    return f"$norm({whole})$" if text != inner else f"${whole}$"


def _name(text: str) -> str:
    """``W_f`` or ``c_{t−1}`` as mathematics; words stay upright."""
    head, _, below = text.partition("_")
    head = _LETTERS.get(head, head)
    parts = re.split(r"([−+])", below.strip("{}"))
    shown = " ".join(p if len(p) == 1 else f'"{p}"' for p in parts if p)
    return f"{head}_({shown})" if shown else head
