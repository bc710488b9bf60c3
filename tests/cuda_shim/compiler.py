"""CUDA sources to shared libraries: rewriting, g++, and a cache by content.

A call of g++ costs 0.2 to 0.4 s whatever it compiles, so several sources may share one call
(``compile_batch``). Each source is then wrapped in a namespace of its own and its kernels are
renamed by a prefix; what it defines by ``#define`` is undefined after it.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import json
import os
import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.cuda_shim.errors import ShimError

__all__ = ["CompileFailure", "CompiledKernel", "CompiledSource", "compile_batch", "runtime"]

HERE = Path(__file__).parent
GXX = os.environ.get("CXX", "g++")
# No sanitizer library is linked: the hooks that -fsanitize emits are those of runtime.cpp.
CHECKS = ("-fsanitize=thread", "-fsanitize=bounds-strict", "-nodefaultlibs")
FLAGS = (
    "-std=c++20 -x c++ -O1 -shared -fPIC -fno-strict-aliasing -fwrapv -ffp-contract=off "
    "-U_FORTIFY_SOURCE -Wno-unknown-pragmas"
)
KERNEL = re.compile(
    r'extern\s*"C"\s*__global__\s+void\s+(?:__launch_bounds__\s*\([^)]*\)\s*)?(\w+)\s*\(([^)]*)\)'
)
DYNAMIC_SHARED = re.compile(
    r"extern\s+__shared__\s+(?:__align__\s*\(\s*\d+\s*\)\s*)?([\w\s]+?)\s*\b(\w+)\s*\[\s*\]\s*;"
)
COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
FIBERS = re.compile(r"__syncthreads|__syncwarp|__shfl_|__ballot_sync|__any_sync|__all_sync")


class CompileFailure(Exception):
    """g++ refused a source; the text is its log, with the source's own line numbers."""


@dataclass(frozen=True)
class CompiledKernel:
    """A kernel in a loaded library: its parameters as ``(kind, type character, name)``."""

    name: str
    call: int
    parameters: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class CompiledSource:
    """One CUDA source, compiled and loaded."""

    kernels: dict[str, CompiledKernel]
    fibers: bool
    restrict: bool
    single_precision: bool
    shared_section: tuple[int, int]
    library: ctypes.CDLL = field(repr=False)


@functools.cache
def cache_folder() -> Path:
    """The folder of compiled libraries, private to the user and to this version of the shim."""
    files = ("cuda_on_cpu.h", "memory_check.h", "runtime.cpp", "compiler.py")
    version = _digest(*(HERE.joinpath(name).read_text() for name in files), GXX)
    folder = Path(tempfile.gettempdir()) / f"cuda_shim-{os.getuid()}" / version[:16]
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@functools.cache
def runtime() -> ctypes.CDLL:
    """The library that runs grids; loaded globally, because kernels refer to its symbols."""
    target = cache_folder() / "runtime.so"
    if not target.exists():
        flags = ["-std=c++20", "-O2", "-shared", "-fPIC", "-U_FORTIFY_SOURCE"]
        _gxx([*flags, str(HERE / "runtime.cpp"), "-lm"], target)
    library = ctypes.CDLL(str(target), mode=ctypes.RTLD_GLOBAL)
    library.shim_launch.restype = ctypes.c_char_p
    return library


def compile_batch(
    sources: Sequence[str], options: Sequence[str] = (), *, checked: bool = True
) -> list[CompiledSource]:
    """Compile and load CUDA sources, those not in the cache yet by one call of g++.

    Parameters
    ----------
    sources
        CUDA C++ texts whose kernels are declared ``extern "C" __global__ void``.
    options
        Compiler options as for ``cupy.RawModule``; ``-D`` is honoured.
    checked
        Watch every load and store (races, stray indices); off makes a kernel 3 to 4 times faster.

    Raises
    ------
    CompileFailure
        If g++ refuses a source; the others of the batch are compiled and stay cached.
    ShimError
        If a source uses what the shim does not have (``#include``, no kernel).
    """
    runtime()
    keys = [_digest(source, *options, str(checked)) for source in sources]
    missing = {key: s for key, s in zip(keys, sources, strict=True) if not _entry(key).exists()}
    if missing:
        try:
            _build(missing, options, checked)
        except CompileFailure:
            if len(missing) == 1:
                raise
            failures = []
            for key, source in missing.items():  # one by one, to say which
                try:
                    _build({key: source}, options, checked)
                except CompileFailure as failure:
                    failures.append(str(failure))
            if failures:
                raise CompileFailure("\n".join(failures)) from None
    return [_load(key, source) for key, source in zip(keys, sources, strict=True)]


