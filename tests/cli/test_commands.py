"""What the commands print."""

from __future__ import annotations

import json

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
        assert set(row) == {"name", "kind", "what", "source"}
        assert row["what"]
