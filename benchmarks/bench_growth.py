"""How the cost of each command grows with equations, layers and delays.

``python -m benchmarks.bench_growth`` prints processor seconds of derive, generate (NumPy, CuPy),
prove, verify, decay (without remedies) and the page of a derivation, and for each the exponent of
the power of the size that fits them best (1 is linear). Layers have widths of their own, so that
entries of parameters grow faster than layers do: a second exponent is of the power of these. A cell
with delays runs over two steps more than the longest of them. Sizes and commands are chosen with
options; ``--large`` adds 1,000 and 5,000 equations. A command is left out for larger sizes once it
has taken more than ``--limit`` seconds.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

from gradcheck_rnn import api
from gradcheck_rnn.cells.elman import delayed
from gradcheck_rnn.cells.lstm import lstm
from gradcheck_rnn.cells.readout import readout
from gradcheck_rnn.cells.stacked import stack
from gradcheck_rnn.derivation.proof.small_dims import default_sizes
from gradcheck_rnn.language import cell, name, tanh
from gradcheck_rnn.language.cell import Cell
from gradcheck_rnn.language.network import Network, as_network

COMMANDS: dict[str, Callable[[Any], object]] = {
    "derive": api.derive,
    "numpy": lambda subject: api.generate(subject, "numpy"),
    "cupy": lambda subject: api.generate(subject, "cupy"),
    "prove": api.prove,
    "verify": api.verify,
    "decay": lambda subject: api.decay(subject, remedies=False),
    "page": lambda subject: api.render(api.derive(subject), "typst"),
}


def chain(length: int) -> Cell:
    """A cell of ``length`` equations that follow one another."""

    @cell(inputs="x: d", states="h: p", params="W: p p; U: p d; b: p", name=f"chain_{length}")
    def chained(x, h, W, U, b):  # type: ignore[no-untyped-def]
        a = tanh(W @ h + U @ x + b)
        for k in range(1, length):
            a = name(tanh(a), f"a_{k}")
        return a

    return chained  # type: ignore[no-any-return]


def layers(count: int) -> Network:
    """LSTMs stacked, and a readout."""
    network = Network(f"stacked_{count}")
    made = stack(network, lstm, network.input("x", "d"), count)
    network.output(network.scan(readout, h=made[-1].h).y)
    for handle in made:
        network.output(*(handle.final(s) for s in lstm.states))
    return network


def delays(count: int) -> Cell:
    """An Elman network that reads its state at every delay up to ``count``."""
    return delayed(tuple(range(1, count + 1)), f"delays_{count}")


def entries(subject: Cell | Network) -> int:
    """Entries of the parameters at the sizes of a proof, which grow with them as a check's do."""
    network = as_network(subject)
    sizes = default_sizes(network)
    shapes = (ref.shape for ref in network.parameters.values())
    return sum(math.prod(d.size(sizes) for d in (s.heads, s.rows, s.cols)) for s in shapes)


def exponent(sizes: Sequence[int], seconds: Sequence[float]) -> float:
    """The exponent of the power law through the points, by least squares of the logarithms."""
    x, y = [math.log(n) for n in sizes], [math.log(s) for s in seconds]
    middle, level = sum(x) / len(x), sum(y) / len(y)
    spread = sum((a - middle) ** 2 for a in x)
    return sum((a - middle) * (b - level) for a, b in zip(x, y, strict=True)) / spread


def table(
    what: str,
    make: Callable[[int], Cell | Network],
    sizes: Sequence[int],
    commands: Sequence[str],
    limit: float,
) -> None:
    """One line a command: seconds at each size, and the exponent."""
    print(f"\n{what}, processor seconds")
    print(f"{'':>10}" + "".join(f"{n:>9}" for n in sizes) + f"{'exponent':>10}{'of entries':>12}")
    grown = [entries(make(n)) for n in sizes]
    print(
        f"{'entries':>10}" + "".join(f"{n:>9}" for n in grown) + f"{exponent(sizes, grown):>10.2f}"
    )
    for command in commands:
        known: list[float] = []
        for n in sizes:
            if known and known[-1] > limit:
                break
            subject = make(n)
            start = time.process_time()
            COMMANDS[command](subject)
            known.append(time.process_time() - start)
        line = "".join(f"{s:>9.2f}" for s in known) + f"{'–':>9}" * (len(sizes) - len(known))
        fits = [exponent(n[: len(known)], known) for n in (sizes, grown)] if len(known) > 1 else []
        print(f"{command:>10}{line}" + "".join(f"{fit:>10.2f}" for fit in fits), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large", action="store_true", help="5,000 equations, too")
    parser.add_argument("--only", choices=("equations", "layers", "delays"))
    parser.add_argument("--commands", nargs="+", choices=list(COMMANDS), default=list(COMMANDS))
    parser.add_argument("--limit", type=float, default=10.0)
    given = parser.parse_args()
    # What is imported, and compiled once, is no part of any size.
    for work in COMMANDS.values():
        work(chain(3))
    equations = (10, 101, 201, 1000, 5000) if given.large else (10, 101, 201)
    subjects: list[tuple[str, Callable[[int], Cell | Network], Sequence[int]]] = [
        ("equations", chain, equations),
        ("layers", layers, (1, 2, 4, 12)),
        ("delays", delays, (1, 8, 32)),
    ]
    for what, make, sizes in subjects:
        if given.only in (None, what):
            table(what, make, sizes, given.commands, given.limit)


if __name__ == "__main__":
    main()
