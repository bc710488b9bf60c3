"""∂h_T/∂h_t and ∂L/∂h_t against the lag T − t, whole and split by path and by gate.

All products go backwards from step T and are kept in log scale, so that 100,000 steps neither
under- nor overflow. Extreme singular values come from QR of the transposed product.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..derivation.program import Edge
from ..errors import UsageError
from .accumulate import LogMatrix, QRProduct
from .system import System
from .threads import few_threads
from .trajectory import Segment, backward

__all__ = ["Decay", "decay", "lags_to_show", "norm_at", "path_names", "singular_values_of"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Decay:
    """Natural logarithms of norms against the lag.

    Attributes
    ----------
    lags : array of int ``(k,)``
        T − t; lag 0 is the identity.
    norm, smallest : array ``(k,)``
        log σ_max and log σ_min of ∂s_T/∂s_t for the joint state s.
    blocks : dict
        (state at T, state at t) → log ‖∂to_T/∂from_t‖₂, every path counted.
    paths : dict
        Path → log norm of the product along that path alone: ``"c"`` is ∏ ∂c_t/∂c_{t−1},
        ``"h, delay 3"`` what arrives by hops of three steps (−∞ where the lag is no multiple).
    without : dict
        Gate → log ‖∂s_T/∂s_t‖ when what enters through this gate is cut (its value kept).
    only : dict
        Gate → log of the root mean square over the steps of ‖its part of ∂s_t/∂s_{t−1}‖_F.
    adjoint : array ``(k,)``
        log ‖∂L_T/∂s_t‖₂ of the loss at the last step.
    adjoint_by_state : dict
        State → log ‖∂L_T/∂state_t‖₂.
    steps : int
        T.
    loss : str
        What L_T is.
    heads : dict
        State that every head has for itself → log ‖∂state⁽ʰ⁾_T/∂state⁽ʰ⁾_t‖₂ with every path
        counted, ``(k, heads)``.
    """

    lags: Array
    norm: Array
    smallest: Array
    blocks: dict[tuple[str, str], Array]
    paths: dict[str, Array]
    without: dict[str, Array]
    only: dict[str, float]
    adjoint: Array
    adjoint_by_state: dict[str, Array]
    steps: int
    loss: str
    heads: dict[str, Array] = field(default_factory=dict)

    def slope(self, curve: Array | None = None) -> float:
        """Growth a step over the second half of the lags (least squares), in nats."""
        y = self.norm if curve is None else curve
        late = (self.lags >= self.lags[-1] / 2) & np.isfinite(y)
        if late.sum() < 2:
            return -math.inf
        return float(np.polyfit(self.lags[late], y[late], 1)[0])


def lags_to_show(steps: int, most: int = 160) -> Array:
    """Lags 0 … steps: all while there are few, then spread evenly; always the first ones."""
    if steps <= most:
        return np.arange(steps + 1)
    fine = np.arange(17)
    even = np.linspace(0, steps, most - 16).round().astype(int)
    return np.unique(np.concatenate([fine, even]))


def singular_values_of(
    backwards: Iterable[Array], n: int, lags: Array, *, xp: Any = np
) -> tuple[Array, Array]:
    """log σ_max and log σ_min of P_k = J_T J_{T−1} … J_{T−k+1} at the given lags k.

    Parameters
    ----------
    backwards : iterable of array ``(m, n, n)``
        Segments of Jacobians, J_T first.
    lags : array of int
        Rising.
    """
    product = QRProduct(n, extremes=True, xp=xp)
    largest, smallest = np.full(len(lags), -np.inf), np.full(len(lags), -np.inf)
    at, k = 0, 0
    for block in backwards:
        transposed = np.ascontiguousarray(np.swapaxes(block, 1, 2))
        done = 0
        while k < len(lags) and lags[k] <= at + len(block):
            product.feed(transposed[done : int(lags[k]) - at])
            done = int(lags[k]) - at
            largest[k], smallest[k] = product.log_extremes()
            k += 1
        if k == len(lags):
            break
        product.feed(transposed[done:])
        at += len(block)
    if k < len(lags):
        raise UsageError(f"lag {int(lags[k])} needs as many steps; {at} came")
    return largest, smallest


def path_names(system: System) -> dict[str, Callable[[Edge], bool]]:
    """Path → which readings belong to it: each state on its own, each delay on its own."""
    out: dict[str, Callable[[Edge], bool]] = {}
    for state in system.states:
        lags = sorted({abs(e.lag or 0) for e in system.entries if e.operand.name == state})
        for lag in lags:
            title = state if len(lags) == 1 else f"{state}, delay {lag}"
            out[title] = lambda e, s=state, k=lag: (  # type: ignore[misc]
                e.operand.name == s and abs(e.lag or 0) == k
            )
    return out


class _Rows:
    """P's rows in log scale, one scale for each state at T: blocks far apart stay exact."""

    def __init__(self, system: System, parts: Mapping[str, slice]) -> None:
        self.system, eye = system, np.eye(system.n)
        self.rows = {name: LogMatrix(eye[at]) for name, at in parts.items()}

    def multiply(self, jacobian: Array) -> None:
        for name, row in self.rows.items():
            if math.isfinite(row.shift):
                self.rows[name] = LogMatrix(row.matrix @ jacobian, row.shift).normalised()

    def block(self, to: str, source: str) -> float:
        return self.part(to, self.system.slot(source, 1).at)

    def part(self, to: str, columns: slice) -> float:
        """log ‖·‖₂ of some columns of the rows of a part."""
        row = self.rows[to]
        return LogMatrix(row.matrix[:, columns], row.shift).normalised().log_norm()


