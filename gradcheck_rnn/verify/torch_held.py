"""Backward passes that see the parameters of their forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

__all__ = ["shown_names", "updated_attributes", "with_values"]


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
            with _fixed_buffers(module, values) if fixed else nullcontext():
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
def _fixed_buffers(module: Any, names: Iterable[str]) -> Iterator[None]:
    """With all buffers fixed, and tensors that are plain attributes (some of ``names``) too."""
    before: dict[Any, tuple[dict[str, Any], dict[str, Any]]] = {
        m: (m._buffers, {}) for m in module.modules()
    }
    for name in names:
        owner, own = _place(module, name)
        if own in owner.__dict__:
            before[owner][1][own] = owner.__dict__.pop(own)
    for m, (buffers, plain) in before.items():
        m.__dict__["_buffers"] = _Fixed(buffers | plain)
    try:
        yield
    finally:
        for m, (buffers, plain) in before.items():
            m.__dict__["_buffers"] = buffers
            m.__dict__.update(plain)


def _place(module: Any, name: str) -> tuple[Any, str]:
    """The module within a module that has an attribute, and its name there."""
    within, _, own = name.rpartition(".")
    return module.get_submodule(within), own


def updated_attributes(torch: Any, module: Any, run: Callable[[], Any]) -> dict[str, Any]:
    """Tensors kept as plain attributes that ``run()`` updates without a gradient, as before it.

    Running statistics are such; a state that carries a gradient is none, and keeps what it became.
    """
    if not module.training:
        return {}
    before = {
        f"{name}.{own}".lstrip("."): x
        for name, m in module.named_modules()
        for own, x in m.__dict__.items()
        if isinstance(x, torch.Tensor) and not x.requires_grad
    }
    if not before:
        return {}
    copies = {name: x.clone() for name, x in before.items()}
    run()
    found = {}
    for name, kept in copies.items():
        owner, own = _place(module, name)
        now = owner.__dict__.get(own)
        plain = isinstance(now, torch.Tensor) and not now.requires_grad
        if plain and not torch.equal(now, kept):
            before[name].copy_(kept)
            setattr(owner, own, before[name])
            found[name] = before[name]
    return found


def shown_names(names: Sequence[str]) -> str:
    """The first three names, quoted."""
    return ", ".join(f"'{n}'" for n in names[:3]) + (" and more" if len(names) > 3 else "")
