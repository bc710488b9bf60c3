"""The doors of `verify`: many targets, annotations, vectors, and JSON by its schema."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from .test_errors import one_line
from .test_verify import BAD, GOOD, NOISY

SCHEMA = Path(__file__).parents[2] / "docs" / "json-schema" / "verify.json"


def validate(plain: Any) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="pip install 'gradcheck-rnn[test]'")
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).validate(plain)


def test_what_cannot_be_checked_has_an_annotation(run, write, monkeypatch) -> None:
    monkeypatch.delenv("GITHUB_WORKSPACE", raising=False)
    path = write("import numpy\ndef f(:\n", "gradcheck_s.py")
    ran = run("verify", path, "--github")
    assert ran.code == 2
    assert "::error file=gradcheck_s.py,line=2,title=gradcheck-rnn::" in ran.out
    ran = run("verify", path, write(BAD, "bad.py"), "--github")
    assert "::error file=gradcheck_s.py,line=2," in ran.out
    assert "::error file=bad.py,line=" in ran.out  # from where the command was run
    ran = run("verify", "nothing.py", "--github", "--json")
    assert ran.code == 2
    assert "::error title=gradcheck-rnn::there is no file nothing.py" in ran.err


def test_several_targets_are_a_table_and_one_exit_code(run, write) -> None:
    ran = run("verify", write(GOOD, "a.py"), write(BAD, "b.py"), "linear")
    assert ran.code == 1
    words = [line.split() for line in ran.out.splitlines()]
    assert ["a.py", "0", "pass", "2"] in [w[:4] for w in words]
    assert ["b.py", "0", "fail", "2"] in [w[:4] for w in words]
    assert ran.out.count("repeat: gradcheck-rnn verify b.py:mine --select W --seed") == 1
    assert ran.out.splitlines()[-1].startswith("fail: 2 of 3 passed")
    assert run("verify", "a.py", write(NOISY, "c.py")).code == 3
    assert run("verify", "a.py", "c.py", "--undecided", "warn").code == 0


def test_processes_give_the_same_and_tell_how_far_they_are(run, write) -> None:
    one = run("verify", write(GOOD, "a.py"), "linear", "--json")
    two = run("verify", "a.py", "linear", "--json", "--jobs", "2")
    assert json.loads(one.out) == json.loads(two.out)
    assert "2 of 2 checks done" in two.err
    shown = run("verify", "a.py", "--jobs", "1")
    assert shown.code == 0
    assert "pass: 1 of 1 passed" in shown.out


def test_further_shapes(run) -> None:
    ran = run("verify", "linear", "--shapes", "3")
    assert ran.code == 0
    assert "pass: 3 of 3 passed" in ran.out
    assert run("verify", "linear", "--shape", "2").code == 0


def test_a_users_exception_in_a_process(run, write) -> None:
    ran = run("verify", write(GOOD.replace("h = np", "h = nothing + np")), "--jobs", "1")
    assert ran.code == 2
    assert ran.out == ""
    assert 'mine.py", line 8, in gradient' in ran.err
    assert ran.err.count("File ") == 1


def test_a_domain_error_that_the_step_causes_is_one_line(run, write) -> None:
    bound = "h = np.tanh"
    path = write(GOOD.replace(bound, "assert np.all(p['W'] <= 1)\n    " + bound))
    ran = run("verify", path, "--jobs", "1")
    assert ran.code == 2
    assert ran.out == ""
    assert re.search(r"\nerror: mine.py:\d+: AssertionError; the check moved .*\n$", ran.err)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ((), "give TARGETs to verify, or --all for the whole zoo"),
        (("linear", "--all"), "give TARGETs to verify, or --all"),
        (("linear", "--jobs", "-2"), "--jobs -2 must not be negative"),
        (("linear", "--jobs", "1", "--dask", "tcp://x:1"), "--jobs and --dask exclude each other"),
        (("linear", "gru", "--shape", "1"), "--shape repeats one check"),
        (("linear", "--against", "v.npz"), "there is no file of vectors v.npz"),
        (("a", "b", "--against", "v.npz"), "--against wants one TARGET"),
        (("a", "--against", "v.npz", "--seed", "3"), "--seed says nothing beside --against"),
        (("a", "--against", "v.npz", "--shapes", "3"), "--shapes says nothing beside --against"),
        (("--all", "--against", "v.npz"), "--all says nothing beside --against"),
        (
            ("linear", "--dtype", "float32"),
            "--dtype is the number format of results; give --against",
        ),
    ],
)
def test_misuse_is_one_line(run, write, argv: tuple[str, ...], message: str) -> None:
    write("")
    ran = run("verify", *argv)
    assert ran.code == 2
    assert message in one_line(ran.err)
    assert ran.out == ""


def test_a_cluster_that_does_not_answer_is_one_line(run, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed", reason="needs Dask: pip install 'gradcheck-rnn[dask]'")
    monkeypatch.setattr("gradcheck_rnn.verify.pools.Cluster.__init__.__defaults__", (0.5,))
    ran = run("verify", "linear", "--dask", "tcp://127.0.0.1:9")
    assert ran.code == 2
    assert "the cluster at tcp://127.0.0.1:9 does not answer" in one_line(ran.err)


# -- annotations ----------------------------------------------------------------------------------


def test_annotations_name_file_line_and_what_is_wrong(run, write) -> None:
    ran = run("verify", write(BAD), "--github")
    (line,) = [x for x in ran.out.splitlines() if x.startswith("::")]
    head, _, message = line.removeprefix("::").partition("::")
    assert head.startswith("error file=")
    assert "mine.py,line=11,title=mine%3A gradient fail" in head
    assert message.startswith("the gradient of W is wrong: ")
    assert "6 of 6 entries%0Arepeat: " in message
    assert "%0Arepeat: gradcheck-rnn verify mine.py:mine --select W" in message
    assert "::" not in run("verify", write(GOOD), "--github").out
    assert "::" not in run("verify", write(BAD)).out


def test_annotations_come_by_themselves_in_a_workflow(
    run, write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path))
    assert "::error file=mine.py,line=11," in run("verify", write(BAD)).out
    assert "::error" not in run("verify", "mine.py", "--no-github").out
    ran = run("verify", "mine.py", "--json")
    json.loads(ran.out)
    assert "::error" in ran.err
    assert "::warning " in run("verify", write(NOISY), "--undecided", "warn").out
    assert run("verify", write(BAD, "b.py"), "mine.py").out.count("::error ") == 2


# -- JSON -----------------------------------------------------------------------------------------


def test_json_keeps_to_its_schema(run, write) -> None:
    for argv in ([write(BAD)], ["linear"], [write(GOOD, "a.py"), "linear"], [write(NOISY, "n.py")]):
        plain = json.loads(run("verify", *argv, "--json").out)
        validate(plain)
    broken = {**plain, "verdict": "maybe"}
    jsonschema = pytest.importorskip("jsonschema")
    with pytest.raises(jsonschema.ValidationError):
        validate(broken)


# -- vectors --------------------------------------------------------------------------------------


def test_vectors_and_back(run, write, tmp_path: Path) -> None:
    import numpy as np

    write("")
    assert run("vectors", "linear", "-o", "v.npz", "--size", "p=4", "--size", "B=1").code == 0
    v = np.load("v.npz")
    assert v["arrays/W"].shape == (4, 4)
    right = {k: v[k] for k in v if k.startswith(("gradients/", "outputs/"))}
    np.savez("right.npz", **right)
    ran = run("verify", "right.npz", "--against", "v.npz")
    assert ran.code == 0
    assert ran.out.splitlines()[-1] == "pass: 9 of 9 probes passed"
    np.savez("wrong.npz", **{**right, "gradients/h/W": right["gradients/h/W"].T})
    ran = run("verify", "wrong.npz", "--against", "v.npz")
    assert ran.code == 1
    assert "transpose" in ran.out
    ran = run("verify", "wrong.npz", "--against", "v.npz", "--json")
    validate(json.loads(ran.out))
    assert run("verify", "right.npz", "--against", "v.npz", "--dtype", "float8").code == 2
    assert run("verify", "wrong.npz", "--against", "v.npz", "--report", "wrong.typ").code == 1
    assert "transpose" in Path("wrong.typ").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("linear", "-o", "v.csv"), "cannot write v.csv: give a name that ends in .npz or .json"),
        (("linear", "-o", "no/v.npz"), "cannot write no/v.npz: there is no folder"),
        (("linear", "-o", "v.npz", "--size", "p"), "--size 'p' is not of the form p=64"),
        (("linear", "-o", "v.npz", "--size", "k=2"), "has no size 'k'"),
        (("lsmt", "-o", "v.npz"), "unknown cell 'lsmt'"),
    ],
)
def test_misuse_of_vectors(run, write, argv: tuple[str, ...], message: str) -> None:
    write("")
    ran = run("vectors", *argv)
    assert ran.code == 2
    assert message in one_line(ran.err)
    assert not Path("v.npz").exists()
