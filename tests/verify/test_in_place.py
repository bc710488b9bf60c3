"""Arrays that are changed in place between calls, as optimisers do: what knows them again is wrong.

In real training parameters keep their `id`, their address and the references to them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from benchmarks.fault_study.correct import RoundedCode
from gradcheck_rnn import check_gradient, check_model, check_vjp, derive, load
from gradcheck_rnn.verify import Verdict
from gradcheck_rnn.verify.guard import remembers_arrays
from tests.verify.handwritten import elman_problem
from tests.verify.model.elman_by_hand import backward, forward

Function = Callable[..., Any]
SHAPES = {"T": [3], "B": [2]}


def by_id(function: Function, whole: Function, rest: Function) -> Function:
    cache: dict[Any, Any] = {}

    def cached(*args: Any) -> Any:
        key = tuple(map(id, whole(*args))), rest(*args)
        if key not in cache:
            cache[key] = function(*args)
        return cache[key]

    return cached


def by_address(function: Function, whole: Function, rest: Function) -> Function:
    cache: dict[Any, Any] = {}

    def cached(*args: Any) -> Any:
        key = tuple(a.ctypes.data for a in whole(*args)), rest(*args)
        if key not in cache:
            cache[key] = function(*args)
        return cache[key]

    return cached


def by_reference(function: Function, whole: Function, rest: Function) -> Function:
    held: list[tuple[list[Any], Any, Any]] = []

    def cached(*args: Any) -> Any:
        now, beside = list(whole(*args)), rest(*args)
        for old, other, found in held:
            if other == beside and all(a is b for a, b in zip(old, now, strict=True)):
                return found
        held.append((now, beside, function(*args)))
        return held[-1][2]

    return cached


def by_content(function: Function, whole: Function, rest: Function) -> Function:
    cache: dict[Any, Any] = {}

    def cached(*args: Any) -> Any:
        key = tuple(a.tobytes() for a in whole(*args)), rest(*args)
        if key not in cache:
            cache[key] = function(*args)
        return cache[key]

    return cached


CACHES = [by_id, by_address, by_reference]


def said(report: Any) -> list[str]:
    return [f.message for f in report.findings if f.fatal]


def check_loss(cache: Any, parameters: Any = None) -> Any:
    loss, gradient, made = elman_problem(np.random.default_rng(0))
    cached = cache(gradient, lambda P: list(P.values()), lambda _: 0)
    return check_gradient(loss, cached, made if parameters is None else parameters)


@pytest.mark.parametrize("cache", CACHES)
def test_a_gradient_that_knows_its_arrays_again(cache: Any) -> None:
    report = check_loss(cache)
    assert report.verdict is Verdict.FAIL
    assert said(report) == [remembers_arrays("the gradient function").message]


def test_a_gradient_that_knows_its_dict_again() -> None:
    loss, gradient, made = elman_problem(np.random.default_rng(0))
    report = check_gradient(loss, by_reference(gradient, lambda P: [P], lambda _: 0), made)
    assert said(report) == [remembers_arrays("the gradient function").message]


def test_a_cache_by_content_and_arrays_that_are_read_only_pass() -> None:
    _, _, made = elman_problem(np.random.default_rng(0))
    kept = {n: a.copy() for n, a in made.items()}
    for a in made.values():
        a.flags.writeable = False
    assert check_loss(by_content, made).passed
    assert all(np.array_equal(a, kept[n]) for n, a in made.items())


def test_a_gradient_that_uses_what_the_loss_kept_of_these_very_arrays_passes() -> None:
    """In training the loss comes first; where it does not, it is called by the gradient."""
    loss, gradient, made = elman_problem(np.random.default_rng(0))
    last: list[Any] = [None, None]

    def kept(P: Any) -> Any:
        last[:] = P["W"], gradient(P)
        return loss(P)

    def used(P: Any) -> Any:
        if last[0] is not P["W"]:
            kept(P)
        return {n: g.copy() for n, g in last[1].items()}

    report = check_gradient(kept, used, made)
    assert report.passed, str(report)


def weights(bars: Any, saved: Any) -> list[Any]:
    return list(saved[2:])


def bytes_of(bars: Any) -> Any:
    return tuple(g.tobytes() for g in bars.values())


def content(bars: Any, saved: Any) -> Any:
    return saved[0].tobytes(), bytes_of(bars)


def inputs() -> dict[str, Any]:
    r = np.random.default_rng(1)
    sizes = {"x": (4, 2, 2), "h0": (2, 3), "W": (3, 3), "U": (3, 2), "b_i": (3,)}
    return {n: r.normal(size=s) for n, s in sizes.items()}


@pytest.mark.parametrize("cache", CACHES)
def test_a_backward_function_that_knows_its_weights_again(cache: Any) -> None:
    report = check_vjp(forward, cache(backward, weights, lambda b, s: bytes_of(b)), inputs())
    assert report.verdict is Verdict.FAIL
    assert remembers_arrays("backward").message in said(report)


def test_a_forward_function_that_knows_its_weights_again() -> None:
    held: list[Any] = []

    def cached(**given: Any) -> Any:
        for old, found in held:
            if all(old[n] is a for n, a in given.items()):
                return found
        held.append((given, forward(**given)))
        return held[-1][1]

    report = check_vjp(cached, backward, inputs())
    assert said(report) == [remembers_arrays("forward").message]
    assert check_vjp(forward, backward, inputs()).passed


@pytest.mark.parametrize("cache", CACHES)
def test_a_model_that_knows_its_weights_again(cache: Any) -> None:
    code = {"forward": forward, "backward": cache(backward, weights, content)}
    report = check_model(load("elman_hidden"), **code, shapes=SHAPES)
    assert report.verdict is Verdict.FAIL
    assert said(report) == [remembers_arrays("backward").message]


@pytest.mark.parametrize("cache", CACHES)
def test_a_gradient_of_a_definition_that_knows_its_weights_again(cache: Any) -> None:
    network = load("char_rnn")
    code = RoundedCode(network, derive(network), "float64")
    code.lengths = dict.fromkeys(network.axes, 3)
    names = list(network.parameters)
    cached = cache(
        code.gradient,
        lambda P: [P[n] for n in names],
        lambda P: bytes_of({n: a for n, a in P.items() if n not in names}),
    )
    right, wrong = (
        check_model(network, gradient=f, shapes=SHAPES, plan="point")
        for f in (code.gradient, cached)
    )
    assert right.passed, str(right)
    assert said(wrong) == [remembers_arrays("the gradient function").message]


def flat(bars: Any, saved: Any) -> Any:
    """As code that walks through memory in the order in which it lies there."""
    h = bars["h"]
    return backward({**bars, "h": h.ravel(order="K").reshape(h.shape)}, saved)


def test_a_model_that_reads_cotangents_as_they_lie_in_memory() -> None:
    network = load("elman_hidden")
    for wrong in (flat, backward):
        report = check_model(network, forward=forward, backward=wrong, shapes=SHAPES)
        words = "another gradient for cotangents that are not contiguous (a view)"
        assert report.passed is (wrong is backward), str(report)
        assert bool(said(report)) is (wrong is flat)
        assert all(words in text for text in said(report))


def test_tensors_that_an_optimiser_changes() -> None:
    torch: Any = pytest.importorskip("torch")
    from gradcheck_rnn import check_torch

    kept: dict[Any, Any] = {}

    def function(key: Callable[[Any], Any]) -> Any:
        class Cached(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, W: Any, x: Any) -> Any:
                h = torch.tanh(x @ W.T)
                ctx.save_for_backward(W, x, h)
                ctx.key = key(W)
                return h

            @staticmethod
            def backward(ctx: Any, d: Any) -> Any:
                W, x, h = ctx.saved_tensors
                da = d * (1 - h * h)
                packed = kept.setdefault(ctx.key, W.clone())  # as a kernel packs its weights
                return da.T @ x, da @ packed

        return Cached

    r = np.random.default_rng(2)
    given = [torch.from_numpy(r.normal(size=s)) for s in ((3, 2), (4, 2))]
    for key in (id, lambda W: W.data_ptr()):
        kept.clear()
        report = check_torch(function(key), given)
        assert report.verdict is Verdict.FAIL, str(report)
    assert check_torch(function(lambda W: W.numpy().tobytes()), given).passed
    held: list[Any] = []

    def reference(W: Any) -> int:
        held.extend([W] * (not any(W is V for V in held)))
        return next(k for k, V in enumerate(held) if V is W)

    kept.clear()
    report = check_torch(function(reference), given)
    assert said(report) == [remembers_arrays("backward").message]
