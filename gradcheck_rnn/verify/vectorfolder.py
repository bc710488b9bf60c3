"""Test vectors as a folder of plain numbers, for code that reads no npz and no JSON.

Every array is a file of little-endian doubles in row order; results are laid beside them in folders
that are there already. `gradcheck.hpp` reads and writes all of it in C++11.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DimensionError, UsageError
from ..files import write_bytes
from ..reading import read_bytes
from .vectorfiles import Results, dump
from .vectors import Vectors
from .vectorvalues import OUTPUTS, VectorFile

__all__ = ["VECTORS", "is_folder", "read_folder", "write_folder"]

Array = NDArray[Any]
#: The vectors themselves, with gradients and bounds, by which a folder is known.
VECTORS = "vectors.npz"
FORMATS = {".f64": "<f8", ".f32": "<f4"}
#: Reads and writes the folder in C++, and calls a kernel with what is in it.
HEADER = "gradcheck.hpp"


def is_folder(path: str | os.PathLike[str]) -> bool:
    """Whether test vectors lie there."""
    return os.path.isfile(Path(path) / VECTORS)


def write_folder(vectors: Vectors, folder: Path) -> Path:
    """Write vectors as a folder; results of before are removed, for they are of other numbers.

    Raises
    ------
    UsageError
        The folder holds something else, or cannot be written to.
    """
    there = os.path.exists(folder) and not is_folder(folder)
    if there and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} holds something else than vectors; give a new or empty folder")
    files = dict(_files(vectors))
    results = ["outputs", *(f"gradients/{p.name}" for p in vectors.probes)]
    try:
        for place in {*results, *(os.path.dirname(name) for name in files)}:
            (folder / place).mkdir(parents=True, exist_ok=True)
        for place in results:
            for old in (folder / place).iterdir():
                if old.suffix in FORMATS:
                    old.unlink()
    except OSError as error:
        raise UsageError(f"cannot write {folder}: {error.strerror or error}") from None
    for name, content in files.items():
        write_bytes(folder / name, content)
    return folder


def _files(vectors: Vectors) -> Iterator[tuple[str, bytes]]:
    labels = vectors.labels
    for n, a in vectors.arrays.items():
        yield f"arrays/{n}.f64", _plain(a)
    for n, a in labels.items():
        yield f"labels/{n}.i64", np.asarray(a, dtype="<i8").tobytes()
    for probe in vectors.probes:
        for n, y in vectors.outputs.items():
            if probe.cotangents:
                given = probe.cotangents.get(n)
                held = np.zeros(np.shape(y)) if given is None else given
                yield f"cotangents/{probe.name}/{n}.f64", _plain(held)
    yield "arrays.txt", "".join(f"{n}\n" for n in vectors.arrays).encode()
    yield "outputs.txt", "".join(f"{n}\n" for n in vectors.outputs).encode()
    yield "sizes.txt", "".join(f"{n} {s}\n" for n, s in vectors.sizes.items()).encode()
    yield "labels.txt", "".join(f"{n}\n" for n in labels).encode()
    shapes = {**vectors.arrays, **vectors.outputs}
    yield (
        "shapes.txt",
        "".join(" ".join(map(str, (n, *np.shape(a)))) + "\n" for n, a in shapes.items()).encode(),
    )
    yield "probes.txt", "".join(f"{p.name}\n" for p in vectors.probes).encode()
    yield HEADER, resources.files(__package__).joinpath(HEADER).read_bytes()
    yield VECTORS, dump(vectors, ".npz")


def _plain(array: Array) -> bytes:
    return np.asarray(array, dtype="<f8").tobytes()


def read_folder(folder: Path, known: VectorFile) -> Results:
    """The results that were laid beside vectors.

    Raises
    ------
    UsageError, DimensionError
        There are none, in two formats, or of another size; or what the code was to read has changed
        since the vectors were written.
    """
    _unchanged(folder, known)
    found: dict[str, dict[str, Array]] = {}
    formats: dict[str, Path] = {}
    for group, arrays in known.high.items():
        place = folder / (OUTPUTS if group == OUTPUTS else f"gradients/{group}")
        for path in sorted(place.iterdir()) if place.is_dir() else []:
            kind = FORMATS.get(path.suffix)
            if kind is None:
                continue
            formats[path.suffix] = path
            found.setdefault(group, {})[path.stem] = _array(path, kind, arrays)
    for other in sorted((folder / "gradients").glob("*/*")):
        if other.parent.name not in known.high and other.suffix in FORMATS:
            probes = ", ".join(g for g in known.high if g != OUTPUTS)
            raise UsageError(f"{other}: there is no such probe; there are {probes}")
    if not found:
        raise UsageError(
            f"{folder} holds no results: write gradients/PROBE/NAME.f64 (or .f32) there, for each "
            "probe of probes.txt"
        )
    if len(formats) > 1:
        one, two = list(formats.values())[:2]
        raise UsageError(f"{folder} holds results in two formats, {one} and {two}; remove the old")
    return Results(found, {".f64": "float64", ".f32": "float32"}[next(iter(formats))])


def _unchanged(folder: Path, known: VectorFile) -> None:
    """Refuse results of other inputs than the vectors', which a kernel may have written over."""
    held = {f"arrays/{n}": a for n, a in known.arrays.items()}
    for probe, given in known.cotangents.items():
        for n, y in known.high.get(OUTPUTS, {}).items():
            held[f"cotangents/{probe}/{n}"] = given.get(n, np.zeros_like(y))
    for name, array in held.items():
        path, wanted = folder / f"{name}.f64", _plain(array)
        if path.is_file() and read_bytes(path, "file of vectors", len(wanted) + 4096) != wanted:
            raise UsageError(
                f"{path} is not as it was written: results are of other numbers than the vectors. "
                "If the code writes into what it reads, mend that; then write the vectors anew"
            )


def _array(path: Path, kind: str, arrays: Mapping[str, Array]) -> Array:
    wanted = arrays.get(path.stem)
    if wanted is None:
        raise UsageError(f"{path}: the vectors have there {', '.join(arrays)}")
    width = np.dtype(kind).itemsize
    content = read_bytes(path, "file of results", max(wanted.size, 1) * width + 4096)
    if len(content) != wanted.size * width:
        raise DimensionError(
            f"{path} has {len(content)} bytes; {wanted.shape} are {wanted.size} numbers of {width} "
            f"bytes, {wanted.size * width}"
        )
    return np.frombuffer(content, dtype=kind).reshape(wanted.shape)
