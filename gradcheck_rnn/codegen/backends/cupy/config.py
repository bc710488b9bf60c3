"""What CUDA and CuPy call things, and the device functions a module may need."""

from __future__ import annotations

import re

from ...schedule.naming import Namer, Names
from ..expressions import declared_helpers

__all__ = ["RESERVED", "c_name", "c_sizes", "device_functions"]

#: Names that the printed text uses for itself, in Python or in CUDA.
_TAKEN = """
    cp np t inputs parameters saved cotangents upstream shapes arrays outputs gradients sizes dtype
    forward backward loss_and_gradients functools Any Array Callable Mapping TypedDict SHAPES CUDA
    Parameters Inputs Outputs Cotangents Gradients THREADS name range len dict int float tuple
    annotations _ _check _check_cotangents _function _module _kernel launch
    row entry unit sequence real peak total scratch warp lane REAL block_sum block_max
    lowest other square sigmoid relu softplus silu expm1 tanh exp log sqrt sin cos pow fabs log1p
    threadIdx blockIdx blockDim gridDim
"""
RESERVED = tuple(_TAKEN.split())

#: Keywords of C++20, lower-case macros of the usual headers, and what kernels themselves mention.
_CXX_TEXT = """
    alignas alignof and and_eq asm auto bitand bitor bool break case catch char char8_t char16_t
    char32_t class co_await co_return co_yield compl concept const const_cast consteval constexpr
    constinit continue decltype default delete do double dynamic_cast else enum explicit export
    extern false float for friend goto if inline int long mutable namespace new noexcept not not_eq
    nullptr operator or or_eq private protected public register reinterpret_cast requires return
    short signed sizeof static static_assert static_cast struct switch template this thread_local
    throw true try typedef typeid typename union unsigned using virtual void volatile wchar_t while
    xor xor_eq
    assert errno stdin stdout stderr linux unix i386 minor major makedev alloca offsetof signbit
    isnan isinf isfinite isnormal fpclassify complex imaginary noreturn warpSize
    row entry unit sequence real peak total scratch warp lane REAL block_sum block_max lowest other
    square sigmoid relu softplus silu expm1 tanh exp log sqrt sin cos pow fabs log1p threadIdx
    blockIdx blockDim gridDim
"""
_CXX = frozenset(_CXX_TEXT.split())
#: How macros are written.
_MACRO = re.compile(r"[A-Z][A-Z0-9_]+")

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


def c_name(name: str) -> str:
    """A name as C++ may call it: ASCII, no keyword, no macro, none of the implementation's own."""
    if not name.isascii():
        name = "".join(c if c.isascii() else f"u{ord(c):x}" for c in name)
    if "__" in name:
        name = re.sub("__+", "_", name)
    if name.startswith("_"):
        name = f"v{name}"
    return f"{name}_" if name in _CXX or _MACRO.fullmatch(name) else name


def c_sizes(names: Names) -> dict[str, str]:
    """Size as a variable of Python → what kernels call it, no two the same."""
    namer = Namer()
    every = (*names.sizes.values(), *names.entries)
    return {local: namer.fresh(c_name(local)) for local in every}
