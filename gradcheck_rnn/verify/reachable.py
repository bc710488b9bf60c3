"""What functions can reach besides arguments, by checksum, and arrays that share memory."""

from __future__ import annotations

import functools
import random
import sys
import types
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .array_checksum import array_checksum

__all__ = ["checksum", "differing", "drawn", "generators", "sharing"]

Array = NDArray[Any]
#: Objects looked at, and how deep, in search of arrays that a function can reach.
MOST_OBJECTS, DEEPEST, MOST_ITEMS = 2000, 8, 256
#: Whose functions and classes hold no data of the user (a user's own module may be called `test`).
_LIBRARIES = frozenset(
    {
        "gradcheck_rnn",
        "numpy",
        "scipy",
        "torch",
        "jax",
        "jaxlib",
        "sympy",
        "cupy",
        "numba",
        "pytest",
    }
) | (frozenset(sys.stdlib_module_names) - {"__main__", "test", "code"})

#: Those of which nothing is held where they are empty.
_CONTAINERS = frozenset({dict, OrderedDict, list, tuple, set, frozenset})
#: Whose instances are not looked into: ours, and arrays that cannot change.
_CLOSED = {"gradcheck_rnn", "jax", "jaxlib"}


def differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Names of what differs between two looks; empty if random numbers were drawn."""
    names = [n for n in {**before, **now} if before.get(n) != now.get(n)]
    return [] if any(map(_of_numbers, names)) else names


def drawn(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether random numbers were drawn between two looks."""
    return any(before.get(n) != x for n, x in now.items() if _of_numbers(n))


def _of_numbers(name: str) -> bool:
    """Whether what has been looked at is a generator of random numbers."""
    return name.startswith("random ")


def generators() -> dict[str, Any]:
    """The states of the global random number generators."""
    kind, keys, at, *rest = np.random.get_state()  # noqa: NPY002
    found: dict[str, Any] = {
        "random numpy": (kind, array_checksum(np.asarray(keys)), at, *rest),
        "random python": hash(random.getstate()),
    }
    if "torch" in sys.modules:
        torch = sys.modules["torch"]
        state = getattr(getattr(torch, "random", None), "get_rng_state", None)
        if state is not None:
            found["random torch"] = array_checksum(state().numpy())
    return found


def checksum(root: Any, name: str = "", seen: set[int] | None = None) -> dict[str, Any]:
    """Checksums of the arrays and numbers that can be reached from an object.

    Objects that cannot be looked into (locks, generators, handles of other languages) are passed
    over; nothing is called and nothing is copied.
    """
    seen = set() if seen is None else seen
    found: dict[str, Any] = {}
    level: list[tuple[str, Any]] = [(name, root)]
    for depth in range(DEEPEST + 1):
        below: list[tuple[str, Any]] = []
        for path, item in level:
            if len(seen) >= MOST_OBJECTS:
                return found
            kind = _kind(type(item))
            if kind == "number":
                found[path] = repr(item)
                continue
            if kind == "text" or id(item) in seen:
                continue
            seen.add(id(item))
            if kind == "array":
                if item.dtype.kind != "O":
                    found[path] = item.shape, item.dtype.str, array_checksum(item)
            elif kind == "tensor":
                found[path] = _of_tensor(item)
            elif kind == "generator":
                found[f"random {path}"] = _of_generator(item)
            elif depth < DEEPEST and kind != "closed":
                below += _inside(kind, path, item)
        level = below
    return found


def _kind(of: type) -> str:
    """How objects of a class are looked at."""
    try:
        return _known_kind(of)
    except TypeError:  # a metaclass whose classes have no hash
        return _known_kind.__wrapped__(of)


#: By kind: the classes whose instances, and those of classes made from them, are looked at so.
_KINDS: dict[str, Any] = {
    "number": (int, float, complex, np.number),
    "text": (str, bytes, np.generic, type(None)),
    "array": np.ndarray,
    "generator": (np.random.Generator, np.random.RandomState),
    "function": types.FunctionType,
    "method": types.MethodType,
    "partial": functools.partial,
    "wrapper": (staticmethod, classmethod),
    "dict": dict,
    "sequence": (list, tuple, set, frozenset, deque),
    "class": type,
    "closed": types.ModuleType,
}


@functools.lru_cache(maxsize=1024)
def _known_kind(of: type) -> str:
    for kind, classes in _KINDS.items():
        if issubclass(of, classes):
            return kind
    root = _root(of)
    if root == "torch" and hasattr(of, "untyped_storage"):
        return "tensor"
    return "closed" if root in _CLOSED else "object"


