"""A stand-in for CuPy, backed by NumPy, whose raw kernels run on the CPU.

``with installed() as cupy:`` puts it into ``sys.modules`` for a while. Only names that CuPy has are
here, and of those only what generated modules may use; an unknown name says so. Stricter than
CuPy on purpose: uninitialised memory is NaN, and a launch checks its arguments (launcher.py).
"""

from __future__ import annotations

import contextlib
import math
import sys
import types
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np

from tests.cuda_shim import launcher
from tests.cuda_shim.compiler import CompiledSource, CompileFailure, compile_batch
from tests.cuda_shim.fake_ndarray import ndarray, on_device, poisoned, unwrap, wrap

__all__ = ["RawKernel", "RawModule", "compile_pending", "installed", "module"]

SAME_AS_NUMPY = """
    abs absolute add all allclose amax amin any arange arccos arccosh arcsin arcsinh arctan arctan2
    arctanh argmax argmin argsort array_equal ascontiguousarray asfortranarray atleast_1d
    atleast_2d broadcast_to cbrt ceil clip column_stack concatenate copysign copyto cos cosh
    count_nonzero cumprod cumsum diag diagonal divide dot dsplit einsum equal exp exp2 expand_dims
    expm1 eye flip floor full full_like greater greater_equal hsplit hstack hypot identity inner
    isclose isfinite isinf isnan kron less less_equal linspace log log10 log1p log2 logical_and
    logical_not logical_or matmul max maximum mean min minimum mod moveaxis multiply nan_to_num
    negative not_equal ones ones_like outer power prod ravel reciprocal repeat reshape rint roll
    rollaxis sign sin sinh sort split sqrt square squeeze stack std subtract sum swapaxes take
    take_along_axis tan tanh tensordot tile trace transpose tril triu true_divide trunc var vdot
    vstack where zeros zeros_like may_share_memory shares_memory
"""
SAME_OBJECTS = """
    bool_ complex64 complex128 dtype e euler_gamma finfo float16 float32 float64 iinfo inf int8
    int16 int32 int64 nan newaxis pi uint8 uint16 uint32 uint64 issubdtype floating integer
    promote_types result_type can_cast
"""


class CompileException(Exception):
    """As cupy.cuda.compiler.CompileException: the source was refused; the text is the log."""


class CUDADriverError(RuntimeError):
    """As cupy.cuda.driver.CUDADriverError."""


def _solve(a: Any, b: Any) -> Any:
    if a.shape[:-1] != b.shape[:-1]:  # CuPy does not broadcast
        raise ValueError("a must have (..., M, M) shape and b must have (..., M) or (..., M, K)")
    return np.linalg.solve(a, b)


class RawModule:
    """As ``cupy.RawModule``: compiled when the first kernel is asked for.

    Modules that were made but not yet compiled can share one call of g++ (``compile_pending``).
    """

    pending: ClassVar[weakref.WeakSet[RawModule]] = weakref.WeakSet()
    checked = True

    def __init__(
        self,
        *,
        code: str,
        options: tuple[str, ...] = (),
        backend: str = "nvrtc",
        translate_cucomplex: bool = False,
        enable_cooperative_groups: bool = False,
        name_expressions: Sequence[str] | None = None,
        jitify: bool = False,
    ) -> None:
        if not isinstance(code, str) or not isinstance(options, tuple):
            raise TypeError("code must be a str and options a tuple of str")
        if backend not in ("nvrtc", "nvcc"):
            raise ValueError(f"Invalid backend: {backend}")
        if translate_cucomplex or enable_cooperative_groups or name_expressions or jitify:
            raise NotImplementedError(
                "the test bench has plain kernels only: no templates, complex numbers, "
                "cooperative groups or jitify"
            )
        self.code, self.options, self.backend = code, options, backend
        self._compiled: CompiledSource | None = None
        self.pending.add(self)

    def compile(self) -> None:
        """Compile now; raises CompileException with the compiler's log."""
        _compile([self])

    def get_function(self, name: str) -> RawKernel:
        """The kernel of this name."""
        return RawKernel(self.code, name, self.options, module=self)

    @property
    def compiled(self) -> CompiledSource:
        """The compiled source, compiled on first use."""
        if self._compiled is None:
            self.compile()
            assert self._compiled is not None
        return self._compiled


