"""What generated kernels hold at once, in units of the history of their states plus what they get.

    python -m benchmarks.kernel_memory [--steps 64 256] [CELL ...]

Of every cell with a state that is a matrix or in heads: NumPy's and CuPy's forward and backward
pass (peak of fresh memory; CuPy on the tests' stand-in for a GPU, the backward pass of NumPy
without its results), and the workspace of both passes in C. Blocks of steps in NumPy are short, as
those of large matrices are.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from tests.codegen.c.test_memory import held
from tests.codegen.cupy import test_memory as cupy
from tests.matrices import test_memory as numpy


def row(name: str, steps: int) -> str:
    """One line of the table."""
    with tempfile.TemporaryDirectory() as folder:
        sizes = {**numpy.SIZES, "T": steps, "S": steps}
        c = held(name, Path(folder) / "c", sizes)
    found = [*numpy.peaks(name, steps), *cupy.peaks(name, steps), c]
    return f"| `{name}` | {steps} | {' | '.join(f'{x:.2f}' for x in found)} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cells", nargs="*")
    parser.add_argument("--steps", nargs="*", type=int, default=[64, 256])
    options = parser.parse_args()
    print("| cell | T | NumPy forward | backward | CuPy forward | backward | C, both |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name in options.cells or numpy.NAMES:
        for steps in options.steps:
            print(row(name, steps), flush=True)


if __name__ == "__main__":
    main()
