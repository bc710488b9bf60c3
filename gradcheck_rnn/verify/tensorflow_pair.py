"""TensorFlow functions as forward and backward pairs; TensorFlow is imported by the caller.

Inputs are tensors in any nesting, outputs too; the trainable variables of a module or layer are
inputs by name. The backward pass is what `tf.GradientTape` makes of the cotangents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..checks import check_function
from ..errors import UsageError
from .guard import call
from .jax_pair import named_inputs
from .pairs import Cotangents, Pair
from .trees import Tree
from .verdict import Finding

__all__ = ["TensorFlowPair"]

WHO = "check_tensorflow"
Array = NDArray[Any]


class TensorFlowPair(Pair):
    """A function of tensors, one with ``tf.custom_gradient`` above all, a module or a layer.

    Parameters
    ----------
    tf
        The library.
    function : callable
        Returns tensors in any nesting.
    inputs
        A tensor, a sequence of arguments, or a dict of arguments by name.
    """

    def __init__(
        self, tf: Any, function: Any, inputs: Any, surrogate: Callable[..., Any] | None = None
    ) -> None:
        check_function(function, f"{WHO}: what to check")
        self.tf, self.function = tf, function
        self.by_name = isinstance(inputs, Mapping)
        self.arguments = named_inputs(getattr(function, "call", function), inputs)
        self.given = dict(_leaves(self.arguments))
        self.moved = [n for n, x in self.given.items() if self._moves(x)]
        self.variables: dict[str, Any] = {}
        for v in getattr(function, "trainable_variables", None) or ():
            name = str(getattr(v, "path", v.name)).removesuffix(":0")
            own = name if name not in self.given else f"self.{name}"
            self.variables[own] = getattr(v, "value", v) if hasattr(v, "path") else v
        template = {n: _array(self.given[n]) for n in self.moved}
        template |= {n: _array(v) for n, v in self.variables.items()}
        if not template:
            raise UsageError(f"{WHO}: no input is a floating-point tensor; nothing to check")
        #: Values of the variables before the check.
        self.before = {n: template[n].copy() for n in self.variables}
        super().__init__(Tree.of(template, "inputs"), surrogate, function)
        for n, x in self.given.items():
            if getattr(getattr(x, "dtype", None), "is_complex", False):
                text = f"the input '{n}' is complex: passed on and not checked"
                self.note(Finding("no-gradient", text))

    def _moves(self, x: Any) -> bool:
        if isinstance(x, np.ndarray):
            return x.dtype.kind == "f"
        return bool(self.tf.is_tensor(x) and x.dtype.is_floating)

    def restore(self) -> None:
        """Give the variables their values back."""
        for n, value in self.before.items():
            self.variables[n].assign(value)

    def _tensors(self, leaves: Sequence[Array]) -> dict[str, Any]:
        """Tensors by input name; variables are assigned."""
        if any(a.dtype.kind == "c" for a in leaves):
            raise TypeError("tensors are real")
        made = {}
        for n, a in zip(self.tree.names, leaves, strict=True):
            if n in self.variables:
                self.variables[n].assign(a)
            else:
                made[n] = self.tf.constant(a, dtype=self.given[n].dtype)
        return made

    def _apply(self, who: str, function: Any, tensors: Mapping[str, Any]) -> dict[str, Any]:
        """Output tensors by name."""
        found = iter([tensors.get(n, x) for n, x in self.given.items()])
        named = {n: _rebuilt(value, found) for n, value in self.arguments.items()}
        args, kwargs = ((), named) if self.by_name else (tuple(named.values()), {})
        result = call(who, function, *args, **kwargs)
        outs = dict(_leaves(result)) if not self.tf.is_tensor(result) else {"outputs": result}
        outs = {n: y for n, y in outs.items() if self.tf.is_tensor(y)}
        if not outs:
            raise UsageError(f"{WHO}: {who} returns no tensor ({type(result).__name__})")
        for n, y in outs.items():
            if y.dtype.is_complex:
                raise UsageError(f"{WHO}: the output '{n}' is complex; return real parts")
        return outs

    def _run(self, leaves: Sequence[Array]) -> Any:
        self.runs += 1
        outs = self._apply("forward", self.function, self._tensors(leaves))
        return {n: _array(y) for n, y in outs.items()}

    def _run_surrogate(self, leaves: Sequence[Array]) -> Any:
        outs = self._apply("the surrogate", self.surrogate, self._tensors(leaves))
        return {n: _array(y) for n, y in outs.items()}

    def _pull(
        self, leaves: Sequence[Array], cotangents: Cotangents, undefined: bool
    ) -> dict[int, Any]:
        tensors = self._tensors(leaves)
        with self.tf.GradientTape(watch_accessed_variables=False) as tape:
            wanted = [tensors.get(n, self.variables.get(n)) for n in self.tree.names]
            tape.watch(wanted)
            outs = self._apply("forward", self.function, tensors)
        asked = [y for y in outs.values() if y.dtype.is_floating]
        weights = [
            self.tf.constant(cotangents.get(k, np.zeros(y.shape)), dtype=y.dtype)
            for k, y in enumerate(outs.values()) if y.dtype.is_floating
        ]  # fmt: skip
        grads = call("backward", tape.gradient, asked, wanted, output_gradients=weights)
        found = {}
        for i, (g, x) in enumerate(zip(grads, leaves, strict=True)):
            if g is None:
                self.none |= {(k, i) for k in cotangents}
            found[i] = np.zeros_like(x) if g is None else _array(self.tf.convert_to_tensor(g))
        return found


def _array(x: Any) -> Array:
    return np.array(x.numpy() if hasattr(x, "numpy") else x)


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves of nested dicts, lists and tuples with their names."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple):
        for k, item in enumerate(value):
            yield from _leaves(item, f"{name}[{k}]")
    else:
        yield name, value


def _rebuilt(value: Any, leaves: Iterator[Any]) -> Any:
    """The same nesting around other leaves."""
    if isinstance(value, Mapping):
        return {key: _rebuilt(item, leaves) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [_rebuilt(item, leaves) for item in value]
        return tuple(items) if isinstance(value, tuple) else items
    return next(leaves)
