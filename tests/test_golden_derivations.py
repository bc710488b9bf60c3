"""The committed derivations are what the calculus derives now."""

from __future__ import annotations

import pytest

from gradcheck_rnn import api
from tests import golden_derivations


def test_no_page_is_missing_or_left_over() -> None:
    committed = {p.name for p in golden_derivations.FOLDER.glob("*.md")}
    assert committed == {"README.md", *(f"{n}.md" for n in api.names())}


@pytest.mark.parametrize("name", api.names())
def test_page_is_current(name: str) -> None:
    committed = (golden_derivations.FOLDER / f"{name}.md").read_text(encoding="utf-8")
    assert golden_derivations.text(name) == committed, "run `make golden` and read the difference"


def test_elman_fits_a_slide_and_lstm_two() -> None:
    # A slide holds about 25 displayed lines; symbols and headings are on the first.
    for name, slides in (("elman", 1), ("lstm", 2)):
        page = api.render(api.derive(name), "text")
        displayed = [line for line in page.splitlines() if line.startswith("  ")]
        assert len(displayed) <= 25 * slides
