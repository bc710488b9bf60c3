"""The published derivations: every verdict is the committed one, and differences confirm it."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

from gradcheck_rnn import api
from gradcheck_rnn.audit.literature import Audit, Claim, Publication, read_claims
from gradcheck_rnn.errors import UsageError

FOLDER = Path(__file__).parents[2] / "derivations" / "claims"
SOURCES = read_claims(FOLDER)


@functools.cache
def audit() -> Audit:
    """One audit for all tests: derivations and points are kept."""
    return Audit(FOLDER, api.derive)


@pytest.mark.parametrize("source", SOURCES, ids=lambda s: s.key)
def test_every_claim_has_its_verdict_twice(source: Publication) -> None:
    for claim in source.claims:
        found = audit().judge(claim)
        assert found.expected, (claim.at, found)
        assert found.agrees, (claim.at, found)
        if found.verdict == "wrong":
            assert any(c.isdigit() for c in found.numbers), (claim.at, found)


def test_enough_sources() -> None:
    assert len(SOURCES) >= 25
    assert all(s.address and s.author and s.title for s in SOURCES)
    assert len({s.address for s in SOURCES}) >= 25


def test_a_wrong_expectation_shows() -> None:
    line = ("δi_t = δh_t ⊙ (1 − h_t)",)
    found = audit().judge(Claim("", "right", cell="elman", lines=line))
    assert found.verdict == "wrong"
    assert not found.expected
    # For one unit it is wrong as well, so nothing excuses it.
    excused = audit().judge(Claim("", "right for one unit", cell="elman", lines=line))
    assert excused.verdict == "wrong"


def test_bad_claims(tmp_path: Path) -> None:
    head = 'author = "a"\ntitle = "t"\nyear = "y"\naddress = "w"\nkind = "k"\n'
    bad = (
        "[[claim]]\nat = 'x'\nexpects = 'fine'\nlines = ['a = b']\n",
        "[[claim]]\nat = 'x'\n",
        "",
    )
    for body in bad:
        (tmp_path / "one.toml").write_text(head + body, encoding="utf-8")
        with pytest.raises(UsageError):
            read_claims(tmp_path)
