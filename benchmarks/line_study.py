"""Random faults in backward passes that hand their adjoints over: is the wrong line named?

    python -m benchmarks.line_study 20 [--form float32] [--faults 3]

Faults are drawn, not taken from the list of mistakes: the term that an equation gives to an
adjoint or a gradient is scaled by a random number, shifted by half a saved value, bent by a
sine, held back at one step, or loses a unit of its result.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from gradcheck_rnn import derive, load, record
from gradcheck_rnn.derivation import Derivation
from gradcheck_rnn.derivation.evaluate import Run
from gradcheck_rnn.derivation.local import local_lines
from gradcheck_rnn.derivation.program import Edge
from gradcheck_rnn.language.network import as_network
from gradcheck_rnn.language.running import sizes_of, to_columns, to_rows
from gradcheck_rnn.language.scans import Ref
from gradcheck_rnn.verify.diagnosis.handed_adjoints import judge_lines
from gradcheck_rnn.verify.harness.arrays import make_arrays, precision
from gradcheck_rnn.verify.harness.layout import Layout
from gradcheck_rnn.verify.harness.modelpoint import ModelPoint
from gradcheck_rnn.verify.harness.plan import plan_points
from gradcheck_rnn.verify.harness.subject import Subject

__all__ = ["CELLS", "one"]

CELLS = (
    "elman", "lstm", "gru", "gru_reset_after", "lstm_peephole", "lstm_layer_norm", "stacked_lstm",
    "delta_net", "gated_linear_attention", "mlstm", "multihead_retention",
)  # fmt: skip
Bend = Callable[[Any, int], Any]


def _bend(rng: np.random.Generator) -> Bend:
    kind, factor = int(rng.integers(4)), float(rng.uniform(1.2, 3.0) * rng.choice([-1, 1]))
    unit = int(rng.integers(100))

    def lost(a: Any, _: int) -> Any:
        out = np.array(a)
        out[..., unit % out.shape[-2], :] = 0
        return out

    return [
        lambda a, _: factor * a,
        lambda a, _: a + 0.5 * np.sin(3 * a) + 0.3 * np.roll(a, 1, -2) * factor,
        lost,
        lambda a, _: a * np.where(np.arange(a.shape[-2]) % 2, factor, 0.5)[:, None],
    ][kind]


def wrong_backward(derivation: Derivation, bends: dict[str, Bend]) -> tuple[Any, Any]:
    """A forward and a backward pass of a definition, some of its edges bent."""
    network = derivation.network
    refs = {**network.parameters, **network.inputs}
    shapes = {e.name: e.shape for s in network.scans for e in s.equations}

    def forward(**arrays: Any) -> Any:
        columns = {n: to_columns(refs[n], a) for n, a in arrays.items()}
        run = Run(derivation, columns, sizes_of(network, arrays))
        return {n: to_rows(r, run.output(n)) for n, r in network.outputs.items()}, run

    def backward(cotangents: Any, run: Any) -> Any:
        bars = {n: to_columns(network.outputs[n], g) for n, g in cotangents.items()}
        found = local_lines(run, bars, {}, False, False, bends)
        for program in derivation.scans:
            for e in program.equations:
                for t in run.times(program):
                    made = found.want.get(e.name, {}).get(t)
                    if made is not None:
                        where = t - 1 if program.scan.axis else None
                        wide = np.broadcast_to(made, np.broadcast_shapes(
                            made.shape, run.series[e.name][t].shape))  # fmt: skip
                        ref = Ref(e.name, "sequence", replace(shapes[e.name], batch=True))
                        record({"δ" + e.name: to_rows(ref, run.outward(ref, wide))}, t=where)
        out = {}
        for ref in derivation.differentiated():
            line, held = found.want.get(ref.name, {}), run.series[ref.name]
            parts = [np.asarray(line.get(t, np.zeros_like(a))) for t, a in sorted(held.items())]
            whole = parts[0] if ref.axis is None else np.stack(parts)
            out[ref.name] = to_rows(ref, run.outward(ref, whole))
        return out

    return forward, backward


def _made(derivation: Derivation) -> list[Edge]:
    """Edges whose operand has a gradient or moves with time."""
    known = {r.name for r in derivation.differentiated()}
    scans = {e.name for p in derivation.scans if p.scan.axis for e in p.equations}
    return [e for e in derivation.edges if e.operand.name in known | scans]


def one(cell: str, count: int, seed: int, form: str = "float64") -> tuple[set[str], set[str]]:
    """The lines that were made wrong, and those that are called wrong."""
    network = as_network(load(cell))
    derivation = derive(network)
    rng = np.random.default_rng([seed, count])
    edges = _made(derivation)
    chosen: list[Edge] = []
    for k in rng.permutation(len(edges)) if count else ():
        if edges[k].operand.name not in {e.operand.name for e in chosen}:
            chosen.append(edges[int(k)])
        if len(chosen) == count:
            break
    bends = {e.id: _bend(rng) for e in chosen}
    forward, backward = wrong_backward(derivation, bends)
    made = precision(form)
    subject = Subject(forward, backward, None, None, make_arrays("numpy", made), made)
    places = [p for p in plan_points(network, seed) if p.label in ("short", "ordinary")]
    points = [ModelPoint.build(p, Layout.of(network), made, subject, seed) for p in places]
    lines = judge_lines(network, points, subject, seed, lambda *_: None)
    starts = {
        s.ref.name: state.name
        for p in derivation.scans for state in p.scan.states for s in state.initial if s.ref
    }  # fmt: skip
    wanted = {e.operand.name for e in chosen}
    # A start is the state's own line at the step before the first.
    lagged = {e.operand.name for e in chosen if e.kind == "state"}
    wanted |= {n for n, state in starts.items() if state in lagged}
    return wanted, {line.name for line in lines if line.verdict == "wrong"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("trials", type=int, nargs="?", default=5, help="runs of every cell")
    parser.add_argument("--form", action="append", help="float64, float32; default both")
    parser.add_argument("--faults", type=int, action="append", help="how many; default 0 to 3")
    chosen = parser.parse_args()
    for form in chosen.form or ("float64", "float32"):
        for count in (0, 1, 2, 3) if chosen.faults is None else chosen.faults:
            right = total = 0
            start = time.process_time()
            for cell in CELLS:
                for seed in range(chosen.trials):
                    wanted, named = one(cell, count, seed, form)
                    total += 1
                    right += wanted == named
                    if wanted != named:
                        print(f"  {cell} {form} seed {seed}: {sorted(wanted)}, {sorted(named)}")
            each = (time.process_time() - start) / total
            print(
                f"{form}, {count} faults: all wrong lines and only these in {right} of {total}; "
                f"{each:.2f} s each", flush=True,
            )  # fmt: skip


if __name__ == "__main__":
    main()
