"""Lines that are wrong in ways on no list are found from the gradients alone."""

from __future__ import annotations

from collections import Counter
from itertools import combinations, islice

import numpy as np
import pytest

from benchmarks.blind_faults import FAULTS, check, judge
from gradcheck_rnn.calculus.terms import Hadamard, Neg, Ones, Plus, Power, Sym, has_bar
from gradcheck_rnn.derivation.edits import Edits
from gradcheck_rnn.derivation.nearmisses import other_terms
from gradcheck_rnn.derivation.program import Edge
from gradcheck_rnn.derivation.subterms import both_changes
from gradcheck_rnn.verify.diagnosis import wrong_lines as module
from gradcheck_rnn.verify.diagnosis.candidates import Candidate
from gradcheck_rnn.verify.diagnosis.effects import Effects
from gradcheck_rnn.verify.diagnosis.unlisted import located
from gradcheck_rnn.verify.diagnosis.wrong_lines import WrongLines, wrong_lines
from gradcheck_rnn.verify.harness.compare import Comparison

from .study import Laboratory


@pytest.fixture(scope="module", params=["gru", "elman_hidden"])
def cell(request: pytest.FixtureRequest) -> Laboratory:
    return Laboratory(request.param)


def odd(edge: Edge) -> Candidate:
    """Code whose line gives the square of what it should: linear in nothing, on no list."""
    square = Hadamard(edge.pullback, edge.pullback)
    return Candidate(f"odd {edge.id}", "odd", "", Edits(terms={edge.id: square}))


def ill(laboratory: Laboratory, *edges: Edge) -> list[Comparison]:
    mistake = odd(edges[0])
    for e in edges[1:]:
        mistake = mistake & odd(e)
    return [c for c in laboratory.faulty(mistake) if c.wrong]


def test_a_line_that_is_wrong_in_any_way_is_among_the_smallest_sets(cell: Laboratory) -> None:
    for edge in cell.derivation.edges:
        wrong = ill(cell, edge)
        assert wrong, edge.id
        sets = located(cell.bench, wrong)
        assert [len(s.names) for s in sets] == [1] * len(sets), (edge.id, sets)
        assert any(edge.operand.name in s.names for s in sets), (edge.id, sets)


def test_two_lines_are_found_together(cell: Laboratory) -> None:
    edges = list(cell.derivation.edges)
    pairs = [(a, b) for a in edges[::3] for b in edges[::4] if a.operand.name != b.operand.name]
    rng = np.random.default_rng(3)
    exact = 0
    chosen = [pairs[k] for k in rng.choice(len(pairs), min(len(pairs), 10), replace=False)]
    for a, b in chosen:
        sets = located(cell.bench, ill(cell, a, b))
        # One line alone may make what two do, where one lies behind the other.
        assert len(sets[0].names) <= 2, (a.id, b.id, sets)
        exact += any({a.operand.name, b.operand.name} == set(s.names) for s in sets)
    assert exact >= 0.7 * len(chosen)


def all_sets(effects: Effects) -> list[WrongLines]:
    """The smallest sets of lines that make the errors, of all there are one by one."""
    lines = module._Lines(effects)
    for count in (1, 2, 3):
        found = []
        for own in range(count, -1, -1):
            for adjoints in combinations(lines.rows, own):
                for gradients in combinations(sorted(lines.wrong), count - own):
                    arrived = set(gradients).union(*(lines.reached[n] for n in adjoints))
                    if lines.wrong <= arrived:
                        found.append(lines.explain(adjoints, gradients))
        some = [f for f in found if f is not None]
        if some:
            return sorted(some, key=lambda f: (-len(f.adjoints), f.unknowns - f.entries))
    return []


def three_wrong_lines(cell: Laboratory, count: int) -> list[tuple[set[str], Effects]]:
    """Places at which three lines are wrong, of adjoints and of gradients alike."""
    edges = list({e.operand.name: e for e in cell.derivation.edges}.values())
    rng, out = np.random.default_rng(5), []
    for _ in range(count):
        chosen = [edges[k] for k in rng.choice(len(edges), 3, replace=False)]
        for place in ill(cell, *chosen)[:2]:
            out.append(({e.operand.name for e in chosen}, Effects(cell.bench, place)))
    return out


def test_no_set_that_fits_is_refuted_of_three_wrong_lines(cell: Laboratory) -> None:
    three = 0
    for planted, place in three_wrong_lines(cell, 12):
        sets = wrong_lines(place)
        assert sets == all_sets(place), planted
        three += planted in [set(s.names) for s in sets]
    assert three >= 3


