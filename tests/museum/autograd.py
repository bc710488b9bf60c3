"""Faults in how autograd engines call backward passes: None, strides, calls again, workspaces."""

from __future__ import annotations

from typing import Any

from gradcheck_rnn import cell, check_model, check_torch
from tests.museum.exhibits import exhibit


def tensors(**shapes: Any) -> list[Any]:
    """Float64 tensors of normal numbers."""
    import torch

    torch.manual_seed(20)
    return [0.7 * torch.randn(*shape, dtype=torch.float64) for shape in shapes.values()]


def states(x: Any, h0: Any, W: Any, U: Any) -> Any:
    """h_0 … h_T: x (T, B, d), h0 (B, p), W (p, p), U (d, p)."""
    import torch

    h = [h0]
    for x_t in x:
        h.append(torch.tanh(x_t @ U + h[-1] @ W))
    return torch.stack(h)


def states_back(dh: Any, dh_T: Any, x: Any, h: Any, W: Any, U: Any) -> Any:
    """Gradients of x, h0, W and U."""
    import torch

    dx, dW, dU, carried = torch.zeros_like(x), torch.zeros_like(W), torch.zeros_like(U), dh_T
    for t in reversed(range(len(x))):
        da = (dh[t] + carried) * (1 - h[t + 1] ** 2)
        dx[t], carried = da @ U.T, da @ W.T
        dW += h[t].T @ da
        dU += x[t].T @ da
    return dx, carried, dW, dU


SHAPES = {"x": (4, 2, 3), "h0": (2, 5), "W": (5, 5), "U": (3, 5)}


@exhibit(
    "https://github.com/pytorch/pytorch/issues/96416",
    "The sequence's gradient may not be None, which it is where only h_T is used.",
    place=("\\[1\\]", "None|undefined|not used"),
    torch=True,
)
def pytorch_96416_sequence_gradient_missing(wrong: bool) -> Any:
    import torch

    class Recurrent(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, h0: Any, W: Any, U: Any) -> Any:
            h = states(x, h0, W, U)
            ctx.set_materialize_grads(False)
            ctx.save_for_backward(x, h, W, U)
            return h[1:], h[-1].clone()

        @staticmethod
        def backward(ctx: Any, dh: Any, dh_T: Any) -> Any:
            x, h, W, U = ctx.saved_tensors
            if dh is None and not wrong:
                dh = torch.zeros_like(h[1:])
            return states_back(dh, torch.zeros_like(h[0]) if dh_T is None else dh_T, x, h, W, U)

    # check
    return check_torch(Recurrent, tensors(**SHAPES))


@exhibit(
    "https://github.com/fla-org/flash-linear-attention/pull/568",
    "The initial state's share is computed only where a final state's gradient was handed in.",
    arrays="[2] [3]",
    place=("\\[0\\] -> ", "None|not used"),
    torch=True,
    located="only that the undefined gradient is not handled is said",
)
def fla_568_initial_state_gated_by_dht(wrong: bool) -> Any:
    import torch

    class Convolution(torch.autograd.Function):  # x (T, d), past (1, d), a and b (d,)
        @staticmethod
        def forward(ctx: Any, x: Any, past: Any, a: Any, b: Any) -> Any:
            ctx.set_materialize_grads(False)
            before = torch.cat([past, x[:-1]])
            ctx.save_for_backward(x, before, a, b)
            return a * x + b * before, x[-1:].clone()

        @staticmethod
        def backward(ctx: Any, dy: Any, dht: Any) -> Any:
            x, before, a, b = ctx.saved_tensors
            dy = torch.zeros_like(x) if dy is None else dy
            dx, dbefore = dy * a, dy * b
            dx = dx + torch.cat([dbefore[1:], torch.zeros_like(x[:1]) if dht is None else dht])
            shares = dy * before
            if wrong and dht is None:
                shares = shares[1:]
            return dx, dbefore[:1], (dy * x).sum(0), shares.sum(0)

    # check
    return check_torch(Convolution, tensors(x=(4, 3), past=(1, 3), a=(3,), b=(3,)))


@exhibit(
    "https://github.com/pytorch/pytorch/issues/1532",
    "Backward writes over the gates that it saved: a second call on the graph is wrong.",
    place=("twice|second|again|saved|overwrit|workspace",),
    torch=True,
)
def pytorch_1532_saved_gates_overwritten(wrong: bool) -> Any:
    import torch

    class Recurrent(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, h0: Any, W: Any, U: Any) -> Any:
            h = states(x, h0, W, U)
            ctx.saved = (x, h.clone(), W, U)  # a workspace that autograd does not watch
            return h[1:].clone(), h[-1].clone()

        @staticmethod
        def backward(ctx: Any, dh: Any, dh_T: Any) -> Any:
            x, h, W, U = ctx.saved
            grads = states_back(dh, dh_T, x, h, W, U)
            if wrong:  # the space of the states is used for their gradients
                h[1:] = dh
            return grads

    # check
    return check_torch(Recurrent, tensors(**SHAPES))


