"""Each line of a backward pass judged by itself, from the adjoints that the code hands over.

A line is right if it is what the derived line gives from the code's *own* adjoints: of what it
reads, wrong or not. Its bound is that of the local formula in the format of the code: its unit
times the sum of the absolute values of the terms, and what the rounding of the saved values, as
far as the code did not hand over its own, does to the line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...derivation import Derivation, derive
from ...derivation.evaluate import Run
from ...derivation.local import Known, Local, local_lines
from ...derivation.wholes import wholes_of
from ...language.network import Network, Ref
from ...language.running import to_columns
from ...streams import Stream, generator
from ..harness.deviations import neighbour
from ..harness.handed import Handed, handed_over
from ..harness.modelpoint import ModelPoint
from ..harness.plan import Case
from ..harness.subject import Subject
from ..roundoff import spread
from ..verdict import Finding, Row, Verdict
from .rounding import randomly_rounded

__all__ = ["Line", "LinePoint", "judge_lines"]

Array = NDArray[Any]
DRAWS, SPREADS, UNITS = 4, 4.0, 2.0
#: Cases of a point that are judged line by line; all where steps have cotangents of their own.
CASES = 4
#: Neighbouring points at which a line is repeated that fails by little.
NEIGHBOURS = 4


@dataclass
class LinePoint:
    """One call of the backward pass, and every line of the derivation from what it handed over.

    ``calls`` makes the same call at neighbouring points: their runs, what was handed over and the
    gradients.
    """

    point: ModelPoint
    case: Case
    given: Handed
    gradients: dict[tuple[str, str], Array]
    run: Run
    slipped: list[Run]
    calls: Callable[[], list[LinePoint]] = list
    found: Local = field(init=False)
    others: list[Local] = field(init=False)
    _known: list[Known] = field(init=False)
    _without: frozenset[str] = field(init=False, default=frozenset())
    _near: list[LinePoint] | None = field(init=False, default=None)
    _noise: dict[tuple[str, str], dict[int, Array]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._known = [{} for _ in range(1 + len(self.slipped))]
        self.read(frozenset())

    def read(self, without: frozenset[str]) -> None:
        """Evaluate the lines, without the handed adjoints of these names."""
        self._without, self._noise = without, {}
        given = {n: line for n, line in self.given.items() if n not in without}
        bars = self.point.cotangents(self.case)
        loss = not self.case.cotangents
        with np.errstate(all="ignore"):
            self.found = local_lines(self.run, bars, given, loss=loss, known=self._known[0])
            self.others = [
                local_lines(r, bars, given, False, loss, known=known)
                for r, known in zip(self.slipped, self._known[1:], strict=True)
            ]

    def compared(self, line: Line) -> Iterator[tuple[int, Array, Array, Array]]:
        """Time, what the code has, what the derived line gives, and the bound."""
        noise = self._noise.get((line.of, line.name), {})
        for t, seen in self._seen(line).items():
            want, size = (
                self._at(x, line.name, t, seen) for x in (self.found.want, self.found.size)
            )
            moves = [self._at(o.want, line.name, t, seen) - want for o in self.others]
            moved = np.max(np.abs(moves), axis=0) + np.sqrt(np.mean(np.square(moves)))
            bound = self._units * self.point.inner.eps * size + SPREADS * moved
            bound = bound + self.point.form.eps * np.abs(want) + self.point.sunk
            yield t, seen, want, np.nan_to_num(bound) + noise.get(t, 0.0)

    def repeat(self, line: Line) -> bool:
        """Add to the bounds of a line what its errors move by at neighbouring points.

        Only where all its errors are small beside the gradients: no rounding makes large ones.
        Whether it was done.
        """
        key, least = (line.of, line.name), np.sqrt(self.point.inner.eps)
        if key in self._noise:
            return False
        errors = self._errors(line)
        top = max(float(np.max(np.abs(a), initial=0.0)) for a in self.gradients.values())
        if not all(np.all(np.abs(e) <= least * top) for e in errors.values()):
            return False
        if self._near is None:
            self._near = self.calls()
        for other in self._near:
            if other._without != self._without:
                other.read(self._without)
        near = [other._errors(line) for other in self._near]
        self._noise[key] = {
            t: SPREADS * spread(np.nan_to_num(np.stack([o[t] - e for o in near])))
            for t, e in errors.items() if near and all(t in o for o in near)
        }  # fmt: skip
        return True

    def _errors(self, line: Line) -> dict[int, Array]:
        """What the code has less what the derived line gives, by time."""
        return {
            t: seen - self._at(self.found.want, line.name, t, seen)
            for t, seen in self._seen(line).items()
        }

    def _seen(self, line: Line) -> Mapping[int, Array]:
        """What the code has, by time."""
        if not line.of:
            return self.given.get(line.name, {})
        if (line.of, line.name) not in self.gradients:
            return {}
        gradient, network = self.gradients[line.of, line.name], self.run.derivation.network
        if {**network.parameters, **network.inputs}[line.name].axis is None:
            return {0: gradient}
        return {t + 1: a for t, a in enumerate(gradient)}

    @property
    def _units(self) -> float:
        """Rounding of a sum of n terms grows with the root of n."""
        point = self.point
        terms = max(point.steps * point.batch, *point.sizes.values())
        return float(UNITS * np.sqrt(terms + 4))

    @staticmethod
    def _at(table: Mapping[str, Mapping[int, Array]], name: str, t: int, like: Array) -> Array:
        held = table.get(name, {}).get(t)
        return np.zeros_like(like) if held is None else np.broadcast_to(held, like.shape)


@dataclass
class Line:
    """One line of the backward pass while it is judged; `row` is what is reported.

    Attributes
    ----------
    name : str
        The equation, parameter or input that it is the adjoint of.
    of : str
        The user's array, for a gradient; empty for an adjoint.
    verdict : str
        ``"right"``, ``"wrong"`` or ``"another quantity"`` (not ∂L/∂name, and used consistently).
    first : int or None
        The first wrong step as the backward pass meets them, from 1.
    """

    name: str
    of: str = ""
    label: str = ""
    verdict: str = "right"
    first: int | None = None
    ratio: float = 0.0
    reads: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()
    derived: str = ""
    said: str = ""
    fitted: str = ""
    back: bool = False

    def row(self) -> Row:
        """The line as it is reported."""
        told = {
            "derived": (self.derived,), "reads": self.reads, "unseen": self.unseen,
            "mistake": (self.said,) * bool(self.said), "fit": (self.fitted,) * bool(self.fitted),
            "another-quantity": (f"not ∂L/∂{self.name}",) * (self.verdict == "another quantity"),
        }  # fmt: skip
        reasons = tuple(Finding(kind, x) for kind, said in told.items() for x in said)
        verdict = Verdict.FAIL if self.verdict == "wrong" else Verdict.PASS
        nothing = (float("nan"),) * 4
        return Row(
            self.label, (), verdict, self.ratio, "", *nothing,
            reasons=reasons, step=self.first or 0, source=self.name,
        )  # fmt: skip


def points_of(
    places: Sequence[ModelPoint], subject: Subject, derivation: Derivation, seed: int
) -> list[LinePoint]:
    """Calls of the backward pass that hand something over."""
    out = []
    for here in places:
        runs: list[Run] = []
        for case in here.cases if here.single_steps else here.cases[:CASES]:
            call = _call(here, case, subject, here.arrays)
            if call[1]:
                runs = runs or _runs(here, derivation, seed)
                calls = partial(_neighbours, here, case, subject, derivation, seed)
                out.append(_point(here, case, runs, call, calls))
    return out


#: Gradients, adjoints that were handed over, and saved values.
_Call = tuple[dict[str, Array], Handed, Handed]


def _call(here: ModelPoint, case: Case, subject: Subject, arrays: dict[str, Array]) -> _Call:
    users = here.users(case) if subject.with_cotangents else None
    got = subject.gradients(here.fitted, arrays, users)
    return got, *handed_over(here.fitted, here.lengths, here.sizes, dict(subject.handed))


def _point(
    here: ModelPoint, case: Case, runs: list[Run], call: _Call,
    calls: Callable[[], list[LinePoint]] = list,
) -> LinePoint:  # fmt: skip
    given, saved = (_as_terms_take(runs[0], line) for line in call[1:])
    own, *slipped = (_with(r, saved) for r in runs)
    return LinePoint(here, case, given, _by_piece(here, call[0], own), own, slipped, calls)


def _neighbours(
    here: ModelPoint, case: Case, subject: Subject, derivation: Derivation, seed: int
) -> list[LinePoint]:
    """The same call with all arrays moved by one unit in the last place, as for the verdict."""
    rng = generator(seed, Stream.GRADIENT_NEIGHBOURS)
    out = []
    for _ in range(NEIGHBOURS):
        arrays = neighbour(here.arrays, here.form, rng, here.fitted)
        columns = here.columns({**here.values, **here.fitted.unpack(arrays)})
        with np.errstate(all="ignore"):
            run = Run(derivation, columns, here.sizes, here.lengths)
        out.append(_point(here, case, [run], _call(here, case, subject, arrays)))
    return out


def _runs(here: ModelPoint, derivation: Derivation, seed: int) -> list[Run]:
    columns = here.columns(here.values)
    rng = generator(seed, Stream.LINE_ROUNDING)
    kind = randomly_rounded(here.inner.eps, rng)
    with np.errstate(all="ignore"):
        run = Run(derivation, columns, here.sizes, here.lengths)
        return [run] + [
            Run(derivation, columns, here.sizes, here.lengths, kind) for _ in range(DRAWS)
        ]


def _with(run: Run, saved: Handed) -> Run:
    """The same run on saved values of the code's own."""
    if not saved:
        return run
    other = object.__new__(Run)
    other.__dict__ = {**run.__dict__, "series": {**run.series}}
    for name, line in saved.items():
        other.series[name] = {**run.series[name], **line}
    return other


