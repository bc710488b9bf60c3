"""Attacks of `benchmarks.attacks`: wrong code fails, right code written in another way passes."""

from __future__ import annotations

import pytest

from benchmarks.attacks import FAMILIES, verdict

TAKES_LONG = {("model", "tail of eight"), ("model", "carry in float32"), ("model", "lost update")}
CHOSEN = [
    (family, variant)
    for family in (
        "products",
        "halting",
        "state",
        "embedding",
        "attention",
        "torch",
        "model",
        "convolution",
        "kink of one entry",
        "at the point",
        "sizes",
        "normalised",
    )
    for variant in FAMILIES[family][1]
    if (family, variant) not in TAKES_LONG
    and variant not in ("zero rows are padding", "zero start")  # another branch's tests have them
]


@pytest.mark.parametrize(("family", "variant"), CHOSEN)
def test_what_is_right(family: str, variant: str) -> None:
    if family in ("torch", "normalised"):
        pytest.importorskip("torch")
    found, report = verdict(family, variant, seed=0)
    assert found == FAMILIES[family][1][variant][0], report
