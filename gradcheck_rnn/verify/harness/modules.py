"""Modules, and functions of PyTorch or JAX, as the two passes that `check_model` takes.

A `torch.nn.Module`, a subclass of `torch.autograd.Function`, or a function of tensors computes the
outputs; autograd the gradients. Its weights and inputs are those of a layout, by their names.
"""

from __future__ import annotations

import copy
import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from ...checks import shown
from ...errors import UsageError
from ...language.network import Network
from ..jax_pair import JaxPair
from ..pairs import Pair
from ..tensors import tensor_leaves
from ..torch_held import with_values
from ..torch_pair import TorchPair
from .layout import Layout
from .measured import sizes_from

__all__ = [
    "JaxCode",
    "TorchCode",
    "arguments_of",
    "as_arguments",
    "gathered",
    "is_torch",
    "known_arguments",
    "named_outputs",
    "ways_out",
]

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
        A callable takes tensors by the layout's names, or its parameters as one dict. One whose
        arguments are dims of the definition makes a module of these sizes (``lambda d, p:
        torch.nn.LSTM(d, p)``).
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
            names = arguments_of(kind.forward)[0][0 if apart else 1 :]
            self.names = known_arguments(layout, names, False, kind.__name__, tables=False)
            self.function = lambda **given: kind.apply(*(given[n] for n in self.names))
        elif not callable(module):
            raise UsageError(
                f"{WHO}: module is {shown(module)}; give a torch.nn.Module, a "
                "torch.autograd.Function or a function of tensors"
            )
        else:
            names, rest = arguments_of(module)
            if names and set(names) <= set(network.dims) - {*layout.parameters, *layout.inputs}:
                self.make, self.names = module, names
            elif (held := gathered(layout, names)) is not None:
                self.function = with_dict(module, layout, held)
                self.names = [n for n in names if n != held] + list(layout.parameters)
            else:
                self.function = module
                self.names = known_arguments(layout, names, rest, named(module))

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
        around: Callable[[Callable[[], Any]], Any] = _called
        if self.function is not None:
            result = self.function(**{n: given[n] for n in self.names})
        else:
            module = self.module if self.module is not None else self._made(given)
            like = next(x for x in leaves.values() if x.requires_grad)
            held = {self.full[n]: given[n] for n in self.layout.parameters}
            for n, b in module.named_buffers():
                held[n] = b.to(like, copy=True) if b.is_floating_point() else b.clone()
            inputs = {n: given[n] for n in self.layout.inputs}
            args, named = as_arguments(arguments_of(module.forward)[0], inputs)
            result = torch.func.functional_call(module, held, args, named)
            around = partial(with_values, torch, module, held)
        found = dict(tensor_leaves(result, "", torch))
        outs = named_outputs(self.layout, found)
        return outs, (leaves, outs, around)

    def pair(self, tensors: Mapping[str, Any]) -> Pair:
        """The same code as `check_torch` takes it; a module has its own weights."""
        function = self.function
        if function is not None:

            def outputs(**given: Any) -> dict[str, Any]:
                found = dict(tensor_leaves(function(**given), "", self.torch))
                return named_outputs(self.layout, found)

            return TorchPair(self.torch, outputs, {n: tensors[n] for n in self.names})
        module = self.module if self.module is not None else self._made(tensors)
        like = next(x for x in tensors.values() if x.is_floating_point())
        if any(x.dtype != like.dtype for x in module.parameters() if x.is_floating_point()):
            module = copy.deepcopy(module).to(like)
        inputs = {n: tensors[n] for n in self.layout.inputs}
        args, named = as_arguments(arguments_of(module.forward)[0], inputs)
        return TorchPair(self.torch, module, named or args)

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

    def backward(self, cotangents: Mapping[str, Any], saved: Any) -> dict[str, Any]:
        """Gradients of all leaves; None of autograd is zero."""
        leaves, outs, around = saved
        own = {n: x for n, x in leaves.items() if x.requires_grad}
        asked = [n for n, y in outs.items() if y.requires_grad]
        zeros = {n: self.torch.zeros_like(x) for n, x in own.items()}
        if not asked:
            return zeros
        found = around(partial(
            self.torch.autograd.grad,
            [outs[n] for n in asked], list(own.values()), [cotangents[n] for n in asked],
            allow_unused=True, retain_graph=True,
        ))  # fmt: skip
        return {n: zeros[n] if g is None else g for n, g in zip(own, found, strict=True)}


def _called(run: Callable[[], Any]) -> Any:
    return run()


def named(function: Any) -> str:
    """A function's name for messages."""
    return str(getattr(function, "__name__", "the function"))


def arguments_of(function: Callable[..., Any]) -> tuple[list[str], bool]:
    """Names of the arguments, and whether it takes any others by name."""
    kinds = (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        inspect.Parameter.KEYWORD_ONLY,
    )
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        raise UsageError(
            f"{WHO}: the arguments of {function!r} cannot be told; wrap it in a function of arrays"
        ) from None
    rest = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters)
    return [p.name for p in parameters if p.kind in kinds], rest


def ways_out(name: str, free: Sequence[str]) -> str:
    """What to do about a name of the user's that a layout lacks, one of `free` being meant.

    Parameters
    ----------
    name : str
        As the user's code calls an array.
    free : sequence of str
        The layout's names that the code has not.
    """
    other = f"rename={free[0] if free else 'OLD'}:{name}"
    return (
        f"If it is one of them, say so in the layout, “… {other}”; else print the layout, "
        "`gradcheck-rnn layouts NAME`, and declare yours from it"
    )


