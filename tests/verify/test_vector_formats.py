"""Results in formats of few digits: whole arrays are known better than their entries."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradcheck_rnn import api
from gradcheck_rnn.api.exchange import _puller
from gradcheck_rnn.language.running import to_columns, to_rows
from gradcheck_rnn.verify import Verdict
from gradcheck_rnn.verify.against import judge_vectors
from gradcheck_rnn.verify.harness.arrays import PRECISIONS
from gradcheck_rnn.verify.points import Point
from gradcheck_rnn.verify.vectorfiles import Results, read_vectors
from gradcheck_rnn.verify.vectorvalues import VectorFile

CELL = "elman_hidden"
SIZES = {"d": 2, "p": 3, "T": 4, "B": 5}
Gradients = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> VectorFile:
    path = tmp_path_factory.mktemp("vectors") / "v.npz"
    api.write_vectors(CELL, path, sizes=SIZES)
    return read_vectors(path)


@pytest.fixture(scope="module")
def right(known: VectorFile) -> dict[str, Gradients]:
    """By format."""
    return {name: computed(known, name) for name in ("bfloat16", "float16")}


def computed(known: VectorFile, name: str) -> Gradients:
    """What careful code computes whose every operation is rounded to nearest."""
    network, form = api.load(CELL), PRECISIONS[name]
    values = {n: known.arrays[n] for n in (*network.parameters, *network.inputs)}
    sizes = {n: SIZES[n] for n in network.dims}
    point = Point(network, values, sizes, {"T": SIZES["T"]}, SIZES["B"])
    _, pull = _puller(network)(point).rounded(point.columns(values), form.quantise)
    found = {}
    for probe, cotangents in known.cotangents.items():
        g = pull({n: to_columns(network.outputs[n], c) for n, c in cotangents.items()})
        found[probe] = {n: np.asarray(to_rows(point.ref(n), a), float) for n, a in g.items()}
    return found


def verdict(known: VectorFile, results: Gradients, name: str) -> Verdict:
    verdicts = {r.verdict for r in judge_vectors(known, Results(results, name))}
    return next(v for v in (Verdict.FAIL, Verdict.UNDECIDED, Verdict.PASS) if v in verdicts)


@pytest.mark.parametrize(("form", "factor"), [("bfloat16", 1.05), ("float16", 1.01)])
def test_a_factor_of_few_percent_shows_in_a_whole_array(
    known: VectorFile, right: dict[str, Gradients], form: str, factor: float
) -> None:
    assert verdict(known, right[form], form) is Verdict.PASS
    q = PRECISIONS[form].quantise
    wrong = {p: g | {"W": q(g["W"] * factor)} for p, g in right[form].items()}
    assert verdict(known, wrong, form) is Verdict.FAIL
    said = [r.reason for report in judge_vectors(known, Results(wrong, form)) for r in report.rows]
    assert any("times the true one along itself" in text for text in said)


def test_small_factors_show_over_all_probes_together(
    known: VectorFile, right: dict[str, Gradients]
) -> None:
    wrong = {p: g | {"W": g["W"] * 1.04} for p, g in right["bfloat16"].items()}
    reports = judge_vectors(known, Results(wrong, "bfloat16"))
    assert any(r.verdict is Verdict.FAIL for r in reports)
    left = judge_vectors(known, Results(wrong, "bfloat16"), select=["U"])
    assert all(r.verdict is Verdict.PASS for r in left)


def test_a_pass_says_which_common_factor_it_would_miss(
    known: VectorFile, right: dict[str, Gradients]
) -> None:
    (note,) = judge_vectors(known, Results(right["bfloat16"], "bfloat16"))[0].findings
    limit = float(re.search(r"within ([\d.]+)% of 1", note.message)[1]) / 100  # type: ignore[index]
    assert 0.01 < limit < 0.04
    for factor, seen in ((1 + 2 * limit, True), (1 - 2 * limit, True), (1 + limit / 8, False)):
        wrong = {p: {n: x * factor for n, x in g.items()} for p, g in right["bfloat16"].items()}
        assert (verdict(known, wrong, "bfloat16") is Verdict.FAIL) is seen


def test_vectors_of_earlier_versions_judge_entries(
    known: VectorFile, right: dict[str, Gradients]
) -> None:
    earlier = VectorFile(
        known.cell, known.high, known.low, known.bounds, {}, known.sizes, known.arrays,
        known.cotangents,
    )  # fmt: skip
    assert verdict(earlier, right["float16"], "float16") is Verdict.PASS


def test_both_kinds_of_files_hold_the_errors_of_whole_arrays(
    known: VectorFile, tmp_path: Path
) -> None:
    api.write_vectors(CELL, tmp_path / "v.json", sizes=SIZES)
    held = read_vectors(tmp_path / "v.json").whole
    assert held.keys() == known.whole.keys() == {"bfloat16", "float16", "tf32"}
    for form, groups in held.items():
        for probe, arrays in groups.items():
            assert arrays["W"] == pytest.approx(known.whole[form][probe]["W"], rel=1e-12)
            assert arrays["W"].shape == (2, 6)
