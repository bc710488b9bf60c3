"""Run pytest on files of a user."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import pytest

# What is loaded before an inner run stays loaded after it; NumPy cannot be loaded twice.
import gradcheck_rnn.verify.cases  # noqa: F401

GRADIENTS = """\
import numpy as np

def loss(p):
    return np.sum(np.tanh(p["W"]) ** 2) + np.sum(p["b"] ** 2)

def right(p):
    h = np.tanh(p["W"])
    return {"W": 2 * h * (1 - h * h), "b": 2 * p["b"]}

def wrong(p):
    h = np.tanh(p["W"])
    return {"W": 2 * h * (1 - h), "b": 2 * p["b"]}

def noisy(p):
    return float(loss(p)) + 1e3 * np.random.default_rng().normal()

point = {"W": np.linspace(0.1, 1, 6).reshape(2, 3), "b": np.ones(2)}
"""
#: Files of gradient cases start with this.
CASES = GRADIENTS + "\nfrom gradcheck_rnn import gradient_case\n"


@dataclass(frozen=True)
class Ran:
    """What a shell sees of a finished pytest run."""

    code: int
    out: str
    err: str

    @property
    def last(self) -> str:
        return self.out.strip().splitlines()[-1]


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Write files of a project: ``project(test_it="...")`` is test_it.py."""
    for name in [n for n in os.environ if n.startswith("GITHUB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.syspath_prepend(pytester.path)
    pytester.makeini("[pytest]\naddopts = --strict-markers\n")
    pytester.makepyfile(gradients=GRADIENTS)

    def write(**files: str) -> None:
        for name, text in files.items():
            (pytester.path / f"{name}.py").write_text(text, encoding="utf-8")

    return write


@pytest.fixture
def run_pytest(pytester: pytest.Pytester) -> Callable[..., Ran]:
    """`run_pytest("-k", "mine")` in the project; in a process of its own if `alone`."""

    def run(*argv: str, alone: bool = False) -> Ran:
        method = pytester.runpytest_subprocess if alone else pytester.runpytest_inprocess
        done = method("-p", "no:cacheprovider", "-p", "no:hypothesispytest", "--color=no", *argv)
        return Ran(int(done.ret), done.stdout.str(), done.stderr.str())

    return run