def _as_terms_take(run: Run, handed: Handed) -> Handed:
    """Adjoints or values of equations with the batch where terms have it."""
    shapes = {e.name: e.shape for s in run.derivation.network.scans for e in s.equations}
    refs = {n: Ref(n, "sequence", replace(shapes[n], batch=True)) for n in handed}
    return {n: {t: run.inward(refs[n], a) for t, a in line.items()} for n, line in handed.items()}


def _by_piece(here: ModelPoint, got: Mapping[str, Array], run: Run) -> dict[tuple[str, str], Array]:
    """Gradients by (user's array, definition's name), as terms take them."""
    network, out = here.network, {}
    refs = {**network.parameters, **network.inputs}
    for user, array in got.items():
        for piece in here.fitted.pieces[user]:
            part = piece.sign * np.asarray(array).reshape(-1)[piece.index]
            ref = refs[piece.name]
            out[user, piece.name] = run.inward(ref, to_columns(ref, part))
    return out


def _lines(points: list[LinePoint], derivation: Derivation) -> list[Line]:
    """All lines there are, in the order in which a backward pass meets them."""
    from ...calculus.printing.text import to_text
    from ...derivation.pages.adjoints import line_of

    handed = {n for p in points for n in p.given}
    out = []
    for program in reversed(derivation.scans):
        for e in reversed(program.equations):
            if e.name in handed:
                label = to_text(e.symbol.with_(mark="bar"))
                out.append(Line(e.name, label=label, back=program.scan.reverse))
    fitted = points[0].point.fitted
    differentiated = {r.name for r in derivation.differentiated()}
    for user in fitted.arguments:
        pieces = [p.name for p in fitted.pieces[user] if p.name in differentiated]
        for name in pieces:
            if any((user, name) in p.gradients for p in points):
                label = f"d{user}" + (f" ({name})" if len(fitted.pieces[user]) > 1 else "")
                out.append(Line(name, user, label))
    for line in out:
        page = line_of(derivation, line.name)
        line.derived = "0" if page is None else to_text(page.right)
        line.reads = _reads(derivation, line.name)
        line.unseen = tuple(f"δ{n}" for n in line.reads if n not in handed)
    return out


