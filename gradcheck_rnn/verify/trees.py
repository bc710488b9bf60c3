"""Parameters and gradients as named leaves: dicts, tuples, lists, records or one array, nested."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DimensionError, UsageError

__all__ = [
    "Tree",
    "flatten",
    "given_gradients",
    "is_named",
    "is_record",
    "is_scalar",
    "match_gradient",
    "not_scalar",
    "unevaluated",
    "with_fields",
]

Array = NDArray[Any]
_PREFIXES = ("d", "d_", "grad_", "g_", "g")
_SUFFIXES = ("_grad", ".grad", "grad")


def is_scalar(value: Any) -> bool:
    """Whether a value is a real number: a Python or NumPy number, or an array of size one."""
    if isinstance(value, dict | list | tuple | str) or value is None:
        return False
    array = np.asarray(plain(value))
    return array.size == 1 and array.dtype.kind in "fiub"


def unevaluated(value: Any) -> str:
    """Why a value holds no numbers yet, '' if it is none that has to be iterated or awaited."""
    if isinstance(value, Iterator):
        why = "'yield' makes a function one that " if inspect.isgenerator(value) else "it "
        return (
            f"a {type(value).__name__} ({why}computes nothing until it is iterated: return arrays)"
        )
    return "a coroutine (return arrays, without async)" if inspect.iscoroutine(value) else ""


def not_scalar(raw: Any) -> str:
    """What a loss returned instead of a real scalar, and the way out."""
    if lazy := unevaluated(raw):
        return f"{lazy}, not a real scalar"
    if raw is None or isinstance(raw, str | dict):
        return f"{'None' if raw is None else f'a {type(raw).__name__}'}, not a real scalar"
    array = np.asarray(raw)
    if array.size != 1:
        return (
            f"a value of shape {array.shape}, not a real scalar; sum it, or use check_vjp for a "
            f"function with several outputs"
        )
    way = "; take its real part" if array.dtype.kind == "c" else ""
    return f"a value of dtype {array.dtype}, not a real scalar{way}"


def _walk(
    value: Any, name: str, whole: Callable[[str], bool] = lambda _: False
) -> Iterator[tuple[str, Any]]:
    """Names and leaves; a list of numbers under a name that is `whole` is one array."""
    if is_record(value):
        value = {f.name: getattr(value, f.name) for f in fields(value)}
    elif is_named(value):
        value = value._asdict()
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _walk(item, f"{name}.{key}" if name else str(key), whole)
    elif isinstance(value, list | tuple):
        if name and whole(name) and (numbers := _as_numbers(value)) is not None:
            yield name, numbers
            return
        for i, item in enumerate(value):
            yield from _walk(item, f"{name}[{i}]", whole)
    else:
        yield name, value


def _as_numbers(value: Any) -> Array | None:
    """The array that a list of numbers is, at any depth; None where it is none."""
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError):  # ragged, or of another library
        return None
    return array if array.dtype.kind in "fiub" else None


def is_record(value: Any) -> bool:
    """Whether the fields of a value are its parts: a dataclass that is no array nor container."""
    other = isinstance(value, type | Mapping | list | tuple) or hasattr(value, "dtype")
    return is_dataclass(value) and not other


def is_named(value: Any) -> bool:
    """Whether a value is a named tuple, which is one structure as a dict is."""
    return isinstance(value, tuple) and hasattr(value, "_fields") and hasattr(value, "_asdict")


def with_fields(record: Any, part: Callable[[Any], Any]) -> Any:
    """A dataclass with something made of each of its fields, in order; a frozen one, too."""
    made = copy.copy(record)
    for field in fields(record):
        object.__setattr__(made, field.name, part(getattr(record, field.name)))
    return made


def _foreign(value: Any) -> bool:
    """Whether an array is of a format that NumPy knows by extension only, such as bfloat16."""
    if not isinstance(value, np.ndarray | np.generic) or value.dtype.kind != "V":
        return False  # the name is looked up for every leaf of every call, and slow
    return value.dtype.name == "bfloat16"


def plain(value: Any) -> Any:
    """The same numbers where NumPy's own functions can tell what they are.

    In float32 for formats it knows by extension only, off the graph and the device for PyTorch.
    """
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        return value.float() if "bfloat16" in str(value.dtype) else value
    return value.astype(np.float32) if _foreign(value) else value


def _refuse_masked(value: Any, who: str) -> None:
    """Refuse an array with entries that are masked: what is behind the mask is no number of it."""
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise UsageError(f"{who} has masked entries; give its .filled(0) and the mask as data")


def flatten(value: Any) -> list[Any]:
    """Leaves of a nested structure in order."""
    return [leaf for _, leaf in _walk(value, "")]


def _rebuild(template: Any, leaves: Iterator[Array], cast: bool = True) -> Any:
    if is_record(template):
        return with_fields(template, lambda item: _rebuild(item, leaves, cast))
    if isinstance(template, Mapping):
        return {key: _rebuild(item, leaves, cast) for key, item in template.items()}
    if isinstance(template, list | tuple):
        items = [_rebuild(item, leaves, cast) for item in template]
        if isinstance(template, list):
            return items
        return type(template)(*items) if is_named(template) else tuple(items)
    leaf = next(leaves)
    if cast and _foreign(template) and leaf.dtype.kind == "f":
        return leaf.astype(template.dtype)
    # a number stays a number; NumPy scalars behave like one and keep their precision
    return leaf if isinstance(template, np.ndarray) else leaf[()]


@dataclass(frozen=True)
class Tree:
    """Private copies of parameters, with the way back to the caller's structure.

    `names` and `leaves` correspond; `real` marks the leaves that have a gradient (floating point),
    the others are data such as integer tokens and are passed on as they are.
    """

    template: Any
    names: tuple[str, ...]
    leaves: tuple[Array, ...]

    @classmethod
    def of(cls, parameters: Any, what: str = "parameters", *, empty: bool = False) -> Tree:
        """Copy and name the leaves of `parameters`; with `empty` they may all have no entry.

        Raises
        ------
        UsageError
            A leaf is complex, not numeric, or not finite, or nothing is floating point.
        """
        pairs = list(_walk(parameters, ""))
        names, leaves = [], []
        for i, (name, value) in enumerate(pairs):
            label = name or (what if len(pairs) == 1 else f"{what}[{i}]")
            _refuse_masked(value, f"'{label}' in {what}")
            array = np.array(plain(value))
            if array.dtype.kind not in "fiub":
                way = f"has dtype {array.dtype}; give real floating-point arrays"
                lazy = unevaluated(value)
                raise UsageError(f"'{label}' in {what} {f'is {lazy}' if lazy else way}")
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise UsageError(
                    f"'{label}' in {what} is not finite everywhere; check at finite values"
                )
            names.append(label)
            leaves.append(array)
        floats = [leaf for leaf in leaves if leaf.dtype.kind == "f"]
        if not any(leaf.size or empty for leaf in floats):
            why = "hold empty arrays only" if floats else "hold no floating-point array"
            raise UsageError(f"{what} {why}; there is nothing to check")
        return cls(parameters, tuple(names), tuple(leaves))

    @property
    def real(self) -> list[int]:
        """Positions of the leaves that have a gradient."""
        return [i for i, x in enumerate(self.leaves) if x.dtype.kind == "f" and x.size]

    @property
    def unit(self) -> float:
        """Of the coarsest format that the leaves hide, relative; 0 if they show theirs."""
        return 2.0**-7 if any(map(_foreign, flatten(self.template))) else 0.0

    @cached_property
    def _keys(self) -> tuple[Any, ...] | None:
        """Of a flat dict of plain arrays, which is built without a walk."""
        if type(self.template) is not dict:
            return None
        arrays = all(type(x) is np.ndarray and not _foreign(x) for x in self.template.values())
        return tuple(self.template) if arrays else None

    def build(self, leaves: Sequence[Array]) -> Any:
        """The caller's structure around other leaves."""
        if self._keys is not None:
            return dict(zip(self._keys, leaves, strict=True))
        return _rebuild(self.template, iter(leaves))

    @property
    def all_arrays(self) -> bool:
        """Whether the structure holds arrays of NumPy's own formats only, which it is built of."""
        return all(type(x) is np.ndarray and not _foreign(x) for x in flatten(self.template))

    def widened(self) -> Tree:
        """The same point in float64, in the structure of the caller's parameters."""
        leaves = [x.astype(np.float64) if x.dtype.kind == "f" else x for x in self.leaves]
        template = _rebuild(self.template, iter(leaves), cast=False)
        return Tree(template, self.names, tuple(leaves))

    @property
    def _several(self) -> bool:
        """Whether the parameters are one argument each."""
        return isinstance(self.template, list | tuple) and not is_named(self.template)

    @cached_property
    def _spread(self) -> bool:
        """Whether the template is a tuple or list of plain arrays, spread out without a walk."""
        return self._several and all(
            type(x) is np.ndarray and not _foreign(x) for x in self.template
        )

    def arguments(self, leaves: Sequence[Array]) -> tuple[Any, ...]:
        """Positional arguments of a call: a tuple or list of parameters is spread out."""
        if self._spread:
            return tuple(leaves)
        built = self.build(leaves)
        return tuple(built) if self._several else (built,)


