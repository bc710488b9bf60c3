"""What to say where no mistake fits: the smallest failure, its terms, and what to hand over."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...calculus.printing.text import to_text
from ...derivation import Derivation
from ...derivation.editing import sources
from ...derivation.edits import Edits
from ..harness.compare import Comparison
from ..points import DATA, Role
from .candidates import Bench, Candidate
from .effects import Effects, is_affordable, is_one_step
from .matching import wrong_names

__all__ = ["first_wrong", "next_steps"]


def first_wrong(derivation: Derivation, comparisons: Sequence[Comparison]) -> list[str]:
    """What is wrong already at one step, what only with more, and if only with more sequences."""
    ill = [c for c in comparisons if c.wrong]
    for role, what in ((Role.ZEROS, "rows of zeros"), (Role.SATURATED, "saturated units")):
        if all(c.point.role is role for c in ill):
            return [f"right at every point without {what}{_by_chance(ill)}"]
    lone = [c for c in comparisons if c.records and c.point.batch == 1]
    longest = max((c.point.steps for c in lone), default=0)
    if lone and not any(c.wrong for c in lone) and _smallest(ill).point.steps <= longest:
        return [
            *_first_steps(derivation, ill),
            f"right for one sequence (B = 1) where it was tried, wrong for more{_by_chance(lone)}",
        ]
    return _first_steps(derivation, ill)


def _by_chance(points: Sequence[Comparison]) -> str:
    """What else may set a single point apart: data, of which a draw may reach no branch."""
    if len(points) > 1:
        return ""
    point = points[0].point
    data = [n for n in point.values if point.ref(n).kind in DATA]
    return f" (one draw of {', '.join(data)}: its values may be the reason instead)" * bool(data)


def _first_steps(derivation: Derivation, ill: Sequence[Comparison]) -> list[str]:
    one = [c for c in ill if all(n == 1 for n in c.point.lengths.values())]
    names = [n.name for n in derivation.differentiated()]
    if not one:
        short = _smallest(ill)
        longer = short.point.lengths
        if not longer or not max(longer.values(), default=1) > 1:
            return []
        steps = ", ".join(f"{a} = {n}" for a, n in longer.items())
        return [f"wrong first at {steps}: {_listed(names, wrong_names(short))}"]
    early = wrong_names(one[0])
    lines = [f"already wrong at one step: {_listed(names, early)}"]
    late = set().union(*map(wrong_names, ill)) - early
    if late:
        lines.append(f"wrong with more steps only: {_listed(names, late)}")
    return lines


def _smallest(ill: Sequence[Comparison]) -> Comparison:
    """Of the points at which something is wrong the first of the fewest steps."""
    return min(ill, key=lambda c: max(c.point.lengths.values(), default=1))


def _listed(order: Sequence[str], some: set[str]) -> str:
    return ", ".join(f"d{n}" for n in order if n in some)


def next_steps(bench: Bench, ill: Sequence[Comparison], handed: bool = False) -> list[str]:
    """The smallest shape and cotangent, the fit of derived terms, and adjoints to hand over."""
    derivation = bench.derivation
    small = _smallest(ill)
    point = small.point
    case = min(
        (c for c in small.point.cases if wrong_names(small, c)),
        key=lambda c: len(wrong_names(small, c)),
    )
    sizes = {**point.lengths, "B": point.batch, **point.sizes}
    shape = ", ".join(f"{n} = {s}" for n, s in sizes.items())
    lines = [f"smallest failure: {shape}, {case.label} ({point.label})"]
    wrong = [r.name for r in derivation.differentiated() if r.name in wrong_names(small)]
    if is_one_step(small) and is_affordable(bench, small):
        lines += _fits(bench, small, wrong)
    made = dict.fromkeys(
        e.equation.name for n in wrong for e in derivation.readers(n)
    )  # adjoints that the wrong gradients are made of
    if made and not handed:
        given = ", ".join(f'"δ{n}": d_{n}' for n in list(made)[:4])
        lines.append(
            f"to have every line judged by itself, hand its adjoints over in the loop: "
            f"gradcheck_rnn.record({{{given}}}, t=t)"
        )
    return lines


def _fits(bench: Bench, comparison: Comparison, names: Sequence[str]) -> list[str]:
    """Wrong gradients as sums of their derived terms, with the factors that fit best."""
    derivation, effects = bench.derivation, Effects(bench, comparison)
    lines = []
    for name in names:
        terms: dict[str, np.ndarray] = {}
        for edge in derivation.readers(name):
            shares = sources(derivation, edge.equation.name)
            for source in shares if len(shares) > 1 else ("",):
                edits = Edits(terms={edge.id: None})
                if source:
                    edits = Edits(shares={(source, edge.id): None})
                change = effects.change(Candidate(f"fit {edge.id} {source}", "fit", "", edits))
                if np.any(change):
                    text = to_text(edge.pullback)
                    if source:
                        inner = (
                            to_text(derivation.edge(source).pullback) if "<-" in source else source
                        )
                        text = f"{text} of {inner}"
                    terms[text] = -change
        here = effects.of(name)
        got = effects.got[here]
        if not terms or not np.isfinite(got).all() or not np.any(got):
            continue
        X = np.stack([t[here] for t in terms.values()], axis=1)
        factors, *_ = np.linalg.lstsq(X, got, rcond=None)
        left = float(np.linalg.norm(got - X @ factors) / np.linalg.norm(got))
        said = " + ".join(f"{f:.2f}·({n})" for n, f in zip(terms, factors, strict=True))
        lines.append(f"d{name} = {said}, which leaves {left:.1g} of it")
        if len(lines) == 3:
            break
    return lines
