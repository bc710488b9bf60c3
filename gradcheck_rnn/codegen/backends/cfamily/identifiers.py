"""Names that C and C++ accept."""

from __future__ import annotations

import re

from ...schedule.kernel_names import Namer, Names

__all__ = ["c_name", "c_sizes"]

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
    row entry unit sequence group real peak total scratch warp lane REAL block_sum block_max lowest
    other square sigmoid relu softplus silu expm1 tanh exp log sqrt sin cos pow fabs log1p threadIdx
    blockIdx blockDim gridDim
"""
_CXX = frozenset(_CXX_TEXT.split())
#: How macros are written.
_MACRO = re.compile(r"[A-Z][A-Z0-9_]+")


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
