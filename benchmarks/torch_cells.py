"""What generated kernels are measured against: PyTorch's layers, and cells in eager PyTorch.

Eager cells are written as one writes them in PyTorch: gates packed, products with the inputs taken
for all steps at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

__all__ = ["EAGER", "LAYERS", "torch_pass"]

#: Zoo cell → PyTorch's layer.
LAYERS = {
    "elman_hidden": torch.nn.RNN,
    "gru_reset_after": torch.nn.GRU,
    "lstm": torch.nn.LSTM,
}


class LayerNormLSTM(torch.nn.Module):
    """Both packed products and the memory are normalised over units."""

    def __init__(self, p: int) -> None:
        super().__init__()
        self.W = torch.nn.Linear(p, 4 * p, bias=False)
        self.U = torch.nn.Linear(p, 4 * p)
        self.norms = torch.nn.ModuleList(torch.nn.LayerNorm(n) for n in (4 * p, 4 * p, p))

    def forward(self, x: Any) -> Any:
        h = c = x.new_zeros(x.shape[1], x.shape[2])
        out = []
        for a in self.norms[0](self.U(x)):
            i, f, o, z = (a + self.norms[1](self.W(h))).chunk(4, -1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(z)
            h = torch.sigmoid(o) * torch.tanh(self.norms[2](c))
            out.append(h)
        return torch.stack(out)


class MinimalGatedUnit(torch.nn.Module):
    """One gate; the second product of a step needs the first."""

    def __init__(self, p: int) -> None:
        super().__init__()
        self.W_f = torch.nn.Linear(p, p, bias=False)
        self.W_c = torch.nn.Linear(p, p, bias=False)
        self.U = torch.nn.Linear(p, 2 * p)

    def forward(self, x: Any) -> Any:
        h = x.new_zeros(x.shape[1], x.shape[2])
        out = []
        for a in self.U(x):
            a_f, a_c = a.chunk(2, -1)
            f = torch.sigmoid(a_f + self.W_f(h))
            h = (1 - f) * h + f * torch.tanh(a_c + self.W_c(f * h))
            out.append(h)
        return torch.stack(out)


class SLSTM(torch.nn.Module):
    """Exponential gates, a normaliser and a stabiliser state."""

    def __init__(self, p: int) -> None:
        super().__init__()
        self.R = torch.nn.Linear(p, 4 * p, bias=False)
        self.W = torch.nn.Linear(p, 4 * p)

    def forward(self, x: Any) -> Any:
        h = c = m = x.new_zeros(x.shape[1], x.shape[2])
        n = torch.ones_like(h)
        out = []
        for a in self.W(x):
            z, log_i, log_f, o = (a + self.R(h)).chunk(4, -1)
            carried = log_f + m
            m = torch.maximum(carried, log_i)
            i, f = torch.exp(log_i - m), torch.exp(carried - m)
            c = f * c + i * torch.tanh(z)
            n = f * n + i
            h = torch.sigmoid(o) * (c / n)
            out.append(h)
        return torch.stack(out)


EAGER = {"lstm_layer_norm": LayerNormLSTM, "mgu": MinimalGatedUnit, "slstm": SLSTM}


def torch_pass(cell: str, sizes: dict[str, int], dtype: str) -> Callable[[], Any]:
    """One forward and backward pass, gradients of parameters and inputs."""
    steps, batch, p = sizes["T"], sizes["B"], sizes["p"]
    kind = getattr(torch, dtype)
    torch.manual_seed(0)
    x = torch.randn(steps, batch, p, dtype=kind, requires_grad=True)
    seed = torch.randn(steps, batch, p, dtype=kind)
    net: Any = LAYERS[cell](p, p) if cell in LAYERS else EAGER[cell](p)
    net = net.to(kind)
    leaves = [x, *net.parameters()]

    def run() -> Any:
        out = net(x)
        return torch.autograd.grad(out if torch.is_tensor(out) else out[0], leaves, seed)

    return run
