"""Functions of few lines: values where a formula has none, cotangents, masks, memory orders."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradcheck_rnn import check_gradient, check_torch, check_vjp
from tests.museum.exhibits import exhibit
from tests.museum.parts import Arrays, normal, sigmoid


@exhibit(
    "https://github.com/jax-ml/jax/issues/2107",
    "Softplus written with max and abs has a derivative of 0 at 0, where it is 1/2.",
    arrays="x",
    place=("0 for 0\\.5 at \\[1\\]",),
)
def jax_2107_softplus_at_zero(wrong: bool) -> Any:
    def loss(p: Arrays) -> Any:
        return (np.maximum(p["x"], 0) + np.log1p(np.exp(-np.abs(p["x"])))).sum()

    def gradient(p: Arrays) -> Arrays:
        slope = sigmoid(p["x"])
        return {"x": np.where(p["x"] == 0, 0.0, slope) if wrong else slope}

    # check
    return check_gradient(loss, gradient, {"x": np.array([-1.0, 0.0, 2.0])})


@exhibit(
    "https://github.com/tensorflow/tensorflow/issues/119430",
    "The gradient of a cumulative product is divided by its input; 0/0 is replaced by 0.",
    arrays="decay",
    place=("index 1 of 4",),
)
def tensorflow_119430_cumulative_product_of_zero(wrong: bool) -> Any:
    def forward(decay: Any) -> Any:
        return np.cumprod(decay), decay

    def backward(g: Any, decay: Any) -> Any:
        y = np.cumprod(decay)
        if wrong:
            with np.errstate(all="ignore"):
                return (np.nan_to_num(np.cumsum((g * y)[::-1])[::-1] / decay, posinf=0, neginf=0),)
        before, after = np.concatenate([[1.0], y[:-1]]), np.zeros_like(y)
        for t in reversed(range(len(y))):
            after[t] = g[t] + (decay[t + 1] * after[t + 1] if t + 1 < len(y) else 0.0)
        return (before * after,)

    # check
    return check_vjp(forward, backward, {"decay": np.array([0.9, 0.0, 0.5, 0.7])})


@exhibit(
    "https://github.com/fla-org/flash-linear-attention/pull/388",
    "The input is loaded once and stands in the gradient of every weight of a convolution.",
    arrays="w",
    place=("indices 0 to 2 of 4 along axis 1",),
)
def fla_388_input_of_the_last_weight_for_all(wrong: bool) -> Any:
    def forward(x: Any, w: Any) -> Any:
        past = np.concatenate([np.zeros((w.shape[1] - 1, x.shape[1])), x])
        y = sum(past[k : k + len(x)] * w[:, k] for k in range(w.shape[1]))
        return y * sigmoid(y), (x, w, past, y)

    def backward(g: Any, saved: Any) -> Any:
        x, w, past, y = saved
        da = g * sigmoid(y) * (1 + y * (1 - sigmoid(y)))
        dpast, dw = np.zeros_like(past), np.zeros_like(w)
        for k in range(w.shape[1]):
            dpast[k : k + len(x)] += da * w[:, k]
            dw[:, k] = (da * (x if wrong else past[k : k + len(x)])).sum(axis=0)
        return dpast[w.shape[1] - 1 :], dw

    # check
    return check_vjp(forward, backward, normal(x=(5, 2), w=(2, 4)))


@exhibit(
    "https://github.com/linkedin/Liger-Kernel/issues/968",
    "Losses of single tokens are all scaled by the cotangent of the first, which is ignored.",
    arrays="x",
    place=("indices 1 to 3 of 4 along axis 0",),
    torch=True,
)
def liger_968_cotangent_of_the_first_token(wrong: bool) -> Any:
    import torch

    class CrossEntropy(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, y: Any) -> Any:
            used, labels, p = y != -100, y.clamp(min=0), torch.softmax(x, -1)
            one_hot = torch.nn.functional.one_hot(labels, x.shape[-1])
            ctx.save_for_backward((p - one_hot) * used[:, None])
            return -p.log().gather(-1, labels[:, None])[:, 0] * used

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            (grad,) = ctx.saved_tensors
            return grad * (g[0] if wrong else g[:, None]), None

    # check
    x = torch.tensor(normal(x=(4, 5))["x"])
    return check_torch(CrossEntropy, {"x": x, "y": torch.tensor([-100, 1, 3, 2])})


@exhibit(
    "https://github.com/openai/guided-diffusion/issues/167",
    "A checkpoint computes forward again in backward with another dropout mask.",
    place=("unsteady",),
    torch=True,
)
def guided_diffusion_167_mask_of_a_checkpoint(wrong: bool) -> Any:
    import torch

    def block(x: Any, W: Any) -> Any:
        h, out = torch.zeros_like(x[0]), []
        for x_t in x:
            h = torch.tanh(torch.nn.functional.dropout(h, 0.3) @ W + x_t)
            out.append(h)
        return torch.stack(out)

    class Checkpoint(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, W: Any) -> Any:
            ctx.random = torch.get_rng_state()
            ctx.save_for_backward(x, W)
            return block(x, W)

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            x, W = (a.detach().requires_grad_() for a in ctx.saved_tensors)
            if not wrong:
                torch.set_rng_state(ctx.random)
            with torch.enable_grad():
                y = block(x, W)
            return torch.autograd.grad(y, (x, W), g)

    # check
    inputs = {name: torch.tensor(a) for name, a in normal(x=(4, 2, 3), W=(3, 3)).items()}
    return check_torch(Checkpoint, inputs)


@exhibit(
    "https://github.com/flagos-ai/FlagGems/pull/5015",
    "The workspace of a fused LSTM cell holds gates before their activations; backward takes them "
    "for those after.",
    arrays="gates c",
    place=("indices 0 to 8 of 12",),
    torch=True,
)
def flaggems_5015_gates_before_activation(wrong: bool) -> Any:
    import torch

    class Cell(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, gates: Any, c: Any) -> Any:
            i, f, g, o = gates.chunk(4, -1)
            i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
            new = f * c + i * g
            ctx.save_for_backward(gates if wrong else torch.cat([i, f, g, o], -1), c, new)
            return o * new.tanh(), new

        @staticmethod
        def backward(ctx: Any, dh: Any, dc: Any) -> Any:
            workspace, c, new = ctx.saved_tensors
            i, f, g, o = workspace.chunk(4, -1)
            dc = dc + dh * o * (1 - new.tanh() ** 2)
            inner = (dc * g * i * (1 - i), dc * c * f * (1 - f), dc * i * (1 - g**2))
            return torch.cat([*inner, dh * new.tanh() * o * (1 - o)], -1), dc * f

    # check
    return check_torch(Cell, [torch.tensor(a) for a in normal(gates=(2, 12), c=(2, 3)).values()])


@exhibit(
    "https://github.com/unslothai/unsloth/pull/10617",
    "A kernel takes the columns of the incoming gradient for contiguous.",
    place=("not contiguous",),
    torch=True,
)
def unsloth_10617_columns_taken_for_contiguous(wrong: bool) -> Any:
    import torch

    class RMSNorm(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            r = (x.pow(2).mean(-1, keepdim=True) + 1e-6).rsqrt()
            ctx.save_for_backward(x, r)
            return x * r

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            x, r = ctx.saved_tensors
            if wrong:  # the stride of rows is honoured, that of columns is taken for 1
                rows = [g.storage_offset() + k * g.stride(0) for k in range(len(g))]
                memory = torch.as_strided(g, (g.untyped_storage().nbytes() // 8,), (1,), 0)
                memory = torch.cat([memory, torch.zeros(g.shape[1], dtype=g.dtype)])
                g = torch.stack([memory[at : at + g.shape[1]] for at in rows])
            return r * g - x * r**3 * (g * x).mean(-1, keepdim=True)

    # check
    return check_torch(RMSNorm, [torch.tensor(normal(x=(3, 4))["x"])])
