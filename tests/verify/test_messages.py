"""What is said to users who return something else than asked for, and what is left unsaid."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from gradcheck_rnn import check_gradient, check_model, check_torch, check_vjp
from gradcheck_rnn.errors import UsageError
from gradcheck_rnn.npz import read_npz
from gradcheck_rnn.verify.hints import explain
from gradcheck_rnn.verify.options import check_pair_options
from gradcheck_rnn.verify.pools import Cluster

POINT = {"W": np.ones((3, 2)), "b": np.ones(2)}
ONES = np.ones((3, 2))


def tanh(x):
    return np.tanh(x), x


def tanh_back(g, x):
    return (g * (1 - np.tanh(x) ** 2),)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "the loss returned None, not a real scalar"),
        ("x", "the loss returned a str, not a real scalar"),
        ({"loss": 1.0}, "the loss returned a dict, not a real scalar"),
        (1j, "dtype complex128, not a real scalar; take its real part"),
        (np.ones(3), "shape (3,), not a real scalar; sum it, or use check_vjp"),
    ],
)
def test_a_loss_that_is_no_scalar(value: Any, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_gradient(lambda p: value, lambda p: p, POINT)
    assert message in str(caught.value)


def test_a_gradient_function_that_forgets_to_return() -> None:
    with pytest.raises(UsageError, match="returns None; return the gradients"):
        check_gradient(lambda p: p["W"].sum(), lambda p: None, POINT)


def test_one_number_is_no_multiple_of_another_unless_simply_so() -> None:
    one, bound = np.ones(1), np.full(1, 1e-12)
    assert explain(1.55 * one, one, bound) == ""
    assert "0.5 (1/2) times" in explain(0.5 * one, one, bound)
    assert "opposite sign" in explain(-one, one, bound)
    two = np.array([1.0, 2.0])
    assert "-1.0005 times" in explain(-1.0005 * two, two, np.full(2, 1e-12))
    assert "1.55 times" in explain(1.55 * two, two, np.full(2, 1e-12))


def test_a_file_that_is_no_npz(tmp_path: Path) -> None:
    path = tmp_path / "results.npz"
    path.write_text("garbage", encoding="utf-8")
    with pytest.raises(UsageError, match=r"results\.npz"):
        read_npz(path, "file of results")


@pytest.mark.parametrize("address", ["nonsense", "tcp://host", "tcp://", ""])
def test_an_address_that_is_none(address: str) -> None:
    pytest.importorskip("distributed")
    with pytest.raises(UsageError, match="one looks like tcp://host:8786"):
        Cluster(address, patience=0.1)


def test_numbers_that_differ_are_shown_with_digits_that_differ() -> None:
    at = np.array([0.3, -0.2])
    report = check_gradient(lambda p: np.sin(p).sum(), lambda p: np.cos(p) * (1 + 1e-8), at)
    told, truth = report.sentence().split(": ")[1].split(" at ")[0].split(" for ")
    assert told != truth


def test_a_lost_gradient_is_called_lost() -> None:
    at = {"W": np.array([0.3, -0.2]), "b": np.array([1.0])}
    report = check_gradient(
        lambda p: (np.sin(p["W"]) + p["b"]).sum(),
        lambda p: {"W": np.cos(p["W"]), "b": 0 * p["b"]},
        at,
    )
    assert report.sentence().startswith("the gradient of b is lost: 0 for 2 at [0]")


def test_entries_that_differ_between_calls_are_named() -> None:
    def gradient(p: np.ndarray) -> np.ndarray:
        found = 2 * p
        found[2] = np.random.standard_normal()  # noqa: NPY002
        return found

    report = check_gradient(lambda p: (p**2).sum(), gradient, np.array([0.3, -0.2, 0.5]))
    assert "1 of 3 entries ([2])" in report.sentence()


def test_what_is_wrong_is_said_once() -> None:
    report = check_gradient(lambda w: np.sum(w**2), lambda w: 3 * w, np.ones(3))
    said = "it is 1.5 times the difference quotients in every entry"
    assert said in str(report).splitlines()[0]
    assert str(report).count(said) == 1


def test_random_numbers_from_outside_are_the_reason_and_the_seed_is_the_advice() -> None:
    drawn = np.random.default_rng(0)

    def loss(w: Any) -> Any:
        return np.sum(w**2 * (drawn.random(4) < 0.8))

    def forward(w: Any) -> Any:
        mask = drawn.random(4) < 0.8
        return w**2 * mask, (w, mask)

    def backward(g: Any, cache: Any) -> Any:
        return (2 * g * cache[0] * cache[1],)

    w = np.array([0.5, -1.0, 2.0, 1.5])
    for report in (
        check_gradient(loss, lambda w: 2 * w, w, seed=0),
        check_vjp(forward, backward, (w,), seed=0),
    ):
        assert not report.passed
        assert "draws random numbers" in report.sentence()
        assert "Fix the seed" in report.sentence()
        assert "roundoff" not in str(report)
        assert "surrogate" not in str(report)


def test_masked_entries_are_refused() -> None:
    masked = np.ma.masked_array([1.0, 2.0], [0, 1])
    with pytest.raises(UsageError, match=r"'w' in parameters has masked entries; give its .filled"):
        check_gradient(lambda p: (p["w"] ** 2).sum(), lambda p: 2 * p["w"], {"w": masked})
    with pytest.raises(UsageError, match=r"the gradient of 'w' has masked entries"):
        check_gradient(
            lambda p: (p["w"] ** 2).sum(), lambda p: {"w": masked}, {"w": np.array([1.0, 2.0])}
        )
    assert check_gradient(lambda p: (p**2).sum(), lambda p: 2 * p, np.ma.masked_array([1.0])).passed


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: check_vjp(tanh, tanh_back, (ONES,), mode="entry"), "check_vjp: mode 'entry' is"),
        (lambda: check_vjp(tanh, tanh_back, (ONES,), outputs="q"), "check_vjp: there is no outp"),
        (lambda: check_gradient(np.sum, np.ones_like, ONES, select="w"), "check_gradient: select"),
        (lambda: check_gradient(np.sum, np.ones_like, ONES, seed="w"), "check_gradient: seed 'w'"),
        (lambda: check_model("gru", module=ONES), "check_model: 'gru' is something else"),
    ],
)
def test_misuse_names_the_function_that_was_called(call: Any, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        call()
    assert str(caught.value).startswith(said)


def test_options_that_a_pair_does_not_have() -> None:
    with pytest.raises(UsageError, match="check_torch: unknown option 'sed'; did you mean seed"):
        check_pair_options("check_torch", {"sed": 3})
    with pytest.raises(UsageError, match="mode 3 is unknown"):
        check_pair_options("check_jax", {"mode": 3})


def test_misuse_within_the_users_code_is_left_as_it_is() -> None:
    def loss(w):
        raise UsageError("mine")

    with pytest.raises(UsageError) as caught:
        check_gradient(loss, np.ones_like, ONES)
    assert str(caught.value) == "mine"


def test_a_domain_error_beside_the_point_says_how_far_the_check_moved() -> None:
    def loss(decay):
        if np.any((decay < 0) | (decay > 1)):
            raise ValueError("decay outside of [0, 1]")
        return (decay**2).sum()

    with pytest.raises(ValueError, match="outside") as edge:
        check_gradient(loss, lambda decay: 2 * decay, np.array([1.0, 0.3]))
    (note,) = edge.value.__notes__
    assert re.match(r"the check moved 'parameters' by \de-\d+ from the point given", note)
    assert "Choose a point inside" in note
    assert check_gradient(loss, lambda decay: 2 * decay, np.array([0.5, 0.3])).passed
    with pytest.raises(ValueError, match="outside") as outside:
        check_gradient(loss, lambda decay: 2 * decay, np.array([1.5, 0.3]))
    assert not hasattr(outside.value, "__notes__")


class Weights(NamedTuple):
    w: Any
    b: Any


def test_a_named_tuple_is_one_argument() -> None:
    x, at = np.array([0.3, 0.5]), Weights(np.eye(2), np.ones(2))

    def slope(p, factor=1.0):
        d = factor * (1 - np.tanh(p.w @ x + p.b) ** 2)
        return Weights(np.outer(d, x), d)

    def loss(p):
        return np.tanh(p.w @ x + p.b).sum()

    report = check_gradient(loss, slope, at)
    assert report.passed
    assert [row.name for row in report.rows] == ["w", "b"]
    assert not check_gradient(loss, lambda p: slope(p, 1.1), at).passed
    forward, backward = lambda p: (loss(p), p), lambda dy, p: slope(p, dy)
    assert check_vjp(forward, backward, (at,)).passed


def test_a_function_that_yields_is_told_so() -> None:
    def yields(*_):
        yield ONES

    for check in (
        lambda: check_gradient(np.sum, yields, ONES),
        lambda: check_gradient(yields, np.ones_like, ONES),
        lambda: check_vjp(tanh, yields, (ONES,)),
        lambda: check_vjp(yields, tanh_back, (ONES,)),
        lambda: check_vjp(yields, tanh_back, (ONES,), cache=False),
        lambda: check_gradient(np.sum, lambda w: map(np.ones_like, [w]), ONES),
    ):
        with pytest.raises(UsageError, match=r"computes nothing until it is iterated"):
            check()


def test_a_coarse_gradient_is_told_the_way_out() -> None:
    report = check_gradient(lambda w: (w**2).sum(), lambda w: np.float32(2) * np.float32(w), ONES)
    assert not report.passed
    assert "compute in float64, or give parameters in float32" in str(report)


def test_a_class_of_modules_is_no_module() -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(UsageError, match=r"Linear is a class of modules; give an object"):
        check_torch(torch.nn.Linear, [torch.ones(2, 3).double()])
