"""PyTorch modules and functions as the forward and backward pass that `check_model` takes.

A `torch.nn.Module`, a subclass of `torch.autograd.Function`, or a function of tensors computes the
outputs; autograd the gradients. Its weights and inputs are those of a layout, by their names.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...checks import shown
from ...errors import UsageError
from ...language.network import Network
from ..tensors import tensor_leaves
from .layout import Layout
from .measured import sizes_from

__all__ = ["TorchCode", "is_torch"]

WHO = "check_model"


def is_torch(value: Any) -> bool:
    """Whether it is a module or a function class of PyTorch, which need not be imported."""
    kind = value if isinstance(value, type) else type(value)
    return any(c.__module__.startswith("torch.") for c in kind.__mro__)


class TorchCode:
    """Forward and backward pass of a module or function.

    Parameters
    ----------
    module : torch.nn.Module, subclass of torch.autograd.Function, or callable
        A callable takes tensors by the layout's names. One whose arguments are dims of the
        definition makes a module of these sizes (``lambda d, p: torch.nn.LSTM(d, p)``).
    network, layout
        The definition, and how the tensors hold its values.

    Attributes
    ----------
    sizes : dict
        Sizes that the module has by itself; the other code takes any.

    Raises
    ------
    UsageError, DimensionError
        PyTorch is not installed; parameters that the layout does not place, or no module has.
    """

    def __init__(self, module: Any, network: Network, layout: Layout) -> None:
        try:
            self.torch = importlib.import_module("torch")
        except ImportError:
            raise UsageError(f"{WHO}: the library torch is not installed") from None
        self.network, self.layout = network, layout
        self.module, self.function, self.make = None, None, None
        self.made: dict[tuple[int, ...], Any] = {}
        self.sizes: dict[str, int] = {}
        nn, autograd = self.torch.nn, self.torch.autograd
        if isinstance(module, nn.Module):
            self.module = module
            own = {n: tuple(x.shape) for n, x in self._placed(module).items()}
            self.sizes = sizes_from(network, layout, own)
        elif isinstance(module, type) and issubclass(module, nn.Module):
            dims = ", ".join(network.dims)
            raise UsageError(
                f"{WHO}: module is the class {module.__name__}; give a module, or a function of "
                f"the sizes that makes one, lambda {dims}: {module.__name__}(…)"
            )
        elif isinstance(module, type) and issubclass(module, autograd.Function):
            kind: Any = module
            apart = kind.setup_context is not autograd.Function.setup_context
            self.function, names = kind.apply, _arguments(kind.forward)[0 if apart else 1 :]
            self.names = self._known(names, kind.__name__)
        elif not callable(module):
            raise UsageError(
                f"{WHO}: module is {shown(module)}; give a torch.nn.Module, a "
                "torch.autograd.Function or a function of tensors"
            )
        else:
            names = _arguments(module)
            if names and set(names) <= set(network.dims) - {*layout.parameters, *layout.inputs}:
                self.make, self.names = module, names
            else:
                self.function = module
                self.names = self._known(names, getattr(module, "__name__", "the function"))

    def _known(self, names: Sequence[str], who: str) -> list[str]:
        """Arguments of a function of tensors: all must be arrays of the layout."""
        arrays = [*self.layout.inputs, *self.layout.parameters]
        for n in names:
            if n not in arrays:
                raise UsageError(
                    f"{WHO}: {who} takes {n!r}, which the layout does not place; it places "
                    f"{', '.join(arrays)}. Wrap it in a function of those, or declare it"
                )
        for n in self.layout.parameters:
            if n not in names:
                raise UsageError(
                    f"{WHO}: the layout places {n!r}, which {who} does not take; it takes "
                    f"{', '.join(names)}"
                )
        return list(names)

    def _placed(self, module: Any) -> dict[str, Any]:
        """The module's parameters by the layout's names, which may be the ends of theirs."""
        own = dict(module.named_parameters())
        self.full = {}
        for n in self.layout.parameters:
            found = [k for k in own if k == n] or [k for k in own if k.endswith(f".{n}")]
            if len(found) != 1:
                has = "several" if found else "no"
                raise UsageError(
                    f"{WHO}: the layout places {n!r}, of which {type(module).__name__} has {has} "
                    f"parameters; it has {', '.join(own)}"
                )
            self.full[n] = found[0]
        for k in own:
            if k not in self.full.values():
                raise UsageError(
                    f"{WHO}: {type(module).__name__} has the parameter {k!r}, which the layout "
                    "does not place; its gradient would not be judged"
                )
        return {n: own[k] for n, k in self.full.items()}

    def forward(self, **tensors: Any) -> tuple[dict[str, Any], Any]:
        """Outputs by the layout's names, and what backward needs."""
        torch = self.torch
        leaves = {
            n: x.detach().clone().requires_grad_() if x.is_floating_point() else x
            for n, x in tensors.items()
        }
        # what is written to is a copy: a leaf that needs a gradient cannot be
        given = {n: x.clone() if x.requires_grad else x for n, x in leaves.items()}
        if self.function is not None:
            result = self.function(*(given[n] for n in self.names))
        else:
            module = self.module if self.module is not None else self._made(given)
            like = next(x for x in leaves.values() if x.requires_grad)
            held = {self.full[n]: given[n] for n in self.layout.parameters}
            for n, b in module.named_buffers():
                held[n] = b.to(like, copy=True) if b.is_floating_point() else b.clone()
            inputs = {n: given[n] for n in self.layout.inputs}
            args, named = _call(_arguments(module.forward), inputs)
            result = torch.func.functional_call(module, held, args, named)
        outs = self._outputs(result)
        return outs, (leaves, outs)

    def _made(self, given: Mapping[str, Any]) -> Any:
        """The module of these sizes."""
        assert self.make is not None
        shapes = {n: tuple(given[n].shape) for n in self.layout.parameters}
        sizes = sizes_from(self.network, self.layout, shapes)
        lacking = [n for n in self.names if n not in sizes]
        if lacking:
            raise UsageError(f"{WHO}: no parameter of the layout tells the size {lacking[0]}")
        key = tuple(sizes[n] for n in self.names)
        if key not in self.made:
            module = self.make(*key)
            if not isinstance(module, self.torch.nn.Module):
                raise UsageError(
                    f"{WHO}: a function of the sizes {', '.join(self.names)} makes a "
                    f"torch.nn.Module, not a {type(module).__name__}"
                )
            self._placed(module)
            self.made[key] = module
        return self.made[key]

    def _outputs(self, result: Any) -> dict[str, Any]:
        wanted = list(self.layout.outputs)
        if isinstance(result, Mapping) and set(wanted) <= set(result):
            return {n: result[n] for n in wanted}
        found = list(tensor_leaves(result, "", self.torch))
        if len(found) != len(wanted):
            names = ", ".join(n or "one tensor" for n, _ in found) or "none"
            raise UsageError(
                f"{WHO}: {len(found)} tensors are returned ({names}), the layout has "
                f"{len(wanted)} outputs: {', '.join(wanted)}; return those in this order, or as a "
                "dict"
            )
        return dict(zip(wanted, (x for _, x in found), strict=True))

    def backward(self, cotangents: Mapping[str, Any], saved: Any) -> dict[str, Any]:
        """Gradients of all leaves; None of autograd is zero."""
        leaves, outs = saved
        own = {n: x for n, x in leaves.items() if x.requires_grad}
        asked = [n for n, y in outs.items() if y.requires_grad]
        zeros = {n: self.torch.zeros_like(x) for n, x in own.items()}
        if not asked:
            return zeros
        found = self.torch.autograd.grad(
            [outs[n] for n in asked], list(own.values()), [cotangents[n] for n in asked],
            allow_unused=True, retain_graph=True,
        )  # fmt: skip
        return {n: zeros[n] if g is None else g for n, g in zip(own, found, strict=True)}


def _arguments(function: Callable[..., Any]) -> list[str]:
    """Names of the arguments that can be given by position."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        raise UsageError(
            f"{WHO}: the arguments of {function!r} cannot be told; wrap it in a function of tensors"
        ) from None
    return [p.name for p in parameters if p.kind in kinds]


def _call(
    names: Sequence[str], inputs: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Inputs as arguments: by name, in order, or, as in torch.nn.LSTM, the last ones as a tuple."""
    if set(inputs) <= set(names):
        return (), dict(inputs)
    values = list(inputs.values())
    if len(values) <= len(names):
        return tuple(values), {}
    first = len(names) - 1
    return (*values[:first], tuple(values[first:])), {}
