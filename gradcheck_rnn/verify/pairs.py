"""Forward and backward pairs, whatever library they are written for, behind one protocol.

A pair runs forward at some inputs, and pulls cotangents back. Cotangents are given by output; those
that are absent are zeros or, where the library has such a thing, undefined (None).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..checks import check_function
from ..errors import UsageError
from .guard import (
    WATCHED_CALLS,
    UserCode,
    call,
    changed_cotangents,
    close,
    keeps_state,
    remembers_arrays,
    strided_cotangents,
)
from .in_place import Held
from .memory import laid_out, viewed_in_part
from .reachable import checksum
from .trees import Tree, flatten, given_gradients, unevaluated
from .verdict import Finding

__all__ = ["MOST_NEAR", "SEED", "ArrayPair", "Pair", "deviation"]

Array = NDArray[Any]
Cotangents = Mapping[int, Array]
#: Relative distance of other inputs, at which forward is run between a forward and its backward.
BESIDE = 2.0**-4
SEED = 0
#: Deviations of a neighbour that another layout of cotangents may change a gradient by.
NOISES = 16.0
#: Neighbours at which gradients are called where one differs.
MOST_NEAR = 5


class Pair(UserCode):
    """A forward and a backward function at the inputs of `tree`.

    Attributes
    ----------
    findings
        What they did besides their work.
    surrogate
        Run in the place of forward where its derivative is wanted, None for forward itself.
    undefined
        Whether absent cotangents can be None.
    constant
        Whether outputs that are constant in pieces, with gradients of zero, are nothing odd.
    passes
        The user's forward and backward functions, where they are two.
    probed, unprobed
        Outputs whose cotangents are probed unless others are asked for; why others are not.
    none
        Outputs and inputs for which backward returned None.
    narrowed
        Unit of the outputs where all are in a narrower format than any input, else 0: forward was
        computed in it (autocast), and so is what backward makes of their cotangents.
    """

    undefined = False
    constant = False
    passes: tuple[Any, Any] | None = None

    def __init__(self, tree: Tree, surrogate: Callable[..., Any] | None, *functions: Any) -> None:
        super().__init__(*functions, surrogate)
        self.tree, self.surrogate = tree, surrogate
        self.runs = self.pulls = 0
        self.seen: dict[frozenset[int], int] = {}
        self.unprobed: dict[int, str] = {}
        self.none: set[tuple[int, int]] = set()
        self.narrowed = 0.0
        self.outs: Tree

    @property
    def unit(self) -> float:
        """Of the coarsest format that the inputs do not show, 0 if there is none."""
        return max(self.tree.unit, self.narrowed)

    def _units(self) -> tuple[list[float], list[float]]:
        """Units in the last place of the inputs and of the outputs that have a gradient."""
        found = []
        for tree in (self.tree, self.outs):
            formats = [np.finfo(tree.leaves[i].dtype) for i in tree.real]
            found.append([float(form.eps) for form in formats])
        return found[0], found[1]

    # What a library does -----------------------------------------------------------------------

    def _run(self, leaves: Sequence[Array]) -> Any:
        """Outputs of forward, in their structure, as NumPy arrays."""
        raise NotImplementedError

    def _run_surrogate(self, leaves: Sequence[Array]) -> Any:
        """Outputs of the surrogate."""
        raise NotImplementedError

    def _pull(
        self, leaves: Sequence[Array], cotangents: Cotangents, undefined: bool
    ) -> dict[int, Any]:
        """Gradients by input."""
        raise NotImplementedError

    def protocol(self, weights: Cotangents) -> None:
        """Do what the library may do to a backward function, beyond one call each."""

    def beside(self) -> list[Array]:
        """Other inputs nearby, to see what a call there leaves behind."""
        return [
            (x * (1 + BESIDE)).astype(x.dtype) if x.dtype.kind == "f" else x
            for x in self.tree.leaves
        ]

    # What is common to all ---------------------------------------------------------------------

    def begin(self) -> Tree:
        """Run forward twice, which must agree; its outputs as a tree."""
        first, names = self.watched(lambda: self._run(self.tree.leaves))
        self.outs = Tree.of(first, "outputs", empty=True)
        self.probed = self.outs.real
        inputs, outputs = self._units()
        if min(outputs, default=0.0) > max(inputs):
            self.narrowed = min(outputs)
        if names and not close(self._outputs(first), self._outputs(self._run(self.tree.leaves))):
            raise keeps_state("forward", names)
        if self.surrogate is not None:
            other = Tree.of(self._run_surrogate(self.tree.leaves), "outputs")
            if [x.shape for x in other.leaves] != [x.shape for x in self.outs.leaves]:
                raise UsageError(
                    "the surrogate's outputs have the shapes "
                    f"{', '.join(str(x.shape) for x in other.leaves)}, those of forward "
                    f"{', '.join(str(x.shape) for x in self.outs.leaves)}"
                )
        return self.outs

    def _outputs(self, result: Any) -> list[Array]:
        return [np.asarray(x) for x in flatten(result)]

    def outputs(self, leaves: Sequence[Array]) -> list[Array]:
        """Outputs at inputs, flat.

        Raises
        ------
        UsageError
            They are others than at the first inputs, in number or shape.
        """
        run = self._run if self.surrogate is None else self._run_surrogate
        found = self._outputs(run(leaves))
        if [x.shape for x in found] != [x.shape for x in self.outs.leaves]:
            raise UsageError("forward returns outputs of other shapes at other inputs")
        return found

    def pull(
        self, leaves: Sequence[Array], cotangents: Cotangents, *, undefined: bool | None = None
    ) -> dict[int, Any]:
        """Gradients by input for the cotangents of some outputs."""
        undefined = self.undefined if undefined is None else undefined
        self.pulls += 1
        found, names = self.watched(
            lambda: self._pull(leaves, cotangents, undefined), watch=self.pulls == 1
        )
        if names:
            self._judge_changes(names, leaves, cotangents, found)
        return found

    def near(self, rng: np.random.Generator) -> list[Array]:
        """The leaves with every entry moved by a unit in the last place, up or down."""
        out = list(self.tree.leaves)
        for i in self.tree.real:
            unit = max(self.unit, float(np.finfo(out[i].dtype).eps))
            moved = out[i] * (1 + unit * rng.choice([-1.0, 1.0], size=out[i].shape))
            out[i] = moved.astype(out[i].dtype)
        return out

    def _watched(self, cotangents: Cotangents) -> bool:
        """Whether arguments are looked at after this call: the first ones for each output."""
        key = frozenset(cotangents)
        self.seen[key] = self.seen.get(key, 0) + 1
        return self.seen[key] <= WATCHED_CALLS

    def _judge_changes(
        self, names: list[str], leaves: Sequence[Array], cotangents: Cotangents, found: Any
    ) -> None:
        """Forward and backward changed data that they can reach: does anything depend on it?"""
        first = list(self.outs.leaves)
        self.check_data(
            "backward", names, "forward", lambda: self._outputs(self._run(self.tree.leaves)),
            first, self.unit,
        )  # fmt: skip
        self.check_state(
            "backward", names, lambda: self._pull(leaves, cotangents, False), found, self._agree
        )

    def _agree(self, a: Mapping[int, Any], b: Mapping[int, Any]) -> bool:
        """Whether two pulls give the same gradients; None has none to compare."""
        return all(g is None or b.get(i) is None or close(g, b[i], self.unit) for i, g in a.items())


def deviation(gradient: Array, near: Array) -> float:
    """What rounding may change a gradient by, from that at a neighbour; 0 if that is no number.

    Where terms cancel, another layout of the same numbers may change all digits that are left.
    """
    gap = NOISES * float(np.linalg.norm((gradient.astype(np.float64) - near).ravel()))
    return 0.0 if np.isnan(gap) else gap


class ArrayPair(Pair):
    """Functions of NumPy arrays with a cache between them."""

    def __init__(
        self,
        tree: Tree,
        forward: Callable[..., Any],
        backward: Callable[..., Any],
        *,
        cached: bool = True,
        surrogate: Callable[..., Any] | None = None,
    ) -> None:
        check_function(forward, "forward")
        check_function(backward, "backward")
        super().__init__(tree, surrogate, forward, backward)
        self.forward, self.backward, self.cached = forward, backward, cached
        self.passes = surrogate or forward, backward
        self._held = Held(tree)

    def protocol(self, weights: Cotangents) -> None:
        """A layer that is used twice runs forward again before its first backward.

        And cotangents may be views, as of a transpose or a part of other arrays; and all arrays may
        be those of an earlier call, with other numbers in them.
        """
        self.pull(self.tree.leaves, weights)  # the first call is watched
        early, again = self._late(weights, False), self._rewritten(weights)
        if early is None or again is None or not self._alike(early, again):
            if early is not None and again is not None and self._steady(early, weights):
                same = close(again[0], list(self.outs.leaves), self.unit)
                self.note(remembers_arrays("backward" if same else "forward"))
            return
        viewed = self._late(weights, False, viewed_in_part)
        if viewed is not None and not self._only_rounded(early, viewed, weights):
            self.note(strided_cotangents())
        late = self._late(weights, True) if self.cached else None
        if late is None:
            return
        if not self._only_rounded(early, late, weights):
            text = (
                "backward reads what the last call of forward left, besides its cache: where "
                "forward has run once more in between, at other inputs, it gives another gradient "
                "(a layer used twice, or for two batches)"
            )
            self.note(Finding("interleaved", text))

    def _only_rounded(self, early: list[Array], other: list[Array], weights: Cotangents) -> bool:
        """Whether gradients are the same but for rounding, of which neighbours are asked."""
        if len(early) != len(other):
            return False
        rounding, rng = [0.0] * len(early), np.random.default_rng(SEED)
        for calls in range(MOST_NEAR + 1):
            pairs = zip(early, other, rounding, strict=True)
            if all(close(a, b, self.unit, r) for a, b, r in pairs):
                return True
            near = self._late(weights, False, leaves=self.near(rng)) if calls < MOST_NEAR else None
            if near is not None and len(near) == len(early):
                gaps = map(deviation, early, near)
                rounding = [max(r, gap) for r, gap in zip(rounding, gaps, strict=True)]
        return False

    def _rewritten(self, weights: Cotangents) -> tuple[list[Array], list[Array]] | None:
        """Outputs and gradients in arrays that held other numbers in a call before."""
        bars = self._weights(weights)
        if self._in(self._held.beside(), bars) is None:
            return self._in(Held(self.tree).here(), bars)  # it does not take other numbers
        return self._in(self._held.here(), bars)

    def _in(self, held: Held, bars: list[Array]) -> tuple[list[Array], list[Array]] | None:
        """Outputs and gradients in these very arrays; None where that fails."""
        try:
            made, cache = self._forward(held.leaves, [x.copy() for x in held.leaves])
            outputs = [np.array(y) for y in self._outputs(made)]
            cache = cache if self.cached else self.tree.build(held.leaves)
            raw = call("backward", self.backward, self.outs.build(bars), cache)
            found = given_gradients(raw, self.tree)
            return outputs, [np.array(g) for g in found.values() if g is not None]
        except Exception:  # what fails loudly does so in the check itself, or is no wrong gradient
            return None

    def _alike(self, early: list[Array], again: tuple[list[Array], list[Array]]) -> bool:
        """Whether outputs and gradients are those of the first calls."""
        return close([*self.outs.leaves, *early], [*again[0], *again[1]], self.unit)

    def _steady(self, early: list[Array], weights: Cotangents) -> bool:
        """Whether new arrays give the same again."""
        again = self._in(Held(self.tree).here(), self._weights(weights))
        return again is not None and self._alike(early, again)

    def _weights(
        self, weights: Cotangents, layout: Callable[[Array], Array] = np.copy
    ) -> list[Array]:
        """Cotangents of all outputs, zeros for those that have none."""
        return [
            layout(weights[k]) if k in weights else np.zeros_like(x)
            for k, x in enumerate(self.outs.leaves)
        ]

    def _late(
        self,
        weights: Cotangents,
        between: bool,
        layout: Callable[[Array], Array] = np.copy,
        leaves: Sequence[Array] | None = None,
    ) -> list[Array] | None:
        """Gradients from a cache, perhaps after another call of forward; None where that fails."""
        leaves = self.tree.leaves if leaves is None else leaves
        given = self._given(leaves)
        try:
            _, cache = self._forward(given, leaves)
            if between:
                self._run(self.beside())
            cache = cache if self.cached else self.tree.build(given)
            own = self._weights(weights, layout)
            raw = call("backward", self.backward, self.outs.build(own), cache)
            found = given_gradients(raw, self.tree)
            return [np.array(g) for g in found.values() if g is not None]
        except Exception:  # what fails loudly does so in the check itself, or is no wrong gradient
            return None

    def _call(self, function: Callable[..., Any], who: str, leaves: Sequence[Array]) -> Any:
        inputs = self.tree.build(leaves)
        if isinstance(inputs, Mapping):
            return call(who, function, **inputs)
        return call(who, function, *self.tree.arguments(leaves))

    def _given(self, leaves: Sequence[Array]) -> list[Array]:
        """Copies in the layout of the inputs as they were given."""
        return [x.copy("K") for x in laid_out(leaves, self.tree.leaves)]

    def _run(self, leaves: Sequence[Array]) -> Any:
        return self._forward(self._given(leaves), leaves)[0]

    def _run_surrogate(self, leaves: Sequence[Array]) -> Any:
        assert self.surrogate is not None
        given = self._given(leaves)
        return self._split(self._call(self.surrogate, "the surrogate", given), False)[0]

    def _forward(self, given: Sequence[Array], leaves: Sequence[Array]) -> tuple[Any, Any]:
        result = self._split(self._call(self.forward, "forward", given), self.cached)
        if self.runs < WATCHED_CALLS:
            self.unchanged("forward", self.tree.names, given, leaves)
        self.runs += 1
        return result

    def _split(self, result: Any, cached: bool) -> tuple[Any, Any]:
        if not cached:
            return result, None
        if not isinstance(result, tuple) or len(result) != 2:
            lazy = unevaluated(result)
            way = f"and returns {lazy}" if lazy else "pass cache=False if it returns outputs only"
            raise UsageError(f"forward must return (outputs, cache); {way}")
        return result

    def _pull(
        self, leaves: Sequence[Array], cotangents: Cotangents, undefined: bool
    ) -> dict[int, Any]:
        given = self._given(leaves)
        _, cache = self._forward(given, leaves)
        if not self.cached:
            cache = self.tree.build(given)
        watched = self._watched(cotangents)
        before = checksum(cache) if watched else {}
        weights = self._weights(cotangents)
        kept = [w.copy() for w in weights]
        raw = call("backward", self.backward, self.outs.build(weights), cache)
        found = given_gradients(raw, self.tree)
        if watched:
            found = {i: None if g is None else np.array(g) for i, g in found.items()}
            if not all(np.array_equal(a, b) for a, b in zip(kept, weights, strict=True)):
                self.note(changed_cotangents())
            kept_inputs = self.unchanged("backward", self.tree.names, given, leaves)
            if kept_inputs and checksum(cache) != before:

                def again() -> dict[int, Any]:
                    raw = call("backward", self.backward, self.outs.build(kept), cache)
                    return given_gradients(raw, self.tree)

                self.check_cache(again, found, _same)
        return found


def _same(a: Mapping[int, Any], b: Mapping[int, Any]) -> bool:
    return all(
        (g is None) == (b[i] is None) and (g is None or close(g, b[i])) for i, g in a.items()
    )
