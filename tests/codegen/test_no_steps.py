"""Without steps the last value of a state is its start, whoever computes that, in every kernel."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradcheck_rnn.codegen import generate
from gradcheck_rnn.language import cell, tanh
from gradcheck_rnn.language.network import Network
from tests.codegen.support import Case, error
from tests.cuda_shim import fake_cupy

from .c.support import built, needs_compiler, results, unwritten, upstream
from .cupy.support import load, on_cupy


@cell(inputs="x: p", states="h c: p", params="W: p p", outputs="h c")
def unread(x, h, c, W):
    """The state h reads c at its step; no equation reads h, or c, at a lag."""
    c_new = tanh(W @ x)
    return {"h": c_new * x, "c": c_new}


@cell(inputs="x: p", states="h: p", params="W: p p")
def recurrent(x, h, W):
    return tanh(W @ h + x)


@cell(inputs="u: p", params="b: p", outputs="s t")
def bridge(u, b):
    return {"s": tanh(u) + b, "t": 2 * u}


def chain(reverse: bool = False, middle: Any = unread) -> Network:
    """Starts that are last values of scans before, over two scans, and what a bridge makes."""
    n = Network("chain")
    x = n.input("x", "p")
    one = n.scan(recurrent, suffix="_1", x=x)
    two = n.scan(middle, suffix="_2", reverse=reverse, x=x, initial={"h": one.final("h")})
    made = n.scan(bridge, axis=None, u=two.final("h"))
    start = {"h": two.final("h"), "c": made.s}
    three = n.scan(unread, suffix="_3", axis="S", x=n.input("z", "p", axis="S"), initial=start)
    last = n.scan(bridge, axis=None, suffix="_5", u=three.final("c"))
    four = n.scan(unread, suffix="_4", x=x, reverse=reverse,
                  initial={"h": three.final("h"), "c": made.t})  # fmt: skip
    n.output(four.final("h"), four.final("c"), last.s, three.h)
    return n


NETWORKS = {
    "forwards": lambda: chain(), "backwards": lambda: chain(True),
    "read in the middle": lambda: chain(middle=recurrent),
}  # fmt: skip


def _by_numpy(case: Case, folder: Path) -> Any:
    shown = types.SimpleNamespace(**{**vars(np), "empty": unwritten})
    case.module.np = shown  # type: ignore[attr-defined]
    return results(case, case.module, upstream(case))


def _by_c(case: Case, folder: Path) -> Any:
    return results(case, built(case, folder), upstream(case))


def _by_cupy(case: Case, folder: Path) -> Any:
    with fake_cupy.installed() as cupy:
        module = load(generate(case.derivation, "cupy"), "chain_cupy")
        return on_cupy(case, module, cupy, case.arrays, upstream(case))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(
    "by", [_by_numpy, pytest.param(_by_c, marks=needs_compiler), _by_cupy],
    ids=["numpy", "c", "cupy"],
)  # fmt: skip
@pytest.mark.parametrize("steps", [0, 2])
def test_the_last_value_is_the_start(by: Any, name: str, steps: int, tmp_path: Path) -> None:
    case = Case(NETWORKS[name](), steps=steps)
    found = by(case, tmp_path)
    for label, value in case.expected_outputs().items():
        assert error(found[f"output {label}"], value) < 1e-13, label
    given = upstream(Case(NETWORKS[name](), steps=steps))  # the same as above
    direction = {n: case.rng.normal(size=a.shape) for n, a in case.arrays.items()}
    case.arrays = {n: a + 1e-30j * direction[n] for n, a in case.arrays.items()}
    moved = case.expected_outputs()
    slope = sum(np.sum(g * np.imag(moved[n])) for n, g in given.items()) / 1e-30
    along = sum(np.sum(found[f"gradient {n}"] * d) for n, d in direction.items())
    assert error(along, slope) < 1e-13