@exhibit(
    "https://github.com/k2-fsa/k2/pull/1106",
    "The prepared gradient is scaled in place, so the next call scales it again.",
    place=("twice|second|again|saved|overwrit|workspace",),
    torch=True,
)
def k2_1106_prepared_gradient_scaled_in_place(wrong: bool) -> Any:
    import torch

    class Loss(torch.autograd.Function):  # one loss for each sequence, as transducer losses are
        @staticmethod
        def forward(ctx: Any, x: Any, W: Any) -> Any:
            with torch.enable_grad():
                x, W = x.detach().requires_grad_(), W.detach().requires_grad_()
                h = 0.0
                for x_t in x:
                    h = torch.tanh(x_t + (h @ W if torch.is_tensor(h) else 0.0))
                loss = torch.log(torch.cosh(h)).sum()
            ctx.prepared = torch.autograd.grad(loss, (x, W))
            return loss.detach()

        @staticmethod
        def backward(ctx: Any, dloss: Any) -> Any:
            if wrong:
                return tuple(g.mul_(dloss) for g in ctx.prepared)
            return tuple(g * dloss for g in ctx.prepared)

    # check
    return check_torch(Loss, tensors(x=(4, 2, 3), W=(3, 3)))


@exhibit(
    "https://github.com/pytorch/pytorch/pull/620",
    "The kernel reads the gradient's memory as if it were contiguous, whatever its strides are.",
    place=("strid|contiguous|expanded|transposed",),
    torch=True,
)
def pytorch_620_gradient_not_contiguous(wrong: bool) -> Any:
    import torch

    class Recurrent(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, h0: Any, W: Any, U: Any) -> Any:
            h = states(x, h0, W, U)
            ctx.save_for_backward(x, h, W, U)
            return h[1:].clone()

        @staticmethod
        def backward(ctx: Any, dh: Any) -> Any:
            x, h, W, U = ctx.saved_tensors
            if wrong:  # what a kernel sees behind the pointer: as many numbers as there are
                memory = dh.as_strided((dh.untyped_storage().nbytes() // 8,), (1,), 0)
                dh = memory.repeat(dh.numel())[: dh.numel()].view(dh.shape)
            return states_back(dh, torch.zeros_like(h[0]), x, h, W, U)

    # check
    return check_torch(Recurrent, tensors(**SHAPES))


@exhibit(
    "https://github.com/pytorch/pytorch/issues/703",
    "The backward pass deletes what it needs: it can be called once only, whatever is retained.",
    place=("twice|second|again|retain",),
    torch=True,
)
def pytorch_703_backward_once_only(wrong: bool) -> Any:
    import torch

    class Recurrent(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, h0: Any, W: Any, U: Any) -> Any:
            h = states(x, h0, W, U)
            ctx.kept = (x, h, W, U)
            return h[1:].clone(), h[-1].clone()

        @staticmethod
        def backward(ctx: Any, dh: Any, dh_T: Any) -> Any:
            grads = states_back(dh, dh_T, *ctx.kept)
            if wrong:
                del ctx.kept
            return grads

    # check
    return check_torch(Recurrent, tensors(**SHAPES))


@exhibit(
    "https://github.com/fla-org/flash-linear-attention/issues/36",
    "The state's gradient is carried in bfloat16 through all steps where float32 is needed.",
    arrays="x",
    torch=True,
)
def fla_36_state_gradient_in_bfloat16(wrong: bool) -> Any:
    import torch

    class Decay(torch.autograd.Function):  # h_t = a h_{t-1} + x_t, arrays in float32
        @staticmethod
        def forward(ctx: Any, x: Any, a: Any) -> Any:
            h = [torch.zeros_like(x[0])]
            for x_t in x:
                h.append(a * h[-1] + x_t)
            ctx.save_for_backward(torch.stack(h), a)
            return torch.stack(h[1:])

        @staticmethod
        def backward(ctx: Any, dh: Any) -> Any:
            (h, a), kind = ctx.saved_tensors, torch.bfloat16 if wrong else torch.float32
            dx, da, carried = (
                torch.zeros_like(dh),
                torch.zeros_like(a),
                torch.zeros_like(a).to(kind),
            )
            for t in reversed(range(len(dh))):
                carried = (dh[t] + carried.float()).to(kind)
                dx[t] = carried.float()
                da += (carried.float() * h[t]).sum()
                carried = (carried.float() * a).to(kind)
            return dx, da

    # check
    x, a = tensors(x=(24, 3), a=(1,))
    return check_torch(Decay, [x.float(), 0.97 + 0 * a.float()])


@exhibit(
    "https://github.com/fla-org/flash-linear-attention/issues/29",
    "In pure bfloat16 the decay's gradient is off by 8 %, where sums in float32 keep it below 1 %.",
    arrays="a",
    torch=True,
)
def fla_29_decay_gradient_in_pure_bfloat16(wrong: bool) -> Any:
    import torch

    def forward(x: Any, h0: Any, a: Any) -> Any:
        h = [h0.float()]
        for x_t in x:
            h.append(a.float() * h[-1] + x_t.float())
        return {"h": torch.stack(h[1:]).to(x.dtype), "h_final": h[-1].to(x.dtype)}, (h, a)

    def backward(cotangents: Any, saved: Any) -> Any:
        (h, a), kind = saved, torch.bfloat16 if wrong else torch.float32
        carried, dx = cotangents["h_final"].float(), []
        da = torch.zeros(a.shape, dtype=kind)
        for t in reversed(range(len(h) - 1)):
            carried = cotangents["h"][t].float() + carried
            dx.append(carried.to(a.dtype))
            for row in carried * h[t]:
                da += row.to(kind)
            carried = carried * a.float()
        return {"x": torch.stack(dx[::-1]), "h0": carried.to(a.dtype), "a": da.to(a.dtype)}

    # check
    @cell(inputs="x: p", states="h: p", params="a: p")
    def decay(h, x, a):
        h = a * h + x
        return h  # noqa: RET504

    sizes = {"T": 60, "B": 5}
    options = {"dtype": "bfloat16", "accumulate": "float32", "array": "torch"}
    return check_model(decay, forward=forward, backward=backward, shapes=sizes, **options)


@exhibit(
    "https://github.com/AkaneTendo25/musubi-tuner/issues/90",
    "The weights get no gradient where the layer's input needs none, as in a first layer.",
    place=("'W', 'U' where 'x' needs no gradient",),
    torch=True,
)
def musubi_90_weights_frozen_with_the_input(wrong: bool) -> Any:
    import torch

    class Recurrent(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, h0: Any, W: Any, U: Any) -> Any:
            h = states(x, h0, W, U)
            ctx.save_for_backward(x, h, W, U)
            return h[1:]

        @staticmethod
        def backward(ctx: Any, dh: Any) -> Any:
            x, h, W, U = ctx.saved_tensors
            dx, dh0, dW, dU = states_back(dh, torch.zeros_like(h[0]), x, h, W, U)
            if wrong and not ctx.needs_input_grad[0]:
                return None, dh0, None, None
            return dx, dh0, dW, dU

    # check
    return check_torch(Recurrent, tensors(**SHAPES))


@exhibit(
    "https://github.com/tensorflow/tensorflow/issues/26331",
    "A second gradient of one forward pass finds the reserved space used up.",
    place=("twice|second|again|saved|overwrit|workspace",),
    torch=True,
)
def tensorflow_26331_reserved_space_used_up(wrong: bool) -> Any:
    import torch

    class Recurrent(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, h0: Any, W: Any, U: Any) -> Any:
            h = states(x, h0, W, U)
            ctx.reserve = 1 - h**2
            ctx.save_for_backward(x, h, W, U)
            return h[1:]

        @staticmethod
        def backward(ctx: Any, dh: Any) -> Any:
            x, h, W, U = ctx.saved_tensors
            slopes = ctx.reserve if wrong else ctx.reserve.clone()
            given = torch.sqrt(1 - slopes) * h.sign()
            slopes *= 0.5  # the space is written over
            return states_back(dh, torch.zeros_like(h[0]), x, given, W, U)

    # check
    return check_torch(Recurrent, tensors(**SHAPES))


@exhibit(
    "https://github.com/chainer/chainer/pull/4043",
    "Backward fails where a final state is not used.",
    place=("\\[[01]\\]", "None|not used|undefined"),
    torch=True,
)
def chainer_4043_unused_state(wrong: bool) -> Any:
    import torch

    class Recurrent(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, h0: Any, W: Any, U: Any) -> Any:
            h = states(x, h0, W, U)
            ctx.set_materialize_grads(False)
            ctx.save_for_backward(x, h, W, U)
            return h[1:], h[-1].clone()

        @staticmethod
        def backward(ctx: Any, dh: Any, dh_T: Any) -> Any:
            x, h, W, U = ctx.saved_tensors
            dh = torch.zeros_like(h[1:]) if dh is None else dh
            if dh_T is None:  # the wrong shape: one row for all of the batch's columns
                dh_T = torch.zeros_like(h[0].T if wrong else h[0])
            return states_back(dh, dh_T, x, h, W, U)

    # check
    return check_torch(Recurrent, tensors(**SHAPES))
