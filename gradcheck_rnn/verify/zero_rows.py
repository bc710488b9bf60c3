"""Points with exact zeros, beside the one that is checked: what takes zeros for padding.

Code that masks rows of zeros, or takes a start of zeros for none, is wrong there and nowhere else,
and given numbers are rarely zero. At points with zeros put in, the gradient is compared with two
losses along a line; only what these contradict is checked in full. It fails what has a derivative
there: a kink, a jump or a value that is none is no fault of the gradient, and is said.

Where arrays are at values that hide faults (`special_values`), the same is done where they are not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import of_users_code
from ..streams import Stream, generator
from .guard import listed
from .known import tells
from .outcome import Report
from .reachable import checksum
from .singular import held_at
from .special_values import moved_off, shares_of_one, symmetric
from .target import Target
from .verdict import EntryState, Finding, Row, Verdict

__all__ = ["look_with_zeros"]

Array = NDArray[Any]
Floats = NDArray[np.float64]
Check = Callable[..., Report]
MISSED = "could-have-missed"
#: Differences of losses a step apart: that of the least error, within these powers of two.
SMALLEST, LARGEST = -20, -5
#: What two losses may differ by from the gradient, in units of noise, of the square of the step and
#: of the gradient.
NOISES, CURVES, ROUGH = 16.0, 64.0, 1e-4
#: A step where the loss varies on a scale far below the sizes of arrays, as that of saturated units
#: does once some are zero; and the part of the gradient that noise may be there.
CLOSE, SHARP = 2.0**-30, 1e-3
#: Steps, in sizes of an array, that must bear out what a check of a point with zeros calls wrong.
STEPS = (2.0**-10, 2.0**-16)
#: Factor of entries at a point without zeros, to compare with; what is said where both fail.
MOVED = 1.25
HELD = "the gradient is right at the point given alone: are values of it held?"
#: Losses of a check for every further point that is looked at.
WORTH = 256


def look_with_zeros(
    report: Report,
    target: Target,
    check: Check,
    *,
    every: bool = False,
    passes: tuple[Any, Any] | None = None,
) -> None:
    """Look off special values, at rows of zeros, then at one matrix (or more axes) of zeros.

    Only beside a check that passes, without a budget. Of the points with zeros, beside an entrywise
    check, one, and more where it has cost more. A fault where the gradient is wrong, and a note on
    what was not looked at.

    Parameters
    ----------
    report
        Of the check at the target's own point.
    target
        Functions that are evaluated at the others.
    check
        ``check(loss, gradient, parameters, select=…, seed=…, unit=…)``, where two losses do not
        settle it.
    every
        Look at all of these points, whatever they cost.
    passes
        The functions of the user that compute the loss and the gradient, by default the target's.
    """
    limited = np.isfinite(target.budget.left()) or not report.deterministic
    if not report.passed or limited or np.isnan(report.noise):
        return
    most, calls = 1 + report.evaluations // WORTH, (target.evaluations, target.gradients)
    passes = passes or (target.loss, target.gradient_function)
    left = _off_special(report, target, check, passes)
    rng = generator(report.seed, Stream.WITH_ZEROS)
    with_zeros = report.passed and report.mode == "entrywise"
    for k, (what, leaves, masks) in enumerate(_points(target) if with_zeros else ()):
        if k >= most and not every:
            left.append(what)
            continue
        fault, why = _at(target, leaves, masks, report.noise, rng, check, report.seed)
        moved = fault and _elsewhere(target, masks, report.noise, rng, check, report.seed)
        if moved:
            said = _held(moved, passes, target.nouns.loss)
            if said is None:
                left.append(f"{what} ({HELD})")
            else:
                report.findings.append(said)
            break
        if fault:
            text = f"{what}: {fault}; right at the point given. Are zeros taken for padding, or"
            report.findings.append(Finding("zeros", f"{text} for what is not given?", fatal=True))
            break
        left += [f"{what} ({why})"] if why else []
    if left and report.passed:
        text = f"points not looked at: {'; '.join(left[:6])}" + ("; …" if len(left) > 6 else "")
        text += ". A fault that needs such values would pass"
        report.findings.append(Finding(MISSED, text))
    report.evaluations += target.evaluations - calls[0]
    report.gradients += target.gradients - calls[1]


def _off_special(
    report: Report, target: Target, check: Check, passes: tuple[Any, Any]
) -> list[str]:
    """Judge the gradient where no array is at a special value; what could not be looked at."""
    tree, rng = target.tree, generator(report.seed, Stream.SPECIAL_VALUES)
    here = target.first or target.gradient_at(tree.leaves)

    def judged(leaves: list[Array]) -> tuple[str, str]:
        return _at(target, leaves, {}, report.noise, rng, check, report.seed)

    what, why = "", ""
    for positive in (False, True):
        moved = {i: moved_off(tree.leaves[i], here[i], rng, positive=positive) for i in here}
        new = {i: a for i, a in moved.items() if a is not None}
        if not new:
            return []
        what = f"where {listed([tree.names[i] for i in new])} is moved off special values"
        leaves = [new.get(i, x) for i, x in enumerate(tree.leaves)]
        fault, why = judged(leaves)
        if not why:
            break
    if not fault:
        return [f"{what} ({why})"] if why else []
    held = {v for v in checksum(passes[0]).values() if isinstance(v, tuple)}
    if held & {v for i in new for v in checksum(tree.leaves[i]).values()}:
        return [f"{what} ({HELD})"]
    turned = [i for i in new if symmetric(tree.leaves[i]) and not _constant(tree.leaves[i])]
    alike = [(x + np.swapaxes(x, -1, -2)) / 2 if i in turned else x for i, x in enumerate(leaves)]
    text = f"the gradient is right at the point given, and not {what}: {fault}"
    if turned and not judged(alike)[0]:
        names = listed([tree.names[i] for i in turned])
        text += (
            f"; it is right where {names} is symmetric. Is a transpose missing? If {names} is "
            "symmetric by nature, leave it out with select"
        )
        report.findings.append(Finding("special", text, undecided=True))
    else:
        text += ". Is a factor or a term missing which the values given hide?"
        report.findings.append(Finding("special", text, fatal=True))
    return []


def _constant(leaf: Array) -> bool:
    """Whether all entries are one number other than zero, which makes no matrix symmetric."""
    return bool(leaf.any() and np.all(leaf == leaf.flat[0]))


#: A name, the leaves, and masks of the entries that have become zero, by leaf.
Point = tuple[str, list[Array], dict[int, NDArray[np.bool_]]]


def _points(target: Target) -> Iterator[Point]:
    tree = target.tree
    rows = {
        i: _with_rows(tree.leaves[i]) for i in tree.real
        if tree.leaves[i].ndim > 1 and shares_of_one(tree.leaves[i]) is None
    }  # fmt: skip
    yield from _point(target, "with rows of zeros in all arrays", rows)
    # a vector may be of gains or time constants, for which zero means nothing
    whole = [i for i in rows if tree.leaves[i].size > 1]
    for i in sorted(whole, key=lambda i: tree.leaves[i].size):
        zeros = {i: np.zeros_like(tree.leaves[i])}
        yield from _point(target, f"with all of '{tree.names[i]}' zero", zeros)


def _point(target: Target, what: str, new: dict[int, Array]) -> Iterator[Point]:
    leaves = list(target.tree.leaves)
    masks = {i: a != leaves[i] for i, a in new.items() if np.any(a != leaves[i])}
    if masks:
        yield what, [new.get(i, leaf) for i, leaf in enumerate(leaves)], masks


def _with_rows(leaf: Array) -> Array:
    """A row and a column of zeros; of arrays with more axes a step, and a row of equal entries."""
    new = leaf.copy()
    if not new.size:
        return new
    inner = (min(1, len(new) - 1), *[0] * (new.ndim - 2))
    new[inner] = 0.0
    column: tuple[Any, ...] = (slice(None), *[-1] * (new.ndim - 1))
    new[column] = 0.0
    if len(new) > 3:
        new[(3, *[-1] * (new.ndim - 2))] = new.reshape(-1)[0]
        if new.ndim > 2:
            new[2] = 0.0
    return new


def _at(
    target: Target,
    leaves: list[Array],
    masks: dict[int, NDArray[np.bool_]],
    noise: float,
    rng: np.random.Generator,
    check: Check,
    seed: int,
) -> tuple[str, str]:
    """What is wrong at a point, and else why it could not be judged."""
    there = target.moved(leaves)
    kept, calls = list(target.findings), (target.evaluations, target.gradients)
    try:
        with np.errstate(all="ignore"):
            gradient = there.gradient(leaves)
            if not all(np.isfinite(g).all() for g in gradient.values()):
                with_value = bool(np.isfinite(there.value(leaves)))
                return "", (
                    "the gradient is not finite there" + f", {there.nouns.loss} is" * with_value
                )
            sizes = {i: target.scale(i) for i in there.select}
            if _agrees(there, gradient, sizes, noise, rng):
                return "", ""
            found = _in_full(there, there.loss, there.gradient_function, check, seed)
            bad = _wrong(found)
            if bad is None and found.verdict is not Verdict.PASS:
                # what has become zero has no derivative; what has not may have one
                found = _in_full(there, *held_at(there, masks), check, seed)
                bad = _wrong(found)
            if bad is not None and _borne_out(there, gradient, sizes, bad, noise):
                return _said(bad), ""
            return "", "no derivative there" if found.verdict is not Verdict.PASS else ""
    except Exception as error:
        if not of_users_code(error):
            raise
        return "", "the functions do not run there"  # they may not be made for other points
    finally:
        target.findings[:] = kept
        target.evaluations = calls[0] + there.evaluations
        target.gradients = calls[1] + there.gradients


def _elsewhere(
    target: Target,
    masks: dict[int, NDArray[np.bool_]],
    noise: float,
    rng: np.random.Generator,
    check: Check,
    seed: int,
) -> str:
    """What is wrong where the entries are moved, and none of them is zero."""
    leaves = list(target.tree.leaves)
    for i, mask in masks.items():
        leaves[i] = np.where(mask, leaves[i] * MOVED, leaves[i])
    return _at(target, leaves, masks, noise, rng, check, seed)[0]


def _held(fault: str, passes: tuple[Any, Any], loss: str) -> Finding | None:
    """What to say of a gradient that is right at the point given alone.

    Either the gradient reads values of that point, and is wrong from the next step of training on;
    or the loss holds such values on purpose (a target, a stopped gradient), and the gradient
    computes them anew. Arrays that one of the two can reach and the other cannot tell which.
    """
    found = [
        {v: n.removeprefix("it.") for n, v in checksum(f, name="it").items()
         if isinstance(v, tuple)}
        for f in passes
    ]  # fmt: skip
    own = [[n for v, n in found[k].items() if v not in found[1 - k]] for k in (0, 1)]
    if passes[1] is None:  # one function for both
        own = [[], []]
    if (own[0] and not own[1]) or (tells(passes[0], "holds") and passes[0].holds):
        return None
    text = f"the gradient is right at the point given alone: where entries are moved, {fault}. "
    if own[1] and not own[0]:
        text += f"It reads {listed(own[1])}, which {loss} does not: a stale cache, or captured?"
        return Finding("held", text, fatal=True)
    text += (
        f"Does it read a stale cache or captured arrays, or does {loss} hold values of the point "
        "on purpose? Then let the gradient read the same ones"
    )
    return Finding("held", text, undecided=True)


def _agrees(
    there: Target,
    gradient: dict[int, Floats],
    sizes: dict[int, float],
    noise: float,
    rng: np.random.Generator,
) -> bool:
    """Whether the difference of two losses along a random line is what the gradient says.

    Zeros have no size: steps are those of the sizes of arrays at the given point.
    """
    leaves = there.tree.leaves
    directions = {i: size * rng.standard_normal(leaves[i].shape) for i, size in sizes.items()}
    parts = np.concatenate([(gradient[i] * v).ravel() for i, v in directions.items()])
    size = float(np.max(np.abs(parts), initial=0.0)) * float(np.sqrt(max(parts.size, 1)))
    if not size:
        return True  # a gradient of nothing but zeros is looked at elsewhere
    rounding = max(there.value_eps, 2.0**-52) * size
    exponent = int(np.round(np.log2(max(noise, rounding) / size) / 3))
    claim = float(np.sum(parts))
    for step in (2.0 ** min(max(exponent, SMALLEST), LARGEST), CLOSE):
        above, below = there.across(directions)(np.array([step, -step]))
        error = NOISES * _level(there, noise, np.array([above, below])) / step
        if step == CLOSE and not error <= SHARP * size:
            break
        gap = abs((above - below) / (2 * step) - claim)
        if gap <= error + (CURVES * step**2 + ROUGH) * size:
            return True
    return False


def _level(there: Target, noise: float, values: Floats) -> float:
    """Noise of losses of such values."""
    return max(noise, max(there.value_eps, 2.0**-52) * float(np.max(np.abs(values))))


def _borne_out(
    there: Target, gradient: dict[int, Floats], sizes: dict[int, float], row: Row, noise: float
) -> bool:
    """Whether differences at two small steps, far apart, contradict the worst entry of a row.

    A loss that has saturated within what a check takes for the size of zeros shows it another
    slope.
    """
    i = there.tree.names.index(row.name)
    if row.probes:
        return True  # along directions, by several steps
    if row.states is None or row.ratios is None or not np.any(row.states == EntryState.FAIL):
        return False
    shown = np.where(row.states == EntryState.FAIL, np.nan_to_num(row.ratios, posinf=1e300), -1.0)
    at = np.array([int(np.argmax(shown))])
    steps = sizes[i] * np.array(STEPS)[:, None]
    lines = there.lines(i, at)
    above, below = lines(steps), lines(-steps)
    slopes = (above - below) / (2 * steps)
    error = NOISES * _level(there, noise, np.array([above, below])) / steps
    gap = np.abs(slopes - gradient[i].reshape(-1)[at[0]])
    alike = abs(slopes[0, 0] - slopes[1, 0]) <= 0.25 * np.min(gap) + np.sum(error)
    return bool(np.all(gap > 2 * error) and alike)


def _in_full(there: Target, loss: Any, gradient: Any, check: Check, seed: int) -> Report:
    tree = there.tree
    report = check(
        loss, gradient, tree.build([x.copy() for x in tree.leaves]), seed=seed,
        select=[tree.names[i] for i in there.select], unit=there.unit,
    )  # fmt: skip
    there.evaluations += report.evaluations
    there.gradients += report.gradients
    return report


def _wrong(report: Report) -> Row | None:
    """The row that fails for entries with a derivative, unless the whole report is in doubt."""
    if any(f.kind in ("jump", "nondeterministic") for f in report.findings):
        return None
    return next((r for r in report.rows if r.verdict is Verdict.FAIL and r.failing), None)


def _said(row: Row) -> str:
    return (
        f"the gradient of '{row.name}' is wrong, {row.analytic:.6g} for {row.numeric:.6g} at "
        f"{row.worst}, {row.failing} of {row.entries} entries"
    )
