"""Values a definition computes with: `Expr` while it is traced, `ArrayValue` while it runs.

Both answer to the same operators, so a cell is written once. Every operator goes through
`operate`, which is the only place where the two meet.
"""

from __future__ import annotations

import itertools
import numbers
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from ..errors import DimensionError, UnsupportedAttribute, UnsupportedOperation
from . import advice, numeric
from .dims import ONE, Dim, Shape, current_dims, declared_dims
from .source_lines import noted_place

__all__ = [
    "FUNCTIONS", "UFUNCS", "ArrayValue", "Expr", "Symbol", "describe", "literal", "operate",
]  # fmt: skip

Number = int | float | Fraction


@dataclass(frozen=True, slots=True)
class Symbol:
    """A leaf: its name, what it is, and how many steps back it is read.

    ``kind``: param, fixed (not trained), input, data (not differentiated), sequence (made by
    another scan), static, static_data, state, equation, const. ``lag`` is ``None`` for what does
    not move with time.
    """

    name: str
    kind: str
    lag: int | None = None


class _Operators:
    """The NumPy notation, shared by traced and running values."""

    __slots__ = ()
    __array_priority__ = 1000.0

    def __add__(self, other: Any) -> Any:
        return operate("add", self, other)

    def __radd__(self, other: Any) -> Any:
        return operate("add", other, self)

    def __sub__(self, other: Any) -> Any:
        return operate("add", self, operate("neg", other))

    def __rsub__(self, other: Any) -> Any:
        return operate("add", other, operate("neg", self))

    def __mul__(self, other: Any) -> Any:
        return operate("mul", self, other)

    def __rmul__(self, other: Any) -> Any:
        return operate("mul", other, self)

    def __truediv__(self, other: Any) -> Any:
        return operate("div", self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return operate("div", other, self)

    def __matmul__(self, other: Any) -> Any:
        return operate("matmul", self, other)

    def __rmatmul__(self, other: Any) -> Any:
        return operate("matmul", other, self)

    def __pow__(self, exponent: Any) -> Any:
        if not isinstance(exponent, numbers.Real):
            raise UnsupportedOperation(
                "a power needs a number as exponent; write exp(b * log(a)) for a ** b"
            )
        return operate("pow", self, exponent=exponent)

    def __rpow__(self, base: Any) -> Any:
        raise UnsupportedOperation(
            f"{base} ** x is not in the language; write exp(x * log({base}))"
        )

    def __mod__(self, period: Any) -> Any:
        return UFUNCS["remainder"](self, period)

    def __floordiv__(self, other: Any) -> Any:
        return UFUNCS["floor_divide"](self, other)

    def __neg__(self) -> Any:
        return operate("neg", self)

    def __pos__(self) -> Any:
        return self

    def __abs__(self) -> Any:
        return operate("abs", self)

    def __gt__(self, other: Any) -> Any:
        return operate("greater", self, other)

    def __lt__(self, other: Any) -> Any:
        return operate("greater", other, self)

    def __ge__(self, other: Any) -> Any:
        return operate("add", 1, operate("neg", operate("greater", other, self)))

    def __le__(self, other: Any) -> Any:
        return operate("add", 1, operate("neg", operate("greater", self, other)))

    def __eq__(self, other: object) -> bool:
        # Expressions are compared by identity where they are worked on, never by the user.
        if isinstance(self, ArrayValue) or declared_dims.get() is not None:
            raise UnsupportedOperation("== between values is not in the language; write a > b")
        return self is other

    __hash__ = object.__hash__

    @property
    def T(self) -> Any:
        return operate("transpose", self)

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__"):  # Python and NumPy look for protocols
            raise AttributeError(f"values of a cell have no {attribute!r}")
        raise UnsupportedAttribute(
            f"values of a cell have no {attribute!r}; {advice.of_attribute(attribute)}"
        )

    def _number(self, *_: Any) -> Any:
        raise UnsupportedOperation(
            "a value of the cell was turned into a Python number; write tanh(x), exp(x), … of "
            "gradcheck_rnn.language in place of math, and x itself for float(x)"
        )

    __float__ = __int__ = __complex__ = _number

    def __bool__(self) -> bool:
        raise UnsupportedOperation(
            "a value of the cell was used as a Python truth value; write where(condition, a, b), "
            "maximum(a, b) and minimum(a, b)"
        )

    def __len__(self) -> int:
        raise UnsupportedOperation(
            'a value of the cell has no len(); write dim("p") for its number of units, mean(x) for '
            "sum(x) / len(x)"
        )

    def __setitem__(self, key: Any, value: Any) -> None:
        raise UnsupportedOperation(
            "values of a cell cannot be changed in place; put the parts together with concat"
        )

    def __iter__(self) -> Any:
        raise UnsupportedOperation(
            "a value of the cell cannot be looped over; use split(x, parts), and np.sum(x), "
            "np.max(x) or sum, max, min of gradcheck_rnn.language in place of Python's"
        )

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise UnsupportedOperation(
            "a value of the cell was passed to a NumPy function the language does not have"
        )

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        handler = UFUNCS.get(ufunc.__name__)
        if handler is None and ufunc.nin == 1 and ufunc.__name__ in numeric.ELEMENTWISE:
            handler = partial(operate, "apply", function=ufunc.__name__)
        if handler is not None and options:
            raise UnsupportedOperation(
                f"np.{ufunc.__name__} with {', '.join(options)}= is not in the language"
            )
        if handler is None or method != "__call__":
            name = ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}"
            raise UnsupportedOperation(
                f"np.{name} is not an operation of the language; {advice.of_function(name)}"
            )
        return handler(*inputs)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        handler = FUNCTIONS.get(func.__name__)
        spelled = getattr(handler, "__name__", "") == "spelled"
        if handler is None or (kwargs and not (spelled and set(kwargs) <= {"axis", "keepdims"})):
            what = f"np.{func.__name__}" + f" with {', '.join(kwargs)}=" * bool(kwargs)
            raise UnsupportedOperation(
                f"{what} is not an operation of the language (units are axis −2 here); "
                + advice.of_function(func.__name__)
            )
        return handler(*args, **kwargs)


