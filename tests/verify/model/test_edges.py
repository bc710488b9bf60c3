"""Functions at the edge of where they are defined: right code never fails, wrong code does.

The definitions lose all digits of 1 − p where p rounds to one, and take a logarithm, a root or a
quotient of that. Right code is the derived backward pass in NumPy's own arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from benchmarks.fault_study.correct import RoundedCode, study
from gradcheck_rnn import api, cell, check_model
from gradcheck_rnn.language import dot, exp, log, sigmoid, softplus, sqrt, tanh
from gradcheck_rnn.language.network import as_network
from gradcheck_rnn.verify import Verdict

Arrays = dict[str, Any]
declared = cell(inputs="x: d", states="h: p", params="W: p p; U: p d; b: p")


@declared
def surprise(x: Any, h: Any, W: Any, U: Any, b: Any) -> Any:
    p = sigmoid(8 * (U @ x + b))
    return {"h": tanh(W @ h) + log(1 - p)}


@declared
def quotient(x: Any, h: Any, W: Any, U: Any, b: Any) -> Any:
    a = sigmoid(8 * (U @ x + b))
    return {"h": tanh(W @ h) + 0.001 / (1 - a)}


@declared
def rapidity(x: Any, h: Any, W: Any, U: Any, b: Any) -> Any:
    v = tanh(4 * (U @ x + b))
    return {"h": tanh(W @ h) + log((1 + v) / (1 - v)) / 2}


@declared
def momentum(x: Any, h: Any, W: Any, U: Any, b: Any) -> Any:
    v = tanh(4 * (U @ x + b))
    return {"h": tanh(W @ h) + 0.01 * v / sqrt(1 - v**2)}


@declared
def remembered(x: Any, h: Any, W: Any, U: Any, b: Any) -> Any:
    a = exp(-8 * sigmoid(4 * (U @ x)) * softplus(-12 * b))
    return {"h": a * tanh(W @ h) + sqrt(1 - a**2) * tanh(U @ x)}


@declared
def fourth_root(x: Any, h: Any, W: Any, U: Any, b: Any) -> Any:
    return {"h": tanh(W @ h + (1 - sigmoid(8 * (U @ x + b))) ** 0.25)}


@declared
def unit_length(x: Any, h: Any, W: Any, U: Any, b: Any) -> Any:
    z = U @ x
    return {"h": tanh(W @ h + z / sqrt(dot(z, z)) + b)}


CELLS = [surprise, quotient, rapidity, momentum, remembered, fourth_root, unit_length]


def _checked(target: Any, form: str, spoil: Callable[[Arrays], Arrays] = lambda g: g) -> Any:
    """The report on the derived pass, with its gradients changed by ``spoil``."""
    network = as_network(target)
    code = RoundedCode(network, api.derive(network), form)

    def backward(cotangents: Arrays, saved: Any) -> Arrays:
        return spoil(code.backward(cotangents, saved))

    with np.errstate(all="ignore"):
        return check_model(
            target, forward=code.forward, backward=backward, dtype=form, diagnose=False
        )


@pytest.mark.parametrize("form", ["float64", "float32"])
@pytest.mark.parametrize("target", CELLS, ids=lambda c: c.name)
def test_right_code_does_not_fail_at_an_edge(target: Any, form: str) -> None:
    report = _checked(target, form)
    assert report.verdict is not Verdict.FAIL, str(report)


FAULTS: list[tuple[Any, str, Callable[[Arrays], Arrays]]] = [
    (surprise, "U", lambda g: g | {"U": 1.02 * g["U"]}),
    (momentum, "b", lambda g: g | {"b": -g["b"]}),
    (remembered, "x", lambda g: g | {"x": np.concatenate([0 * g["x"][:1], g["x"][1:]])}),
]


@pytest.mark.parametrize("form", ["float64", "float32"])
@pytest.mark.parametrize(("target", "name", "spoil"), FAULTS, ids=["factor", "sign", "term"])
def test_wrong_code_fails_at_the_other_points(
    target: Any, name: str, spoil: Callable[[Arrays], Arrays], form: str
) -> None:
    report = _checked(target, form, spoil)
    assert [row.name for row in report.rows if row.verdict is Verdict.FAIL] == [name], str(report)


def test_what_was_not_judged_is_said_in_one_sentence() -> None:
    report = _checked(surprise, "float32")
    (said,) = (f.message for f in report.findings if f.kind == "not-judged")
    assert said.startswith("entries of dW, dU, db, dx, dh0 were not judged at saturated")
    assert "rounding in float32 leaves no digit of 1 − p_t there" in said


@pytest.mark.parametrize(
    ("form", "seed"), [("float64", 0), ("float64", 400), ("float32", 0), ("float32", 1300)]
)
def test_the_rg_lru_is_right_where_its_decay_rounds_to_one(form: str, seed: int) -> None:
    """In float64, seed 400: decays of 10⁻⁷⁷, below what the complex step tells from zero."""
    found = study("model", "rg_lru", form, seed, ["very saturated"])
    assert found["checks"]
    assert not found["alarms"], found


def test_a_kink_that_rounding_crosses_makes_no_right_code_unstable() -> None:
    """A decay exp(−relu(a)) of the GRU-D with a below a unit of its terms in bfloat16."""
    found = study("model", "gru_d", "bfloat16", 0, ["wide"])
    assert found["checks"]
    assert not found["alarms"], found
