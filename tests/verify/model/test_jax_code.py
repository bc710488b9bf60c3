"""Functions of JAX against a definition, as their users write them; `make test-peers` runs them."""

from __future__ import annotations

from typing import Any

import pytest

from gradcheck_rnn import check_model, load
from gradcheck_rnn.errors import UsageError
from gradcheck_rnn.verify.harness.modules import gathered
from gradcheck_rnn.verify.harness.ready import ready

ELMAN = load("elman_hidden")
LAYOUT = "own transposed rename=x:xs,W:wh,U:wx without=h_final"


def elman(jax: Any, fault: float = 1.0) -> Any:
    """``f(params, xs, h0)`` with a backward pass of its own."""
    jnp = jax.numpy

    def run(params: Any, xs: Any, h0: Any) -> Any:
        def step(h: Any, x: Any) -> Any:
            new = jnp.tanh(h @ params["wh"] + x @ params["wx"] + params["b_i"])
            return new, (h, new)

        _, (before, after) = jax.lax.scan(step, h0, xs)
        return after, (params, xs, before, after)

    def back(saved: Any, bars: Any) -> Any:
        params, xs, before, after = saved

        def step(carry: Any, at: Any) -> Any:
            dh, (bar, h) = carry, at
            da = (dh + bar) * (1 - h**2)
            return fault * (da @ params["wh"].T), da

        dh0, das = jax.lax.scan(step, jnp.zeros_like(before[0]), (bars, after), reverse=True)
        grads = {
            "wh": jnp.einsum("tbi,tbj->ij", before, das),
            "wx": jnp.einsum("tbi,tbj->ij", xs, das),
            "b_i": das.sum((0, 1)),
        }
        return grads, das @ params["wx"].T, dh0

    made = jax.custom_vjp(lambda params, xs, h0: run(params, xs, h0)[0])
    made.defvjp(run, back)
    return made


def test_parameters_come_in_one_dict() -> None:
    jax = pytest.importorskip("jax", reason="needs JAX: pip install jax")
    jax.config.update("jax_enable_x64", True)
    right = check_model(ELMAN, module=elman(jax), layout=LAYOUT, plan="point")
    assert right.passed, str(right)
    wrong = check_model(ELMAN, module=elman(jax, 0.5), layout=LAYOUT, plan="point")
    assert not wrong.passed
    assert "δh_{t−1} with 1/2 times" in str(wrong)


def test_which_argument_is_the_dict() -> None:
    layout = ready(LAYOUT, ELMAN)
    assert gathered(layout, ["theta", "xs", "h0"]) == "theta"
    assert gathered(layout, ["xs", "h0"]) is None
    assert gathered(layout, ["wh", "wx", "b_i", "xs", "h0"]) is None
    assert gathered(layout, ["theta", "sequence", "h0"]) is None


def test_other_names_are_told_the_way_out() -> None:
    jax = pytest.importorskip("jax", reason="needs JAX: pip install jax")
    jax.config.update("jax_enable_x64", True)
    with pytest.raises(UsageError, match=r"rename=x:params.*parameters as a dict"):
        check_model(ELMAN, module=elman(jax), layout="own transposed without=h_final")
