"""Definitions that once failed, found by random cells and made small; each is examined in full."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from gradcheck_rnn import api
from gradcheck_rnn.derivation import Derivation

from .blocks import STAGES
from .on_device import OnDevice, run_together
from .pipeline import Examined, examine
from .reference import REGIMES, Arrays, Case

CORPUS = sorted((Path(__file__).parent / "corpus").glob("*.py"))


@pytest.mark.parametrize("path", CORPUS, ids=lambda p: p.stem)
def test_definition(path: Path) -> None:
    """Through every stage in every regime of values."""
    waiting: list[OnDevice] = []

    def keep(derivation: Derivation, case: Case, truth: Arrays, seen: Examined) -> None:
        waiting.append(OnDevice(0, path.stem, derivation, case, truth, seen.roundoff, seen))

    for seed, regime in enumerate(REGIMES):
        load = partial(api.load, f"{path}:definition")
        examine(load, seed=seed, regime=regime, stages=(*STAGES, keep))

    def failed(one: OnDevice, problem: Exception) -> None:
        raise problem

    run_together(waiting, failed)
