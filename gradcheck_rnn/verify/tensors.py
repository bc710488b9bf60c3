"""Arguments of PyTorch functions: their names, and the tensors nested in them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from typing import Any

from ..errors import UsageError
from .trees import is_named, is_record, with_fields

__all__ = ["DOUBLE", "WHO", "named_arguments", "tensor_leaves", "with_tensors"]

WHO = "check_torch"
DOUBLE = "check_torch_double"


def tensor_leaves(value: Any, name: str, torch: Any) -> Iterator[tuple[str, Any]]:
    """Tensors in nested dicts, lists, tuples and dataclasses, by name: ``[1][0]``, ``state.h``."""
    if is_named(value):
        yield from tensor_leaves(value._asdict(), name, torch)
    elif is_record(value):
        parts = {f.name: getattr(value, f.name) for f in fields(value)}
        yield from tensor_leaves(parts, name, torch)
    elif isinstance(value, torch.Tensor):
        yield name, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from tensor_leaves(item, f"{name}.{key}" if name else str(key), torch)
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            yield from tensor_leaves(item, f"{name}[{i}]", torch)


def with_tensors(value: Any, given: Iterator[Any], moves: Callable[[Any], bool]) -> Any:
    """The same nesting with other tensors in the place of those that move."""
    if moves(value):
        return next(given)
    if isinstance(value, Mapping):
        return {key: with_tensors(item, given, moves) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [with_tensors(item, given, moves) for item in value]
        if isinstance(value, list):
            return items
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    if is_record(value):
        return with_fields(value, lambda item: with_tensors(item, given, moves))
    return value


def named_arguments(torch: Any, function: Any, inputs: Any, is_function: bool) -> dict[str, Any]:
    """Arguments by name, in order, as the signature names them."""
    if isinstance(inputs, torch.Tensor) or is_named(inputs):
        inputs = (inputs,)
    names, rest = _signature(torch, function, is_function)
    if isinstance(inputs, Mapping):
        unknown = [n for n in inputs if n not in names]
        if is_function and unknown:
            raise UsageError(
                f"{WHO}: {function.__name__}.forward has no argument '{unknown[0]}'; it has "
                f"{', '.join(names)}"
            )
        return {n: inputs[n] for n in names if n in inputs} if is_function else dict(inputs)
    if not isinstance(inputs, list | tuple):
        raise UsageError(f"{WHO}: inputs are a {type(inputs).__name__}; give tensors in a tuple")
    names = names[: len(inputs)]
    names += [f"{rest}[{k}]" for k in range(len(inputs) - len(names))]
    return dict(zip(names, inputs, strict=True))


def _signature(torch: Any, function: Any, is_function: bool) -> tuple[list[str], str]:
    """Names of the positional arguments, and of what takes all further ones."""
    called = function.forward if is_function or hasattr(function, "forward") else function
    try:
        parameters = list(inspect.signature(called).parameters.values())
    except (TypeError, ValueError):
        return [], ""
    if is_function and function.setup_context is torch.autograd.Function.setup_context:
        parameters = parameters[1:]  # the context
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    rest = [p.name for p in parameters if p.kind is inspect.Parameter.VAR_POSITIONAL]
    return [p.name for p in parameters if p.kind in kinds], rest[0] if rest else ""
