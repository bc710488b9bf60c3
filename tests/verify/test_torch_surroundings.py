"""Around PyTorch code under test: hooks, modes of autograd, shapes at which a zero is right."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

from gradcheck_rnn import api, check_model, check_torch
from gradcheck_rnn.verify import Verdict
from gradcheck_rnn.verify.harness.arrays import make_arrays, precision
from gradcheck_rnn.verify.torch_held import with_values

torch = pytest.importorskip("torch", reason="needs PyTorch: pip install 'gradcheck-rnn[torch]'")


def draw(*shape: int) -> Any:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def test_hooks_of_parameters_are_part_of_the_gradient() -> None:
    module = torch.nn.Linear(2, 3).double()
    x = draw(4, 2)
    assert check_torch(module, [x]).passed
    module.weight.register_hook(lambda g: 3 * g)
    report = check_torch(module, [x])
    assert report.verdict is Verdict.FAIL
    assert "3 times" in report.sentence()


def test_hooks_that_are_not_run_are_named() -> None:
    module = torch.nn.Linear(2, 3).double()
    module.bias.register_post_accumulate_grad_hook(lambda p: None)
    report = check_torch(module, [draw(4, 2)])
    assert "hooks after accumulation, of bias, are not run" in str(report)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_gradients_that_are_switched_off_are_switched_on(mode: Any) -> None:
    with mode():
        assert check_torch(lambda x, W: torch.tanh(x @ W), [draw(3, 2), draw(2, 4)]).passed


def test_a_weight_that_does_nothing_at_one_step_is_right_beside_others() -> None:
    def recurrent(x: Any, W: Any) -> Any:
        h = x.new_zeros(x.shape[1], W.shape[0])
        for step in x:
            h = torch.tanh(h @ W.T + step)
        return h

    def inputs(T: int) -> list[Any]:
        return [draw(T, 2, 3), draw(3, 3)]

    assert check_torch(recurrent, inputs, shapes={"T": [1, 3]}).passed


def test_numbers_without_axes_become_tensors() -> None:
    make = make_arrays("torch", precision("bfloat16"))
    assert make(np.float64(0.5)).dtype is torch.bfloat16
    assert make_arrays("torch", precision("float64"))(np.int64(2)).item() == 2


def test_large_cotangents_stay_within_a_narrow_format() -> None:
    """A right gradient of 83067 is infinite in float16."""

    def delta(q: Any, k: Any, v: Any, alpha: Any, beta: Any, S0: Any) -> Any:
        S, out = S0, []
        for t in range(len(q)):
            kt = k[t][..., None, :]
            S = alpha[t][..., None, None] * S
            S = S + beta[t][..., None, None] * (v[t] - (S * kt).sum(-1))[..., None] * kt
            out.append((S * q[t][..., None, :]).sum(-1))
        return {"o": torch.stack(out), "S_final": S}

    report = check_model(
        api.load("delta_net"), module=delta, dtype="float16", array="torch", diagnose=False
    )
    assert report.passed, str(report)


class Checkpointed(torch.nn.Module):
    """Elman network whose steps are computed again in backward."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(5, 3).double()

    def forward(self, x: Any) -> Any:
        from torch.utils.checkpoint import checkpoint

        def step(x: Any, h: Any) -> Any:
            return torch.tanh(self.layer(torch.cat([x, h], 1)))

        h = torch.zeros(x.shape[1], 3, dtype=x.dtype)
        for t in range(len(x)):
            h = checkpoint(step, x[t], h, use_reentrant=False)
        return h


def test_what_is_computed_again_in_backward_has_the_values_of_the_forward_pass() -> None:
    report = check_torch(Checkpointed(), [draw(3, 4, 2)])
    assert report.passed, str(report)
    values = {"layer.weight": draw(3, 5).requires_grad_(), "layer.bias": draw(3).requires_grad_()}
    module, x = Checkpointed(), draw(3, 4, 2)
    y = torch.func.functional_call(module, values, (x,)).sum()
    grad = partial(torch.autograd.grad, y, list(values.values()), retain_graph=True)
    own = torch.nn.Linear(5, 3).double()
    own.load_state_dict({n.removeprefix("layer."): v.detach() for n, v in values.items()})
    plain = Checkpointed()
    plain.layer = own
    expected = torch.autograd.grad(plain(x).sum(), list(own.parameters()))
    found = with_values(torch, module, values, grad)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)


class Scaled(torch.nn.Module):
    """A weight over a norm from one step of the power method, kept in a buffer, as spectral norm.

    `detached` loses the gradient of the bias; `stepping` updates in evaluation mode, too.
    """

    def __init__(self, detached: bool = False, stepping: bool = False) -> None:
        super().__init__()
        self.W, self.b = torch.nn.Parameter(draw(3, 2)), torch.nn.Parameter(draw(3))
        self.register_buffer("u", torch.nn.functional.normalize(draw(3), dim=0))
        self.detached, self.stepping = detached, stepping

    def update(self, u: Any) -> None:
        self.u.copy_(u)

    def forward(self, x: Any) -> Any:
        with torch.no_grad():
            v = torch.nn.functional.normalize(self.W.T @ self.u, dim=0)
            if self.training or self.stepping:
                self.update(torch.nn.functional.normalize(self.W @ v, dim=0))
        u = self.u.clone()
        norm = torch.dot(u, self.W @ v.clone())
        return torch.tanh(x @ (self.W / norm).T + (self.b.detach() if self.detached else self.b))


