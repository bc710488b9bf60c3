"""Results in formats of few digits: whole arrays are known better than their entries."""

from __future__ import annotations

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
from gradcheck_rnn.verify.points import Point, draw_point
from gradcheck_rnn.verify.vectorfiles import Results, read_vectors
from gradcheck_rnn.verify.vectorvalues import VectorFile

CELL = "elman_hidden"
Gradients = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> VectorFile:
    path = tmp_path_factory.mktemp("vectors") / "v.npz"
    api.write_vectors(CELL, path)
    return read_vectors(path)


def computed(known: VectorFile, name: str) -> Gradients:
    """What careful code computes whose every operation is rounded to nearest."""
    network, form = api.load(CELL), PRECISIONS[name]
    drawn = draw_point(network, 0)
    values = {n: known.arrays[n] for n in drawn.values}
    point = Point(network, values, drawn.sizes, drawn.lengths, drawn.batch)
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
    known: VectorFile, form: str, factor: float
) -> None:
    right = computed(known, form)
    assert verdict(known, right, form) is Verdict.PASS
    wrong = {p: g | {"W": PRECISIONS[form].quantise(g["W"] * factor)} for p, g in right.items()}
    assert verdict(known, wrong, form) is Verdict.FAIL
    said = [r.reason for report in judge_vectors(known, Results(wrong, form)) for r in report.rows]
    assert any("times the true one along itself" in text for text in said)


def test_small_factors_show_over_all_probes_together(known: VectorFile) -> None:
    right = computed(known, "bfloat16")
    wrong = {p: g | {"W": g["W"] * 1.04} for p, g in right.items()}
    reports = judge_vectors(known, Results(wrong, "bfloat16"))
    assert any(r.verdict is Verdict.FAIL for r in reports)
    left = judge_vectors(known, Results(wrong, "bfloat16"), select=["U"])
    assert all(r.verdict is Verdict.PASS for r in left)


def test_vectors_of_earlier_versions_judge_entries(known: VectorFile) -> None:
    earlier = VectorFile(
        known.cell, known.high, known.low, known.bounds, {}, known.sizes, known.arrays,
        known.cotangents,
    )  # fmt: skip
    assert verdict(earlier, computed(known, "float16"), "float16") is Verdict.PASS


@pytest.mark.parametrize("suffix", ["npz", "json"])
def test_both_kinds_of_files_hold_the_errors_of_whole_arrays(
    known: VectorFile, tmp_path: Path, suffix: str
) -> None:
    api.write_vectors(CELL, tmp_path / f"v.{suffix}")
    held = read_vectors(tmp_path / f"v.{suffix}").whole
    assert held.keys() == known.whole.keys() == {"bfloat16", "float16", "tf32"}
    for form, groups in held.items():
        for probe, arrays in groups.items():
            assert arrays["W"] == pytest.approx(known.whole[form][probe]["W"], rel=1e-12)
            assert arrays["W"].shape == (2, 6)
