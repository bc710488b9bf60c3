"""`verify` on the zoo, on a user's cell and on generated files, right and tampered with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gradcheck_rnn import api

from .test_errors import GOOD, one_line


@pytest.fixture
def generated(run, write):
    """`generated("gru", "--loss", …)` → the name of a generated file in the working folder."""

    def generated(*argv: str) -> Path:
        write("", "unrelated.txt")
        assert run("generate", *argv, "-o", "kernel.py").code == 0
        return Path("kernel.py")

    return generated


def tamper(path: Path, right: str, wrong: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert right in text
    path.write_text(text.replace(right, wrong), encoding="utf-8")


def test_a_cell_of_the_zoo(run) -> None:
    ran = run("verify", "elman")
    assert ran.code == 0
    first, *_, last = ran.out.splitlines()
    assert first.startswith("elman: forward agrees with the definition in h, y, h_final")
    assert last.startswith("pass: 5 of 5 checks passed")
    for name in ("W", "U", "b_i", "V", "b_y", "x", "h0"):
        assert any(line.split()[:2] == [name, "pass"] for line in ran.out.splitlines())


def test_a_loss_on_top(run) -> None:
    plain = json.loads(run("verify", "mgu", "--loss", "squared_error", "--json").out)
    titles = [r["title"] for r in plain["reports"]]
    assert titles[-1] == "mgu: loss"
    assert plain["verdict"] == "pass"
    assert "--loss squared_error --seed" in plain["reports"][0]["replay"]


def test_a_users_cell(run, write) -> None:
    ran = run("verify", f"{write(GOOD)}:mine")
    assert ran.code == 0
    assert "mine: forward agrees" in ran.out
    assert run("verify", "mine.py").code == 0, "the only cell of a file needs no name"


@pytest.mark.parametrize("argv", [("gru",), ("gru", "--loss", "squared_error"), ("char_rnn",)])
def test_a_generated_file_knows_what_it_computes(run, generated, argv: tuple[str, ...]) -> None:
    ran = run("verify", str(generated(*argv)))
    assert ran.code == 0, ran.out + ran.err
    assert ran.out.startswith(f"{argv[0]}: forward agrees")
    assert ("loss" in ran.out.splitlines()[0]) == (argv != ("gru",))


def test_a_tampered_gradient_fails(run, generated) -> None:
    path = generated("elman_hidden")
    tamper(path, '"b_i": d_b_i', '"b_i": d_b_i * (1 + 1e-6)')
    ran = run("verify", str(path))
    assert ran.code == 1
    assert any(line.split()[:2] == ["b_i", "fail"] for line in ran.out.splitlines())
    assert any(line.split()[:2] == ["W", "pass"] for line in ran.out.splitlines())
    assert "it is 1 times" in ran.out or "3 of 3" in ran.out
    (command,) = [x for x in ran.out.splitlines() if x.startswith("repeat: ")]
    assert "kernel.py --select b_i --seed" in command


def test_a_tampered_forward_pass_fails_first(run, generated) -> None:
    path = generated("elman_hidden")
    tamper(path, "np.tanh", "np.sin")
    ran = run("verify", str(path))
    assert ran.code == 1
    assert ran.out.startswith("elman_hidden: forward differs from the definition in h, h_final")
    assert "its gradients were not checked" in ran.out


def test_a_file_from_a_users_cell_knows_where_it_is(run, write, generated) -> None:
    cell = f"{write(GOOD)}:mine"
    path = generated(cell)
    assert run("verify", str(path)).code == 0
    assert run("verify", str(path), "--definition", cell).code == 0
    tamper(path, '"b": d_b', '"b": 2 * d_b')
    ran = run("verify", str(path))
    assert ran.code == 1
    assert "it is 2 times the difference quotients" in ran.out
    assert f"--definition {cell}" in run("verify", str(path), "--definition", cell).out


def test_a_file_whose_definition_is_elsewhere(run, write, generated) -> None:
    source = Path(write(GOOD))
    path = generated(f"{source}:mine")
    folder = Path("moved")
    folder.mkdir()
    path, beside = path.rename(folder / path.name), source.rename(folder / source.name)
    assert run("verify", str(path)).code == 0, "the definition stands beside the module"
    beside.unlink()
    ran = run("verify", str(path))
    assert ran.code == 2
    assert "generated from 'mine' in mine.py:mine, which is not there any more" in one_line(ran.err)


def test_a_file_that_names_a_cell_the_zoo_does_not_have(run, generated) -> None:
    path = generated("elman_hidden")
    tamper(path, "definition of 'elman_hidden'", "definition of 'mine'")
    ran = run("verify", str(path))
    assert ran.code == 2
    assert "generated from 'mine', which is not in the zoo; give its definition" in one_line(
        ran.err
    )


def test_a_definition_goes_with_a_file(run) -> None:
    assert "goes with a file" in one_line(run("verify", "gru", "--definition", "gru").err)


def test_a_module_of_ones_own_has_to_be_told_its_definition(run, write) -> None:
    name = write("def forward(p, i): ...\ndef backward(p, i, s, c): ...\n")
    assert "does not say what it computes" in one_line(run("verify", name).err)
    ran = run("verify", name, "--definition", "linear")
    assert ran.code == 2
    assert "forward must return (outputs by name, saved)" in one_line(ran.err)


def test_from_python_the_object_itself(tmp_path: Path) -> None:
    done = api.verify(api.load("linear"), select=["W"], seed=4)
    assert done.passed
    assert done.kind == "kernel"
    assert {r.seed for r in done} == {4}
