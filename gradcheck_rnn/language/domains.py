"""Domains of what a definition is given: in which sets its data, parameters and starts lie.

A definition says what its formulas assume of a value. One text each::

    "one-hot"         one unit is 1, the others are 0 (a class, a character)
    "simplex"         units are at least 0 and sum to one (probabilities)
    "0/1"             a mask
    "integers 0..9"   whole numbers, both ends included
    "> 0", ">= 1"     positive; at least 1
    "[0, 1]", "(0, 1)", "[0, inf)"    an interval; a round bracket leaves the end out

Fixed parameters may have given values (``fixed={"P": array}``), which are a domain of kind "given".

Whoever draws values draws them from the domain, and roundoff is probed inside it. A derivative is
that of the definition's formula: a one-hot input that is differentiated is moved along the reals.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from ..errors import DefinitionError, DimensionError
from .dims import Shape

__all__ = ["Domain", "check_domain", "parse_domain", "parse_domains"]

Array = np.ndarray[Any, Any]
_FORMS = "'one-hot', 'simplex', '0/1', 'integers 0..9', '> 0', '>= 1', '[0, 1]', '(0, 1)'"
#: Words that people try, and how they are written here.
_WORDS = {
    "binary": "0/1", "bool": "0/1", "boolean": "0/1", "mask": "0/1", "{0, 1}": "0/1",
    "onehot": "one-hot", "one_hot": "one-hot", "label": "one-hot", "labels": "one-hot",
    "probability": "simplex", "probabilities": "simplex", "positive": "> 0",
    "nonnegative": ">= 0", "non-negative": ">= 0", "integer": "integers 0..9",
    "int": "integers 0..9", "unit": "[0, 1]", "interval": "[0, 1]",
}  # fmt: skip
_INTEGERS = re.compile(r"integers (-?\d+)\.\.(-?\d+)")
_BOUND = re.compile(r"(>=|>|<=|<)\s*(\S+)")
_INTERVAL = re.compile(r"([\[(])\s*([^,\s]+)\s*,\s*([^,\s]+)\s*([\])])")
#: Share of a closed, finite end among data drawn from an interval.
_AT_END = 0.125


@dataclass(frozen=True)
class Domain:
    """A set of values; see the module for the texts.

    Attributes
    ----------
    kind : {"one-hot", "simplex", "integers", "interval", "given"}
        The first two are of all units of a vector together, the others of each number.
    low, high : float
        Ends; infinite where there is none.
    open_low, open_high : bool
        Whether the end itself is left out.
    values : callable, optional
        Of kind "given": the array of a shape.
    label : str
        Of kind "given": what tells its values from others.
    text : str
        Of kind "given": its array as a NumPy expression of ``sizes``; empty where there is none.
    """

    kind: Literal["one-hot", "simplex", "integers", "interval", "given"]
    low: float = 0.0
    high: float = 1.0
    open_low: bool = False
    open_high: bool = False
    values: Callable[..., Any] | None = field(default=None, compare=False, repr=False)
    label: str = ""
    text: str = field(default="", compare=False, repr=False)

    def __str__(self) -> str:
        if self.kind in ("one-hot", "simplex", "given"):
            return self.kind
        if self.kind == "integers":
            ends = (int(self.low), int(self.high))
            return "0/1" if ends == (0, 1) else f"integers {ends[0]}..{ends[1]}"
        if math.isinf(self.high):
            return f"{'>' if self.open_low else '>='} {self.low:g}"
        if math.isinf(self.low):
            return f"{'<' if self.open_high else '<='} {self.high:g}"
        first, last = "(" if self.open_low else "[", ")" if self.open_high else "]"
        return f"{first}{self.low:g}, {self.high:g}{last}"

    @property
    def words(self) -> str:
        """The domain in the words of a page: ``one-hot``, ``in [0, 1]``, ``≥ 1``."""
        if self.kind == "simplex":
            return "probabilities"
        if self.kind == "integers":
            return str(self) if (self.low, self.high) != (0, 1) else "0 or 1"
        text = str(self).replace(">=", "≥").replace("<=", "≤")
        return f"in {text}" if text[0] in "[(" else text

    @property
    def fixed(self) -> bool:
        """Whether a value moved by one unit in the last place is outside."""
        return self.kind != "interval"

    @property
    def sums_to_one(self) -> bool:
        """Whether the units of a vector sum to one."""
        return self.kind in ("one-hot", "simplex")

    @property
    def of_vectors(self) -> bool:
        """Whether it is a condition on all units of a vector together."""
        return self.sums_to_one

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...], *, data: bool) -> Array:
        """Random values, units last: ``(…, n)``.

        Classes, bits and small integers occur about equally often, so that none is left untried;
        probabilities are multiples of a power of two, so that they sum to one in every number
        format; data (``data=True``) also take the closed ends of an interval.
        """
        if self.kind == "given":
            return self._given(shape)
        count = math.prod(shape[:-1]) if self.of_vectors else math.prod(shape)
        if self.kind == "one-hot":
            classes = _even(rng, count, shape[-1])
            return np.asarray(np.eye(shape[-1])[classes].reshape(shape))
        if self.kind == "simplex":
            grains = 64
            while grains < 8 * shape[-1]:
                grains *= 2
            shares = rng.dirichlet(np.ones(shape[-1]), size=count)
            return np.asarray(rng.multinomial(grains, shares) / grains).reshape(shape)
        if self.kind == "integers":
            span = int(self.high) - int(self.low) + 1
            return (self.low + _even(rng, count, span)).reshape(shape)
        if math.isinf(self.low) or math.isinf(self.high):
            away = np.abs(rng.standard_normal(shape))
            if self.open_low or self.open_high:
                away = np.exp(rng.standard_normal(shape) / 2)
            elif data:
                away = away * (rng.random(shape) >= _AT_END)
            return np.asarray(self.high - away if math.isinf(self.low) else self.low + away)
        inside = self.low + (self.high - self.low) * rng.uniform(0.02, 0.98, shape)
        if data:
            chance = rng.random(shape)
            at_low, at_high = chance < _AT_END, chance > 1 - _AT_END
            inside = np.where(at_low & (not self.open_low), self.low, inside)
            inside = np.where(at_high & (not self.open_high), self.high, inside)
        return np.asarray(inside)

    def draw_columns(
        self, rng: np.random.Generator, shape: tuple[int, ...], *, data: bool
    ) -> Array:
        """Random values with units on axis −2: ``(…, n, B)``, or a parameter ``(n, m)``."""
        if self.kind == "given":
            return self._given(shape[:-1] if shape[-1:] == (1,) else shape).reshape(shape)
        across = (*shape[:-2], shape[-1], shape[-2])
        return np.swapaxes(self.draw(rng, across, data=data), -1, -2)

    def _given(self, shape: tuple[int, ...]) -> Array:
        assert self.values is not None
        made = np.array(self.values(*shape), dtype=float)
        if made.shape != shape and not made.size == math.prod(shape) == 1:
            raise DimensionError(
                f"the values given by {self.label} have shape {made.shape}; {shape} is needed"
            )
        if not np.isfinite(made).all():
            raise DefinitionError(f"the values given by {self.label} are not all finite")
        return made.reshape(shape)

    def clip(self, array: Array) -> Array:
        """Numbers that rounding or a small move has put outside an interval, at its ends.

        An end that is left out is replaced by the number next to it.
        """
        if self.kind != "interval":
            return array
        low = np.nextafter(self.low, np.inf) if self.open_low else self.low
        high = np.nextafter(self.high, -np.inf) if self.open_high else self.high
        return np.asarray(np.clip(array, low, high))

    def meet(self, other: Domain) -> Domain | None:
        """What lies in both; None if nothing does, or if it is no domain of these kinds."""
        for a, b in ((self, other), (other, self)):
            if a.within(b):
                return a
        if self.kind == other.kind == "interval":
            low = max((self.low, self.open_low), (other.low, other.open_low))
            high = min((self.high, not self.open_high), (other.high, not other.open_high))
            if low[0] < high[0]:
                return Domain("interval", low[0], high[0], low[1], not high[1])
        if self.kind == other.kind == "integers":
            ends = max(self.low, other.low), min(self.high, other.high)
            return Domain("integers", *ends) if ends[0] < ends[1] else None
        return None

    def within(self, other: Domain) -> bool:
        """Whether every value of this domain is one of the other's."""
        if self == other:
            return True
        if self.kind == "one-hot" and other.kind == "simplex":
            return True
        if other.kind not in ("interval", "integers"):
            return False
        if other.kind == "integers" and self.kind not in ("one-hot", "integers"):
            return False
        above = self.low > other.low or (
            self.low == other.low and (self.open_low or not other.open_low)
        )
        below = self.high < other.high or (
            self.high == other.high and (self.open_high or not other.open_high)
        )
        return above and below


