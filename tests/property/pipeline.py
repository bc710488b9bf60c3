"""What is asked of every random definition, stage by stage, each stage timed."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gradcheck_rnn import api
from gradcheck_rnn.calculus.terms import subterms
from gradcheck_rnn.derivation import Derivation
from gradcheck_rnn.derivation.evaluate import bptt, forward
from gradcheck_rnn.derivation.proof import prove
from gradcheck_rnn.derivation.rtrl import rtrl
from gradcheck_rnn.language.network import Network

from .reference import (
    Arrays,
    Case,
    at_a_kink,
    central_differences,
    complex_gradients,
    decisions,
    draw_case,
    kinks_within,
    loss_of,
)

__all__ = ["Disagreement", "Examined", "Stage", "compare", "examine", "load_text", "rules_of"]


class Disagreement(AssertionError):
    """Two ways to the same numbers that do not agree; names the stage and the gradient."""


@dataclass
class Examined:
    """What was found on the way: seconds a stage, rules and vec identities met.

    ``roundoff`` is what the generated NumPy module loses in double precision. ``fragile`` says
    that the definition compares a number with itself computed in another way, so that only the
    proof, which leaves all branches open, can say anything. ``misled`` counts directions along
    which the differences first stated too small an error: by chance, or because kinks within
    their steps pull a row of them to one wrong value.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    rules: frozenset[str] = frozenset()
    identities: frozenset[str] = frozenset()
    equations: int = 0
    roundoff: Arrays = field(default_factory=dict)
    fragile: bool = False
    misled: int = 0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - start
            self.seconds[name] = self.seconds.get(name, 0.0) + spent


#: A further stage: derivation, batch of values, gradients of the batch, record.
Stage = Callable[[Derivation, Case, Arrays, Examined], None]


