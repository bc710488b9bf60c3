"""A run that does not use the plugin hardly notices it."""

from __future__ import annotations

import resource

#: Pairs of runs, more of them where other programs add to their time.
LEAST_RUNS, MOST_RUNS = 5, 20

PLAIN = """\
import sys


def test_one():
    found = {m.split(".")[0] for m in sys.modules} | {m for m in sys.modules}
    print("loaded", "gradcheck_rnn.pytest_plugin" in found,
          sorted(found & {"sympy", "scipy", "flint", "mpmath", "numpy", "gradcheck_rnn.verify"}))
"""


def test_nothing_is_loaded_until_a_check_runs(project, run_pytest) -> None:
    project(test_it=PLAIN)
    assert "loaded True []" in run_pytest("-s", alone=True).out


def test_a_check_loads_no_symbolic_algebra(project, run_pytest) -> None:
    check = (
        "from gradients import *\n\ndef test_first(gradcheck):\n    gradcheck(loss, right, point)\n"
    )
    project(test_it=check + PLAIN)
    out = run_pytest("-s", alone=True).out
    assert "loaded True ['gradcheck_rnn.verify', 'numpy']" in out


def test_it_costs_less_than_50_ms(project, run_pytest) -> None:
    """Processor time, the least of several runs: wall-clock time would measure the other tests."""
    project(test_it="def test_one():\n    pass\n" * 20)

    def seconds(*argv: str) -> float:
        start = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert run_pytest("-q", *argv, alone=True).code == 0
        end = resource.getrusage(resource.RUSAGE_CHILDREN)
        return end.ru_utime + end.ru_stime - start.ru_utime - start.ru_stime

    seconds()
    # The least of several: whatever else the machine does can only add.
    times = []
    for _ in range(MOST_RUNS):
        times.append((seconds(), seconds("-p", "no:gradcheck_rnn")))
        ours, without = (min(t) for t in zip(*times, strict=True))
        if len(times) >= LEAST_RUNS and ours - without < 0.05:
            break
    assert ours - without < 0.05, times
