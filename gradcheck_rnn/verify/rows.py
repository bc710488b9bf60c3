"""From the numbers of one block to its row: verdict, worst entry, reason, what was missed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .hints import DROPPED, TINY, explain, nearly
from .oracle.directions import miss_probability
from .patterns import pattern
from .probes import SURE, miss_statement
from .saturated import FLAT
from .scales import norm_of
from .trees import Tree
from .verdict import (
    EntryCheck,
    EntryState,
    Finding,
    Probe,
    Row,
    Verdict,
    relative_resolution,
    whole_slices,
)

__all__ = ["DRAWN", "SCALED", "entry_row", "failed_row", "probe_row", "undecided_row"]

Floats = NDArray[np.float64]
#: Part of what differences resolve below which nothing will show a gradient at this point.
VANISHING = 1e-6
#: Entries on a kink that are named.
SHOWN = 3
ENTRIES = "mode='entrywise' tells at which entries"
#: How what only a sharper oracle calls wrong is told from a fault: at smaller parameters, or where
#: none resolve it by random rounding.
SCALED = "but agree once the parameters are scaled down"
DRAWN = (
    "by no more than rounding of the gradient's operations at random, at parameters scaled down, "
    "too (do constants that are added keep units saturated?)"
)
UNDRAWN = (
    "by no more than rounding of terms as large as the loss, at parameters scaled down, too (do "
    "constants that are added keep units saturated?); its operations are not those of arrays, and "
    "cannot be rounded at random to tell"
)


def _index(shape: tuple[int, ...], flat: int) -> str:
    return str([int(i) for i in np.unravel_index(flat, shape)]) if shape else "[]"


def undecided_row(tree: Tree, block: int, reason: Finding) -> Row:
    """A block about which nothing can be said."""
    leaf, nan = tree.leaves[block], float("nan")
    return Row(
        tree.names[block], leaf.shape, Verdict.UNDECIDED, nan, "", nan, nan, nan, float("inf"),
        undecided=leaf.size, entries=leaf.size, reasons=(reason,), missed="any fault",
    )  # fmt: skip


def failed_row(tree: Tree, block: int, gradient: Floats) -> Row:
    """A block whose gradient is not finite."""
    bad = np.flatnonzero(~np.isfinite(gradient))
    at, inf, nan = int(bad[0]), float("inf"), float("nan")
    value = float(gradient.ravel()[at])
    where = _index(gradient.shape, at)
    return Row(
        tree.names[block], gradient.shape, Verdict.FAIL, inf, where, value, nan, nan, nan,
        failing=len(bad), entries=gradient.size,
        reasons=(Finding(
            "not-finite",
            f"the gradient is {value} at {where} while the loss is finite ({len(bad)} of "
            f"{gradient.size} entries)",
        ),),
    )  # fmt: skip


def entry_row(
    tree: Tree,
    check: EntryCheck,
    gradient: Floats,
    roundoff: Floats,
    resolve: float,
    how: str = SCALED,
) -> Row:
    """The row of a block checked entry by entry; `how` rounding was told from a fault."""
    shape = gradient.shape
    g, bound = gradient.ravel(), check.error + roundoff.ravel()
    ratio, state = check.ratio(gradient, roundoff), check.state
    count = [int(n) for n in np.bincount(state, minlength=6)]
    wrong = state == EntryState.FAIL
    known = wrong | (state == EntryState.PASS)
    shown = np.where(known & ~np.isnan(ratio), ratio + 1e300 * wrong, -1.0)
    worst = int(np.argmax(np.where(np.isfinite(shown), shown, 1e301)))
    resolution = float("inf")
    if known.any():
        resolution = relative_resolution(g[known], check.value[known], bound[known])
    reasons = []
    if count[EntryState.FAIL]:
        verdict = Verdict.FAIL
        said = f"{count[EntryState.FAIL]} of {g.size} entries differ by more than their bounds"
        reasons.append(Finding("count", said))
        numbers = gradient, check.value.reshape(shape), bound.reshape(shape)
        hint = explain(*numbers) or nearly(g, check.value, wrong, known, TINY)
        hint = hint or pattern(*numbers, wrong.reshape(shape), known.reshape(shape))
        hint = hint or nearly(g, check.value, wrong, known)
        if hint:
            reasons.append(_pattern(hint))
        reasons += _no_slope(check, g, shape)
    else:
        reasons += _doubts(check, g, bound, resolution, resolve, shape, how)
        verdict = Verdict.UNDECIDED if reasons else Verdict.PASS
    return Row(
        name=tree.names[check.block],
        shape=shape,
        verdict=verdict,
        ratio=float(ratio[worst]),
        worst=_index(shape, worst),
        analytic=float(g[worst]),
        numeric=float(check.value[worst]),
        bound=float(bound[worst]),
        resolution=resolution,
        failing=count[EntryState.FAIL],
        undecided=g.size - count[EntryState.FAIL] - count[EntryState.PASS],
        entries=g.size,
        method=", ".join(sorted(check.methods)),
        reasons=tuple(reasons),
        missed=_missed(g, bound, known, resolution, shape),
        ratios=ratio.reshape(shape),
        states=state.reshape(shape),
        check=check,
    )


def _no_slope(check: EntryCheck, g: Floats, shape: tuple[int, ...]) -> list[Finding]:
    """What is said of a failing entry on a kink."""
    failing = [i for i in check.kinks if check.state[i] == EntryState.FAIL]
    if not failing:
        return []
    i, kink = failing[0], check.kinks[failing[0]]
    return [
        Finding(
            "kink",
            f"at {_index(shape, i)} the loss has a kink with slopes {kink.left:.6g} and "
            f"{kink.right:.6g}; the gradient {g[i]:.6g} is neither of them, nor between them, nor "
            "a slope beside the point",
        )
    ]


def _doubts(
    check: EntryCheck,
    g: Floats,
    bound: Floats,
    resolution: float,
    resolve: float,
    shape: tuple[int, ...],
    how: str,
) -> list[Finding]:
    """Why a block without failures is not simply right."""
    reasons, state = [], check.state
    if resolution <= resolve and not state.any():  # all of them pass
        return []
    kinks = np.flatnonzero(state == EntryState.KINK)
    if kinks.size:
        i = int(kinks[0])
        kink = check.kinks[i]
        side = "not between them"
        if kink.between(float(g[i]), float(2 * kink.error)):
            exactly = kink.between(float(g[i]), 0.0)
            side = "between them" if exactly else "between them within their error"
        places = ", ".join(_index(shape, int(k)) for k in kinks[:SHOWN])
        places += ", …" if kinks.size > SHOWN else ""
        which = f"{kinks.size} of {g.size} entries ({places}) sit" if shape else "it sits"
        reasons.append(
            Finding(
                "kink",
                f"{which} on a kink or a tie, where no derivative exists; at {_index(shape, i)} "
                f"the slopes are {kink.left:.6g} and {kink.right:.6g}, the gradient {g[i]:.6g} is "
                f"{side}; check at a point beside it",
            )
        )
    blind, unprobed = (int(np.sum(state == s)) for s in (EntryState.BLIND, EntryState.UNPROBED))
    if blind:
        told = [check.reasons.get(int(i)) for i in np.flatnonzero(state == EntryState.BLIND)]
        known = sorted({why for why in told if why})
        why = known[0] if known else "differences are not finite at any step"
        reasons.append(Finding("blind", f"{blind} of {g.size} entries: {why}"))
    rounded = int(np.sum(state == EntryState.ROUNDED))
    if rounded:
        reasons.append(_saturated(f"{rounded} entries", how))
    if unprobed:
        said = f"{unprobed} of {g.size} entries were left unprobed by the budget"
        reasons.append(Finding("budget", said))
    if not resolution <= resolve and not blind and not rounded and not kinks.size:
        size = float(np.median(bound[np.isfinite(bound)])) if np.isfinite(bound).any() else np.inf
        few = _few_hidden(check, g, bound, resolve)
        if few.size:
            said = (
                f"{few.size} of {g.size} entries ({_index(shape, int(few[0]))} first) are hidden: "
                f"their gradient jumps by about {np.max(bound[few]):.0e} beside the point (a kink, "
                "a tie or a border of clipping?); check at another"
            )
        elif FLAT in check.methods:
            said = (
                "saturated: no bit of the loss changes when all entries move by 1/64 of their "
                f"size, and the gradient is at most {np.max(np.abs(g)):.1e}; at smaller parameters "
                "there would be something to see"
            )
        elif 0 < np.max(np.abs(g)) < VANISHING * size:
            said = (
                f"saturated, or vanishing on its way: the gradient is at most "
                f"{np.max(np.abs(g)):.1e}, differences are zero up to {size:.1e} an entry; at "
                "another point there would be something to see"
            )
        elif np.any(g):
            top = float(np.max(np.abs(g)))
            if size <= resolve * top:  # most entries are resolved: the widest are meant
                size = float(np.max(bound[np.isfinite(bound)]))
            said = (
                f"differences resolve {size:.1e} an entry, the gradient is at most "
                f"{top:.1e}: it is hidden in {_cover(check, bound)}"
            )
        else:
            said = (
                f"the gradient is zero and so are differences, but anything below {size:.1e} an "
                f"entry is hidden in {_cover(check, bound)}"
            )
        reasons.append(Finding("hidden", said))
    return reasons


def _few_hidden(check: EntryCheck, g: Floats, bound: Floats, resolve: float) -> NDArray[np.intp]:
    """Entries without which a block would be resolved, and which its gradient's roundoff hides."""
    top = resolve * float(np.max(np.abs(np.append(g, check.value[np.isfinite(check.value)]))))
    few = np.flatnonzero((bound > top) & (check.error < 0.5 * bound))
    rest = np.setdiff1d(np.arange(g.size), few)
    if not few.size or 2 * few.size > g.size:
        return few[:0]
    resolved = relative_resolution(g[rest], check.value[rest], bound[rest]) <= resolve
    return few if resolved else few[:0]


