"""What every name of a note is worth, at a random point of a prime field, and evaluation there.

Vectors are columns ``(n, 1)``; in the row convention they are rows and matrices of parameters are
transposed or not, as the note has it. Equality at the point is equality but for a probability of
2⁻¹⁰⁰ (see `derivation.proof`).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Literal

import numpy as np

from ..derivation.assumptions import summing_to_one
from ..derivation.evaluate import adjoints, forward
from ..derivation.program import Derivation
from ..derivation.proof import Point, draw
from ..errors import GradcheckError
from ..language import numeric
from ..language.ops.elementwise import ELEMENTWISE, branches
from ..language.ops.formula import Arithmetic
from ..language.ops.formula import evaluate as evaluate_formula
from .tree import Call, Name, Node, Number, Time

__all__ = ["CONVENTIONS", "Convention", "Evaluation", "NotEvaluated", "Truth", "at"]

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
    steps: Mapping[str, int]
    sizes: Mapping[str, int]
    run: Any

    @classmethod
    def of(cls, derivation: Derivation, seed: int = 0, *, real: bool = False) -> Truth:
        """Draw a point; sequences of outputs have cotangents, last states have none.

        A network with a loss is differentiated by its loss, and nothing else is handed in. With
        ``real`` the values are floating-point numbers: they show a difference, they prove nothing.
        """
        network = derivation.network
        setting = draw(network, Point(seed), assumed=tuple(summing_to_one(network)))
        if real:
            rng = np.random.default_rng([seed, 41])
            drawn: dict[str, Array] = {
                n: rng.standard_normal(a.shape) for n, a in setting.values.items()
            }
            for n, domain in network.domains.items():
                shape = drawn[n].shape
                drawn[n] = domain.draw(rng, shape[:-2] + shape[:-3:-1], data=False).swapaxes(-1, -2)
            others: dict[str, Array] = {
                n: rng.standard_normal(a.shape) for n, a in setting.cotangents.items()
            }
            setting = replace(setting, values=drawn, cotangents=others)
        run = forward(derivation, setting.values, setting.sizes, setting.lengths)
        given = {} if network.loss_terms else dict(setting.cotangents)
        finals = [n for n in given if network.outputs[n].axis is None]
        for n in finals if len(finals) < len(given) else ():
            del given[n]
        found = adjoints(run, given)
        values = dict(run.series)
        for n, ref in network.outputs.items():
            g = given.get(n)
            if g is None:
                g = 0 * setting.cotangents[n]
            moving = ref.axis is not None
            # A parameter may have the name of a cotangent (layer norm's gain g_h).
            name = f"cotangent g_{n}" if f"g_{n}" in values else f"g_{n}"
            values[name] = {t + 1: a for t, a in enumerate(g)} if moving else {0: g}
        steps = dict(run.steps) or {"T": 1}
        return cls(derivation, values, found, steps, setting.sizes, run)

    def knows(self, name: str) -> bool:
        """Whether the definition has something of this name, or numbered things of it (``h_``)."""
        if name.endswith("_"):
            return any(n.startswith(name) for n in self.values)
        return name in self.values

    def moves(self, name: str) -> bool:
        """Whether it changes with time."""
        return set(self.values[name]) != {0}

    def times(self, name: str) -> range:
        """The steps at which something is computed or given, from 1 on."""
        network = self.derivation.network
        ref = network.inputs.get(name) or network.outputs.get(
            name.removeprefix("cotangent ").removeprefix("g_")
        )
        if ref is not None and name not in self.made:
            axis = ref.axis
        else:
            axis = self.derivation.scan_of(name).scan.axis
        return range(1, (self.steps[axis] if axis else 1) + 1)

    @functools.cached_property
    def made(self) -> frozenset[str]:
        """Names of all equations."""
        return frozenset(e.name for p in self.derivation.scans for e in p.equations)

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
                inner: Array = None if own else through.get(edge.operand.name)
                if not own and (inner is None or edge.kind != "equation"):
                    continue
                part = self.run.terms(edge.jacobian, self.run.lookup(t))
                if own and e.name == of:
                    direct = part if direct is None else direct + part
                if not own:
                    part = np.matmul(part, inner)
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
        if not adjoint and at not in held:
            # Out of time only what is multiplied by a zero adjoint may be read: any number.
            return 2 * next(iter(held.values())) + 1
        if not adjoint:
            return held[at]
        line = self.adjoints.get(name, {})
        if at in line:
            return line[at]
        like = next(iter(held.values()))
        return 0 * like


class Evaluation:
    """Evaluates trees.

    Parameters
    ----------
    steps : mapping
        Time axis → number of steps.
    sizes : mapping
        Dim → size.
    look : callable
        (name, time) → value; a Jacobian ∂a/∂b is asked for like a name.
    """

    def __init__(
        self,
        steps: Mapping[str, int],
        sizes: Mapping[str, int],
        look: Callable[[Name | Call, int], Array],
    ) -> None:
        self.steps, self.sizes, self.look = steps, sizes, look

    def __call__(self, node: Node, t: int) -> Array:
        """The value of a tree at a time.

        Raises
        ------
        NotEvaluated
            Shapes that do not fit, a function that is not known.
        """
        if isinstance(node, Number):
            return np.array([[node.value]], dtype=object)
        if isinstance(node, Name):
            return self._name(node, t)
        if node.op == "jacobian":
            return self.look(node, t)
        if node.op == "time sum":
            lower, upper = (bound(b, self.steps) for b in node.data or ("", ""))  # type: ignore[attr-defined]
            steps = range(lower or 1, (upper or max(self.steps.values())) + 1)
            return functools.reduce(_add, [self(node.args[0], k) for k in steps])
        args = [self(a, t) for a in node.args]
        if node.op in _OPERATIONS:
            return functools.reduce(_OPERATIONS[node.op], args)
        if node.op in _FUNCTIONS:
            return _FUNCTIONS[node.op](*args)
        (held,) = args
        if node.op == "neg":
            return -held
        if node.op == "transpose":
            return held.T
        if node.op == "power" and isinstance(node.data, Fraction) and node.data.denominator == 1:
            return held ** int(node.data)
        if node.op == "diag":
            return _diagonal(held)
        if node.op in ("slice", "pad") and isinstance(node.data, tuple):
            start, stop = (self._size(b) for b in node.data)
            return held[start:stop] if node.op == "slice" else _padded(held, start, stop)
        return _function(node.op, held)

    def _name(self, node: Name, t: int) -> Array:
        head, _, dim = node.name.partition("_")
        if (
            head in ("I", "ones")
            and dim
            and all(n in self.sizes for n in re.findall("[a-z]+", dim))
        ):
            n = self._size(dim)
            made = np.eye(n, dtype=int) if head == "I" else np.ones((n, 1), dtype=int)
            return made.astype(object)
        if node.name in self.sizes and not node.adjoint and node.time is None:
            return np.array([[self.sizes[node.name]]], dtype=object)
        return self.look(node, at(node.time, t, self.steps))

    def _size(self, text: str) -> int:
        """A bound such as ``0``, ``p``, ``2p``, ``p+q``."""
        total = 0
        for part in (
            re.sub(r"_\{([^{}]*)\}", r"_\1", text)
            .replace("·", "")
            .replace("*", "")
            .replace(" ", "")
            .split("+")
        ):
            m = re.fullmatch(r"(\d*)([^\W\d]\w*)?", part)
            if not m or (m.group(2) and m.group(2) not in self.sizes):
                raise NotEvaluated(f"the size {text!r}")
            total += int(m.group(1) or 1) * (self.sizes[m.group(2)] if m.group(2) else 1)
        return total


def _diagonal(held: Array) -> Array:
    if 1 not in held.shape:
        raise NotEvaluated("diag of something that is no vector")
    flat = held.ravel()
    out = np.full((flat.size, flat.size), 0 * flat[0], dtype=object)
    out[np.arange(flat.size), np.arange(flat.size)] = flat
    return out


def _padded(held: Array, start: int, rows: int) -> Array:
    out = np.full((rows, held.shape[1]), 0 * held.flat[0], dtype=object)
    out[start : start + len(held)] = held
    return out


def at(time: Time | None, t: int, steps: Mapping[str, int]) -> int:
    """The step that an index means."""
    if time is None:
        return t
    if time.anchor not in ("", "t", *steps):
        raise NotEvaluated(f"the time index {time.anchor!r}")
    return {"": 0, "t": t, **steps}[time.anchor] + time.offset


def bound(text: str, steps: Mapping[str, int]) -> int:
    """A bound of a sum: ``t=1``, ``T``, ``T-1``, ``2``; 0 if it is left out."""
    body = str(text).partition("=")[2] or str(text)
    body = body.strip().replace("−", "-")
    head, sign, tail = body.partition("-")
    if not body or body == "t":
        return 0
    base = steps.get(head.strip(), int(head) if head.strip().isdigit() else None)
    if base is None:
        raise NotEvaluated(f"the bound {text!r} of a sum")
    return base - (int(tail) if sign else 0)


def _broadcast(function: Callable[[Array, Array], Array]) -> Callable[[Array, Array], Array]:
    def apply(a: Array, b: Array) -> Array:
        if a.shape != b.shape and a.size > 1 and b.size > 1:
            raise NotEvaluated(
                f"shapes {a.shape} and {b.shape} do not fit an elementwise operation"
            )
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


_FUNCTIONS: dict[str, Callable[..., Array]] = {
    "abs": numeric.absolute,
    "softmax": numeric.softmax,
    "log_softmax": numeric.log_softmax,
    "cross_entropy": numeric.cross_entropy,
    "CE": numeric.cross_entropy,
    "max": numeric.maximum,
    "dot": numeric.dot,
    "sum": numeric.unit_sum,
    "frozen": lambda x: x,
}
_add = _broadcast(np.add)
_OPERATIONS: dict[str, Callable[[Array, Array], Array]] = {
    "add": _add,
    "times": _broadcast(np.multiply),
    "divide": _broadcast(np.divide),
    "product": _product,
    "greater": numeric.greater,
    "concat": lambda a, b: np.concatenate([a, b]),
}


def _function(name: str, x: Array) -> Array:
    base = name.rstrip("'")
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
