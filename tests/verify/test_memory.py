"""Memory of large arguments is used again, but never while somebody holds it."""

from __future__ import annotations

import numpy as np
import pytest

from gradcheck_rnn import check_gradient
from gradcheck_rnn.verify.memory import LARGE, Reused, moved_array, same_or_copy

SIZE = LARGE // 8


def test_memory_that_nobody_holds_is_used_again() -> None:
    used, leaf = Reused(), np.arange(SIZE, dtype=float)
    place = used.copy(0, leaf).ctypes.data
    again = used.copy(0, leaf)
    assert again.ctypes.data == place
    assert np.array_equal(again, leaf)


def test_memory_is_used_again_while_a_module_holds_the_last_array() -> None:
    used = Reused()
    first = used.keep(0, np.ones(SIZE))
    last = used.keep(0, np.ones(SIZE))
    place = first.ctypes.data
    del first
    again = used.copy(0, np.zeros(SIZE))
    assert again.ctypes.data == place
    assert last.all()


@pytest.mark.parametrize(
    "hold", [lambda a: a, lambda a: a[3:], lambda a: a.T], ids=["itself", "a part", "turned"]
)
def test_what_is_held_stays_as_it_is(hold) -> None:
    used, leaf = Reused(), np.arange(SIZE, dtype=float)
    held = hold(used.copy(0, leaf))
    before = held.copy()
    other = used.copy(0, -leaf)
    assert np.array_equal(held, before)
    assert np.array_equal(other, -leaf)


def test_other_shapes_and_formats_get_memory_of_their_own() -> None:
    used = Reused()
    for leaf in (np.ones(SIZE), np.ones(2 * SIZE), np.ones(2 * SIZE, np.float32)):
        made = used.copy(0, leaf)
        assert made.dtype == leaf.dtype
        assert np.array_equal(made, leaf)
    narrow = np.ones(3, np.float32)
    assert moved_array(narrow, 0.5, np.ones(3), np.zeros(3)).dtype == np.float32


def test_a_gradient_that_differs_is_copied() -> None:
    known, other = np.ones(3), np.array([1.0, 2.0, 3.0])
    assert same_or_copy(known, np.ones(3)) is known
    made = same_or_copy(known, other)
    other[0] = 7.0
    assert made[0] == 1.0


def test_a_function_that_keeps_its_arguments_reads_what_it_was_given() -> None:
    """The gradient is computed from arrays that the last call of the loss has kept."""
    rng = np.random.default_rng(0)
    w, c = rng.standard_normal((2, SIZE + 5))
    seen: list[tuple[np.ndarray, np.ndarray]] = []

    def loss(w):
        seen.append((w, w.copy()))
        return float(c @ np.tanh(w))

    report = check_gradient(loss, lambda w: c / np.cosh(w) ** 2, w, mode="directional", seed=0)
    assert report.passed
    # one array is meant to change: the check asks whether results are remembered by its id
    assert len({id(now) for now, then in seen if not np.array_equal(now, then)}) <= 1
