"""One guard for all functions under test: exits, state kept between calls, data changed in place.

Every entry point calls the user's functions through `call` and says the same sentences. What a
function can reach besides its arguments (closure, defaults, globals it names, the object it is
bound to) is looked at by checksum before and after a few calls; that it changed is no fault in
itself (workspaces and caches do), that the results change with it is.
"""

from __future__ import annotations

import functools
import random
import sys
import types
import zlib
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..errors import Signalled, UserCodeError
from .outcome import Report
from .verdict import Finding

__all__ = [
    "STATE",
    "WATCHED_CALLS",
    "UserCode",
    "call",
    "changed_argument",
    "changed_cache",
    "changed_cotangents",
    "changed_data",
    "checksum",
    "close",
    "differing",
    "fails_on_misbehaviour",
    "keeps_state",
    "unsteady_loss",
]

Array = NDArray[Any]
P = ParamSpec("P")
R = TypeVar("R", bound=Report)
T = TypeVar("T")

#: What is said of a function whose value depends on earlier calls.
STATE = "keeps state from the last call: reset it"
#: Calls of a function whose arguments are compared afterwards; of later ones, some are.
WATCHED_CALLS = 4
#: Units in the last place that a sum in another order may change a value by.
REORDERED = 2.0**16
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
_NUMBERS = frozenset({int, float, bool, complex})
_NUMBER = (int, float, complex, np.number)
_CONTAINERS = frozenset({dict, OrderedDict, list, tuple, set, frozenset})
_TEXT = (str, bytes, np.generic, type(None))
#: Whose instances are not looked into: ours, and arrays that cannot change.
_CLOSED = {"gradcheck_rnn", "jax", "jaxlib"}