def _build(sources: dict[str, str], options: Sequence[str], checked: bool) -> None:
    parts = [f'#include "{HERE / "cuda_on_cpu.h"}"\nSHIM_EXPORT_SHARED\n']
    for key, source in sources.items():
        parts.append(_wrapped(source, f"k{key[:12]}_", options))
    text = "".join(parts)
    stem = "batch" + _digest(text, str(checked))[:24]
    unit = cache_folder() / f"{stem}.{os.getpid()}.cpp"
    unit.write_text(text)
    try:
        _gxx([*FLAGS.split(), *(CHECKS if checked else ()), str(unit), "-lm", "-lc", "-lgcc"],
             cache_folder() / f"{stem}.so")  # fmt: skip
    finally:
        unit.unlink()
    for key in sources:
        _write_atomically(_entry(key), json.dumps({"library": f"{stem}.so"}))


def _wrapped(source: str, prefix: str, options: Sequence[str]) -> str:
    """The source in a namespace of its own, kernels renamed, with its own line numbers."""
    code = COMMENT.sub(lambda m: re.sub(r"[^\n]", " ", m.group()), source)
    if re.search(r"^\s*#\s*include", code, re.MULTILINE):
        raise ShimError("the source includes a header; the shim has none, as NVRTC has none")
    names = [match.group(1) for match in KERNEL.finditer(code)]
    if not names:
        raise ShimError('the source has no kernel declared extern "C" __global__ void')
    code = DYNAMIC_SHARED.sub(
        r"\1 *\2 = static_cast<\1 *>(cuda_on_cpu::shim_dynamic_shared());", code
    )
    defines = []
    for option in options:
        if option.startswith("-D"):
            macro, _, value = option[2:].partition("=")
            defines.append((macro, value or "1"))
        elif not option.startswith(("-std=", "--std=", "--fmad", "-fmad", "--use_fast_math")):
            raise ShimError(f"the shim does not know the compiler option {option!r}")
    defines += [(name, prefix + name) for name in names]
    own = re.findall(r"^\s*#\s*define\s+(\w+)", code, re.MULTILINE)
    lines = [f"#define {macro} {value}" for macro, value in defines]
    lines += [f"namespace {prefix} {{", '#line 1 "kernel.cu"', code]
    lines += [f"SHIM_EXPORT({prefix}{name})" for name in names] + ["}"]
    lines += [f"#undef {macro}" for macro in dict.fromkeys([m for m, _ in defines] + own)]
    return "\n".join(lines) + "\n"


def _load(key: str, source: str) -> CompiledSource:
    path = cache_folder() / json.loads(_entry(key).read_text())["library"]
    library = _library(str(path))
    code = COMMENT.sub(" ", source)
    kernels = {}
    for match in KERNEL.finditer(code):
        name, declared = match.groups()
        symbol = f"k{key[:12]}_{name}"
        signature = getattr(library, f"{symbol}_signature")
        signature.restype = ctypes.c_char_p
        kinds, codes = signature().decode().split("/")
        words = [part.split()[-1].lstrip("*&") for part in declared.split(",") if part.strip()]
        call = ctypes.cast(getattr(library, f"{symbol}_call"), ctypes.c_void_p).value or 0
        kernels[name] = CompiledKernel(name, call, tuple(zip(kinds, codes, words, strict=True)))
    begin, end = ctypes.c_void_p(), ctypes.c_void_p()
    library.shim_shared_section(ctypes.byref(begin), ctypes.byref(end))
    return CompiledSource(
        kernels=kernels,
        fibers=bool(FIBERS.search(code)),
        restrict="__restrict__" in code,
        single_precision="double" not in code,
        shared_section=(begin.value or 0, end.value or 0),
        library=library,
    )


@functools.cache
def _library(path: str) -> ctypes.CDLL:
    return ctypes.CDLL(path)


def _gxx(arguments: Sequence[str], target: Path) -> None:
    """Run g++ and put the result in place at once, so that parallel test runs do not collide."""
    partial = target.with_suffix(f".{os.getpid()}.part")
    done = subprocess.run(
        [GXX, *arguments, "-o", str(partial)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise CompileFailure(done.stderr)
    partial.replace(target)


def _entry(key: str) -> Path:
    return cache_folder() / f"{key}.json"


def _write_atomically(path: Path, text: str) -> None:
    partial = path.with_suffix(f".{os.getpid()}.part")
    partial.write_text(text)
    partial.replace(path)


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()
