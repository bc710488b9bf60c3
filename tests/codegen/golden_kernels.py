"""Generated modules of the zoo, as committed: some as text to be read, all the others as digests.

``python -m tests.codegen.golden_kernels`` rewrites ``tests/codegen/golden``; the tests compare. To
see how a module that has only a digest changes, generate it before and after.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from gradcheck_rnn import cells
from gradcheck_rnn.codegen import generate
from gradcheck_rnn.derivation import derive

FOLDER = Path(__file__).parent / "golden"
DIGESTS = FOLDER / "digests.json"
BACKENDS = ("numpy", "cupy")
#: Systems to be read: each shows something of a schedule that the others do not.
READ = (
    "bidirectional_elman", "char_rnn", "elman", "elman_delayed", "encoder_decoder", "gru", "lstm",
    "lstm_layer_norm", "slstm", "stacked_elman",
)  # fmt: skip


def text(name: str, backend: str) -> str:
    """What is generated now."""
    return generate(derive(cells.get(name)), backend)


def digest(made: str) -> str:
    """The digest of a generated text."""
    return hashlib.sha256(made.encode()).hexdigest()[:16]


def difference(name: str, backend: str, made: str) -> str:
    """How a generated text differs from what is committed, empty if it does not."""
    committed = json.loads(DIGESTS.read_text(encoding="utf-8"))
    if committed.get(f"{name} {backend}") == digest(made):
        return ""
    way = "run `make golden` and read the difference"
    return f"{way} in {FOLDER.name}/{name}_{backend}.py" if name in READ else way


def main() -> None:
    """Rewrite all files and remove those of systems that are gone."""
    FOLDER.mkdir(exist_ok=True)
    for path in FOLDER.iterdir():
        path.unlink()
    digests = {}
    for name in cells.names():
        for backend in BACKENDS:
            made = text(name, backend)
            digests[f"{name} {backend}"] = digest(made)
            if name in READ:
                (FOLDER / f"{name}_{backend}.py").write_text(made, encoding="utf-8")
    DIGESTS.write_text(json.dumps(digests, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
