"""What CUDA and CuPy call things, and the device functions a module may need."""

from __future__ import annotations

from ..expressions import declared_helpers

__all__ = ["RESERVED", "device_functions"]

#: Names that the printed text uses for itself, in Python or in CUDA.
_TAKEN = """
    cp np special t inputs parameters saved cotangents upstream shapes arrays outputs gradients
    sizes dtype
    forward backward loss_and_gradients functools Any Array Callable Mapping TypedDict SHAPES CUDA
    Parameters Inputs Outputs Cotangents Gradients THREADS name range len dict int float tuple
    annotations _ _check _check_cotangents _function _module _kernel launch
    row entry unit sequence real peak total scratch warp lane REAL block_sum block_max
    lowest other square sigmoid relu softplus silu expm1 tanh exp log sqrt sin cos pow fabs log1p
    threadIdx blockIdx blockDim gridDim
"""
RESERVED = tuple(_TAKEN.split())

#: Device functions by name, beside those of elementwise functions.
_DEVICE: dict[str, str] = {
    "square": "__device__ __forceinline__ real square(const real x) { return x * x; }",
    "lowest": (
        "__device__ __forceinline__ real lowest() { return log(real(0)); }  // minus infinity"
    ),
    "block_sum": """
// The sum of x over the threads of a block, for all of them.
__device__ real block_sum(real x)
{
    __shared__ real scratch[32];
    for (int by = 16; by > 0; by /= 2) x += __shfl_xor_sync(0xffffffffu, x, by);
    __syncthreads();  // an earlier call may still be reading
    if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = x;
    __syncthreads();
    x = scratch[0];
    for (int warp = 1; warp < blockDim.x / 32; ++warp) x += scratch[warp];
    return x;
}
""",
    "block_max": """
// The largest x among the threads of a block, for all of them.
__device__ real block_max(real x)
{
    __shared__ real scratch[32];
    for (int by = 16; by > 0; by /= 2) {
        const real other = __shfl_xor_sync(0xffffffffu, x, by);
        x = other > x ? other : x;
    }
    __syncthreads();  // an earlier call may still be reading
    if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = x;
    __syncthreads();
    x = scratch[0];
    for (int warp = 1; warp < blockDim.x / 32; ++warp) x = scratch[warp] > x ? scratch[warp] : x;
    return x;
}
""",
}


def device_functions(names: set[str]) -> list[str]:
    """Lines of device functions, in the order of the table."""
    texts = {"square": _DEVICE["square"], **declared_helpers("cuda"), **_DEVICE}
    return [
        line for name, text in texts.items() if name in names
        for line in ("", *text.strip("\n").split("\n"))
    ]  # fmt: skip