def _even(rng: np.random.Generator, count: int, span: int) -> Array:
    """Integers from 0 to span − 1, each as often as any other where there are enough."""
    if span > count:
        return np.asarray(rng.integers(span, size=count))
    return np.asarray(rng.permutation((rng.integers(span) + np.arange(count)) % span))


def parse_domain(text: object, what: str) -> Domain:
    """The domain of a text; ``what`` names the declaration for messages.

    Raises
    ------
    DefinitionError
        No such text; the message gives the nearest one.
    """
    if isinstance(text, Domain):
        return text
    plain = " ".join(text.split()) if isinstance(text, str) else ""
    if plain in ("one-hot", "simplex"):
        return Domain(plain)  # type: ignore[arg-type]
    if plain == "0/1":
        return Domain("integers")
    if match := _INTEGERS.fullmatch(plain):
        low, high = int(match[1]), int(match[2])
        if low < high:
            return Domain("integers", low, high)
    elif match := _BOUND.fullmatch(plain):
        end = _number(match[2])
        if end is not None and math.isfinite(end):
            below = match[1].startswith(">")
            open_ = "=" not in match[1]
            if below:
                return Domain("interval", end, math.inf, open_, True)
            return Domain("interval", -math.inf, end, True, open_)
    elif match := _INTERVAL.fullmatch(plain):
        low_, high_ = _number(match[2]), _number(match[3])
        if low_ is not None and high_ is not None and low_ < high_:
            opened = match[1] == "(" or math.isinf(low_), match[4] == ")" or math.isinf(high_)
            if math.isfinite(low_) or math.isfinite(high_):
                return Domain("interval", low_, high_, *opened)
    near = _WORDS.get(plain.lower()) or next(
        iter(difflib.get_close_matches(plain.lower(), ["one-hot", "simplex", "0/1"], 1)), None
    )
    hint = f"write {near!r}" if near else f"write one of {_FORMS}"
    raise DefinitionError(f"{what}: {text!r} is no domain; {hint}")


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return None if math.isnan(value) else value


