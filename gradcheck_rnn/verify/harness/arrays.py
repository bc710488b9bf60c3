"""Arrays of other libraries and other precisions: in by the array API or DLPack, out as NumPy."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...checks import shown
from ...errors import UsageError
from ..trees import plain

__all__ = ["PRECISIONS", "Precision", "make_arrays", "precision", "to_numpy"]

Array = NDArray[Any]


@dataclass(frozen=True)
class Precision:
    """A number format.

    ``eps`` is its unit in the last place, ``least`` its smallest positive number, ``holder`` the
    NumPy dtype that holds its numbers, ``bits`` those of its mantissa.
    """

    name: str
    eps: float
    least: float
    holder: type[np.floating]
    bits: int

    def quantise(self, x: Array) -> Array:
        """The nearest numbers of the format (ties to even), as float64."""
        if self.holder is np.float64:
            return np.asarray(x, dtype=np.float64)
        with np.errstate(over="ignore"):
            held = np.asarray(x).astype(self.holder)
        if self.name in ("bfloat16", "tf32"):
            drop = 23 - self.bits
            raw = held.astype(np.float32).view(np.uint32)
            odd = (raw >> np.uint32(drop)) & np.uint32(1)
            raw = raw + (np.uint32((1 << (drop - 1)) - 1) + odd)
            held = (raw & np.uint32(0xFFFFFFFF << drop & 0xFFFFFFFF)).view(np.float32)
        return held.astype(np.float64)


PRECISIONS = {
    p.name: p
    for p in (
        Precision("float64", 2.0**-52, 2.0**-1074, np.float64, 52),
        Precision("float32", 2.0**-23, 2.0**-149, np.float32, 23),
        Precision("tf32", 2.0**-10, 2.0**-136, np.float32, 10),
        Precision("float16", 2.0**-10, 2.0**-24, np.float16, 10),
        Precision("bfloat16", 2.0**-7, 2.0**-133, np.float32, 7),
    )
}


def precision(name: Any) -> Precision:
    """The format of that name (or NumPy dtype).

    Raises
    ------
    UsageError
        There is none.
    """
    try:
        text = name if isinstance(name, str) else np.dtype(name).name
    except TypeError:
        raise UsageError(f"dtype is {shown(name)}; give {', '.join(PRECISIONS)}") from None
    if text not in PRECISIONS:
        raise UsageError(f"unknown precision {text!r}; there are {', '.join(PRECISIONS)}")
    return PRECISIONS[text]


def make_arrays(library: str | Callable[[Array], Any], form: Precision) -> Callable[[Array], Any]:
    """A function from NumPy arrays to the arrays that the user's code takes.

    Whole numbers and bits (labels, masks) keep their dtype.

    Parameters
    ----------
    library : {"numpy", "torch", "cupy", "jax"} or callable
        A callable gets a NumPy array in the holder dtype of the format.

    Raises
    ------
    UsageError
        A library that is not there, or a format it does not have.
    """
    floats = _make_floats(library, form)
    if callable(library):
        whole = library
    elif library == "numpy":
        return lambda x: x if x.dtype.kind in "biu" else floats(x)
    else:
        module = importlib.import_module("jax.numpy" if library == "jax" else library)
        whole = module.from_numpy if library == "torch" else module.asarray

    def make(x: Any) -> Any:
        x = np.asarray(x)  # a value without axes comes as a number
        return whole(x) if x.dtype.kind in "biu" else floats(x)

    return make


def _make_floats(library: str | Callable[[Array], Any], form: Precision) -> Callable[[Array], Any]:
    if callable(library):
        make = library
        return lambda x: make(x.astype(form.holder))
    if library == "numpy":
        if form.name == "bfloat16":
            return _numpy_bfloat16()
        return lambda x: x.astype(form.holder)
    modules = {"torch": "torch", "cupy": "cupy", "jax": "jax.numpy"}
    if library not in modules:
        raise UsageError(f"array={library!r} is unknown; there are numpy, {', '.join(modules)}")
    try:
        module = importlib.import_module(modules[library])
    except ImportError:
        raise UsageError(f"array={library!r}: the library {library} is not installed") from None
    if library == "torch":
        wanted = getattr(module, "float32" if form.name == "tf32" else form.name)
        return lambda x: module.from_numpy(x.astype(form.holder)).to(wanted)
    if form.name == "bfloat16" and library == "cupy":
        raise UsageError("CuPy has no bfloat16; give a function that makes the arrays")
    if library == "jax" and form.name == "bfloat16":
        return lambda x: module.asarray(x.astype(form.holder), dtype=module.bfloat16)
    return lambda x: module.asarray(x.astype(form.holder))


def _numpy_bfloat16() -> Callable[[Array], Any]:
    """NumPy knows bfloat16 from ml_dtypes, which JAX and TensorFlow bring."""
    try:
        held = importlib.import_module("ml_dtypes").bfloat16
    except ImportError:
        raise UsageError(
            "NumPy has no bfloat16; install ml_dtypes, or give array='torch', or a function that "
            "makes the arrays"
        ) from None
    return lambda x: x.astype(np.float32).astype(held)


def to_numpy(x: Any) -> Array:
    """A private NumPy copy of an array of any library, float64 where NumPy lacks its dtype."""
    if isinstance(x, np.ndarray | np.generic | float | int):
        return np.array(plain(x))
    if hasattr(x, "detach"):  # PyTorch: leave the graph and the device
        x = x.detach().cpu()
        if "bfloat16" in str(x.dtype):
            x = x.float()
    elif hasattr(x, "get") and hasattr(x, "__cuda_array_interface__"):
        return np.array(x.get())
    if hasattr(x, "__dlpack__"):
        try:
            return np.array(np.from_dlpack(x))
        except (TypeError, ValueError, RuntimeError, BufferError):
            pass  # a device or dtype that DLPack does not carry to the CPU
    if str(getattr(x, "dtype", "")) == "bfloat16":
        x = x.astype("float32")
    return np.array(x)
