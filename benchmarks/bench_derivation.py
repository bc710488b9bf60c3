"""Cost of deriving, proving and generating; of the command line as a whole process.

``python -m benchmarks.bench_derivation`` prints three tables: derivation against the number of
gates (5 to 100) and against the dims, proofs of a few systems, and whole commands.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

from gradcheck_rnn import api
from gradcheck_rnn.codegen import generate
from gradcheck_rnn.derivation import derive
from gradcheck_rnn.language import cell
from gradcheck_rnn.language.cell import Cell


def median(work: Callable[[], object], runs: int = 5) -> float:
    """Median seconds of a call."""
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def many_gates(count: int) -> Cell:
    """A cell with ``count`` sigmoid gates in one state, made as source as a user would write it."""
    gates = [f"g{k}" for k in range(count)]
    lines = [
        "def gates(x, h, " + ", ".join(f"W_{g}, U_{g}, b_{g}" for g in gates) + "):",
        *(f"    {g} = sigmoid(W_{g} @ h + U_{g} @ x + b_{g})" for g in gates),
        "    h = " + " + ".join(f"{g} * h" for g in gates),
        "    return h",
    ]
    from gradcheck_rnn.language import sigmoid

    space: dict[str, object] = {"sigmoid": sigmoid}
    exec("\n".join(lines), space)
    params = "; ".join(f"W_{g}: p p; U_{g}: p d; b_{g}: p" for g in gates)
    made: Cell = cell(space["gates"], inputs="x: d", states="h: p", params=params)  # type: ignore[arg-type]
    return made


def table_of_gates(counts: tuple[int, ...]) -> None:
    print("derivation against the number of gates (derive: trace, derive, Kronecker forms)")
    print(f"{'gates':>6} {'equations':>10} {'derive s':>10} {'ms/equation':>12} {'generate s':>11}")
    for count in counts:
        made = many_gates(count)

        def work(made: Cell = made) -> None:
            for edge in derive(made).edges:
                _ = edge.jacobian, edge.pushforward

        seconds = median(work, 3)
        derivation = derive(made)
        equations = sum(len(p.equations) for p in derivation.scans)
        generated = median(lambda d=derivation: generate(d, "numpy"), 1)  # type: ignore[misc]
        print(
            f"{count:>6} {equations:>10} {seconds:>10.3f} {1e3 * seconds / equations:>12.2f} "
            f"{generated:>11.3f}"
        )


def table_of_proofs(names: tuple[str, ...]) -> None:
    print("\nproofs (forward, BPTT in both forms, RTRL), in process")
    for name in names:
        network = api.load(name)
        print(f"{name:>24} {median(lambda n=network: api.prove(n), 3):>8.2f} s")  # type: ignore[misc]


def table_of_commands(names: tuple[str, ...]) -> None:
    print("\nwhole commands, process start included")
    program = [sys.executable, "-m", "gradcheck_rnn"]
    folder = tempfile.mkdtemp()
    commands = [["--help"], ["cells"]]
    commands += [["generate", n, "--backend", "numpy", "-o", f"{folder}/{n}.py"] for n in names]
    for command in commands:
        seconds = median(
            lambda c=command: subprocess.run(  # type: ignore[misc]
                [*program, *c], check=True, capture_output=True
            ),
            3,
        )
        print(f"{' '.join(command[:2]):>32} {seconds:>8.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer sizes")
    quick = parser.parse_args().quick
    table_of_gates((5, 20) if quick else (5, 10, 20, 50, 100))
    table_of_proofs(("elman", "lstm", "gru") if quick else ("elman", "lstm", "gru", "elmo"))
    table_of_commands(("lstm",) if quick else api.names())


if __name__ == "__main__":
    main()