def test_lines_that_are_refuted_too_soon_are_missed(
    cell: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the test before compares differs where less than rounding refutes a set."""
    monkeypatch.setattr(module, "CLEAR", 0.0)
    places = [place for _, place in three_wrong_lines(cell, 4)]
    assert any(wrong_lines(place) != all_sets(place) for place in places)


def test_what_no_line_makes_is_made_by_none(cell: Laboratory) -> None:
    """Noise in every gradient is of no line; the sets that remain are the gradients' own lines."""
    wrong = cell.faulty(odd(next(iter(cell.derivation.edges))))
    rng = np.random.default_rng(4)
    for c in wrong:
        for r in c.records:
            r.got[...] = r.want + rng.standard_normal(r.want.shape)
            r.ratio[...] = np.abs(r.got - r.want) / np.maximum(r.bound, 1e-16)
    sets = wrong_lines(Effects(cell.bench, wrong[0]))
    assert all(not s.adjoints for s in sets), sets


def test_near_terms_are_of_the_shape_of_what_they_stand_for(cell: Laboratory) -> None:
    for edge in cell.derivation.edges:
        terms = [t for _, t in islice(other_terms(cell.derivation, edge), 400)]
        assert all(t.shape == edge.pullback.shape for t in terms)
        assert all(has_bar(t) for t in terms)


def test_a_report_names_the_line_that_no_known_mistake_is_in() -> None:
    some = "dh_next * np.linspace(0.5, 1.5, len(dh_next))[:, None]"
    report = check("pooled", [("dh = dm / T + dh_next", f"dh = dm / T + {some}")])
    assert report.diagnosis is not None
    assert not report.diagnosis.found
    assert ("δh_t",) in report.diagnosis.lines
    assert "makes all of it" in report.sentence()
    assert report.to_json()["diagnosis"]["lines"]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("pooled/relu-of-gradient", "δr instead of a_r in δr ⊙ [a_r > 0]"),
        ("mirnn/other-beta", "beta1 instead of beta2"),
        ("pooled/last-for-mean", "h_final instead of m"),
        ("padded/output-gate-not-masked", "δh_t + δy_t instead of δr_t"),
    ],
)
def test_a_term_near_the_derived_one_is_named_where_the_line_is_known(
    fault: str, said: str
) -> None:
    report = check(fault.split("/")[0], [(FAULTS[fault].before, FAULTS[fault].after)])
    assert report.diagnosis is not None
    assert said in report.diagnosis.matches[0].message


def test_two_changes_of_one_term_are_made_at_once() -> None:
    a, b, c, d = (Sym(n, 3, kind="state", lag=0) for n in "abcd")
    g, one = Sym("g", 3, kind="state", lag=0, mark="bar"), Ones(3)
    slope = Plus(one, Neg(Power(a, 2)))
    term = Hadamard(g, b, slope)
    cases = {
        (Hadamard(g, slope), Hadamard(g, b, Plus(one, Neg(a)))): Hadamard(g, Plus(one, Neg(a))),
        (Neg(term), Hadamard(g, c, slope)): Neg(Hadamard(g, slope, c)),
        (Hadamard(term, c), Hadamard(g, d, slope)): Hadamard(g, slope, c, d),
        (Hadamard(g, b, Plus(one, Power(a, 2))), Hadamard(g, b, Plus(one, Neg(Power(c, 2))))):
            Hadamard(g, b, Plus(one, Power(c, 2))),
        (Hadamard(g, c, slope), Hadamard(g, d, slope)): None,
        (Hadamard(g, b.with_(lag=1), slope), Hadamard(g, b.with_(mark="bar"), slope)): None,
        (Hadamard(g, slope), Hadamard(g, c, slope)): None,
    }  # fmt: skip
    for (first, second), wanted in cases.items():
        for made in (both_changes(term, first, second), both_changes(term, second, first)):
            if wanted is None:
                assert made is None, (first, second)
            else:
                assert Counter(str(made)) == Counter(str(wanted)), (made, wanted)


def test_two_mistakes_in_one_term_are_named() -> None:
    rows = [FAULTS[f"clru/{n}"] for n in ("imaginary-product-sign", "state-after")]
    report = check("clru", [row.edit for row in rows])
    assert report.diagnosis is not None
    assert judge([row.names for row in rows], str(report.diagnosis).splitlines()[0]) == "right"


def test_sets_count_what_rests_on_them() -> None:
    some = WrongLines(("a",), ("W",), 40, 12)
    assert some.names == ("a", "W")