class _Path:
    """The product along one path: hops of `lag` steps from a state to itself."""

    def __init__(self, system: System, keep: Callable[[Edge], bool]) -> None:
        edge = next(e for e in system.entries if keep(e))
        self.state, self.lag, self.keep = edge.operand.name, abs(edge.lag or 0), keep
        slot = system.slot(self.state, 1)
        self.value = LogMatrix(np.eye(slot.stop - slot.start))

    def factor(self, segment: Segment) -> Array | None:
        found = segment.blocks(self.keep)[self.state].get((self.state, self.lag))
        if found is None:
            return None
        return np.broadcast_to(found.dense(), (segment.steps, found.rows, found.cols))

    def multiply(self, lag: int, jacobian: Array | None) -> None:
        """Take in the step that lies `lag` − 1 steps before T."""
        if jacobian is None:
            self.value = LogMatrix(self.value.matrix, -math.inf)
        elif (lag - 1) % self.lag == 0 and math.isfinite(self.value.shift):
            self.value = LogMatrix(self.value.matrix @ jacobian, self.value.shift).normalised()

    def log_norm(self, lag: int) -> float:
        """The log norm at a lag; −∞ where hops of this length do not land."""
        return self.value.log_norm() if lag % self.lag == 0 else -math.inf


def decay(
    system: System,
    steps: int,
    *,
    lags: Array | None = None,
    paths: bool = True,
    gates: bool = True,
    detail: int = 1000,
    cotangent: Array | None = None,
    seed: int = 0,
    xp: Any = np,
    progress: Callable[[int], None] | None = None,
) -> Decay:
    """How the gradient at step T decays over the steps before it.

    Parameters
    ----------
    steps : int
        T: the trajectory starts at its first step, products start at its last.
    lags : array of int, optional
        Lags to report; some 160 from 0 to T when left out.
    paths, gates : bool
        Also each path alone, and without each gate.
    detail : int
        Paths and gates are followed over this many steps; NaN at longer lags.
    cotangent : array ``(n,)``, optional
        ∂L_T/∂s_T. When left out it is that of the network's loss at step T, or, for a network
        without loss, a random direction in the states that are handed out.

    Raises
    ------
    UsageError
        Lags longer than the trajectory.
    """
    shown = lags_to_show(steps) if lags is None else np.unique(np.asarray(lags, dtype=int))
    if shown[0] < 0 or shown[-1] > steps:
        raise UsageError(f"lags must lie between 0 and {steps}; {int(shown[-1])} was asked for")
    follow = _Follower(system, shown, paths, gates, cotangent, seed, detail)

    def segments() -> Iterator[Array]:
        for segment in backward(system, steps):
            jacobians = segment.jacobian()[::-1]
            follow.take(segment, jacobians)
            yield jacobians
            if progress is not None:
                progress(follow.lag)

    with few_threads(system.n):
        norm, smallest = singular_values_of(segments(), system.n, shown, xp=xp)
    return follow.result(norm, smallest, steps)


def norm_at(system: System, steps: int, lag: int) -> float:
    """log ‖∂s_T/∂s_{T−lag}‖₂ alone, without what `decay` finds beside it.

    Raises
    ------
    UsageError
        The lag is longer than the trajectory.
    """
    if not 0 <= lag <= steps:
        raise UsageError(f"lags must lie between 0 and {steps}; {lag} was asked for")
    product, left = LogMatrix(np.eye(system.n)), lag
    with few_threads(system.n):
        for segment in backward(system, steps):
            for jacobian in segment.jacobian()[::-1][:left]:
                if math.isfinite(product.shift):
                    product = LogMatrix(product.matrix @ jacobian, product.shift).normalised()
            left = max(left - segment.steps, 0)
            if not left:
                break
    return product.log_norm()


