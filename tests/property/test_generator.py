"""The generator of random definitions: it reaches the whole language, and it finds faults.

A fault planted in any family of any rule is found by a few dozen definitions.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradcheck_rnn import api
from gradcheck_rnn.calculus.rules import RULES, Rule
from gradcheck_rnn.calculus.terms import Num, Scale, Term, subterms
from gradcheck_rnn.derivation import derive
from gradcheck_rnn.derivation.evaluate import bptt, forward
from gradcheck_rnn.derivation.tangents import rtrl
from gradcheck_rnn.errors import GradcheckError
from gradcheck_rnn.language.network import Network
from tests.strategies.choices import Drawn, Replayed, Seeded
from tests.strategies.random_cells import emit_file, random_cell
from tests.strategies.random_networks import random_file
from tests.strategies.random_stacks import random_stack_cell

from .minimise import minimise
from .pipeline import Disagreement, compare, load_text, measured_roundoff, rules_of
from .reference import SIZES, Arrays, Case, complex_gradients, draw_case

POOL = 60
#: Definitions with heads beside them.
HEADS = 3
FAMILIES: dict[str, Callable[[Any, Arrays], Arrays]] = {
    "pullback": lambda run, g: bptt(run, g),
    "differential": lambda run, g: bptt(run, g, form="kronecker"),
    "pushforward": lambda run, g: rtrl(run, g),
}

#: Random cells go through all kernels, none of which has linear systems; faults in their rule are
#: found by `tests/derivation/test_planted_rules.py`.
DRAWN = [r for r in RULES if r.name != "solution of a linear system"]


@dataclass
class _Prepared:
    """A random definition with its reference gradients and the rules it meets."""

    seed: int
    case: Case
    truth: Arrays
    roundoff: Arrays
    rules: frozenset[str]


@pytest.fixture(scope="module")
def pool() -> list[_Prepared]:
    plain = [_prepare(load_text(*random_file(Seeded(s), size=5)), s) for s in range(POOL)]
    texts = [random_stack_cell(Seeded(seed), heads=True) for seed in range(HEADS)]
    return plain + [_prepare(load_text(text, "stacked"), s) for s, text in enumerate(texts)]


def _prepare(network: Network, seed: int) -> _Prepared:
    case = draw_case(network, seed, sizes={**SIZES, "n": 2, "m": 3})
    derivation = derive(network)
    made = []
    for dtype in (np.longdouble, np.float64):
        c = case.astype(dtype)
        made.append(bptt(forward(derivation, c.values, c.sizes, c.lengths), c.cotangents))
    return _Prepared(
        seed,
        case.astype(np.longdouble),
        complex_gradients(case),
        measured_roundoff(made[1], made[0]),
        rules_of(derivation)[0],
    )


def _found_by(prepared: _Prepared, wrong: Rule, family: str) -> bool:
    case = prepared.case
    try:
        derivation = derive(case.network, RULES.replaced(wrong))
        run = forward(derivation, case.values, case.sizes, case.lengths)
        made = FAMILIES[family](run, case.cotangents)
        compare(family, made, prepared.truth, prepared.roundoff, case.cotangents)
    except (Disagreement, GradcheckError):
        return True
    return False


def test_the_pool_is_sound_and_meets_every_rule(
    pool: list[_Prepared], gradcheck_summary: Any
) -> None:
    met: Counter[str] = Counter()
    pairs: set[tuple[str, str]] = set()
    for prepared in pool:
        met.update(prepared.rules)
        pairs |= set(itertools.combinations(sorted(prepared.rules), 2))
        rule = next(iter(RULES))
        assert not any(_found_by(prepared, rule, family) for family in FAMILIES)
    names = {r.name for r in DRAWN}
    assert names <= set(met), "rules that no definition of the pool meets"
    possible = len(names) * (len(names) - 1) // 2
    gradcheck_summary.append(
        f"random cells: {len(pool)} definitions meet all {len(names)} rules, and {len(pairs)} of "
        f"{possible} pairs of rules together; rarest {met.most_common()[-1]}"
    )


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("rule", DRAWN, ids=lambda r: r.name.replace(" ", "-"))
def test_a_fault_in_any_rule_is_found(
    rule: Rule, family: str, pool: list[_Prepared], gradcheck_summary: Any
) -> None:
    if rule.name in ("comparison", "frozen value", "choice of units"):
        wrong = _let_through(rule)
    else:
        right = getattr(rule, family)
        wrong = replace(rule, **{family: lambda *a: Scale(Num(2), right(*a))})
    tried = 0
    for prepared in pool:
        if rule.name not in prepared.rules:
            continue
        tried += 1
        if _found_by(prepared, wrong, family):
            gradcheck_summary.append(
                "random cells: a fault planted in any family of any rule is found "
                f"by definitions of seeds below {POOL}"
            )
            return
    raise AssertionError(f"{tried} definitions meet {rule.name}, none finds a doubled {family}")


def _let_through(rule: Rule) -> Rule:
    def through(node: Term, i: int, x: Term, out: Term) -> Term:
        return x

    return replace(rule, passive=(), differential=through, pullback=through, pushforward=through)


# -- the generator itself ----------------------------------------------------------------------


def test_the_same_seed_gives_the_same_text() -> None:
    for seed in range(20):
        assert random_file(Seeded(seed)) == random_file(Seeded(seed))
    assert random_file(Seeded(1)) != random_file(Seeded(2))


def test_recorded_choices_replay_and_any_list_is_a_definition() -> None:
    rng = np.random.default_rng(3)
    for seed in range(20):
        choices = Seeded(seed)
        text = random_file(choices)
        assert random_file(Replayed(choices.taken)) == text
        some = [int(v) for v in rng.integers(0, 40, size=rng.integers(0, 60))]
        assert isinstance(load_text(*random_file(Replayed(some))), Network)


@settings(max_examples=25)
@given(st.data())
def test_hypothesis_draws_definitions(data: st.DataObject) -> None:
    text = emit_file("Drawn.", [random_cell(Drawn(data.draw), size=3)])
    derivation = api.derive(load_text(text, "random_cell"))
    assert list(derivation.scans)


def test_the_language_is_reached() -> None:
    words = {
        "@", ".T", "**", "tanh(", "sigmoid(", "relu(", "softplus(", "exp(", "log(", "sqrt(",
        "sin(", "cos(", "maximum(", "minimum(", "where(", "abs(", "sum(", "mean(", "dot(",
        "concat(", "split(", "dim(", "softmax(", "log_softmax(", "cross_entropy(", "layer_norm(",
        "cumsum(", "reverse_cumsum(",
        "frozen(", "eye(", "elementwise(", "name(", "np.", " > ", " <= ", "lags=", "outputs=",
        "fixed=", "data=", "at_least=", "reverse=True", "mask=", "initial=", "axis='S'",
        "axis=None", "network.loss(", "network.parameters[", ".final(", "parameter(",
    }  # fmt: skip
    for seed in range(400):
        text, _ = random_file(Seeded(seed))
        words = {w for w in words if w not in text}
    assert not words


def test_minimise_drops_what_the_failure_does_not_need() -> None:
    """A definition that holds a softmax is reduced to little more than a softmax."""

    def holds(choices: list[int]) -> bool:
        network = load_text(*random_file(Replayed(choices), networks=0))
        nodes = {
            type(n).__name__
            for p in derive(network).scans
            for e in p.equations
            for n in subterms(e.rhs)
        }
        return "Softmax" in nodes

    seed = next(
        s
        for s in range(200)
        if "softmax" in random_file(first := Seeded(s), networks=0)[0] and holds(first.taken)
    )
    choices = Seeded(seed)
    before = random_file(choices, networks=0)[0]
    small = minimise(choices.taken, holds, budget=150)
    after = random_file(Replayed(small), networks=0)[0]
    assert holds(small)
    assert len(after) < len(before)


def test_one_wrong_entry_is_refused(pool: list[_Prepared]) -> None:
    """`compare` refuses one wrong entry, whatever its size next to the others."""
    prepared = pool[0]
    name, array = next((n, a) for n, a in prepared.truth.items() if a.size > 1)
    wrong = dict(prepared.truth)
    wrong[name] = array.copy()
    wrong[name].flat[-1] += np.longdouble(1e-9)
    with pytest.raises(Disagreement, match=name):
        compare("x", wrong, prepared.truth, prepared.roundoff, prepared.case.cotangents)
