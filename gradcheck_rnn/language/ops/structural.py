"""The linear maps of units of the language, each declared once.

To add one, add a declaration here, and one of its adjoint: it then derives, proves, generates,
verifies and prints. What the fields mean is in `unit_maps`.
"""

import numpy as _np

from .unit_maps import UnitMap as _UnitMap


def _sums(name: str, adjoint: str, about: str, step: int, at: str) -> _UnitMap:
    """Sums of the units in their order (step 1) or from the last to the first (step −1)."""
    turned, other = ("" if step == 1 else "[..., ::-1]"), at.replace("k", "(k + by)")
    return _UnitMap(
        name,
        about,
        array=lambda x: _np.cumsum(x[..., ::step, :], axis=-2)[..., ::step, :],
        adjoint=adjoint,
        numpy=f'''
def {name}(x: Array, out: Array | None = None) -> Array:
    """{about}"""
    y = np.empty_like(x) if out is None else out
    np.cumsum(x{turned}, axis=-1, out=y{turned})
    return y
''',
        cupy=f'''
def {name}(x: Array) -> Array:
    """{about}"""
    return cp.ascontiguousarray(cp.cumsum(x{turned}, axis=-1){turned})
''',
        cuda=f"""
// {about}
__device__ void {name}(real* const x, const int n)
{{
    for (int by = 1; by < n; by *= 2) {{
        for (int k = threadIdx.x; k - (int)threadIdx.x < n - by; k += blockDim.x) {{
            const real other = k + by < n ? x[{other}] : real(0);
            __syncthreads();
            if (k + by < n) x[{at}] += other;
            __syncthreads();
        }}
    }}
}}
""",
        c=f"for (Index k = n - 2; k >= 0; --k) x[{at}] += x[{other.replace('by', '1')}];",
    )


cumsum = _sums("cumsum", "reverse_cumsum", "Sums of the units up to each.", 1, "n - 1 - k")
reverse_cumsum = _sums("reverse_cumsum", "cumsum", "Sums of the units from each on.", -1, "k")