def match_gradient(raw: Any, tree: Tree, needed: Sequence[int]) -> dict[int, Any]:
    """Assign what a gradient function returned to the leaves of the parameters.

    Parameters
    ----------
    raw
        A mapping by name (``W``, or ``dW``, ``grad_W``, ``W_grad``), a sequence in the order of
        the parameters, or one array.
    needed
        Positions of the leaves that must have a gradient.

    Raises
    ------
    UsageError
        A gradient is missing, None or for no parameter.
    DimensionError
        Its shape is not that of the parameter.
    """
    found, matched = given_gradients(raw, tree), {}
    empty = [i for i, x in enumerate(tree.leaves) if x.dtype.kind == "f" and not x.size]
    for i in (*needed, *(i for i in empty if found.get(i) is not None)):
        name, value, want = tree.names[i], found.get(i), tree.leaves[i].shape
        if type(value) is np.ndarray and value.dtype.kind == "f" and value.shape == want:
            matched[i] = value
            continue
        if value is None:
            what = "None" if i in found else "missing"
            raise UsageError(
                f"the gradient of '{name}' is {what}; return it or leave '{name}' out with select"
            )
        _refuse_masked(value, f"the gradient of '{name}'")
        shape = np.shape(value)
        if shape != want:
            turned = "; it looks transposed" if shape == want[::-1] else ""
            raise DimensionError(
                f"the gradient of '{name}' has shape {shape}, the parameter {want}{turned}"
            )
        matched[i] = plain(value)
    return {i: matched[i] for i in needed}


