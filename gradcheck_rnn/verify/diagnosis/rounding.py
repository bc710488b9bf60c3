"""How far the rounding of every operation carries a gradient that is written as it is.

A backward pass reads what the forward pass saved: 1 − h ⊙ h for tanh′. Near saturation the rounding
of h alone ruins that difference, in any correct code; no movement of the inputs by one unit shows
it, because h does not move with them. Here the derived program is run with the result of every
operation moved by one unit. Only the spread of the results is used, never their values: it is of
the size of the rounding whether or not the program is right, so that it cannot hide a fault.

A function may also be evaluated in another form, which rounds numbers of the size of its range: σ
as (1 + tanh(x/2))/2 is known to half a unit of one, not of itself, and is zero where that is all of
it. Hardware does the same (an approximate tanh has an absolute error). `in_other_forms` moves every
function by that much.

Where rounding carries the argument of a root, of a logarithm or of a quotient to its zero (1 − a²
where a rounds to one), the formula is none to compute in that format: no digit of what it gives
there is known, nor need it be a number. What depends on it has no bound.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ...calculus import terms as T
from ...calculus.printing.text import to_text
from ...calculus.terms import Sym, Term
from ...derivation import Derivation, derive
from ...derivation.evaluate import Run
from ...derivation.numeric_terms import TermEvaluator
from ...derivation.weight_products import WeightProducts
from ...language.network import Network
from ...language.running import to_rows
from ...streams import Stream, generator, random_signs
from ..harness.layout import Fitted
from ..harness.modelpoint import ModelPoint
from ..harness.plan import Case
from ..harness.sweep import LOSS
from .stacked_cotangents import pulled_back, stacked_columns

__all__ = ["SavedRounding", "in_other_forms", "randomly_rounded"]

Array = NDArray[Any]
DRAWS = 4
#: Random signs that large results take theirs from, each from a place of its own.
SIGNS = 2**18
#: Entries of all arrays times cases up to which the cases of a point are taken together.
TOGETHER = 2**17
#: The same up to which all draws are one run: there operations cost more than their arrays.
AT_ONCE = 2**14
#: Functions that are known to a unit of their own value in whatever form they are written.
RELATIVE = frozenset({"sqrt", "log", "relu"})
#: Functions whose range is narrower than one: σ is half of 1 + tanh.
RANGE = {"sigmoid": 0.5}
#: Where functions end, or have no slope.
EDGES = {"sqrt": 0.0, "log": 0.0, "log1p": -1.0}
#: An argument that is no larger than so many times its rounding may be zero.
REACH = 4.0


class Rounded(TermEvaluator):
    """An evaluator that moves the result of every operation by one unit up or down.

    Not a number, where moved: what is computed of an argument that rounding carries to its edge.
    A kink that rounding may cross is crossed in every second draw.

    Attributes
    ----------
    factors : callable
        Factors of one unit up or down, of a shape.
    draws : int
        If not 0, every result is there 1 + draws times: as it is, and moved so many times.
    Still : type
        Without draws, what moves nothing and has to run first, else no edge is seen.
    reached : dict
        The arguments that have been carried to their edges.
    unmoved : list
        The arguments with an edge as they are, in the order in which every run meets them.
    numbers : iterator
        Tells one run from the next.
    """

    factors: ClassVar[Callable[[tuple[int, ...]], Array]]
    draws: ClassVar[int]
    Still: ClassVar[type[TermEvaluator]]
    still: ClassVar[bool] = False
    reached: ClassVar[dict[Term, None]]
    unmoved: ClassVar[list[Array]]
    numbers: ClassVar[Iterator[int]]

    def __init__(self, sizes: Mapping[str, int], dtype: Any) -> None:
        super().__init__(sizes, dtype)
        self._held: dict[int, Array] = {}  # by the identity of an operand with an edge
        self._met, self._number = 0, next(type(self).numbers)

    def __call__(self, term: Term, lookup: Callable[[Sym], Any]) -> Any:
        """The value of a term, with all operations in it moved."""
        if isinstance(term, T.Greater):
            left, right = (self(x, lookup) for x in term.operands)
            return self._either(left - right)
        operand, _ = edge = _edge(term)
        if operand is not None:
            self._held.setdefault(id(operand), np.zeros(()))
        found = super().__call__(term, lookup)
        if term.operands and not self.still:
            found = self._rounded(found)  # variables have been when they were made
        if id(term) in self._held:
            self._held[id(term)] = found
        if operand is not None:
            self._leave_out(found, self._held[id(operand)] - edge[1], operand)
        return found

    def _rounded(self, found: Array) -> Array:
        if not self.draws:
            return np.asarray(found * type(self).factors(found.shape))
        found = found[(None,) * (4 - found.ndim)]
        out = np.empty((1 + self.draws, *found.shape[1:]), found.dtype)
        out[0] = found[0]
        moved = found[-self.draws :]  # all that are moved, or the only one there is
        np.multiply(moved, type(self).factors(out[1:].shape), out=out[1:])
        return out

    def _leave_out(self, found: Array, x: Array, operand: Term) -> None:
        """Make a result no number where x may be zero for all that is known of its operand."""
        near = self._near(x)
        if near is not None:
            self.reached[operand] = None
            moved = found[1:] if self.draws else found
            moved[...] = np.where(near, np.nan, moved)

    def _either(self, x: Array) -> Array:
        """[x > 0], the other way in every second draw where rounding may turn it."""
        found = (x.real > 0).astype(x.dtype)
        near = self._near(x)
        if near is not None and self.draws:
            found[1::2] = np.where(near, 1 - found[0], found[1::2])
        elif near is not None and self._number % 2:
            found = np.where(near, 1 - found, found)
        return found

    def _near(self, x: Array) -> Array | None:
        """Where x may be zero for all that is known of it; None if nowhere, or not moved."""
        if self.draws:
            if x.ndim < 4 or len(x) == 1:
                return None
            moved, x = x[1:], x[0]
        elif self.still:
            self.unmoved.append(x)
            return None
        else:
            self._met += 1
            if self._met > len(self.unmoved):
                return None
            moved, x = x[None], self.unmoved[self._met - 1]
        with np.errstate(all="ignore"):
            slip = np.max(np.abs(moved - x), axis=0)
            near = (slip > 0) & (np.abs(x) <= REACH * slip)
        return near if near.any() else None


def _edge(term: Term) -> tuple[Term | None, float]:
    """The operand that a term, or its slope, has an end in, and where; None if it has none."""
    if isinstance(term, T.Divide):
        return term.operands[1], 0.0
    if isinstance(term, T.Power) and not (term.exponent.is_Integer and term.exponent >= 0):
        return term.operands[0], 0.0
    if isinstance(term, T.Apply) and term.fname in EDGES:
        return term.x, EDGES[term.fname]
    return None, 0.0


def randomly_rounded(eps: float, rng: np.random.Generator, draws: int = 0) -> type[Rounded]:
    """An evaluator that moves the result of every operation by one unit up or down.

    With ``draws`` every result is there 1 + draws times, (1 + draws, K, n, B) with an axis for
    several cotangents: as it is, and moved so many times.
    """
    units = np.array([1 - eps, 1 + eps])
    drawn = _drawn(eps, rng)

    def factors(shape: tuple[int, ...]) -> Array:
        size = math.prod(shape)
        if size <= SIGNS:
            at = int(rng.integers(0, SIGNS))
            return drawn[at : at + size].reshape(shape)
        return units[rng.integers(0, 2, size=shape, dtype=np.int8)]

    class RandomlyRounded(Rounded):
        pass

    made = RandomlyRounded
    made.factors, made.draws = staticmethod(factors), draws
    made.reached, made.unmoved, made.numbers = {}, [], count()
    made.Still = type("Still", (made,), {"still": True})
    return made


#: By unit and state of a generator: the units that it draws, and its state then.
_DRAWN: dict[tuple[float, str], tuple[Array, Any]] = {}
MOST_DRAWN = 4


def _drawn(eps: float, rng: np.random.Generator) -> Array:
    """One unit up or down at 2 `SIGNS` places, drawn once from generators in the same state."""
    bits = rng.bit_generator
    key = eps, repr(bits.state)
    if key not in _DRAWN:
        if len(_DRAWN) >= MOST_DRAWN:
            _DRAWN.clear()
        drawn = np.array([1 - eps, 1 + eps])[rng.integers(0, 2, size=2 * SIGNS)]
        _DRAWN[key] = drawn, bits.state
    drawn, bits.state = _DRAWN[key]
    return drawn


def in_other_forms(eps: float, rng: np.random.Generator, draws: int = 0) -> type[Rounded]:
    """As `randomly_rounded`, with functions known to a unit of their range or of their argument.

    Exponentials and softmax are known to as many units as their argument has: exp(x) is
    2^(x log₂ e), the product rounded.
    """
    rounded = randomly_rounded(eps, rng, draws)

    class Reformed(rounded):  # type: ignore[misc, valid-type]
        def __call__(self, term: Term, lookup: Callable[[Sym], Any]) -> Any:
            found = super().__call__(term, lookup)
            size = self._range(term, np.abs(found), lookup)
            if size is None:
                return found
            signs = random_signs(rng, found.shape)
            if draws:
                signs[0] = 0.0
            return found + eps * size * signs

        def _range(self, term: Term, y: Array, lookup: Callable[[Sym], Any]) -> Any:
            with np.errstate(all="ignore"):
                if isinstance(term, T.Softmax) or (
                    isinstance(term, T.Apply) and term.fname == "exp"
                ):
                    return np.nan_to_num(y * np.abs(np.log(y)))
                if isinstance(term, T.LogSoftmax | T.CrossEntropy):
                    return np.max(y, axis=-2, keepdims=True)
                if not isinstance(term, T.Apply) or term.fname in RELATIVE:
                    return None
                if term.fname == "silu":
                    return np.abs(self(term.x, lookup))
                return RANGE.get(term.fname, 1.0)

    return Reformed


class _Pulled(dict[str, Array]):
    """Samples by the user's array, each made when it is asked for: mostly one of many is."""

    def __init__(self, fitted: Fitted, samples: Mapping[str, Array]) -> None:
        self.fitted, self.samples = fitted, samples

    def __missing__(self, user: str) -> Array:
        draws = ({n: a[k] for n, a in self.samples.items()} for k in range(DRAWS))
        made = self[user] = np.stack([self.fitted.pull(user, one) for one in draws])
        return made