def test_buffers_that_forward_updates_are_held_at_their_updated_values() -> None:
    report = check_torch(Scaled(), [draw(4, 2)])
    assert report.passed, str(report)
    assert "were held at their updated values: 'u'" in str(report)
    assert Scaled().training


class Assigned(Scaled):
    """Gives the buffer a new tensor, by assignment or in the dict of buffers."""

    def __init__(self, by_name: bool, **options: Any) -> None:
        super().__init__(**options)
        self.by_name = by_name

    def update(self, u: Any) -> None:
        if self.by_name:
            self.u = u
        else:
            self._buffers["u"] = u


class Plain(Scaled):
    """Keeps the vector as a plain attribute, which no module lists; assigned or written to."""

    def __init__(self, assigned: bool, **options: Any) -> None:
        super().__init__(**options)
        u = self.u
        del self.u
        self.u, self.assigned = u, assigned

    def update(self, u: Any) -> None:
        if self.assigned:
            self.u = u
        else:
            self.u.copy_(u)


@pytest.mark.parametrize("kept", [Assigned, Plain])
@pytest.mark.parametrize("assigned", [True, False])
def test_buffers_and_attributes_that_are_assigned_are_held(kept: Any, assigned: bool) -> None:
    module = torch.nn.Sequential(kept(assigned))
    before = module[0].u.clone()
    report = check_torch(module, [draw(4, 2)])
    assert report.passed, str(report)
    assert "were held at their updated values: '0.u'" in str(report)
    assert torch.equal(module[0].u, before)
    assert check_torch(kept(assigned, detached=True), [draw(4, 2)]).verdict is Verdict.FAIL


class Carried(torch.nn.Module):
    """A cell whose state stays in the module from one call to the next, without its history."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = torch.nn.GRUCell(4, 5, dtype=torch.float64)
        self.h = torch.zeros(3, 5, dtype=torch.float64)

    def forward(self, x: Any) -> Any:
        h = self.h
        for row in x:
            h = self.cell(row, h)
        self.h = h.detach()
        return h


def test_a_state_that_stays_in_the_module_is_told() -> None:
    report = check_torch(Carried(), [draw(6, 3, 4)])
    assert report.passed, str(report)
    assert "forward changes what the module keeps in 'h'" in str(report)
    assert "state carried from call to call" not in str(check_torch(Scaled(), [draw(4, 2)]))


class LostInTraining(Scaled):
    """Loses the gradient of the bias in training mode alone."""

    def forward(self, x: Any) -> Any:
        self.detached = self.training
        return super().forward(x)


def test_updated_buffers_excuse_nothing_that_is_wrong_in_training_mode() -> None:
    report = check_torch(LostInTraining(), [draw(4, 2)])
    assert report.verdict is Verdict.FAIL
    assert {row.source for row in report.rows if row.verdict is Verdict.FAIL} == {"b"}


@pytest.mark.parametrize("dim", [0, 1])
def test_spectral_norm_and_batch_norm_pass_in_training_mode(dim: int) -> None:
    norm = torch.nn.utils.parametrizations.spectral_norm
    linear = torch.nn.Linear(2, 3, dtype=torch.float64)
    module = norm(linear, dim=dim) if dim else torch.nn.Sequential(
        linear, torch.nn.BatchNorm1d(3, dtype=torch.float64)
    )  # fmt: skip
    assert check_torch(module, [draw(4, 2)]).passed


def test_a_gradient_of_rounding_alone_may_depend_on_the_layout_of_cotangents() -> None:
    torch.manual_seed(53)  # the bias before the norm has the same gradient at the first neighbour
    linear = torch.nn.Linear(2, 3, dtype=torch.float64)
    module = torch.nn.Sequential(linear, torch.nn.BatchNorm1d(3, dtype=torch.float64))
    report = check_torch(module, [draw(4, 2)])
    assert report.passed, str(report)


@pytest.mark.parametrize("wrong", [{"detached": True}, {"stepping": True}])
def test_updated_buffers_excuse_nothing_that_is_wrong_in_evaluation_mode(wrong: Any) -> None:
    assert check_torch(Scaled(**wrong), [draw(4, 2)]).verdict is Verdict.FAIL


class Tanh(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return torch.tanh(x)

    @staticmethod
    def backward(ctx: Any, d: Any) -> Any:
        return d * (1 - torch.tanh(ctx.saved_tensors[0]) ** 2)


class SavedAsContiguous(Tanh):
    @staticmethod
    def backward(ctx: Any, d: Any) -> Any:
        (x,) = ctx.saved_tensors
        return d * (1 - torch.tanh(torch.as_strided(x, x.shape, (x.shape[1], 1))) ** 2)


class ReadAsContiguous(Tanh):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return torch.tanh(torch.as_strided(x, x.shape, (x.shape[1], 1)))


class Contiguous(Tanh):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        if not x.is_contiguous():
            raise ValueError("x must be contiguous")
        return Tanh.forward(ctx, x)


@pytest.mark.parametrize(
    ("function", "verdict", "said"),
    [
        (SavedAsContiguous, Verdict.FAIL, "backward gives another gradient of 'x' for inputs that"),
        (ReadAsContiguous, Verdict.FAIL, "forward gives another value for inputs that are not"),
        (Contiguous, Verdict.PASS, "the code fails for inputs that are not contiguous"),
        (Tanh, Verdict.PASS, ""),
    ],
)
def test_inputs_come_in_any_layout(function: Any, verdict: Verdict, said: str) -> None:
    report = check_torch(function, [draw(4, 3)])
    assert report.verdict is verdict
    assert said in str(report)
    assert bool(said) is ("not contiguous" in str(report))
