"""What autograd may do to a backward function, beyond one call for each output.

Undefined gradients for outputs that are not used, a second pass through one graph, one that is
recorded to be differentiated again, forward run again in between, gradients that are not
contiguous, inputs that need no gradient: right code gives the same as in a graph of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .guard import changed_cache, close, remembers_arrays, strided_cotangents
from .harness.arrays import to_numpy
from .pairs import MOST_NEAR, SEED, Cotangents, Pair, deviation
from .verdict import Finding

__all__ = ["GraphPair", "gradient_or_zeros", "look_with_a_graph"]

Array = NDArray[Any]
Shaped = Callable[[Any], Any]
#: Inputs that are frozen one at a time, and alone not frozen.
MOST_FROZEN = 12


class GraphPair(Pair):
    """A pair whose library records forward as a graph and differentiates that."""

    #: Whether inputs can do without a gradient, and be given in another layout.
    freezes, lays_out = True, False
    #: Whether a backward pass records a graph of itself (create_graph=True).
    records = False

    def forward(
        self,
        leaves: Sequence[Array],
        frozen: Sequence[int] = (),
        layout: Shaped | None = None,
    ) -> tuple[list[Any], dict[str, Any]]:
        """Leaves of a new graph, given in a layout, and outputs by name."""
        raise NotImplementedError

    def grad(
        self,
        own: Sequence[Any],
        outs: Sequence[Any],
        cotangents: Cotangents,
        undefined: bool,
        shaped: Shaped | None = None,
    ) -> Sequence[Any]:
        """What the library makes of some cotangents; None for inputs without a gradient."""
        raise NotImplementedError

    def in_place(
        self, leaves: Sequence[Array], cotangents: Cotangents
    ) -> tuple[list[Array], Sequence[Any]] | None:
        """Outputs and gradients in the inputs of the last such call, which these are written to.

        None where the library has nothing that can be written to.
        """
        return None

    def protocol(self, weights: Cotangents) -> None:
        """Note what the backward function does not take."""
        look = _Look(self, weights)
        for k in weights:
            look.undefined(k, weights[k])
        look.twice()
        look.recorded()
        look.interleaved()
        look.rewritten()
        look.strided()
        look.turned()
        if self.freezes:
            look.frozen()


def gradient_or_zeros(gradient: Any, like: Array) -> Array:
    """A tensor as an array, zeros for None."""
    return np.zeros(like.shape, like.dtype) if gradient is None else to_numpy(gradient)


def look_with_a_graph(pair: GraphPair, weights: Cotangents) -> None:
    """Note a backward that gives something else where a graph of it is recorded."""
    _Look(pair, weights).recorded()


class _Look:
    """One pair and its cotangents, with the rounding of each gradient."""

    def __init__(self, pair: GraphPair, weights: Cotangents) -> None:
        self.pair, self.weights = pair, weights
        self.rng, self.near = np.random.default_rng(SEED), 0
        self.rounding = [0.0] * len(pair.tree.leaves)
        self.plain = self._fresh(weights)
        self._measure()

    def _measure(self) -> None:
        """Rounding of each gradient, from a neighbour one unit in the last place away.

        Where terms cancel, another layout of the same numbers may change all digits that are left.
        """
        self.near += 1
        there = self._fresh(self.weights, leaves=self.pair.near(self.rng))
        for i, (a, b, leaf) in enumerate(
            zip(self.plain, there, self.pair.tree.leaves, strict=True)
        ):
            moved = deviation(gradient_or_zeros(a, leaf), gradient_or_zeros(b, leaf))
            self.rounding[i] = max(self.rounding[i], moved)

    def _fresh(
        self,
        given: Cotangents,
        shaped: Shaped | None = None,
        leaves: Sequence[Array] | None = None,
        frozen: Sequence[int] = (),
    ) -> Sequence[Any]:
        """Gradients from a graph of their own, zeros for outputs without a cotangent."""
        pair = self.pair
        own, outs = pair.forward(pair.tree.leaves if leaves is None else leaves, frozen)
        return pair.grad(own, list(outs.values()), given, False, shaped)

    def _differing(self, first: Sequence[Any], second: Sequence[Any]) -> list[int]:
        """Positions of gradients that differ by more than rounding.

        A gradient that is rounding alone may be the same at one neighbour by chance: where one
        differs, more are asked.
        """
        found = self._apart(first, second)
        while found and self.near < MOST_NEAR:
            self._measure()
            found = self._apart(first, second)
        return found

    def _apart(self, first: Sequence[Any], second: Sequence[Any]) -> list[int]:
        found = []
        for i, (a, b) in enumerate(zip(first, second, strict=True)):
            leaf = self.pair.tree.leaves[i]
            a, b = gradient_or_zeros(a, leaf), gradient_or_zeros(b, leaf)
            if not close(a, b, self.pair.unit, self.rounding[i]):
                found.append(i)
        return found

    def _names(self, positions: Sequence[int]) -> str:
        return ", ".join(f"'{self.pair.tree.names[i]}'" for i in positions[:3])

    def undefined(self, k: int, weight: Array) -> None:
        """With None for the outputs that are not used a backward must give what zeros give."""
        pair = self.pair
        if len(pair.outs.leaves) < 2:
            return
        name = pair.outs.names[k]
        zeros = self._fresh({k: weight})
        own, outs = pair.forward(pair.tree.leaves)
        text = f"where only the output '{name}' is used and the gradients of the others are None"
        try:
            none = pair.grad(own, list(outs.values()), {k: weight}, True)
        except Exception as error:
            said = f"backward fails {text} ({_said(error)})"
            pair.note(Finding("undefined-cotangent", said, fatal=True))
            pair.undefined = False
            return
        wrong = self._differing(zeros, none)
        if wrong:
            names = self._names(wrong)
            text = f"backward gives another gradient of {names} {text} than where they are zeros"
            pair.note(Finding("undefined-cotangent", text, fatal=True))
            pair.undefined = False

    def twice(self) -> None:
        """Two passes through one graph (retain_graph=True) agree, if two graphs do."""
        pair, weights = self.pair, self.weights
        own, outs = pair.forward(pair.tree.leaves)
        asked = list(outs.values())
        first = [None if g is None else g.clone() for g in pair.grad(own, asked, weights, False)]
        try:
            second = pair.grad(own, asked, weights, False)
        except Exception as error:
            said = _said(error)
            text = (
                f"backward fails in a second pass through one graph (retain_graph=True): {said}; "
                "keep what it reads as long as its graph, as ctx.save_for_backward does"
            )
            changed = "inplace operation" in said
            # Compiled code gives its buffers away, and says so: the compiler's own choice.
            only = Finding("once-only", text, fatal="donated buffer" not in said)
            pair.note(changed_cache(fatal=True) if changed else only)
            return
        wrong = self._differing(first, second)
        if wrong and not self._differing(first, self._fresh(weights)):
            pair.note(changed_cache(fatal=True))

    def recorded(self) -> None:
        """A backward pass that is to be differentiated again gives the same gradient."""
        pair = self.pair
        plain, again = (self._fresh(self.weights) for _ in range(2))
        pair.records = True
        try:
            found = self._fresh(self.weights)
        except Exception:  # loud where it happens, so no wrong gradient
            return
        finally:
            pair.records = False
        wrong = self._differing(plain, found)
        if wrong and not self._differing(plain, again):
            text = (
                f"backward gives another gradient of {self._names(wrong)} with create_graph=True, "
                "as for a second derivative, than without"
            )
            pair.note(Finding("recorded", text, fatal=True))

    def interleaved(self) -> None:
        """Forward runs again, at other inputs, before the backward pass of a graph."""
        pair, weights = self.pair, self.weights
        own, outs = pair.forward(pair.tree.leaves)
        try:
            pair.forward(pair.beside())
            late = pair.grad(own, list(outs.values()), weights, False)
        except Exception:  # loud where it happens, so no wrong gradient
            return
        plain, again = (self._fresh(weights) for _ in range(2))
        wrong = self._differing(plain, late)
        if wrong and not self._differing(plain, again):
            text = (
                f"backward gives another gradient of {self._names(wrong)} where forward has run "
                "once more in between, at other inputs: it reads what the last call left, not what "
                "belongs to its graph; keep it on ctx (save_for_backward)"
            )
            pair.note(Finding("interleaved", text, fatal=True))

    def rewritten(self) -> None:
        """Inputs and parameters are the tensors of an earlier call, changed in place since."""
        pair = self.pair
        try:
            if pair.in_place(pair.beside(), self.weights) is None:
                return
            found = pair.in_place(pair.tree.leaves, self.weights)
        except Exception:  # loud where it happens, so no wrong gradient
            return
        assert found is not None
        values, grads = found
        wrong, same = self._differing(self.plain, grads), self._same_outputs(values)
        steady = not self._differing(self.plain, self._fresh(self.weights)) if wrong else True
        if not same:
            fresh = pair.forward(pair.tree.leaves)[1].values()
            steady = steady and self._same_outputs([to_numpy(y) for y in fresh])
        if (wrong or not same) and steady:
            pair.note(remembers_arrays("backward" if same else "forward"))

    def _same_outputs(self, values: Sequence[Array]) -> bool:
        return close(list(values), [np.asarray(y) for y in self.pair.outs.leaves], self.pair.unit)

    def strided(self) -> None:
        """Gradients come in any layout: one number expanded (from a sum), or transposed."""
        constant = {k: np.full_like(w, w.flat[0]) for k, w in self.weights.items() if w.size}
        layouts: dict[str, tuple[Cotangents, Shaped]] = {
            "expanded, as from a sum": (constant, _expanded),
            "transposed": (self.weights, _reversed_strides),
        }
        for kind, (given, shaped) in layouts.items():
            plain, again = (self._fresh(given) for _ in range(2))
            if self._differing(plain, again):
                return
            try:
                wrong = self._differing(plain, self._fresh(given, shaped))
            except Exception as error:  # loud where it happens, so no wrong gradient
                text = f"backward fails for cotangents that are not contiguous ({kind})"
                self.pair.note(Finding("strided-cotangent", f"{text}: {_said(error)}"))
                continue
            if wrong:
                self.pair.note(strided_cotangents(self._names(wrong), kind))
                return

    def turned(self) -> None:
        """Inputs come in any layout: transposed, as a view of what another module made."""
        pair, where = self.pair, "for inputs that are not contiguous (transposed)"
        if not pair.lays_out or all(leaf.ndim < 2 for leaf in pair.tree.leaves):
            return
        leaves, weights = pair.tree.leaves, self.weights
        plain, again = (self._fresh(weights) for _ in range(2))
        if self._differing(plain, again):
            return
        try:
            own, outs = pair.forward(leaves, layout=_reversed_strides)
            there = list(outs.values())
            found = pair.grad(own, there, weights, False)
        except Exception as error:  # loud where it happens, so no wrong gradient
            pair.note(Finding("strided-input", f"the code fails {where}: {_said(error)}"))
            return
        values = [to_numpy(y) for y in pair.forward(leaves)[1].values()]
        if not close(values, [to_numpy(y) for y in there], pair.unit):
            text = f"forward gives another value {where}"
        elif wrong := self._differing(plain, found):
            text = f"backward gives another gradient of {self._names(wrong)} {where}"
        else:
            return
        pair.note(Finding("strided-input", text, fatal=True))

    def frozen(self) -> None:
        """Inputs that need no gradient do not change those of the others.

        A first layer's input and frozen weights need none: ``ctx.needs_input_grad`` says so.
        """
        count = len(self.pair.tree.leaves)
        if count < 2:
            return
        plain, again = (self._fresh(self.weights) for _ in range(2))
        if self._differing(plain, again):
            return
        for i in range(min(count, MOST_FROZEN)):
            others = [j for j in range(count) if j != i]
            for frozen, kept in (([i], others), (others, [i])):
                if self._frozen(plain, frozen, kept):
                    return

    def _frozen(self, plain: Sequence[Any], frozen: Sequence[int], kept: Sequence[int]) -> bool:
        """Whether something was found with those inputs frozen."""
        plural = len(frozen) > 1
        where = f"where {self._names(frozen)}{' …' if len(frozen) > 3 else ''} "
        where += f"{'need' if plural else 'needs'} no gradient (requires_grad=False)"
        try:
            found = self._fresh(self.weights, frozen=frozen)
        except Exception as error:  # loud where it happens, so no wrong gradient
            self.pair.note(Finding("frozen-input", f"backward fails {where}: {_said(error)}"))
            return True
        wrong = [i for i in self._differing(plain, found) if i in kept]
        if wrong:
            text = f"backward gives another gradient of {self._names(wrong)} {where}"
            self.pair.note(Finding("frozen-input", text, fatal=True))
        return bool(wrong)


def _said(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def _expanded(weight: Any) -> Any:
    """The same numbers, all equal, as one number in memory."""
    if not weight.numel():
        return weight
    return weight.reshape(-1)[:1].reshape([1] * weight.ndim).expand(weight.shape)


def _reversed_strides(weight: Any) -> Any:
    """The same numbers with the last axis the slowest in memory."""
    axes = list(reversed(range(weight.ndim)))
    return weight.permute(axes).contiguous().permute(axes)
