"""Hypothesis profiles and the lines printed at the end of a run."""

from __future__ import annotations

import os
import statistics
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings

_SLOW_DATA = [HealthCheck.too_slow, HealthCheck.data_too_large]

# `ci` is deterministic: a red run is red again on the next machine. `random` is the same size with
# a fresh seed, and prints how to replay a failure. `thorough` is run by hand, before a release.
settings.register_profile(
    "ci",
    max_examples=100,
    deadline=None,
    derandomize=True,
    print_blob=True,
    suppress_health_check=_SLOW_DATA,
)
settings.register_profile(
    "random",
    settings.get_profile("ci"),
    derandomize=False,
)
settings.register_profile(
    "thorough",
    max_examples=10_000,
    deadline=None,
    derandomize=False,
    print_blob=True,
    suppress_health_check=_SLOW_DATA,
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
)
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "ci")
settings.load_profile(PROFILE)


class Summary(list[str]):
    """Lines for the end of the run, plus samples that are summarised as n, median and p95.

    Tests call `append("a line")` or `sample("random cells: prove", seconds)`. Under xdist each
    worker sends its own and they are put together in the controller: equal lines are printed
    once, samples of one name are pooled.
    """

    def __init__(self) -> None:
        super().__init__()
        self.samples: dict[str, list[float]] = {}

    def sample(self, name: str, seconds: float) -> None:
        """Add one measurement in seconds under `name`."""
        self.samples.setdefault(name, []).append(seconds)

    def merge(self, lines: list[str], samples: dict[str, list[float]]) -> None:
        """Add what another process collected."""
        self.extend(lines)
        for name, values in samples.items():
            self.samples.setdefault(name, []).extend(values)

    def report(self) -> list[str]:
        """The lines to print."""
        lines = list(dict.fromkeys(self))
        for name, values in self.samples.items():
            p95 = sorted(values)[max(0, -(-95 * len(values) // 100) - 1)]
            lines.append(
                f"{name}: {len(values)} runs, median {statistics.median(values):.3f} s, "
                f"p95 {p95:.3f} s"
            )
        return lines


_summary = Summary()


@pytest.fixture(scope="session")
def gradcheck_summary() -> Summary:
    """The shared list of lines printed after the run (see `Summary`)."""
    return _summary


def pytest_report_header() -> str:
    return f"hypothesis profile {PROFILE} (HYPOTHESIS_PROFILE=ci|random|thorough)"


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    if config.pluginmanager.hasplugin("xdist") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Collector(), "gradcheck-summary")


class _Collector:
    """Takes the summaries of xdist's workers when they end."""

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        sent = getattr(node, "workeroutput", {}).get("gradcheck_summary")
        if sent is not None:
            _summary.merge(sent["lines"], sent["samples"])


def pytest_sessionfinish(session: pytest.Session) -> None:
    workeroutput = getattr(session.config, "workeroutput", None)
    if workeroutput is not None:
        workeroutput["gradcheck_summary"] = {"lines": list(_summary), "samples": _summary.samples}


def pytest_terminal_summary(terminalreporter: Any) -> None:
    lines = _summary.report()
    if lines:
        terminalreporter.section("gradcheck_rnn")
        for line in lines:
            terminalreporter.write_line(line)


@pytest.fixture
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No colour, a fixed width and no workflow, whatever terminal or CI the tests run in."""
    workflow = [name for name in os.environ if name.startswith("GITHUB_")]
    for name in ("FORCE_COLOR", "CLICOLOR_FORCE", "TTY_COMPATIBLE", *workflow):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
