"""`torch.autograd.Function` and JAX `custom_vjp` functions, checked as forward and backward pairs.

The differences are those of the forward pass that the user wrote; the backward pass is what the
framework calls when it differentiates. Neither library is imported unless it is used.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from .harness.arrays import to_numpy
from .outcome import Report
from .vjp import check_vjp

__all__ = ["check_jax", "check_torch"]

Array = NDArray[Any]


def check_torch(function: Any, inputs: Sequence[Any], **options: Any) -> Report:
    """Check the backward pass of a `torch.autograd.Function`, or of any function of tensors.

    Parameters
    ----------
    function : subclass of torch.autograd.Function, or callable
        Its ``apply`` is called with the inputs; returns a tensor or a tuple of tensors.
    inputs : sequence
        Tensors are perturbed where they are floating-point; anything else (None, numbers, integer
        tensors) is passed on as it is. Float64 tensors give the sharpest check.
    **options
        Of `check_vjp`: outputs, time_axis, mode, seed, budget, select, title.

    Returns
    -------
    Report
        Rows are named ``output -> input`` by position: ``[0] -> [1]``.

    Raises
    ------
    UsageError
        PyTorch is not installed, no input is a floating-point tensor, or the function returns
        something else than tensors. A gradient of None counts as zeros, as in PyTorch.
    """
    torch = _library("torch", "check_torch")
    call = getattr(function, "apply", function) if isinstance(function, type) else function
    given = list(inputs)
    moved = [
        k for k, x in enumerate(given) if isinstance(x, torch.Tensor) and x.is_floating_point()
    ]
    if not moved:
        raise UsageError("check_torch: no input is a floating-point tensor; nothing to check")
    like = [given[k] for k in moved]

    def tensors(arrays: Sequence[Array]) -> list[Any]:
        made = [
            torch.from_numpy(np.ascontiguousarray(a)).to(device=x.device, dtype=x.dtype)
            for a, x in zip(arrays, like, strict=True)
        ]
        return [t.requires_grad_() for t in made]

    def forward(*arrays: Array) -> tuple[Any, Any]:
        own = tensors(arrays)
        args = list(given)
        for k, t in zip(moved, own, strict=True):
            args[k] = t
        result = call(*args)
        out = (result,) if isinstance(result, torch.Tensor) else tuple(result)
        for y in out:
            if not isinstance(y, torch.Tensor):
                raise UsageError(f"check_torch: the function returns a {type(y).__name__}")
        # Arrays in the tensors' own memory are watched: a backward that works in place in what
        # it saved gives another gradient when it is called again.
        watched = [t.detach().numpy() for t in own if t.device.type == "cpu" and _in_numpy(t)]
        return tuple(to_numpy(y) for y in out), (watched, _Opaque((own, out)))

    def backward(cotangents: Any, cache: Any) -> list[Array]:
        own, out = cache[1].held
        ask = [(y, c) for y, c in zip(out, cotangents, strict=True) if y.requires_grad]
        grads: Sequence[Any] = [None] * len(own)
        if ask:
            weights = [torch.from_numpy(np.array(c)).to(y) for y, c in ask]
            grads = torch.autograd.grad(
                [y for y, _ in ask], own, weights, allow_unused=True, retain_graph=True
            )
        return [
            np.zeros(tuple(t.shape)) if g is None else to_numpy(g)
            for t, g in zip(own, grads, strict=True)
        ]

    if any(x.dtype == torch.bfloat16 for x in like):
        options.setdefault("unit", 2.0**-7)
    options.setdefault("title", getattr(function, "__name__", "torch function"))
    return check_vjp(forward, backward, tuple(to_numpy(x) for x in like), **options)


def check_jax(function: Callable[..., Any], inputs: Sequence[Any], **options: Any) -> Report:
    """Check the reverse-mode derivative of a JAX function, one with ``custom_vjp`` above all.

    Parameters
    ----------
    function : callable
        Maps arrays to an array, or to a tuple, list or dict of arrays.
    inputs : sequence
        Arrays; those of integers are data. JAX computes in float32 unless ``jax_enable_x64`` is
        set, and a check in float32 sees less.
    **options
        Of `check_vjp`: outputs, time_axis, mode, seed, budget, select, title.

    Returns
    -------
    Report
        Rows are named ``output -> input`` by position or name.

    Raises
    ------
    UsageError
        JAX is not installed, or no input is a floating-point array.
    """
    jax = _library("jax", "check_jax")
    jnp = importlib.import_module("jax.numpy")
    leaves = [jnp.asarray(x) for x in inputs]
    if not any(jnp.issubdtype(x.dtype, jnp.floating) for x in leaves):
        raise UsageError("check_jax: no input is a floating-point array; nothing to check")
    moved = [k for k, x in enumerate(leaves) if jnp.issubdtype(x.dtype, jnp.floating)]

    def of_moved(*arrays: Any) -> Any:
        args = list(leaves)
        for k, a in zip(moved, arrays, strict=True):
            args[k] = a
        return function(*args)

    def forward(*arrays: Array) -> tuple[Any, Any]:
        own = [jnp.asarray(a, dtype=leaves[k].dtype) for k, a in zip(moved, arrays, strict=True)]
        out, pull = jax.vjp(of_moved, *own)
        return jax.tree_util.tree_map(to_numpy, out), _Opaque((pull, out))

    def backward(cotangents: Any, cache: _Opaque) -> list[Array]:
        pull, out = cache.held
        turned = jax.tree_util.tree_map(lambda c, y: jnp.asarray(c, dtype=y.dtype), cotangents, out)
        return [to_numpy(g) for g in pull(turned)]

    if any(leaves[k].dtype == jnp.bfloat16 for k in moved):
        options.setdefault("unit", 2.0**-7)
    options.setdefault("title", getattr(function, "__name__", "jax function"))
    return check_vjp(forward, backward, tuple(to_numpy(leaves[k]) for k in moved), **options)


def _in_numpy(tensor: Any) -> bool:
    """NumPy has no bfloat16."""
    return "bfloat16" not in str(tensor.dtype)


class _Opaque:
    """A graph or a pullback, which cannot be copied and is not to be looked into."""

    def __init__(self, held: Any) -> None:
        self.held = held

    def __deepcopy__(self, memo: Any) -> _Opaque:
        return self


def _library(name: str, door: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise UsageError(f"{door}: the library {name} is not installed") from None
