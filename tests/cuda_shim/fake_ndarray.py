"""The stand-in's array: NumPy underneath, CuPy's manners on top.

A plain wrapper, not a subclass, so that nothing slips through: mixing with a NumPy array raises
TypeError, as CuPy does, reductions and items stay zero-dimensional arrays, and there is no implicit
conversion back (``.get()`` or ``cupy.asnumpy``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["ndarray", "on_device", "unwrap", "wrap"]

# Attributes and methods that behave as NumPy's do once arguments and results are (un)wrapped.
PLAIN = (
    "all any argmax argmin astype clip conj copy cumprod cumsum diagonal dot fill flatten item max "
    "mean min prod ravel repeat reshape round squeeze std sum swapaxes take tolist transpose var "
    "T base real imag dtype shape ndim size itemsize nbytes strides flags"
)
BINARY = (
    "add sub mul truediv floordiv mod pow matmul and or xor lshift rshift "
    "radd rsub rmul rtruediv rfloordiv rmod rpow rmatmul rand ror rxor lt le gt ge eq ne divmod"
)
IN_PLACE = "iadd isub imul itruediv ifloordiv imod ipow imatmul iand ior ixor"
UNARY = "neg pos abs invert"


class ndarray:
    """An array "on the device"; make one with the functions of the module."""

    __slots__ = ("__weakref__", "_host")
    __hash__ = None  # type: ignore[assignment]
    __array_priority__ = 100

    def __init__(self, shape: Any, dtype: Any = float, *, host: np.ndarray | None = None) -> None:
        self._host = poisoned(shape, dtype) if host is None else host

    def get(self) -> np.ndarray:
        """A copy in host memory, as a NumPy array."""
        return self._host.copy()

    def set(self, values: np.ndarray) -> None:
        """Copy a NumPy array of the same shape and dtype to the device."""
        if values.dtype != self._host.dtype or values.shape != self._host.shape:
            raise ValueError(f"cannot set {self!r} from {values.dtype} {values.shape}")
        self._host[...] = values

    @property
    def data(self) -> Any:
        raise NotImplementedError("device pointers do not exist on the test bench")

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. "
            "Please use `.get()` to construct a NumPy array explicitly."
        )

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return wrap(getattr(ufunc, method)(*map(unwrap, inputs), **unwrap(kwargs)))

    def __getitem__(self, index: Any) -> Any:
        index = unwrap(index)
        found = self._host[index]
        if isinstance(found, np.generic):  # an item is a zero-dimensional view, not a scalar
            index = index if isinstance(index, tuple) else (index,)
            found = self._host[(*index, ...)]
        return wrap(found)

    def __setitem__(self, index: Any, value: Any) -> None:
        self._host[unwrap(index)] = unwrap(value)

    def __len__(self) -> int:
        return len(self._host)

    def __iter__(self) -> Any:
        return (self[i] for i in range(len(self)))

    def __bool__(self) -> bool:
        return bool(self._host)

    def __int__(self) -> int:
        return int(self._host)

    def __float__(self) -> float:
        return float(self._host)

    def __index__(self) -> int:
        return self._host.__index__()

    def __repr__(self) -> str:
        return repr(self._host)


def poisoned(shape: Any, dtype: Any) -> np.ndarray:
    """Uninitialised memory that shows: every byte 0xff, which is NaN in every float."""
    out = np.empty(shape, dtype)
    if out.dtype == bool:
        out.fill(True)
    else:
        out.reshape(-1).view(np.uint8).fill(0xFF)
    return out


def wrap(value: Any) -> Any:
    """Arrays and scalars of NumPy, also inside tuples and lists, as arrays on the device."""
    if isinstance(value, np.ndarray):
        return ndarray(None, host=value)
    if isinstance(value, np.generic):
        return ndarray(None, host=np.asarray(value))
    if isinstance(value, tuple | list):
        return type(value)(wrap(item) for item in value)
    return value


def unwrap(value: Any) -> Any:
    """The reverse; a NumPy array with elements is refused, as CuPy refuses it."""
    if isinstance(value, ndarray):
        return value._host
    if isinstance(value, np.ndarray):
        raise TypeError("Unsupported type <class 'numpy.ndarray'>: use cupy.asarray")
    if isinstance(value, tuple | list):
        return type(value)(unwrap(item) for item in value)
    if isinstance(value, dict):
        return {name: unwrap(item) for name, item in value.items()}
    return value


def on_device(function: Callable[..., Any]) -> Callable[..., Any]:
    """A NumPy function as a function of the stand-in."""

    def call(*args: Any, **kwargs: Any) -> Any:
        result = wrap(function(*unwrap(args), **unwrap(kwargs)))
        out = kwargs.get("out")
        return out if isinstance(out, ndarray) else result

    call.__name__ = call.__qualname__ = getattr(function, "__name__", "call")
    return call


def _attribute(name: str) -> property:
    def read(self: ndarray) -> Any:
        found = getattr(self._host, name)
        return on_device(found) if callable(found) else found if name == "flags" else wrap(found)

    return property(read)


def _operator(name: str, *, in_place: bool = False) -> Callable[..., Any]:
    dunder = f"__{name}__"

    def apply(self: ndarray, *others: Any) -> Any:
        result = getattr(self._host, dunder)(*map(unwrap, others))
        if result is NotImplemented:
            return NotImplemented
        return self if in_place else wrap(result)

    apply.__name__ = dunder
    return apply


for _name in PLAIN.split():
    setattr(ndarray, _name, _attribute(_name))
for _name in f"{BINARY} {UNARY}".split():
    setattr(ndarray, f"__{_name}__", _operator(_name))
for _name in IN_PLACE.split():
    setattr(ndarray, f"__{_name}__", _operator(_name, in_place=True))
