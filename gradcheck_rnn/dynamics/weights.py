"""Weights from files: .npz, .safetensors, and PyTorch's .pt through its safe loader only.

A weight file may come from anybody: nothing here unpickles objects or runs what a file says.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..checks import shown
from ..errors import UsageError
from ..language.network import Network
from ..memory_limits import check_memory
from ..npz import read_npz
from ..reading import check_file

__all__ = ["match_names", "read_weights", "table_of"]

Array = np.ndarray[Any, Any]


def read_weights(path: Path) -> dict[str, Array]:
    """All arrays of a weight file by name.

    Raises
    ------
    UsageError
        The file is missing or not what its suffix says, holds something other than arrays, the
        package for its format is not installed, or a value is not finite.
    """
    readers = {
        ".npz": _npz,
        ".safetensors": _safetensors,
        ".pt": _torch,
        ".pth": _torch,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise UsageError(
            f"{path}: weights are read from {', '.join(readers)} files, not {path.suffix!r}"
        )
    check_file(path, "weight file")
    made = reader(path)
    if not made:
        raise UsageError(f"{path} holds no arrays")
    for name, array in made.items():
        if not isinstance(name, str):
            raise UsageError(
                f"{path} names an array {shown(name)}; a weight file names its arrays by strings"
            )
        if array.dtype.kind not in "fiu":
            raise UsageError(f"{path}: {name!r} holds {array.dtype}, not real numbers")
        bad = int((~np.isfinite(array)).sum())
        if bad:
            raise UsageError(
                f"{path}: {name!r} holds {bad} of {array.size} values that are NaN or infinite; "
                "its gradients mean nothing, use an earlier checkpoint"
            )
    return {n: np.asarray(a, dtype=float) for n, a in made.items()}


def _npz(path: Path) -> dict[str, Array]:
    return read_npz(path, "weight file")


def _safetensors(path: Path) -> dict[str, Array]:
    try:
        from safetensors.numpy import load_file
    except ImportError as error:
        raise UsageError(
            f"{path}: reading .safetensors needs the package safetensors: "
            "pip install 'gradcheck-rnn[weights]'"
        ) from error
    try:
        return dict(load_file(str(path)))
    except (Exception, MemoryError) as error:  # its own error class is not exported by all versions
        raise UsageError(f"cannot read {path}: {error}") from error


def _torch(path: Path) -> dict[str, Array]:
    try:
        import torch
    except ImportError as error:
        raise UsageError(
            f"{path}: reading .pt needs PyTorch: pip install 'gradcheck-rnn[torch]', or save the "
            "state_dict as .safetensors"
        ) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what matters is said below, in one line
            held = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # PyTorch's own words advise how to load it unsafely, or are empty.
        raise UsageError(
            f"cannot read {path} safely: it is damaged, or holds more than tensors, which is never "
            "loaded because it could run code; save it with torch.save(model.state_dict(), ...) or "
            "as .safetensors"
        ) from error
    if isinstance(held, Mapping) and isinstance(held.get("state_dict"), Mapping):
        held = held["state_dict"]
    if not isinstance(held, Mapping) or not all(isinstance(v, torch.Tensor) for v in held.values()):
        raise UsageError(f"{path} is not a state_dict: it must map names to tensors")
    for name, tensor in held.items():
        if tensor.is_complex() or tensor.is_quantized or tensor.layout is not torch.strided:
            raise UsageError(f"{path}: {shown(name)} is not a dense tensor of real numbers")
        if tensor.device.type != "cpu":
            raise UsageError(f"{path}: {shown(name)} has no values, its device is {tensor.device}")
    # A view may declare any shape over a storage of a few bytes.
    total = sum(8 * math.prod(v.shape) for v in held.values())
    check_memory(2 * total, f"the weight file {path}", "give a smaller file")
    return {n: v.detach().to(torch.float64).numpy() for n, v in held.items()}


def table_of(shapes: Mapping[str, Any]) -> str:
    """Names with shapes on one line: ``W (3, 3), b (3,)``."""
    return ", ".join(f"{n} {tuple(s)}" if s is not None else n for n, s in shapes.items())


def _shapes(arrays: Mapping[str, Array], names: Iterable[str]) -> dict[str, Any]:
    return {n: arrays[n].shape for n in names}


def match_names(network: Network, arrays: Mapping[str, Array], path: Path) -> dict[str, Array]:
    """Take the arrays as the network's parameters, name by name.

    Initial states of the network may be in the file too.

    Raises
    ------
    UsageError
        Names are missing or foreign; both lists are given with what was expected.
    """
    declared = {n: f"({', '.join(map(str, _dims(r)))})" for n, r in network.parameters.items()}
    starts = {n for n, r in network.inputs.items() if r.axis is None}
    missing = [n for n in declared if n not in arrays]
    foreign = [n for n in arrays if n not in declared and n not in starts]
    if missing or foreign:
        expected = ", ".join(f"{n} {shape}" for n, shape in declared.items())
        said = []
        if missing:
            said.append(f"missing: {', '.join(missing)}")
        if foreign:
            said.append(f"foreign: {table_of(_shapes(arrays, foreign))}")
        raise UsageError(
            f"{path} does not fit {network.name!r}; {'; '.join(said)}; expected: {expected}"
        )
    for name, ref in network.parameters.items():
        wanted = len(_dims(ref))
        if arrays[name].ndim != wanted and not (wanted == 1 and arrays[name].shape[1:] == (1,)):
            raise UsageError(
                f"{path}: {name!r} has shape {arrays[name].shape}, expected {declared[name]}"
            )
    return {
        n: a.reshape(-1) if n in declared and len(_dims(network.parameters[n])) == 1 else a
        for n, a in arrays.items()
    }


def _dims(ref: Any) -> list[Any]:
    return list(ref.shape.axes)
