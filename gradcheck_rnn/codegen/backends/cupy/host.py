"""Expressions of parameters as CuPy text: computed once a call, outside all loops."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from ....errors import UnsupportedOperation
from ....language.dims import Dim
from ....language.ops.elementwise import ELEMENTWISE, helpers_of
from ...schedule.ops import Access, Call, Expr, Number, Size
from ..numpy.expressions import Text, dim_text, number_text, split_sign

__all__ = ["Host", "helper_texts"]

_SUM, _PRODUCT, _UNARY, _POWER, _ATOM = range(5)

#: Helper functions of the module, for what CuPy has no name for, beside elementwise functions.
_HELPERS: dict[str, str] = {
    "greater": '''
def greater(a: Array, b: Array) -> Array:
    """1 where a > b, else 0."""
    return (a > b).astype(np.result_type(a, b))
''',
    "softmax": '''
def softmax(x: Array) -> Array:
    """exp(x) / Σ exp(x) over the units of a parameter."""
    y = cp.exp(x - x.max(axis=0))
    return y / y.sum(axis=0)
''',
    "log_softmax": '''
def log_softmax(x: Array) -> Array:
    """x − log Σ exp(x) over the units of a parameter."""
    y = x - x.max(axis=0)
    return y - cp.log(cp.exp(y).sum(axis=0))
''',
    "pad": '''
def pad(x: Array, start: int, rows: int) -> Array:
    """The rows of x from row ``start`` on among zeros."""
    x = x if x.ndim else x.reshape(1)
    y = cp.zeros((rows, *x.shape[1:]), dtype=x.dtype)
    y[start : start + len(x)] = x
    return y
''',
}


def helper_texts() -> dict[str, str]:
    """Texts of all helper functions by name, in the order in which a module has them."""
    return {**helpers_of("cupy"), **_HELPERS}


class Host:
    """Prints expressions; collects the helper functions they need in ``uses``."""

    def __init__(self, access: Callable[[Access], str]) -> None:
        self.access = access
        self.uses: set[str] = set()

    def text(self, e: Expr) -> Text:
        """An expression with its binding strength."""
        if isinstance(e, Access):
            return Text(self.access(e), _ATOM)
        if isinstance(e, Number):
            text = number_text(e.value)
            return Text(text, _PRODUCT if "/" in text else _UNARY if e.value < 0 else _ATOM)
        if isinstance(e, Size):
            text = e.dim if isinstance(e.dim, str) else dim_text(e.dim)
            return Text(text, _ATOM if text.isidentifier() else _SUM if "+" in text else _PRODUCT)
        return self._call(e)

    def _call(self, e: Call) -> Text:
        op, args = e.op, [self.text(a) for a in e.args]
        if op == "add":
            return Text(self._sum(e), _SUM)
        if op == "mul":
            parts = [a.at(_PRODUCT if i == 0 else _UNARY) for i, a in enumerate(args)]
            return Text(" * ".join(parts), _PRODUCT)
        if op == "neg":
            return Text("-" + args[0].at(_UNARY), _UNARY)
        if op == "div":
            return Text(f"{args[0].at(_PRODUCT)} / {args[1].at(_POWER)}", _PRODUCT)
        if op == "pow" and isinstance(e.data, Fraction):
            text = number_text(e.data)
            return Text(f"{args[0].at(_ATOM)} ** {text if text.isdigit() else f'({text})'}", _POWER)
        if op == "transpose":
            end = {"column": "[None]", "row": "[0]", "matrix": ".T"}[str(e.data)]
            return Text(args[0].at(_ATOM) + end, _ATOM)
        return Text(self._named(e, ", ".join(a.text for a in args), args), _ATOM)

    def _sum(self, e: Call) -> str:
        items = [split_sign(a) for a in e.args]
        first = next((i for i, (minus, _) in enumerate(items) if not minus), 0)
        out = ""
        for minus, x in (items[first], *items[:first], *items[first + 1 :]):
            if not out:
                out = f"-{self.text(x).at(_UNARY)}" if minus else self.text(x).at(_PRODUCT)
            else:
                out += f" {'-' if minus else '+'} {self.text(x).at(_PRODUCT)}"
        return out

    def _named(self, e: Call, inner: str, args: list[Text]) -> str:
        if e.op == "apply":
            called, helper = ELEMENTWISE[str(e.data)].texts("cupy")
            if helper:
                self.uses.add(called)
            return f"{called}({inner})"
        name = e.op
        if name in _HELPERS and name != "pad":
            self.uses.add(name)
            return f"{name}({inner})"
        plain = {
            "matmul": "cp.dot", "parameter_outer": "cp.outer", "outer": "cp.outer",
            "abs": "cp.abs", "sign": "cp.sign", "maximum": "cp.maximum", "total": "cp.sum",
        }  # fmt: skip
        if name in plain:
            return f"{plain[name]}({inner})"
        if name == "where":
            return f"cp.where({args[0].at(_SUM)} != 0, {args[1].text}, {args[2].text})"
        if name == "concat":
            return f"cp.concatenate(({inner}))"
        if name == "eye" and isinstance(e.data, Dim):
            return f"cp.eye({dim_text(e.data)}, dtype=dtype)"
        if name == "broadcast" and isinstance(e.data, tuple):
            shape = ", ".join(map(dim_text, e.data)) + ("," if len(e.data) == 1 else "")
            return f"(cp.zeros(({shape}), dtype) + {args[0].at(_PRODUCT)})"
        if name in ("slice", "pad") and isinstance(e.data, tuple):
            start, stop = map(dim_text, e.data)
            if name == "slice":
                return f"{args[0].at(_ATOM)}[{start}:{stop}]"
            self.uses.add("pad")
            return f"pad({inner}, {start}, {stop})"
        raise UnsupportedOperation(f"CuPy has no text for the operation {name!r}")
