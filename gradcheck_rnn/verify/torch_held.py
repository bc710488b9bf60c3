"""Backward passes that see the parameters of their forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

__all__ = ["with_values"]


def with_values(
    torch: Any,
    module: Any,
    values: Mapping[str, Any],
    run: Callable[[], Any],
    fixed: bool = False,
) -> Any:
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
    fixed : bool, optional
        Whether buffers keep these values when a forward pass assigns others (``self.u = …``).
    """

    class Around(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = module

        def forward(self) -> Any:
            with _fixed_buffers(module) if fixed else nullcontext():
                return run()

    held = {f"inner.{name}": x for name, x in values.items()}
    return torch.func.functional_call(Around(), held, ())


class _Fixed(dict[str, Any]):
    """The buffers of a module, which stay: what is assigned to one is dropped."""

    def __setitem__(self, name: str, value: Any) -> None:
        if self.get(name) is None:
            super().__setitem__(name, value)

    def __delitem__(self, name: str) -> None:
        pass


@contextmanager
def _fixed_buffers(module: Any) -> Iterator[None]:
    before = {m: m._buffers for m in module.modules()}
    for m, buffers in before.items():
        m.__dict__["_buffers"] = _Fixed(buffers)
    try:
        yield
    finally:
        for m, buffers in before.items():
            m.__dict__["_buffers"] = buffers
