"""What checks return is made of five classes, and nothing reads their sentences back."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradcheck_rnn
from gradcheck_rnn import check_gradient, check_vjp
from gradcheck_rnn.verify.outcome import Diagnosis, Report
from gradcheck_rnn.verify.session import Verification
from gradcheck_rnn.verify.verdict import Finding, Row, Verdict
from tests.verify.diagnosis.test_faults import check as check_faulty
from tests.verify.diagnosis.test_handed_adjoints import check as check_adjoints

RESULTS = {Finding, Row, Report, Verification, Diagnosis}
PACKAGE = Path(gradcheck_rnn.__file__).parent
#: What holds words, and what asks whether they say something.
WORDS = {"message", "reason", "cause", "missed", "says", "because", "sentences"}
SPOKEN = {"sentence", "summary", "str"}
ASKS = {
    "startswith", "endswith", "find", "index", "count", "match", "search", "fullmatch", "findall",
    "partition", "rpartition", "split", "removeprefix", "removesuffix",
}  # fmt: skip


def held(value: Any) -> Iterator[type]:
    """The classes of this package that a value is made of."""
    if type(value).__module__.startswith("gradcheck_rnn"):
        yield type(value)
        plain = isinstance(value, Enum) or not hasattr(value, "__dict__")
        fields = {} if plain else vars(value)
        yield from (c for x in fields.values() for c in held(x))
    if isinstance(value, Mapping):
        yield from (c for x in value.values() for c in held(x))
    elif isinstance(value, Iterable) and not isinstance(value, str | bytes | np.ndarray):
        yield from (c for x in value for c in held(x))


def some_reports() -> Iterator[Report]:
    x = np.arange(1.0, 4.0)
    yield check_gradient(lambda w: float((w**3).sum()), lambda w: w**2, x)
    yield check_gradient(lambda w: float((w**3).sum()), lambda w: w**2, x, mode="directional")
    yield check_vjp(lambda w: (w**2, w), lambda g, w: g * w, [x])
    yield check_adjoints("h twice")


def test_what_leaves_a_check_is_made_of_five_classes() -> None:
    for report in some_reports():
        assert report.verdict is Verdict.FAIL
        found = set(held(Verification([report.to_send()])))
        assert found <= RESULTS | {Verdict}, report.title


def test_a_diagnosis_is_made_of_them_as_well() -> None:
    report = check_faulty(("db = da.sum(axis=0)", "db = da.mean(axis=0)"), plan="few")
    assert report.diagnosis is not None
    assert report.diagnosis.candidates
    sent = report.to_send()
    assert str(sent) == str(report)
    assert sent.to_json() == report.to_json()
    assert set(held(sent)) == {Report, Row, Finding, Diagnosis, Verdict}


def test_working_state_is_what_is_not_compared() -> None:
    for kind in (Row, Report, Diagnosis):
        own = {f.name for f in dataclasses.fields(kind) if not f.compare}
        assert own == {
            Row: {"check", "probes"}, Report: {"comparisons"}, Diagnosis: {"candidates"}
        }[kind]  # fmt: skip


def read_back(tree: ast.AST) -> Iterator[int]:
    """Lines that ask what a sentence says."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            fixed = any(isinstance(s, ast.Constant) and isinstance(s.value, str) and s.value
                        for s in sides)  # fmt: skip
            if fixed and any(is_words(s) for s in sides):
                yield node.lineno
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            folded = node.func.attr == "split" and not node.args  # white space is no word
            asked = node.func.attr in ASKS and not folded
            if asked and any(map(is_words, [node.func.value, *node.args])):
                yield node.lineno


def is_words(node: ast.expr) -> bool:
    """Whether an expression is a sentence of a result."""
    if isinstance(node, ast.Call):
        name = getattr(node.func, "attr", None) or getattr(node.func, "id", "")
        results = [a for a in node.args if getattr(a, "id", "") in ("report", "diagnosis")]
        return name in SPOKEN and (name != "str" or bool(results))
    if isinstance(node, ast.Subscript):
        return isinstance(node.slice, ast.Constant) and node.slice.value in WORDS
    return isinstance(node, ast.Attribute) and node.attr in WORDS


@pytest.mark.parametrize("room", ["verify", "api", "cli", "pytest_plugin", "report"])
def test_no_sentence_is_read_back(room: str) -> None:
    found = [
        f"{path.relative_to(PACKAGE)}:{line}"
        for path in sorted((PACKAGE / room).rglob("*.py"))
        for line in read_back(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert found == []


@pytest.mark.parametrize(
    "text",
    [
        "'nan' in row.reason", "f.message.startswith('the loss')", "x = f['message'] == 'a'",
        "re.search('lag', report.sentence())", "'times' in str(report)",
    ],
)  # fmt: skip
def test_reading_back_is_found(text: str) -> None:
    assert list(read_back(ast.parse(text))) == [1]


def test_other_texts_are_free() -> None:
    text = "'nan' in row.name\nname.startswith('d')\nf.message != said\n' '.join(f.message.split())"
    assert list(read_back(ast.parse(text))) == []
