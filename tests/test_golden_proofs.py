"""The committed table of proofs is what is proved now."""

from __future__ import annotations

import pytest

from gradcheck_rnn import api
from tests import golden_proofs

#: Systems whose tangents are quickly certified; the last column of the others is made with the
#: table and not compared.
QUICK = ("elman", "lstm", "gru", "mgu", "squared_error")
#: Systems whose certificate takes seconds: only what is proved at random points is compared.
LONG = ("conv_lstm",)


def committed() -> dict[str, list[str]]:
    lines = golden_proofs.FILE.read_text(encoding="utf-8").splitlines()
    rows = [[c.strip() for c in line.strip("|").split("|")] for line in lines if "| `" in line]
    return {cells[0].strip("`"): cells for cells in rows}


def test_the_text_is_current_and_no_system_is_missing() -> None:
    assert golden_proofs.FILE.read_text(encoding="utf-8").startswith(golden_proofs.HEAD)
    assert tuple(committed()) == tuple(api.names())


@pytest.mark.parametrize("name", api.names())
def test_row_is_current(name: str) -> None:
    rtrl = name in QUICK
    cells = golden_proofs.row(name, exact=name not in LONG, rtrl=rtrl)
    assert committed()[name][: len(cells)] == cells, "run `make golden` and read the difference"
