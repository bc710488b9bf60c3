"""The generated NumPy module of a random definition, against the definition and its gradients."""

from __future__ import annotations

import types
from typing import Any

import numpy as np

from gradcheck_rnn.codegen import generate
from gradcheck_rnn.derivation import Derivation
from gradcheck_rnn.language.running import run, to_columns, to_rows

from .pipeline import Disagreement, Examined, compare, measured_roundoff
from .reference import Arrays, Case

__all__ = ["load_module", "numpy_stage"]


def load_module(text: str, name: str) -> types.ModuleType:
    """A module from its text."""
    module = types.ModuleType(name)
    exec(compile(text, f"<generated {name}>", "exec"), module.__dict__)
    return module


def numpy_stage(derivation: Derivation, case: Case, truth: Arrays, seen: Examined) -> None:
    """Generate for NumPy; outputs and gradients of a batch, in extended and double precision."""
    with seen.stage("generate numpy"):
        module = load_module(generate(derivation, "numpy"), derivation.network.name)
        if hasattr(module, "ROWS"):
            module.ROWS = 1  # a step a block, so that every border between blocks is met
    with seen.stage("run numpy"):
        wide, narrow = (_both(module, case.astype(t)) for t in (np.longdouble, np.float64))
        seen.roundoff = measured_roundoff(narrow, wide)
        compare("generated gradient", wide, truth, seen.roundoff, case.cotangents)
        # In single precision a decision may fall the other way; type and finiteness may not.
        single = _both(module, case.astype(np.float32), outputs=False)
        for name, gradient in single.items():
            if not np.isfinite(gradient).all():
                raise Disagreement(f"generated gradient: {name} is not finite in float32")


def keywords(case: Case) -> dict[str, int]:
    """Lengths of the axes that no input runs along, and the batch where no input shows it."""
    inputs = case.network.inputs.values()
    out = {a: n for a, n in case.lengths.items() if all(r.axis != a for r in inputs)}
    if not any(r.shape.batch for r in inputs):
        out["B"] = 1
    return out


def _both(module: types.ModuleType, case: Case, outputs: bool = True) -> Arrays:
    """Gradients by the module, after its outputs have been compared with the definition's."""
    network = case.network
    refs = network.parameters | network.inputs
    rows = {n: to_rows(refs[n], a) for n, a in case.values.items()}
    arguments = {n: rows[n] for n in network.parameters}, {n: rows[n] for n in network.inputs}
    before = {n: a.copy() for n, a in rows.items()}
    made_outputs, saved = module.forward(*arguments, **keywords(case))
    cotangents: dict[str, Any] = {
        n: to_rows(network.outputs[n], g) for n, g in case.cotangents.items()
    }
    if network.loss_terms:
        cotangents["loss"] = rows_dtype(case)(1)
    if outputs:
        _check_outputs(case, made_outputs)
    made = module.backward(*arguments, saved, cotangents, **keywords(case))
    for n, a in before.items():
        if not np.array_equal(a, rows[n]):
            raise Disagreement(f"generated module: it changed its argument {n}")
    for n, g in made.items():
        if g.dtype != rows_dtype(case):
            raise Disagreement(f"generated gradient: {n} is {g.dtype}, not {rows_dtype(case)}")
    return {n: to_columns(refs[n], g) for n, g in made.items()}


def rows_dtype(case: Case) -> Any:
    return next(iter(case.values.values())).dtype.type


def _check_outputs(case: Case, outputs: dict[str, Any]) -> None:
    expected = run(case.network, case.values, case.lengths)
    eps = np.finfo(rows_dtype(case)).eps
    for n, e in expected.items():
        if n != "loss":
            e = to_rows(case.network.outputs[n], e)
        got = np.asarray(outputs[n])
        if got.shape != np.shape(e):
            raise Disagreement(
                f"generated output: {n} has shape {got.shape}, expected {np.shape(e)}"
            )
        scale = max(1.0, float(np.max(np.abs(e), initial=0.0)))
        gap = float(np.max(np.abs(got - e), initial=0.0))
        # Values stay within the box; a few hundred roundings in an order of their own. Constants
        # such as 1/3 stand in a module as doubles, in extended precision too.
        if not gap <= max(1e4 * eps, 64 * np.finfo(np.float64).eps) * scale:
            raise Disagreement(f"generated output: {n} differs by {gap:.3g} at {scale:.3g}")
