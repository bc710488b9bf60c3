"""JAX functions as the forward and backward pass that `check_model` takes."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from ...errors import UsageError
from .layout import Layout
from .modules import WHO, arguments_of, known_arguments, named, named_outputs

__all__ = ["JaxCode"]


class JaxCode:
    """A function of JAX arrays by a layout's names; it is compiled, its backward pass is `jax.vjp`.

    Parameters
    ----------
    function : callable
        Takes the layout's arrays by name; returns the outputs in any pytree.
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
        self.function, self.layout = function, layout
        self.sizes: dict[str, int] = {}
        known_arguments(layout, *arguments_of(function), named(function))
        self.compiled = self.jax.jit(self._outputs)

    def _outputs(self, moved: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        pairs, _ = self.jax.tree_util.tree_flatten_with_path(self.function(**moved, **data))
        found = {"".join(str(getattr(k, "key", k)) for k in path): x for path, x in pairs}
        return named_outputs(self.layout, found)

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
