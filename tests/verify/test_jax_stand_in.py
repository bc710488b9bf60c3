"""`check_jax` without JAX: what it makes of float32, structures and cotangents, by a stand-in.

The stand-in has NumPy arrays, float32 unless x64 is on, and a derivative that the function under
test brings along. What JAX itself does is tested where it is installed.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gradcheck_rnn import check_jax
from gradcheck_rnn.errors import UsageError
from gradcheck_rnn.verify.verdict import Verdict


def _flat(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    if isinstance(tree, dict):
        for key in sorted(tree):
            yield from _flat(tree[key], (*path, SimpleNamespace(key=key)))
    elif isinstance(tree, list | tuple):
        for k, x in enumerate(tree):
            yield from _flat(x, (*path, SimpleNamespace(idx=k)))
    else:
        yield path, tree


def _filled(structure: Any, leaves: Iterator[Any]) -> Any:
    if isinstance(structure, dict):
        return {key: _filled(structure[key], leaves) for key in sorted(structure)}
    if isinstance(structure, list | tuple):
        return type(structure)(_filled(x, leaves) for x in structure)
    return next(leaves)


class StandIn(ModuleType):
    """The part of ``jax`` that `check_jax` calls; ``rule`` has the derivative of the last call."""

    def __init__(self) -> None:
        super().__init__("jax")
        self.wide = False
        self.rule: Callable[[Any], Any] | None = None
        self.numpy = ModuleType("jax.numpy")
        self.numpy.__dict__.update(
            asarray=self.asarray, issubdtype=np.issubdtype, finfo=np.finfo,
            floating=np.floating, complexfloating=np.complexfloating,
        )  # fmt: skip
        self.dtypes = SimpleNamespace(float0=np.dtype([("float0", np.void, 0)]))
        self.tree_util = SimpleNamespace(
            tree_flatten_with_path=lambda t: (list(_flat(t)), t),
            tree_flatten=lambda t: ([x for _, x in _flat(t)], t),
            tree_unflatten=lambda t, leaves: _filled(t, iter(leaves)),
            tree_map=lambda f, t: _filled(t, iter([f(x) for _, x in _flat(t)])),
        )

    def asarray(self, x: Any, dtype: Any = None) -> Any:
        made = np.asarray(x, dtype)
        if made.dtype.kind not in "fiub":
            raise TypeError(f"no array: {x!r}")
        return made.astype(np.float32) if made.dtype == np.float64 and not self.wide else made

    @contextlib.contextmanager
    def enable_x64(self, on: bool) -> Iterator[None]:
        self.wide = on
        yield
        self.wide = False

    def jit(self, function: Any) -> Any:
        return function

    def make_jaxpr(self, _: Any) -> Any:
        return lambda *_: SimpleNamespace(jaxpr=SimpleNamespace(eqns=[]), consts=[])

    def vjp(self, function: Any, *arrays: Any) -> Any:
        out = function(*arrays)
        return out, self.rule


@pytest.fixture
def jax(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    made = StandIn()
    monkeypatch.setitem(sys.modules, "jax", made)
    monkeypatch.setitem(sys.modules, "jax.numpy", made.numpy)
    return made


def elman(jax: StandIn, x: Any, params: Any, lengths: Any, factor: float = 1.0) -> Any:
    """Two steps, all states and a sum of inputs that reads no parameter; its rule in float32."""
    w, u = params["w"], params["u"]
    first = np.tanh(x[0] @ u)
    second = np.tanh(first @ w + x[1] @ u)

    def rule(cotangents: Any) -> Any:
        dh, dsum = cotangents["h"], cotangents["sum"]
        da = dh[1] * (1 - second**2)
        db = (dh[0] + factor * da @ w.T) * (1 - first**2)
        dx = np.stack([db @ u.T, da @ u.T]) + dsum
        return dx, x[0].T @ db + x[1].T @ da, first.T @ da  # JAX sorts keys

    jax.rule = rule
    return {"h": np.stack([first, second]), "sum": x.sum((0, 1)), "steps": lengths + 1}


def arrays(dtype: Any = np.float32) -> tuple[Any, ...]:
    rng = np.random.default_rng(3)
    x, w, u = (rng.normal(size=s).astype(dtype) for s in ((2, 4, 3), (5, 5), (3, 5)))
    return x, {"w": w, "u": u}, np.array([2, 2, 1, 2])


@pytest.mark.parametrize("wide", [False, True])
def test_a_right_rule_passes_and_a_wrong_one_fails(jax: StandIn, wide: bool) -> None:
    jax.wide = wide
    given = arrays(np.float64 if wide else np.float32)
    report = check_jax(lambda x, params, lengths: elman(jax, x, params, lengths), given)
    assert report.passed, str(report)
    names = {row.name for row in report.rows}
    assert {"h -> x", "h -> params.w", "h -> params.u", "sum -> x", "sum -> params.w"} <= names
    report = check_jax(
        lambda x, params, lengths: elman(jax, x, params, lengths, factor=1.02), given
    )
    bad = {row.name for row in report.rows if row.verdict is Verdict.FAIL}
    assert {"h -> x", "h -> params.u"} == bad


def test_what_is_no_float_is_handed_on_and_what_is_no_array_is_said(jax: StandIn) -> None:
    x, params, lengths = arrays()
    report = check_jax(
        lambda params, x, how: elman(jax, x, params, lengths),
        {"x": x, "params": params, "how": "tanh"},
    )
    assert not any("how" in row.name for row in report.rows)
    with pytest.raises(UsageError, match="check_jax: no input is a floating-point array"):
        check_jax(lambda n: n + 1, (np.array([1, 2]),))
    with pytest.raises(UsageError, match="the output 'word' is of type str; return arrays"):
        check_jax(lambda x: {"word": "no", "y": x}, (x,))


def test_float64_arrays_that_become_float32_are_said(jax: StandIn) -> None:
    report = check_jax(
        lambda x, params, lengths: elman(jax, x, params, lengths), arrays(np.float64)
    )
    assert report.passed, str(report)
    assert any(f.kind == "dtype" and "jax_enable_x64" in f.message for f in report.findings)


@pytest.mark.parametrize("seed", range(8))
def test_an_input_that_an_output_does_not_read_passes_in_float32(jax: StandIn, seed: int) -> None:
    rng = np.random.default_rng(seed)
    given = tuple(rng.normal(size=n).astype(np.float32) for n in ((3, 3), (3,), (3,)))

    def function(W: Any, h: Any, c: Any) -> Any:
        y = np.tanh(W @ h) * np.float32(2)

        def rule(cotangents: Any) -> Any:
            da = (cotangents[0] + cotangents[1] * c) * (2 - y * y / 2)
            return np.outer(da, h), W.T @ da, cotangents[1] * y

        jax.rule = rule
        return y, c * y

    report = check_jax(function, given)
    assert report.passed, str(report)
