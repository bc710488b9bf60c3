"""Blocks of random definitions: what a worker does, and what is put together from all of them."""

from __future__ import annotations

import itertools
import re
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

from gradcheck_rnn.calculus.rules import RULES
from gradcheck_rnn.derivation import Derivation
from tests.strategies.choices import Choices, Replayed, Seeded
from tests.strategies.random_networks import random_file

from .generated import numpy_stage
from .minimise import minimise
from .on_device import OnDevice, run_together
from .pipeline import Examined, Stage, examine, load_text
from .reference import REGIMES, Arrays, Case

__all__ = ["STAGES", "Failure", "Report", "run_block", "shrink"]

#: Stages beyond the derivation itself.
STAGES: tuple[Stage, ...] = (numpy_stage,)


@dataclass(frozen=True)
class Failure:
    """A definition that failed: its seed, what happened, and its source text."""

    seed: int
    what: str
    source: str

    @property
    def kind(self) -> str:
        """What happened without names and numbers, to group failures."""
        return re.sub(r"[-+]?\d[\w.+-]*", "#", self.what.split("\n")[0])[:70]


@dataclass
class Report:
    """What a number of definitions came to."""

    cells: int = 0
    networks: int = 0
    fragile: int = 0
    misled: int = 0
    equations: list[int] = field(default_factory=list)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    rules: Counter[str] = field(default_factory=Counter)
    pairs: Counter[tuple[str, str]] = field(default_factory=Counter)
    identities: Counter[str] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)

    def add(self, seen: Examined, network: bool) -> None:
        self.cells += 1
        self.networks += network
        self.fragile += seen.fragile
        self.misled += seen.misled
        self.equations.append(seen.equations)
        for stage, spent in seen.seconds.items():
            self.seconds.setdefault(stage, []).append(spent)
        self.rules.update(seen.rules)
        self.pairs.update(itertools.combinations(sorted(seen.rules), 2))
        self.identities.update(seen.identities)

    def merge(self, other: Report) -> None:
        self.cells += other.cells
        self.networks += other.networks
        self.fragile += other.fragile
        self.misled += other.misled
        self.equations += other.equations
        for stage, spent in other.seconds.items():
            self.seconds.setdefault(stage, []).extend(spent)
        self.rules.update(other.rules)
        self.pairs.update(other.pairs)
        self.identities.update(other.identities)
        self.failures += other.failures

    def missing_pairs(self) -> list[tuple[str, str]]:
        """Pairs of rules that never occurred in one definition."""
        names = sorted(r.name for r in RULES)
        return [p for p in itertools.combinations(names, 2) if not self.pairs[p]]

    def stage_lines(self) -> list[str]:
        """Median and 95th percentile of every stage."""
        lines = []
        for stage, spent in self.seconds.items():
            p95 = sorted(spent)[max(0, -(-95 * len(spent) // 100) - 1)]
            lines.append(
                f"{stage:22}{len(spent):7} runs   median {statistics.median(spent):.4f} s"
                f"   p95 {p95:.4f} s"
            )
        return lines

    def pair_table(self) -> list[str]:
        """How often each rule occurred, and with each other rule: one row a rule."""
        names = [r.name for r in RULES]
        width = max(len(n) for n in names) + 2
        head = " " * (width + 8) + "".join(f"{k:>6}" for k in range(1, len(names) + 1))
        lines = [head]
        for k, a in enumerate(names, 1):
            row = "".join(
                f"{'·' if a == b else self.pairs[min(a, b), max(a, b)]:>6}" for b in names
            )
            lines.append(f"{k:2} {a:{width}}{self.rules[a]:5}{row}")
        return lines


def make(choices: Choices, size: int, networks: int) -> tuple[str, str]:
    return random_file(choices, size=size, networks=networks)


def run_block(
    seeds: Iterable[int],
    *,
    size: int = 5,
    networks: int = 25,
    stages: Sequence[Stage] = STAGES,
    device: bool = True,
) -> Report:
    """Examine the definitions of the given seeds; failures are collected, not raised.

    ``device`` says whether CuPy modules are generated and run too (on the bench without a GPU).
    """
    report = Report()
    waiting: list[OnDevice] = []
    is_network: dict[int, bool] = {}
    for seed in seeds:
        text, name = make(Seeded(seed), size, networks)
        is_network[seed] = name == "network"

        def keep(
            derivation: Derivation,
            case: Case,
            truth: Arrays,
            seen: Examined,
            seed: int = seed,
            text: str = text,
        ) -> None:
            waiting.append(OnDevice(seed, text, derivation, case, truth, seen.roundoff, seen))

        try:
            # Mostly ordinary values; the regime is told by the seed, so that it is replayed too.
            regime = REGIMES[0] if seed % 4 else REGIMES[seed // 4 % len(REGIMES)]
            load = partial(load_text, text, name)
            seen = examine(load, seed=seed, regime=regime, stages=(*stages, keep))
            if seen.fragile:
                report.add(seen, is_network[seed])
        except Exception as problem:  # any exception is a finding
            report.failures.append(Failure(seed, f"{type(problem).__name__}: {problem}", text))
    bad: set[int] = set()

    def failed(one: OnDevice, problem: Exception) -> None:
        bad.add(one.seed)
        what = f"{type(problem).__name__}: {problem}"
        report.failures.append(Failure(one.seed, f"on the device: {what}", one.source))

    if device:
        run_together(waiting, failed)
    for one in waiting:
        if one.seed not in bad:
            report.add(one.seen, is_network[one.seed])
    return report


def shrink(failure: Failure, *, size: int = 5, networks: int = 25, budget: int = 300) -> str:
    """The source of a small definition that fails in the same way."""
    lean = not any(word in failure.kind for word in ("prove", "central"))
    device = failure.what.startswith("on the device")

    def found(choices: Choices) -> str:
        text, name = make(choices, size, networks)
        waiting: list[OnDevice] = []
        problems: list[str] = []

        def keep(derivation: Derivation, case: Case, truth: Arrays, seen: Examined) -> None:
            waiting.append(OnDevice(0, text, derivation, case, truth, seen.roundoff, seen))

        try:
            load = partial(load_text, text, name)
            examine(load, seed=failure.seed, stages=(*STAGES, keep), lean=lean)
        except Exception as problem:
            problems.append(f"{type(problem).__name__}: {problem}")
        if device and not problems:
            prefix = "on the device: "
            run_together(waiting, lambda _, p: problems.append(f"{prefix}{type(p).__name__}: {p}"))
        return Failure(0, problems[0], "").kind[:40] if problems else ""

    first = Seeded(failure.seed)
    wanted = found(first)
    if not wanted:
        return failure.source
    small = minimise(first.taken, lambda c: found(Replayed(c)) == wanted, budget=budget)
    return make(Replayed(small), size, networks)[0]
