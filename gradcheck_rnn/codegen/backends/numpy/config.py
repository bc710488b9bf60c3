"""What NumPy calls things, and the helpers a module may need."""

from __future__ import annotations

__all__ = ["HELPERS", "OVERFLOWING", "RESERVED", "UFUNCS"]

#: Functions of the language that are a NumPy ufunc.
UFUNCS = {
    "tanh": "np.tanh", "exp": "np.exp", "log": "np.log", "sqrt": "np.sqrt",
    "sin": "np.sin", "cos": "np.cos",
}  # fmt: skip

#: Helpers in which exp may overflow without harm.
OVERFLOWING = frozenset({"sigmoid"})

#: Names that generated code uses for itself.
RESERVED = (
    "np", "t", "inputs", "parameters", "saved", "cotangents", "upstream", "shapes", "arrays",
    "outputs", "gradients", "sizes", "one", "_", "dtype", "forward", "backward",
    "loss_and_gradients", "_check", "_check_cotangents", "Any", "Array", "Mapping", "TypedDict",
    "annotations", "SHAPES", "Parameters", "Inputs", "Outputs", "Saved", "Cotangents", "Gradients",
    "work", "out", "x_", "name", "lengths", "batch", "steps",
)  # fmt: skip

#: Helper functions by name: (what it needs, text).
HELPERS: dict[str, tuple[tuple[str, ...], str]] = {
    "sigmoid": (
        (),
        '''
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
    ),
    "softplus": (
        (),
        '''
def softplus(x: Array, out: Array | None = None) -> Array:
    """log(1 + exp(x)) = max(x, 0) + log1p(exp(−|x|))."""
    positive = np.real(x) > 0
    y = np.log1p(np.exp(np.where(positive, -x, x)))
    return np.add(y, np.where(positive, x, 0), out=out)
''',
    ),
    "relu": (
        (),
        '''
def relu(x: Array, out: Array | None = None) -> Array:
    """max(x, 0); complex numbers branch on the real part."""
    if np.iscomplexobj(x):
        return np.multiply(x, np.real(x) > 0, out=out)
    return np.maximum(x, 0, out=out)
''',
    ),
    "greater": (
        (),
        '''
def greater(a: Array, b: Array) -> Array:
    """1 where a > b, else 0; complex numbers compare by the real part."""
    bits = np.real(a) > np.real(b)
    return bits.astype(np.result_type(np.real(a), np.real(b), np.float16))
''',
    ),
    "maximum": (
        (),
        '''
def maximum(a: Array, b: Array) -> Array:
    """The larger entry, b on ties; complex numbers compare by the real part."""
    return np.where(np.real(a) > np.real(b), a, b)
''',
    ),
    "where": (
        (),
        '''
def where(condition: Array, a: Array, b: Array) -> Array:
    """a where the condition is not zero, else b."""
    return np.where(np.real(condition) != 0, a, b)
''',
    ),
    "absolute": (
        (),
        '''
def absolute(x: Array) -> Array:
    """|x|; complex numbers branch on the real part."""
    return np.where(np.real(x) > 0, x, -x)
''',
    ),
    "softmax": (
        (),
        '''
def softmax(x: Array, out: Array | None = None) -> Array:
    """exp(x) / Σ exp(x) over the last axis."""
    y = np.subtract(x, np.real(x).max(axis=-1, keepdims=True), out=out)
    np.exp(y, out=y)
    y /= y.sum(axis=-1, keepdims=True)
    return y
''',
    ),
    "log_softmax": (
        (),
        '''
def log_softmax(x: Array, out: Array | None = None) -> Array:
    """x − log Σ exp(x) over the last axis."""
    y = np.subtract(x, np.real(x).max(axis=-1, keepdims=True), out=out)
    y -= np.log(np.exp(y).sum(axis=-1, keepdims=True))
    return y
''',
    ),
    "pad": (
        (),
        '''
def pad(x: Array, start: int, rows: int) -> Array:
    """The rows of x from row ``start`` on among zeros."""
    x = np.atleast_1d(x)
    y = np.zeros((rows, *x.shape[1:]), dtype=x.dtype)
    y[start : start + len(x)] = x
    return y
''',
    ),
}
