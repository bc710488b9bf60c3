"""What autograd does to a backward function: right ones pass check_torch, wrong ones fail."""

from __future__ import annotations

import dataclasses
import threading
from typing import Any

import pytest

from gradcheck_rnn.errors import UsageError
from gradcheck_rnn.verify.adapters import check_torch, check_torch_double

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install 'gradcheck-rnn[torch]'")


@pytest.fixture
def x() -> Any:
    return torch.randn(2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def W() -> Any:
    return torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def function(forward: Any, backward: Any) -> Any:
    return type("Tested", (torch.autograd.Function,), {
        "forward": staticmethod(forward), "backward": staticmethod(backward),
    })  # fmt: skip


def faults(report: Any) -> dict[str, str]:
    return {f.kind: f.message for f in report.findings if f.fatal}


def two(ctx: Any, x: Any) -> Any:
    ctx.save_for_backward(x)
    ctx.set_materialize_grads(False)
    return x**2, x.sin()


def crashes(ctx: Any, a: Any, b: Any) -> Any:
    (x,) = ctx.saved_tensors
    return 2 * x * a + b * x.cos()


def uninitialised(ctx: Any, a: Any, b: Any) -> Any:
    (x,) = ctx.saved_tensors
    a = torch.full_like(x, 7.0) if a is None else a
    b = torch.zeros_like(x) if b is None else b
    return 2 * x * a + b * x.cos()


def careful(ctx: Any, a: Any, b: Any) -> Any:
    (x,) = ctx.saved_tensors
    dx = torch.zeros_like(x)
    if a is not None:
        dx = dx + 2 * x * a
    return dx if b is None else dx + b * x.cos()


def test_undefined_gradients(x: Any) -> None:
    said = faults(check_torch(function(two, crashes), (x,)))["undefined-cotangent"]
    assert "backward fails where only the output" in said
    assert "TypeError" in said
    said = faults(check_torch(function(two, uninitialised), (x,)))["undefined-cotangent"]
    assert "another gradient of 'x' where only the output '[1]' is used" in said
    report = check_torch(function(two, careful), (x,))
    assert report.passed, str(report)


def test_a_second_pass_through_one_graph(x: Any, W: Any) -> None:
    def forward(ctx: Any, x: Any, W: Any) -> Any:
        ctx.save_for_backward(x, W)
        h = torch.tanh(x @ W)
        ctx.workspace = h.clone()
        return h

    def overwrites(ctx: Any, g: Any) -> Any:
        x, W = ctx.saved_tensors
        d = ctx.workspace.square_().neg_().add_(1).mul_(g)
        return d @ W.T, x.T @ d

    def keeps(ctx: Any, g: Any) -> Any:
        x, W = ctx.saved_tensors
        d = (1 - ctx.workspace**2) * g
        return d @ W.T, x.T @ d

    def frees(ctx: Any, g: Any) -> Any:
        found = keeps(ctx, g)
        del ctx.workspace
        return found

    report = check_torch(function(forward, overwrites), (x, W))
    assert "a second call would differ" in faults(report)["mutated-cache"]
    assert check_torch(function(forward, keeps), (x, W)).passed
    assert "a second pass" in faults(check_torch(function(forward, frees), (x, W)))["once-only"]


@pytest.mark.parametrize("check", [check_torch, check_torch_double])
@pytest.mark.parametrize(("factor", "kinds"), [(1.0, set()), (1.1, {"recorded"})])
def test_a_backward_of_which_a_graph_is_recorded(
    check: Any, factor: float, kinds: set[str], x: Any
) -> None:
    def backward(ctx: Any, g: Any) -> Any:
        return g * ctx.saved_tensors[0].cos() * (factor if torch.is_grad_enabled() else 1.0)

    def sine(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return x.sin()

    report = check(function(sine, backward), [x])
    assert set(faults(report)) == kinds
    assert report.passed is not bool(kinds), str(report)


def square(ctx: Any, x: Any) -> Any:
    ctx.save_for_backward(x.clone())
    ctx.handles = threading.Lock(), (i for i in range(3))
    return x**2


def slope(ctx: Any, g: Any) -> Any:
    return 2 * ctx.saved_tensors[0] * g


def test_handles_in_the_context_are_no_obstacle(x: Any) -> None:
    assert check_torch(function(square, slope), (x,)).passed


def test_arguments_and_cotangents_changed_in_place(x: Any) -> None:
    def scales(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x.clone())
        x.mul_(2)
        return (x / 2) ** 2

    assert "forward changes its argument 'x'" in faults(
        check_torch(function(scales, slope), (x,))
    )["mutated-input"]  # fmt: skip

    def declared(ctx: Any, x: Any) -> Any:
        ctx.mark_dirty(x)
        return x.mul_(2)

    assert check_torch(function(declared, lambda ctx, g: 2 * g), (x,)).passed

    def eats(ctx: Any, g: Any) -> Any:
        return g.mul_(2 * ctx.saved_tensors[0])

    assert "mutated-cotangent" in faults(check_torch(function(square, eats), (x,)))


def test_gradients_that_are_not_contiguous(x: Any) -> None:
    def assumes(ctx: Any, g: Any) -> Any:
        (x,) = ctx.saved_tensors
        flat = torch.as_strided(g, (g.untyped_storage().size() // 8,), (1,))
        return 2 * x * flat.repeat(x.numel())[: x.numel()].view(x.shape)

    assert "not contiguous (transposed)" in faults(
        check_torch(function(square, assumes), (x,))
    )["strided-cotangent"]  # fmt: skip


def test_gradients_that_are_all_rounding_are_no_fault() -> None:
    """A bias before a normalisation has no gradient but what rounding leaves."""
    for dtype in (torch.float32, torch.float64):
        layers = [torch.nn.Linear(3, 4), torch.nn.LayerNorm(4, elementwise_affine=False)]
        module = torch.nn.Sequential(layers[0], torch.nn.BatchNorm1d(4), layers[1]).to(dtype)
        data = torch.randn(6, 3, generator=torch.Generator().manual_seed(5)).to(dtype)
        report = check_torch(module, (data,), select=["input"], mode="directional")
        assert not faults(report), str(report)


def test_a_gradient_of_none_is_said(x: Any, W: Any) -> None:
    def forward(ctx: Any, x: Any, W: Any) -> Any:
        ctx.save_for_backward(x)
        return x @ W

    report = check_torch(
        function(forward, lambda ctx, g: (None, ctx.saved_tensors[0].T @ g)), (x, W)
    )
    (row,) = (r for r in report.rows if r.name == "[0] -> x")
    assert row.reason == "backward returns None for it, which counts as zeros"


class Scaled(torch.nn.Module):
    """A custom product, a buffer, and a factor on the gradient of the weight."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        W = torch.randn(3, 4, dtype=torch.float64, generator=generator)
        self.weight = torch.nn.Parameter(W)
        self.register_buffer("scale", torch.tensor(2.0, dtype=torch.float64))

        def forward(ctx: Any, x: Any, W: Any) -> Any:
            ctx.save_for_backward(x, W)
            return x @ W

        def backward(ctx: Any, g: Any) -> Any:
            x, W = ctx.saved_tensors
            return g @ W.T, factor * x.T @ g

        self.product = function(forward, backward)

    def forward(self, x: Any) -> Any:
        self.scale.mul_(1.0)
        return torch.tanh(self.product.apply(x, self.weight)) * self.scale


def test_parameters_of_modules(x: Any) -> None:
    right = Scaled(1.0)
    before = right.weight.detach().clone()
    report = check_torch(right, (x,))
    assert report.passed, str(report)
    assert [r.name for r in report.rows] == ["[0] -> x", "[0] -> weight"]
    assert torch.equal(right.weight, before)
    assert right.weight.grad is None
    report = check_torch(Scaled(3.0), (x,))
    assert [r.name for r in report.rows if str(r.verdict) == "fail"] == ["[0] -> weight"]


def test_buffers_and_random_masks_are_the_same_in_every_call() -> None:
    layers = [torch.nn.Linear(2, 3, bias=False), torch.nn.BatchNorm1d(3), torch.nn.Dropout(0.5)]
    module = torch.nn.Sequential(*layers).double()
    mean = module[1].running_mean.clone()
    data = torch.randn(5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    report = check_torch(module, (data,), select=["1.bias"], mode="directional")
    assert report.passed, str(report)
    assert torch.equal(module[1].running_mean, mean)

    def redraws(ctx: Any, g: Any) -> Any:
        return g * (torch.rand_like(g) > 0.5)

    def masks(ctx: Any, x: Any) -> Any:
        return x * (torch.rand_like(x) > 0.5)

    assert not check_torch(function(masks, redraws), (data,)).passed


def test_nested_arguments_and_outputs(x: Any) -> None:
    module = torch.nn.LSTM(3, 2).double()
    steps = x[None].repeat(2, 1, 1)
    states = torch.zeros(1, 2, 2, dtype=torch.float64), torch.ones(1, 2, 2, dtype=torch.float64)
    report = check_torch(module, (steps, states), select=["input", "hx[1]"], mode="directional")
    assert report.passed, str(report)
    assert [r.name for r in report.rows] == [
        f"{y} -> {a}" for y in ("[0]", "[1][0]", "[1][1]") for a in ("input", "hx[1]")
    ]

    def nested(given: dict[str, Any], n: int) -> Any:
        return {"y": given["a"] * given["b"][0], "n": n}

    report = check_torch(nested, ({"a": x, "b": [x + 1, None]}, 3))
    assert [r.name for r in report.rows] == ["y -> given.a", "y -> given.b[0]"]
    assert report.passed, str(report)
    scalar = torch.tensor(1.5, dtype=torch.float64)
    assert check_torch(lambda a, b: a * b.sin(), {"a": scalar, "b": x}).passed
    assert check_torch(torch.sin, x).passed
    pair = dataclasses.make_dataclass("Pair", ["a", "b"])
    report = check_torch(lambda given: pair(given.a.sin(), given.b * given.a), (pair(x, x + 1),))
    assert [r.name for r in report.rows][:2] == ["a -> given.a", "a -> given.b"]
    assert report.passed, str(report)


def test_an_output_without_a_gradient_is_not_called_right(x: Any) -> None:
    report = check_torch(lambda x: (x**2, x.sin().detach()), (x,))
    assert str(report.verdict) == "undecided"
    assert check_torch(lambda x: (x**2, x.sin().detach()), (x,), outputs=["[0]"]).passed
    assert str(check_torch(lambda x: x.sin().detach(), (x,)).verdict) == "fail"

    def marked(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        mask = (x > 0).to(x)
        ctx.mark_non_differentiable(mask)
        return x * mask, mask

    report = check_torch(function(marked, lambda ctx, g, _: g * (ctx.saved_tensors[0] > 0)), (x,))
    assert report.passed, str(report)
    assert any("marked non-differentiable" in f.message for f in report.findings)


@pytest.mark.parametrize(
    ("tested", "given", "words"),
    [
        (lambda s, x: torch.sparse.mm(s, x), "sparse", "the input 's' is sparse"),
        (lambda z: z.abs(), "complex", "the input 'z' is complex"),
        (lambda x: x * 1j, "plain", "the output '.0.' is complex"),
        (lambda x: x.to_sparse(), "plain", "the output '.0.' is sparse"),
        (lambda x: (), "plain", "returns no tensor"),
        (lambda x: None, "plain", "returns no tensor"),
        (lambda x: x, "numbers", "no input is a floating-point tensor"),
        (lambda x: x, "text", "inputs are a str"),
    ],
)
def test_what_cannot_be_checked_gets_one_line(tested: Any, given: str, words: str, x: Any) -> None:
    inputs: Any = {
        "sparse": (torch.eye(2, dtype=torch.float64).to_sparse().requires_grad_(), x),
        "complex": (x.to(torch.complex128).requires_grad_(),),
        "plain": (x,),
        "numbers": ([1.0, 2.0],),
        "text": "x",
    }[given]
    with pytest.raises(UsageError, match=words):
        check_torch(tested, inputs)


def test_data_that_is_passed_on_is_said(x: Any) -> None:
    eye = torch.eye(2, dtype=torch.float64).to_sparse()
    report = check_torch(lambda s, x: torch.sparse.mm(s, x), (eye, x))
    assert report.passed, str(report)
    assert any("'s' is passed on and not checked" in f.message for f in report.findings)


def test_surrogates(x: Any) -> None:
    def step(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return (x > 0).to(x)

    def smooth(ctx: Any, g: Any) -> Any:
        s = torch.sigmoid(4 * ctx.saved_tensors[0])
        return 4 * s * (1 - s) * g

    tested = function(step, smooth)
    report = check_torch(tested, (x,), surrogate=lambda x: torch.sigmoid(4 * x))
    assert report.passed, str(report)
    assert not check_torch(tested, (x,), surrogate=lambda x: torch.sigmoid(2 * x)).passed
    assert "surrogate=" in check_torch(tested, (x,)).rows[0].reason


def test_exits_and_state(x: Any) -> None:
    def leaves(ctx: Any, g: Any) -> Any:
        raise SystemExit(0)

    said = faults(check_torch(function(square, leaves), (x,)))
    assert said == {"exits": "backward called sys.exit(0); it must return"}

    class Stateful(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.h = torch.zeros(2, 3, dtype=torch.float64)

        def forward(self, x: Any) -> Any:
            self.h = torch.tanh(self.h.detach() + x)
            return self.h

    assert (
        "forward keeps state from the last call" in faults(check_torch(Stateful(), (x,)))["state"]
    )


class Remembers(torch.autograd.Function):
    """Keeps its input on the class: right until the layer is used twice."""

    last: Any = None

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        Remembers.last = x.detach().clone()
        return x * x

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return 2 * Remembers.last * g


def test_a_forward_pass_in_between_must_not_change_the_backward_pass(x: Any) -> None:
    report = check_torch(Remembers, (x,))
    assert "interleaved" in faults(report)
    assert "save_for_backward" in faults(report)["interleaved"]


def test_a_weight_that_does_not_act_at_the_first_step_passes() -> None:
    torch.manual_seed(3)
    cell = torch.nn.LSTM(3, 2, dtype=torch.float64)
    report = check_torch(cell, (torch.randn(3, 2, 3, dtype=torch.float64),), time_axis=0)
    assert report.passed, report
    first = next(r for r in report.rows if "step 1" in r.name and "weight_hh" in r.name)
    assert (first.analytic, "does not change in any bit" in first.missed) == (0, True)


@pytest.mark.parametrize("module", ["linear", "conv"])
def test_biases_before_a_batch_normalisation_pass(module: str) -> None:
    torch.manual_seed(4)
    first, shape = {
        "linear": (torch.nn.Linear(3, 2, dtype=torch.float64), (5, 3)),
        "conv": (torch.nn.Conv1d(2, 2, 2, dtype=torch.float64), (2, 2, 4)),
    }[module]
    layers = torch.nn.Sequential(first, torch.nn.BatchNorm1d(2, dtype=torch.float64))
    assert check_torch(layers, (torch.randn(shape, dtype=torch.float64),)).passed


def test_outputs_that_do_not_depend_on_an_input_pass(x: Any) -> None:
    assert check_torch(lambda x, y: (x.sin(), 3 * y), (x, x[0].clone())).passed


def test_the_format_of_autocast_is_seen() -> None:
    generator = torch.Generator().manual_seed(0)
    x, w = (torch.randn(n, 8, generator=generator) for n in (5, 4))

    def forward(x: Any, w: Any) -> Any:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return torch.nn.functional.linear(x, w)

    assert not any(r.failing for r in check_torch(forward, (x, w)).rows)
    scaled = check_torch(lambda x, w: forward(x, w) - 0.5 * forward(x, w).detach(), (x, w))
    assert all(r.failing for r in scaled.rows)


def test_modules_that_cannot_be_checked_are_refused(x: Any) -> None:
    from torch.utils.checkpoint import checkpoint

    with pytest.raises(UsageError, match="run forward once"):
        check_torch(torch.nn.LazyLinear(2, dtype=torch.float64), (x,))
    with pytest.raises(UsageError, match="use_reentrant=False"):
        check_torch(lambda x: checkpoint(torch.sin, x, use_reentrant=True), (x,))


def frozen_input(kind: str) -> Any:
    """x W, whose backward treats a frozen input as `kind` says."""

    def forward(ctx: Any, x: Any, W: Any) -> Any:
        ctx.save_for_backward(x, W)
        return torch.tanh(x @ W)

    def backward(ctx: Any, g: Any) -> Any:
        x, W = ctx.saved_tensors
        dz = g * (1 - torch.tanh(x @ W) ** 2)
        if kind == "shifts" and not ctx.needs_input_grad[0]:
            return None, 2 * x.T @ dz
        if kind == "crashes" and not ctx.needs_input_grad[1]:
            raise RuntimeError("W is expected")
        dx = dz @ W.T if ctx.needs_input_grad[0] else None
        return dx, x.T @ dz if ctx.needs_input_grad[1] else None

    return function(forward, backward)


def test_inputs_that_need_no_gradient(x: Any, W: Any) -> None:
    said = faults(check_torch(frozen_input("shifts"), (x, W)))["frozen-input"]
    assert said == (
        "backward gives another gradient of 'W' where 'x' needs no gradient (requires_grad=False)"
    )
    report = check_torch(frozen_input("crashes"), (x, W))
    assert report.passed
    assert "backward fails where 'W' needs no gradient" in str(report)
    report = check_torch(frozen_input("right"), (x, W))
    assert report.passed, str(report)
    assert "needs no gradient" not in str(report)
