"""The block of docs/zoo.md runs, and what the page names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gradcheck_rnn import api

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "zoo.md").read_text(encoding="utf-8")


def test_the_block_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(ROOT)
    (block,) = re.findall(r"^```python\n(.*?)^```$", PAGE, flags=re.M | re.S)
    exec(compile(block, "zoo.md", "exec"), {})
    assert "δS_t" in capsys.readouterr().out


def test_the_page_names_cells_that_are_there() -> None:
    section = PAGE.partition("## How some of them are written")[2].partition("\n## ")[0]
    named = [
        n
        for group in re.findall(r"\(((?:`\w+`(?:, )?)+)\)", section)
        for n in re.findall(r"\w+", group)
    ]
    assert len(named) > 8
    assert set(named) <= set(api.names())