class SavedRounding:
    """Spreads of gradients under rounding; the derivation is made when it is first needed.

    ``model`` makes the evaluator that rounds, from the unit of the format and a generator.
    """

    def __init__(
        self,
        network: Network,
        eps: float,
        seed: int,
        model: Callable[..., type[Rounded]] = randomly_rounded,
    ) -> None:
        self.network, self.eps, self.seed, self.model = network, eps, seed, model
        self._derivation: Derivation | None = None
        # The point is kept: another one may be given the identity of one that is gone.
        self._points: dict[int, ModelPoint] = {}
        self._kept: tuple[ModelPoint, list[Run]] | None = None
        self._samples: dict[tuple[int, int], dict[str, Array]] = {}
        self._edges: dict[int, list[dict[Term, None]]] = {}

    def _runs(self, point: ModelPoint, draws: int = 0) -> Iterator[Run]:
        """The program as it is, then with every operation moved by one unit up or down.

        With ``draws`` it is one run of all of them.
        """
        if self._derivation is None:
            self._derivation = derive(self.network)
        columns = point.columns(point.values)
        plain = self.model is randomly_rounded
        rng = generator(self.seed, Stream.SAVED_ROUNDING if plain else Stream.OTHER_FORMS)
        moved = self.model(self.eps, rng, draws)
        kinds = [moved] if draws else [moved.Still, *[moved] * DRAWS]
        self._edges.setdefault(id(point), []).append(moved.reached)
        for evaluator in kinds:
            with np.errstate(all="ignore"):
                yield Run(self._derivation, columns, point.sizes, point.lengths, evaluator)

    def __call__(self, point: ModelPoint, case: Case) -> Mapping[str, Array]:
        """Samples (draws, \\*shape) of deviations by the user's array."""
        samples, fitted = self._samples.get((id(point), id(case))), point.fitted
        if point.empty:  # nothing is computed
            return {u: np.zeros((DRAWS, *fitted.shapes[u])) for u in fitted.arguments}
        if samples is None:
            self._points[id(point)] = point
            self._pull(point, case)
            samples = self._samples[id(point), id(case)]
        return _Pulled(fitted, samples)

    def _pull(self, point: ModelPoint, case: Case) -> None:
        """Samples of one case; of all cases where running the program costs more than arrays do.

        Where arrays are large, weights have one product over all steps: the rounding of the sum
        itself is in every bound by the sizes of its terms.
        """
        entries = sum(a.size for a in point.values.values())
        together = entries * len(point.cases) <= TOGETHER
        cases = point.cases if together else [case]
        given = stacked_columns(point, cases)
        if together and entries * len(cases) <= AT_ONCE and not self.network.front:
            (run,) = self._runs(point, DRAWS)
            made = pulled_back(run, point, given, len(cases), draws=1 + DRAWS)
            found = [{n: a[k] for n, a in made.items()} for k in range(1 + DRAWS)]
        else:
            runs: Iterable[Run] = self._runs(point)
            if not together:  # runs are kept for the other cases
                if self._kept is None or self._kept[0] is not point:
                    self._kept = point, list(runs)
                runs = self._kept[1]
            weights = None if together else WeightProducts
            found = [pulled_back(r, point, given, len(cases), weights=weights) for r in runs]
        for k, one in enumerate(cases):
            self._samples[id(point), id(one)] = {
                n: self._deviations(point, a[k], [f[n][k] for f in found[1:]])
                for n, a in found[0].items()
            }

    def outputs(self, point: ModelPoint) -> dict[str, Array]:
        """Samples (draws, \\*shape) of deviations of the outputs and the loss, by name."""
        with np.errstate(all="ignore"):
            still, *moved = (self._made(run) for run in self._runs(point))
        return {n: self._deviations(point, a, [m[n] for m in moved]) for n, a in still.items()}

    def _made(self, run: Run) -> dict[str, Array]:
        """Outputs of a run in the public layout, and its loss."""
        outputs = self.network.outputs
        losses = [a for r in self.network.loss_terms for t, a in run.series[r.name].items() if t]
        return {LOSS: sum((np.sum(a) for a in losses), start=np.zeros(()))} | {
            n: to_rows(ref, run.output(n)) for n, ref in outputs.items()
        }

    def edges(self, point: ModelPoint) -> list[str]:
        """Arguments of which rounding leaves no digit, as far as was looked at, in words."""
        assert self._derivation is not None
        made = {e.name: e.rhs for p in self._derivation.scans for e in p.equations}
        seen = dict.fromkeys(t for found in self._edges.get(id(point), ()) for t in found)
        of = (made.get(t.name, t) if isinstance(t, Sym) else t for t in seen)
        return list(dict.fromkeys(map(to_text, of)))

    def _deviations(self, point: ModelPoint, base: Array, moved: Sequence[Array]) -> Array:
        """Samples (draws, \\*shape) of deviations, infinite where rounding leaves no number.

        Where the program has no number as it is, and rounding is not the reason, it tells nothing.
        """
        with np.errstate(all="ignore"):
            found = np.stack([m - base for m in moved])
        lost = np.isfinite(base) | any(self._edges[id(point)])
        return np.where(np.isfinite(found), found, np.where(lost, np.inf, 0.0))
