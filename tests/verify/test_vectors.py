"""Test vectors: 30 digits that the definition certifies, files that foreign code can read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradcheck_rnn import api
from gradcheck_rnn.api.exchange import _puller
from gradcheck_rnn.errors import GradcheckError, UsageError
from gradcheck_rnn.verify.harness.arrays import PRECISIONS
from gradcheck_rnn.verify.vectorfiles import dump, read_vectors
from gradcheck_rnn.verify.vectors import Pull, Vectors, make_vectors

FORMATS = ("float64", "float32", "float16")


@pytest.fixture(scope="module")
def gru() -> Vectors:
    return api.vectors("gru")


@pytest.fixture(scope="module")
def files(gru: Vectors, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(gru, tmp_path_factory.mktemp("vectors"))


@pytest.fixture(scope="module")
def of_elman(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(api.vectors("elman_hidden"), tmp_path_factory.mktemp("elman"))


def written(vectors: Vectors, folder: Path) -> Path:
    for suffix in (".npz", ".json"):
        (folder / f"v{suffix}").write_bytes(dump(vectors, suffix))
    return folder


def foreign(folder: Path, form: str, spoil: Mapping[str, Any] | None = None) -> Path:
    """What a user's program does: read the npz, compute in its own format, write results."""
    v = np.load(folder / "v.npz")
    about = json.loads(str(v["about"]))
    held = {n: v[f"arrays/{n}"].astype(form) for n in about["roles"]}
    parameters = {n: a for n, a in held.items() if about["roles"][n] == "param"}
    inputs = {n: a for n, a in held.items() if n not in parameters}
    kernel, _ = api.kernel_of(api.load(about["cell"]))
    outputs, _ = kernel.forward(parameters, inputs)
    out = {f"outputs/{n}": a for n, a in outputs.items()}
    for probe in about["probes"]:
        given = {
            n: v[key].astype(form) if (key := f"cotangents/{probe}/{n}") in v else np.zeros_like(a)
            for n, a in outputs.items()
        }
        _, saved = kernel.forward(parameters, inputs)
        grads = kernel.backward(parameters, inputs, saved, given)
        out |= {f"gradients/{probe}/{n}": g for n, g in grads.items()}
    for key, change in (spoil or {}).items():
        out[key] = change(out[key])
    path = folder / f"results_{form}.npz"
    np.savez(path, **out)
    return path


# -- the numbers ----------------------------------------------------------------------------------


def test_every_format_holds_every_input_exactly(gru: Vectors) -> None:
    for array in (*gru.arrays.values(), *(c for p in gru.probes for c in p.cotangents.values())):
        for form in PRECISIONS.values():
            assert np.array_equal(form.quantise(array), array)
    assert any(a.size and np.ptp(a) > 1 for a in gru.arrays.values())


def test_probes_are_each_output_and_each_step_alone(gru: Vectors) -> None:
    names = [p.name for p in gru.probes]
    steps = gru.sizes["T"]
    assert names == ["all", "h", *(f"h[{t}]" for t in range(steps)), "h_final"]
    alone = next(p for p in gru.probes if p.name == "h[1]").cotangents["h"]
    assert np.flatnonzero(np.any(alone != 0, axis=(1, 2))).tolist() == [1]


def test_the_digits_are_those_of_another_route(gru: Vectors) -> None:
    """Central differences of the definition in 80 digits, entry by entry, for one weight."""
    import mpmath

    from gradcheck_rnn.language.running import run, to_columns, to_rows

    network = api.load("gru")
    refs = {**network.parameters, **network.inputs}
    probe = gru.probes[0]
    with mpmath.workdps(80):
        wide = np.frompyfunc(mpmath.mpf, 1, 1)
        h = mpmath.mpf(10) ** -24

        def pairing(b: np.ndarray) -> Any:
            values = {n: to_columns(refs[n], wide(a)) for n, a in gru.arrays.items()}
            values["b_z"] = to_columns(refs["b_z"], b)
            made = run(network, values)
            return sum(
                np.sum(wide(c) * to_rows(network.outputs[n], made[n]))
                for n, c in probe.cotangents.items()
            )

        base = wide(gru.arrays["b_z"])
        for k in range(base.size):
            up, down = base.copy(), base.copy()
            up[k] += h
            down[k] -= h
            slope = (pairing(up) - pairing(down)) / (2 * h)
            assert abs(probe.gradients["b_z"][k] - slope) < mpmath.mpf(10) ** -40


