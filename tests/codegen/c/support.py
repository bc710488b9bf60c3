"""C kernels compiled in a folder, and what their results are compared with."""

from __future__ import annotations

import importlib.util
import shutil
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradcheck_rnn.codegen.backends.c import print_files
from tests.codegen.support import BATCH, Arrays, Case

CC = shutil.which("cc") or shutil.which("gcc")
#: Everything here compiles C.
needs_compiler = pytest.mark.skipif(CC is None, reason="there is no C compiler")
#: Quick to compile, and every warning is an error.
QUICK = ("-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-O0")


def files(case: Case) -> dict[str, str]:
    """The texts for a case."""
    return print_files(case.derivation, python=True)


def built(case: Case, folder: Path, flags: tuple[str, ...] = QUICK, short: bool = True) -> Any:
    """The Python module over a C kernel, compiled with these flags.

    ``short``: in blocks of two steps, the last one shorter.
    """
    texts = files(case)
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        changed = text.replace("DEPTH = 256", f"DEPTH = {2 * BATCH}") if short else text
        assert (changed != text) == (short and name.endswith(".c"))
        (folder / name).write_text(changed, encoding="utf-8")
    return load(folder / next(n for n in texts if n.endswith(".py")), flags)


def load(path: Path, flags: tuple[str, ...]) -> types.ModuleType:
    """A module from its file."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.FLAGS = flags  # type: ignore[attr-defined]
    module.np = types.SimpleNamespace(  # type: ignore[attr-defined]
        **{**vars(np), "empty": unwritten, "empty_like": lambda a: unwritten(a.shape, a.dtype)}
    )
    return module


def unwritten(shape: Any, dtype: Any) -> np.ndarray[Any, Any]:
    """NaN where nothing is written, so that what is read before it is made is found."""
    return np.full(shape, np.nan, dtype)


def results(
    case: Case, module: Any, given: Arrays, dtype: str = "float64", **options: Any
) -> Arrays:
    """Outputs and gradients by the module."""
    arrays = {n: np.asarray(a, dtype) for n, a in case.arrays.items()}
    parameters, inputs = case.split(arrays)
    outputs, saved = module.forward(parameters, inputs, **case.keywords, **options)
    seeds = {n: np.asarray(g, dtype) for n, g in given.items()}
    gradients = module.backward(parameters, inputs, saved, seeds, **case.keywords)
    found = {f"output {n}": np.asarray(a) for n, a in outputs.items()}
    found |= {f"gradient {n}": a for n, a in gradients.items()}
    assert {a.dtype for a in found.values()} == {np.dtype(dtype)}
    return found


def upstream(case: Case) -> Arrays:
    """A cotangent for every output, the loss included."""
    given = case.cotangents()
    return {**given, "loss": np.ones(())} if case.network.loss_terms else given