#: What NumPy's ufuncs and functions mean, by name; entered by `spellings`.
UFUNCS: dict[str, Callable[..., Any]] = {}
FUNCTIONS: dict[str, Callable[..., Any]] = {}


for _sign, _methods in {
    "&": "and rand iand",
    "|": "or ror ior", "^": "xor rxor ixor", "~": "invert", "round": "round",
    "divmod": "divmod rdivmod", "<<": "lshift rlshift", ">>": "rshift rrshift",
}.items():  # fmt: skip
    for _method in _methods.split():
        setattr(_Operators, f"__{_method}__", advice.refusing(_sign))


def _spelled(name: str) -> Callable[..., Any]:
    """The method of an array that is NumPy's function of the same name."""
    return lambda self, *args, **options: FUNCTIONS[name](self, *args, **options)


for _name in ("sum", "mean", "max", "min", "clip", "cumsum", "copy", "transpose", "trace"):
    setattr(_Operators, _name, _spelled(_name))


class Weight(np.ndarray):
    """A weight that takes its products in a way of its own; it stays what it is when it is held."""


class ArrayValue(_Operators):
    """An array in ``(…, n, B)`` while a definition runs. Unit operations act on axis −2."""

    __slots__ = ("array",)

    def __init__(self, array: Any) -> None:
        self.array = array if isinstance(array, Weight) else np.asarray(array)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def dtype(self) -> Any:
        return self.array.dtype

    def __getitem__(self, key: Any) -> ArrayValue:
        start, stop = _slice_bounds(key, self.array.shape[-2], True)
        return operate("slice", self, start=start, stop=stop)

    def __repr__(self) -> str:
        return f"ArrayValue({self.array!r})"


