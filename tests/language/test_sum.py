"""The language's ``sum`` is Python's for all that Python's sums."""

from __future__ import annotations

import numpy as np

from gradcheck_rnn import language
from gradcheck_rnn.derivation import derive
from gradcheck_rnn.language import cell, tanh


def test_a_star_import_leaves_sums_of_lists_alone() -> None:
    space: dict[str, object] = {}
    exec("from gradcheck_rnn.language import *", space)
    found = eval("sum([1, 2]), sum((i for i in range(4)), 5), sum([[1], [2]], [])", space)
    assert found == (3, 11, [1, 2])


def test_values_in_a_list_are_added() -> None:
    @cell(inputs="x: p", states="h: p")
    def added(x, h):  # type: ignore[no-untyped-def]
        return tanh(language.sum([x, h, x * h])) * language.sum(h)

    made = added.step({"x": np.ones((3, 2)), "h": np.full((3, 2), 2.0)})
    np.testing.assert_allclose(made["h"], np.tanh(5.0) * 6.0)
    assert "sum(h_{t−1})" in str(derive(added).scans[0].equations[-1].rhs)
