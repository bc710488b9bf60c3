"""Fixed parameters with given values are constants of a generated kernel."""

# mypy: disallow-untyped-defs=False

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradcheck_rnn.codegen import generate
from gradcheck_rnn.derivation import derive
from gradcheck_rnn.language import cell, ones, tanh
from gradcheck_rnn.language import sum as total
from gradcheck_rnn.language.network import as_network
from tests.codegen.c.support import built, needs_compiler
from tests.codegen.support import Case, error, load
from tests.cuda_shim import fake_cupy

FILTER = np.array([[0.1, 1, 0, 0], [0, 0, 1 / 3, 1], [1, -1, 0, 0]])


@cell(
    inputs="x: 4",
    states="h: n",
    params="U: n 3; b: n",
    fixed={
        "F": FILTER, "P": ("n n", partial(np.eye, k=-1)), "s": 0.5,
        "w": ("n", lambda n: np.arange(n) % 2), "E": ("m m", np.eye),
    },
)  # fmt: skip
def filtered(x, h, U, b, F, P, s, w, E):
    """Arrays and NumPy's functions of known sizes are constants; w and E are not."""
    return tanh(s * (P @ (w * h)) + U @ (F @ x) + b * total(E @ ones("m")))


CONSTANT = ("F", "P", "s")


def both(case: Case, module: Any) -> tuple[Any, Any, Any]:
    """What a module gives with constants passed, and without; and their cotangents."""
    parameters, inputs = case.split(case.arrays)
    fewer = {n: a for n, a in parameters.items() if n not in CONSTANT}
    given = case.cotangents()
    out = []
    for some in (parameters, fewer):
        outputs, saved = module.forward(some, inputs)
        out.append({**outputs, **module.backward(some, inputs, saved, given)})
    return out[0], out[1], given


def test_constants_need_not_be_given() -> None:
    case = Case(as_network(filtered))
    passed, left, given = both(case, case.module)
    wanted = case.expected_gradients(given, loss=False)
    assert max(error(left[n], a) for n, a in wanted.items()) < 1e-12
    assert all(np.array_equal(passed[n], left[n]) for n in passed)
    assert set(case.module.GIVEN) == set(CONSTANT)


def test_others_are_asked_for() -> None:
    case = Case(as_network(filtered))
    parameters, inputs = case.split(case.arrays)
    for name in ("w", "E"):
        fewer = {n: a for n, a in parameters.items() if n != name}
        with pytest.raises(ValueError, match=f"there is no array for '{name}'"):
            case.module.forward(fewer, inputs)


def test_constants_have_the_dtype_of_the_run() -> None:
    case = Case(as_network(filtered), dtype=np.float32)
    case.arrays = {n: a.astype(np.float32) for n, a in case.arrays.items()}
    _, left, _ = both(case, case.module)
    assert {a.dtype for a in left.values()} == {np.dtype(np.float32)}


def test_in_cupy() -> None:
    case = Case(as_network(filtered))
    with fake_cupy.installed():
        passed, left, _ = both(case, load(generate(derive(filtered), "cupy"), "filtered_cupy"))
        assert all(np.array_equal(passed[n].get(), left[n].get()) for n in passed)


@needs_compiler
def test_in_c(tmp_path: Path) -> None:
    case = Case(as_network(filtered))
    passed, left, _ = both(case, built(case, tmp_path))
    assert all(np.array_equal(passed[n], left[n]) for n in passed)
