"""What stands behind the derivation: proof, difference quotients, verified kernel, listing."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...derivation import Derivation
from ...derivation.evaluate import Run, bptt
from ...derivation.proof import ProofResult
from ...language.numeric import holding_frozen, recording_frozen
from ...language.running import run
from ...streams import Stream, generator
from ...verify.kernel_check import parts_of
from ...verify.outcome import Report
from ...verify.points import draw_point
from ..manuscript import Manuscript
from ..plots import BLUE, GREEN, INK, ORANGE, drawing, new_figure, svg_of
from ..typst_mathematics import plain

__all__ = [
    "ErrorLadder",
    "differences",
    "kernel",
    "ladder",
    "plain_ticks",
    "power",
    "proof",
    "verdicts",
]

Array = np.ndarray[Any, Any]


def proof(m: Manuscript, result: ProofResult) -> None:
    """Add what was proved, in which setting and with which probability of error."""
    m.heading("Proof")
    sizes = ", ".join(
        f"${_letter(n)} = {k}$" for n, k in {**result.sizes, **result.lengths}.items()
    )
    count = f"{result.entries:,}".replace(",", "#h(0.16em)")
    outcome = "All are equal" if result.proved else f"*{len(result.mismatches)} differ*"
    m.say(
        "A second derivation that shares nothing with the one above but the definition checks it: "
        "the unrolled network is written out in scalars, every scalar operation is differentiated "
        "by itself, and the chain rule is applied to the list. Its derivatives are then compared "
        f"with the programs above, entry by entry, in exact arithmetic, at {sizes}. {outcome}: "
        f"{count} comparisons."
    )
    forms: dict[str, list[int]] = {}
    for g in result.groups:
        held = forms.setdefault(g.form, [0, 0])
        held[0] += g.entries
        held[1] += len(g.mismatches)
    m.table(
        ("Compared", "Entries", "Different"),
        ([plain(f), str(n), str(bad)] for f, (n, bad) in forms.items()),
        "(1fr, auto, auto)",
        "(left, right, right)",
    )
    m.say(
        "Equality is decided by evaluating both sides at a random point of the prime field with "
        "$2^127 - 1$ elements, every value of an elementary function being an independent "
        "generator. By the bound of Schwartz and Zippel two different entries agree there with a "
        f"probability below $2^(-{result.bits})$, and all {count} comparisons together are wrong "
        f"with a probability below $2^(-{result.total_bits})$."
    )
    if result.mismatches:
        shown = "; ".join(result.mismatches[:6])
        m.say("#remark[" + plain(f"Different: {shown}.") + "]")
    if result.frozen:
        m.say(
            "#remark[The definition freezes values (a stopped gradient). What is proved is, by "
            "intent, not the derivative of the loss as run.]"
        )


def _letter(name: str) -> str:
    return name if len(name) == 1 else f'"{name}"'


@dataclass(frozen=True)
class ErrorLadder:
    """Errors of difference quotients along one random direction.

    Attributes
    ----------
    steps : array (n,)
        Step sizes, falling.
    forward, central : array (n,)
        Absolute errors against the derived directional derivative, relative to its size.
    roundoff : float
        Relative roundoff of the loss: ε |L| ÷ |derivative|.
    complex_step : float or None
        Relative error of the complex step at h = 10⁻³⁰, where definitions take complex numbers.
    """

    steps: Array
    forward: Array
    central: Array
    roundoff: float
    complex_step: float | None
    slope: float


def ladder(derivation: Derivation, seed: int = 1) -> ErrorLadder:
    """Difference quotients of the definition at many steps beside the derived gradient.

    Parameters
    ----------
    derivation : Derivation
        Of any network; its definition is run, not its equations.
    seed : int
        Of the point and the direction.
    """
    network = derivation.network
    point = draw_point(network, seed)
    columns = point.columns(point.values)
    rng = generator(seed, Stream.EVIDENCE)
    with recording_frozen() as tape:
        base = run(network, columns, point.lengths)
    weights = (
        {} if network.loss_terms else {n: rng.standard_normal(np.shape(a)) for n, a in base.items()}
    )

    def loss(values: dict[str, Array]) -> Any:
        with holding_frozen(tape):
            made = run(network, values, point.lengths)
        if network.loss_terms:
            return np.sum(made["loss"])
        return sum(np.sum(w * made[n]) for n, w in weights.items())

    names = [n for n in point.values if n in point.differentiated]
    direction = {n: rng.standard_normal(columns[n].shape) for n in names}
    gradient = bptt(Run(derivation, columns, point.sizes, point.lengths), weights)
    slope = float(sum(np.sum(gradient[n] * direction[n]) for n in names))

    def at(h: Any) -> Any:
        return loss({n: a + h * direction[n] if n in direction else a for n, a in columns.items()})

    steps = 10.0 ** np.arange(-0.5, -13.01, -0.25)
    here = float(at(0.0))
    with np.errstate(all="ignore"):
        plus = np.array([float(at(h)) for h in steps])
        minus = np.array([float(at(-h)) for h in steps])
    # Long steps may lead out of where the definition has a value.
    inside = np.isfinite(plus) & np.isfinite(minus)
    steps, plus, minus = steps[inside], plus[inside], minus[inside]
    scale = abs(slope) or 1.0
    roundoff = float(np.finfo(np.float64).eps) * max(abs(here), 1e-300) / scale
    try:
        with np.errstate(all="ignore"):
            imaginary = float(np.imag(at(1e-30j))) / 1e-30
        exact: float | None = abs(imaginary - slope) / scale
    except (TypeError, ValueError, ArithmeticError):
        exact = None
    return ErrorLadder(
        steps,
        np.abs((plus - here) / steps - slope) / scale,
        np.abs((plus - minus) / (2 * steps) - slope) / scale,
        roundoff,
        exact if exact is not None and exact < 1e-6 else None,
        slope,
    )


def differences(m: Manuscript, derivation: Derivation, reports: Sequence[Report]) -> None:
    """Add the picture of errors against step sizes, and the table of the verification."""
    m.heading("Evidence from finite differences")
    found = ladder(derivation)
    m.say(
        "Differences know nothing of derivations. At a random point we move all parameters, inputs "
        "and starts along one random direction and compare the difference quotient of the "
        f"definition, run in double precision, with the derived directional derivative, "
        f"${power(found.slope)}$."
    )
    best = int(np.argmin(found.central))
    caption = (
        "Relative error of difference quotients against the step $h$. A right gradient shows two "
        "straight stretches: the truncation error falls with $h$ for forward and with $h^2$ for "
        "central differences, until the roundoff of the loss, divided by $h$, takes over. A wrong "
        f"gradient would show a floor instead. The best central difference, at "
        f"$h = {power(float(found.steps[best]))}$, is off by "
        f"${power(float(found.central[best]))}$."
    )
    if found.complex_step is not None:
        size = found.complex_step
        caption += " The complex step, which has no cancellation, agrees " + (
            "exactly." if size == 0 else f"to ${power(size)}$."
        )
    m.picture(_plot(found), _alt(found), caption, "78%")
    if reports:
        every = all(r.mode != "directional" for r in reports)
        m.say(
            "One direction is a picture, not a verdict. The verification perturbs "
            + ("every entry" if every else "each array along many random directions")
            + ", compares the generated kernel with extrapolated differences of the definition, and "
            "judges each error by a bound made of truncation, roundoff and the measured noise of "
            "the loss. An error ÷ bound below 1 passes."
        )
        verdicts(m, reports)
        missing = len(parts_of(derivation.network)) - len(reports)
        if missing > 0:
            m.say(
                f"#aside[{missing} further checks of this large network are left to "
                f"`gradcheck-rnn verify {derivation.network.name}`.]"
            )


def verdicts(m: Manuscript, reports: Sequence[Report]) -> None:
    """A table with a line for every check and the worst of its arrays."""
    rows = []
    for report in reports:
        if not report.rows:  # the case crashed, or took too long; the finding says which
            rows.append([plain(report.title), "0", "–", "–", plain(str(report.verdict))])
            continue
        worst = max(report.rows, key=lambda r: r.ratio if np.isfinite(r.ratio) else -1.0)
        ratio = f"${power(worst.ratio)}$" if np.isfinite(worst.ratio) else "–"
        entries = sum(r.entries or int(np.prod(r.shape)) for r in report.rows)
        part = plain(report.part or report.title)
        rows.append([part, str(entries), ratio, f"`{worst.name}`", plain(str(report.verdict))])
    m.table(
        ("Check", "Entries", "Worst error ÷ bound", "in", "Verdict"),
        rows,
        "(1fr, auto, auto, auto, auto)",
        "(left, right, right, left, left)",
    )


def power(x: float, digits: int = 2) -> str:
    """A number as typst mathematics, as a power of ten where that is shorter."""
    if x == 0:
        return "0"
    if 1e-2 <= abs(x) < 1e4:
        return f"{x:.{max(digits, 3)}g}"
    head, _, exponent = f"{x:.{digits - 1}e}".partition("e")
    return f"{head} dot.c 10^({int(exponent)})"


def _plot(found: ErrorLadder) -> str:
    with drawing():
        figure, axes = new_figure()
        ax = axes[0, 0]
        tiny = np.finfo(np.float64).tiny

        def shown(y: Array) -> Array:
            return np.where(y > tiny, y, np.nan)

        some: Any = {"ms": 4, "markevery": 4}
        ax.loglog(found.steps, shown(found.forward), "s--", color=ORANGE, label="forward", **some)
        ax.loglog(found.steps, shown(found.central), "o-", color=BLUE, label="central", **some)
        ax.loglog(
            found.steps,
            found.roundoff / found.steps,
            ":",
            color=INK,
            lw=1.2,
            label="roundoff ε|L|/h",
        )
        if found.complex_step is not None:
            level = max(found.complex_step, float(np.finfo(np.float64).eps) / 8)
            ax.axhline(level, color=GREEN, ls="-.", lw=1.4, label="complex step")
        ax.set_xlabel("step size h")
        ax.set_ylabel("relative error")
        ax.grid(alpha=0.5, lw=0.6)
        ax.set_ylim(bottom=1e-17, top=max(10.0, float(np.nanmax(found.forward))))
        plain_ticks(ax)
        ax.legend(fontsize="small", ncols=2, loc="upper center", bbox_to_anchor=(0.5, 1.16))
        return svg_of(figure)


def plain_ticks(ax: Any, y: bool = True) -> None:
    """Powers of ten in Unicode: mathematics in SVG text would not survive a change of type."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    raised = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

    def label(x: float, _: int) -> str:
        return "10" + str(round(float(np.log10(x)))).translate(raised)

    for axis in (ax.xaxis, ax.yaxis) if y else (ax.xaxis,):
        axis.set_major_locator(LogLocator(numticks=7))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(label))