def test_a_wrong_derivation_is_not_exported() -> None:
    """The planted fault: one entry off in the 25th digit."""
    import mpmath

    network = api.load("elman_hidden")
    right = _puller(network)

    def wrong(point: Any) -> Pull:
        ways = right(point)

        def precise(values: Any, given: Any) -> Any:
            found = dict(ways.precise(values, given))
            found["W"] = found["W"].copy()
            found["W"][0, 1] *= 1 + mpmath.mpf(10) ** -25
            return found

        return Pull(precise, ways.rounded)

    make_vectors(network, right)
    with pytest.raises(GradcheckError, match="do not agree to 30 digits"):
        make_vectors(network, wrong)


@pytest.mark.parametrize(
    "name", ["lstm_layer_norm", "logistic_cross_entropy", "echo_state", "lstm_1997_truncated"]
)
def test_cells_with_constants_logarithms_data_and_frozen_parts(name: str) -> None:
    network = api.load(name)
    least = dict.fromkeys((*network.dims, *network.axes, "B"), 2)
    assert api.vectors(network, sizes=least).probes


def test_bounds_grow_with_the_unit_of_the_format(gru: Vectors) -> None:
    probe = gru.probes[0]
    sizes = [
        np.median([np.max(b) for b in probe.bounds[form].values()])
        for form in ("float64", "float32", "float16", "bfloat16")
    ]
    for narrow, wide in zip(sizes[1:], sizes[:-1], strict=True):
        assert narrow > 4 * wide


def test_sizes_can_be_asked_for() -> None:
    made = api.vectors("linear", sizes={"p": 1, "T": 10, "B": 1})
    assert made.outputs["h"].shape == (10, 1, 1)
    assert [p.name for p in made.probes] == ["all", "h", "h[0]", "h[9]", "h_final"]
    with pytest.raises(UsageError, match="has no size 'z'; there are"):
        api.vectors("linear", sizes={"z": 3})


# -- files ----------------------------------------------------------------------------------------


def test_both_files_say_the_same_to_30_digits(files: Path, gru: Vectors) -> None:
    one, two = read_vectors(files / "v.npz"), read_vectors(files / "v.json")
    assert one.high.keys() == two.high.keys()
    for group, arrays in one.high.items():
        for name, high in arrays.items():
            total, other = (
                [Fraction(float(h)) + Fraction(float(w)) for h, w in zip(
                    np.ravel(k.high[group][name]), np.ravel(k.low[group][name]), strict=True)]
                for k in (one, two)
            )  # fmt: skip
            scale = max(map(abs, total), default=0)
            assert all(abs(a - b) <= scale / 10**29 for a, b in zip(total, other, strict=True))
            assert np.array_equal(high, two.high[group][name])
            for form in FORMATS:
                assert np.array_equal(one.bounds[form][group][name], two.bounds[form][group][name])


def test_json_is_json_with_30_digits(files: Path) -> None:
    text = (files / "v.json").read_text()
    content = json.loads(text)
    assert content["format"] == "gradcheck-rnn vectors 1"
    assert content["sizes"]["p"] == 3
    digits = json.loads(text, parse_float=str)["probes"]["all"]["gradients"]["W_z"][0][0]
    assert len(digits.replace("-", "").replace(".", "").lstrip("0")) == 30
    assert float(digits) == np.load(files / "v.npz")["gradients/all/W_z"][0, 0]


# -- judging --------------------------------------------------------------------------------------