class RawKernel:
    """As ``cupy.RawKernel``: call it with grid, block and a tuple of arguments."""

    def __init__(
        self,
        code: str,
        name: str,
        options: tuple[str, ...] = (),
        backend: str = "nvrtc",
        *,
        module: RawModule | None = None,
        **flags: Any,
    ) -> None:
        self.name = self.__name__ = name
        self.max_dynamic_shared_size_bytes = launcher.STATIC_SHARED_LIMIT
        self._module = module or RawModule(code=code, options=options, backend=backend, **flags)
        if module is not None:
            self.compile()

    def compile(self) -> None:
        """Compile now; raises CompileException, or CUDADriverError if there is no such kernel."""
        if self.name not in self._module.compiled.kernels:
            raise CUDADriverError(
                f"CUDA_ERROR_NOT_FOUND: named symbol not found ({self.name!r}; the source has "
                f"{', '.join(self._module.compiled.kernels)})"
            )

    def __call__(self, grid: Any, block: Any, args: Any, *, shared_mem: int = 0) -> None:
        self.compile()
        source = self._module.compiled
        limit = min(self.max_dynamic_shared_size_bytes, launcher.SHARED_LIMIT_SM90)
        hosts = tuple(
            value._host if isinstance(value, ndarray) else _scalar(value) for value in args
        )
        launcher.launch(
            source, source.kernels[self.name], grid, block, hosts, shared_mem, limit
        )  # fmt: skip


