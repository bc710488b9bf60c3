"""What JAX may do to a custom rule, beyond one compiled call for each output.

A rule is Python that runs while JAX traces it, or at every call where nothing is compiled. With
``defvjp(..., symbolic_zeros=True)`` it is told which outputs are not used (their cotangents are
symbolic zeros) and which inputs are not differentiated (`perturbed`). Right code gives the same
gradients in every case.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .guard import close
from .harness.arrays import to_numpy
from .pairs import Cotangents
from .verdict import Finding

__all__ = ["equations", "look_at_rules"]

Array = NDArray[Any]
SEED = 0
#: Traces that must be the same.
TRACES = 6
#: Deviations of a neighbour that another order of operations may change a gradient by.
NOISES = 16.0
#: Inputs that are differentiated alone, and left out alone.
MOST_LEFT_OUT = 12


def equations(jaxpr: Any) -> Iterator[Any]:
    """All equations of a traced function, those of loops and calls included."""
    for equation in jaxpr.eqns:
        yield equation
        for value in equation.params.values():
            for inner in value if isinstance(value, list | tuple) else (value,):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from equations(inner)


def look_at_rules(pair: Any, weights: Cotangents) -> None:
    """Note where tracing, unused outputs or other inputs change what a `JaxPair` gives."""
    forward = pair.traced()
    found = [] if forward is None else list(equations(forward.jaxpr))
    if pair.jit and forward is not None and not _traces_alike(pair, weights):
        return
    rules = [e for e in found if e.primitive.name.startswith("custom_")]
    if forward is not None and not rules:
        return
    look = _Look(pair, weights)
    if pair.jit:
        look.as_it_is()
    if forward is None or any(e.params.get("symbolic_zeros") for e in rules):
        for k in weights:
            look.unused(k)
        look.left_out()


def _traces_alike(pair: Any, weights: Cotangents) -> bool:
    """Whether JAX finds the same operations and constants each time; notes that it does not."""
    jax = pair.jax
    given = pair.arrays(pair.tree.leaves), pair.weights(weights)
    try:
        traced = [jax.make_jaxpr(pair.pulled())(*given) for _ in range(TRACES)]
    except Exception:  # what cannot be traced is run as it is, or refused where it is pulled
        return True
    first = traced[0]
    for other in traced[1:]:
        same = str(first.jaxpr) == str(other.jaxpr) and len(first.consts) == len(other.consts)
        pairs = zip(first.consts, other.consts, strict=False)
        if not same or not all(close(_numbers(jax, a), _numbers(jax, b)) for a, b in pairs):
            text = (
                "the function or its derivative is another one each time JAX traces it: Python "
                "that keeps state, or NumPy's random numbers; compiled, it stays as it was traced "
                "once. Pass what changes as an argument"
            )
            pair.note(Finding("tracing", text, fatal=True))
            return False
    return True


class _Look:
    """A pair and its cotangents, with the rounding of each gradient."""

    def __init__(self, pair: Any, weights: Cotangents) -> None:
        self.pair, self.weights = pair, weights
        self.leaves = pair.tree.leaves
        self.names = pair.tree.names
        rng = np.random.default_rng(SEED)
        near = []
        for leaf in self.leaves:
            unit = max(pair.unit, float(np.finfo(leaf.dtype).eps))
            near.append(
                (leaf * (1 + unit * rng.choice([-1.0, 1.0], leaf.shape))).astype(leaf.dtype)
            )
        self.plain = pair.pull(self.leaves, weights)
        beside = pair.pull(near, weights)
        self.rounding = {i: NOISES * _gap(g, beside[i]) for i, g in self.plain.items()}

    def _differing(self, got: dict[int, Array], wanted: dict[int, Any]) -> str:
        """Names of the inputs whose gradients differ, the first few."""
        unit = self.pair.unit
        wrong = [i for i, g in got.items() if not close(g, wanted[i], unit, self.rounding[i])]
        return ", ".join(f"'{self.names[i]}'" for i in wrong[:3])

    def _note(
        self, kind: str, call: Callable[[], dict[int, Array]], wanted: Any, where: str
    ) -> bool:
        """Compare what a call gives; note it if it is something else, or fails."""
        try:
            wrong = self._differing(call(), wanted)
        except Exception as error:
            said = " ".join(f"{type(error).__name__}: {error}".split())
            self.pair.note(Finding(kind, f"backward fails {where} ({said})", fatal=True))
            return True
        if wrong:
            text = f"backward gives another gradient of {wrong} {where}"
            self.pair.note(Finding(kind, text, fatal=True))
        return bool(wrong)

    def as_it_is(self) -> None:
        """Not compiled, rules run on the numbers themselves."""

        def call() -> dict[int, Array]:
            arrays = tuple(self.pair.arrays(self.leaves))
            found = self.pair.pulled()(arrays, self.pair.weights(self.weights))
            return {i: to_numpy(g) for i, g in enumerate(found)}

        where = "where it is not compiled than where it is (jax.jit): it asks for tracers, or "
        self._note("compiled", call, self.plain, f"{where}keeps state")

    def unused(self, k: int) -> None:
        """The other outputs are not used, and JAX knows it."""
        if len(self.pair.outs.leaves) < 2:
            return
        name = self.pair.outs.names[k]
        given = {k: self.weights[k]}
        where = f"where only the output '{name}' is used and the cotangents of the others are "
        self._note(
            "undefined-cotangent", lambda: self._part(range(len(self.leaves)), given),
            self.pair.pull(self.leaves, given), f"{where}symbolic zeros",
        )  # fmt: skip

    def left_out(self) -> None:
        """Some inputs are not differentiated."""
        count = len(self.leaves)
        for i in range(min(count, MOST_LEFT_OUT) if count > 1 else 0):
            others = [j for j in range(count) if j != i]
            for kept, out in ((others, f"'{self.names[i]}' is"), ([i], "the other inputs are")):
                call = lambda kept=kept: self._part(kept, self.weights)  # noqa: E731
                where = f"where {out} not differentiated (perturbed is False)"
                if self._note("frozen-input", call, self.plain, where):
                    return

    def _part(self, kept: Sequence[int], given: Cotangents) -> dict[int, Array]:
        """Gradients of some inputs, of a function that returns the outputs with cotangents only."""
        pair, kept = self.pair, list(kept)
        arrays = pair.arrays(self.leaves)
        plain, jax = pair.of_moved(pair.function), pair.jax

        def part(*moved: Any) -> list[Any]:
            all_of = list(arrays)
            for i, a in zip(kept, moved, strict=True):
                all_of[i] = a
            flat = jax.tree_util.tree_leaves(plain(*all_of))
            return [flat[k] for k in given]

        def pulled(*moved: Any) -> Any:
            out, pull = jax.vjp(part, *moved)
            return pull([pair.weight(y, w) for y, w in zip(out, given.values(), strict=True)])

        found = pair.compiled(pulled)(*[arrays[i] for i in kept])
        return {i: to_numpy(g) for i, g in zip(kept, found, strict=True)}


def _numbers(jax: Any, x: Any) -> Array:
    """A constant of a trace, the numbers of a random key."""
    key = hasattr(x, "dtype") and jax.numpy.issubdtype(x.dtype, jax.dtypes.extended)
    return to_numpy(jax.random.key_data(x) if key else x)


def _gap(a: Any, b: Any) -> float:
    return float(np.linalg.norm((np.asarray(a, np.float64) - np.asarray(b, np.float64)).ravel()))