def load_text(text: str, name: str) -> Network:
    """Take source text in through the public door: a file and ``file.py:name``."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "definition.py"
        path.write_text(text, encoding="utf-8")
        return api.load(f"{path}:{name}")


def rules_of(derivation: Derivation) -> tuple[frozenset[str], frozenset[str]]:
    """Names of the rules whose nodes a derivation holds, and of the vec identities it uses."""
    by_node = {r.node: r.name for r in derivation.rules}
    nodes = {type(n) for p in derivation.scans for e in p.equations for n in subterms(e.rhs)}
    rules = {by_node[n] for n in nodes if n in by_node}
    identities = {i for e in derivation.edges for i in e.identities}
    return frozenset(rules), frozenset(identities)


def compare(stage: str, ours: Arrays, theirs: Arrays, roundoff: Arrays, cotangents: Arrays) -> None:
    """Raise unless the two agree.

    Both are computed in extended precision and may differ by what double precision would lose:
    by the roundoff measured between the two precisions, or by a few units of double precision of
    the largest number that is added up, whichever is larger. That is about 2000 times what
    extended precision loses.
    """
    largest = max(
        float(np.max(np.abs(a), initial=1.0)) for a in (*theirs.values(), *cotangents.values())
    )
    floor = 4 * np.finfo(np.float64).eps * largest
    for name, b in theirs.items():
        a = ours[name]
        if a.shape != b.shape:
            raise Disagreement(f"{stage}: {name} has shape {a.shape}, expected {b.shape}")
        bound = max(floor, float(np.max(roundoff[name], initial=0.0)))
        if not (np.isfinite(a).all() and np.isfinite(b).all() and np.isfinite(bound)):
            raise Disagreement(f"{stage}: {name} is not finite")
        gap = float(np.max(np.abs(a - b), initial=0.0))
        if not gap <= bound:
            raise Disagreement(f"{stage}: {name} differs by {gap:.3g}, allowed {bound:.3g}")


def measured_roundoff(single: Arrays, double: Arrays) -> Arrays:
    """What the lower precision loses, entry by entry."""
    return {n: np.abs(single[n].astype(np.longdouble) - double[n]) for n in double}


def examine(
    load: Callable[[], Network],
    *,
    seed: int = 0,
    regime: str = "ordinary",
    stages: Sequence[Stage] = (),
    lean: bool = False,
) -> Examined:
    """Take one definition through all stages; raises at the first that fails.

    Parameters
    ----------
    load : callable
        Takes the definition in through the public door.
    seed : int
        Of the values.
    regime : str
        One of `reference.REGIMES`.
    stages : sequence of callables
        More stages (generated code), called with the derivation, a batch of values, the
        gradients of the batch and the record.
    lean : bool
        Leave out the proof and the central differences (to look for a failure elsewhere).
    """
    seen = Examined()
    with seen.stage("trace"):
        network = load()
    with seen.stage("derive"):
        derivation = api.derive(network)
        seen.rules, seen.identities = rules_of(derivation)
    seen.equations = sum(len(p.equations) for p in derivation.scans)
    if not lean:
        with seen.stage("prove"):
            proof = prove(derivation, seed=seed)
        if not proof.proved:
            raise Disagreement(f"prove: {', '.join(proof.mismatches[:4]) or 'nothing compared'}")
    batched = draw_case(network, seed, batch=3, regime=regime)
    if decisions(batched).rounded:
        seen.fragile = True
        return seen
    with seen.stage("complex step"):
        together = complex_gradients(batched)
    single = batched.sequence(0)
    with seen.stage("complex step"):
        truth = complex_gradients(single)
    check_one(derivation, single, truth, seen)
    with seen.stage("batch"):
        ours, roundoff = _matrix(derivation, batched)
        compare("batch gradient", ours, together, roundoff, batched.cotangents)
    if not lean and not at_a_kink(single, seed):
        with seen.stage("central differences"):
            _differences(single, truth, seed, seen)
    for stage in stages:
        stage(derivation, batched, together, seen)
    return seen


#: How far several kinks within the steps may exceed the error that differences state.
_MISLED = 10


def _differences(case: Case, truth: Arrays, seed: int, seen: Examined) -> None:
    """Directional derivatives by central differences, within the errors they state.

    The roundoff in a stated error is measured close to the point. By chance it is too small, or
    because a value such as ``log(1 + x**2)`` at a tiny x is a staircase with steps wider than
    that; then the same line is asked again, the loss computed in extended precision.
    """
    wrong = _beyond(case, truth, seed)
    if not wrong:
        return
    again = _beyond(case, truth, seed, np.longdouble)
    for k in wrong:
        if k in again:
            raise Disagreement(again[k])
        seen.misled += 1


def _beyond(case: Case, truth: Arrays, seed: int, dtype: Any = np.float64) -> dict[int, str]:
    """The directions along which differences exceed their own error, and by how much."""
    estimates, directions = central_differences(case, seed, dtype=dtype)
    out: dict[int, str] = {}
    for k, found in enumerate(estimates):
        along = {n: v[k] for n, v in directions.items()}
        value = sum(float((truth[n] * v).sum()) for n, v in along.items())
        slack = 64 * np.finfo(np.float64).eps * abs(value)
        gap = abs(found.value - value)
        if not found.trusted or gap <= found.error + slack:
            continue
        # The highest order takes the smallest step and its doubles up to eight times that.
        near = dtype is np.longdouble and gap <= _MISLED * found.error
        if near and kinks_within(case, along, 8 * found.step):
            continue
        out[k] = (
            f"central differences: {found.value:.12g} ± {found.error:.2g} along direction {k}, "
            f"the gradient gives {value:.12g}"
        )
    return out


def _matrix(derivation: Derivation, case: Case) -> tuple[Arrays, Arrays]:
    """Matrix BPTT in extended precision, and the roundoff of double precision."""
    wide, narrow = case.astype(np.longdouble), case.astype(np.float64)
    found = []
    for c in (wide, narrow):
        run = forward(derivation, c.values, c.sizes, c.lengths)
        found.append(bptt(run, c.cotangents))
    return found[0], measured_roundoff(found[1], found[0])


def check_one(derivation: Derivation, case: Case, truth: Arrays, seen: Examined) -> None:
    """One sequence: forward values, matrix and Kronecker BPTT and RTRL against the truth."""
    wide = case.astype(np.longdouble)
    with seen.stage("matrix BPTT"):
        ours, roundoff = _matrix(derivation, case)
        run = forward(derivation, wide.values, wide.sizes, wide.lengths)
        total: Any = sum((g * run.output(n)).sum() for n, g in wide.cotangents.items())
        for ref in derivation.network.loss_terms:
            total = total + sum(
                a.sum() for t, a in run.series[ref.name].items() if t >= 1 or not ref.axis
            )
        loss = loss_of(wide, wide.values)
        size = sum(float(np.abs(g).sum()) for g in wide.cotangents.values()) + 1
        if not abs(float(total - loss)) <= 1e2 * np.finfo(np.float64).eps * size:
            raise Disagreement(f"forward: the equations give {total}, the definition {loss}")
        compare("matrix BPTT", ours, truth, roundoff, wide.cotangents)
    with seen.stage("Kronecker BPTT"):
        kronecker = bptt(run, wide.cotangents, form="kronecker")
        compare("Kronecker BPTT", kronecker, truth, roundoff, wide.cotangents)
    with seen.stage("RTRL"):
        tangents = rtrl(run, wide.cotangents)
        compare("RTRL", tangents, truth, roundoff, wide.cotangents)
