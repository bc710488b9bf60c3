"""Test vectors whose data lie in their domain: classes as whole numbers, masks, bounds kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradcheck_rnn import api
from gradcheck_rnn.language import cell, tanh
from gradcheck_rnn.verify.harness.arrays import PRECISIONS


def label_kernel(v: Any, form: str, factor: float) -> dict[str, Any]:
    """The char_rnn of a program that takes whole numbers: rows of U, p − 1 at the class."""
    a = {n: v[f"arrays/{n}"].astype(form) for n in ("W", "U", "b_i", "V", "b_y", "h0")}
    ids, labels = v["labels/x"], v["labels/target"]
    assert ids.dtype == labels.dtype == np.int64
    h, P = [a["h0"]], []
    for x in ids:
        h.append(np.tanh(h[-1] @ a["W"].T + a["U"].T[x] + a["b_i"]))
        s = h[-1] @ a["V"].T + a["b_y"]
        e = np.exp(s - s.max(-1, keepdims=True))
        P.append(e / e.sum(-1, keepdims=True))
    d = {n: np.zeros_like(g) for n, g in a.items()}
    dh = np.zeros_like(a["h0"])
    for t in reversed(range(len(P))):
        dy = P[t].copy()
        dy[np.arange(len(dy)), labels[t]] -= np.asarray(factor, form)
        da = (dy @ a["V"] + dh) * (1 - h[t + 1] ** 2)
        dh = da @ a["W"]
        d["V"] += dy.T @ h[t + 1]
        d["b_y"] += dy.sum(0)
        d["W"] += da.T @ h[t]
        d["b_i"] += da.sum(0)
        np.add.at(d["U"].T, ids[t], da)
    d["h0"] = dh
    return {f"gradients/loss/{n}": g for n, g in d.items()}


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vectors") / "v.npz"
    return api.write_vectors("char_rnn", path, sizes={"v": 4, "T": 5, "B": 2})


@pytest.mark.parametrize("form", ["float64", "float32"])
@pytest.mark.parametrize(("factor", "passed"), [(1.0, True), (2.0, False)])
def test_a_kernel_of_labels_is_judged(
    vectors: Path, tmp_path: Path, form: str, factor: float, passed: bool
) -> None:
    with np.load(vectors) as v:
        assert json.loads(str(v["about"]))["domains"] == {"x": "one-hot", "target": "one-hot"}
        np.savez(tmp_path / "r.npz", **label_kernel(v, form, factor))
    assert api.judge_results(tmp_path / "r.npz", vectors).passed is passed


def test_json_has_the_labels_too(tmp_path: Path) -> None:
    content = json.loads(api.write_vectors("many_to_one", tmp_path / "v.json").read_text())
    target = np.array(content["arrays"]["target"])
    assert content["labels"]["target"] == target.argmax(-1).tolist()
    assert np.all(target.sum(-1) == 1)
    assert np.all((target == 0) | (target == 1))


def test_every_format_holds_values_of_the_domain() -> None:
    @cell(
        inputs="x: d", data="m t: p", states="h: p", params="W: p p; U: p d; a tau: p",
        domains={
            "x": "simplex", "m": "0/1", "t": "integers 250..300", "a": "(0, 1)", "tau": "[1, 1.01]",
            "h": ">= 0.3",
        },
    )  # fmt: skip
    def mine(x, m, t, h, W, U, a, tau):  # type: ignore[no-untyped-def]
        return tanh(a * (W @ h) + m * (U @ x) / tau + 0.001 * t)

    for seed in range(2):
        made = api.vectors(mine, seed=seed)
        for form in PRECISIONS.values():
            assert all(np.array_equal(form.quantise(x), x) for x in made.arrays.values())
        held = made.arrays
        assert np.all(held["x"].sum(-1) == 1)
        assert set(np.unique(held["m"])) == {0.0, 1.0}
        assert np.all((held["t"] >= 250) & (held["t"] <= 300))
        assert np.all(held["t"] == np.round(held["t"]))
        assert np.all((held["a"] > 0) & (held["a"] < 1))
        assert np.all((held["tau"] >= 1) & (held["tau"] <= 1.01))
        assert np.all(held["h0"] >= 0.3)