def given_gradients(raw: Any, tree: Tree) -> dict[int, Any]:
    """Gradients by position, whatever is there: neither presence nor shapes are checked.

    Raises
    ------
    UsageError
        A name or a number of arrays that fits no parameter.
    """
    plain = type(raw) is tuple and len(raw) == len(tree.names)
    if plain and all(type(x) is np.ndarray for x in raw):
        return dict(enumerate(raw))  # as most are, without a walk
    if isinstance(raw, Mapping) or is_record(raw):
        names = set(tree.names)
        found = _by_name(dict(_walk(raw, "", lambda n: _resolved(n, names) in names)), tree)
    elif raw is None:
        raise UsageError("the gradient function returns None; return the gradients")
    elif lazy := unevaluated(raw):
        raise UsageError(f"what should be gradients is {lazy}")
    else:
        values = [v for _, v in _walk(raw, "")] if isinstance(raw, list | tuple) else [raw]
        positions = list(range(len(tree.names)))
        if len(values) != len(positions):
            positions = tree.real
        if len(values) != len(positions):
            plural = "s" if len(values) != 1 else ""
            raise UsageError(
                f"the gradient has {len(values)} array{plural} for {len(positions)} parameters "
                f"({', '.join(tree.names[i] for i in positions)}); return one for each, in order"
            )
        found = dict(zip(positions, values, strict=True))
    return found


def _by_name(given: dict[str, Any], tree: Tree) -> dict[int, Any]:
    positions = {name: i for i, name in enumerate(tree.names)}
    found: dict[int, Any] = {}
    for name, value in given.items():
        plain = _resolved(name, positions)
        if plain not in positions:
            if value is None:
                continue
            raise UsageError(
                f"the gradient has an entry '{name}' for which there is no parameter; "
                f"parameters are {', '.join(tree.names)}"
            )
        if positions[plain] in found:
            raise UsageError(f"the gradient of '{plain}' is given twice; return it once")
        found[positions[plain]] = value
    return found


def _resolved(name: str, known: Collection[str]) -> str:
    """The parameter that the name of a gradient means (``dW``, ``W_grad``), else the name."""
    if name in known:
        return name
    candidates = [name.removeprefix(p) for p in _PREFIXES if name.startswith(p)]
    candidates += [name.removesuffix(s) for s in _SUFFIXES if name.endswith(s)]
    return next((c for c in candidates if c in known), name)
