"""Backward passes that see the parameters of their forward pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["with_values"]


def with_values(torch: Any, module: Any, values: Mapping[str, Any], run: Callable[[], Any]) -> Any:
    """What ``run()`` returns while the module has other parameters and buffers.

    A checkpoint computes part of the forward pass again within backward, with the parameters that
    the module has by then: those of `torch.func.functional_call` are gone when it returns.

    Parameters
    ----------
    torch : module
        PyTorch.
    module : torch.nn.Module
        Whose parameters are replaced; it has its own ones afterwards.
    values : mapping of str to torch.Tensor
        By the names in the module.
    run : callable
        The backward pass.
    """

    class Around(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = module

        def forward(self) -> Any:
            return run()

    held = {f"inner.{name}": x for name, x in values.items()}
    return torch.func.functional_call(Around(), held, ())
