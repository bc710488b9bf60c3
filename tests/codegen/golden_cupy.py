"""The committed CuPy module of every system; run as a module to rewrite them.

``python -m tests.codegen.golden_cupy`` rewrites ``tests/codegen/golden/*_cupy.py``; the tests
compare.
"""

from __future__ import annotations

from gradcheck_rnn import cells
from gradcheck_rnn.codegen import generate
from gradcheck_rnn.derivation import derive

from .golden_numpy import FOLDER


def text(name: str) -> str:
    """What is generated now."""
    return generate(derive(cells.get(name)), "cupy")


def main() -> None:
    """Rewrite all files and remove those of systems that are gone."""
    FOLDER.mkdir(exist_ok=True)
    wanted = {FOLDER / f"{name}_cupy.py": name for name in cells.names()}
    for path in set(FOLDER.glob("*_cupy.py")) - set(wanted):
        path.unlink()
    for path, name in wanted.items():
        path.write_text(text(name), encoding="utf-8")


if __name__ == "__main__":
    main()
