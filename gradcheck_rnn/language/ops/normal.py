"""The error function and what is made of it, each declared once as in `functions`."""

from fractions import Fraction as _Fraction
from typing import Any as _Any

import numpy as _np

from .elementwise import Elementwise as _Elementwise
from .error_function import complementary_error_function as _erfc
from .error_function import error_function as _erf
from .error_function import with_slope as _with_slope


def _root_of_pi(x: _Any) -> _Any:
    """√π in the precision of x."""
    return _np.sqrt(4 * _np.arctan(_np.ones((), x.real.dtype)))


def _erf_slope(x: _Any) -> _Any:
    return 2 * _np.exp(-x * x) / _root_of_pi(x)


def _normal_pdf(x: _Any) -> _Any:
    return _erf_slope(x / _np.sqrt(_np.full((), 2, x.real.dtype))) / _np.sqrt(
        _np.full((), 8, x.real.dtype)
    )


def _normal_cdf(x: _Any) -> _Any:
    value = _erfc(-x.real / _np.sqrt(_np.full((), 2, x.real.dtype))) / 2
    return _with_slope(value, _normal_pdf(x.real), x)


erf = _Elementwise(
    "erf",
    "Error function, 2 / √π times the integral of exp(−s²) from 0 to x.",
    definition="erf(x)",
    slope="erf_slope(x)",
    array=lambda x: _with_slope(_erf(x.real), _erf_slope(x.real), x),
    numpy='''
def erf(x: Array, out: Array | None = None) -> Array:
    """Error function; a + ib to first order in b, as for a complex step."""
    a = np.real(x)
    y = np.asarray(np.frompyfunc(math.erf, 1, 1)(a), dtype=a.dtype)
    if np.iscomplexobj(x):
        y = y + 1j * (2 / math.sqrt(math.pi)) * np.imag(x) * np.exp(-a * a)
    return np.positive(y, out=out)
''',
    cupy="special.erf",
    cuda="erf",
    supremum=1.13,
    mirror="-y",
    at_zero=_Fraction(0),
)

erf_slope = _Elementwise(
    "erf_slope",
    "2 exp(−x²) / √π, the derivative of erf.",
    definition="2 * exp(-x**2) / sqrt(4 * atan(1))",
    slope="-2*x*y",
    array=_erf_slope,
    numpy='''
def erf_slope(x: Array, out: Array | None = None) -> Array:
    """2 exp(−x²) / √π."""
    return np.multiply(np.exp(-x * x), 2 / math.sqrt(math.pi), out=out)
''',
    cupy='''
def erf_slope(x: Array) -> Array:
    """2 exp(−x²) / √π."""
    return 1.1283791670955126 * cp.exp(-x * x)
''',
    cuda="""
__device__ __forceinline__ real erf_slope(const real x)
{
    return real(1.1283791670955126) * exp(-x * x);
}
""",
    latex=r"\operatorname{erf}'",
    typst='op("erf")\'',
    text="erf′",
    supremum=0.97,
    mirror="y",
)

normal_pdf = _Elementwise(
    "normal_pdf",
    "φ(x) = exp(−x²/2) / √(2π), the density of the normal distribution.",
    definition="exp(-x**2 / 2) / sqrt(8 * atan(1))",
    slope="-x*y",
    array=_normal_pdf,
    numpy='''
def normal_pdf(x: Array, out: Array | None = None) -> Array:
    """exp(−x²/2) / √(2π)."""
    return np.multiply(np.exp(-0.5 * x * x), 1 / math.sqrt(2 * math.pi), out=out)
''',
    cupy='''
def normal_pdf(x: Array) -> Array:
    """exp(−x²/2) / √(2π)."""
    return 0.3989422804014327 * cp.exp(-0.5 * x * x)
''',
    cuda="""
__device__ __forceinline__ real normal_pdf(const real x)
{
    return real(0.3989422804014327) * exp(real(-0.5) * x * x);
}
""",
    latex=r"\varphi",
    typst="phi",
    text="φ",
    supremum=0.25,
    mirror="y",
)

normal_cdf = _Elementwise(
    "normal_cdf",
    "Φ(x) = (1 + erf(x / √2)) / 2, the normal distribution.",
    definition="erfc(-x / sqrt(2)) / 2",
    slope="normal_pdf(x)",
    array=_normal_cdf,
    numpy='''
def normal_cdf(x: Array, out: Array | None = None) -> Array:
    """erfc(−x / √2) / 2; a + ib to first order in b, as for a complex step."""
    a = np.real(x)
    y = np.asarray(np.frompyfunc(math.erfc, 1, 1)(a / -math.sqrt(2)), dtype=a.dtype) / 2
    if np.iscomplexobj(x):
        y = y + 1j / math.sqrt(2 * math.pi) * np.imag(x) * np.exp(-0.5 * a * a)
    return np.positive(y, out=out)
''',
    cupy='''
def normal_cdf(x: Array) -> Array:
    """erfc(−x / √2) / 2."""
    return special.erfc(-0.7071067811865476 * x) / 2
''',
    cuda="""
__device__ __forceinline__ real normal_cdf(const real x)
{
    return real(0.5) * erfc(real(-0.7071067811865476) * x);
}
""",
    latex=r"\Phi",
    typst="Phi",
    text="Φ",
    supremum=0.4,
    mirror="1 - y",
    at_zero=_Fraction(1, 2),
)

gelu = _Elementwise(
    "gelu",
    "x Φ(x) with the normal distribution Φ; gelu_tanh is the form with tanh.",
    definition="x * erfc(-x / sqrt(2)) / 2",
    slope="normal_cdf(x) + x*normal_pdf(x)",
    array=lambda x: x * _normal_cdf(x),
    numpy='''
def gelu(x: Array, out: Array | None = None) -> Array:
    """x erfc(−x / √2) / 2; a + ib to first order in b, as for a complex step."""
    a = np.real(x)
    y = np.asarray(np.frompyfunc(math.erfc, 1, 1)(a / -math.sqrt(2)), dtype=a.dtype) / 2
    if np.iscomplexobj(x):
        y = y + 1j / math.sqrt(2 * math.pi) * np.imag(x) * np.exp(-0.5 * a * a)
    return np.multiply(x, y, out=out)
''',
    cupy='''
def gelu(x: Array) -> Array:
    """x erfc(−x / √2) / 2."""
    return x * special.erfc(-0.7071067811865476 * x) / 2
''',
    cuda="""
__device__ __forceinline__ real gelu(const real x)
{
    return x * real(0.5) * erfc(real(-0.7071067811865476) * x);
}
""",
    supremum=1.13,
    at_zero=_Fraction(0),
)
