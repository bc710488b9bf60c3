"""The loss and gradient under test at a point: calls get copies, every answer is inspected."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..checks import check_function
from ..errors import UsageError
from .budget import Budget
from .guard import (
    LOSS_AND_GRADIENT,
    NOWHERE,
    WATCHED_CALLS,
    Nouns,
    UserCode,
    call,
    call_at,
    close,
    keeps_state,
)
from .in_place import Held
from .known import tells
from .memory import Reused, laid_out, moved_array, same_or_copy
from .oracle.line_functions import Lines
from .reachable import differing, drawn
from .returned import coarse_formats, is_pair, shared_memory
from .scales import Sizes, all_finite
from .trees import Tree, is_scalar, match_gradient, not_scalar, plain
from .verdict import Finding

__all__ = ["Budget", "Target"]

Array = NDArray[Any]
Floats = NDArray[np.float64]
Arguments = tuple[Any, ...]
#: Calls of the loss after which the arguments that did not move are compared with the originals.
COMPARED_EVERY = 64


class Target(UserCode):
    """A loss and its gradient at one point.

    Parameters
    ----------
    loss, gradient
        The functions under test. `gradient` None means that `loss` returns (value, gradient).
    tree
        The point.
    select
        Positions of the leaves to check.
    budget
        Limit of loss evaluations.
    unit
        Of the format computed in, relative, where arrays do not show it.
    nouns
        What the functions are called in findings.
    """

    def __init__(
        self,
        loss: Callable[..., Any],
        gradient: Callable[..., Any] | None,
        tree: Tree,
        select: Sequence[int],
        budget: Budget,
        unit: float = 0.0,
        nouns: Nouns = LOSS_AND_GRADIENT,
    ) -> None:
        """Nothing is called yet."""
        check_function(loss, "loss")
        if gradient is not None:
            check_function(gradient, "gradient")
        super().__init__(loss, gradient)
        self.loss, self.gradient_function, self.tree = loss, gradient, tree
        self.select, self.budget, self.nouns = list(select), budget, nouns
        self.evaluations = self.gradients = 0
        self.returned_value: float | None = None
        self.unit = self.value_eps = unit
        #: Whether an entry has refuted the gradient, with no step of the loss in the way.
        self.refuted = False
        self.responds = self.draws = False  # of the loss: random numbers, in its first call
        self.found_step: int | None = None  # log2 of the best step so far ÷ the scale of its leaf
        self.borne_out = False  # whether smaller steps have borne out wrong entries of a block
        self.random = False  # whether the loss differs between calls by more than rounding
        self.base = float("nan")
        self.workers = 1  # processes that losses are spread over
        sizes = Sizes(tree.leaves)
        self.scale, self.reach, self.alike = sizes.scale, sizes.reach, sizes.alike
        self._units: dict[int, float] = {}
        self._kept = [leaf.copy("K") for leaf in tree.leaves]
        self.held = Held(tree)  # given after others alone
        self._first: dict[int, Floats] | None = None
        self.keeps: list[str] = []  # what its first call changed: a cache, perhaps
        self._used = Reused()
        self._looked: tuple[int, int, dict[str, Any]] | None = None

    def _look(self) -> dict[str, Any]:
        """What the functions can reach, looked at once where nothing has been called in between."""
        calls = self.evaluations, self.gradients
        if self._looked is None or self._looked[:2] != calls:
            self._looked = *calls, self.look()
        return self._looked[2]

    def moved(self, leaves: Sequence[Array]) -> Target:
        """The same functions at another point."""
        laid = tuple(laid_out(leaves, self.tree.leaves))
        tree = Tree(self.tree.template, self.tree.names, laid)
        other = Target(
            self.loss, self.gradient_function, tree, self.select, self.budget, self.unit, self.nouns
        )
        other.value_eps, other.findings = self.value_eps, self.findings
        other.random = self.random
        return other

    def find(self, kind: str, message: str, *, fatal: bool = False) -> None:
        """Note something once."""
        self.note(Finding(kind, message, fatal))

    def raw(self, leaves: Sequence[Array], arguments: Arguments | None = None) -> Any:
        """What the loss returns at `leaves`, or `arguments` that hold them; it may change both."""
        self.budget.spend(1)
        value = self.at(self.nouns.loss, self.loss, self.tree, leaves, arguments)
        self.evaluations += 1
        if self.gradient_function is None and value is not NOWHERE:
            if not isinstance(value, tuple) or len(value) != 2:
                raise UsageError(
                    "without a gradient function the loss must return (value, gradients); "
                    "pass the gradient function or return both"
                )
            value = value[0]
        return value

    def value(self, leaves: Sequence[Array]) -> float:
        """Loss at `leaves`. What has moved is copied, what has not is given again and compared.

        Raises
        ------
        UsageError
            The loss is not a real scalar.
        UserCodeError
            It exits, or its value at one point depends on earlier calls.
        """
        if self.evaluations == 0:
            before = self._look()
            first = self.evaluate(leaves)
            now = self._look()
            names, self.draws = differing(before, now), drawn(before, now)
            if names and not close(first, self.evaluate(leaves), self.value_eps):
                raise keeps_state(self.nouns.loss, names)
            return first
        return self.evaluate(leaves)

    def evaluate(
        self, leaves: Sequence[Array], *, fresh: bool = False, watched: bool = True
    ) -> float:
        """As `value`, but for what is looked at around the first call.

        What is `fresh` was made for this call, and needs a copy only where it is compared. Of those
        that are `watched` the first calls are, and some of the others.
        """
        own, kept, calls = self.tree.leaves, self._kept, self.evaluations
        leaves = laid_out(leaves, own)
        watched &= calls < WATCHED_CALLS or calls % COMPARED_EVERY == 0
        given = [
            k if a is b else self._used.copy(i, a) if watched or not fresh else a
            for i, (a, b, k) in enumerate(zip(leaves, own, kept, strict=True))
        ]
        raw = self.raw(given)
        value = self._number(raw, calls)
        if watched:
            self._compare(given, leaves, self.nouns.loss)
            dtype = np.asarray(plain(raw)).dtype
            if dtype.kind == "f" and dtype.itemsize < 8:
                self.value_eps = max(self.unit, float(np.finfo(dtype).eps))
        return value

    def _number(self, raw: Any, calls: int) -> float:
        """What the loss returned after so many calls, which must be a real scalar."""
        if type(raw) is not float and not is_scalar(raw):
            raise UsageError(f"the loss returned {not_scalar(raw)}{_late(calls)}")
        value = self.scalar(raw)
        if not self.responds and value != self.base and self.base == self.base:
            self.responds = True
        return value

    @staticmethod
    def scalar(raw: Any) -> float:
        """What the loss returned, as a number."""
        return raw if type(raw) is float else float(np.asarray(plain(raw)).reshape(()))

    def compare_kept(self) -> None:
        """Compare the arguments that were given again and again with the originals."""
        self._compare(self._kept, self.tree.leaves, self.nouns.loss)

    def _noticed(self) -> tuple[list[Finding], bool, float]:
        """In a fork: what it has noticed, for `spread`."""
        self.compare_kept()
        return self.findings, self.responds, self.value_eps

    @property
    def first(self) -> dict[int, Floats]:
        """What the first call of the gradient gave at the point, by leaf."""
        return self._first or {}

    @property
    def differentiated(self) -> bool:
        """Whether the gradient has been called at the point."""
        return self._first is not None

    def _compare(self, now: Sequence[Array], before: Sequence[Array], who: str) -> None:
        if not self.unchanged(who, self.tree.names, now, before):
            self._kept = [leaf.copy("K") for leaf in self.tree.leaves]

    def gradient_at(self, leaves: Sequence[Array], *, look: bool = False) -> dict[int, Floats]:
        """Gradients by leaf position, as float64 copies, at `leaves` (copied before the call).

        What its first two calls change is looked at, and what those do that are to be looked at.

        Raises
        ------
        UsageError, DimensionError
            Missing, extra, misshapen or not floating-point gradients.
        UserCodeError
            The function exits, or what it gives at one point depends on earlier calls.
        """
        here = leaves is self.tree.leaves
        before = self._look() if look or self.gradients < 2 else None
        found = self.gradient(leaves)
        if not here:
            self.see_finite(found, leaves)
        elif self._first is None:
            self._first = found
            if before is not None:
                self.keeps = differing(before, self._look())
                self._data_of_the_loss(self.keeps)
        elif before is not None and not self.steady(found):
            names = differing(before, self._look())
            if names:
                raise keeps_state(self.nouns.gradient, names)
        return found

    def gradient(self, leaves: Sequence[Array]) -> dict[int, Floats]:
        """As `gradient_at`, without a comparison with earlier calls."""
        copies = [self._used.copy(i, x) for i, x in enumerate(laid_out(leaves, self.tree.leaves))]
        found = self.returned(copies)
        if self.gradients <= WATCHED_CALLS:
            self._compare(copies, leaves, self.nouns.gradient)
            self._inspect(found, copies)
        return self._copied(found, self.first if leaves is self.tree.leaves else {})

    def gradient_in(self, held: Held) -> dict[int, Floats]:
        """As `gradient`, in arrays that may have been written to since a call with them."""
        return self._copied(self.returned(held.leaves, held.arguments()), self.first)

    @staticmethod
    def _copied(found: dict[int, Array], known: dict[int, Floats]) -> dict[int, Floats]:
        return {i: same_or_copy(known.get(i), g) for i, g in found.items()}

    def returned(
        self, given: Sequence[Array], arguments: Arguments | None = None
    ) -> dict[int, Array]:
        """What the gradient function returns for arrays that are its own, by leaf position."""
        self.budget.spend()
        self.gradients += 1
        function, who = self.gradient_function, self.nouns.gradient
        if function is None:
            raw = call_at(self.nouns.loss, self.loss, self.tree, given, arguments)[1]
        else:
            raw = call_at(who, function, self.tree, given, arguments)
        if function is not None and is_pair(raw, self.tree):
            self.returned_value = float(np.asarray(plain(raw[0])).reshape(()))
            raw = raw[1]
        found = {i: np.asarray(g) for i, g in match_gradient(raw, self.tree, self.select).items()}
        for i, array in found.items():
            if array.dtype.kind != "f":
                raise UsageError(
                    f"the gradient of '{self.tree.names[i]}' has dtype {array.dtype}; "
                    f"return floating point{_late(self.gradients - 1)}"
                )
        return found

    def _inspect(self, found: dict[int, Array], copies: Sequence[Array]) -> None:
        for finding in (
            *coarse_formats(found, self.tree),
            *shared_memory(found, copies, self.tree),
        ):
            self.note(finding)

    def steady(self, gradient: dict[int, Floats]) -> bool:
        """Whether the gradient at the point agrees with that of the first call there."""
        first = self._first or {}
        return all(
            g is first[i]
            or (
                bool(np.isfinite(g).all()) == bool(np.isfinite(first[i]).all())
                and close(g, first[i], self.format_eps(i))
            )
            for i, g in gradient.items()
        )

    def format_eps(self, i: int) -> float:
        """Unit of the format of one leaf and its gradient, relative."""
        if i not in self._units:
            self._units[i] = max(self.unit, float(np.finfo(self.tree.leaves[i].dtype).eps))
        return self._units[i]

    def see_finite(self, gradient: dict[int, Floats], leaves: Sequence[Array]) -> None:
        """Fail a gradient that ceases to be finite where the loss is finite."""
        for i, g in gradient.items():
            if self._first is None or all_finite(g):
                continue
            known = any(f.kind == "not-finite" for f in self.findings)
            if known or not np.isfinite(self._first[i]).all():
                continue
            if np.isfinite(self.evaluate(leaves)):
                self.find(
                    "not-finite",
                    f"the gradient of '{self.tree.names[i]}' is not finite in call "
                    f"{self.gradients}, at a point where {self.nouns.loss} is",
                    fatal=True,
                )

    def _data_of_the_loss(self, names: list[str]) -> None:
        """Fail a gradient function that changes what the loss reads besides its arguments."""
        if names and not np.isnan(self.base):
            here, eps = self.tree.leaves, self.value_eps
            loss, gradient = self.nouns
            self.check_data(gradient, names, loss, lambda: self.evaluate(here), self.base, eps)

    def lines(self, block: int, vectors: Floats | NDArray[np.intp]) -> Lines:
        """Lines through the point within one leaf.

        `vectors` are flat entry numbers (m,), or directions (m, *shape of the leaf).
        """
        leaf, leaves = self.tree.leaves[block], list(self.tree.leaves)
        entrywise = vectors.dtype.kind == "i"
        flat, plain = leaf.ravel(), leaf.flags.c_contiguous

        def moved(eps: Floats, first: int, last: int) -> Iterator[Array]:
            """The leaf at some of the steps (k, m), one after another."""
            if not entrywise:
                for at in range(first, last):
                    k, i = divmod(at, len(vectors))
                    yield moved_array(leaf, eps[k, i], vectors[i])
                return
            entries = (flat[vectors] + eps.astype(leaf.dtype)).ravel()[first:last]
            places = vectors[None].repeat(len(eps), axis=0).ravel()[first:last]
            for i, entry in zip(places.tolist(), entries.tolist(), strict=True):
                copy = leaf.copy("K")
                (copy.ravel() if plain else copy.flat)[i] = entry
                yield copy

        def evaluate(eps: Floats) -> Floats:
            if tells(self.loss, "many") and eps.size:
                stack = np.stack(list(moved(eps, 0, eps.size)))
                return np.asarray(self.many(block, stack).reshape(eps.shape), dtype=np.float64)

            def run(first: int, last: int) -> Floats:
                out, given = np.empty(last - first), self._kept.copy()
                for k, there in enumerate(moved(eps, first, last)):
                    calls = self.evaluations
                    if calls < WATCHED_CALLS or calls % COMPARED_EVERY == 0:
                        leaves[block] = there
                        out[k] = self.evaluate(leaves, fresh=True)
                        given = self._kept.copy()
                        continue
                    given[block] = there
                    raw = self.raw(given)
                    known = self.responds and type(raw) is float
                    out[k] = raw if known else self._number(raw, calls)
                return out

            if self.workers == 1 or np.isfinite(self.budget.left()):
                return run(0, eps.size).reshape(eps.shape)
            from .parallel import spread

            values, states = spread(run, eps.size, self.workers, self._noticed)
            for count, (findings, responds, unit) in states:
                self.budget.spend(count)
                self.evaluations += count
                for finding in findings:
                    self.note(finding)
                self.responds |= responds
                self.value_eps = max(self.value_eps, unit)
            return values.reshape(eps.shape)

        def realise(eps: Floats) -> Floats:
            if not entrywise:
                return eps
            x = flat[vectors]
            with np.errstate(all="ignore"):  # a step may leave a narrow format
                return np.asarray((x + eps.astype(leaf.dtype)) - x, dtype=np.float64)

        return Lines(evaluate, len(vectors), realise)

    def many(self, block: int, stack: Array, leaves: Sequence[Array] | None = None) -> Array:
        """Losses at many values of one leaf at once, ``(N, *shape)`` to (N,); others at `leaves`.

        For losses with a method ``many(parameters, stacks)``: a definition runs on stacked
        perturbations in a fraction of the time that one run each would take.
        """
        return self._stacked(self.tree.leaves if leaves is None else leaves, {block: stack})

    def _stacked(self, leaves: Sequence[Array], stacks: dict[int, Array]) -> Array:
        function: Any = self.loss
        given = {self.tree.names[i]: stack for i, stack in stacks.items()}
        count = len(next(iter(given.values())))
        self.budget.spend(count)
        arguments = self.tree.build([leaf.copy() for leaf in leaves]), given
        values = np.asarray(call(self.nouns.loss, function.many, *arguments))
        self.evaluations += count
        if np.any(values != self.base):
            self.responds = True
        return values

    def along(self, directions: dict[int, Floats], step: float) -> list[Array]:
        """The leaves moved by a step along directions."""
        leaves = list(self.tree.leaves)
        for i, v in directions.items():
            leaves[i] = self._used.moved(i, leaves[i], step, v)
        return leaves

    def across(
        self, directions: dict[int, Floats], *, watched: bool = True
    ) -> Callable[[Floats], Floats]:
        """Values along one line that moves several leaves at once: steps (k,) to values (k,)."""

        def evaluate(eps: Floats) -> Floats:
            # A step of zero is the point itself, whose value must be the same in every bit.
            there = np.flatnonzero(eps)
            if len(there) < 2 or not tells(self.loss, "many"):
                made = (self.along(directions, e) for e in eps)
                return np.array([self.evaluate(x, fresh=True, watched=watched) for x in made])
            points, values = [self.along(directions, e) for e in eps[there]], np.empty(len(eps))
            stacks = {i: np.stack([leaves[i] for leaves in points]) for i in directions}
            values[there] = self._stacked(self.tree.leaves, stacks)
            for k in np.flatnonzero(eps == 0):
                values[k] = self.value(self.along(directions, 0.0))
            return values

        return evaluate


def _late(calls: int) -> str:
    """Words for what happens in a later call only."""
    return f" (in call {calls + 1}, not before)" if calls else ""
