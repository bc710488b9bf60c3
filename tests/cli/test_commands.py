"""What the commands print."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

from gradcheck_rnn import __version__


def test_version(run) -> None:
    assert run("--version").out == f"gradcheck-rnn {__version__}\n"


@pytest.mark.parametrize("argv", [("--help",), ("-h",)])
def test_help_names_every_command(run, argv: tuple[str, ...]) -> None:
    ran = run(*argv)
    assert ran.code == 0
    for command in ("cells", "derive", "prove", "generate"):
        assert f"\n  {command} " in ran.out
    assert "Exit codes: 0 pass, 1 fail, 2 misuse, 3 undecided" in ran.out


def test_cells_lists_the_zoo_with_sources(run) -> None:
    ran = run("cells")
    assert ran.code == 0
    assert "elman" in ran.out
    assert "lstm_peephole" in ran.out


def test_cells_as_json(run) -> None:
    rows = json.loads(run("cells", "--json").out)
    assert {"elman", "lstm", "gru"} <= {row["name"] for row in rows}
    for row in rows:
        assert set(row) == {"name", "kind", "what", "source", "family"}
        assert row["what"]


def test_derive_prints_the_adjoint_recursion(run) -> None:
    ran = run("derive", "elman")
    assert ran.code == 0
    assert ran.err == ""
    assert "∇W   = Σ_{t=1}^{T} δi_t h_{t−1}ᵀ" in ran.out
    assert ran.out.endswith("\n")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--format", "latex"), "\\begin{"),
        (("--format", "typst"), "sum_("),
        (("--format", "markdown"), "# elman"),
        (("--form", "kronecker"), "⊗"),
        (("--rtrl",), "RTRL"),
        (("--truncate", "4"), "4"),
        (("--loss", "softmax_cross_entropy"), "target"),
    ],
)
def test_derive_options_show(run, options: tuple[str, ...], expected: str) -> None:
    plain = run("derive", "elman").out
    ran = run("derive", "elman", *options)
    assert ran.code == 0, ran.err
    assert expected in ran.out
    assert ran.out != plain


def test_derive_steps_cite_their_rules(run) -> None:
    assert len(run("derive", "elman", "--steps").out) > len(run("derive", "elman").out)


def test_derive_json_is_json(run) -> None:
    assert json.loads(run("derive", "lstm", "--format", "json").out)


def test_derive_with_respect_to_some(run) -> None:
    ran = run("derive", "elman", "--wrt", "U", "--wrt", "h0")
    assert ran.code == 0, ran.err
    assert "∇U" in ran.out
    assert "∇W" not in ran.out


def test_derive_the_other_layout_transposes(run) -> None:
    numerator = run("derive", "elman", "--form", "kronecker")
    denominator = run("derive", "elman", "--form", "kronecker", "--layout", "denominator")
    assert "∂h_t/∂h_{t−1}ᵀ = diag(1 − h_t²) W" in numerator.out
    assert "Denominator layout" in denominator.out
    assert "∂h_tᵀ/∂h_{t−1} = Wᵀ diag(1 − h_t²)" in denominator.out


def test_derive_in_the_readers_notation(run, write) -> None:
    file = write('[names]\nh = "s"\nW = "W_hh"\n', "mine.toml")
    ran = run("derive", "elman", "--notation", file)
    assert ran.code == 0, ran.err
    assert "s_{t−1}" in ran.out
    assert "h_{t−1}" not in ran.out


def test_derive_writes_what_it_prints(run, write) -> None:
    folder = write("", "unrelated.txt")
    assert folder
    ran = run("derive", "elman", "--format", "markdown", "-o", "elman.md")
    assert (ran.code, ran.out, ran.err) == (0, "", "")
    with open("elman.md", encoding="utf-8") as file:
        assert file.read() == run("derive", "elman", "--format", "markdown").out


def test_derive_a_users_cell(run, write) -> None:
    file = write(
        "from gradcheck_rnn import cell\nfrom gradcheck_rnn.language import tanh\n"
        "@cell(inputs='x: d', states='h: p', params='A: p p; B: p d')\n"
        "def mine(h, x, A, B):\n"
        "    h = tanh(A @ h + B @ x)\n"
        "    return h\n"
    )
    assert "∇A" in run("derive", f"{file}:mine").out
    assert run("derive", file).out == run("derive", f"{file}:mine").out


def test_prove_prints_what_was_compared(run) -> None:
    ran = run("prove", "elman")
    assert ran.code == 0
    assert "elman: proved" in ran.out
    assert "2^-" in ran.out


def test_prove_as_json(run) -> None:
    assert json.loads(run("prove", "elman", "--json").out)["proved"] is True


def test_a_failed_proof_is_exit_code_one(run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong rule, planted: d tanh = 1 + tanh² must not be proved."""
    from gradcheck_rnn import api
    from gradcheck_rnn.derivation import proof

    good = api.prove("elman")
    assert good.proved
    wrong = _Wrong()
    monkeypatch.setattr(proof, "prove", lambda *_, **__: wrong)
    ran = run("prove", "elman")
    assert ran.code == 1
    assert "not proved" in ran.out
    monkeypatch.setattr(api, "names", lambda: ("elman",))
    ran = run("prove", "--all")
    assert ran.code == 1
    assert "0 of 1 systems proved" in ran.out


@dataclass
class _Wrong:
    proved: bool = False
    added: str = ""

    def __str__(self) -> str:
        return "elman: not proved"


def test_prove_all_is_a_table(run, monkeypatch: pytest.MonkeyPatch) -> None:
    from gradcheck_rnn import api

    monkeypatch.setattr(api, "names", lambda: ("elman", "mgu"))
    ran = run("prove", "--all")
    assert ran.code == 0
    assert "2 of 2 systems proved" in ran.out
    assert ran.err == ""
    assert [r["proved"] for r in json.loads(run("prove", "--all", "--json").out)] == [True, True]
