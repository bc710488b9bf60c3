"""Losses over alignments (CTC) and loops that differentiate themselves (scan)."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradcheck_rnn import check_gradient, check_torch, check_vjp
from tests.museum.exhibits import exhibit
from tests.museum.parts import Arrays, normal

LABELS = [1, 2]  # of one sequence; 0 is blank


def log_softmax(x: Any) -> Any:
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def ctc(logp: Any, labels: list[int]) -> tuple[Any, Any]:
    """-log p(labels) and the posterior of every symbol at every step, logp (T, V)."""
    states = [0] + [s for label in labels for s in (label, 0)]  # blanks between
    T, S = len(logp), len(states)
    skip = [s > 1 and states[s] not in (0, states[s - 2]) for s in range(S)]
    step = np.array([[i in (s, s - 1) or (i == s - 2 and skip[s]) for s in range(S)]
                     for i in range(S)], dtype=float)  # fmt: skip
    emit = np.exp(logp[:, states])
    alpha, beta = [emit[0] * (np.arange(S) < 2)], [1.0 * (np.arange(S) >= S - 2)]
    for t in range(1, T):
        alpha.append((alpha[-1] @ step) * emit[t])
        beta.insert(0, step @ (beta[0] * emit[T - t]))
    total = alpha[-1] @ beta[-1]
    posterior = np.zeros_like(logp)
    for s, symbol in enumerate(states):
        posterior[:, symbol] += [a[s] * b[s] for a, b in zip(alpha, beta, strict=True)]
    return (-np.log(total), posterior / total) if total > 0 else (0.0, 0 * posterior)


@exhibit(
    "https://github.com/pytorch/pytorch/issues/52241",
    "Gradient for logits is returned for log probabilities: softmax is differentiated unasked.",
    arrays="log_probs",
)
def pytorch_52241_gradient_of_logits(wrong: bool) -> Any:
    def loss(p: Arrays) -> Any:
        return ctc(p["log_probs"], LABELS)[0]

    def gradient(p: Arrays) -> Arrays:
        posterior = ctc(p["log_probs"], LABELS)[1]
        return {"log_probs": (np.exp(p["log_probs"]) if wrong else 0.0) - posterior}

    # check
    return check_gradient(loss, gradient, {"log_probs": log_softmax(normal(x=(5, 3))["x"])})


def batch_forward(logits: Any) -> Any:
    """The losses (B,) of a batch of logits (B, T, V)."""
    found = [ctc(log_softmax(x), LABELS) for x in logits]
    return np.array([f[0] for f in found]), (logits, np.stack([f[1] for f in found]))


@exhibit(
    "https://github.com/pytorch/pytorch/issues/11750",
    "A part of the gradient is not multiplied by the gradient handed in.",
    arrays="logits",
    place=("linear|twice|zeros", "output"),
)
def pytorch_11750_part_without_grad_out(wrong: bool) -> Any:
    def backward(dlosses: Any, saved: Any) -> Any:
        logits, posterior = saved
        g = dlosses[:, None, None]
        p = np.exp(log_softmax(logits))
        return ((p if wrong else g * p) - g * posterior,)

    # check
    return check_vjp(batch_forward, backward, normal(logits=(2, 5, 3)))


@exhibit(
    "https://github.com/sherjilozair/ctc/issues/2",
    "The gradient handed in is ignored: right only where the loss is the last node.",
    place=("\\[0\\]", "ignores the cotangent"),
    torch=True,
)
def ctc_2_output_grads_ignored(wrong: bool) -> Any:
    import torch

    class Loss(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, logits: Any) -> Any:
            loss, posterior = ctc(log_softmax(logits.detach().numpy()), LABELS)
            ctx.save_for_backward(logits, torch.from_numpy(posterior))
            return torch.tensor(loss)

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            logits, posterior = ctx.saved_tensors
            grad = logits.softmax(-1) - posterior
            return grad if wrong else g * grad

    # check
    return check_torch(Loss, [torch.from_numpy(normal(x=(5, 3))["x"])])


@exhibit(
    "https://github.com/rwth-i6/returnn/issues/1835",
    "More labels than steps: the loss is 0, its gradient softmax.",
    arrays="logits",
)
def returnn_1835_no_alignment(wrong: bool) -> Any:
    labels = [1, 2, 1]  # in two steps

    def loss(p: Arrays) -> Any:
        return ctc(log_softmax(p["logits"]), labels)[0]

    def gradient(p: Arrays) -> Arrays:
        logp = log_softmax(p["logits"])
        value, posterior = ctc(logp, labels)
        return {"logits": 0 * logp if value == 0 and not wrong else np.exp(logp) - posterior}

    # check
    return check_gradient(loss, gradient, {"logits": normal(x=(2, 3))["x"]})


@exhibit(
    "https://github.com/tensorflow/tensorflow/issues/41280",
    "Frames beyond a sequence's length get a gradient.",
    arrays="logits",
    place=("\\[\\d, [45], \\d\\]",),
)
def tensorflow_41280_frames_beyond_the_length(wrong: bool) -> Any:
    lengths = [6, 4]

    def forward(logits: Any) -> Any:
        found = [ctc(log_softmax(x[:n]), LABELS) for x, n in zip(logits, lengths, strict=True)]
        return np.array([f[0] for f in found]), (logits, [f[1] for f in found])

    def backward(dlosses: Any, saved: Any) -> Any:
        logits, posteriors = saved
        grad = np.exp(log_softmax(logits))
        for b, posterior in enumerate(posteriors):
            grad[b, : len(posterior)] -= posterior
            if not wrong:
                grad[b, len(posterior) :] = 0
        return (dlosses[:, None, None] * grad,)

    # check
    return check_vjp(forward, backward, normal(logits=(2, 6, 3)))


def scan_forward(x: Any, c0: Any, a: Any) -> Any:
    """c_t = a c_{t-1} + x_t and all of them: x (T, n), c0 (n,), a (n,)."""
    c = [c0]
    for x_t in x:
        c.append(a * c[-1] + x_t)
    return np.stack(c[1:]), (np.stack(c), a)


@exhibit(
    "https://github.com/jax-ml/jax/issues/753",
    "The gradient for the sequence that is scanned over is zero.",
    arrays="x",
    place=("zero|nothing|no gradient|lacks",),
)
def jax_753_sequence_without_gradient(wrong: bool) -> Any:
    def backward(dc: Any, saved: Any) -> Any:
        c, a = saved
        dx, da, carried = np.zeros_like(dc), np.zeros_like(a), 0.0
        for t in reversed(range(len(dc))):
            carried = carried + dc[t]
            if not wrong:
                dx[t] = carried
            da += carried * c[t]
            carried = carried * a
        return dx, carried, da

    # check
    return check_vjp(scan_forward, backward, normal(x=(5, 3), c0=(3,), a=(3,)), time_axis=0)


@exhibit(
    "https://github.com/pytorch/pytorch/issues/184528",
    "Where the first carry needs no gradient, a parameter lacks all that comes through the carry.",
    arrays="a",
    place=("lag|steps back|step",),
)
def pytorch_184528_parameter_without_carry(wrong: bool) -> Any:
    c0 = normal(c0=(3,))["c0"]

    def forward(x: Any, a: Any) -> Any:
        return scan_forward(x, c0, a)

    def backward(dc: Any, saved: Any) -> Any:
        c, a = saved
        dx, da, carried = np.zeros_like(dc), np.zeros_like(a), 0.0
        for t in reversed(range(len(dc))):
            carried = carried + dc[t]
            dx[t] = carried
            da += (dc[t] if wrong else carried) * c[t]
            carried = carried * a
        return dx, da

    # check
    return check_vjp(forward, backward, normal(x=(5, 3), a=(3,)), time_axis=0)


@exhibit(
    "https://github.com/FluxML/Flux.jl/issues/1209",
    "Backpropagation ends after one step.",
    arrays="x h0 W",
    place=("lag|steps? back",),
)
def flux_1209_one_step_only(wrong: bool) -> Any:
    def forward(x: Any, h0: Any, W: Any) -> Any:
        h = [h0]
        for x_t in x:
            h.append(np.tanh(h[-1] @ W + x_t))
        return np.stack(h[1:]), (np.stack(h), W)

    def backward(dh: Any, saved: Any) -> Any:
        h, W = saved
        dx, dW, carried = np.zeros_like(dh), np.zeros_like(W), 0.0
        for t in reversed(range(len(dh))):
            dx[t] = (dh[t] + carried) * (1 - h[t + 1] ** 2)
            dW += h[t].T @ dx[t]
            carried = 0.0 if wrong and t else dx[t] @ W.T
        return dx, carried, dW

    # check
    return check_vjp(forward, backward, normal(x=(5, 2, 3), h0=(2, 3), W=(3, 3)), time_axis=0)


@exhibit(
    "https://github.com/jax-ml/jax/issues/15183",
    "With lengths, the gradients of what is padded are not numbers.",
    arrays="x",
    place=("nan|not finite|finite",),
)
def jax_15183_padding_without_numbers(wrong: bool) -> Any:
    lengths = np.array([5, 3])

    def forward(x: Any, W: Any) -> Any:  # x (T, B, n)
        h = [np.zeros(x.shape[1:])]
        for t, x_t in enumerate(x):
            h.append(np.where(t < lengths[:, None], np.tanh(h[-1] @ W + x_t), 0.0))
        return np.stack(h[1:]), (np.stack(h), W)

    def backward(dh: Any, saved: Any) -> Any:
        h, W = saved
        dx, dW, carried = np.full_like(dh, np.nan if wrong else 0.0), np.zeros_like(W), 0.0
        for t in reversed(range(len(dh))):
            live = t < lengths
            da = np.where(live[:, None], (dh[t] + carried) * (1 - h[t + 1] ** 2), 0.0)
            dx[t, live] = da[live]
            dW += h[t].T @ da
            carried = da @ W.T
        return dx, dW

    # check
    return check_vjp(forward, backward, normal(x=(5, 2, 3), W=(3, 3)))
