"""A worked example, small enough to follow by hand: two steps, two units, rounded numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...calculus.terms import Sym
from ...derivation import Derivation
from ...derivation.evaluate import Run, adjoints
from ...derivation.pages import symbol_of
from ...language.domains import Domain
from ...language.loops import at_most
from ...language.network import Network, Ref
from ..manuscript import Manuscript
from ..typst_mathematics import plain

__all__ = ["Example", "example", "small_example"]

Array = np.ndarray[Any, Any]
#: More names or entries than these cannot be followed by hand; only gradients are shown then.
MOST_NAMES, MOST_ENTRIES = 16, 6


@dataclass(frozen=True)
class Example:
    """Values, adjoints and gradients of a small case.

    Attributes
    ----------
    run : Run
        The forward pass; ``run.series[name][t]`` is an array ``(n, 1)``.
    adjoints : dict
        Name → {t: array}; gradients of what does not move are at t = 0.
    cotangents : dict
        Output → array.
    """

    run: Run
    sizes: dict[str, int]
    adjoints: dict[str, dict[int, Array]]
    cotangents: dict[str, Array]

    @property
    def loss(self) -> float:
        """Sum of cotangents times outputs, and of the loss terms."""
        return _loss(self.run, self.cotangents)


def small_example(derivation: Derivation, seed: int = 3) -> Example:
    """Draw rounded values at the smallest sizes that still show matrices, and run both passes.

    Parameters
    ----------
    derivation : Derivation
        Of any network.
    seed : int
        Of the values.
    """
    network = derivation.network
    sizes = {n: 1 if n == "d" else 2 for n in network.dims}
    lengths = {}
    for axis in network.axes:
        lags = [k for s in network.scans if s.axis == axis for st in s.states for k in st.lags]
        lengths[axis] = max([2, *(k + 1 for k in lags if k > 1)])
    rng = np.random.default_rng(seed)
    values = {
        ref.name: _rounded(ref, network, {**sizes, **lengths}, lengths, rng)
        for ref in (*network.parameters.values(), *network.inputs.values())
    }
    run = Run(derivation, values, sizes, lengths)
    cotangents = {} if network.loss_terms else _ones(run, network)
    return Example(run, sizes, adjoints(run, cotangents), cotangents)


def _rounded(
    ref: Ref,
    network: Network,
    sizes: Mapping[str, int],
    lengths: Mapping[str, int],
    rng: np.random.Generator,
) -> Array:
    shape: tuple[int, ...] = (ref.shape.rows.size(sizes), ref.shape.cols.size(sizes))
    if ref.shape.stack:
        shape = (*shape, 1)
    if ref.shape.headed:
        shape = (ref.shape.heads.size(sizes), *shape)
    if ref.axis is not None:
        shape = (lengths[ref.axis], *shape)
    domain = network.domains.get(ref.name)
    if domain is not None and not Domain("one-hot").within(domain):
        if domain.fixed or math.isfinite(domain.high):
            drawn = domain.draw_columns(rng, shape, data=False)
            return drawn if domain.fixed else domain.clip(np.round(drawn, 1))
        return domain.low + np.round(rng.uniform(0.1, 0.9, shape), 1)
    if domain is not None or ref.kind in ("data", "static_data"):
        # Targets become one-hot, masks zeros and ones.
        out = np.zeros(shape)
        flat = out.reshape(-1, shape[-2]) if shape[-2] > 1 else None
        if flat is None:
            return np.ones(shape)
        flat[np.arange(len(flat)), np.arange(len(flat)) % shape[-2]] = 1.0
        return out
    return np.round(rng.uniform(0.1, 0.9, shape), 1) * rng.choice([-1.0, 1.0], shape)


def _ones(run: Run, network: Network) -> dict[str, Array]:
    """Cotangent 1 for every entry of the last declared sequence (or whatever there is)."""
    moving = [n for n, r in network.outputs.items() if r.axis is not None]
    label = "y" if "y" in network.outputs else (moving or list(network.outputs))[-1]
    return {label: np.ones_like(run.output(label))}


def _loss(run: Run, cotangents: Mapping[str, Array]) -> float:
    total = sum(float(np.sum(g * run.output(label))) for label, g in cotangents.items())
    for ref in run.derivation.network.loss_terms:
        steps = [0] if ref.axis is None else range(1, run.steps[ref.axis] + 1)
        total += sum(float(np.sum(run.series[ref.name][t])) for t in steps)
    return total


def example(m: Manuscript, derivation: Derivation, numbers: dict[str, range]) -> None:
    """Add the chapter; a step with substeps has two of them here."""
    with at_most(2):
        _example(m, derivation, numbers)


def _example(m: Manuscript, derivation: Derivation, numbers: dict[str, range]) -> None:
    e = small_example(derivation)
    run, network = e.run, derivation.network
    m.heading("A worked example")
    steps = ", ".join(f"${a} = {n}$" for a, n in run.steps.items())
    if run.substeps:
        steps += ", two substeps a step"
    dims = ", ".join(f"${_dim(n)} = {e.sizes[n]}$" for n in network.dims)
    what = (
        "The loss is the network's own."
        if not e.cotangents
        else "Take as loss the sum of all entries of "
        + " and ".join(m.maths.inline(_symbol(derivation, n)) for n in e.cotangents)
        + ", so that every cotangent $bold(g)$ is a column of ones and there is nothing to carry "
        "in."
    )
    m.say(
        f"To follow the recursion by hand, take {dims}{', ' if dims and steps else ''}{steps} and "
        f"one sequence. {what} Values are rounded to four digits for display only."
        + " What every head has is listed head after head."
        * network.heads
    )
    given = [
        (m.maths.term(symbol_of(derivation, ref)), _matrix(_one(run.series[ref.name][0]), m))
        for ref in (*network.parameters.values(), *network.inputs.values())
        if ref.axis is None
    ]
    short = sum(len(p.equations) for p in derivation.scans) <= MOST_NAMES
    if short:
        _given(m, given)
        first = numbers[derivation.scans[0].scan.name]
        m.say(
            f"The forward pass evaluates {m.refs(first)} from left to right"
            + (", scan after scan." if len(derivation.scans) > 1 else ".")
        )
        for program in derivation.scans:
            names = [
                o.ref.name
                for o in program.scan.operands.values()
                if o.ref.axis and o.ref.name in network.inputs
            ]
            symbols = [Sym(n, 2, 1, "input", 0) for n in names] + [
                q.symbol for q in program.equations
            ]
            _over_time(m, run.times(program), symbols, run.series)
        m.say(
            f"The loss is $L = {_number(e.loss)}$. The backward pass fills its table from the "
            "last step to the first:"
        )
        for program in reversed(derivation.scans):
            symbols = [q.symbol.with_(mark="bar") for q in reversed(program.equations)]
            # What the step before, or whoever made the inputs, receives.
            symbols += [
                Sym(o.ref.name, 2, 1, "input", 0).with_(mark="bar")
                for o in program.scan.operands.values()
                if o.ref.axis and o.ref.name in network.inputs and o.ref.name in e.adjoints
            ]
            _over_time(m, list(reversed(run.times(program))), symbols, e.adjoints)
        if any(r.axis is None for r in derivation.differentiated()):
            m.say("Summing each step's contribution gives the gradients")
    else:
        m.say(
            f"With {sum(len(p.equations) for p in derivation.scans)} equations a step there is too "
            f"much to print in full; the loss is $L = {_number(e.loss)}$ and the gradients are"
        )
    _given(
        m,
        [
            (
                m.maths.term(symbol_of(derivation, ref).with_(mark="bar")),
                _matrix(_one(e.adjoints[ref.name][0]), m),
            )
            for ref in derivation.differentiated()
            if ref.axis is None and ref.name in e.adjoints
        ],
    )
    _check(m, derivation, e)


def _check(m: Manuscript, derivation: Derivation, e: Example) -> None:
    """One entry against a difference quotient that the reader can repeat."""
    run, network = e.run, derivation.network
    for ref in derivation.differentiated():
        if ref.axis is not None or ref.name not in e.adjoints:
            continue
        gradient = _one(e.adjoints[ref.name][0])
        gradient = gradient if gradient.ndim == 2 else gradient[0]  # that of the first head
        at = np.unravel_index(int(np.argmax(np.abs(gradient))), gradient.shape)
        step, values = 1e-3, {}
        for sign in (1, -1):
            moved = {n: _stacked(run, network, n) for n in (*network.parameters, *network.inputs)}
            changed = moved[ref.name].copy()
            changed.reshape(-1, *gradient.shape)[0][at] += sign * step
            moved[ref.name] = changed
            other = Run(derivation, moved, e.sizes, run.steps)
            values[sign] = _loss(other, e.cotangents)
        quotient = (values[1] - values[-1]) / (2 * step)
        index = [int(i) + 1 for i in (at if gradient.shape[1] > 1 else at[:1])]
        place = ", ".join(map(str, reversed(index) if m.maths.rows else index))
        name = m.maths.term(symbol_of(derivation, ref))
        m.say(
            f"A reader with a calculator can test any entry. Changing entry ({place}) of ${name}$ "
            f"by $plus.minus 0.001$ changes the loss to ${values[1]:.7f}$ and ${values[-1]:.7f}$; "
            f"their difference divided by $0.002$ is ${quotient:.5f}$, and the gradient says "
            f"${float(gradient[at]):.5f}$."
        )
        return


def _stacked(run: Run, network: Network, name: str) -> Array:
    ref = network.parameters.get(name) or network.inputs[name]
    line = {t: run.outward(ref, a) for t, a in run.series[name].items()}
    if ref.axis is None:
        return np.asarray(line[0])
    return np.stack([line[t] for t in range(1, run.steps[ref.axis] + 1)])


def _one(a: Array) -> Array:
    """A value of the only sequence, without the axes in front but that of several heads."""
    a = a[0] if np.ndim(a) > 2 else a
    return a[0] if np.ndim(a) == 3 and len(a) == 1 else a


def _given(m: Manuscript, pairs: list[tuple[str, str]]) -> None:
    """Small arrays side by side."""
    body = " #h(1.2em, weak: true) ".join(
        f"#box[$display({left} = {right})$]" for left, right in pairs
    )
    if body:
        m.say(f"#matrices[{body}]")


def _over_time(
    m: Manuscript,
    times: Any,
    symbols: list[Sym],
    series: Mapping[str, Mapping[int, Array]],
) -> None:
    rows = []
    for s in symbols:
        line = series.get(s.name, {})
        cells = [f"${_column(line[t], m)}$" if t in line else "" for t in times]
        if any(cells):
            rows.append([m.maths.inline(s), *cells])
    each = max(getattr(t, "denominator", 1) for t in times)  # t counts substeps on the page
    header = ["Value", *(f"$t = {each * t}$" if len(times) > 1 or t else "" for t in times)]
    if rows:
        m.table(header, rows)


def _column(a: Array, m: Manuscript) -> str:
    a = _one(a)
    if a.ndim == 3:
        return " quad ".join(_column(head, m) for head in a)
    if a.ndim == 2 and a.shape[1] > 1:
        return _matrix(a, m)
    flat = [_number(float(x)) for x in np.asarray(a).ravel()]
    return flat[0] if len(flat) == 1 else f"({', '.join(flat)}){'' if m.maths.rows else '^top'}"


def _matrix(a: Array, m: Manuscript) -> str:
    if np.ndim(a) == 3:
        return " quad ".join(_matrix(head, m) for head in a)
    a = np.asarray(a).T if m.maths.rows else np.asarray(a)
    if a.size > 36:
        return f'({a.shape[0]} times {a.shape[1]} "entries")'
    if a.size == 1:
        return _number(float(a.ravel()[0]))
    rows = "; ".join(", ".join(_number(float(x)) for x in row) for row in a)
    return f'mat(delim: "[", {rows})'


def _number(x: float) -> str:
    """Four digits behind the point; fewer where two or less are exact."""
    if x != 0 and (abs(x) < 5e-5 or abs(x) >= 1e5):
        digits, _, power = f"{x:.3e}".partition("e")
        return f"{digits} dot.c 10^({int(power)})"
    text = f"{x:.4f}"
    if abs(x - round(x, 2)) < 1e-12:  # exact, as what is given is
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def _symbol(derivation: Derivation, label: str) -> Sym:
    name = derivation.network.outputs[label].maker
    for program in derivation.scans:
        for q in program.equations:
            if q.name == name:
                return q.symbol
    raise LookupError(label)


def _dim(name: str) -> str:
    return name if len(name) == 1 else plain(name).replace("#", "").replace(";", "")