_serial = itertools.count()


@dataclass(eq=False, slots=True)
class Expr(_Operators):
    """A traced expression: an operation, its operands in order, its shape by named dims."""

    op: str
    args: tuple[Expr, ...]
    shape: Shape
    data: Mapping[str, Any] = field(default_factory=dict)
    serial: int = field(default_factory=lambda: next(_serial))

    def __post_init__(self) -> None:
        # What is computed from a value of every head is one for each, but for a sum over them.
        for a in self.args if self.op != "sum_heads" else ():
            if a.shape.headed and not self.shape.headed:
                self.shape = replace(self.shape, heads=a.shape.heads)

    @property
    def symbol(self) -> Symbol:
        return self.data["symbol"]

    def __getitem__(self, key: Any) -> Any:
        start, stop = _slice_bounds(key, self.shape.rows, self.shape.column)
        return operate("slice", self, start=start, stop=stop)

    def __repr__(self) -> str:
        return f"<{describe(self)} {self.shape}>"


def _slice_bounds(key: Any, rows: Any, vector: bool) -> tuple[Any, Any]:
    if vector and isinstance(key, int) and not isinstance(key, bool):
        key = slice(key, key + 1 or None)
    if not isinstance(key, slice) or key.step not in (None, 1):
        raise UnsupportedOperation(
            "units are taken with a plain slice x[start:stop]"
            + advice.of_index(key, isinstance(key, _Operators))
        )
    start, stop = key.start or 0, rows if key.stop is None else key.stop
    if not isinstance(rows, Dim):
        start, stop = (rows + k if k < 0 else k for k in (start, stop))
        return start, stop
    start, stop = (k if isinstance(k, Dim) else Dim((), k) for k in (start, stop))
    start, stop = (rows + k if k.negative else k for k in (start, stop))
    return start, stop


_INFIX = {"mul": " * ", "div": " / ", "matmul": " @ ", "scale": " * ", "greater": " > "}


def describe(e: Expr) -> str:
    """The expression as the user wrote it, for messages."""
    inner = [describe(a) for a in e.args]
    if e.op == "symbol":
        s = e.symbol
        return f"{s.name}[t-{s.lag}]" if s.lag else s.name
    if e.op == "literal":
        return str(e.data["value"])
    if e.op == "add":
        text = inner[0]
        for a, t in zip(e.args[1:], inner[1:], strict=True):
            text += f" - {t[1:]}" if a.op == "neg" else f" + {t}"
        return f"({text})"
    if e.op in _INFIX:
        return "(" + _INFIX[e.op].join(inner) + ")"
    if e.op == "neg":
        return f"-{inner[0]}"
    if e.op == "pow":
        return f"{inner[0]}**{e.data['exponent']}"
    if e.op == "transpose":
        return f"{inner[0]}.T"
    if e.op in ("broadcast", "spread"):
        return inner[0]
    if e.op == "slice":
        return f"{inner[0]}[{e.data['start']}:{e.data['stop']}]"
    if e.op in ("size", "eye", "ones"):
        return f"{e.op}({e.data['dim']})"
    head = e.data.get("function", e.op)
    return f"{head}({', '.join(inner)})"


#: Operation → the rule that makes its traced expression; entered by `shapes`.
RULES: dict[str, Callable[..., Expr]] = {}


def build(op: str, args: tuple[Expr, ...], data: Mapping[str, Any]) -> Expr:
    """A checked Expr for one primitive; scalars are broadcast explicitly."""
    try:
        rule = RULES[op]
    except KeyError:
        raise UnsupportedOperation(f"{op} is not an operation of the language") from None
    return rule(*args, **data)


_LARGEST = float(np.finfo(float).max)
#: What can be done with the size of a named dim.
_OF_SIZES = ("add", "mul", "div", "neg")


