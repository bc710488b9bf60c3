"""Definitions that once failed, found by random cells and made small; each is examined in full."""

from __future__ import annotations

from pathlib import Path

import pytest

from gradcheck_rnn import api

from .blocks import STAGES
from .pipeline import examine

CORPUS = sorted((Path(__file__).parent / "corpus").glob("*.py"))


@pytest.mark.parametrize("path", CORPUS, ids=lambda p: p.stem)
def test_definition(path: Path) -> None:
    for seed, regime in enumerate(("ordinary", "tiny", "corner")):
        examine(lambda: api.load(f"{path}:definition"), seed=seed, regime=regime, stages=STAGES)
