"""The elementwise functions of the language, each declared once.

To add one, add a declaration here: it then derives, proves, generates, verifies and prints. What
the fields mean is in `elementwise`.
"""

from fractions import Fraction as _Fraction
from typing import Any as _Any

import numpy as _np

from ..numeric import without_slope as _without_slope
from .elementwise import Elementwise as _Elementwise


def _away(x: _Any) -> tuple[_Any, _Any]:
    """Sign of the real part and exp(−|x|) (with the branch taken on the real part)."""
    positive = x.real >= 0
    return positive, _np.exp(_np.where(positive, -x, x))


def _sigmoid(x: _Any) -> _Any:
    positive, decay = _away(x)
    return _np.where(positive, 1, decay) / (1 + decay)


def _softplus(x: _Any) -> _Any:
    positive, decay = _away(x)
    return _np.where(positive, x, 0) + _np.log1p(decay)


tanh = _Elementwise(
    "tanh",
    "Hyperbolic tangent.",
    definition="(exp(x) - exp(-x)) / (exp(x) + exp(-x))",
    slope="1 - y**2",
    array=_np.tanh,
    numpy="np.tanh",
    cupy="cp.tanh",
    cuda="tanh",
    latex=r"\tanh",
    typst="tanh",
    supremum=1.0,
    mirror="-y",
    at_zero=_Fraction(0),
)

sigmoid = _Elementwise(
    "sigmoid",
    "σ(x) = 1 / (1 + exp(−x)).",
    definition="1 / (1 + exp(-x))",
    slope="y*(1 - y)",
    array=_sigmoid,
    numpy='''
def sigmoid(x: Array, out: Array | None = None) -> Array:
    """1 / (1 + exp(−x)), accurate in both tails; where exp(−x) overflows it is 0."""
    y = np.asarray(np.negative(x, out=out))
    if y.dtype.kind == "c":
        # An infinite complex number has no reciprocal.
        np.minimum(y, np.log(np.finfo(y.dtype).max) - 1, out=y)
    np.exp(y, out=y)
    y += 1
    return np.reciprocal(y, out=y)
''',
    cupy='''
def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(−x))."""
    return 1 / (1 + cp.exp(-x))
''',
    cuda="""
// Accurate in both tails; where exp(-x) overflows it is 0.
__device__ __forceinline__ real sigmoid(const real x) { return real(1) / (real(1) + exp(-x)); }
""",
    latex=r"\sigma",
    typst="sigma",
    text="σ",
    supremum=0.25,
    mirror="1 - y",
    at_zero=_Fraction(1, 2),
    overflows=True,
)

relu = _Elementwise(
    "relu",
    "max(x, 0); its derivative at 0 is 0.",
    definition="positive_bit(x)*x",
    slope="positive_bit(x)",
    array=lambda x: _np.where(x.real > 0, x, 0),
    numpy='''
def relu(x: Array, out: Array | None = None) -> Array:
    """max(x, 0); complex numbers branch on the real part."""
    if np.iscomplexobj(x):
        return np.multiply(x, np.real(x) > 0, out=out)
    return np.maximum(x, 0, out=out)
''',
    cupy='''
def relu(x: Array) -> Array:
    """max(x, 0)."""
    return cp.maximum(x, 0)
''',
    cuda="__device__ __forceinline__ real relu(const real x) { return x > real(0) ? x : real(0); }",
    supremum=1.0,
)

softplus = _Elementwise(
    "softplus",
    "log(1 + exp(x)).",
    definition="log1p(exp(x))",
    slope="sigmoid(x)",
    array=_softplus,
    numpy='''
def softplus(x: Array, out: Array | None = None) -> Array:
    """log(1 + exp(x)) = max(x, 0) + log1p(exp(−|x|))."""
    positive = np.real(x) > 0
    y = np.log1p(np.exp(np.where(positive, -x, x)))
    return np.add(y, np.where(positive, x, 0), out=out)
''',
    cupy='''
def softplus(x: Array) -> Array:
    """log(1 + exp(x)) = max(x, 0) + log1p(exp(−|x|))."""
    return cp.maximum(x, 0) + cp.log1p(cp.exp(-cp.abs(x)))
''',
    cuda="""
// log(1 + exp(x)) without overflow.
__device__ __forceinline__ real softplus(const real x)
{
    return (x > real(0) ? x : real(0)) + log1p(exp(-fabs(x)));
}
""",
    supremum=1.0,
)

silu = _Elementwise(
    "silu",
    "x σ(x), also called swish.",
    definition="x / (1 + exp(-x))",
    slope="y + sigmoid(x)*(1 - y)",
    array=lambda x: x * _sigmoid(x),
    numpy='''
def silu(x: Array, out: Array | None = None) -> Array:
    """x / (1 + exp(−x)); where exp(−x) overflows it is 0."""
    y = np.asarray(-x)
    if y.dtype.kind == "c":
        # An infinite complex number has no reciprocal.
        np.minimum(y, np.log(np.finfo(y.dtype).max) - 1, out=y)
    return np.divide(x, 1 + np.exp(y), out=out)
''',
    cupy='''
def silu(x: Array) -> Array:
    """x / (1 + exp(−x))."""
    return x / (1 + cp.exp(-x))
''',
    cuda="""
__device__ __forceinline__ real silu(const real x) { return x / (real(1) + exp(-x)); }
""",
    supremum=1.1,
    at_zero=_Fraction(0),
    overflows=True,
)

