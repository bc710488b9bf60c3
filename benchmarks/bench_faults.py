"""A quick fault study, printed: mutants of three systems, and right gradients in hard regimes.

The full one is ``python -m benchmarks.fault_study``; its numbers are in ``docs/fault-study.md``.
"""

from __future__ import annotations

from .fault_study.__main__ import quick
from .fault_study.table import written


def main() -> None:
    print(written(quick(), command="python -m benchmarks.bench_faults"))


if __name__ == "__main__":
    main()
