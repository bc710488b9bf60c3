"""Expressions as NumPy text, with as few parentheses as a person would write."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from ....errors import UnsupportedOperation
from ....language.dims import Dim
from ...schedule.ops import Access, Call, Expr, Number, Size
from .config import HELPERS, UFUNCS

__all__ = ["Text", "dim_text", "expression", "number_text", "split_sign"]

_SUM, _PRODUCT, _UNARY, _POWER, _ATOM = range(5)


@dataclass(frozen=True)
class Text:
    """Printed text with its binding strength."""

    text: str
    level: int

    def at(self, level: int) -> str:
        """The text, in parentheses if it binds less than ``level``."""
        return self.text if self.level >= level else f"({self.text})"


def number_text(value: Fraction) -> str:
    """A number as Python prints it: 2, 0.5, 1e-05, 1 / 3 where no short decimal is equal to it."""
    if value.denominator == 1:
        return str(value.numerator)
    decimal = repr(float(value))
    if Fraction(decimal) == value:
        return decimal
    return f"{value.numerator} / {value.denominator}"


def dim_text(d: Dim) -> str:
    """A dim as Python: ``4 * p``, ``p + q``."""
    parts = [n if c == 1 else f"{c} * {n}" for n, c in d.terms]
    if d.const or not parts:
        parts.append(str(d.const))
    return " + ".join(parts).replace("+ -", "- ")


def split_sign(e: Expr) -> tuple[bool, Expr]:
    """Whether an expression is a negation, and of what."""
    if isinstance(e, Call) and e.op == "neg":
        return True, e.args[0]
    return False, e


def expression(
    e: Expr, access: Callable[[Access], str], size: Callable[[Dim | str], str], uses: set[str]
) -> Text:
    """Print an expression; names of helper functions it needs are added to ``uses``."""

    def go(x: Expr) -> Text:
        return expression(x, access, size, uses)

    if isinstance(e, Access):
        return Text(access(e), _ATOM)
    if isinstance(e, Number):
        text = number_text(e.value)
        return Text(text, _PRODUCT if "/" in text else _UNARY if e.value < 0 else _ATOM)
    if isinstance(e, Size):
        text = size(e.dim)
        return Text(text, _ATOM if text.isidentifier() else _SUM if "+" in text else _PRODUCT)
    args = e.args
    if e.op == "add":
        return Text(_sum([split_sign(a) for a in args], go), _SUM)
    if e.op == "mul":
        return Text(
            " * ".join(go(a).at(_PRODUCT if i == 0 else _UNARY) for i, a in enumerate(args)),
            _PRODUCT,
        )
    if e.op == "neg":
        return Text("-" + go(args[0]).at(_UNARY), _UNARY)
    if e.op == "div":
        return Text(f"{go(args[0]).at(_PRODUCT)} / {go(args[1]).at(_UNARY)}", _PRODUCT)
    if e.op == "pow":
        exponent = e.data
        if not isinstance(exponent, Fraction):
            raise UnsupportedOperation(f"a power needs an exact exponent, not {exponent!r}")
        text = number_text(exponent)
        guarded = text if text.isdigit() else f"({text})"
        return Text(f"{go(args[0]).at(_ATOM)} ** {guarded}", _POWER)
    if e.op == "matmul":
        return Text(f"{go(args[0]).at(_PRODUCT)} @ {go(args[1]).at(_UNARY)}", _PRODUCT)
    if e.op == "transpose":
        base = go(args[0]).at(_ATOM)
        return Text(
            {"column": f"{base}[None]", "row": f"{base}[0]", "matrix": f"{base}.T"}[str(e.data)],
            _ATOM,
        )
    return Text(_call(e, go, size, uses), _ATOM)


def _sum(items: list[tuple[bool, Expr]], go: Callable[[Expr], Text]) -> str:
    # A sum starts with a positive term where there is one: 1 − z, not −z + 1.
    first = next((i for i, (minus, _) in enumerate(items) if not minus), 0)
    items = [items[first], *items[:first], *items[first + 1 :]]
    out = ""
    for minus, x in items:
        text = go(x).at(_PRODUCT)
        if not out:
            out = f"-{go(x).at(_UNARY)}" if minus else text
        else:
            out += f" - {text}" if minus else f" + {text}"
    return out


def _call(
    e: Call, go: Callable[[Expr], Text], size: Callable[[Dim | str], str], uses: set[str]
) -> str:
    inner = ", ".join(go(a).text for a in e.args)
    if e.op == "apply":
        name = str(e.data)
        if name in UFUNCS:
            return f"{UFUNCS[name]}({inner})"
        if name not in HELPERS:
            raise UnsupportedOperation(f"NumPy has no text for the function {name!r}")
        uses.add(name)
        return f"{name}({inner})"
    helpers = {"abs": "absolute", "greater": "greater", "where": "where", "maximum": "maximum",
               "softmax": "softmax", "log_softmax": "log_softmax"}  # fmt: skip
    if e.op in helpers:
        uses.add(helpers[e.op])
        return f"{helpers[e.op]}({inner})"
    if e.op == "sign":
        return f"np.sign(np.real({inner}))"
    if e.op == "total":
        return f"np.sum({inner})"
    if e.op == "parameter_outer":
        return f"np.outer({inner})"
    if e.op == "concat":
        parts = [go(a).text for a in e.args]
        if isinstance(e.data, tuple):
            # Scalars have no axis to be joined along.
            parts = [f"np.atleast_1d({x})" if i in e.data else x for i, x in enumerate(parts)]
        return f"np.concatenate(({', '.join(parts)}))"
    if e.op == "eye" and isinstance(e.data, Dim):
        return f"np.eye({size(e.data)}, dtype=dtype)"
    if e.op == "broadcast" and isinstance(e.data, tuple):
        shape = ", ".join(size(d) for d in e.data) + ("," if len(e.data) == 1 else "")
        return f"np.full(({shape}), {inner}, dtype=dtype)"
    if e.op in ("slice", "pad") and isinstance(e.data, tuple):
        start, stop = (size(d) for d in e.data)
        if e.op == "slice":
            return f"{go(e.args[0]).at(_ATOM)}[{start}:{stop}]"
        uses.add("pad")
        return f"pad({inner}, {start}, {stop})"
    raise UnsupportedOperation(f"NumPy has no text for the operation {e.op!r}")