def _scalar(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        raise TypeError("Unsupported type <class 'numpy.ndarray'>: a kernel takes device arrays")
    return value


def _compile(modules: Sequence[RawModule]) -> None:
    groups: dict[tuple[str, ...], list[RawModule]] = {}
    for one in modules:
        groups.setdefault(one.options, []).append(one)
    for options, group in groups.items():
        try:
            done = compile_batch([m.code for m in group], options, checked=RawModule.checked)
        except CompileFailure as failure:
            raise CompileException(str(failure)) from None
        for one, compiled in zip(group, done, strict=True):
            one._compiled = compiled
            RawModule.pending.discard(one)


def compile_pending() -> int:
    """Compile every RawModule made so far by one call of g++; how many there were."""
    waiting = [one for one in RawModule.pending if one._compiled is None]
    _compile(waiting)
    return len(waiting)


def _array(values: Any, dtype: Any = None, *, copy: bool = True, order: Any = "K") -> Any:
    hosts = values._host if isinstance(values, ndarray) else values
    if isinstance(values, list | tuple) and any(isinstance(item, ndarray) for item in values):
        hosts = unwrap(values)
    moved = not isinstance(values, ndarray) or copy
    make: Any = np.array if moved else np.asarray
    return wrap(make(hosts, dtype=dtype, order=order))


def _asarray(values: Any, dtype: Any = None, order: Any = "K") -> Any:
    return _array(values, dtype, copy=False, order=order)


def _empty(shape: Any, dtype: Any = float) -> Any:
    return wrap(poisoned(shape, dtype))


def _empty_like(prototype: ndarray, dtype: Any = None, shape: Any = None) -> Any:
    host = unwrap(prototype)
    return wrap(poisoned(host.shape if shape is None else shape, dtype or host.dtype))


def _asnumpy(values: Any) -> np.ndarray:
    return values.get() if isinstance(values, ndarray) else np.asarray(values)


def _dot(a: Any, b: Any, out: Any = None) -> Any:
    """As NumPy's, with CuPy's two demands on ``out``."""
    if out is not None:
        if np.result_type(unwrap(a), unwrap(b)) != out.dtype:
            raise ValueError("Not supported dtype combination.")
        if not out.flags.c_contiguous:
            raise ValueError("Output array must be C-contiguous")
    return on_device(np.dot)(a, b, **({} if out is None else {"out": out}))


def _unknown(name: str) -> Callable[[str], Any]:
    def look_up(attribute: str) -> Any:
        raise AttributeError(f"the stand-in for {name} has no {attribute!r}")

    return look_up


class _Context:
    """A device or stream: enters, leaves and synchronises without doing anything."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.id = self.ptr = 0
        self.compute_capability = "90"
        self.done = True

    def __enter__(self) -> _Context:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def use(self) -> _Context:
        return self

    def synchronize(self) -> None:
        return None

    def record(self, _: Any = None) -> None:
        return None


def _make_module() -> types.ModuleType:
    cupy = types.ModuleType("cupy", __doc__)
    names: dict[str, Any] = {name: on_device(getattr(np, name)) for name in SAME_AS_NUMPY.split()}
    names |= {name: getattr(np, name) for name in SAME_OBJECTS.split()}
    names |= {
        "__version__": "14.0.0+cpu",
        "ndarray": ndarray,
        "array": _array,
        "asarray": _asarray,
        "asnumpy": _asnumpy,
        "empty": _empty,
        "empty_like": _empty_like,
        "dot": _dot,
        "get_array_module": lambda *a: cupy if any(isinstance(x, ndarray) for x in a) else np,
        "RawModule": RawModule,
        "RawKernel": RawKernel,
    }
    names["linalg"] = types.SimpleNamespace(norm=on_device(np.linalg.norm), solve=on_device(_solve))
    names["testing"] = types.SimpleNamespace(
        assert_allclose=lambda a, b, **k: np.testing.assert_allclose(_asnumpy(a), _asnumpy(b), **k)
    )
    cuda = types.ModuleType("cupy.cuda")
    stream = _Context()
    runtime = types.SimpleNamespace(
        getDeviceCount=lambda: 1,
        getDevice=lambda: 0,
        setDevice=lambda _: None,
        deviceSynchronize=lambda: None,
        getDeviceProperties=lambda _: {"name": b"cuda_on_cpu", "multiProcessorCount": 132},
    )
    for name, value in {
        "Device": _Context,
        "Stream": _Context,
        "Event": _Context,
        "get_current_stream": lambda *_: stream,
        "is_available": lambda: True,
        "runtime": runtime,
        "compiler": types.SimpleNamespace(CompileException=CompileException),
        "driver": types.SimpleNamespace(CUDADriverError=CUDADriverError),
        "__getattr__": _unknown("cupy.cuda"),
    }.items():
        setattr(cuda, name, value)
    names |= {"cuda": cuda, "__getattr__": _unknown("cupy")}
    for name, value in names.items():
        setattr(cupy, name, value)
    return cupy


module = _make_module()


def _on_floats(function: Callable[[float], float]) -> Any:
    every = np.frompyfunc(function, 1, 1)
    return on_device(lambda x: np.asarray(every(x), dtype=x.dtype))


def _make_cupyx() -> Any:
    cupyx, scipy, special = (
        types.ModuleType(n) for n in ("cupyx", "cupyx.scipy", "cupyx.scipy.special")
    )
    cupyx.scipy, scipy.special = scipy, special  # type: ignore[attr-defined]
    special.erf, special.erfc = _on_floats(math.erf), _on_floats(math.erfc)  # type: ignore[attr-defined]
    return cupyx


_CUPYX = _make_cupyx()


@contextlib.contextmanager
def installed(*, checked: bool = True, reverse: bool = False) -> Iterator[types.ModuleType]:
    """Make ``import cupy`` find the stand-in.

    Parameters
    ----------
    checked
        Watch every load and store of a kernel; off is faster, for long runs.
    reverse
        Run blocks and threads from the last to the first.
    """
    standing = {"cupy": module, "cupy.cuda": module.cuda, "cupyx": _CUPYX}
    standing |= {"cupyx.scipy": _CUPYX.scipy, "cupyx.scipy.special": _CUPYX.scipy.special}
    hidden = {name: sys.modules.get(name) for name in standing}
    before = RawModule.checked, launcher.schedule.reverse
    sys.modules.update(standing)
    RawModule.checked, launcher.schedule.reverse = checked, reverse
    try:
        yield module
    finally:
        RawModule.checked, launcher.schedule.reverse = before
        for name, value in hidden.items():
            if value is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = value
