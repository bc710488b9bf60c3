"""The blocks of docs/verifying.md and of the how-to page are run; what is said of layouts is so."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from gradcheck_rnn import derive, render
from gradcheck_rnn.verify.harness.ready import ready
from gradcheck_rnn.verify.outcome import Report

ROOT = Path(__file__).parent.parent
GUIDE = (ROOT / "docs" / "verifying.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"^```python\n(.*?)^```$", GUIDE, flags=re.M | re.S)
TABLE = re.findall(r"^\| `([\w-]+ \w+)` \| (.*?) \| (.*?) \|$", GUIDE, flags=re.M)


@pytest.mark.parametrize("number", range(len(PYTHON)))
def test_blocks_run(
    number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(ROOT)
    names: dict[str, object] = {}
    exec(compile(PYTHON[number], "verifying.md", "exec"), names)
    printed = capsys.readouterr().out
    if "print(" in PYTHON[number]:
        assert ": pass (" in printed
        missed = ("could have missed", "contributions up to", "was not looked for")
        assert any(words in printed for words in missed)
    if isinstance(names.get("report"), Report):
        assert names["report"].passed  # type: ignore[attr-defined]


def test_a_network_of_the_how_to_page_is_derived() -> None:
    page = (ROOT / "docs" / "howto.md").read_text(encoding="utf-8")
    block, loop, whole = re.findall(r"^```python\n(.*?)^```$", page, flags=re.M | re.S)
    names: dict[str, Any] = {}
    exec(compile(block, "howto.md", "exec"), names)
    looped: dict[str, Any] = {}
    exec(compile(loop, "howto.md", "exec"), looped)
    assert "A step has 10 substeps, which t counts" in render(derive(looped["substeps"]))
    read: dict[str, Any] = {}
    exec(compile(whole, "howto.md", "exec"), read)
    assert "H: S × k (all steps of h_{src,t} as its rows)" in render(derive(read["network"]))
    text = render(derive(names["network"]))
    assert "softmax(y_t) − target_t" in text
    assert "(r_t ⊙ h_{t−1})ᵀ" in text


def test_there_are_three_ways_in() -> None:
    text = "".join(PYTHON)
    for door in ("check_gradient(", "check_vjp(", "check_model(", "Layout("):
        assert door in text


@pytest.mark.parametrize(("name", "arguments", "outputs"), TABLE)
def test_layouts_take_and_give_what_the_table_says(name: str, arguments: str, outputs: str) -> None:
    layout = ready(name)
    assert arguments.split(", ") == [*layout.parameters, *layout.inputs]
    assert outputs.split(", ") == list(layout.outputs)


def test_the_table_has_all_conventions() -> None:
    assert len(TABLE) == 10


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#:]+)\)", GUIDE))
def test_links_lead_somewhere(link: str) -> None:
    assert (ROOT / "docs" / link).exists()