class _Follower:
    """Everything that is followed beside the QR, one step back at a time."""

    def __init__(
        self,
        system: System,
        lags: Array,
        paths: bool,
        gates: bool,
        cotangent: Array | None,
        seed: int,
        detail: int,
    ) -> None:
        self.detail = detail
        self.system, self.lags, self.seed, self.lag = system, lags, seed, 0
        self._wanted = set(lags.tolist())
        self.loss = "a given direction"
        self.delta = None if cotangent is None else LogMatrix(np.asarray(cotangent, float)[None])
        self.rows = _Rows(system, {s.name: s.at for s in system.slots if s.lag == 1})
        self.parts = {name: system.parts(name) for name in system.states}
        single = {f"{n} {h}": p for n, own in self.parts.items() for h, p in enumerate(own)}
        self.heads = _Rows(system, single)
        self.paths = {t: _Path(system, k) for t, k in path_names(system).items()} if paths else {}
        names = system.ports if gates and len(system.ports) > 1 else ()
        self.without = {g: LogMatrix(np.eye(system.n)) for g in names}
        self.strength: dict[str, list[float]] = {g: [] for g in names}
        self.curves: dict[Any, list[float]] = {}

    def take(self, segment: Segment, jacobians: Array) -> None:
        if self.lag == 0:
            self._begin(segment)
        if self.lag >= self.detail:
            return self._along(jacobians)
        factors = {t: p.factor(segment) for t, p in self.paths.items()}
        parts = {
            g: segment.jacobian(lambda e, g=g: self.system.port(e) == g)[::-1]  # type: ignore[misc]
            for g in self.without
        }
        for g, part in parts.items():
            self.strength[g].extend(np.linalg.norm(part, axis=(1, 2)).tolist())
        for j, jacobian in enumerate(jacobians):
            if self.lag >= min(self.detail, int(self.lags[-1])):
                return self._along(jacobians[j:])
            self._step(jacobian)
            for g, part in parts.items():
                held = self.without[g]
                if math.isfinite(held.shift):
                    made = held.matrix @ (jacobian - part[j])
                    self.without[g] = LogMatrix(made, held.shift).normalised()
            for title, path in self.paths.items():
                factor = factors[title]
                path.multiply(self.lag, None if factor is None else factor[-1 - j])
            if self.lag in self._wanted:
                self._note()
        return None

    def _along(self, jacobians: Array) -> None:
        """The whole alone, beyond the steps over which paths and gates are followed."""
        for jacobian in jacobians:
            if self.lag >= int(self.lags[-1]):
                return
            self._step(jacobian)
            if self.lag in self._wanted:
                self._note()

    def _step(self, jacobian: Array) -> None:
        self.lag += 1
        self.rows.multiply(jacobian)
        self.heads.multiply(jacobian)
        if self.delta is not None:
            self.delta = LogMatrix(self.delta.matrix @ jacobian, self.delta.shift).normalised()

    def _begin(self, segment: Segment) -> None:
        if self.delta is None:
            self.delta = self._from_loss(segment)
        self.delta = self.delta.normalised()
        if 0 in self._wanted:
            self._note()

    def _from_loss(self, segment: Segment) -> LogMatrix:
        network = self.system.model.network
        seeds = [r.name for r in network.loss_terms]
        given = segment.gradient(seeds, segment.steps - 1) if seeds else None
        if given is not None:
            self.loss = "the loss at the last step" if network.loss_terms[0].axis else "the loss"
            return LogMatrix(given[None])
        handed = {r.name for r in network.outputs.values() if r.kind != "final"}
        handed &= set(self.system.states)
        chosen = handed or set(self.system.states)
        direction = np.zeros(self.system.n)
        rng = np.random.default_rng(self.seed)
        for slot in self.system.slots:
            if slot.lag == 1 and slot.name in chosen:
                direction[slot.at] = rng.standard_normal(slot.stop - slot.start)
        self.loss = f"a random unit direction in {', '.join(sorted(chosen))} at the last step"
        return LogMatrix((direction / np.linalg.norm(direction))[None])

    def _note(self) -> None:
        def put(key: Any, value: float) -> None:
            self.curves.setdefault(key, []).append(value)

        for to in self.rows.rows:
            for source in self.system.states:
                put(("block", to, source), self.rows.block(to, source))
        for name, own in self.parts.items():
            for h, columns in enumerate(own):
                put(("head", name, str(h)), self.heads.part(f"{name} {h}", columns))
        delta = self.delta
        if delta is not None:
            put("adjoint", delta.log_frobenius())
            for source in self.system.states:
                part = delta.matrix[:, self.system.slot(source, 1).at]
                put(("adjoint", source), LogMatrix(part, delta.shift).normalised().log_frobenius())
        known = self.lag <= self.detail
        for title, path in self.paths.items():
            put(("path", title), path.log_norm(self.lag) if known else math.nan)
        for g, held in self.without.items():
            put(("without", g), held.log_norm() if known else math.nan)

    def result(self, norm: Array, smallest: Array, steps: int) -> Decay:
        def curves(kind: str) -> dict[Any, Array]:
            keys = [k for k in self.curves if isinstance(k, tuple) and k[0] == kind]
            return {(k[1:] if len(k) > 2 else k[1]): np.array(self.curves[k]) for k in keys}

        with np.errstate(divide="ignore"):
            only = {g: float(np.log(np.mean(np.square(v))) / 2) for g, v in self.strength.items()}
        return Decay(
            self.lags,
            norm,
            smallest,
            curves("block"),
            curves("path"),
            curves("without"),
            only,
            np.array(self.curves["adjoint"]),
            curves("adjoint"),
            steps,
            self.loss,
            {
                name: np.stack([curves("head")[name, str(h)] for h in range(len(own))], axis=1)
                for name, own in self.parts.items()
                if own
            },
        )
