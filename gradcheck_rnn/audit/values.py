"""What every name of a note is worth, at a random point of a prime field, and evaluation there.

Vectors are columns ``(n, 1)``; in the row convention they are rows and matrices of parameters are
transposed or not, as the note has it. Equality at the point is equality but for a probability of
2⁻¹⁰⁰ (see `derivation.proof`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import numpy as np

from ..derivation.evaluate import adjoints, forward
from ..derivation.program import Derivation
from ..derivation.proof import Point, draw
from ..errors import GradcheckError
from ..language import numeric
from ..language.ops.elementwise import ELEMENTWISE, branches
from ..language.ops.formula import Arithmetic
from ..language.ops.formula import evaluate as evaluate_formula
from .tree import Call, Name, Node, Number, Time

__all__ = ["CONVENTIONS", "Convention", "NotEvaluated", "Truth", "evaluate"]

Array = Any
Convention = Literal["columns", "rows", "rows, weights transposed"]
CONVENTIONS: tuple[Convention, ...] = ("columns", "rows", "rows, weights transposed")


class NotEvaluated(GradcheckError):
    """A line that cannot be evaluated; the text says at what."""


@dataclass(frozen=True)
class Truth:
    """Values and adjoints of everything the derivation names, in the column convention."""

    derivation: Derivation
    values: Mapping[str, Mapping[int, Array]]
    adjoints: Mapping[str, Mapping[int, Array]]
    steps: int
    zero: Any
    run: Any

    @classmethod
    def of(cls, derivation: Derivation, seed: int = 0) -> Truth:
        """Draw a point; sequences of outputs have cotangents, last states have none.

        A network with a loss is differentiated by its loss, and nothing else is handed in.
        """
        network = derivation.network
        point = Point(seed)
        setting = draw(network, point)
        run = forward(derivation, setting.values, setting.sizes, setting.lengths)
        given = {} if network.loss_terms else dict(setting.cotangents)
        finals = [n for n in given if network.outputs[n].axis is None]
        for n in finals if len(finals) < len(given) else ():
            del given[n]
        found = adjoints(run, given)
        values = dict(run.series)
        for n, g in given.items():
            values[f"g_{n}"] = {t + 1: a for t, a in enumerate(g)}
        steps = max(run.steps.values(), default=1)
        return cls(derivation, values, found, steps, point.zero, run)

    def knows(self, name: str) -> bool:
        """Whether the definition has something of this name."""
        return name in self.values

    def moves(self, name: str) -> bool:
        """Whether it changes with time."""
        return set(self.values[name]) != {0}

    def matrix(self, name: str) -> bool:
        """Whether it is a parameter with more than one column."""
        held = next(iter(self.values[name].values()))
        return name in self.derivation.network.parameters and bool(held.shape[-1] > 1)

    def jacobians(self, of: str, by: str, t: int, lag: int) -> list[Array]:
        """∂of_t/∂by_{t−lag}: directly read, then through everything within the step.

        Raises
        ------
        NotEvaluated
            Neither depends on the other within a step.
        """
        program = self.derivation.scan_of(of)
        sign = -1 if program.scan.reverse else 1
        direct: Array = None
        through: dict[str, Array] = {}
        for e in program.equations:
            for edge in e.edges:
                own = edge.operand.name == by and (edge.lag or 0) * sign == lag
                inner = None if own else through.get(edge.operand.name)
                if not own and (inner is None or edge.kind != "equation"):
                    continue
                part = self.run.terms(edge.jacobian, self.run.lookup(t))
                if own and e.name == of:
                    direct = part if direct is None else direct + part
                part = part if own else np.matmul(part, inner)
                through[e.name] = through[e.name] + part if e.name in through else part
        found = [a for a in (direct, through.get(of)) if a is not None]
        if not found:
            raise NotEvaluated(f"{of} does not depend on {by} at lag {lag} within a step")
        return found

    def value(self, name: str, t: int, adjoint: bool) -> Array:
        """A value or an adjoint; adjoints beyond the last step are zero.

        Raises
        ------
        NotEvaluated
            There is no such value at this time.
        """
        held = self.values[name]
        at = t if self.moves(name) else 0
        if not adjoint:
            if at not in held:
                raise NotEvaluated(f"{name} at time {t} does not exist in {self.steps} steps")
            return held[at]
        line = self.adjoints.get(name, {})
        if at in line:
            return line[at]
        like = next(iter(held.values()))
        return np.full(like.shape, self.zero, dtype=object)


def evaluate(
    node: Node, t: int, steps: int, look: Callable[[Name | Call, int], Array]
) -> Array:
    """The value of a tree at a time; ``look(name, t)`` gives those of names.

    Raises
    ------
    NotEvaluated
        Shapes that do not fit, a function that is not known.
    """

    def go(n: Node) -> Array:
        return evaluate(n, t, steps, look)

    if isinstance(node, Number):
        return np.array([[node.value]], dtype=object)
    if isinstance(node, Name):
        return look(node, at(node.time, t, steps))
    op, args = node.op, node.args
    if op == "jacobian":
        return look(node, t)
    if op == "sum":
        lower, upper = (bound(b, steps) for b in (node.data or ("", "")))  # type: ignore[attr-defined]
        parts = [evaluate(args[0], k, steps, look) for k in range(lower or 1, (upper or steps) + 1)]
        return functools.reduce(_broadcast(np.add), parts)
    if op == "add":
        return functools.reduce(_broadcast(np.add), [go(a) for a in args])
    if op == "neg":
        return -go(args[0])
    if op == "times":
        return _broadcast(np.multiply)(go(args[0]), go(args[1]))
    if op == "divide":
        return _broadcast(np.divide)(go(args[0]), go(args[1]))
    if op == "product":
        return _product(go(args[0]), go(args[1]))
    if op == "transpose":
        return go(args[0]).T
    if op == "power" and isinstance(node.data, Fraction) and node.data.denominator == 1:
        return go(args[0]) ** int(node.data)
    if op == "diag":
        held = go(args[0])
        if 1 not in held.shape:
            raise NotEvaluated("diag of something that is no vector")
        flat = held.ravel()
        out = np.full((flat.size, flat.size), 0 * flat[0], dtype=object)
        out[np.arange(flat.size), np.arange(flat.size)] = flat
        return out
    return _function(op, go(args[0]))


def at(time: Time | None, t: int, steps: int) -> int:
    """The step that an index means."""
    if time is None:
        return t
    if time.anchor and time.anchor not in ("t", "T"):
        raise NotEvaluated(f"the time index {time.anchor!r}")
    return {"": 0, "t": t, "T": steps}[time.anchor] + time.offset


def bound(text: str, steps: int) -> int:
    """A bound of a sum: ``t=1``, ``T``, ``T-1``, ``2``; 0 if it is left out."""
    body = str(text).partition("=")[2] or str(text)
    body = body.strip().replace("−", "-")
    head, sign, tail = body.partition("-")
    if not body or body == "t":
        return 0
    base = steps if head.strip() == "T" else int(head) if head.strip().isdigit() else None
    if base is None:
        raise NotEvaluated(f"the bound {text!r} of a sum")
    return base - (int(tail) if sign else 0)


def _broadcast(function: Callable[[Array, Array], Array]) -> Callable[[Array, Array], Array]:
    def apply(a: Array, b: Array) -> Array:
        if a.shape != b.shape and a.size > 1 and b.size > 1:
            raise NotEvaluated(f"shapes {a.shape} and {b.shape} do not fit an elementwise operation")
        return function(a, b)

    return apply


def _product(a: Array, b: Array) -> Array:
    if a.size == 1 or b.size == 1:
        return a * b
    if a.shape[1] == b.shape[0]:
        return np.matmul(a, b)
    if a.shape == b.shape:
        return a * b  # vectors side by side: what notes mean by it is ⊙
    raise NotEvaluated(f"shapes {a.shape} and {b.shape} do not fit a product")


def _function(name: str, x: Array) -> Array:
    base = name.rstrip("'")
    if base == "abs":
        return numeric.absolute(x)
    if base == "softmax" and base == name:
        return numeric.softmax(x)
    if base not in ELEMENTWISE or len(name) - len(base) > 1:
        raise NotEvaluated(f"the function {name!r} is not known")
    known = ELEMENTWISE[base]
    y = known.on_arrays(x)
    if base == name:
        return y

    def call(n: str, v: Any) -> Any:
        return branches(n, v) if n in ("abs", "positive_bit") else getattr(v, n)()

    def slope(a: Any, b: Any) -> Any:
        return evaluate_formula(known.slope, Arithmetic({"x": a, "y": b}, call))

    return np.asarray(np.frompyfunc(slope, 2, 1)(x, y), dtype=object)
