"""One definition through every room: proof, pages, kernels of all backends, verification, decay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from gradcheck_rnn import api
from gradcheck_rnn.codegen import generate
from gradcheck_rnn.derivation.proof import prove
from gradcheck_rnn.dynamics.initialisation import build
from gradcheck_rnn.language.cell import Cell
from gradcheck_rnn.language.network import Network, as_network
from tests.codegen.c.support import CC, built, results
from tests.codegen.cupy.support import on_cupy
from tests.codegen.support import Case, load
from tests.cuda_shim import fake_cupy
from tests.dynamics.test_jacobian import by_differences, jacobians, product

__all__ = ["decayed", "kernels", "proved", "rooms"]

Array = np.ndarray[Any, Any]


def proved(case: Case) -> None:
    """The proof at pairwise different sizes, and the pages in every format."""
    result = prove(case.derivation)
    assert result.proved, str(result)
    for form in ("matrix", "kronecker"):
        for markup in ("text", "latex", "typst", "json"):
            assert api.render(case.derivation, markup, form=form)  # type: ignore[arg-type]


def kernels(case: Case, folder: Path, backends: tuple[str, ...] = ("cupy", "c")) -> None:
    """Generated NumPy beside the definition and the complex step; the others beside NumPy."""
    outputs, saved = case.forward()
    for label, a in case.expected_outputs().items():
        np.testing.assert_allclose(outputs[label], a, rtol=1e-10, atol=1e-12, err_msg=label)
    given = case.cotangents()
    gradients = case.backward(saved, given)
    for n, a in case.expected_gradients(given, loss=False).items():
        np.testing.assert_allclose(gradients[n], a, rtol=1e-9, atol=1e-11, err_msg=n)
    expected = {f"gradient {n}": a for n, a in gradients.items()}
    expected |= {f"output {n}": a for n, a in outputs.items()}
    found: dict[str, dict[str, Array]] = {}
    if "cupy" in backends:
        with fake_cupy.installed() as cupy:
            module = load(generate(case.derivation, "cupy"), f"{case.network.name}_cupy")
            found["cupy"] = on_cupy(case, module, cupy, case.arrays, given)
    if "c" in backends and CC is not None:
        found["c"] = results(case, built(case, folder), given)
    for backend, made in found.items():
        for n, a in expected.items():
            np.testing.assert_allclose(
                made[n], a, rtol=1e-9, atol=1e-11, err_msg=f"{backend}: {n}"
            )  # fmt: skip


def decayed(network: Network, steps: int = 4) -> None:
    """Step Jacobians of `decay` multiply to those that differences give."""
    model = build(network, sizes={n: 2 + k for k, n in enumerate(network.dims)})
    for system in model.systems(steps=steps):
        expected, error = by_differences(system, steps)
        assert (abs(product(jacobians(system, steps)) - expected) <= error).all()


def rooms(target: Cell | Network, folder: Path, backends: tuple[str, ...] = ("cupy", "c")) -> Case:
    """All of them; gives the case for what a test asks besides."""
    network = as_network(target)
    case = Case(network)
    proved(case)
    kernels(case, folder, backends)
    if any(scan.states for scan in network.scans):
        decayed(network)
    assert api.verify(network, shape=2).passed
    return case
