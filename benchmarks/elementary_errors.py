"""Largest errors of the elementary functions of generated C, in units in the last place.

``python -m benchmarks.elementary_errors [--samples 4000000]``: against NumPy in a wider type, at
random arguments over the whole range where the result is a normal number and, for tanh, near zero.
σ is the function of generated kernels, 1 / (1 + exp(-x)).
"""

from __future__ import annotations

import argparse
import ctypes
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from gradcheck_rnn.codegen.backends.c.config import helpers
from gradcheck_rnn.codegen.backends.c.header import FLAGS
from gradcheck_rnn.codegen.backends.c.runtime import ELEMENTARY, TYPES

CALLED = {"exp": "real_exp", "tanh": "real_tanh", "sigmoid": "real_sigmoid"}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=4_000_000)
    count = parser.parse_args().samples
    functions = "".join(
        f"void all_{n}(const real *x, real *y, Index n)\n"
        f"{{ for (Index k = 0; k < n; ++k) y[k] = {called}(x[k]); }}\n"
        for n, called in CALLED.items()
    )
    text = "\n".join([TYPES, ELEMENTARY, *helpers(["sigmoid"]), functions])
    rng = np.random.default_rng(0)
    print("function     dtype  largest error  at")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "f.c"
        source.write_text(text)
        for dtype, wide, options in (
            (np.float32, np.float64, ["-DSINGLE"]),
            (np.float64, np.longdouble, []),
        ):
            made = Path(folder) / f"{np.dtype(dtype).name}.so"
            compiler = shutil.which("cc") or "gcc"
            command = [compiler, *FLAGS, *options, "-shared", "-fPIC", str(source), "-lm"]
            subprocess.run([*command, "-o", str(made)], check=True)
            library = ctypes.CDLL(str(made))
            edge = 87.0 if dtype is np.float32 else 708.0
            near = rng.normal(size=count) * 10.0 ** rng.uniform(-6, 1, count)
            x = np.concatenate([rng.uniform(-edge, edge, count), near]).clip(-edge, edge)
            x = x.astype(dtype)
            for name in CALLED:
                y = np.empty_like(x)
                pointers = (ctypes.c_void_p(a.ctypes.data) for a in (x, y))
                getattr(library, f"all_{name}")(*pointers, ctypes.c_ssize_t(len(x)))
                right = _right(name, x.astype(wide))
                units = np.abs(y - right) / np.spacing(np.abs(right).astype(dtype)).astype(wide)
                worst = int(units.argmax())
                kind = np.dtype(dtype).name
                print(f"{name:8} {kind:>9}  {float(units[worst]):8.2f} ulp   {x[worst]:.6g}")


def _right(name: str, x: np.ndarray) -> np.ndarray:
    if name == "sigmoid":
        return np.asarray(1 / (1 + np.exp(-x)))
    return np.asarray(np.exp(x) if name == "exp" else np.tanh(x))


if __name__ == "__main__":
    main()
