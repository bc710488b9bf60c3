"""Mistakes in a definition: one clear sentence that names the place, the operands and the dims."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradcheck_rnn import language
from gradcheck_rnn.errors import DefinitionError, DimensionError, UnsupportedOperation
from gradcheck_rnn.language import cell, trace

DECLARED = {"inputs": "x: d", "states": "h: p", "params": "W: p p; U: p d; b: p"}


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Any]:
    """A cell from the lines of its body, as if a user had written the file."""

    def make(body: str, arguments: str = "x, h, W, U, b", **declared: Any) -> Any:
        lines = [f"def mine({arguments}):", *(f"    {line}" for line in body.split("\n"))]
        path = tmp_path / "user_cell.py"
        path.write_text("\n".join(lines) + "\n")
        space = {n: getattr(language, n) for n in language.__all__} | {"np": np}
        exec(compile(path.read_text(), str(path), "exec"), space)
        return cell(space["mine"], **(declared or DECLARED))

    return make


I = "h = tanh(W @ h + U @ x + b)\n"  # noqa: E741
# What is wrong: body, line of the mistake (1 is the def line), error class, what the text says.
MISTAKES = {
    "if on a value": (
        I + "if h > 0:\n    h = -h\nreturn h",
        3,
        UnsupportedOperation,
        "used as a Python truth value; write where(condition, a, b)",
    ),
    "equality": (
        I + "if h == 0:\n    h = -h\nreturn h",
        3,
        UnsupportedOperation,
        "== between values is not in the language",
    ),
    "in place": (
        I + "h[0] = 1\nreturn h",
        3,
        UnsupportedOperation,
        "values of a cell cannot be changed in place",
    ),
    "and": (I + "return h and h", 3, UnsupportedOperation, "write where(condition, a, b)"),
    "python max": ("return max(h, W @ h + U @ x + b)", 2, UnsupportedOperation, "write where("),
    "transposed product": (
        "return tanh(h @ W + U @ x + b)",
        2,
        DimensionError,
        "vectors are columns and weights stand on the left: write W.T @ h[t-1]",
    ),
    "wrong dims": (
        "return W @ x + U @ x + b",
        2,
        DimensionError,
        "@: W has shape (p, p) but x has shape (d)",
    ),
    "sum of different dims": (
        "return W @ h + U @ x + b + x",
        2,
        DimensionError,
        "has shape (p) but x has shape (d)",
    ),
    "star for at": (
        "return W @ h + U * x + b",
        2,
        DimensionError,
        "*: U has shape (p, d) but x has shape (d) (write @ for a matrix product)",
    ),
    "mixed batch columns": (
        "return W @ (h @ h.T) @ h + U @ x + b",
        2,
        UnsupportedOperation,
        "h[t-1].T would mix sequences of the batch; write dot(a, b) for aᵀb, and v * dot(k, q) for",
    ),
    "batch on the left": (
        "return h @ sum(h) + W @ h + U @ x + b",
        2,
        UnsupportedOperation,
        "mixes sequences of the batch: the left factor must be a parameter",
    ),
    "dot of different dims": (
        "return W @ h + U @ x + b + dot(h, x)",
        2,
        DimensionError,
        "dot: h[t-1] has shape (p) but x has shape (d)",
    ),
    "scaled matrix": (
        "return (W * dot(h, h)) @ h + U @ x + b",
        2,
        UnsupportedOperation,
        "W is a matrix and cannot be scaled by dot(h[t-1], h[t-1]), which differs from sequence",
    ),
    "softmax of a matrix": (
        "return softmax(W) @ h + U @ x + b",
        2,
        UnsupportedOperation,
        "softmax acts on the units of a vector; W is a matrix",
    ),
    "unknown ufunc": (
        "return np.sinh(W @ h) + U @ x + b",
        2,
        UnsupportedOperation,
        "np.sinh is not an operation of the language; write 0.5 * (exp(x) - exp(-x))",
    ),
    "unknown function": (
        "return np.median(h) + W @ h + U @ x + b",
        2,
        UnsupportedOperation,
        "np.median is not an operation of the language (units are axis −2 here); there is nothing",
    ),
    "ufunc options": (
        I + "np.tanh(h, out=h)\nreturn h",
        3,
        UnsupportedOperation,
        "np.tanh with out= is not in the language",
    ),
    "array constant": (
        "return W @ h + U @ x + b + np.ones((3, 1))",
        2,
        UnsupportedOperation,
        "ndarray in a cell definition: constants must be numbers, arrays must be declared",
    ),
    "complex constant": (
        "return 1j * (W @ h + U @ x + b)",
        2,
        UnsupportedOperation,
        "complex in a cell definition: constants must be numbers",
    ),
    "loop": (I + "for a in h:\n    pass\nreturn h", 3, UnsupportedOperation, "use split(x, parts)"),
    "index": (I + "return h[0, 1]", 3, UnsupportedOperation, "a plain slice x[start:stop]"),
    "power": (
        I + "return h ** b",
        3,
        UnsupportedOperation,
        "a power needs a number as exponent; write exp(b * log(a))",
    ),
    "reflected power": (I + "return 2 ** h", 3, UnsupportedOperation, "write exp(x * log(2))"),
    "float": (I + "return float(h)", 3, UnsupportedOperation, "turned into a Python number"),
    "method": (
        I + "return h.var()",
        3,
        UnsupportedOperation,
        "values of a cell have no 'var'; write mean((x - mean(x)) ** 2)",
    ),
    "python error": ("return W @ h + U @ x + c", 2, DefinitionError, "NameError: name 'c'"),
    "not of the language": (
        I + "return divmod(h, 2)[1]",
        3,
        UnsupportedOperation,
        "divmod is not an operation of the language; write x // y and x % y",
    ),
    "to array": (
        I + "return np.asarray(h)",
        3,
        UnsupportedOperation,
        "passed to a NumPy function the language does not have",
    ),
    "uneven split": (
        I + "a, c = split(h, 2)\nreturn concat(a, c)",
        3,
        DimensionError,
        "cannot split a vector of dim p into 2 equal parts",
    ),
    "partial split": (
        I + "a = split(concat(h, h), 'p')\nreturn a[0]",
        3,
        DimensionError,
        "split into p does not cover dim 2*p",
    ),
    "slice outside": (
        I + "return h[: dim('2*p')]",
        3,
        DimensionError,
        "slice [0:2*p] does not lie in",
    ),
    "undeclared dim": (
        "return (W + eye('z')) @ h + U @ x + b",
        2,
        DimensionError,
        "dim 'z' is not declared; the cell has d, p",
    ),
    "unreadable dim": (I + "return h[: dim('p-1')]", 3, DimensionError, "cannot read dim 'p-1'"),
    "size of a shape": (
        I + "return h / h.shape[0]",
        3,
        UnsupportedOperation,
        'write dim("p") for shape[0], and mean(x) for',
    ),
    "len": (I + "return h / len(h)", 3, UnsupportedOperation, 'write dim("p") for its number'),
    "row of a weight": (I + "return W[0] * h", 3, UnsupportedOperation, "write x[0:1] for unit 0"),
    "boolean index": (I + "return h[h > 0]", 3, UnsupportedOperation, "write where(condition"),
    "strided": (I + "return h[::2]", 3, UnsupportedOperation, "write P @ x with a fixed matrix"),
    "bits": (
        I + "return where((h > 0) & (b > 0), h, b)",
        3,
        UnsupportedOperation,
        "& is not an operation of the language; write c1 * c2",
    ),
    "reduce": (I + "return h * np.add.reduce(h)", 3, UnsupportedOperation, "write sum(x)"),
    "zeros": (I + "return np.empty_like(h)", 3, UnsupportedOperation, "write 0 * x"),
    "stack": (I + "return np.vstack([h, h])", 3, UnsupportedOperation, "write concat(a, b)"),
    "axis": (I + "return h.sum(axis=1) * h", 3, UnsupportedOperation, "units are axis −2 here"),
    "einsum": (I + "return np.einsum('ij,jk', W, h)", 3, UnsupportedOperation, "write W @ x, dot"),
    "identity": (I + "return (W + np.eye(3)) @ h", 3, UnsupportedOperation, 'write eye("p")'),
    "infinite": (
        I + "return h * np.inf",
        3,
        UnsupportedOperation,
        "inf is no finite number",
    ),
    "too large": (
        I + "return 10**400 * h",
        3,
        UnsupportedOperation,
        "is no finite number of 64 bits",
    ),
    "function of a size": (
        I + "return h / sqrt(dim('p'))",
        3,
        UnsupportedOperation,
        "sqrt of a size is not in the language",
    ),
    "number of a size": (
        I + "return h * (2.0 * dim('p'))",
        3,
        UnsupportedOperation,
        'write (2.0 * x) * dim("p")',
    ),
    "zero": (I + "return h / 0", 3, UnsupportedOperation, " / 0 is a division by zero"),
    "random": (
        I + "r = np.random.rand()\nreturn r * h",
        4,
        DefinitionError,
        "when it is called again: it must not draw random numbers or read a clock",
    ),
    "clock": (
        I + "import time\nreturn h * time.perf_counter()",
        4,
        DefinitionError,
        "when it is called again: it must not draw random numbers or read a clock",
    ),
    "random exponent": (
        I + "return h ** np.random.rand()",
        1,
        DefinitionError,
        "the definition gives other equations when it is called again",
    ),
    "staircase": (
        I + "return elementwise('test_frac', 'x - floor(x)')(h)",
        3,
        UnsupportedOperation,
        "user_cell.py:3: elementwise 'test_frac': floor is no function of the language; a stair",
    ),
    "piecewise": (
        I + "return elementwise('test_pw', 'Piecewise((x, x > 0), (0, True))')(h)",
        3,
        UnsupportedOperation,
        "write where(x > 0, a, b) in the cell",
    ),
    "saw": (
        I + "return elementwise('test_mod', 'Mod(x, 1)')(h)",
        3,
        UnsupportedOperation,
        "Mod is no function of the language; a saw has jumps; write sin(x) and cos(x)",
    ),
    "no real number": (
        I + "return elementwise('test_i', 'I*x')(h)",
        3,
        UnsupportedOperation,
        "the constant I is not a finite real number",
    ),
    "no number": (
        I + "return elementwise('test_pair', '(x, x)')(h)",
        3,
        UnsupportedOperation,
        "'(x, x)' is no number for each x",
    ),
    "bad name": (I + "return name(h, 'new h')", 3, UnsupportedOperation, "'new h' is not a valid"),
}


@pytest.mark.parametrize("what", MISTAKES)
def test_mistake_is_located(write: Callable[..., Any], what: str) -> None:
    body, line, error, text = MISTAKES[what]
    with pytest.raises(error) as caught:
        trace(write(body))
    message = str(caught.value)
    assert text in message
    assert f"user_cell.py:{line}: in cell 'mine': " in message
    assert "\n" not in message


WHOLE = {
    "nothing returned": (I, DefinitionError, "state 'h' is never assigned; return it, as in"),
    "other name": ("return {'g': W @ h + U @ x + b}", DefinitionError, "state 'h' is never"),
    "stranger": (
        I + "return {'h': h, 'g': h}",
        DefinitionError,
        "returns 'g', which is neither a state nor an output; declare it with outputs='h g'",
    ),
    "too many": (I + "return h, x", DefinitionError, "returns 2 values; expected 1: h"),
    "unused parameter": ("return W @ h + U @ x", DefinitionError, "parameter 'b' is never used"),
    "unused input": ("return W @ h + U @ U.T @ b", DefinitionError, "input 'x' is never used"),
    "wrong state": (
        I + "return x",
        DefinitionError,
        "state 'h' is declared (p) but the new value has shape (d)",
    ),
    "matrix state": (I + "return W", DefinitionError, "the new value has shape (p, p)"),
    "number": (I + "return 3", DefinitionError, "'h' is int, not a value computed from"),
}


@pytest.mark.parametrize("what", WHOLE)
def test_mistake_of_the_whole(write: Callable[..., Any], what: str) -> None:
    body, error, text = WHOLE[what]
    with pytest.raises(error) as caught:
        trace(write(body))
    assert text in str(caught.value)
    assert "user_cell.py:1" in str(caught.value)
    assert "mine" in str(caught.value)


def test_run_raises_like_the_trace(write: Callable[..., Any]) -> None:
    """A branch on a value is refused on arrays too, not only when traced."""
    definition = write(I + "if h > 0:\n    h = -h\nreturn h")
    values = {"x": np.ones((2, 1)), "h": np.ones((3, 1)), "W": np.ones((3, 3))}
    values |= {"U": np.ones((3, 2)), "b": np.ones((3, 1))}
    with pytest.raises(UnsupportedOperation, match="truth value"):
        definition(**values)


DECLARATIONS = {
    "undeclared argument": (
        {"inputs": "x: d", "states": "h: p", "params": "W: p p; U: p d"},
        "cell 'mine': argument 'b' is not declared; add it to inputs, states",
    ),
    "unknown argument": (
        {**DECLARED, "fixed": "V: p p"},
        "cell 'mine': fixed 'V' is declared but not an argument of the function",
    ),
    "twice": ({**DECLARED, "data": "x: d"}, "cell 'mine': 'x' is both input and data"),
    "input of three dims": ({**DECLARED, "inputs": "x: d d d"}, "at most two are possible"),
    "lag of a parameter": (
        {**DECLARED, "lags": {"W": (1, 2)}},
        "lags name 'W', which is not a state",
    ),
    "lag zero": ({**DECLARED, "lags": {"h": (0, 1)}}, "lags of 'h' must be positive integers"),
    "bound of a stranger": ({**DECLARED, "at_least": {"tau": 1}}, "at_least names 'tau'"),
    "no shape": ({**DECLARED, "params": "W U b"}, "write 'name: dims', or 'W U b:' for one number"),
    "three dims": ({**DECLARED, "params": "W: p p p"}, "has 3 dims; at most two are possible"),
    "repeated": ({**DECLARED, "params": "W: p p; W: p d; b: p"}, "'W' is declared twice"),
    "not a name": ({**DECLARED, "params": "2W: p p"}, "'2W' in '2W: p p' is not a valid"),
    "strange dim": ({**DECLARED, "inputs": "x: d/2"}, "cannot read dim 'd/2'"),
}


@pytest.mark.parametrize("what", DECLARATIONS)
def test_declarations(write: Callable[..., Any], what: str) -> None:
    declared, text = DECLARATIONS[what]
    with pytest.raises(DefinitionError) as caught:
        write(I + "return h", **declared)
    assert text in str(caught.value)


def test_neither_state_nor_output() -> None:
    with pytest.raises(DefinitionError, match="has neither a state nor an output"):
        cell(lambda x: x, inputs="x: d", name="nothing")


def test_lag_that_is_not_declared(write: Callable[..., Any]) -> None:
    definition = write("return tanh(W @ h[2] + U @ x + b)", **DECLARED, lags={"h": (1, 3)})
    with pytest.raises(DefinitionError, match=r"state 'h' is declared with lags \(1, 3\), not 2"):
        trace(definition)


def test_arrays_that_do_not_fit(write: Callable[..., Any]) -> None:
    definition = write(I + "return h")
    good = {"x": np.ones((2, 5)), "h": np.ones((3, 5)), "W": np.ones((3, 3))}
    good |= {"U": np.ones((3, 2)), "b": np.ones((3, 1))}
    assert definition(**good)["h"].shape == (3, 5)
    for name, array, text in [
        ("U", np.ones((3, 4)), "'U' is declared (p, d) but its array has shape (3, 4): d is 2 by"),
        ("b", np.ones(3), "'b' has array shape (3,); inside a definition arrays are (…, n, B)"),
        ("b", np.ones((3, 5)), "'b' is declared (p) but its array has shape (3, 5): 1 is 1 by"),
        ("W", np.ones((3, 4)), "'W' is declared (p, p) but its array has shape (3, 4): p is 3 by"),
    ]:
        with pytest.raises(DimensionError) as caught:
            definition(**{**good, name: array})
        assert text in str(caught.value)
    with pytest.raises(DimensionError, match="no array for param 'W'"):
        definition(**{n: a for n, a in good.items() if n != "W"})
    with pytest.raises(DimensionError, match=r"add on arrays of shape \(3, 5\), \(3, 4\)"):
        definition(**{**good, "x": np.ones((2, 4))})
