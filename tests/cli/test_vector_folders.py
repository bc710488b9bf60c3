"""Vectors as a folder of plain numbers, and vectors as a library holds its arrays."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradcheck_rnn import api, verify
from gradcheck_rnn.errors import DimensionError, UsageError
from gradcheck_rnn.verify.harness.ready import ready
from gradcheck_rnn.verify.vectorfiles import read_vectors
from gradcheck_rnn.verify.vectorfolder import HEADER
from gradcheck_rnn.verify.verdict import Verdict

GUIDE = Path(__file__).parents[2] / "docs" / "vectors.md"
SIZES = {"T": 3, "B": 2, "d": 2, "p": 3}


def made(folder: Path, cell: str = "elman_hidden", **options: Any) -> Path:
    return api.write_vectors(cell, folder / "v", sizes=SIZES, **options)


def foreign(folder: Path, form: str = "f8", spoil: str = "", cell: str = "elman_hidden") -> None:
    """What a program in another language does: sizes, probes, plain numbers in and out."""
    about = json.loads(str(np.load(folder / "vectors.npz")["about"]))
    network = api.load(cell)
    layout = about["layout"]
    known = ready("own" if layout.startswith("row-major") else layout, network)
    sizes = {k: int(v) for k, v in (s.split() for s in (folder / "sizes.txt").open())}
    dims = {d: sizes[d] for d in network.dims}
    fitted = known.fit(network, dims, sizes["B"], {"T": sizes["T"]})

    def read(place: str, name: str) -> Any:
        return np.fromfile(folder / place / f"{name}.f64", "<f8").reshape(fitted.shapes[name])

    kernel, _ = api.kernel_of(network)
    values = fitted.unpack({n: read("arrays", n) for n in fitted.arguments})
    missing = {n: np.zeros((sizes["B"], sizes["p"])) for n in network.inputs if n not in values}
    values = {n: a.astype(form) for n, a in (values | missing).items()}
    parameters = {n: values[n] for n in network.parameters}
    inputs = {n: values[n] for n in network.inputs}
    outputs, saved = kernel.forward(parameters, inputs)
    suffix = {"f8": "f64", "f4": "f32"}[form]
    for n in fitted.outputs:
        fitted.place(n, outputs).astype(form).tofile(folder / "outputs" / f"{n}.{suffix}")
    for probe in (folder / "probes.txt").read_text().split():
        given = fitted.unpack({n: read(f"cotangents/{probe}", n) for n in fitted.outputs})
        bars = {n: given.get(n, np.zeros_like(a)).astype(form) for n, a in outputs.items()}
        found = kernel.backward(parameters, inputs, saved, bars)
        for n in fitted.arguments:
            g = fitted.pull(n, {**found, **({spoil: 1.5 * found[spoil]} if spoil else {})})
            g.astype(form).tofile(folder / "gradients" / probe / f"{n}.{suffix}")


@pytest.mark.parametrize("form", ["f8", "f4"])
def test_results_beside_the_vectors_are_judged(tmp_path: Path, run: Any, form: str) -> None:
    folder = made(tmp_path)
    foreign(folder, form)
    ran = run("verify", str(folder))
    assert ran.code == 0, ran.out + ran.err
    assert f"float{8 * int(form[1])}" in ran.out
    assert (
        len(ran.out.splitlines()) == 3
    )  # nothing is wrong: what passed, what could hide, how many


def test_a_fault_is_named_and_replayed(tmp_path: Path) -> None:
    folder = made(tmp_path)
    foreign(folder, spoil="W")
    done = api.judge_results(folder)
    assert done.verdict is Verdict.FAIL
    assert done.replay(done[1]).startswith(f"gradcheck-rnn verify {folder}")
    assert any(f.kind == "diagnosis" for report in done for f in report.findings)


def test_what_is_wrong_is_said_first_and_what_passed_is_folded(tmp_path: Path, run: Any) -> None:
    folder = made(tmp_path)
    foreign(folder, spoil="W")
    out = run("verify", str(folder)).out.splitlines()
    assert out[0].startswith("elman_hidden: all: fail")
    assert out[1].startswith("dW is what you get with")
    assert "pass: U, b_i, x, h0" in out
    assert any(line.startswith("passed (against vectors, float64): outputs;") for line in out)
    assert sum("fail" in line for line in out[3:]) <= len(out) / 2
    assert not any(line.startswith(" U ") for line in out)


def test_a_project_s_jobs_do_not_keep_results_from_being_judged(
    tmp_path: Path, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").write_text('[tool.gradcheck-rnn]\njobs = 2\nbudget = "60s"\n')
    foreign(made(tmp_path))
    assert run("verify", "v").code == 0
    ran = run("verify", "v", "--jobs", "2")
    assert ran.code == 2
    assert "--jobs says nothing beside the folder of vectors v" in ran.err


@pytest.mark.parametrize("name", ["arrays/x", "cotangents/h/h", "cotangents/h/h_final"])
def test_inputs_that_were_written_over_are_noticed(tmp_path: Path, name: str) -> None:
    folder = made(tmp_path)
    foreign(folder)
    path = folder / f"{name}.f64"
    (1 + np.fromfile(path, "<f8")).tofile(path)
    with pytest.raises(UsageError, match=f"{name}.f64 is not as it was written"):
        api.judge_results(folder)


def test_what_is_left_out_is_undecided(tmp_path: Path) -> None:
    folder = made(tmp_path)
    foreign(folder)
    for path in (folder / "gradients" / "h").iterdir():
        path.unlink()
    assert api.judge_results(folder).verdict is Verdict.UNDECIDED


def test_new_vectors_remove_old_results(tmp_path: Path) -> None:
    folder = made(tmp_path)
    foreign(folder)
    made(tmp_path, seed=3)
    with pytest.raises(UsageError, match="holds no results"):
        api.judge_results(folder)


def test_mistakes_are_said(tmp_path: Path) -> None:
    folder = made(tmp_path)
    foreign(folder)
    place = folder / "gradients" / "all"
    (place / "W.f32").write_bytes(b"1234" * 9)
    with pytest.raises(UsageError, match="two formats"):
        api.judge_results(folder)
    (place / "W.f32").unlink()
    (place / "W.f64").write_bytes(b"12345678")
    with pytest.raises(DimensionError, match="has 8 bytes"):
        api.judge_results(folder)
    (place / "W.f64").unlink()
    (place / "Q.f64").write_bytes(b"12345678")
    with pytest.raises(UsageError, match="the vectors have there W, U"):
        api.judge_results(folder)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    with pytest.raises(UsageError, match="holds something else"):
        api.write_vectors("elman_hidden", tmp_path / "other")
    with pytest.raises(UsageError, match="need a name"):
        api.write_vectors("elman_hidden", "")
    with pytest.raises(UsageError, match="no folder of vectors"):
        api.judge_results(tmp_path / "other")


@pytest.mark.parametrize(
    ("cell", "layout"),
    [
        ("lstm", "cudnn lstm"),
        ("gru_reset_after", "pytorch gru"),
        ("elman_hidden", "columns rnn without=a0,a_T"),
        ("elman_hidden", "own transposed"),
    ],
)
def test_vectors_as_a_library_holds_them(tmp_path: Path, cell: str, layout: str) -> None:
    """PyTorch has two biases that add up; zero states and outputs that the code has not."""
    folder = made(tmp_path, cell, layout=layout)
    foreign(folder, cell=cell)
    done = api.judge_results(folder)
    assert done.verdict is Verdict.PASS, "\n".join(map(str, done))
    assert {row.name for r in done[1:] for row in r.rows} == set(
        ready(layout, api.load(cell)).parameters | ready(layout, api.load(cell)).inputs
    )


def test_a_fault_in_a_librarys_layout_is_named(tmp_path: Path) -> None:
    folder = made(tmp_path, layout="own transposed")
    foreign(folder, spoil="W")
    (said,) = [f for r in api.judge_results(folder) for f in r.findings if f.kind == "diagnosis"]
    assert "dW" in said.message


def test_halves_are_exact_in_every_format() -> None:
    made = api.vectors("elman_hidden", sizes=SIZES, layout="pytorch rnn")
    whole = api.vectors("elman_hidden", sizes=SIZES)
    both = made.arrays["bias_ih_l0"] + made.arrays["bias_hh_l0"]
    assert np.array_equal(both, whole.arrays["b_i"])
    for array in made.arrays.values():
        assert np.array_equal(array.astype(np.float16).astype(np.float64), array)


def test_a_mistake_that_makes_gradients_large_is_named_in_single_precision(tmp_path: Path) -> None:
    """1 − h in place of 1 − h² is above one where h < 0: rounding grows with what it multiplies."""
    folder = api.write_vectors("elman_hidden", tmp_path / "v", sizes={**SIZES, "T": 9})
    known = read_vectors(folder / "vectors.npz")
    a = {n: np.asarray(v, "f4") for n, v in known.arrays.items()}
    h = [a["h0"]]
    for x in a["x"]:
        h.append(np.tanh(h[-1] @ a["W"].T + x @ a["U"].T + a["b_i"]))
    for probe, given in known.cotangents.items():
        g = {n: np.zeros_like(v) for n, v in a.items()}
        dh = np.asarray(given.get("h_final", 0 * a["h0"]), "f4")
        for t in reversed(range(9)):
            at = dh + np.asarray(given["h"][t] if "h" in given else 0, "f4")
            da = at * (1 - h[t + 1])
            g["W"] += da.T @ h[t]
            g["U"] += da.T @ a["x"][t]
            g["b_i"] += da.sum(0)
            g["x"][t] = da @ a["U"]
            dh = da @ a["W"]
        g["h0"] = dh
        for n, found in g.items():
            found.tofile(folder / "gradients" / probe / f"{n}.f32")
    (said,) = [f for r in api.judge_results(folder) for f in r.findings if f.kind == "diagnosis"]
    assert "1 − h_t instead of 1 − h_t²" in said.message


@pytest.mark.skipif(shutil.which("c++") is None, reason="no C++ compiler")
def test_the_header_compiles_without_a_warning(tmp_path: Path) -> None:
    shutil.copy(Path(verify.__file__).parent / HEADER, tmp_path)
    loop = re.findall(r"```cpp\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.S)
    (tmp_path / "a.cpp").write_text(
        '#include "gradcheck.hpp"\n'
        "void kernel(int, const double*, const double*, double*);\n"
        f"void by_hand() {{ {loop[0]} }}\n"
        'int main() { for (auto& v : gradcheck::probes<float>("v")) '
        '{ v.gradient("W", v.array("W")); (void)v.labels("y"); auto a = v.arrays(); '
        'v.gradients({{"W", a["W"]}, {"b", a["b"]}}); } }\n'
    )
    command = ["c++", "-std=c++11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only"]
    subprocess.run([*command, "a.cpp"], cwd=tmp_path, check=True)


@pytest.mark.skipif(shutil.which("c++") is None, reason="no C++ compiler")
def test_arrays_are_handed_over_as_pointers_by_name(tmp_path: Path) -> None:
    folder = tmp_path / "v"
    api.write_vectors("linear", folder, sizes={"T": 3, "p": 3, "d": 2, "B": 2})
    (tmp_path / "a.cpp").write_text(
        '#include "v/gradcheck.hpp"\n'
        "void twice(const double* a, double* g, int n) "
        "{ while (n--) g[n] += 2 * a[n]; }\n"
        'int main() { for (auto& v : gradcheck::probes("v")) {\n'
        "auto a = v.arrays(), g = gradcheck::zeros(a);\n"
        'twice(a["W"].data(), g["W"].data(), 9);\n'
        "v.gradients(g); } }\n"
    )
    for command in (["c++", "-std=c++11", "a.cpp", "-o", "a"], ["./a"]):
        subprocess.run(command, cwd=tmp_path, check=True)
    probe = (folder / "probes.txt").read_text().split()[-1]
    read = {
        n: np.fromfile(folder / "gradients" / probe / f"{n}.f64") for n in ("W", "U", "x", "h0")
    }
    assert np.array_equal(read["W"], 2 * np.fromfile(folder / "arrays" / "W.f64"))
    assert [read[n].tolist() for n in ("U", "x", "h0")] == [[0] * 6, [0] * 12, [0] * 6]


@pytest.mark.skipif(shutil.which("c++") is None, reason="no C++ compiler")
def test_a_kernel_is_called_with_what_its_parameters_are_named_after(tmp_path: Path) -> None:
    api.write_vectors("linear", tmp_path / "v", sizes={"T": 3, "p": 4, "d": 2, "B": 2})
    wrong = {
        "p d": "1 parameters, 2 named",
        "W -> dW": "0 arrays (a vector, or a tuple of vectors) are returned, 1 named",
        "W=h": "W is no output, gradient or buffer",
        "W_h": "nothing is called W_h; there are B T d p W dW U dU x dx h0 dh0 h dh h_final ",
        "p": "p is no array",
    }
    text = (
        '#include "v/gradcheck.hpp"\n'
        "void pointers(int p, int d, const double* U, const double* dh, double* dU, double* h)\n"
        "{ for (int i = 0; i < p * d; i++) dU[i] = 2 * U[i] + dh[0]; h[1] = p; }\n"
        "std::vector<double> vectors(const std::vector<double>& U, std::vector<double> dh,\n"
        "long p, std::vector<double>& h) { for (double& u : dh) u = p; h = dh; return U; }\n"
        "int main(int n, char** words) { switch (n) {\n"
        'case 1: return gradcheck::run("v", pointers, "p d U dh dU h");\n'
        'case 2: return gradcheck::run("v", vectors, "U dh p h -> dU");\n'
        'case 3: return gradcheck::run<float>("v", [](float* U, int d) {\n'
        "  return std::make_tuple(std::vector<float>(24, d), std::vector<float>(U, U + 8)); },\n"
        '  "U d -> h dU");\n'
        'case 4: return gradcheck::run("v",\n'
        "  [](std::vector<double>& h, double* c) "
        "{ for (double& u : h) u = 2; c[1] += 7; return 0; },\n"
        '  "h dU=U", [](double* c, double* old, double* dU) { dU[0] += c[1] + old[0]; }, '
        '"c=dU h dU"); }\n'
        'return gradcheck::run("v", [](double*) { return 1; }, words[4]); }\n'
    )
    (tmp_path / "a.cpp").write_text(text)
    warnings = ["-std=c++11", "-Wall", "-Wextra", "-Werror", "-pedantic"]
    subprocess.run(["c++", *warnings, "a.cpp", "-o", "a"], cwd=tmp_path, check=True)
    v = tmp_path / "v"
    U = np.fromfile(v / "arrays" / "U.f64")

    def found(*words: str, kind: str = "f8") -> tuple[Any, Any]:
        subprocess.run(["./a", *words], cwd=tmp_path, check=True)
        suffix = f".{kind[0]}{8 * int(kind[1])}"
        outputs = np.fromfile(v / "outputs" / f"h{suffix}", kind)
        return outputs, np.fromfile(v / "gradients" / "h[1]" / f"U{suffix}", kind)

    h, dU = found()
    cotangent = np.fromfile(v / "cotangents" / "h[1]" / "h.f64")
    assert np.array_equal(dU, 2 * U + cotangent[0])
    assert h.tolist() == [0, 4, *[0] * 22]
    h, dU = found("vectors")
    assert np.array_equal(dU, U)
    assert h.tolist() == [4] * 24
    h, dU = found("a", "lambda", kind="f4")
    assert np.array_equal(dU, U)
    assert h.tolist() == [2] * 24
    assert not (v / "outputs" / "h.f64").exists()
    h, dU = found(*"123")
    assert np.array_equal(dU, U + (U[1] + 7 + 2) * (np.arange(8) == 0) + 7 * (np.arange(8) == 1))
    assert h.tolist() == [2] * 24
    for names, said in wrong.items():
        ran = subprocess.run(
            ["./a", *"123", names], cwd=tmp_path, check=False, capture_output=True, text=True
        )
        assert ran.returncode == 2
        assert ran.stderr.startswith(said)


@pytest.mark.skipif(shutil.which("c++") is None, reason="no C++ compiler")
def test_the_header_removes_old_results_and_refuses_other_names(tmp_path: Path) -> None:
    folder = tmp_path / "v"
    api.write_vectors("linear", folder, sizes={"T": 3, "p": 3, "d": 2, "B": 2})
    foreign_result = folder / "gradients" / "all" / "W.f32"
    foreign_result.write_bytes(b"1234" * 9)
    (tmp_path / "a.cpp").write_text(
        '#include "v/gradcheck.hpp"\n'
        "#include <iostream>\n"
        "template <class F> void tried(F f) "
        "{ try { f(); } catch (const std::out_of_range& e) { std::cout << e.what() << '\\n'; } }\n"
        'int main() { auto v = gradcheck::probes("v")[0]; auto a = v.arrays();\n'
        'tried([&] { a["W_h"]; });\n'
        'tried([&] { v.output("y", a["W"]); });\n'
        'tried([&] { v.gradient("dW", a["W"]); }); }\n'
    )
    subprocess.run(["c++", "-std=c++11", "a.cpp", "-o", "a"], cwd=tmp_path, check=True)
    told = subprocess.run(["./a"], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert told.splitlines() == [
        "there is no array W_h; there are U W h0 x",
        "there is nothing called y; there are h h_final",
        "there is nothing called dW; there are W U x h0",
    ]
    assert not foreign_result.exists()


def test_layers_of_a_cell_in_a_layout_that_has_some(run, tmp_path: Path) -> None:
    layout = "pytorch rnn num_layers=2 bidirectional"
    made = run(
        "vectors", "elman_hidden", "--layout", layout, "--size", "T=2", "-o", f"{tmp_path}/v"
    )
    assert made.code == 0, made.err
    assert (tmp_path / "v" / "arrays" / "weight_hh_l1_reverse.f64").exists()
    for text in ("pytorch lstm", "pytorch lstm num_layers=2"):
        ran = run("vectors", "stacked_lstm", "--layout", text, "-o", f"{tmp_path}/w.npz")
        assert ran.code == 2
        assert "lstm with 'pytorch lstm num_layers=2'" in ran.err


def test_a_fault_in_a_layout_of_several_layers_is_named(tmp_path: Path) -> None:
    layout, sizes = "pytorch rnn num_layers=2", {**SIZES, "T": 2}
    folder = api.write_vectors("elman_hidden", tmp_path / "v", layout=layout, sizes=sizes)
    known = read_vectors(folder / "vectors.npz")
    for group, arrays in known.high.items():
        for n, g in arrays.items() if group != "outputs" else ():
            wrong = 2 * g if n == "weight_hh_l1" else g
            wrong.astype("<f8").tofile(folder / "gradients" / group / f"{n}.f64")
    done = api.judge_results(folder)
    assert done.verdict is Verdict.FAIL
    said = [f.message for report in done for f in report.findings if f.kind == "diagnosis"]
    assert "with 2 times" in said[0]


def test_vectors_of_a_cell_of_ones_own_ask_for_its_definition(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(
        "from gradcheck_rnn import cell\nfrom gradcheck_rnn.language import tanh\n"
        '@cell(inputs="x: d", states="h: p", params="W: p p; U: p d; b_i: p")\n'
        "def mine(h, x, W, U, b_i):\n    return tanh(W @ h + U @ x + b_i)\n"
    )
    folder = made(tmp_path, "mine.py")
    foreign(folder, cell="mine.py:mine", spoil="W")
    ran = run("verify", "v")
    assert ran.code == 1
    assert "--definition FILE.py:mine" in ran.out
    told = run("verify", "v", "--definition", "mine.py:mine")
    assert "--definition FILE.py:mine" not in told.out
    assert "dW is what you get with" in told.out
    assert "beside the folder of vectors v" in run("verify", "v", "--layout", "own").err


def test_a_folder_without_vectors_is_no_unknown_cell(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    for given in (str(tmp_path), "mine", "./mine"):
        ran = run("verify", given)
        assert ran.code == 2
        assert ran.err.startswith(f"error: {given} is a folder, one without gradcheck vectors")
        assert len(ran.err) < 300 + 2 * len(given)
    assert "which `gradcheck-rnn cells` lists" in run("derive", "zebra").err


def test_a_probe_that_there_is_not_is_no_result(tmp_path: Path) -> None:
    folder = made(tmp_path)
    foreign(folder)
    (folder / "gradients" / "h[9]").mkdir()
    (folder / "gradients" / "h[9]" / "W.f64").write_bytes(b"12345678" * 9)
    with pytest.raises(UsageError, match=r"h\[9\].*no such probe; there are all, h"):
        api.judge_results(folder)