def _alt(found: ErrorLadder) -> str:
    best = int(np.argmin(found.central))
    return (
        "Log-log plot of the relative error of difference quotients against the step size. The "
        "central difference falls along a straight line of slope two as the step shrinks, reaches "
        f"{found.central[best]:.1e} at step {found.steps[best]:.1e}, and rises again along the "
        "roundoff line; the forward difference falls with slope one."
    )


def kernel(m: Manuscript, text: str) -> None:
    """Add the generated module."""
    m.heading("The generated kernel")
    body = _without_docstring(text)
    m.say(
        "The equations above are what the generator prints as a module that needs nothing but "
        "NumPy: `forward`, and `backward`, which takes the cotangent of every output and returns "
        "the gradient of every parameter, input and start for a whole batch. Products that do not "
        "depend on the state are taken out of the loop, and each weight gradient is one product "
        "after it. The long docstring, which repeats the equations, is left out here."
    )
    m.code(body, "python", f"Listing, {body.count(chr(10)) + 1} lines")


def _without_docstring(text: str) -> str:
    """The module with only the first line of its docstring."""
    first = ast.parse(text).body[0]
    if not (isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)):
        return text
    title = str(first.value.value).strip().split("\n")[0]
    return f'"""{title}"""\n' + "\n".join(text.splitlines()[first.end_lineno :])
