"""Adding a backend: a printer of expressions and a writer of statements over the same schedule.

The skeleton below prints forward passes as plain Python that says what it does, a line a statement.
It is all that a first backend needs; nothing of the package names it. What it has no text for it
refuses, by name.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from gradcheck_rnn.codegen.backends.expressions import ArrayPrinter, declared_helpers, dim_text
from gradcheck_rnn.codegen.schedule.build import schedule
from gradcheck_rnn.codegen.schedule.ops import (
    Access,
    Allocate,
    Assign,
    Gemm,
    Loop,
    Pointwise,
    Statement,
)
from gradcheck_rnn.derivation import derive
from gradcheck_rnn.derivation.program import Derivation
from gradcheck_rnn.errors import UnsupportedOperation
from gradcheck_rnn.language import cell, sigmoid, softmax, tanh, where
from gradcheck_rnn.language.network import as_network
from gradcheck_rnn.language.running import run, to_rows
from gradcheck_rnn.verify.points import draw_point


class Plain(ArrayPrinter):
    """Expressions: what this backend calls operations; all else is shared."""

    backend, title, module = "numpy", "plain Python", "np"
    filled = "np.full({0}, {1})"
    templates = {"abs": "abs({0})", "maximum": "np.maximum({0}, {1})"}  # noqa: RUF012


class Writer:
    """Statements: where a buffer lies, and one line for each kind."""

    def __init__(self, derivation: Derivation) -> None:
        self.plan, self.inside = schedule(derivation, ("np", "t")), False
        self.print = Plain(self.access)

    def access(self, a: Access) -> str:
        if a.buffer.base is not None or not a.whole:
            raise UnsupportedOperation("plain Python has no text for parts of a buffer")
        before = a.buffer.before
        if a.slot is not None:
            end, k = a.slot
            return f"{a.buffer.name}[{before + k}{' + T' * (end == 'end')}]"
        if not a.buffer.timed:
            return a.buffer.name
        if self.inside:
            return f"{a.buffer.name}[t + {before - a.lag}]"
        return f"{a.buffer.name}[{before - a.lag}:{before - a.lag} + T]"

    def line(self, s: Assign | Gemm) -> str:
        sign = "+=" if s.accumulate else "="
        if isinstance(s, Assign):
            return f"{self.access(s.dest)}[...] {sign} {self.print.text(s.value)}"
        weight = self.access(s.weight) + ".T" * s.transposed
        return f"{self.access(s.dest)}[...] {sign} {self.access(s.x)} @ {weight}"

    def lines(self, statements: Sequence[Statement]) -> Iterator[str]:
        for s in statements:
            if isinstance(s, Pointwise):
                yield from map(self.line, s.assigns)
            elif isinstance(s, Gemm):
                yield self.line(s)
            elif isinstance(s, Loop):
                self.inside = True
                yield f"for t in range({s.axis}){'[::-1]' * s.reverse}:"
                yield from (f"    {line}" for line in self.lines(s.body))
                self.inside = False
            else:
                raise UnsupportedOperation(f"plain Python has no text for {type(s).__name__}")

    def buffer(self, made: Allocate) -> str:
        b, sizes = made.buffer, [*made.buffer.lead, *map(dim_text, made.buffer.shape)]
        sizes[:1] = [f"{sizes[0]} + {b.before + b.after}"] if b.timed else sizes[:1]
        return f"{b.name} = np.zeros(({', '.join(sizes)},))"

    def text(self) -> str:
        forward = self.plan.forward
        body = [*map(self.buffer, forward.allocations), *self.lines(forward.statements)]
        helpers = [declared_helpers("numpy")[name] for name in sorted(self.print.uses)]
        return "\n".join(["Array = np.ndarray", *helpers, *body])


@cell(inputs="x: d", states="h: p", params="W: p p; U: p d; b: p; V: q p", outputs="y")
def simple(x, h, W, U, b, V):  # type: ignore[no-untyped-def]
    h = tanh(W @ h + U @ x + b)
    y = sigmoid(V @ h) * 2 - 1
    return h, y


def test_a_skeleton_is_short() -> None:
    assert len(inspect.getsource(Plain).splitlines()) <= 10
    assert len(inspect.getsource(Writer).splitlines()) <= 60


def test_what_it_prints_computes_the_definition() -> None:
    network = as_network(simple)
    point = draw_point(network, 3)
    writer = Writer(derive(network))
    names: dict[str, Any] = {"np": np, **point.sizes, **point.lengths, "B": point.batch}
    names |= {n: a.copy() for n, a in point.values.items()}
    exec(writer.text(), names)
    made = run(network, point.columns(point.values), point.lengths)
    for n, where_ in writer.plan.outputs.items():
        found = names[where_.buffer.name]
        first = where_.buffer.before
        found = found[-1] if where_.slot else found[first : first + point.lengths["T"]]
        np.testing.assert_allclose(found, to_rows(network.outputs[n], made[n]), rtol=1e-12)


def test_an_operation_without_a_text_is_named() -> None:
    @cell(inputs="x: d", states="h: p", params="W: p p; U: p d")
    def choosing(x, h, W, U):  # type: ignore[no-untyped-def]
        a = W @ h + U @ x
        return where(a, tanh(a), a)

    with pytest.raises(UnsupportedOperation, match="plain Python has no text for the operation"):
        Writer(derive(as_network(choosing))).text()


def test_a_statement_without_a_text_is_named() -> None:
    @cell(inputs="x: d", states="h: p", params="W: p p; U: p d")
    def attending(x, h, W, U):  # type: ignore[no-untyped-def]
        return softmax(W @ h + U @ x)

    with pytest.raises(UnsupportedOperation, match="plain Python has no text for Units"):
        Writer(derive(as_network(attending))).text()
