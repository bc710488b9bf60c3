"""Losses whose own large terms cancel: right gradients do not fail, clear faults still do."""

from __future__ import annotations

import numpy as np
import pytest

from gradcheck_rnn.verify import Verdict, check_gradient
from gradcheck_rnn.verify.cancelling import gradient_rounding
from gradcheck_rnn.verify.target import Budget, Target
from gradcheck_rnn.verify.trees import Tree

X = np.random.default_rng(0).normal(size=3)
SINGLE = X.astype(np.float32)
#: Sums to the same as without them, in exact numbers.
TERMS = np.array([0.0, 1e8, -1e8])


def softmax(z):
    e = np.exp(z - z.max())
    return e / e.sum()


def log_sum_exp(z):
    return z.max() + np.log(np.exp(z - z.max()).sum())


LARGE = np.float32(1e11)
CASES = {
    "a sum of terms": (
        lambda x: (np.tanh(x) + TERMS.astype(np.float32) * 1e4).sum(),
        lambda x: 1 - np.tanh(x) ** 2, SINGLE,
    ),
    "log-sum-exp minus its offset": (
        lambda x: log_sum_exp(x + LARGE) - LARGE, softmax, SINGLE,
    ),
    "a variance by its moments": (
        lambda x: ((x + 1e8) ** 2).mean() - ((x + 1e8).mean()) ** 2,
        lambda x: 2 / 3 * (x - x.mean()), X,
    ),
    "parameters lost in an offset": (
        lambda x: np.mean((x + 1e7 - np.mean(x + 1e7)) ** 2),
        lambda x: 2 / 3 * (x - x.mean()), X,
    ),
}  # fmt: skip


@pytest.mark.parametrize("mode", ["entrywise", "directional"])
@pytest.mark.parametrize("name", CASES)
def test_a_right_gradient_does_not_fail(name, mode):
    loss, gradient, x = CASES[name]
    report = check_gradient(loss, gradient, x.copy(), mode=mode)
    assert report.verdict is not Verdict.FAIL
    if report.verdict is Verdict.UNDECIDED:
        assert report.rows[0].reason


def test_the_reason_names_what_cancels():
    loss, gradient, x = CASES["log-sum-exp minus its offset"]
    report = check_gradient(loss, gradient, x)
    assert report.rows[0].has("cancelling")
    assert "terms of the loss cancel" in report.rows[0].reason


@pytest.mark.parametrize("factor", [0.5, 1.02, -1.0])
def test_a_wrong_gradient_of_moderate_terms_fails(factor):
    """Terms of 1e4 leave ten digits of the loss: the factor is seen."""
    report = check_gradient(
        lambda x: (np.tanh(x) + 1e-4 * TERMS).sum(),
        lambda x: factor * (1 - np.tanh(x) ** 2), X.copy(),
    )  # fmt: skip
    assert report.verdict is Verdict.FAIL


@pytest.mark.parametrize("mode", ["entrywise", "directional"])
@pytest.mark.parametrize("offset", [0.0, 1e8])
@pytest.mark.parametrize(("factor", "wrong"), [(1.0, False), (0.0, True), (1.5, True)])
def test_a_softmax_that_constants_saturate_is_refuted_by_what_is_resolved_alone(
    mode, offset, factor, wrong
):
    """Derivatives of 1e-246: those of the large logit cancel at all parameters, the others do not.

    A direction moves all of them, so that a factor is hidden there.
    """
    constants, v, x = offset + np.array([0.0, 565.0, 0.0]), X[::-1], np.array([0.3, -1.1])

    def gradient(w):
        s = softmax(w @ x + constants)
        return factor * np.outer(s * (v - s @ v), x)

    w = np.random.default_rng(1).normal(size=(3, 2))
    report = check_gradient(lambda w: softmax(w @ x + constants) @ v, gradient, w, mode=mode)
    hidden = mode == "directional" and factor == 1.5
    assert report.verdict is (Verdict.FAIL if wrong and not hidden else Verdict.UNDECIDED)
    if not wrong:
        assert "operations at random" in report.rows[0].reason


def in_c(function):
    """The same, of code whose operations are not those of arrays, in its own format alone."""

    def called(x):
        if x.dtype.kind == "c" or x.dtype.itemsize > 8:
            raise TypeError("real numbers in single or double precision")
        return function(np.array(x, subok=False))

    return called


@pytest.mark.parametrize("mode", ["entrywise", "directional"])
@pytest.mark.parametrize("name", [n for n in CASES if n != "a sum of terms"])
def test_a_right_gradient_in_c_does_not_fail(name, mode):
    """Of the sum of terms no move changes a bit, and nothing tells it from a faulty gradient."""
    loss, gradient, x = CASES[name]

    def single(x):
        return np.dtype(x.dtype).type(loss(x))

    report = check_gradient(in_c(single), in_c(gradient), x.copy(), mode=mode)
    assert report.verdict is not Verdict.FAIL, report


@pytest.mark.parametrize("mode", ["entrywise", "directional"])
@pytest.mark.parametrize("factor", [-1.0, 1.02, 1 + 1e-6])
def test_what_noise_at_large_steps_does_not_explain_fails_in_c(factor, mode):
    if mode == "directional" and factor < 1.02 and factor > 0:
        pytest.skip("hidden in the noise of directions")
    loss, gradient, x = CASES["parameters lost in an offset"]
    wrong = in_c(lambda x: factor * gradient(x))
    assert check_gradient(in_c(loss), wrong, x.copy(), mode=mode).verdict is Verdict.FAIL