elu = _Elementwise(
    "elu",
    "x for x > 0, else exp(x) − 1; its derivative at 0 is 1.",
    definition="positive_bit(x)*x + (1 - positive_bit(x))*expm1(x)",
    slope="exp(-relu(-x))",
    array=lambda x: _np.where(x.real > 0, x, _np.expm1(_np.where(x.real > 0, 0, x))),
    numpy='''
def elu(x: Array, out: Array | None = None) -> Array:
    """x for x > 0, else exp(x) − 1; complex numbers branch on the real part."""
    positive = np.real(x) > 0
    y = np.expm1(np.where(positive, 0, x))
    return np.add(y, np.where(positive, x, 0), out=out)
''',
    cupy='''
def elu(x: Array) -> Array:
    """x for x > 0, else exp(x) − 1."""
    return cp.maximum(x, 0) + cp.expm1(cp.minimum(x, 0))
''',
    cuda="""
__device__ __forceinline__ real elu(const real x) { return x > real(0) ? x : expm1(x); }
""",
    supremum=1.0,
    at_zero=_Fraction(0),
)

exp = _Elementwise(
    "exp",
    "Exponential.",
    definition="exp(x)",
    slope="y",
    array=_np.exp,
    numpy="np.exp",
    cupy="cp.exp",
    cuda="exp",
    latex=r"\exp",
    typst="exp",
    at_zero=_Fraction(1),
)

log = _Elementwise(
    "log",
    "Natural logarithm.",
    definition="log(x)",
    slope="1/x",
    array=lambda x: _without_slope(x, _np.log(x)),
    numpy="np.log",
    cupy="cp.log",
    cuda="log",
    latex=r"\log",
    typst="log",
    positive=True,
)

log1p = _Elementwise(
    "log1p",
    "log(1 + x), accurate near 0.",
    definition="log1p(x)",
    slope="1/(1 + x)",
    array=lambda x: _without_slope(x, _np.log1p(x), -1.0),
    numpy="np.log1p",
    cupy="cp.log1p",
    cuda="log1p",
    at_zero=_Fraction(0),
)

expm1 = _Elementwise(
    "expm1",
    "exp(x) − 1, accurate near 0.",
    definition="exp(x) - 1",
    slope="y + 1",
    array=_np.expm1,
    numpy="np.expm1",
    cupy="cp.expm1",
    cuda="expm1",
    at_zero=_Fraction(0),
)

sqrt = _Elementwise(
    "sqrt",
    "Square root.",
    definition="sqrt(x)",
    slope="(1/2)/y",
    array=lambda x: _without_slope(x, _np.sqrt(x)),
    numpy="np.sqrt",
    cupy="cp.sqrt",
    cuda="sqrt",
    positive=True,
)

sin = _Elementwise(
    "sin",
    "Sine.",
    definition="sin(x)",
    slope="cos(x)",
    array=_np.sin,
    numpy="np.sin",
    cupy="cp.sin",
    cuda="sin",
    supremum=1.0,
    mirror="-y",
    at_zero=_Fraction(0),
)

cos = _Elementwise(
    "cos",
    "Cosine.",
    definition="cos(x)",
    slope="-sin(x)",
    array=_np.cos,
    numpy="np.cos",
    cupy="cp.cos",
    cuda="cos",
    supremum=1.0,
    mirror="y",
    at_zero=_Fraction(1),
)

softsign = _Elementwise(
    "softsign",
    "x / (1 + |x|).",
    definition="x / (1 + abs(x))",
    slope="1 / (1 + abs(x))**2",
    array=lambda x: x / (1 + _np.where(x.real > 0, x, -x)),
    numpy='''
def softsign(x: Array, out: Array | None = None) -> Array:
    """x / (1 + |x|); complex numbers branch on the real part."""
    return np.divide(x, 1 + np.where(np.real(x) > 0, x, -x), out=out)
''',
    cupy='''
def softsign(x: Array) -> Array:
    """x / (1 + |x|)."""
    return x / (1 + cp.abs(x))
''',
    cuda="""
__device__ __forceinline__ real softsign(const real x) { return x / (real(1) + fabs(x)); }
""",
    supremum=1.0,
    mirror="-y",
    at_zero=_Fraction(0),
)

floor = _Elementwise(
    "floor",
    "The largest whole number not above x; its derivative is 0, at its jumps too.",
    definition="floor(x)",
    slope="0",
    array=lambda x: _np.asarray(_np.floor(x.real), dtype=x.dtype),
    numpy='''
def floor(x: Array, out: Array | None = None) -> Array:
    """The largest whole number not above x; complex numbers lose what is imaginary."""
    return np.positive(np.asarray(np.floor(np.real(x)), dtype=np.asarray(x).dtype), out=out)
''',
    cupy="cp.floor",
    cuda="floor",
    supremum=0.0,
    at_zero=_Fraction(0),
)