def gathered(layout: Layout, names: Sequence[str]) -> str | None:
    """The argument that takes all parameters as a dict, as functions of JAX have it.

    It is the only one that the layout does not place, of a function that takes no parameter by
    its own name.
    """
    other = [n for n in names if n not in layout.inputs]
    return other[0] if len(other) == 1 and other[0] not in layout.parameters else None


def with_dict(function: Callable[..., Any], layout: Layout, name: str) -> Callable[..., Any]:
    """A function of the layout's arrays from one that takes the parameters as a dict `name`."""

    def called(**given: Any) -> Any:
        held = {n: given.pop(n) for n in layout.parameters}
        return function(**{name: held}, **given)

    return called


def known_arguments(
    layout: Layout, names: Sequence[str], rest: bool, who: str, *, tables: bool = True
) -> list[str]:
    """Arrays of a layout that a function takes: all of its arguments must be such arrays.

    Parameters
    ----------
    layout : Layout
        Of the function's arrays.
    names : sequence of str
        What it takes by name.
    rest : bool
        Whether it takes any others.
    who : str
        Its name, for messages.
    tables : bool, optional
        Whether an argument may be a dict of all parameters (see `gathered`), which a message says.

    Raises
    ------
    UsageError
        An argument that the layout does not place, a parameter that the function does not take.
    """
    arrays = [*layout.inputs, *layout.parameters]
    # of a function that takes no parameter by its name, one argument is their dict
    apart = not set(names) & set(layout.parameters)
    free = [a for a in (layout.inputs if apart else arrays) if a not in names]
    for n in names:
        if n not in arrays:
            dicts = "; one argument may take all parameters as a dict" if apart and tables else ""
            raise UsageError(
                f"{WHO}: {who} takes {n!r}, which the layout does not place; it places "
                f"{', '.join(arrays)}. {ways_out(n, free)}{dicts}"
            )
    if rest:
        return arrays
    for n in layout.parameters:
        if n not in names:
            raise UsageError(
                f"{WHO}: the layout places {n!r}, which {who} does not take; it takes "
                f"{', '.join(names)}"
            )
    return list(names)


def named_outputs(layout: Layout, found: Mapping[str, Any]) -> dict[str, Any]:
    """Outputs by the layout's names, from those that were returned, by their own or in order.

    Raises
    ------
    UsageError
        More or fewer than the layout has.
    """
    wanted = list(layout.outputs)
    if set(wanted) <= set(found):
        return {n: found[n] for n in wanted}
    if len(found) != len(wanted):
        names = ", ".join(n or "one array" for n in found) or "none"
        raise UsageError(
            f"{WHO}: {len(found)} arrays are returned ({names}), the layout has {len(wanted)} "
            f"outputs: {', '.join(wanted)}; return those in this order, or as a dict"
        )
    return dict(zip(wanted, found.values(), strict=True))


def as_arguments(
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


class JaxCode:
    """A function of JAX arrays by a layout's names; it is compiled, its backward pass is `jax.vjp`.

    Parameters
    ----------
    function : callable
        Takes the layout's arrays by name, or its parameters as one dict; returns the outputs in
        any pytree.
    layout : Layout
        How the arrays hold the definition's values.
    dtype : str
        The format that is asked for.

    Attributes
    ----------
    sizes : dict
        Empty: a function takes any.

    Raises
    ------
    UsageError
        JAX is not installed or has no float64 as it is set up; arguments that are no arrays of
        the layout.
    """

    def __init__(self, function: Callable[..., Any], layout: Layout, dtype: str) -> None:
        try:
            self.jax = importlib.import_module("jax")
        except ImportError:
            raise UsageError(f"{WHO}: the library jax is not installed") from None
        if not callable(function):
            raise UsageError(f"{WHO}: with array='jax', module is a function of arrays")
        if dtype == "float64" and not self.jax.config.jax_enable_x64:
            raise UsageError(
                f"{WHO}: JAX computes in float32 here; set jax_enable_x64, or give dtype='float32'"
            )
        self.layout = layout
        self.sizes: dict[str, int] = {}
        names, rest = arguments_of(function)
        held = gathered(layout, names)
        self.function = function if held is None else with_dict(function, layout, held)
        if held is None:
            known_arguments(layout, names, rest, named(function))
        self.compiled = self.jax.jit(self._outputs)

    def _outputs(self, moved: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        pairs, _ = self.jax.tree_util.tree_flatten_with_path(self.function(**moved, **data))
        found = {"".join(str(getattr(k, "key", k)) for k in path): x for path, x in pairs}
        return named_outputs(self.layout, found)

    def pair(self, arrays: Mapping[str, Any]) -> Pair:
        """The same code as `check_jax` takes it, at these arrays."""
        return JaxPair(
            self.jax, self.jax.numpy, lambda **given: self._outputs(given, {}), dict(arrays)
        )

    def forward(self, **arrays: Any) -> tuple[dict[str, Any], Any]:
        """Outputs by the layout's names, and what backward needs."""
        jnp = self.jax.numpy
        moved = {n: x for n, x in arrays.items() if jnp.issubdtype(x.dtype, jnp.floating)}
        data = {n: x for n, x in arrays.items() if n not in moved}
        outs, pull = self.jax.vjp(lambda given: self.compiled(given, data), moved)
        return outs, pull

    def backward(self, cotangents: Mapping[str, Any], pull: Any) -> dict[str, Any]:
        """Gradients of all arrays that have one."""
        (found,) = pull(dict(cotangents))
        return dict(found)
