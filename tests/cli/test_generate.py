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
