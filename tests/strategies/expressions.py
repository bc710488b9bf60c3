"""Random well-typed expressions of the language, as source text with shape and bounds.

Expressions are built top down from a wanted shape. Bounds (see `ranges`) decide where a square
root, a logarithm or a divisor needs a guard around its argument, and where values must be
squashed, so that every definition is defined and finite on its box: parameters in [-1, 1],
everything else in [-2, 2].
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from gradcheck_rnn.language.dims import ONE, Dim, parse_dim

from .choices import Choices
from .ranges import APPLIED, USER_FUNCTIONS, Range

__all__ = ["BOX", "LIMIT", "SIZES", "Expressions", "Value"]

SIZES = {"d": 2, "p": 3, "q": 4}
LIMIT = 40.0
PARAM, BOX, BIT = Range(-1.0, 1.0), Range(-2.0, 2.0), Range(0.0, 1.0)
D, P, Q = (parse_dim(n) for n in "dpq")

_BOUNDED = ("tanh", "sigmoid", "sin", "cos")
_NUMPY = ("tanh", "exp", "log", "sqrt", "sin", "cos")
_LITERALS = ("0.5", "2", "0.25", "-1.5", "3", "0.1", "1", "1e-3")


@dataclass(frozen=True)
class Value:
    """An expression: its text, dims, whether it differs by sequence, and its bounds.

    ``tight`` text needs no parentheses as an operand.
    """

    text: str
    rows: Dim
    cols: Dim = ONE
    batch: bool = False
    range: Range = BOX
    tight: bool = True

    @property
    def inner(self) -> str:
        return self.text if self.tight else f"({self.text})"


Maker = Callable[[], Value]


def size_of(dim: Dim) -> int:
    return dim.size(SIZES)


class Expressions:
    """Makes expressions; a subclass supplies the leaves and collects what the text needs.

    Parameters
    ----------
    choices : Choices
        Where every decision comes from.
    """

    def __init__(self, choices: Choices) -> None:
        self.choices = choices
        self.functions: dict[str, str] = {}
        self.imports: set[str] = set()

    # -- leaves, by the subclass -----------------------------------------------------------------

    def leaf(self, rows: Dim, cols: Dim, batch: bool) -> Value:
        raise NotImplementedError

    def bits(self, rows: Dim, cols: Dim) -> Value:
        raise NotImplementedError

    def wider(self, rows: Dim, batch: bool) -> Value | None:
        """A known vector that has more units than ``rows``, and the rest by named dims."""
        raise NotImplementedError

    # -- helpers ---------------------------------------------------------------------------------

    def call(self, function: str, *args: Value, extra: str = "") -> str:
        """Text of a call; now and then through NumPy, which definitions may use as well."""
        inside = ", ".join(a.text for a in args) + extra
        if function in (*_NUMPY, "maximum", "minimum", "where") and self.choices.chance(10):
            self.imports.add("np")
            return f"np.{function}({inside})"
        if function != "abs":
            self.imports.add(function)
        return f"{function}({inside})"

    def apply(self, function: str, x: Value) -> Value:
        if function in USER_FUNCTIONS:
            text, bounds = USER_FUNCTIONS[function]
            self.functions[function] = text
            return Value(f"{function}({x.text})", x.rows, x.cols, x.batch, bounds(x.range))
        return Value(self.call(function, x), x.rows, x.cols, x.batch, APPLIED[function](x.range))

    def calm(self, x: Value, limit: float = LIMIT) -> Value:
        """``x`` if it is within the limit, else something bounded made of it."""
        if x.range.size <= limit:
            return x
        return self.apply(self.choices.pick(("tanh", "soft_sign", "sin", "sigmoid", "hill")), x)

    def positive(self, x: Value) -> Value:
        """Something at least 0.2 made of ``x``, a possible divisor or argument of log and sqrt."""
        if x.range.lo >= 0.2:
            return x
        x = self.calm(x, 5.0)
        kind = self.choices.draw(6)
        bounds = x.range
        if kind == 0:
            text, bounds = f"1 + {x.inner}**2", bounds.power(Fraction(2)) + Range(1, 1)
        elif kind == 1:
            text, bounds = f"0.5 + {self.call('abs', x)}", bounds.absolute() + Range(0.5, 0.5)
        elif kind == 2:
            inner = self.apply("softplus", x)
            text, bounds = f"{inner.text} + 0.5", inner.range + Range(0.5, 0.5)
        elif kind == 3:
            inner = self.apply("tanh", x)
            text, bounds = f"2 + {inner.text}", inner.range + Range(2, 2)
        elif kind == 4:
            inner = self.apply("sin", x)
            text, bounds = f"1.5 - {inner.text}", Range(0.5, 2.5)
        else:
            inner = self.apply("exp", self.apply("tanh", x))
            return Value(inner.text, x.rows, x.cols, x.batch, inner.range)
        return Value(text, x.rows, x.cols, x.batch, bounds, False)

    def number(self) -> Value:
        text = self.choices.pick(_LITERALS)
        value = float(text)
        return Value(text, ONE, ONE, False, Range(value, value), value >= 0)

    def mix(self, a: Value, b: Value, gate: Value) -> Value:
        """Between ``a`` and ``b``, weighted by the gate's sigmoid; all of one shape."""
        z = self.apply("sigmoid", gate)
        text = f"{z.text} * {a.inner} + (1 - {z.text}) * {b.inner}"
        batch = z.batch or a.batch or b.batch
        return Value(text, a.rows, a.cols, batch, a.range.hull(b.range), False)

    # -- any shape -------------------------------------------------------------------------------

    def make(self, rows: Dim, cols: Dim, depth: int, batch: bool = True) -> Value:
        """An expression of the wanted shape; ``batch`` says whether it may differ by sequence."""
        if depth <= 0:
            return self.leaf(rows, cols, batch)
        options = self._anywhere(rows, cols, depth, batch)
        if cols != ONE:
            options += self._matrices(rows, cols, depth)
        elif rows == ONE:
            options += self._scalars(depth, batch)
        else:
            options = self._vectors(rows, depth, batch) + options
        return self.calm(self.choices.weighted(options)())

    def scalar_or_number(self, depth: int, batch: bool) -> Value:
        if self.choices.chance(60):
            return self.make(ONE, ONE, depth - 1, batch)
        return self.number()

    def _anywhere(self, rows: Dim, cols: Dim, depth: int, batch: bool) -> list[tuple[int, Maker]]:
        pick, chance = self.choices.pick, self.choices.chance

        def sub() -> Value:
            return self.make(rows, cols, depth - 1, batch)

        def other() -> Value:
            """A second operand: of the same shape, or a scalar to be repeated."""
            alone = (rows, cols) == (ONE, ONE)
            return sub() if chance(75) or alone else self.scalar_or_number(depth, batch)

        def join(text: str, a: Value, b: Value, bounds: Range, tight: bool = False) -> Value:
            return Value(text, rows, cols, a.batch or b.batch, bounds, tight)

        def applied() -> Value:
            f = pick(tuple(APPLIED))
            x = sub()
            if f in ("log", "log1p", "sqrt"):
                x = self.positive(x)
            if f in ("exp", "expm1") and x.range.hi > 3:
                x = self.apply(pick(_BOUNDED), x)
            return self.apply(f, x)

        def own() -> Value:
            return self.apply(pick(tuple(USER_FUNCTIONS)), self.calm(sub(), 6.0))

        def plus() -> Value:
            a, b = sub(), other()
            if chance(30):
                a, b = b, a
            if chance(30):
                return join(f"{a.inner} - {b.inner}", a, b, a.range + -b.range)
            return join(f"{a.text} + {b.inner}", a, b, a.range + b.range)

        def mul() -> Value:
            a, b = sub(), other()
            if chance(30):
                a, b = b, a
            return join(f"{a.inner} * {b.inner}", a, b, a.range * b.range)

        def div() -> Value:
            a, b = sub(), other()
            if chance(30):
                a, b = b, a
            if not b.range.divisor:
                b = self.positive(b)
            return join(f"{a.inner} / {b.inner}", a, b, a.range / b.range)

        def power() -> Value:
            x = sub()
            text = pick(("2", "3", "1", "4", "-1", "0.5", "-0.5", "1.5", "-2"))
            n = Fraction(text)
            if n < 0 or n.denominator != 1:
                x = self.positive(self.calm(x, 2.0))
            x = self.calm(x, 6.0)
            return Value(f"{x.inner}**{text}", rows, cols, x.batch, x.range.power(n), False)

        def negative() -> Value:
            x = sub()
            return Value(f"-{x.inner}", rows, cols, x.batch, -x.range, False)

        def absolute() -> Value:
            x = sub()
            return Value(self.call("abs", x), rows, cols, x.batch, x.range.absolute())

        def larger() -> Value:
            a, b = sub(), other()
            f = pick(("maximum", "minimum"))
            bounds = a.range.larger(b.range) if f == "maximum" else a.range.smaller(b.range)
            return join(self.call(f, a, b), a, b, bounds, True)

        def comparison() -> Value:
            a, b = sub(), other()
            # In parentheses: it binds less than the sums it may stand in.
            return join(f"({a.inner} {pick(('>', '<', '>=', '<='))} {b.inner})", a, b, BIT, True)

        def chosen() -> Value:
            condition = (
                self.bits(rows, cols) if batch and cols == ONE and chance(40) else comparison()
            )
            a, b = sub(), other()
            bounds = a.range.hull(b.range)
            text = self.call("where", condition, a, b)
            return Value(text, rows, cols, condition.batch or a.batch or b.batch, bounds)

        def frozen() -> Value:
            x = sub()
            return Value(self.call("frozen", x), rows, cols, x.batch, x.range)

        def spiking() -> Value:
            x = sub()
            self.imports.add("surrogate")
            text = "surrogate(lambda v: v > 0, lambda v: 1 / (1 + v * v))"
            return Value(f"{text}({x.inner})", rows, cols, x.batch, BIT)

        def gated() -> Value:
            return self.mix(sub(), sub(), sub())

        return [
            (10, applied), (8, plus), (8, mul), (4, div), (4, power), (2, negative), (3, absolute),
            (3, larger), (3, chosen), (1, comparison), (2, frozen), (4, own), (3, gated),
            (1, spiking), (4, lambda: self.leaf(rows, cols, batch)),
        ]  # fmt: skip

    # -- vectors ---------------------------------------------------------------------------------

    def _vectors(self, rows: Dim, depth: int, batch: bool) -> list[tuple[int, Maker]]:
        pick, chance = self.choices.pick, self.choices.chance

        def sub() -> Value:
            return self.make(rows, ONE, depth - 1, batch)

        def product() -> Value:
            inner = pick((P, D, Q))
            w = self.make(rows, inner, depth - 1 if chance(25) else 0, False)
            x = self.make(inner, ONE, depth - 1 if chance(40) else 0, batch)
            bounds = (w.range * x.range).times(size_of(inner))
            return Value(f"{w.inner} @ {x.inner}", rows, ONE, x.batch, bounds, False)

        def affine() -> Value:
            parts = [product() for _ in range(self.choices.integer(1, 2))]
            if chance(50):
                parts.append(self.leaf(rows, ONE, False))
            bounds = parts[0].range
            for p in parts[1:]:
                bounds = bounds + p.range
            text = " + ".join(p.text for p in parts)
            return Value(text, rows, ONE, any(p.batch for p in parts), bounds, len(parts) == 0)

        def over_units() -> Value:
            x = self.calm(sub(), 12.0)
            f = pick(
                ("softmax", "log_softmax", "cumsum", "reverse_cumsum", "roll", "shift",
                 "one_hot_max")
            )  # fmt: skip
            if f in ("roll", "shift"):
                by = pick((", 1", ", -1"))
                bounds = x.range.hull(Range(0, 0))
                return Value(self.call(f, x, extra=by), rows, ONE, x.batch, bounds)
            if f == "one_hot_max":
                return Value(self.call(f, x), rows, ONE, x.batch, BIT)
            if f.endswith("cumsum"):
                bounds = x.range.times(size_of(rows)).hull(x.range)
                return Value(self.call(f, x), rows, ONE, x.batch, bounds)
            log_floor = -(2 * x.range.size + math.log(size_of(rows)))
            bounds = BIT if f == "softmax" else Range(log_floor, 0)
            return Value(self.call(f, x), rows, ONE, x.batch, bounds)

        def normalised() -> Value:
            x = sub()
            gain, bias = self.leaf(rows, ONE, False), self.leaf(rows, ONE, False)
            text = self.call(
                "layer_norm", x, gain, bias, extra=pick((", 0.1", "", ", epsilon=0.5"))
            )
            reach = math.sqrt(size_of(rows)) * gain.range.size + bias.range.size
            return Value(text, rows, ONE, x.batch, Range(-reach, reach))

        def stacked() -> Value:
            parts = [self.make(part, ONE, depth - 1, batch) for part in _parts(rows)]
            return self._concat(parts)

        def sliced() -> Value:
            x = self.wider(rows, batch)
            if x is None:
                rest = pick((D, P, Q))
                x = self.leaf(rows + rest, ONE, batch)
            return self._slice(x, rows)

        options: list[tuple[int, Maker]] = [
            (14, affine), (5, over_units), (2, normalised), (3, sliced),
        ]  # fmt: skip
        if len(_parts(rows)) > 1:
            options.append((8, stacked))
        return options

    def _concat(self, parts: list[Value]) -> Value:
        self.imports.add("concat")
        rows, bounds = Dim(), parts[0].range
        for p in parts:
            rows, bounds = rows + p.rows, bounds.hull(p.range)
        text = f"concat({', '.join(p.text for p in parts)})"
        return Value(text, rows, parts[0].cols, any(p.batch for p in parts), bounds)

    def _slice(self, x: Value, rows: Dim) -> Value:
        """The first or the last ``rows`` of ``x``."""
        rest = x.rows - rows
        first = not self.choices.chance(50)
        if self.choices.chance(30):
            self.imports.add("split")
            halves = (
                "2"
                if rest == rows
                else ", ".join(f'"{n}"' for n in ((rows, rest) if first else (rest, rows)))
            )
            text = f"split({x.text}, {halves})[{0 if first else 1}]"
        else:
            self.imports.add("dim")
            text = f'{x.inner}[:dim("{rows}")]' if first else f'{x.inner}[dim("{rest}"):]'
        return Value(text, rows, x.cols, x.batch, x.range)

    # -- scalars ---------------------------------------------------------------------------------

    def _scalars(self, depth: int, batch: bool) -> list[tuple[int, Maker]]:
        pick = self.choices.pick

        def some(rows: Dim) -> Value:
            return self.make(rows, ONE, depth - 1, batch)

        def reduced() -> Value:
            rows = pick((P, Q, D))
            f, x = pick(("sum", "mean")), some(rows)
            bounds = x.range.times(size_of(rows)) if f == "sum" else x.range
            return Value(self.call(f, x), ONE, ONE, x.batch, bounds)

        def inner() -> Value:
            rows = pick((P, Q, D))
            a, b = some(rows), some(rows)
            bounds = (a.range * b.range).times(size_of(rows))
            return Value(self.call("dot", a, b), ONE, ONE, a.batch or b.batch, bounds)

        def row_times() -> Value:
            rows = pick((P, Q, D))
            w, x = self.leaf(rows, ONE, False), some(rows)
            bounds = (w.range * x.range).times(size_of(rows))
            return Value(f"{w.inner}.T @ {x.inner}", ONE, ONE, x.batch, bounds, False)

        def entropy() -> Value:
            rows = pick((Q, P, D))
            y, t = self.calm(some(rows), 6.0), self.calm(some(rows), 6.0)
            reach = t.range.size * size_of(rows) * (2 * y.range.size + math.log(size_of(rows)))
            text = self.call("cross_entropy", y, t)
            return Value(text, ONE, ONE, y.batch or t.batch, Range(-reach, reach))

        def unit() -> Value:
            x = some(pick((P, Q, D)))
            cut = pick(("[0:1]", "[1:2]", "[1:]", "[0:2]", "[0]", "[-1]", "[:-1]", ".max()"))
            if cut in ("[0:1]", "[1:2]", "[0]", "[-1]", ".max()"):
                return Value(f"{x.inner}{cut}", ONE, ONE, x.batch, x.range)
            self.imports.add("sum")
            bounds = x.range.times(size_of(x.rows)).hull(x.range)
            return Value(f"sum({x.inner}{cut})", ONE, ONE, x.batch, bounds)

        return [(6, reduced), (6, inner), (2, row_times), (4, entropy), (2, unit)]

    # -- matrices --------------------------------------------------------------------------------

    def _matrices(self, rows: Dim, cols: Dim, depth: int) -> list[tuple[int, Maker]]:
        pick = self.choices.pick

        def sub(r: Dim, c: Dim) -> Value:
            return self.make(r, c, depth - 1, False)

        def transposed() -> Value:
            x = sub(cols, rows)
            return Value(f"{x.inner}.T", rows, cols, False, x.range)

        def product() -> Value:
            k = pick((P, D, Q))
            a, b = sub(rows, k), sub(k, cols)
            bounds = (a.range * b.range).times(size_of(k))
            return Value(f"{a.inner} @ {b.inner}", rows, cols, False, bounds, False)

        def outer() -> Value:
            a, b = self.make(rows, ONE, 0, False), self.make(cols, ONE, 0, False)
            return Value(f"{a.inner} @ {b.inner}.T", rows, cols, False, a.range * b.range, False)

        def shifted() -> Value:
            self.imports.add("eye")
            x = sub(rows, cols)
            text = f'{x.text} + eye("{rows}")'
            return Value(text, rows, cols, False, x.range + BIT, False)

        def stacked() -> Value:
            return self._concat([sub(part, cols) for part in _parts(rows)])

        def sliced() -> Value:
            return self._slice(self.leaf(rows + pick((D, P, Q)), cols, False), rows)

        options: list[tuple[int, Maker]] = [
            (10, transposed), (4, product), (3, outer), (2, sliced),
        ]  # fmt: skip
        if rows == cols:
            options.append((5, shifted))
        if len(_parts(rows)) > 1:
            options.append((6, stacked))
        return options


def _parts(rows: Dim) -> list[Dim]:
    """p + q as [p, q], 2*p as [p, p], anything else as itself."""
    parts = [Dim.of({n: 1}) for n, c in rows.terms for _ in range(c)]
    return parts + [ONE] * rows.const if len(parts) + rows.const > 1 else [rows]
