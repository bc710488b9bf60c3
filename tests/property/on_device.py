"""Generated CuPy modules of a block of random definitions, on the test bench without a GPU.

All kernels of a block are compiled by one call of g++, because a call costs 0.2 s however little
it compiles. Loads and stores are watched, so races and stray indices are found too.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from gradcheck_rnn.codegen import generate
from gradcheck_rnn.derivation import Derivation
from gradcheck_rnn.language.running import run, to_columns, to_rows
from tests.cuda_shim import fake_cupy

from .generated import keywords, load_module
from .pipeline import Disagreement, Examined, compare
from .reference import Arrays, Case

__all__ = ["OnDevice", "run_together"]


@dataclass
class OnDevice:
    """A definition whose CuPy module is still to be run.

    ``roundoff`` is what the NumPy module loses in double precision.
    """

    seed: int
    source: str
    derivation: Derivation
    case: Case
    truth: Arrays
    roundoff: Arrays
    seen: Examined


def run_together(
    waiting: Sequence[OnDevice], failed: Callable[[OnDevice, Exception], None]
) -> None:
    """Generate, compile together and run; ``failed`` is called for each that fails."""
    with fake_cupy.installed() as cupy:
        modules: list[tuple[OnDevice, ModuleType]] = []
        for one in waiting:
            try:
                with one.seen.stage("generate cupy"):
                    text = generate(one.derivation, "cupy")
                    module = load_module(text, one.derivation.network.name)
                    if hasattr(module, "_module"):
                        module._module("float64", cupy.cuda.Device().id)
                modules.append((one, module))
            except Exception as problem:  # any exception is a finding
                failed(one, problem)
        start = time.perf_counter()
        # After a refusal each module compiles again when it is run, and says which it is.
        with contextlib.suppress(fake_cupy.CompileException):
            fake_cupy.compile_pending()
        spent = (time.perf_counter() - start) / max(1, len(modules))
        for one, module in modules:
            one.seen.seconds["compile cupy"] = spent
            try:
                with one.seen.stage("run cupy"):
                    _check(one, module, cupy)
            except Exception as problem:  # any exception is a finding
                failed(one, problem)


def _check(one: OnDevice, module: ModuleType, cupy: Any) -> None:
    case = one.case.astype(np.float64)
    network = case.network
    refs = network.parameters | network.inputs
    rows = {
        n: cupy.asarray(np.array(to_rows(refs[n], a), order="C")) for n, a in case.values.items()
    }
    arguments = {n: rows[n] for n in network.parameters}, {n: rows[n] for n in network.inputs}
    outputs, saved = module.forward(*arguments, **keywords(case))
    expected = run(network, case.values, case.lengths)
    for n, e in expected.items():
        e = np.asarray(e if n == "loss" else to_rows(network.outputs[n], e))
        got = cupy.asnumpy(outputs[n])
        if got.shape != e.shape:
            raise Disagreement(f"cupy output: {n} has shape {got.shape}, expected {e.shape}")
        scale = max(1.0, float(np.max(np.abs(e), initial=0.0)))
        gap = float(np.max(np.abs(got - e), initial=0.0))
        if not gap <= 1e4 * np.finfo(np.float64).eps * scale:
            raise Disagreement(f"cupy output: {n} differs by {gap:.3g} at {scale:.3g}")
    cotangents: dict[str, Any] = {
        n: cupy.asarray(np.array(to_rows(network.outputs[n], g), order="C"))
        for n, g in case.cotangents.items()
    }
    if network.loss_terms:
        cotangents["loss"] = cupy.asarray(np.float64(1))
    made = module.backward(*arguments, saved, cotangents, **keywords(case))
    gradients = {n: to_columns(refs[n], cupy.asnumpy(g)) for n, g in made.items()}
    # In double precision by another order of operations: a hundred times what NumPy loses.
    roundoff = {n: 100 * r + 1e-13 * _largest(one) for n, r in one.roundoff.items()}
    compare("cupy gradient", gradients, one.truth, roundoff, case.cotangents)


def _largest(one: OnDevice) -> float:
    arrays = (*one.truth.values(), *one.case.cotangents.values())
    return max(float(np.max(np.abs(a), initial=1.0)) for a in arrays)
