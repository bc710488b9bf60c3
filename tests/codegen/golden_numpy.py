"""The committed NumPy module of every system; run as a module to rewrite them.

``python -m tests.codegen.golden_numpy`` rewrites ``tests/codegen/golden/*_numpy.py``; the tests
compare.
"""

from __future__ import annotations

from pathlib import Path

from gradcheck_rnn import cells
from gradcheck_rnn.codegen import generate
from gradcheck_rnn.derivation import derive

FOLDER = Path(__file__).parent / "golden"


def text(name: str) -> str:
    """What is generated now."""
    return generate(derive(cells.get(name)))


def main() -> None:
    """Rewrite all files and remove those of systems that are gone."""
    FOLDER.mkdir(exist_ok=True)
    wanted = {FOLDER / f"{name}_numpy.py": name for name in cells.names()}
    for path in set(FOLDER.glob("*_numpy.py")) - set(wanted):
        path.unlink()
    for path, name in wanted.items():
        path.write_text(text(name), encoding="utf-8")


if __name__ == "__main__":
    main()