def _of_tensor(tensor: Any) -> Any:
    try:
        held = tensor.detach()
        try:
            content = array_checksum(held.numpy())
        except (RuntimeError, TypeError):  # of another device, or a format that NumPy has not
            content = array_checksum(_bytes(held.cpu().contiguous()))
        own = tuple(held.shape), held.dtype, content
        grad = tensor.grad if tensor.is_leaf else None
        return own if grad is None else (own, _of_tensor(grad))
    except (RuntimeError, NotImplementedError, TypeError):  # sparse, quantised, without storage
        return None


def _bytes(tensor: Any) -> Array:
    torch = sys.modules["torch"]
    found: Array = tensor.reshape(-1).view(torch.uint8).numpy()
    return found


def _of_generator(generator: Any) -> str:
    held = getattr(generator, "bit_generator", None) or generator._bit_generator
    return repr(held.state)


def _inside(kind: str, path: str, item: Any) -> list[tuple[str, Any]]:
    """What an object holds, with names as its author would write them."""
    dot = f"{path}." if path else ""
    if kind == "object":
        slots, method = _of_class(type(item))
        held = [(dot + n, x) for n, x in _filled(getattr(item, "__dict__", _NOTHING).items())]
        held += [(dot + n, getattr(item, n, None)) for n in slots]
        return held if method is None else [*held, (path, method)]
    if kind == "dict":
        items = _filled(list(item.items())[:MOST_ITEMS])
        return [(f"{path}[{k!r}]" if path else str(k), x) for k, x in items]
    if kind == "sequence":
        return [(f"{path}[{k}]", x) for k, x in enumerate(list(item)[:MOST_ITEMS])]
    if kind == "function":
        return [] if _of_library(item) else list(_of_function(item))
    if kind == "method":
        return [("self", item.__self__), (path, item.__func__)]
    if kind == "partial":
        given = [(f"argument {k + 1}", x) for k, x in enumerate(item.args)]
        return [(path, item.func), *given, *item.keywords.items()]
    if kind == "wrapper":
        return [(path, item.__func__)]
    if kind == "class" and not _of_library(item):
        return [(dot + n, x) for n, x in vars(item).items() if not n.startswith("__")]
    return []


def _filled(items: Iterable[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Those in which there is something: most of what a PyTorch module has are empty dicts."""
    return [(n, x) for n, x in items if not (x is None or (type(x) in _CONTAINERS and not x))]


def _of_class(of: type) -> tuple[tuple[str, ...], Any]:
    """The slots of a class, and how its instances are called where that is written in Python."""
    slots = getattr(of, "__slots__", ())
    named = [n for n in slots if isinstance(n, str) and isinstance(getattr(of, n, None), _SLOT)]
    method = getattr(of, "__call__", None)  # noqa: B004
    return tuple(named), method if isinstance(method, types.FunctionType) else None


_NOTHING: Mapping[str, Any] = types.MappingProxyType({})
_SLOT = types.MemberDescriptorType


def _root(item: Any) -> str:
    return str(getattr(item, "__module__", "") or "").partition(".")[0]


def _of_library(item: Any) -> bool:
    return _root(item) in _LIBRARIES


def _of_function(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    code = function.__code__
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    names = code.co_varnames[: code.co_argcount]
    defaults = function.__defaults__ or ()
    yield from zip(names[len(names) - len(defaults) :], defaults, strict=True)
    yield from (function.__kwdefaults__ or {}).items()
    for name in _global_names(code):
        if name in function.__globals__:
            yield name, function.__globals__[name]


@functools.lru_cache(maxsize=256)
def _global_names(code: types.CodeType) -> Sequence[str]:
    inner = [_global_names(c) for c in code.co_consts if isinstance(c, types.CodeType)]
    return tuple(dict.fromkeys([*code.co_names, *(n for names in inner for n in names)]))


def _bounds(array: Array) -> tuple[int, int]:
    """The first and the last address of an array, the latter exclusive."""
    first = last = int(array.__array_interface__["data"][0])
    if not array.size:
        return first, first
    for length, stride in zip(array.shape, array.strides, strict=True):
        far = (length - 1) * stride
        first, last = first + min(far, 0), last + max(far, 0)
    return first, last + array.itemsize


def sharing(arrays: Sequence[Array]) -> list[tuple[int, int]]:
    """Positions of arrays of which the memory overlaps, the smaller one first.

    In order of their addresses only those that are still open are compared; none where each has
    memory of its own.
    """
    if all(a.base is None for a in arrays) and len({id(a) for a in arrays}) == len(arrays):
        return []
    bounds = [_bounds(a) for a in arrays]
    found, still = [], list[int]()
    for i in sorted(range(len(arrays)), key=bounds.__getitem__):
        still = [j for j in still if bounds[j][1] > bounds[i][0]]
        found += [
            (min(i, j), max(i, j)) for j in still if np.may_share_memory(arrays[i], arrays[j])
        ]
        still.append(i)
    return sorted(found)
