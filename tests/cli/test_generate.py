"""`generate` writes one standalone module, whole or not at all."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest


def imported(text: str) -> set[str]:
    """Top-level packages a module imports."""
    names = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").split(".")[0])
    return names


def functions(text: str) -> set[str]:
    return {node.name for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)}


def test_the_module_is_standalone(run) -> None:
    ran = run("generate", "lstm", "--backend", "numpy")
    assert ran.code == 0, ran.err
    assert imported(ran.out) <= {"__future__", "collections", "typing", "numpy"}
    assert {"forward", "backward"} <= functions(ran.out)
    assert "loss_and_gradients" not in functions(ran.out)
    assert run("generate", "lstm").out == ran.out, "the text is deterministic, numpy the default"


def test_a_loss_on_top(run) -> None:
    ran = run("generate", "lstm", "--loss", "softmax_cross_entropy")
    assert ran.code == 0, ran.err
    assert "loss_and_gradients" in functions(ran.out)


def test_an_unknown_loss_is_named(run) -> None:
    ran = run("generate", "lstm", "--loss", "hinge")
    assert ran.code == 2
    assert "hinge" in ran.err
    assert "softmax_cross_entropy" in ran.err


def test_it_is_written_where_asked(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ran = run("generate", "elman", "-o", "kernel.py")
    assert (ran.code, ran.out, ran.err) == (0, "", "")
    assert (tmp_path / "kernel.py").read_text(encoding="utf-8") == run("generate", "elman").out
    assert [p.name for p in tmp_path.iterdir()] == ["kernel.py"]


def test_a_kernel_in_c_is_a_folder(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ran = run("generate", "elman", "--backend", "c", "-o", "kernel", "--python")
    assert (ran.code, ran.out) == (0, "")
    assert {p.name for p in (tmp_path / "kernel").iterdir()} == {"elman.c", "elman.h", "elman.py"}
    assert "cc -std=c99" in (tmp_path / "kernel" / "elman.c").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("--backend", "c"), "give a folder with -o"),
        (("--python",), "--python goes with --backend c only"),
        (("--vectors", "--backend", "cupy"), "--vectors goes with --backend c only"),
        (("--backend", "c", "-o", "there.txt"), "there.txt is no folder"),
    ],
)
def test_misuse_of_the_c_backend(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, argv: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.txt").write_text("")
    ran = run("generate", "elman", *argv)
    assert ran.code == 2
    assert said in ran.err
    assert [p.name for p in tmp_path.iterdir()] == ["there.txt"]


def test_what_c_has_no_text_for_is_refused_and_nothing_written(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    from gradcheck_rnn.language.ops.unit_maps import UNIT_MAPS

    monkeypatch.chdir(tmp_path)
    known = UNIT_MAPS["cumsum"]
    monkeypatch.setitem(UNIT_MAPS, "cumsum", known)  # what is declared last has the name
    replace(known, c="")
    (tmp_path / "mine.py").write_text(
        "from gradcheck_rnn.language import cell, cumsum\n\n\n"
        '@cell(inputs="x: p", states="h: p")\ndef summed(x, h):\n    return cumsum(x) + h\n'
    )
    ran = run("generate", "mine.py:summed", "--backend", "c", "-o", "kernel")
    assert ran.code == 2
    assert "cumsum" in ran.err
    assert not (tmp_path / "kernel").exists()
