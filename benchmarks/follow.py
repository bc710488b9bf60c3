"""One parameter from its definition to a page, a NumPy kernel and a verdict: the modules it passes.

python -m benchmarks.follow

A module counts where one of its functions holds the name or an object of that name.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import gradcheck_rnn
from gradcheck_rnn import cell
from gradcheck_rnn.codegen import generate
from gradcheck_rnn.derivation import derive
from gradcheck_rnn.derivation.render import render
from gradcheck_rnn.language import tanh
from gradcheck_rnn.language.network import as_network
from gradcheck_rnn.verify.kernel_check import check_kernel

PACKAGE = str(Path(gradcheck_rnn.__file__).parent)
NAME = "W"


@cell(inputs="x: d", states="h: p", params="W: p p; U: p d; b: p")
def small(x, h, W, U, b):  # type: ignore[no-untyped-def]
    return tanh(W @ h + U @ x + b)


def passed(work: Callable[[], Any]) -> set[str]:
    """The modules in which a function holds the parameter while ``work`` runs."""
    seen: set[str] = set()

    def look(frame: FrameType, event: str, _: Any) -> None:
        file = frame.f_code.co_filename
        if event == "call" and file.startswith(PACKAGE) and file not in seen:
            held = list(frame.f_locals.values())
            if any(v == NAME if isinstance(v, str) else named(v) for v in held):
                seen.add(file)

    sys.setprofile(look)
    try:
        work()
    finally:
        sys.setprofile(None)
    return {file[len(PACKAGE) + 1 :] for file in seen}


def named(value: Any) -> bool:
    return not hasattr(value, "__array__") and getattr(value, "name", None) == NAME


def main() -> None:
    network = as_network(small)
    derivation = derive(network)
    kernel = types.ModuleType("kernel")
    exec(compile(generate(derivation), "kernel", "exec"), kernel.__dict__)
    steps: dict[str, Callable[[], Any]] = {
        "definition": lambda: as_network(small),
        "derivation": lambda: derive(network),
        "page": lambda: render(derivation),
        "NumPy kernel": lambda: generate(derivation),
        "verdict": lambda: [str(r) for r in check_kernel(network, kernel, seed=1)],
    }
    found = {name: passed(work) for name, work in steps.items()}
    for name, files in found.items():
        print(f"{name:14}{len(files):4}  {' '.join(sorted(files))}")
    print(f"{'all':14}{len(set().union(*found.values())):4}")


if __name__ == "__main__":
    main()
