"""Compiling CUDA sources for real hardware with NVRTC, which needs no driver and no GPU.

Requires the wheels ``cuda-bindings`` and ``nvidia-cuda-nvrtc``.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Sequence
from typing import Any

__all__ = ["NvrtcError", "compile_sm90", "unavailable"]

# What CuPy adds by itself to every RawModule.
CUPY_OPTIONS = ("-ftz=true",)


class NvrtcError(Exception):
    """NVRTC refused a source; the text is its log."""


@functools.cache
def unavailable() -> str | None:
    """Why NVRTC cannot be used here, or None if it can."""
    try:
        library = importlib.import_module("cuda.bindings.nvrtc")
        status, _, _ = library.nvrtcVersion()
    except (ImportError, RuntimeError) as error:
        return f"NVRTC is not installed (pip install cuda-bindings nvidia-cuda-nvrtc): {error}"
    return None if status == 0 else f"NVRTC does not start: {status}"


def compile_sm90(source: str, options: Sequence[str] = ()) -> bytes:
    """Compile a CUDA source to a cubin for sm_90, with CuPy's own options.

    Raises
    ------
    NvrtcError
        If the source is refused; the text is the compiler's log.
    """
    nvrtc = importlib.import_module("cuda.bindings.nvrtc")
    program = _value(nvrtc, nvrtc.nvrtcCreateProgram(source.encode(), b"kernel.cu", 0, [], []))
    flags = [option.encode() for option in ("--gpu-architecture=sm_90", *CUPY_OPTIONS, *options)]
    if not any(flag.startswith((b"-std=", b"--std=")) for flag in flags):
        flags.append(b"-std=c++17")
    try:
        (status,) = nvrtc.nvrtcCompileProgram(program, len(flags), flags)
        if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
            raise NvrtcError(
                _text(nvrtc, program, "ProgramLog").decode(errors="replace").rstrip("\0")
            )
        return _text(nvrtc, program, "CUBIN")
    finally:
        nvrtc.nvrtcDestroyProgram(program)


def _text(nvrtc: Any, program: Any, what: str) -> bytes:
    size = _value(nvrtc, getattr(nvrtc, f"nvrtcGet{what}Size")(program))
    buffer = b" " * int(size)
    _value(nvrtc, getattr(nvrtc, f"nvrtcGet{what}")(program, buffer))
    return buffer


def _value(nvrtc: Any, answer: tuple[Any, ...]) -> Any:
    status, *rest = answer
    if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
        raise NvrtcError(f"NVRTC answered {status}")
    return rest[0] if rest else None
