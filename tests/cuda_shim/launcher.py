"""Launching a compiled kernel on arrays in host memory, with every argument checked.

Real CuPy passes whatever it is given: an array's pointer whatever its dtype and strides, a Python
number as eight bytes. On hardware the mistake is silent; here it is an error that names it.
"""

from __future__ import annotations

import ctypes
import operator
from typing import Any

import numpy as np

from tests.cuda_shim.compiler import CompiledKernel, CompiledSource, runtime
from tests.cuda_shim.errors import ShimError

__all__ = ["launch", "schedule"]

MAX_THREADS = 1024
MAX_BLOCK = (1024, 1024, 64)
MAX_GRID = (2**31 - 1, 65535, 65535)
STATIC_SHARED_LIMIT = 48 * 1024
SHARED_LIMIT_SM90 = 227 * 1024


class _Schedule:
    """The order in which threads and blocks run; a right kernel gives the same in both."""

    reverse = False


schedule = _Schedule()


class _Dim3(ctypes.Structure):
    _fields_ = [(axis, ctypes.c_uint) for axis in "xyz"]


class _Argument(ctypes.Structure):  # mirrors Argument in runtime.cpp
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("data", ctypes.c_void_p),
        ("bytes", ctypes.c_size_t),
        ("grain", ctypes.c_size_t),
        ("pointer", ctypes.c_int),
        ("constant", ctypes.c_int),
    ]


class _Launch(ctypes.Structure):  # mirrors Launch in runtime.cpp
    _fields_ = [
        ("call", ctypes.c_void_p),
        ("kernel", ctypes.c_char_p),
        ("grid", _Dim3),
        ("block", _Dim3),
        ("arguments", ctypes.c_int),
        ("argument", ctypes.POINTER(_Argument)),
        ("shared_begin", ctypes.c_void_p),
        ("shared_end", ctypes.c_void_p),
        ("dynamic_shared", ctypes.c_size_t),
        ("fibers", ctypes.c_int),
        ("reverse", ctypes.c_int),
        ("flush_denormals", ctypes.c_int),
    ]


def launch(
    source: CompiledSource,
    kernel: CompiledKernel,
    grid: tuple[int, ...],
    block: tuple[int, ...],
    args: tuple[Any, ...],
    shared_mem: int = 0,
    shared_limit: int = STATIC_SHARED_LIMIT,
) -> None:
    """Run ``kernel`` over ``grid`` blocks of ``block`` threads; arrays are changed in place.

    Parameters
    ----------
    args
        One NumPy array (C-contiguous, of the declared dtype) for each pointer, one NumPy scalar
        of the declared type for each value.

    Raises
    ------
    ShimError
        If an argument does not fit its declaration, a limit of CUDA (sm_90) is exceeded, or the
        kernel itself is at fault: a race, a stray index, a barrier that not all threads reach.
    """
    who = f"kernel {kernel.name}"
    grid3 = _dimensions(who, "grid", grid, MAX_GRID)
    block3 = _dimensions(who, "block", block, MAX_BLOCK)
    if np.prod(block3) > MAX_THREADS:
        raise ShimError(f"{who}: block {block} has more than {MAX_THREADS} threads")
    if not 0 <= shared_mem <= shared_limit:
        raise ShimError(f"{who}: {shared_mem} bytes of dynamic shared memory, limit {shared_limit}")
    if len(args) != len(kernel.parameters):
        raise ShimError(
            f"{who} takes {len(kernel.parameters)} arguments "
            f"({', '.join(name for _, _, name in kernel.parameters)}), {len(args)} given"
        )
    for value, (kind, code, name) in zip(args, kernel.parameters, strict=True):
        _check(f"{who}: argument {name!r}", value, kind, np.dtype(code))
    if source.restrict:
        _check_aliases(who, kernel, args)
    table, alive = _table(kernel, args)
    request = _Launch(
        call=kernel.call,
        kernel=kernel.name.encode(),
        grid=_Dim3(*grid3),
        block=_Dim3(*block3),
        arguments=len(args),
        argument=table,
        shared_begin=source.shared_section[0],
        shared_end=source.shared_section[1],
        dynamic_shared=shared_mem,
        fibers=source.fibers,
        reverse=schedule.reverse,
        flush_denormals=source.single_precision,
    )
    fault = runtime().shim_launch(ctypes.byref(request))
    del alive
    if fault is not None:
        raise ShimError(f"{who}: {fault.decode()}")


def _table(kernel: CompiledKernel, args: tuple[Any, ...]) -> tuple[Any, list[Any]]:
    """The arguments for the runtime, and what has to stay alive until it returns."""
    table = (_Argument * max(1, len(args)))()
    alive: list[Any] = []
    for entry, value, (kind, code, name) in zip(table, args, kernel.parameters, strict=False):
        data = value if kind != "v" else np.array(value)
        alive.append(data)
        entry.name = name.encode()
        entry.data = data.ctypes.data if data.size else None
        entry.bytes = data.nbytes
        entry.grain = np.dtype(code).itemsize
        entry.pointer = kind != "v"
        entry.constant = kind == "c"
    return table, alive


def _dimensions(
    who: str, what: str, given: tuple[int, ...], limits: tuple[int, int, int]
) -> tuple[int, ...]:
    if not isinstance(given, tuple) or not 1 <= len(given) <= 3:
        raise ShimError(f"{who}: {what} must be a tuple of one to three ints, not {given!r}")
    try:
        sizes = tuple(operator.index(size) for size in given)
    except TypeError:
        raise ShimError(f"{who}: {what} {given!r} holds something that is not an int") from None
    for size, limit in zip(sizes, limits, strict=False):
        if not 1 <= size <= limit:
            raise ShimError(f"{who}: {what} {given!r} is outside 1 to {limits}")
    return (*sizes, 1, 1)[:3]


def _check(what: str, value: Any, kind: str, declared: np.dtype[Any]) -> None:
    if kind == "v":
        if not isinstance(value, np.generic):
            raise ShimError(
                f"{what} is a Python {type(value).__name__}; CuPy would pass eight bytes whatever "
                f"the kernel declares: pass numpy.{declared.name}"
            )
        if value.dtype != declared:
            raise ShimError(f"{what} is {value.dtype}, the kernel declares {declared}")
        return
    if not isinstance(value, np.ndarray):
        raise ShimError(f"{what} must be an array on the device, not {type(value).__name__}")
    if value.dtype != declared:
        raise ShimError(f"{what} is an array of {value.dtype}, the kernel declares {declared}")
    if not value.flags.c_contiguous:
        raise ShimError(
            f"{what} has shape {value.shape} and strides {value.strides}: it is not C-contiguous, "
            f"and a kernel sees only its pointer"
        )


def _check_aliases(who: str, kernel: CompiledKernel, args: tuple[Any, ...]) -> None:
    """Arrays that a kernel with __restrict__ writes must not overlap any other argument."""
    arrays = [
        (name, value, kind)
        for value, (kind, _, name) in zip(args, kernel.parameters, strict=True)
        if kind != "v"
    ]
    for i, (first, a, kind_a) in enumerate(arrays):
        for second, b, kind_b in arrays[i + 1 :]:
            if "p" in (kind_a, kind_b) and np.may_share_memory(a, b):
                raise ShimError(
                    f"{who}: arguments {first!r} and {second!r} overlap, one is written, and the "
                    f"source promises by __restrict__ that they do not"
                )