def test_a_gradient_of_what_a_loss_in_c_does_not_read_fails():
    report = check_gradient(in_c(lambda x: float(x[0] ** 2)), in_c(lambda x: 2 * x), X.copy())
    assert report.verdict is Verdict.FAIL


def _of_units(constants, factor=1.0):
    """A softmax of NumPy's and its gradient in Python's numbers."""
    v, x = X[::-1], np.array([0.3, -1.1])

    def gradient(w):
        s = softmax(np.array(w, subok=False) @ x + constants)
        return factor * np.outer(s * (v - s @ v), x)

    return lambda w: softmax(w @ x + constants) @ v, gradient


@pytest.mark.parametrize("mode", ["entrywise", "directional"])
@pytest.mark.parametrize("offset", [0.0, 1e8])
def test_what_constants_saturate_in_c_is_undecided(mode, offset):
    loss, gradient = _of_units(offset + np.array([0.0, 565.0, 0.0]))
    report = check_gradient(loss, gradient, np.random.default_rng(1).normal(size=(3, 2)), mode=mode)
    assert report.verdict is Verdict.UNDECIDED
    assert "cannot be rounded at random" in report.rows[0].reason


def into_buffers(function):
    """The same in other arrays than it is given, which keep no rounding of themselves."""

    def called(w):
        given, found = np.empty(w.shape), np.zeros(w.shape)
        given[:] = np.ascontiguousarray(np.asarray(w))
        np.multiply(function(given), 1.0, out=found)
        return found

    return called


@pytest.mark.parametrize("factor", [1.0, 1.5])
@pytest.mark.parametrize("order", ["C", "F"])
def test_conversions_and_buffers_of_numpy_are_rounded_at_random(order, factor):
    x = np.array([0.3, -1.1])

    def gradient(w):
        s = softmax(w @ x + np.array([0.0, 565.0, 0.0]))
        return factor * np.outer(s * (X[::-1] - s @ X[::-1]), x)

    loss, _ = _of_units(np.array([0.0, 565.0, 0.0]))
    w = np.asarray(np.random.default_rng(1).normal(size=(3, 2)), order=order)
    report = check_gradient(loss, into_buffers(gradient), w)
    assert report.verdict is (Verdict.UNDECIDED if factor == 1.0 else Verdict.FAIL)
    if factor == 1.0:
        assert "operations at random" in report.rows[0].reason


@pytest.mark.parametrize("shape", [(3,), (200, 100)])
def test_arrays_that_round_are_given_to_no_later_call(shape):
    """Memory of large arrays is used again."""
    seen = []

    def gradient(w):
        seen.append(type(w))
        return 2 * np.tanh(w)

    tree = Tree.of(np.ones(shape, order="F"))
    target = Target(lambda w: float((w**2).sum()), gradient, tree, [0], Budget(None))
    g = target.gradient_at(tree.leaves)
    assert gradient_rounding(target, g, np.random.default_rng(0), 2)[0].any()
    target.gradient_at(tree.leaves)
    assert seen.count(np.ndarray) == 2
    assert len(seen) == 4


@pytest.mark.parametrize("mode", ["entrywise", "directional"])
def test_what_parameters_saturate_in_c_is_refuted_at_smaller_ones(mode):
    w = np.random.default_rng(1).normal(size=(3, 2)) + np.array([[0, 0], [600.0, 0], [0, 0]])
    loss, gradient = _of_units(np.zeros(3), factor=1.5)
    assert check_gradient(loss, gradient, w, mode=mode).verdict is Verdict.FAIL


def log_sum(*terms):
    top = max(terms)
    return top if top == -np.inf else top + np.log(sum(np.exp(v - top) for v in terms))


def guarded(p):
    """The loss of the first two rows, guarded "0 if impossible"; some of its terms are -inf."""
    found = log_sum(log_sum(*p[0], -np.inf), log_sum(-np.inf, -np.inf, p[1, 0]))
    np.signbit(found)  # takes no complex numbers
    return -found if found > -np.inf else 0.0


def guarded_gradient(p):
    e = np.zeros(p.shape)
    e[0], e[1, 0] = np.exp(p[0]), np.exp(p[1, 0])
    return -e / e.sum()


def of_plain_arrays(p):
    """A loss that takes another branch for arrays that are no plain ones."""
    return (p * p).sum() if type(p) is np.ndarray and np.signbit(p).any() else 0.0


@pytest.mark.parametrize(
    ("loss", "gradient"),
    [(guarded, guarded_gradient), (of_plain_arrays, lambda p: 2 * p)],
)
@pytest.mark.parametrize("past_the_end", [False, True])
def test_another_branch_of_random_rounding_is_no_cancelling(loss, gradient, past_the_end):
    """What comes of rows past a length is wrong, whichever branch rounded arrays take."""
    report = check_gradient(
        lambda p: loss(p[:2]),
        lambda p: np.vstack([gradient(p[:2]), 0.1 * past_the_end * p[2:]]),
        np.random.default_rng(3).normal(size=(4, 3)),
    )
    assert report.verdict is (Verdict.FAIL if past_the_end else Verdict.PASS)
