"""What NumPy calls things, and the helpers a module may need."""

from __future__ import annotations

from ..expressions import declared_helpers

__all__ = ["HELPERS", "RESERVED", "helper_texts"]

#: Names that generated code uses for itself.
RESERVED = (
    "np", "math", "t", "inputs", "parameters", "saved", "cotangents", "upstream", "shapes",
    "arrays",
    "outputs", "gradients", "sizes", "one", "_", "dtype", "forward", "backward",
    "loss_and_gradients", "_check", "_check_cotangents", "Any", "Array", "Mapping", "TypedDict",
    "annotations", "SHAPES", "ROWS", "ENTRIES", "Parameters", "Inputs", "Outputs", "Saved",
    "Cotangents", "Gradients", "work", "out", "x_", "name", "lengths", "batch", "workspace",
    "_array",
)  # fmt: skip

#: Helper functions by name, beside those of elementwise functions.
HELPERS: dict[str, str] = {
    "row_dots": '''
def row_dots(x: Array, y: Array, out: Array) -> Array:
    """Σ x ⊙ y over the last axis, which stays with one entry, as products of matrices."""
    np.matmul(x[..., None, :], y[..., None], out=out[..., None])
    return out
''',
    "greater": '''
def greater(a: Array, b: Array) -> Array:
    """1 where a > b, else 0; complex numbers compare by the real part."""
    bits = np.real(a) > np.real(b)
    return bits.astype(np.result_type(np.real(a), np.real(b), np.float16))
''',
    "maximum": '''
def maximum(a: Array, b: Array) -> Array:
    """The larger entry, b on ties; complex numbers compare by the real part."""
    return np.where(np.real(a) > np.real(b), a, b)
''',
    "where": '''
def where(condition: Array, a: Array, b: Array) -> Array:
    """a where the condition is not zero, else b."""
    return np.where(np.real(condition) != 0, a, b)
''',
    "absolute": '''
def absolute(x: Array) -> Array:
    """|x|; complex numbers branch on the real part."""
    return np.where(np.real(x) > 0, x, -x)
''',
    "softmax": '''
def softmax(x: Array, out: Array | None = None) -> Array:
    """exp(x) / Σ exp(x) over the last axis."""
    y = np.subtract(x, np.real(x).max(axis=-1, keepdims=True), out=out)
    np.exp(y, out=y)
    y /= y.sum(axis=-1, keepdims=True)
    return y
''',
    "log_softmax": '''
def log_softmax(x: Array, out: Array | None = None) -> Array:
    """x − log Σ exp(x) over the last axis."""
    y = np.subtract(x, np.real(x).max(axis=-1, keepdims=True), out=out)
    y -= np.log(np.exp(y).sum(axis=-1, keepdims=True))
    return y
''',
    "within": '''
def within(
    function: Any, x: Array, groups: int, out: Array | None = None
) -> Array:
    """A function of the last axis for each of so many groups of its entries side by side."""
    axes = (*x.shape[:-1], groups, x.shape[-1] // max(groups, 1))
    if out is None:
        made: Array = function(x.reshape(axes)).reshape(x.shape)
        return made
    function(x.reshape(axes), out=out.reshape(axes))
    return out
''',
    "pad": '''
def pad(x: Array, start: int, rows: int) -> Array:
    """The rows of x from row ``start`` on among zeros."""
    x = np.atleast_1d(x)
    y = np.zeros((rows, *x.shape[1:]), dtype=x.dtype)
    y[start : start + len(x)] = x
    return y
''',
}


def helper_texts() -> dict[str, str]:
    """Texts of all helper functions by name, in the order in which a module has them."""
    return {**declared_helpers("numpy"), **HELPERS}
