"""Random numbers are drawn from streams that have names, and no two from one."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np

import gradcheck_rnn
from gradcheck_rnn.streams import Stream, generator

PACKAGE = Path(gradcheck_rnn.__file__).parent


def numbered(text: str) -> list[int]:
    """Lines that make a generator of a seed and a number, which has no name there."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "default_rng"
        and node.args
        and isinstance(node.args[0], ast.List)
        and any(isinstance(x, ast.Constant) for x in node.args[0].elts)
    ]


def test_every_stream_has_a_name() -> None:
    assert numbered("rng = np.random.default_rng([seed, 7])") == [1]
    found = {str(p): numbered(p.read_text(encoding="utf-8")) for p in PACKAGE.rglob("*.py")}
    assert {p: lines for p, lines in found.items() if lines} == {}


def test_streams_of_one_seed_differ_and_repeat() -> None:
    first = [float(generator(5, stream).random()) for stream in Stream]
    assert len(set(first)) == len(Stream)
    assert first[0] == generator(5, next(iter(Stream))).random()
    parts = [generator(5, Stream.PLAN, k).random() for k in range(3)]
    assert len(set(parts)) == 3
    assert np.isfinite(parts).all()


def test_every_stream_is_drawn_from() -> None:
    text = "".join(p.read_text(encoding="utf-8") for p in PACKAGE.rglob("*.py"))
    assert [s.name for s in Stream if f"Stream.{s.name}" not in text] == []