def literal(value: Any) -> Expr:
    """A number, or the size of a named dim, as a scalar leaf."""
    if isinstance(value, Dim):
        return Expr("size", (), Shape(ONE), {"dim": value})
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value.item()
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Fraction | int | float) and not isinstance(value, bool):
        if not -_LARGEST <= value <= _LARGEST:  # false for NaN too
            raise UnsupportedOperation(
                f"the constant {str(value)[:12]} is no finite number of 64 bits"
            )
        return Expr("literal", (), Shape(ONE), {"value": value, **noted_place()})
    raise UnsupportedOperation(
        f"{type(value).__name__} in a cell definition: constants must be numbers, arrays must be "
        "declared (params, fixed or data)" + advice.of_constant(value)
    )


def operate(op: str, *operands: Any, **data: Any) -> Any:
    """Apply a primitive: build an Expr if an operand is traced, compute otherwise.

    Raises
    ------
    DimensionError
        Traced operands whose named dims do not fit, or arrays whose shapes do not.
    UnsupportedOperation
        An operand that is neither a value of the cell nor a number.
    """
    arrays: list[Any] = []
    dtype: Any = None
    plain, traced = True, False
    for x in operands:
        kind = type(x)
        if kind is ArrayValue:
            arrays.append(x.array)
            plain = plain and (dtype is None or x.array.dtype == dtype)
            dtype = x.array.dtype
        else:
            arrays.append(x)
            plain, traced = False, traced or kind is Expr or kind is Dim
    if traced:
        if op not in _OF_SIZES and any(type(x) is Dim for x in operands):
            raise UnsupportedOperation(
                f"{data.get('function', op)} of a size is not in the language: a size can be "
                "added, multiply and divide; declare other functions of it as a fixed scalar"
            )
        return build(op, tuple(x if isinstance(x, Expr) else literal(x) for x in operands), data)
    if dtype is None:
        if not operands:
            raise UnsupportedOperation(f"{op} needs an operand")
        return operate(op, ArrayValue(operands[0]), *operands[1:], **data).array
    if not plain:
        # The dtype of the run; an identity matrix or a bit is exact in all of them.
        dtypes = [x.array.dtype for x in operands if isinstance(x, ArrayValue)]
        dtype = next((t for t in dtypes if t.kind in "fcO"), dtypes[0])
        if dtype.kind == "O":
            like = next(a for a in arrays if getattr(a, "dtype", None) == dtype)
            arrays = [numeric.constant(x, like) for x in arrays]
        arrays = [_plain(x, dtype) for x in arrays]
    try:
        made = ArrayValue(numeric.RUN[op](*arrays, **data))
    except ValueError as problem:
        shapes = ", ".join(str(a.shape) for a in arrays)
        raise DimensionError(f"{op} on arrays of shape {shapes}: {problem}") from None
    if op in numeric.BRANCHES and (watcher := numeric.branch_watcher.get()) is not None:
        watcher(op, made.array, *arrays, **data)
    return made


def _plain(x: Any, dtype: Any) -> np.ndarray[Any, Any]:
    """A number in the dtype it meets (a float64 constant must not promote a float32 run)."""
    if isinstance(x, np.ndarray) and x.ndim and x.dtype.kind not in "iub":
        return x
    if dtype.kind in "fcO":
        return np.asarray(x, dtype=object) if dtype.kind == "O" else np.asarray(x).astype(dtype)
    return np.asarray(x)


def dim_value(dim: Dim) -> Any:
    """The dim itself while tracing, its size while a definition runs on arrays."""
    declared = declared_dims.get()
    for stranger in (n for n in dim.names if declared is not None and n not in declared):
        raise DimensionError(
            f"dim {stranger!r} is not declared; the cell has {', '.join(declared or ())}"
        )
    sizes = current_dims.get()
    return dim if sizes is None else dim.size(sizes)
