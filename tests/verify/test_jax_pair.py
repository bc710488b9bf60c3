"""JAX functions of all kinds: judged, or refused with one message (runs where JAX is installed)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest

from gradcheck_rnn import cell, check_jax, check_model
from gradcheck_rnn.errors import UsageError
from gradcheck_rnn.language import tanh
from gradcheck_rnn.verify.harness.jax_passes import compiled, is_jax
from gradcheck_rnn.verify.verdict import Verdict

jax = pytest.importorskip("jax", reason="needs JAX: pip install jax")
jnp = pytest.importorskip("jax.numpy")


@pytest.fixture(autouse=True, params=[False, True], ids=["float32", "float64"])
def _format(request: Any) -> Iterator[None]:
    jax.config.update("jax_enable_x64", request.param)
    yield
    jax.config.update("jax_enable_x64", True)


def draw(*shape: int) -> Any:
    return jnp.asarray(np.random.default_rng(len(shape)).normal(size=shape))


def rule(forward: Callable[..., Any], backward: Callable[..., Any]) -> Any:
    function = jax.custom_vjp(lambda *a: forward(*a)[0])
    function.defvjp(forward, backward)
    return function


def step(x: Any, W: Any) -> Any:
    y = jnp.tanh(x @ W)
    return y, (x, W, y)


def pulled(saved: Any, g: Any, power: int = 2, factor: float = 1.0) -> Any:
    x, W, y = saved
    dz = g * (1 - y**power)
    return dz @ W.T, factor * x.T @ dz


class State(NamedTuple):
    h: Any
    c: Any


def test_a_wrong_term_fails_and_a_right_one_passes() -> None:
    given = (draw(4, 3), draw(3, 2))
    assert check_jax(rule(step, pulled), given).passed
    for fault in ({"power": 1}, {"factor": 1.02}, {"factor": -1.0}):
        assert str(check_jax(rule(step, functools.partial(pulled, **fault)), given).verdict) == (
            "fail"
        )


def test_structures_and_what_is_no_array() -> None:
    def layer(p: Any, s: State, mode: str, n: int) -> Any:
        h = jnp.tanh(p["W"] @ s.h) * n if mode == "tanh" else s.h
        return State(h, s.c * h), {"steps": [h.sum(), None], "best": jnp.argmax(h)}

    static = jax.jit(layer, static_argnums=(2, 3))
    for function in (layer, static):
        report = check_jax(function, ({"W": draw(3, 3)}, State(draw(3), draw(3)), "tanh", 2))
        assert report.passed, str(report)
    key = jax.random.key(0)
    assert check_jax(lambda k, x: x * jax.random.normal(k, (3,)), (key, draw(3))).passed
    with pytest.raises(UsageError, match=r"the output '\[1\]' is of type str"):
        check_jax(lambda x: (x, "name"), (draw(3),))


def test_integers_have_no_cotangent() -> None:
    def taken(x: Any, i: Any) -> Any:
        return x[i], (x, i)

    def given_back(saved: Any, g: Any, add: bool = True) -> Any:
        at = jnp.zeros_like(saved[0]).at[saved[1]]
        return at.add(g) if add else at.set(g), np.zeros(saved[1].shape, jax.dtypes.float0)

    given = (draw(3), np.array([2, 2]))
    assert check_jax(rule(taken, given_back), given).passed
    last = functools.partial(given_back, add=False)
    assert str(check_jax(rule(taken, last), given).verdict) == "fail"


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (rule(step, lambda s, g: pulled(s, g)[:1]), "pytree"),
        (rule(step, lambda s, g: (pulled(s, g)[0], pulled(s, g)[1].T)), "shapes do not match"),
        (lambda x, W: jnp.asarray(np.tanh(x)), "__array__"),
        (
            lambda x, W: jax.lax.while_loop(lambda c: c.sum() < 9, lambda c: c + 1, x),
            "Reverse-mode differentiation does not work",
        ),
    ],
)
def test_what_jax_refuses_is_one_message(function: Any, words: str) -> None:
    with pytest.raises(UsageError, match="JAX cannot pull cotangents back: ") as refused:
        check_jax(function, (draw(4, 3), draw(3, 2)))
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_errors_of_the_function_stay_as_they_are() -> None:
    with pytest.raises(ZeroDivisionError):
        check_jax(lambda x: x * (1 // 0), (draw(3),))


def test_a_coarse_format_inside_is_no_fault() -> None:
    def inside(x: Any, W: Any) -> Any:
        step = jax.jit(lambda a, b: a.astype(jnp.bfloat16) @ b.astype(jnp.bfloat16))
        return jnp.sin(step(x, W).astype(x.dtype))

    for seed in range(4):
        rng = np.random.default_rng(seed)
        given = [jnp.asarray(rng.normal(size=s)) for s in ((4, 3), (3, 2))]
        report = check_jax(inside, given)
        assert str(report.verdict) != "fail", str(report)
        assert "check_model" in str(report)


def test_float64_arrays_without_x64_are_told() -> None:
    report = check_jax(jnp.sin, (np.linspace(-1, 1, 3),))
    assert report.passed
    assert ("jax_enable_x64 is off" in str(report)) is not jax.config.jax_enable_x64


def test_a_custom_vjp_and_its_two_functions_are_checked_against_a_definition() -> None:
    @cell(inputs="x: d", states="h: p", params="W: p p; U: p d")
    def plain(h: Any, x: Any, W: Any, U: Any) -> Any:
        return tanh(W @ h + U @ x)

    def last(x: Any, h0: Any, W: Any, U: Any) -> Any:
        return jax.lax.scan(lambda h, x_t: 2 * (jnp.tanh(h @ W + x_t @ U),), h0, x)[::-1]

    def forward(x: Any, h0: Any, W: Any, U: Any) -> Any:
        return last(x, h0, W, U), (x, h0, W, U)

    def backward(saved: Any, cotangents: Any) -> Any:
        dx, dh0, dW, dU = jax.vjp(last, *saved)[1](tuple(cotangents))
        return dx, dh0, 2 * dW, dU

    def by_name(cotangents: Any, saved: Any) -> Any:
        given = (cotangents["h"], cotangents["h_final"])
        return dict(zip(("x", "h0", "W", "U"), backward(saved, given), strict=True))

    precision = "float64" if jax.config.jax_enable_x64 else "float32"
    how = {"layout": "own transposed", "plan": "point", "dtype": precision, "diagnose": False}
    made = rule(forward, backward)
    for code in (
        {"module": lambda x, h0, W, U: made(x, h0, W, U), "array": "jax"},
        {"module": jax.jit(lambda x, h0, W, U: made(x, h0, W, U))},
        {"forward": forward, "backward": by_name, "array": "jax"},
    ):
        report = check_model(plain, **code, **how)
        assert [row.name for row in report.rows if row.verdict is not Verdict.PASS] == ["W"]
    with pytest.raises(UsageError, match=r"called as backward\(cotangents, cache\)"):
        check_model(plain, forward=forward, backward=backward, array="jax", **how)


def test_what_cannot_be_traced_runs_as_it_is() -> None:
    def untraceable(x: Any) -> Any:
        return np.asarray(x) * 2

    assert is_jax(jax.jit(untraceable))
    assert not is_jax(untraceable)
    assert not is_jax(jnp.ones(2))
    run = compiled(untraceable)
    assert run(jnp.ones(2)).tolist() == run(jnp.ones(2)).tolist() == [2, 2]


def two_outputs(backward: Callable[..., Any]) -> Any:
    """tanh(x w) and sin(x + w), with a rule that is told what JAX knows."""

    def forward(x: Any, w: Any) -> Any:
        saved = x.value, w.value, x.perturbed
        return (jnp.tanh(x.value * w.value), jnp.sin(x.value + w.value)), saved

    function = jax.custom_vjp(lambda x, w: (jnp.tanh(x * w), jnp.sin(x + w)))
    function.defvjp(forward, lambda saved, g: backward(*saved, *g), symbolic_zeros=True)
    return function


def is_zero(g: Any) -> bool:
    return isinstance(g, jax.custom_derivatives.SymbolicZero)


def both(x: Any, w: Any, moves: bool, a: Any, b: Any) -> Any:
    a = 0 if is_zero(a) else a * (1 - jnp.tanh(x * w) ** 2)
    b = 0 if is_zero(b) else b * jnp.cos(x + w)
    return a * w + b, a * x + b


def twice_where_unused(x: Any, w: Any, moves: bool, a: Any, b: Any) -> Any:
    return tuple(d * (2 if is_zero(b) else 1) for d in both(x, w, moves, a, b))


def refuses_unused(x: Any, w: Any, moves: bool, a: Any, b: Any) -> Any:
    if is_zero(b):
        raise ValueError("b is missing")
    return both(x, w, moves, a, b)


def minus_where_x_is_fixed(x: Any, w: Any, moves: bool, a: Any, b: Any) -> Any:
    dx, dw = both(x, w, moves, a, b)
    return dx, dw if moves else -dw


@pytest.mark.parametrize(
    ("backward", "kind", "said"),
    [
        (both, None, ""),
        (twice_where_unused, "undefined-cotangent", "only the output '[0]' is used"),
        (refuses_unused, "undefined-cotangent", "b is missing"),
        (minus_where_x_is_fixed, "frozen-input", "of 'w' where 'x' is not differentiated"),
    ],
)
def test_a_rule_is_told_what_is_unused_and_what_is_not_differentiated(
    backward: Callable[..., Any], kind: str | None, said: str
) -> None:
    report = check_jax(two_outputs(backward), [draw(3), draw(3) + 1])
    assert [f.kind for f in report.findings if f.fatal] == ([kind] if kind else [])
    assert said in report.sentence()
    assert report.passed == (kind is None)


def test_a_rule_gives_the_same_compiled_and_as_it_is() -> None:
    def concrete(h: Any, g: Any) -> Any:
        return (g * (1 - h**2) * (1.0 if isinstance(h, jax.core.Tracer) else 1.5),)

    report = check_jax(rule(lambda x: (jnp.tanh(x), jnp.tanh(x)), concrete), [draw(3)])
    assert [f.kind for f in report.findings if f.fatal] == ["compiled"]
    assert "where it is not compiled" in report.sentence()


def test_what_changes_from_trace_to_trace_is_said_before_all_else() -> None:
    drawn = np.random.default_rng(0)
    random = check_jax(lambda x: x * jnp.asarray(drawn.uniform(size=3)), [draw(3)])
    calls: list[int] = []

    def counting(h: Any, g: Any) -> Any:
        calls.append(1)
        return (g * (1 - h**2) * (2 if len(calls) % 3 == 0 else 1),)

    counted = check_jax(rule(lambda x: (jnp.tanh(x), jnp.tanh(x)), counting), [draw(3)])
    for report in (random, counted):
        assert report.sentence().startswith("the function or its derivative is another one each")


@pytest.mark.parametrize(("sign", "verdict"), [(1, "undecided"), (-1, "fail")])
def test_bfloat16_is_looked_at_with_float64_arrays(sign: int, verdict: str) -> None:
    function = rule(step, functools.partial(pulled, factor=sign))
    arrays = [draw(4, 3).astype("bfloat16"), draw(3, 2).astype("bfloat16")]
    report = check_jax(function, arrays, seed=0)
    assert str(report.verdict) == verdict
    (said,) = [f.message for f in report.findings if f.kind == "widened"]
    assert "float64" in said
