"""The fixed part of a CuPy module: checks of arguments, launches of kernels."""

from __future__ import annotations

from ..template import check

__all__ = ["CHECK", "LAUNCH"]

CHECK = check(
    "cp",
    "Arrays on the device, contiguous, of one dtype; raises ValueError on what does not fit.",
    '''\
    dtype = np.result_type(*({a.dtype for a in arrays.values() if a.dtype.kind in "fc"} or {float}))
    if dtype.name not in REAL:
        raise TypeError(f"arrays must be float32 or float64, not {dtype}")
    return {n: cp.asarray(a, dtype, order="C") for n, a in arrays.items()}, dtype


def _check_cotangents(
    given: Mapping[str, Any], shapes: dict[str, tuple[int, ...]], dtype: np.dtype[Any]
) -> dict[str, Array]:
    """A cotangent for every output, zeros where none is given; raises ValueError on misfits."""
    for name in given:
        if name not in shapes:
            raise ValueError(f"there is no output {name!r}; there are {', '.join(shapes)}")
    out = {}
    for name, shape in shapes.items():
        value = given.get(name)
        out[name] = array = (
            cp.zeros(shape, dtype) if value is None else cp.asarray(value, dtype, order="C")
        )
        if array.shape != shape:
            raise ValueError(f"the cotangent of {name!r} has shape {array.shape}, expected {shape}")
    return out
''',
)

LAUNCH = '''
@functools.cache
def _function(name: str, dtype: str, device: int) -> Callable[..., None]:
    """A kernel, compiled on first use."""
    return _module(dtype, device).get_function(name)


@functools.cache
def _module(dtype: str, device: int) -> cp.RawModule:
    return cp.RawModule(code=CUDA, options=("-std=c++17", f"-DREAL={REAL[dtype]}"))


def _kernel(
    name: str, dtype: np.dtype[Any], count: int, *sizes: int, by_row: bool = False
) -> Callable[..., None]:
    """A kernel as a function of arrays: a thread an entry or a block a row, ``count`` of them."""
    function = _function(name, dtype.name, cp.cuda.Device().id)
    grid = (count if by_row else -(-count // THREADS),)
    rest = tuple(map(np.int32, sizes))

    def launch(*arrays: Array) -> None:
        if count:
            function(grid, (THREADS,), (*arrays, *rest))

    return launch
'''
