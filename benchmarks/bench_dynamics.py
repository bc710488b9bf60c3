"""Cost of Lyapunov spectra and of decay products: growth with T and with p, and memory.

``python -m benchmarks.bench_dynamics`` prints two tables and a line for the goal: the full spectrum
of an Elman network with T = 10,000 and p = 128 in seconds. ``--quick`` leaves the large ones out.
"""

from __future__ import annotations

import argparse
import math
import time
import tracemalloc

import numpy as np

from gradcheck_rnn import cells
from gradcheck_rnn.dynamics.initialisation import build
from gradcheck_rnn.dynamics.lyapunov import lyapunov
from gradcheck_rnn.dynamics.products import decay
from gradcheck_rnn.dynamics.system import System


def system_of(name: str, p: int) -> System:
    return build(cells.get(name), sizes={"p": p, "d": 16}).systems()[0]


def seconds(system: System, steps: int) -> tuple[float, float, float]:
    """Seconds of the spectrum and of the products, and λ₁."""
    start = time.perf_counter()
    found = lyapunov(system, steps)
    middle = time.perf_counter()
    lags = np.unique(np.linspace(0, steps, 20).astype(int))
    decay(system, steps, lags=lags, paths=False, gates=False)
    return middle - start, time.perf_counter() - middle, found.leading


def peak(system: System, steps: int) -> float:
    """Peak of what Python and NumPy allocate during a spectrum, in MiB."""
    tracemalloc.start()
    lyapunov(system, steps)
    _, top = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return top / 2**20


def exponent(pairs: list[tuple[int, float]]) -> float:
    """Slope of log seconds against log size, from the first to the last row."""
    (a, x), (b, y) = pairs[0], pairs[-1]
    return math.log(y / x) / math.log(b / a)


def growth_with_steps(name: str, p: int, counts: tuple[int, ...]) -> None:
    print(f"{name}, p = {p}: growth with T")
    print(f"{'T':>8} {'spectrum s':>11} {'products s':>11} {'peak MiB':>9} {'λ₁':>9}")
    system = system_of(name, p)
    rows = []
    for steps in counts:
        spectrum, products, leading = seconds(system, steps)
        rows.append((steps, spectrum))
        memory = peak(system, steps)
        print(f"{steps:>8} {spectrum:>11.2f} {products:>11.2f} {memory:>9.1f} {leading:>9.4f}")
    print(f"spectrum ∝ T^{exponent(rows):.2f}\n")


def growth_with_units(name: str, sizes: tuple[int, ...], steps: int) -> None:
    print(f"{name}, T = {steps}: growth with p")
    print(f"{'p':>8} {'state':>8} {'spectrum s':>11} {'products s':>11} {'ms/step':>9}")
    rows = []
    for p in sizes:
        system = system_of(name, p)
        spectrum, products, _ = seconds(system, steps)
        rows.append((p, spectrum))
        each = 1000 * spectrum / steps
        print(f"{p:>8} {system.n:>8} {spectrum:>11.2f} {products:>11.2f} {each:>9.3f}")
    print(f"spectrum ∝ p^{exponent(rows):.2f}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="leave the large ones out")
    quick = parser.parse_args().quick
    growth_with_steps("elman", 16, (1_000, 4_000) if quick else (1_000, 4_000, 16_000))
    for name in ("elman", "lstm"):
        growth_with_units(name, (16, 32) if quick else (16, 32, 64, 128), 1_000)
    if not quick:
        start = time.perf_counter()
        found = lyapunov(system_of("elman", 128), 10_000)
        took = time.perf_counter() - start
        print(f"full spectrum, elman, T = 10,000, p = 128: {took:.1f} s, λ₁ = {found.leading:.4f}")


if __name__ == "__main__":
    main()
