"""Named dims: integer forms such as ``p``, ``4*p``, ``p + q`` or ``H*n``.

Shapes are compared by these forms, never by numbers, so that a wrong transpose is an error even
when two dims happen to be equal.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from ..errors import DimensionError, UnsupportedOperation

__all__ = [
    "ONE",
    "Dim",
    "Shape",
    "current_dims",
    "declared_dims",
    "parse_dim",
    "parse_group",
    "parse_shape",
    "sequences_in_front",
]

#: Dims that the cell being traced declares; ``None`` outside a trace.
declared_dims: ContextVar[tuple[str, ...] | None] = ContextVar("declared_dims", default=None)

#: Sizes of the named dims while a definition runs on arrays; ``None`` while it is traced.
current_dims: ContextVar[Mapping[str, int] | None] = ContextVar("current_dims", default=None)

#: Whether the cell being traced keeps the batch in front (see `Cell.front`).
sequences_in_front: ContextVar[bool] = ContextVar("sequences_in_front", default=False)

#: Axes that every array of sequences has, so that no dim may have their names.
AXES = {"T": "the time steps", "B": "the sequences of a batch"}

_WORD = re.compile(r"\s*(\d+|[A-Za-z]\w*|[-+*()])")


@dataclass(frozen=True, slots=True)
class Dim:
    """A form ``Σ coefficient·name + const`` with integer coefficients.

    A product of dims is a name made of theirs, in order: ``H*n``.
    """

    terms: tuple[tuple[str, int], ...] = ()
    const: int = 0

    @classmethod
    def of(cls, terms: Mapping[str, int], const: int = 0) -> Dim:
        return cls(tuple(sorted((n, c) for n, c in terms.items() if c)), const)

    def __add__(self, other: Dim | int) -> Dim:
        if isinstance(other, int):
            return Dim(self.terms, self.const + other)
        if not isinstance(other, Dim):
            return NotImplemented
        if not other.terms:
            return Dim(self.terms, self.const + other.const)
        total = dict(self.terms)
        for name, coefficient in other.terms:
            total[name] = total.get(name, 0) + coefficient
        return Dim.of(total, self.const + other.const)

    __radd__ = __add__

    def __mul__(self, factor: Dim | int) -> Dim:
        if isinstance(factor, Dim):
            total: dict[str, int] = {}
            for mine, a in (*self.terms, ("", self.const)):
                for theirs, b in (*factor.terms, ("", factor.const)):
                    key = "*".join(sorted([*_names(mine), *_names(theirs)]))
                    total[key] = total.get(key, 0) + a * b
            return Dim.of(total, total.pop("", 0))
        if isinstance(factor, float):
            raise UnsupportedOperation(
                f'a number times a size: write ({factor} * x) * dim("{self}") in place of '
                f'{factor} * dim("{self}") * x'
            )
        if not isinstance(factor, int):
            return NotImplemented
        return Dim.of({n: c * factor for n, c in self.terms}, self.const * factor)

    __rmul__ = __mul__

    def __sub__(self, other: Dim | int) -> Dim:
        return self + (other * -1)

    def __neg__(self) -> Dim:
        return self * -1

    def divided(self, parts: int) -> Dim:
        """The dim of one of ``parts`` equal parts; raises DimensionError if there is none."""
        if self.const % parts or any(c % parts for _, c in self.terms):
            raise DimensionError(f"cannot split a vector of dim {self} into {parts} equal parts")
        return Dim.of({n: c // parts for n, c in self.terms}, self.const // parts)

    def size(self, sizes: Mapping[str, int]) -> int:
        try:
            return self.const + sum(
                c * (math.prod(sizes[x] for x in _names(n)) if "*" in n else sizes[n])
                for n, c in self.terms
            )
        except KeyError as missing:
            raise DimensionError(f"dim {missing.args[0]} has no size") from None

    def rename(self, names: Mapping[str, Dim]) -> Dim:
        out = Dim((), self.const)
        for product, coefficient in self.terms:
            one = Dim((), coefficient)
            for name in _names(product):
                one = one * names.get(name, Dim(((name, 1),)))
            out = out + one
        return out

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(x for n, _ in self.terms for x in _names(n)))

    @property
    def lone(self) -> str | None:
        """The name if this dim is one bare name, else None."""
        bare = len(self.terms) == 1 and not self.const and self.terms[0][1] == 1
        return self.terms[0][0] if bare and "*" not in self.terms[0][0] else None

    @property
    def negative(self) -> bool:
        """Whether it is below zero at all sizes: it counts from the end, as a bound of a slice."""
        counts = [*(c for _, c in self.terms), self.const]
        return min(counts) < 0 and max(counts) <= 0

    @property
    def product(self) -> bool:
        """Whether a product of names is in it."""
        return any("*" in n for n, _ in self.terms)

    def factor_of(self, name: str) -> Dim | None:
        """What stands with a name, ``n`` with H in ``H*n + p``; None where it is not linear in it.

        A dim is this times the name, and what it is without the name.
        """
        found = Dim()
        for product, coefficient in self.terms:
            rest = _names(product)
            if name not in rest:
                continue
            rest.remove(name)
            if name in rest:
                return None
            one = Dim(((("*".join(rest)), coefficient),)) if rest else Dim((), coefficient)
            found = found + one
        return found

    def solved(self, name: str, sizes: Mapping[str, int], size: int) -> int | None:
        """The size of a name at which this dim has a size, with those of all others; or None."""
        factor = self.factor_of(name)
        if factor is None:
            return next((k for k in range(size + 1) if self.size({**sizes, name: k}) == size), None)
        rest, times = size - self.size({**sizes, name: 0}), factor.size(sizes)
        return rest // times if times and rest >= 0 and rest % times == 0 else None

    def __str__(self) -> str:
        signed = [(c, n if abs(c) == 1 else f"{abs(c)}*{n}") for n, c in self.terms]
        if self.const or not signed:
            signed.append((self.const, str(abs(self.const))))
        (first, text), *rest = signed
        out = text if first >= 0 else f"-{text}"
        return out + "".join(f" {'+' if c >= 0 else '-'} {text}" for c, text in rest)


def _names(product: str) -> list[str]:
    """The names in a product, each as often as it stands there."""
    return product.split("*") if product else []


ONE = Dim((), 1)


@dataclass(frozen=True, slots=True)
class Shape:
    """Rows, columns, whether there is one such value for every sequence, and for every head.

    ``heads`` is the number of heads where each has such a value of its own, otherwise one.
    """

    rows: Dim
    cols: Dim = ONE
    batch: bool = False
    heads: Dim = ONE

    @property
    def scalar(self) -> bool:
        return self.rows == ONE and self.cols == ONE

    @property
    def headed(self) -> bool:
        """Whether every head has such a value of its own."""
        return self.heads != ONE

    @property
    def axes(self) -> tuple[Dim, ...]:
        """The axes of an array after time and batch: heads, rows, columns."""
        plain = () if self.scalar else (self.rows,) if self.column else (self.rows, self.cols)
        return (self.heads, *plain) if self.headed else plain

    @property
    def column(self) -> bool:
        return self.cols == ONE

    @property
    def stack(self) -> bool:
        """Whether the value is a matrix of its own for every sequence."""
        return self.batch and self.cols != ONE

    def __getitem__(self, axis: object) -> Any:
        raise UnsupportedOperation(
            "a cell is written for all sizes and sees no numbers of them; write "
            f'dim("{self.rows}") for shape[0], and mean(x) for sum(x) / x.shape[0]'
        )

    def __iter__(self) -> Any:
        return self[0]

    def rename(self, names: Mapping[str, Dim]) -> Shape:
        return Shape(
            self.rows.rename(names), self.cols.rename(names), self.batch, self.heads.rename(names)
        )

    def __str__(self) -> str:
        body = str(self.rows) if self.cols == ONE else f"{self.rows}, {self.cols}"
        return f"({self.heads}, {body})" if self.headed else f"({body})"


def parse_dim(text: str) -> Dim:
    """Parse ``"p"``, ``"4*p"``, ``"p+q"``, ``"H*n"`` or ``"3"``; raises DimensionError else."""
    words = _WORD.findall(text)
    if re.sub(r"\s", "", text) != "".join(words) or not words:
        raise _unread(text)
    made, rest = _sum(text, words)
    if rest:
        raise _unread(text)
    return made


def _unread(text: str) -> DimensionError:
    return DimensionError(f"cannot read dim {text!r}: write names, integers, 4*p, p+q or H*n")


def _sum(text: str, words: list[str]) -> tuple[Dim, list[str]]:
    """The sum that words begin with, and the words behind it."""
    made, words = _product(text, words)
    while words[:1] == ["+"]:
        more, words = _product(text, words[1:])
        made = made + more
    return made, words


def _product(text: str, words: list[str]) -> tuple[Dim, list[str]]:
    number = words[:1] and words[0].isdigit()
    made, words = _factor(text, words)
    if number and words and words[0].isidentifier():  # 4p
        words = ["*", *words]
    while words[:1] == ["*"]:
        more, words = _factor(text, words[1:])
        made = made * more
    return made, words


def _factor(text: str, words: list[str]) -> tuple[Dim, list[str]]:
    first, rest = words[0] if words else "", words[1:]
    if first == "(":
        made, rest = _sum(text, rest)
        if rest[:1] != [")"]:
            raise _unread(text)
        return made, rest[1:]
    if first.isdigit():
        return Dim((), int(first)), rest
    if not first or first in "-+*)":
        raise _unread(text)
    if first in AXES:
        raise DimensionError(
            f"dim {text!r}: {first} is the axis of {AXES[first]}; give the dim another name"
        )
    return Dim.of({first: 1}), rest


def parse_shape(text: str, heads: str = "") -> Shape:
    """Parse ``""`` (scalar), ``"p"`` (column) or ``"p d"`` (matrix) into a Shape without batch.

    With ``heads="H"``, ``"H"``, ``"H p"`` and ``"H p d"`` are one of these for every head.
    """
    parts = re.sub(r"(\()\s+|\s+(\))", r"\1\2", re.sub(r"\s*([*+])\s*", r"\1", text)).split()
    headed = bool(heads) and parts[:1] == [heads]
    if len(parts) - headed > 2:
        more = "" if heads else f', or three with heads="{parts[0]}"'
        raise DimensionError(
            f"shape {text!r} has {len(parts)} dims; at most two are possible{more}"
        )
    first, *dims = [parse_dim(part) for part in parts if part] or [ONE]
    if headed:
        number, (first, *dims) = first, dims or [ONE]
    else:
        number = ONE
    for part in (first, *dims):
        if heads and any(product == heads for product, _ in part.terms):
            raise DimensionError(
                f"shape {text!r}: {heads} is the axis of the heads, which stands first and alone; "
                f"all of their units are {heads}*n"
            )
    return Shape(first, dims[0] if dims else ONE, heads=number)


def parse_group(spec: str | Mapping[str, str], heads: str = "") -> dict[str, Shape]:
    """Parse ``"W_i W_f: p p; b: p"`` (or a mapping name → shape) into name → Shape, in order.

    ``heads`` is the name of the axis of heads, if there is one.
    """
    if isinstance(spec, Mapping):
        return {name: parse_shape(shape, heads) for name, shape in spec.items()}
    out: dict[str, Shape] = {}
    for group in filter(None, (g.strip() for g in spec.split(";"))):
        names, colon, shape = group.partition(":")
        if not colon:
            raise DimensionError(
                f"declaration {group!r} has no shape: write 'name: dims', or '{group}:' for one "
                "number (a step, where it is an input)"
            )
        for name in names.split():
            if not name.isidentifier():
                raise DimensionError(f"{name!r} in {group!r} is not a valid Python name")
            if name in out:
                raise DimensionError(f"{name!r} is declared twice in {spec!r}")
            out[name] = parse_shape(shape, heads)
    return out