@pytest.fixture
def undiagnosed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Verdicts only: the mistake is not looked for, which is most of the time."""
    monkeypatch.setattr(
        "gradcheck_rnn.verify.diagnosis.foreign.find_mistake", lambda *_, **__: None
    )


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("suffix", ["npz", "json"])
def test_right_results_pass(files: Path, form: str, suffix: str) -> None:
    done = api.judge_results(foreign(files, form), files / f"v.{suffix}")
    assert done.passed, str(done)
    assert done[0].title == "gru: outputs"
    assert len(done) == 1 + len(read_vectors(files / "v.npz").high) - 1


@pytest.mark.usefixtures("undiagnosed")
@pytest.mark.parametrize(
    ("form", "factor"), [("float64", 1e-12), ("float32", 1e-4), ("float16", 0.15)]
)
def test_a_fault_that_the_format_does_not_explain_fails(
    files: Path, form: str, factor: float
) -> None:
    spoil = {"gradients/h_final/W_z": lambda g: g * (1 + g.dtype.type(factor))}
    done = api.judge_results(foreign(files, form, spoil), files / "v.npz")
    assert [r.title for r in done if not r.passed] == ["gru: h_final"]
    (row,) = [w for r in done for w in r.rows if str(w.verdict) == "fail"]
    assert row.name == "W_z"
    assert f"more than {form} explains" in row.reason


@pytest.mark.usefixtures("undiagnosed")
def test_bfloat16_is_judged_as_such(files: Path) -> None:
    form = PRECISIONS["bfloat16"]
    round_off = {
        f"gradients/h_final/{n}": lambda g: form.quantise(g).astype(np.float32)
        for n in ("W_z", "U_z", "b_c")
    }
    done = api.judge_results(foreign(files, "float32", round_off), files / "v.npz")
    assert str(done.verdict) == "fail", "as float32 it is wrong"
    done = api.judge_results(
        foreign(files, "float32", round_off), files / "v.npz", dtype="bfloat16"
    )
    (row,) = [w for r in done for w in r.rows if r.title == "gru: h_final" and w.name == "W_z"]
    assert str(row.verdict) == "pass"
    assert str(done.verdict) != "fail"
    spoil = {"gradients/h_final/W_z": lambda g: 2 * g}
    done = api.judge_results(foreign(files, "float32", spoil), files / "v.npz", dtype="bfloat16")
    assert str(done.verdict) == "fail"


def test_wrong_outputs_are_said_first(files: Path) -> None:
    spoil = {"outputs/h": lambda h: h * np.float32(1.001)}
    done = api.judge_results(foreign(files, "float32", spoil), files / "v.npz")
    assert str(done[0].verdict) == "fail"
    assert done[0].findings[0].kind == "other-function"


def test_what_is_left_out_is_not_passed(files: Path) -> None:
    path = foreign(files, "float32")
    held = dict(np.load(path))
    del held["gradients/h_final/h0"]
    np.savez(path, **held)
    done = api.judge_results(path, files / "v.npz")
    assert str(done.verdict) == "undecided"
    assert not done.passed
    assert api.judge_results(path, files / "v.npz", select=["W_z"]).passed
    assert api.judge_results(path, files / "v.npz", undecided="warn").passed


def test_results_as_json(files: Path, tmp_path: Path) -> None:
    held = np.load(foreign(files, "float32"))
    content: dict[str, Any] = {"dtype": "float32", "gradients": {}, "outputs": {}}
    for key in held:
        kind, _, rest = key.partition("/")
        if kind == "outputs":
            content["outputs"][rest] = held[key].tolist()
        else:
            probe, _, name = rest.rpartition("/")
            content["gradients"].setdefault(probe, {})[name] = held[key].tolist()
    path = tmp_path / "r.json"
    path.write_text(json.dumps(content))
    assert api.judge_results(path, files / "v.json").passed
    assert not api.judge_results(path, files / "v.json", dtype="float64").passed
    content["gradients"]["all"]["b_z"][0] = None
    path.write_text(json.dumps(content))
    assert str(api.judge_results(path, files / "v.json").verdict) == "fail"
    for no_number in ("0.5", True):
        content["gradients"]["all"]["b_z"][0] = no_number
        path.write_text(json.dumps(content))
        with pytest.raises(UsageError, match="all/b_z is no array of numbers"):
            api.judge_results(path, files / "v.json")


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ({}, "holds no results: give gradients/PROBE/NAME"),
        ({"gradients/nope/W_z": np.ones((3, 3))}, "the results have the probe 'nope'; there are"),
        ({"gradients/h/nope": np.ones(3)}, "the results have h/nope; the vectors have there W_r"),
        ({"gradients/h/W_z": np.ones((3, 4))}, r"h/W_z has shape \(3, 4\), the vectors' \(3, 3\)"),
        (
            {"gradients/h/U_z": np.ones((2, 3))},
            r"h/U_z has shape \(2, 3\).*\(3, 2\); it looks trans",
        ),
        ({"gradients/h/b_z": np.ones(3, dtype=int)}, "there are no bounds for 'int64'"),
        ({"h/b_z": np.ones(3)}, "has 'h/b_z'; results stand under gradients/h/b_z"),
        (
            {"gradients/h/b_z": np.ones(3), "gradients/h/b_r": np.ones(3, np.float32)},
            "several number formats .float64 of h/b_z, float32 of h/b_r.",
        ),
    ],
)
def test_results_that_do_not_fit(
    files: Path, tmp_path: Path, results: dict[str, np.ndarray], message: str
) -> None:
    np.savez(tmp_path / "r.npz", **results)
    with pytest.raises(GradcheckError, match=message):
        api.judge_results(tmp_path / "r.npz", files / "v.npz")


@pytest.mark.parametrize("suffix", ["npz", "json"])
def test_vectors_are_not_their_own_results(files: Path, suffix: str) -> None:
    with pytest.raises(UsageError, match="is a file of vectors; give the results"):
        api.judge_results(files / f"v.{suffix}", files / "v.npz")


def test_what_is_no_number_is_said_and_no_mistake_is_looked_for(files: Path) -> None:
    def spoiled(g: Any) -> Any:
        return np.where(np.arange(g.size).reshape(g.shape) == 4, np.nan, g)

    done = api.judge_results(
        foreign(files, "float64", {"gradients/h/W_z": spoiled}), files / "v.npz"
    )
    (report,) = [r for r in done if not r.passed]
    assert "1 of 9 entries are NaN or infinite" in report.sentence()
    assert not any(f.kind == "diagnosis" for f in report.findings)


def test_a_factor_beside_one_is_told_from_one(files: Path) -> None:
    spoil = {f"gradients/{p}/x": lambda g: g * (1 + 1e-11) for p in ("all", "h", "h_final")}
    done = api.judge_results(foreign(files, "float64", spoil), files / "v.npz")
    said = [r.sentence() for r in done if not r.passed]
    assert any("1 + 1.0e-11" in text for text in said), said


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("r.npz", b"not a zip", "cannot read .*r.npz"),
        ("r.json", b"{", "cannot read .*r.json"),
        ("r.json", b"[1]", "must hold an object"),
        ("r.json", b'{"gradients": [1]}', "must be an object, probe by probe"),
        ("r.json", b'{"gradients": {"h": {"b_z": ["x"]}}}', "h/b_z is no array of numbers"),
        (
            "r.json",
            b'{"gradients": {"h": {"b_z": [1, 2, 3]}}}',
            "do not say in which number format",
        ),
        ("r.txt", b"", "the suffix is '.txt'; give .npz or .json"),
        ("none.npz", None, "there is no file"),
    ],
)
def test_files_that_cannot_be_read(
    files: Path, tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=message) as caught:
        api.judge_results(tmp_path / name, files / "v.npz")
    assert "\n" not in str(caught.value)


def test_vectors_that_are_none(files: Path, tmp_path: Path) -> None:
    path = foreign(files, "float32")
    with pytest.raises(UsageError, match="is no file of vectors; make one with"):
        api.judge_results(path, path)
    with pytest.raises(UsageError, match=r"give a name that ends in \.npz or \.json"):
        api.write_vectors("gru", tmp_path / "v.csv")


def test_vectors_that_cannot_be_written_are_not_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gradcheck_rnn.api.exchange.vectors", None)
    for name in ("v.npz", "v.json"):
        with pytest.raises(UsageError, match="cannot write"):
            api.write_vectors("gru", tmp_path / "missing" / name)


# -- the mistake in results -----------------------------------------------------------------------


def elman(v: Any, probe: str, lost: str) -> dict[str, Any]:
    """Gradients of elman_hidden by hand, with a mistake."""
    given = {n: v[f"arrays/{n}"] for n in ("x", "h0", "W", "U", "b_i")}
    x, W, U, b = given["x"], given["W"], given["U"], given["b_i"]
    h = [given["h0"]]
    for x_t in x:
        h.append(np.tanh(h[-1] @ W.T + x_t @ U.T + b))
    zero = {"h": np.zeros((len(x), *h[0].shape)), "h_final": np.zeros_like(h[0])}
    bar = {n: v[k] if (k := f"cotangents/{probe}/{n}") in v else z for n, z in zero.items()}
    d = {"x": np.zeros_like(x), "W": 0 * W, "U": 0 * U, "b_i": 0 * b}
    dh = bar["h_final"]
    for t in reversed(range(len(x))):
        da = (dh + bar["h"][t]) * (1 - h[t + 1] ** (1 if lost == "power" else 2))
        d["x"][t] = da @ U
        d["W"], d["U"], d["b_i"] = d["W"] + da.T @ h[t], d["U"] + da.T @ x[t], d["b_i"] + da.sum(0)
        dh = 0 * dh if lost == "carry" else da @ W
    return d | {"h0": dh}


@pytest.mark.parametrize("suffix", [".npz", ".json"])
def test_the_mistake_in_results_is_named(of_elman: Path, tmp_path: Path, suffix: str) -> None:
    against, v = of_elman / f"v{suffix}", np.load(of_elman / "v.npz")
    probes = json.loads(str(v["about"]))["probes"]
    for lost, said in (("", ""), ("power", "δi_t"), ("carry", "δh_{t−1} without the term Wᵀ")):
        out = {
            f"gradients/{probe}/{n}": g
            for probe in probes
            for n, g in elman(v, probe, lost).items()
        }
        np.savez(tmp_path / "r.npz", **out)
        done = api.judge_results(tmp_path / "r.npz", against)
        if not lost:
            assert done.passed
            continue
        first = next(r for r in done if str(r.verdict) == "fail")
        assert said in first.sentence()
        assert "are what you get with" in first.sentence()
        if lost == "carry":
            assert "steps back from the cotangent" in str(first)


def test_a_mistake_is_looked_for_in_a_definition_that_is_given(tmp_path: Path) -> None:
    cell = tmp_path / "mine.py"
    cell.write_text(
        "from gradcheck_rnn.language import cell, tanh\n\n"
        "@cell(inputs='x: d', states='h: p', params='W: p p; U: p d; b_i: p')\n"
        "def mine(x, h, W, U, b_i):\n    return tanh(W @ h + U @ x + b_i)\n"
    )
    against = api.write_vectors(f"{cell}:mine", tmp_path / "v.npz")
    v = np.load(against)
    probes = json.loads(str(v["about"]))["probes"]
    out = {f"gradients/{p}/{n}": g for p in probes for n, g in elman(v, p, "carry").items()}
    np.savez(tmp_path / "r.npz", **out)
    unsaid = api.judge_results(tmp_path / "r.npz", against)
    assert not any(f.kind == "diagnosis" for r in unsaid for f in r.findings)
    for definition, named in ((f"{cell}:mine", True), ("lstm", False)):
        done = api.judge_results(tmp_path / "r.npz", against, definition=definition)
        assert any(f.kind == "diagnosis" for r in done for f in r.findings) is named
