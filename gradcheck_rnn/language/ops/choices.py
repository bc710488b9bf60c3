"""Piecewise constant maps of the units, whose derivative is 0, each declared once.

What the fields mean is in `unit_maps`.
"""

from typing import Any as _Any

import numpy as _np

from .. import numeric as _numeric
from .unit_maps import UnitMap as _UnitMap


def _one_hot_max(x: _Any) -> _Any:
    """1 at the first of the largest units, else 0."""
    if x.dtype != object:
        at = _np.argmax(x.real, axis=-2, keepdims=True)
        return (_np.arange(x.shape[-2])[:, None] == at).astype(x.dtype)
    out = _np.empty_like(x)
    for i in range(x.shape[-2]):
        best: _Any = 1
        for k in range(x.shape[-2]):
            a, b = x[..., i, :], x[..., k, :]
            if k != i:
                best = best * (_numeric.greater(a, b) if k < i else 1 - _numeric.greater(b, a))
        out[..., i, :] = best
    return out


one_hot_max = _UnitMap(
    "one_hot_max",
    "1 at the first of the largest units, 0 elsewhere; its derivative is 0.",
    array=_one_hot_max,
    adjoint="",
    numpy='''
def one_hot_max(x: Array, out: Array | None = None) -> Array:
    """1 at the first of the largest units, 0 elsewhere."""
    at = np.argmax(np.real(x), axis=-1, keepdims=True)
    return np.positive((np.arange(x.shape[-1]) == at).astype(x.dtype), out=out)
''',
    cupy='''
def one_hot_max(x: Array) -> Array:
    """1 at the first of the largest units, 0 elsewhere."""
    at = cp.expand_dims(cp.argmax(x, axis=-1), -1)
    return (cp.arange(x.shape[-1]) == at).astype(x.dtype)
''',
    cuda="""
// 1 at the first of the largest units, 0 elsewhere.
__device__ void one_hot_max(real* const x, const int n)
{
    int at = 0;
    for (int k = 1; k < n; ++k) at = x[k] > x[at] ? k : at;
    __syncthreads();
    for (int k = threadIdx.x; k < n; k += blockDim.x) x[k] = k == at ? real(1) : real(0);
    __syncthreads();
}
""",
    c="Index at = 0;\n    for (Index k = 1; k < n; ++k) at = x[k] > x[at] ? k : at;\n"
    "    for (Index k = 0; k < n; ++k) x[k] = k == at ? (real)1 : (real)0;",
)