def call(who: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a user's function; its exceptions propagate, but it does not end the process.

    Raises
    ------
    UserCodeError
        It called `sys.exit`, or raised something that is no `Exception`.
    """
    try:
        return function(*args, **kwargs)
    except (Exception, KeyboardInterrupt, Signalled):
        raise
    except SystemExit as left:
        code = "" if left.code is None else repr(left.code)
        raise UserCodeError(f"{who} called sys.exit({code}); it must return", "exits") from None
    except BaseException as raised:  # nothing else here may end the process
        if any(c.__name__ == "OutcomeException" for c in type(raised).__mro__):
            raise  # pytest's own: skip, fail, and the time limit of its plugin
        said = " ".join(f"{type(raised).__name__}: {raised}".split())
        text = f"{who} raised {said.rstrip(': ')}, which is no Exception"
        raise UserCodeError(text, "exits") from raised


def fails_on_misbehaviour(
    made: Callable[[str], R],
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a check: a `UserCodeError` becomes a failing report, made from the title."""

    def decorate(check: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(check)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return check(*args, **kwargs)
            except UserCodeError as error:
                default = check.__name__.replace("check_", "") + " check"
                report = made(str(kwargs.get("title") or default))
                report.findings.append(Finding(error.kind, str(error), fatal=True))
                return report

        return checked

    return decorate


# -- sentences -------------------------------------------------------------------------------------


def changed_argument(who: str, name: str) -> Finding:
    """A function works in place in what it was given."""
    text = f"{who} changes its argument '{name}' in place; it should work on a copy"
    return Finding("mutated-input", text, fatal=True)


def changed_cotangents() -> Finding:
    """As `changed_argument`, of the backward function and what flows into it."""
    text = "backward changes its cotangents in place; it should work on a copy"
    return Finding("mutated-cotangent", text, fatal=True)


def changed_cache(*, fatal: bool = False) -> Finding:
    """A second call of backward with the cache of one forward pass gives something else."""
    text = "backward changes the cache; a second call would differ"
    return Finding("mutated-cache", text, fatal=fatal)


def unsteady_loss(first: Any, again: Any) -> Finding:
    """A loss that gave other values at points where it was called twice."""
    first, again = np.ravel(first), np.ravel(again)
    with np.errstate(all="ignore"):
        at = int(np.argmax(np.abs(first - again)))
    text = (
        f"the loss gave {first[at]:.9g} and then {again[at]:.9g} at one point: most of its calls "
        "agree, some do not. A race, memory that was not initialised, or state kept between calls?"
    )
    return Finding("unsteady-loss", text, fatal=True)


def changed_data(who: str, names: Sequence[str], reader: str) -> UserCodeError:
    """The error for a function that changes data that another one reads and depends on."""
    text = f"{who} changes {_listed(names)} in place, and {reader} then gives another value"
    return UserCodeError(f"{text}; it should work on a copy", "mutated-data")


def keeps_state(who: str, names: Sequence[str]) -> UserCodeError:
    """The error for a function that gives something else when it is called again."""
    where = f" ({_listed(names)})" if names else ""
    return UserCodeError(f"{who} {STATE}{where}", "state")


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{n}'" for n in names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown


# -- what can be reached ---------------------------------------------------------------------------


def close(a: Any, b: Any, eps: float = 0.0, noise: float = 0.0) -> bool:
    """Whether two values, or lists of arrays, agree but for rounding in another order.

    `eps` is the unit of the format they are computed in, where their dtype does not show it;
    `noise` a difference that is allowed in any case.
    """
    if isinstance(a, list | tuple):
        pairs = zip(a, b, strict=False)
        return len(a) == len(b) and all(close(x, y, eps, noise) for x, y in pairs)
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape or np.array_equal(a, b, equal_nan=a.dtype.kind in "fc"):
        return a.shape == b.shape
    if a.dtype.kind not in "fc" or b.dtype.kind not in "fc":
        return False
    unit = max(float(np.finfo(a.dtype).eps), float(np.finfo(b.dtype).eps), eps)
    with np.errstate(all="ignore"):
        gap, size = np.linalg.norm((a - b).ravel()), np.linalg.norm(a.ravel())
    return bool(gap <= max(min(REORDERED * unit, 0.1) * size, np.nan_to_num(noise)))


class UserCode:
    """The functions under test: how each is called, and what it does besides its work.

    What a check asks of them (a loss and its gradient at a point, outputs and pulled-back
    cotangents, a model in a layout) is a subclass; that a call cannot end the process, that
    arguments, cotangents and caches stay as they were, and that no result depends on earlier calls
    is looked at here.

    Attributes
    ----------
    findings : list of Finding
        What they did besides, each once.
    """

    def __init__(self, *functions: Any) -> None:
        self.functions = [f for f in functions if f is not None]
        self.findings: list[Finding] = []

    def note(self, finding: Finding) -> None:
        """Note a finding once."""
        if finding not in self.findings:
            self.findings.append(finding)

    def look(self) -> dict[str, Any]:
        """Checksums of the data that can be reached besides the arguments, by name.

        The names are those of the author: ``D``, ``self.h``, ``model.layers[0].W``.
        """
        seen: set[int] = set()
        found: dict[str, Any] = {}
        for function in self.functions:
            found |= checksum(function, seen=seen)
        found |= _generators()
        return found

    def watched(self, run: Callable[[], T], *, watch: bool = True) -> tuple[T, list[str]]:
        """What a call gives, and the names of the data that it changed.

        Empty if random numbers were drawn: what differs then is noise, not state.
        """
        if not watch:
            return run(), []
        before = self.look()
        found = run()
        return found, differing(before, self.look())

    def unchanged(
        self, who: str, names: Iterable[str], given: Iterable[Array], before: Iterable[Array]
    ) -> bool:
        """Whether arguments hold what they held; those that do not are noted."""
        changed = [
            n for n, a, b in zip(names, given, before, strict=True) if not np.array_equal(a, b)
        ]
        for name in changed:
            self.note(changed_argument(who, name))
        return not changed

    @staticmethod
    def check_data(
        who: str, names: Sequence[str], reader: str, run: Callable[[], T], first: T, eps: float
    ) -> None:
        """Fail `who`, which changed data, if `reader` gives another value ever since.

        Raises
        ------
        UserCodeError
            It does, and keeps to it: what differs from call to call is noise.
        """
        now = run()
        if not close(now, first, eps) and close(now, run(), eps):
            raise changed_data(who, names, reader)

    @staticmethod
    def check_state(
        who: str,
        names: Sequence[str],
        run: Callable[[], T],
        first: T,
        same: Callable[[T, T], bool],
    ) -> None:
        """Fail `who`, which changed data, if no two of three calls give the same.

        Raises
        ------
        UserCodeError
            They do not.
        """
        second, third = run(), run()
        if not same(first, second) and not same(second, third):
            raise keeps_state(who, names)

    def check_cache(self, run: Callable[[], T], first: T, same: Callable[[T, T], bool]) -> None:
        """Note a changed cache where a second backward pass with it gives something else.

        Its arrays may be workspaces that every call fills anew.
        """
        try:
            kept = same(first, run())
        except Exception:  # whatever a destroyed cache makes of it
            kept = False
        if not kept:
            self.note(changed_cache())


def differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Names of what differs between two looks; empty if random numbers were drawn."""
    names = [n for n in {**before, **now} if before.get(n) != now.get(n)]
    return [] if any(n.startswith("random ") for n in names) else names


def _generators() -> dict[str, Any]:
    """The states of the global random number generators."""
    kind, keys, at, *rest = np.random.get_state()  # noqa: NPY002
    found: dict[str, Any] = {
        "random numpy": (kind, zlib.crc32(np.asarray(keys).tobytes()), at, *rest),
        "random python": hash(random.getstate()),
    }
    if "torch" in sys.modules:
        torch = sys.modules["torch"]
        state = getattr(getattr(torch, "random", None), "get_rng_state", None)
        if state is not None:
            found["random torch"] = zlib.crc32(state().numpy().tobytes())
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
        kind = type(item)
        if kind in _NUMBERS or isinstance(item, _NUMBER):
            found[path] = repr(item)
            continue
        if isinstance(item, _TEXT) or id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, np.ndarray):
            if item.dtype.kind != "O":
                found[path] = _of_array(item)
        elif _is_tensor(item):
            found[path] = _of_tensor(item)
        elif isinstance(item, np.random.Generator | np.random.RandomState):
            found[f"random {path}"] = _of_generator(item)
        elif depth < DEEPEST:
            todo += [(n, x, depth + 1) for n, x in _inside(path, item)]
    return found


def _of_array(array: Array) -> tuple[Any, ...]:
    return array.shape, array.dtype.str, zlib.crc32(np.ascontiguousarray(array).tobytes())


def _is_tensor(item: Any) -> bool:
    return _root(type(item)) == "torch" and hasattr(item, "untyped_storage")


def _of_tensor(tensor: Any) -> Any:
    try:
        held = tensor.detach().cpu().contiguous()
        own = tuple(held.shape), str(held.dtype), zlib.crc32(_bytes(held))
        grad = tensor.grad if tensor.is_leaf else None
        return own if grad is None else (own, _of_tensor(grad))
    except (RuntimeError, NotImplementedError, TypeError):  # sparse, quantised, without storage
        return None


def _bytes(tensor: Any) -> bytes:
    torch = sys.modules["torch"]
    return bytes(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())


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
