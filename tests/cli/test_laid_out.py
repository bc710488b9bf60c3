"""A class of a file, verified as it is: ``verify file.py:NAME --layout LAYOUT``."""

from __future__ import annotations

import re
import shlex

import pytest

CLASS = """
import numpy as np

class Elman:
    def __init__(self, W, U, b_i):
        self.W, self.U, self.b_i = W, U, b_i

    def forward(self, x, h0):
        self.x, self.h = x, [h0]
        for x_t in x:
            self.h.append(np.tanh(self.h[-1] @ self.W + x_t @ self.U + self.b_i))
        return np.stack(self.h[1:]), self.h[-1]

    def backward(self, dh, dh_final):
        g = {"W": 0.0, "U": 0.0, "b_i": 0.0, "x": np.empty_like(self.x)}
        for t in reversed(range(len(self.x))):
            da = (dh[t] + dh_final) * (1 - self.h[t + 1] ** 2)
            g["W"] += self.h[t].T @ da
            g["U"] += self.x[t].T @ da
            g["b_i"] += da.sum(axis=0)
            g["x"][t], dh_final = da @ self.U.T, da @ self.W.T
        return g | {"h0": dh_final}
"""
MINE = """
from gradcheck_rnn import cell
from gradcheck_rnn.language import tanh

@cell(inputs="x: d", states="h: p", params="W: p p; U: p d; b_i: p")
def mine(h, x, W, U, b_i):
    h = tanh(W @ h + U @ x + b_i)
    return h
"""


def test_a_class_of_a_file_in_a_layout(run, write) -> None:
    write(MINE, "mine.py")
    options = ("--definition", "mine.py:mine", "--layout", "own transposed")
    write(CLASS, "elman.py")
    assert run("verify", "elman.py:Elman", *options).code == 0
    write(CLASS.replace("da @ self.W.T", "da @ self.W"), "elman.py")
    ran = run("verify", "elman.py", *options)
    assert ran.code == 1
    assert "δh_{t−1} with W instead of Wᵀ" in ran.out
    replay = re.search(r"repeat: gradcheck-rnn (.*)", ran.out)
    assert replay is not None
    again = run(*shlex.split(replay[1]))
    assert again.code == 1
    assert "δh_{t−1} with W instead of Wᵀ" in again.out


@pytest.mark.parametrize(
    ("target", "layout", "said"),
    [
        ("elman.py:Elmann", "own", "unknown class 'Elmann'; did you mean Elman"),
        ("elman.py", "wrong rnn", "no ready layout 'wrong rnn'"),
        ("elman.py", "pytorch rnnx", "no ready layout for 'rnnx'; there are lstm, gru, rnn"),
        ("elman.py", "flashrnn rnn", "'rnn': flashrnn has lstm, slstm, gru, elman"),
        ("lstm", "own", "give file.py:NAME"),
        ("mine.py", "own", "no classes with forward and backward"),
        ("elman.py", "columns rnn", "which is no parameter of the layout"),
        ("elman.py", "own transposed rename=W:W_h", "“… rename=W_h:W”"),
    ],
)
def test_what_cannot_be_laid_out(run, write, target: str, layout: str, said: str) -> None:
    write(CLASS, "elman.py")
    write(MINE, "mine.py")
    ran = run("verify", target, "--layout", layout, "--definition", "mine.py:mine")
    assert ran.code == 2
    assert said in ran.err


@pytest.mark.parametrize("target", ["elman.py", "elman.py:Elman"])
def test_a_class_without_a_layout_is_told_the_option(run, write, target: str) -> None:
    write(CLASS, "elman.py")
    ran = run("verify", target)
    assert ran.code == 2
    assert "elman.py:Elman is code under test" in ran.err
    assert "--layout" in ran.err


def test_what_raises_in_code_that_the_file_of_cases_imports_is_the_users(run, write) -> None:
    write(CLASS.replace("da @ self.W.T", "da @ self.U"), "elman_that_raises.py")
    write(
        "from gradcheck_rnn import gradient_case, load\n"
        "from elman_that_raises import Elman\n"
        '@gradient_case(model=load("elman_hidden"), layout="own transposed")\n'
        "def mine():\n    return Elman\n",
        "gradcheck_mine.py",
    )
    ran = run("verify", "gradcheck_mine.py")
    assert ran.code == 2
    assert "fault of gradcheck-rnn" not in ran.err
    assert "elman_that_raises.py" in ran.err
    assert "gradcheck_rnn/verify" not in ran.err
    assert "the layout gave backward h (1, 2, 3), h_final (2, 3)" in ran.err


TORCH = """
import torch

class Elman(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, h0, W, U, b_i):
        h = [h0]
        for x_t in x:
            h.append(torch.tanh(h[-1] @ W + x_t @ U + b_i))
        return torch.stack(h[1:]), h[-1]

    @staticmethod
    def backward(ctx, dh, dh_final):
        return None, None, None
"""


def test_what_a_library_raises_for_a_function_is_the_users(run, write) -> None:
    pytest.importorskip("torch")
    write(MINE, "mine.py")
    write(TORCH, "elman_t.py")
    ran = run(
        "verify", "elman_t.py:Elman", "--definition", "mine.py", "--layout", "own transposed"
    )  # fmt: skip
    assert ran.code == 2
    assert "incorrect number of gradients" in ran.err
    assert "fault of gradcheck-rnn" not in ran.err