def check_domain(domain: Domain, shape: Shape, kind: str, what: str) -> None:
    """Raise where a domain makes no sense for a value of this shape and kind."""
    if domain.of_vectors and (shape.scalar or not shape.column):
        raise DefinitionError(
            f"{what} is {'a scalar' if shape.scalar else f'a matrix {shape}'}; {str(domain)!r} is "
            "a domain of vectors"
        )
    if domain.fixed and kind == "param":
        raise DefinitionError(
            f"{what} is a trained parameter and moves along the reals, so it cannot be "
            f"{str(domain)!r}; declare it under fixed or data"
        )


def parse_domains(
    title: str,
    shapes: Mapping[str, Shape],
    kinds: Mapping[str, str],
    domains: Mapping[str, Any] | None,
    at_least: Mapping[str, float] | None = None,
    at_most: Mapping[str, float] | None = None,
) -> dict[str, Domain]:
    """Name → domain from the declarations of a cell; ``at_least={"tau": 1}`` is ``">= 1"``.

    Raises
    ------
    DefinitionError
        A name that is not declared, a text that is no domain or none for this value, or a name in
        both.
    """
    out: dict[str, Domain] = {}
    ends = {"at_least": ">=", "at_most": "<="}
    for option, given in (("domains", domains), ("at_least", at_least), ("at_most", at_most)):
        if given is not None and not isinstance(given, Mapping):
            raise DefinitionError(
                f"{title}: {option} is {type(given).__name__}; give a dict by name, as "
                + ('{"target": "one-hot"}' if option == "domains" else '{"tau": 1.0}')
            )
        for name, value in (given or {}).items():
            if name not in shapes:
                raise DefinitionError(f"{title}: {option} names {name!r}, not declared")
            if name in out:
                raise DefinitionError(
                    f"{title}: {name!r} is in {option} and has a domain already; say it once, in "
                    'domains, as "[0, 1]"'
                )
            what = f"{title}: {option} of {name!r}"
            if option in ends:
                if isinstance(value, bool) or not isinstance(value, int | float):
                    raise DefinitionError(f"{what} is {value!r}; give a number")
                value = f"{ends[option]} {value!r}"
            domain = parse_domain(value, what)
            check_domain(domain, shapes[name], kinds[name], f"{title}: {name!r}")
            out[name] = domain
    return out
