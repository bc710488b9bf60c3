"""A class with a forward and a backward method as the two functions that `check_model` takes.

Lectures and small libraries keep parameters, caches and gradients in an object. Parameters are
found by the layout's names: as arguments of the class, as attributes or in a dict ``params`` of an
object. Gradients are what backward returns, and for what it does not, ``dW`` of the object or an
entry of its dict ``grads``.
"""

from __future__ import annotations

import copy
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ...errors import UsageError
from ...language.network import Network
from .layout import Layout
from .measured import sizes_from
from .modules import WHO, arguments_of, as_arguments, named_outputs, ways_out

__all__ = ["GRADIENT_OF", "ObjectCode", "beside_dict", "is_object_code"]

#: What may stand before a name to say that it is the gradient of it.
GRADIENT_OF = ("d", "d_", "grad_", "g_")
METHODS = ("forward", "backward")


def is_object_code(value: Any) -> bool:
    """Whether it is a class with the methods forward and backward, or an object of one."""
    return not inspect.ismodule(value) and all(callable(getattr(value, m, None)) for m in METHODS)


class ObjectCode:
    """Forward and backward pass of a class or an object; each forward pass has its own object.

    Parameters
    ----------
    thing : type or object
        A class takes parameters by the layout's names, and nothing else that has no default. An
        object is copied, and its parameters are set.
    network, layout
        The definition, and how the arrays hold its values.

    Attributes
    ----------
    sizes : dict
        Sizes that an object has by its parameters; a class takes any.

    Raises
    ------
    UsageError, DimensionError
        A parameter that the class does not take or that the object does not have.
    """

    def __init__(self, thing: Any, network: Network, layout: Layout) -> None:
        self.layout = layout
        self.sizes: dict[str, int] = {}
        kind = thing if isinstance(thing, type) else type(thing)
        self.name = kind.__name__
        self.make: Callable[..., Any]
        if isinstance(thing, type):
            taken = _parameters(thing, layout)
            rest = [n for n in layout.parameters if n not in taken]
            self.make = lambda own: self._set(
                thing(**{n: own[n] for n in taken}), {n: own[n] for n in rest}
            )
        else:
            own = {n: self._held(thing, n) for n in layout.parameters}
            self.sizes = sizes_from(network, layout, {n: np.shape(a) for n, a in own.items()})
            self.make = lambda own: self._set(copy.deepcopy(thing), own)

    def _table(self, thing: Any, table: str, name: str) -> Any:
        """A dict of the object that has the name; None where the name is an attribute."""
        held = getattr(thing, table, None)
        return held if isinstance(held, dict) and name in held else None

    def _held(self, thing: Any, name: str) -> Any:
        held = self._table(thing, "params", name)
        if held is None and not hasattr(thing, name):
            raise UsageError(
                f"{WHO}: the layout places {name!r}, but the {self.name} has no attribute of that "
                "name, and no dict params that holds it"
            )
        return getattr(thing, name) if held is None else held[name]

    def _set(self, thing: Any, own: Mapping[str, Any]) -> Any:
        for n, value in own.items():
            self._held(thing, n)
            held = self._table(thing, "params", n)
            if held is None:
                setattr(thing, n, value)
            else:
                held[n] = value
        return thing

    def forward(self, **arrays: Any) -> tuple[dict[str, Any], Any]:
        """Outputs by the layout's names, and the object that computed them."""
        thing = self.make({n: arrays[n] for n in self.layout.parameters})
        inputs = {n: arrays[n] for n in self.layout.inputs}
        args, named = as_arguments(arguments_of(thing.forward)[0], inputs)
        made = thing.forward(*args, **named)
        if isinstance(made, Mapping):
            found = dict(made)
        else:
            items = list(made) if isinstance(made, tuple | list) else [made]
            if len(items) == len(self.layout.outputs) + 1 and not isinstance(items[-1], np.ndarray):
                del items[-1]  # a cache that the object hands out
            found = {str(k): y for k, y in enumerate(items)}
        return named_outputs(self.layout, found), (thing, arrays)

    def backward(self, cotangents: Mapping[str, Any], saved: Any) -> dict[str, Any]:
        """Gradients by the layout's names."""
        # A second call starts from what forward left; the arguments are not copied, so that a
        # change of one is seen.
        kept, arrays = saved
        thing = copy.deepcopy(kept, {id(a): a for a in arrays.values()})
        args, named = self._cotangents(thing, cotangents)
        made = beside_dict(thing.backward(*args, **named), list(self.layout.inputs))
        names = [*self.layout.parameters, *self.layout.inputs]
        if made is None:
            found: dict[str, Any] = {}
        elif isinstance(made, Mapping):
            found = dict(made)
        else:
            found = self._in_order(made, names)
        told = {n.removeprefix(p) for n in found for p in ("", *GRADIENT_OF)}
        for n in names:
            held = None if n in told else self._left(thing, n)
            if held is not None:
                found[n] = held
        return found

    def _cotangents(
        self, thing: Any, cotangents: Mapping[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """How backward is called: by names that say so, in order, or with the dict itself."""
        taken, _ = arguments_of(thing.backward)
        outputs = list(self.layout.outputs)
        named = {n: o for o in outputs for n in [o, *(p + o for p in GRADIENT_OF)] if n in taken}
        if len(named) == len(outputs) and len(set(named.values())) == len(outputs):
            return (), {n: cotangents[o] for n, o in named.items()}
        most, least = _positional(thing.backward)
        if len(outputs) > 1 and most == 1:
            return (dict(cotangents),), {}
        if not least <= len(outputs) <= most:
            raise UsageError(
                f"{WHO}: {self.name}.backward takes {', '.join(taken) or 'nothing'}, but there are "
                f"{len(outputs)} outputs ({', '.join(outputs)}); let it take their cotangents in "
                "this order, or leave outputs out of the layout"
            )
        return tuple(cotangents[o] for o in outputs), {}

    def _in_order(self, made: Any, names: Sequence[str]) -> dict[str, Any]:
        """A tuple of all gradients in the layout's order, or of those of the inputs alone."""
        items = list(made) if isinstance(made, tuple | list) else [made]
        inputs = list(self.layout.inputs)
        for order in (list(names), inputs):
            if len(items) == len(order):
                return dict(zip(order, items, strict=True))
        raise UsageError(
            f"{WHO}: {self.name}.backward returned {len(items)} gradients for {len(names)} arrays "
            f"({', '.join(names)}), {len(inputs)} of them inputs; return a dict by name"
        )

    def _left(self, thing: Any, name: str) -> Any:
        """A gradient that the object keeps; None where it keeps none."""
        for key in (name, *(p + name for p in GRADIENT_OF)):
            held = self._table(thing, "grads", key)
            if held is not None:
                return held[key]
        for p in GRADIENT_OF:
            if hasattr(thing, p + name):
                return getattr(thing, p + name)
        return None


def beside_dict(made: Any, inputs: Sequence[str]) -> Any:
    """A tuple ``(dict, dx, dh0)`` as one dict; anything else as it is.

    Parameters
    ----------
    made : object
        What backward returned.
    inputs : sequence of str
        Inputs and starts in the layout's order: those that the dict does not name follow it.

    Raises
    ------
    UsageError
        More or fewer follow, or they are no arrays.
    """
    if not isinstance(made, tuple | list) or len(made) < 2 or not isinstance(made[0], Mapping):
        return made
    told = {n.removeprefix(p) for n in made[0] if isinstance(n, str) for p in ("", *GRADIENT_OF)}
    rest = [n for n in inputs if n not in told]
    after = list(made[1:])
    if len(after) != len(rest) or any(isinstance(g, Mapping) for g in after):
        raise UsageError(
            f"backward returned a dict ({', '.join(map(str, made[0]))}) followed by {len(after)} "
            f"gradients; the dict is followed by those it does not name of {', '.join(inputs)}, in "
            f"this order ({len(rest)} here), or holds all by name"
        )
    return {**made[0], **dict(zip(rest, after, strict=True))}


def _positional(function: Callable[..., Any]) -> tuple[int, int]:
    """How many arguments can be given in order, and how many must be."""
    most = least = 0
    for p in inspect.signature(function).parameters.values():
        if p.kind is p.VAR_POSITIONAL:
            return sys.maxsize, least
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD):
            most += 1
            least += p.default is p.empty
    return most, least


def _parameters(kind: type, layout: Layout) -> list[str]:
    """The layout's parameters that a class takes.

    Raises
    ------
    UsageError
        It needs something else.
    """
    taken, rest = arguments_of(kind)
    if rest:
        return list(layout.parameters)
    needed = [
        p.name for p in inspect.signature(kind).parameters.values()
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]  # fmt: skip
    other = [n for n in needed if n not in layout.parameters]
    if other:
        raise UsageError(
            f"{WHO}: {kind.__name__} takes {other[0]!r}, which is no parameter of the layout "
            f"({', '.join(layout.parameters)}). "
            f"{ways_out(other[0], [n for n in layout.parameters if n not in taken])}; or give an "
            f"object, {kind.__name__}(…), whose parameters are then set"
        )
    return [n for n in taken if n in layout.parameters]
