"""What functions can reach besides arguments, by checksum, and arrays that share memory."""

from __future__ import annotations

import functools
import random
import sys
import types
import zlib
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["checksum", "differing", "generators", "sharing"]

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

#: What is looked at by its value, and what is passed over.
_NUMBER = (int, float, complex, np.number)
_CONTAINERS = frozenset({dict, OrderedDict, list, tuple, set, frozenset})
_TEXT = (str, bytes, np.generic, type(None))
#: Whose instances are not looked into: ours, and arrays that cannot change.
_CLOSED = {"gradcheck_rnn", "jax", "jaxlib"}


def differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Names of what differs between two looks; empty if random numbers were drawn."""
    names = [n for n in {**before, **now} if before.get(n) != now.get(n)]
    return [] if any(n.startswith("random ") for n in names) else names


def generators() -> dict[str, Any]:
    """The states of the global random number generators."""
    kind, keys, at, *rest = np.random.get_state()  # noqa: NPY002
    found: dict[str, Any] = {
        "random numpy": (kind, _crc(np.asarray(keys)), at, *rest),
        "random python": hash(random.getstate()),
    }
    if "torch" in sys.modules:
        torch = sys.modules["torch"]
        state = getattr(getattr(torch, "random", None), "get_rng_state", None)
        if state is not None:
            found["random torch"] = _crc(state().numpy())
    return found


def checksum(root: Any, name: str = "", seen: set[int] | None = None) -> dict[str, Any]:
    """Checksums of the arrays and numbers that can be reached from an object.

    Objects that cannot be looked into (locks, generators, handles of other languages) are passed
    over; nothing is called and nothing is copied.
    """
    seen = set() if seen is None else seen
    found: dict[str, Any] = {}
    todo: deque[tuple[str, Any, int]] = deque([(name, root, 0)])
    while todo and len(seen) < MOST_OBJECTS:
        path, item, depth = todo.popleft()
        kind = _kind(type(item))
        if kind == "number":
            found[path] = repr(item)
            continue
        if kind == "text" or id(item) in seen:
            continue
        seen.add(id(item))
        if kind == "array":
            if item.dtype.kind != "O":
                found[path] = _of_array(item)
        elif kind == "tensor":
            found[path] = _of_tensor(item)
        elif kind == "generator":
            found[f"random {path}"] = _of_generator(item)
        elif depth < DEEPEST:
            todo += [(n, x, depth + 1) for n, x in _inside(path, item)]
    return found


def _kind(of: type) -> str:
    """How objects of a class are looked at."""
    try:
        return _known_kind(of)
    except TypeError:  # a metaclass whose classes have no hash
        return _known_kind.__wrapped__(of)


@functools.lru_cache(maxsize=1024)
def _known_kind(of: type) -> str:
    kinds: dict[str, Any] = {
        "number": _NUMBER, "text": _TEXT, "array": np.ndarray,
        "generator": (np.random.Generator, np.random.RandomState),
    }  # fmt: skip
    for kind, classes in kinds.items():
        if issubclass(of, classes):
            return kind
    tensor = _root(of) == "torch" and hasattr(of, "untyped_storage")
    return "tensor" if tensor else "object"


def _of_array(array: Array) -> tuple[Any, ...]:
    return array.shape, array.dtype.str, _crc(array)


def _crc(array: Array) -> int:
    return zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def _of_tensor(tensor: Any) -> Any:
    try:
        held = tensor.detach()
        try:
            content = _crc(held.numpy())
        except (RuntimeError, TypeError):  # of another device, or a format that NumPy has not
            content = zlib.crc32(_bytes(held.cpu().contiguous()).data)
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


def _inside(path: str, item: Any) -> Iterator[tuple[str, Any]]:
    """What an object holds, with names as its author would write them."""
    dot = f"{path}." if path else ""
    if isinstance(item, types.FunctionType):
        if not _of_library(item):
            yield from _of_function(item)
    elif isinstance(item, types.MethodType):
        yield "self", item.__self__
        yield path, item.__func__
    elif isinstance(item, functools.partial):
        yield path, item.func
        yield from ((f"argument {k + 1}", x) for k, x in enumerate(item.args))
        yield from item.keywords.items()
    elif isinstance(item, staticmethod | classmethod):
        yield path, item.__func__
    elif isinstance(item, dict):
        for k, x in list(item.items())[:MOST_ITEMS]:
            if not _empty(x):
                yield f"{path}[{k!r}]" if path else str(k), x
    elif isinstance(item, list | tuple | set | frozenset | deque):
        yield from ((f"{path}[{k}]", x) for k, x in enumerate(list(item)[:MOST_ITEMS]))
    elif isinstance(item, type):
        if not _of_library(item):
            yield from ((dot + n, x) for n, x in vars(item).items() if not n.startswith("__"))
    elif not isinstance(item, types.ModuleType) and _root(type(item)) not in _CLOSED:
        yield from ((dot + n, x) for n, x in getattr(item, "__dict__", {}).items() if not _empty(x))
        for n in getattr(type(item), "__slots__", ()):
            if isinstance(n, str) and isinstance(getattr(type(item), n, None), _SLOT):
                yield dot + n, getattr(item, n, None)
        method = getattr(type(item), "__call__", None)  # noqa: B004
        if isinstance(method, types.FunctionType):
            yield path, method


def _empty(item: Any) -> bool:
    """Whether there is nothing to look at: most of what a module of PyTorch has are empty dicts."""
    return item is None or (type(item) in _CONTAINERS and not item)


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
    for name in dict.fromkeys(_global_names(code)):
        if name in function.__globals__:
            yield name, function.__globals__[name]


def _global_names(code: types.CodeType) -> Iterable[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _global_names(constant)


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