def _reads(derivation: Derivation, name: str) -> tuple[str, ...]:
    """Equations whose adjoints a line reads; a start reads those of its state."""
    found = [e.equation.name for e in derivation.readers(name)]
    for ref in wholes_of(derivation.network, {name}):
        found += [e.equation.name for e in derivation.readers(ref.name)]
    for program in derivation.scans:
        for state in program.scan.states:
            if any(s.ref is not None and s.ref.name == name for s in state.initial):
                found += [e.equation.name for e in derivation.readers(state.name)]
            if state.name == name:
                found += [e.equation.name for e in derivation.readers(state.final)]
    return tuple(dict.fromkeys(found))


def _judge(points: list[LinePoint], lines: list[Line]) -> dict[tuple[str, str], tuple[float, int]]:
    """The wrong lines: largest error ÷ bound, and the first wrong step in backward order."""
    wrong: dict[tuple[str, str], tuple[float, int]] = {}
    for line in lines:
        worst, first = 0.0, 0
        for point in points:
            ratios = _ratios(point, line)
            if any(r > 1 for r in ratios.values()) and point.repeat(line):
                ratios = _ratios(point, line)
            for t, high in ratios.items():
                if high > 1 and (not first or (t < first if line.back else t > first)):
                    first = t
                worst = max(worst, high)
        line.ratio = worst
        if worst > 1:
            wrong[line.of, line.name] = worst, first
    return wrong