def _pattern(text: str) -> Finding:
    return Finding("dropped" if text == DROPPED else "pattern", text)


def _saturated(what: str, how: str) -> Finding:
    return Finding(
        "saturated",
        f"{what}, too small for plain differences, differ in a sharper oracle {how}: their "
        "digits are lost in the gradient's own rounding here (saturation)",
    )


def _cover(check: EntryCheck, bound: Floats) -> str:
    """What makes the bounds of a block as wide as they are."""
    if check.noise.random:  # the gradient's own scatter too
        return "the random numbers that the loss draws"
    known = np.isfinite(bound)
    wide = known & (bound >= 0.5 * np.max(bound, initial=0.0, where=known))
    if known.any() and np.median(check.error[wide]) < 0.5 * np.median(bound[wide]):
        return "the roundoff of the gradient itself"
    if check.noise.rounded_inside:
        return "what is rounded inside the loss"
    if check.noise.quantum:
        return (
            f"steps of {check.noise.quantum:.3g}, between which the loss is flat (rounded, or "
            "units that are saturated)"
        )
    return "the roundoff of the loss"


def _missed(
    g: Floats, bound: Floats, known: NDArray[Any], resolution: float, shape: tuple[int, ...]
) -> str:
    if not known.any() or not np.isfinite(resolution):
        return "any fault"
    small = known & (np.abs(g) < bound)
    hidden = int(np.sum(small))
    text = f"changes of an entry below its bound, at most {np.max(bound[known]):.1e}"
    text += f" (a fault below {resolution:.1e} of the block's gradient)"
    if hidden:
        text += f"; {hidden} of {g.size} entries are themselves smaller than their bound"
        text += whole_slices(small.reshape(shape))
    return text


