"""torch.autograd.Function and JAX custom_vjp: right ones pass, wrong ones are found."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from gradcheck_rnn.errors import UsageError
from gradcheck_rnn.verify.adapters import check_jax, check_torch


@pytest.fixture(scope="module")
def torch() -> Any:
    return pytest.importorskip("torch", reason="needs PyTorch: pip install 'gradcheck-rnn[torch]'")


@pytest.fixture(scope="module")
def jax() -> Any:
    return pytest.importorskip("jax", reason="needs JAX: pip install jax")


def cell(torch: Any, fault: str = "") -> Any:
    """h = tanh(W h₋ + U x), and its square sum as a second output."""

    class Cell(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, W: Any, h: Any, scale: float) -> Any:
            out = scale * torch.tanh(h @ W.T)
            ctx.save_for_backward(W, h, out)
            ctx.scale = scale
            return out, (out**2).sum()

        @staticmethod
        def backward(ctx: Any, g: Any, s: Any) -> Any:
            W, h, out = ctx.saved_tensors
            g = g + (0 if fault == "second output" else 2 * s * out)
            delta = g * (ctx.scale - out**2 / ctx.scale)
            if fault == "slope":
                delta = g * ctx.scale
            if fault == "in place":
                W.mul_(1.5)
            return delta.T @ h, None if fault == "none" else delta @ W, None

    return Cell


@pytest.fixture
def arrays() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(3, 3)), rng.normal(size=(2, 3))


@pytest.mark.parametrize("mode", ["entrywise", "directional"])
def test_a_right_function_passes(torch: Any, arrays: Any, mode: str) -> None:
    W, h = map(torch.tensor, arrays)
    report = check_torch(cell(torch), (W, h, 1.5), mode=mode)
    assert report.passed, str(report)
    assert [r.name for r in report.rows] == [
        "[0] -> W", "[0] -> h", "[1] -> W", "[1] -> h",
    ]  # fmt: skip
    assert report.title == "Cell"
    assert torch.equal(W, torch.tensor(arrays[0])), "the user's tensors are left alone"


@pytest.mark.parametrize(
    ("fault", "bad"),
    [
        ("slope", {"[0] -> W", "[0] -> h", "[1] -> W", "[1] -> h"}),
        ("second output", {"[1] -> W", "[1] -> h"}),
        ("none", {"[0] -> h", "[1] -> h"}),
    ],
)
def test_wrong_functions_are_found(torch: Any, arrays: Any, fault: str, bad: set[str]) -> None:
    report = check_torch(cell(torch, fault), (*map(torch.tensor, arrays), 1.5))
    assert {r.name for r in report.rows if str(r.verdict) == "fail"} == bad


def test_a_backward_that_changes_what_it_saved_is_noted(torch: Any, arrays: Any) -> None:
    report = check_torch(cell(torch, "in place"), (*map(torch.tensor, arrays), 1.5))
    assert not report.passed
    assert "mutated-cache" in {f.kind for f in report.findings}


def test_float32_is_judged_as_float32(torch: Any, arrays: Any) -> None:
    W, h = (torch.tensor(a, dtype=torch.float32) for a in arrays)
    assert str(check_torch(cell(torch), (W, h, 1.5)).verdict) != "fail"
    assert str(check_torch(cell(torch, "slope"), (W, h, 1.5)).verdict) == "fail"


def test_any_function_of_tensors_will_do(torch: Any, arrays: Any) -> None:
    W, h = map(torch.tensor, arrays)
    assert check_torch(lambda a, b, n: torch.tanh(b @ a.T)[n], (W, h, torch.tensor([1]))).passed
    with pytest.raises(UsageError, match="no input is a floating-point tensor"):
        check_torch(cell(torch), (1, 2, 3))


def swish(jax: Any, fault: bool) -> Any:
    import jax.numpy as jnp

    @jax.custom_vjp
    def swish(x: Any, b: Any) -> Any:
        return {"y": x * jax.nn.sigmoid(b * x), "z": b * x}

    def forward(x: Any, b: Any) -> Any:
        return swish(x, b), (x, b)

    def backward(saved: Any, given: Any) -> Any:
        x, b = saved
        s = jax.nn.sigmoid(b * x)
        slope = s * (1 - s)
        dx = given["y"] * (s + b * x * slope) + given["z"] * b
        db = jnp.sum(given["y"] * x * x * (s if fault else slope) + given["z"] * x)
        return dx, db

    swish.defvjp(forward, backward)
    return swish


def test_custom_vjp(jax: Any) -> None:
    jax.config.update("jax_enable_x64", True)
    x, b = np.linspace(-1, 2, 5), np.array(0.7)
    report = check_jax(swish(jax, fault=False), (x, b))
    assert report.passed, str(report)
    assert {r.name.split(" -> ")[0] for r in report.rows} == {"y", "z"}
    report = check_jax(swish(jax, fault=True), (x, b))
    assert [r.name for r in report.rows if str(r.verdict) == "fail"] == ["y -> b"]
    with pytest.raises(UsageError, match="no input is a floating-point array"):
        check_jax(swish(jax, fault=False), (np.arange(3),))


def test_pytrees_and_compilation(jax: Any) -> None:
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    x, W = np.linspace(-1, 2, 5), np.random.default_rng(0).normal(size=(5, 3))

    def layer(x: Any, p: Any, mode: Any = None) -> Any:
        return {"h": jnp.tanh(x @ p["W"] + p["b"][0]), "at": jnp.argmax(x)}

    report = check_jax(layer, (x, {"W": W, "b": [np.zeros(3)]}, "text"))
    assert report.passed, str(report)
    assert [r.name for r in report.rows] == ["h -> x", "h -> p.W", "h -> p.b[0]"]
    assert check_jax(layer, {"x": x, "p": {"W": W, "b": [np.zeros(3)]}}).passed

    def branches(x: Any) -> Any:
        return x**2 if x.sum() > 0 else x

    report = check_jax(branches, (x,))
    assert report.passed, str(report)
    assert "not-compiled" in {f.kind for f in report.findings}
    report = check_jax(branches, (x,), jit=False)
    assert "not-compiled" not in {f.kind for f in report.findings}
    with pytest.raises(UsageError, match="is complex"):
        check_jax(lambda x: x * 1j, (x,))
    with pytest.raises(UsageError, match="returns no array"):
        check_jax(lambda x: None, (x,))


def test_outputs_together_in_jax(jax: Any) -> None:
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)

    @jax.custom_vjp
    def both(x: Any) -> Any:
        return x**2, jnp.sin(x)

    def backward(x: Any, given: Any) -> Any:
        lost = jnp.where(jnp.any(given[0] != 0), 0, 1)
        return (2 * x * given[0] + lost * jnp.cos(x) * given[1],)

    both.defvjp(lambda x: (both(x), x), backward)
    report = check_jax(both, (np.linspace(-1, 2, 5),))
    assert "outputs-together" in {f.kind for f in report.findings if f.fatal}


@pytest.mark.parametrize(("name", "check"), [("torch", check_torch), ("jax", check_jax)])
def test_a_library_that_is_not_there(name: str, check: Any, monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UsageError, match=f"the library {name} is not installed"):
        check(abs, (1.0,))