def _ratios(point: LinePoint, line: Line) -> dict[int, float]:
    """The largest error ÷ bound of a line at every time."""
    out = {}
    for t, got, want, bound in point.compared(line):
        error = np.abs(got - want)
        with np.errstate(all="ignore"):
            ratio = np.where(error == 0, 0.0, error / bound)
        out[t] = float(np.max(np.where(np.isnan(ratio), np.inf, ratio), initial=0.0))
    return out


def judge_lines(
    network: Network, places: Sequence[ModelPoint], subject: Subject, seed: int,
    explain: Callable[[list[LinePoint], Line, Derivation], None],
) -> list[Line]:  # fmt: skip
    """Judge every adjoint that is handed over and every gradient, each from what it reads.

    ``explain`` puts into a wrong line what it is instead.
    """
    derivation = derive(network)
    points = points_of(places, subject, derivation, seed)
    if not points:
        return []
    lines = _lines(points, derivation)
    wrong = _judge(points, lines)
    apart: frozenset[str] = frozenset()
    for name in [n for of, n in wrong if not of]:
        if ("", name) not in wrong:
            continue
        trial = apart | {name}
        for p in points:
            p.read(trial)
        now = _judge(points, lines)
        rest = {k: v for k, v in now.items() if k[1] not in trial or k[0]}
        before = {k: v for k, v in wrong.items() if k[1] not in trial or k[0]}
        # With the derived adjoint in its place, lines that read it come right, and none goes wrong.
        if set(rest) < set(before):
            apart, wrong = trial, now
    for p in points:
        p.read(apart)
    wrong = _judge(points, lines)
    if not any(of for of, _ in wrong) and _unused(wrong, lines, apart, derivation):
        apart |= {n for of, n in wrong if not of}
    for line in lines:
        if not line.of and line.name in apart:
            line.verdict = "another quantity" if ("", line.name) in wrong else "right"
        elif (line.of, line.name) in wrong:
            line.verdict, first = "wrong", wrong[line.of, line.name][1]
            line.first = first or None
    for line in lines:
        if line.verdict == "wrong":
            explain(points, line, derivation)
    return lines


def _unused(
    wrong: Mapping[tuple[str, str], Any], lines: list[Line], apart: frozenset[str],
    derivation: Derivation,
) -> bool:  # fmt: skip
    """Whether no line that was judged reads what is wrong, through what nobody has seen either."""
    names = {n for of, n in wrong if not of} - apart
    handed = {line.name for line in lines if not line.of}
    stack = [n for line in lines for n in line.reads]
    read: set[str] = set()
    while stack:
        name = stack.pop()
        if name not in read:
            read.add(name)
            stack += () if name in handed else _reads(derivation, name)
    return bool(names) and not names & read