def probe_row(
    tree: Tree,
    block: int,
    gradient: Floats,
    probes: list[Probe],
    resolve: float,
    how: str = SCALED,
) -> Row:
    """The row of a block probed along directions; `how` rounding was told from a fault."""
    shape, n = gradient.shape, gradient.size
    norm = norm_of(gradient)
    wrong = [p for p in probes if p.ratio > 1 and p.kink is None and not p.rounded]
    smooth = [p for p in probes if p.kink is None and p.estimate.trusted]
    rounded = sum(p.rounded for p in probes)
    worst = max(probes, key=lambda p: (p.kink is None, np.nan_to_num(p.ratio, nan=-1.0)))
    reasons = []
    threshold = max((p.bound for p in smooth), default=float("inf"))
    size = max([norm, *(abs(p.estimate.value) for p in smooth)])
    slip = 1.0
    if smooth and size:
        slip = miss_probability(n, threshold, resolve * size, len(smooth))
    elif smooth and threshold == 0:
        slip = 0.0  # exact zeros on both sides: a derivative that is there would have answered
    if wrong:
        verdict = Verdict.FAIL
        said = f"{len(wrong)} of {len(probes)} directional derivatives differ"
        reasons.append(Finding("count", said))
        quotients = np.array([p.estimate.value for p in smooth])
        bounds = np.array([p.bound for p in smooth])
        if len(smooth) > 1:
            claims = np.array([p.analytic for p in smooth])
            bad = np.array([p in wrong for p in smooth])
            hint = explain(claims, quotients, bounds)
            hint = hint or nearly(claims, quotients, bad, np.ones_like(bad))
            if hint:
                reasons.append(_pattern(hint.replace("entry", "direction")))
    else:
        if len(smooth) < len(probes):
            said = (
                f"{len(probes) - len(smooth)} of {len(probes)} directions meet a kink or a loss "
                f"that is not finite; {ENTRIES}"
            )
            reasons.append(Finding("kink", said))
        if rounded:
            reasons.append(_saturated(f"{rounded} of {len(probes)} directional derivatives", how))
        elif slip > SURE:
            said = (
                f"differences resolve {threshold:.1e}, the gradient's norm is {norm:.1e}: a fault "
                f"of {resolve:g} of it could slip through with probability {slip:.2g}"
            )
            reasons.append(Finding("hidden", said))
            if any(p.estimate.kink > 0.5 * p.bound for p in smooth):
                reasons.append(Finding("kink", f"the loss has a kink there; {ENTRIES}"))
        verdict = Verdict.UNDECIDED if reasons else Verdict.PASS
    return Row(
        name=tree.names[block],
        shape=shape,
        verdict=verdict,
        ratio=worst.ratio,
        worst=f"direction {worst.number}",
        analytic=worst.analytic,
        numeric=worst.estimate.value,
        bound=worst.bound,
        resolution=threshold * float(np.sqrt(n)) / size if size else 0.0 if slip == 0 else np.inf,
        failing=len(wrong),
        undecided=len(probes) - len(smooth),
        entries=n,
        method=worst.estimate.method,
        reasons=tuple(reasons),
        missed=miss_statement(n, threshold, size, len(smooth)),
        probes=tuple(probes),
    )
