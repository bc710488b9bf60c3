"""Definitions with very many equations, or with very long or deep right-hand sides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gradcheck_rnn.codegen import generate
from gradcheck_rnn.language import cell, name, tanh
from gradcheck_rnn.language.cell import Cell
from gradcheck_rnn.language.network import as_network
from gradcheck_rnn.language.tracing import LONGEST, trace
from tests.cuda_shim import fake_cupy
from tests.cuda_shim.compiler import compile_batch

from .cupy.support import on_cupy, on_numpy, options
from .support import Case, error, load

STEPS = 300


def _cell(body: Callable[..., Any]) -> Cell:
    def long(x: Any, h: Any, W: Any, U: Any) -> Any:
        return body(0.1 * (W @ h + U @ x), 0.1 * h, U @ x)

    made: Cell = cell(inputs="x: d", states="h: p", params="W: p p; U: p d")(long)
    return made


def equations(s: Any, h: Any, u: Any) -> Any:
    """A chain of named equations."""
    for k in range(STEPS):
        s = name(tanh(s + h), f"s{k}")
    return s


def sums(s: Any, h: Any, u: Any) -> Any:
    """One line of many terms."""
    for k in range(STEPS):
        s = s + h * u / (k + 1)
    return s


def nested(s: Any, h: Any, u: Any) -> Any:
    """One expression, deeply nested, of functions."""
    for _ in range(STEPS):
        s = tanh(s)
    return s


def polynomial(s: Any, h: Any, u: Any) -> Any:
    """One expression, deeply nested, of sums and products."""
    for _ in range(STEPS):
        s = 1 - s * h
    return s


def products(s: Any, h: Any, u: Any) -> Any:
    """A product of many factors, and a chain of factors without an adjoint."""
    for k in range(STEPS):
        s = s * (1 + h * (1 / (k + 1) ** 2))
    return s


BODIES = (equations, sums, nested, polynomial, products)


@pytest.mark.parametrize("body", BODIES)
def test_right_hand_sides_are_short(body: Callable[..., Any]) -> None:
    def size(e: Any) -> int:
        return 1 + sum(map(size, e.args))

    assert max(size(e.rhs) for e in trace(_cell(body)).equations) <= LONGEST


@pytest.mark.parametrize("body", BODIES)
def test_numpy(body: Callable[..., Any]) -> None:
    case = Case(as_network(_cell(body)))
    outputs, saved = case.forward()
    for label, value in case.expected_outputs().items():
        assert error(outputs[label], value) < 1e-11, label
    cotangents = case.cotangents()
    for n, g in case.backward(saved, cotangents).items():
        direction = {n: case.rng.normal(size=case.arrays[n].shape)}
        slope, along = case.slope(cotangents, direction), g * direction[n]
        assert abs(slope - np.sum(along)) <= 1e-10 * max(np.sum(np.abs(along)), 1e-2), n


def test_cupy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "STEPS", 80)  # for the sake of g++
    cases = [Case(as_network(_cell(body))) for body in (sums, polynomial)]
    with fake_cupy.installed() as cupy:
        modules = [load(generate(c.derivation, "cupy"), "long") for c in cases]
        compile_batch([m.CUDA for m in modules], options("double"))
        for c, module in zip(cases, modules, strict=True):
            given = c.cotangents()
            found = on_cupy(c, module, cupy, c.arrays, given)
            for n, value in on_numpy(c, c.arrays, given).items():
                assert error(found[n], value) < 1e-10, n
