"""Faults like those that people reported of hand-written code: what are they called?

    python -m benchmarks.public_faults [-v] [elman|lstm|gru]

A second list beside `hand_faults`, written down after the list of known mistakes was closed and
from what reports and forum threads say: each entry has the report (or the kind of code in which it
is met again and again), the lines as they are and as they were wrong in our own sources of
`hand_faults_code`, and patterns for the right terms, one for each mistake in it.
"""

from __future__ import annotations

import re
import sys
import time
from typing import Any

from gradcheck_rnn import load
from gradcheck_rnn.verify.diagnosis.check import check_model

from .hand_faults import CELLS, patched

__all__ = ["FAULTS", "outcome"]

Fault = tuple[str, list[tuple[str, str]], list[str]]
SLOPE = "(1 - hs[t + 1] ** 2)"
CARRY = "dh = dzi @ W_i + dzf @ W_f + dzo @ W_o + dzg @ W_c"
CELL = "dc = dc + dh * o * (1 - tc ** 2)"
STARTS = 'dh, dc = bars["h_final"].copy(), bars["c_final"].copy()'
CLIPPED = """dW, dU, db = [np.clip(a, -1, 1) for a in (dW, dU, db)]
    return {"W": dW, "U": dU, "b_i": db"""
BIASES = "db[k] += dz[k].sum(axis=0)"

FAULTS: dict[str, list[Fault]] = {
    "elman": [
        ("github.com/qixianbiao/RNN/issues/2", [("dh = da @ W\n", "dh = 0 * dh\n")],
         [r"carried|h_\{t−1\} without|ignored"]),
        ("github.com/oreilly-japan/deep-learning-from-scratch-2/issues/26",
         [(f"dh * {SLOPE}", f"dh / {SLOPE}")], [r"(?!)"]),
        ("github.com/hanbt/learn_dl/issues/29", [(SLOPE, "hs[t]")],
         [r"h_\{t−1\} instead of φ′|(?!)"]),
        ("slope of the output taken again", [(SLOPE, "(1 - np.tanh(hs[t + 1]) ** 2)")],
         [r"φ′ taken at|tanh\(h_t\)"]),
        ("slope of another function", [(SLOPE, "(hs[t + 1] > 0)")], [r"(?!)"]),
        ("state carried back through W, not its transpose", [("dh = da @ W\n", "dh = da @ W.T\n")],
         [r"W instead of Wᵀ|W.*ᵀ"]),
        ("deeplearning4j/issues/8838, the last state only",
         [('dh = bars["h_final"].copy()', 'dh = 0 * bars["h_final"]')], ["final state h is lost"]),
        ("index −1 at the first step", [("da.T @ hs[t]", "da.T @ (hs[t] if t else hs[T])")],
         [r"first step|initial|h_0"]),
        ("mean over steps", [('"W": dW', '"W": dW / T')], ["1/T"]),
        ("parameters clipped as in char-rnn", [('return {"W": dW, "U": dU, "b_i": db', CLIPPED)],
         [r"every parameter clipped to ±1"]),
        ("window of five steps", [("dh = da @ W\n", "dh = da @ W if T - t < 5 else 0 * dh\n")],
         ["cut after [45]"]),
        ("loop in forward order", [("reversed(range(T))", "range(T)")], [r"(?!)"]),
        ("wrong slope and overwritten sum",
         [(SLOPE, "hs[t + 1]"), ("db += da.sum", "db = da.sum")],
         ["h_t instead of φ′", "b_i.*only the first step"]),
    ],
    "lstm": [
        ("github.com/CaptainE/RNN-LSTM-in-numpy/issues/1, first",
         [("dzf = df * f * (1 - f)", "dzf = df * sigmoid(f)")], [r"σ\(f_t\)"]),
        ("github.com/CaptainE/RNN-LSTM-in-numpy/issues/1, second",
         [(STARTS, 'dhn, dcn = bars["h_final"].copy(), bars["c_final"].copy()'),
          ('dh = dh + bars["h"][t]', 'dh = dhn + bars["h"][t]'),
          (CELL, "dc = dcn + dh * o * (1 - tc ** 2)")],
         [r"carried through the state h", r"carried through the state c"]),
        ("github.com/nicklashansen/rnn_lstm_from_scratch/issues/1",
         [("dh * o * (1 - tc ** 2)", "dh * o * (1 - np.tanh(tc) ** 2)")], [r"tanh\(tanh"]),
        ("github.com/apache/mxnet/issues/4057", [(CELL, "dc = dh * o * (1 - tc ** 2)")],
         [r"carried through the state c|δc.*ignored"]),
        ("github.com/hanbt/learn_dl/issues/53",
         [(BIASES, "db[k] += dz[(1, 1, 1, 3)[k]].sum(axis=0)")],
         [r"b_i with δa_\{f,t\}", r"b_o with δa_\{f,t\}"]),
        ("github.com/javaidnabi31/RNN-from-scratch/issues/2", [(CELL, "dc = dc + dc")],
         [r"δc.*(?:twice|without)"]),
        ("github.com/lhnguyen102/cuTAGI/issues/77",
         [("do = dh * tc\n", "\n"), ("di = dc * g", "do = dc * tc\n        di = dc * g")],
         [r"δo_t with δc"]),
        ("community.deeplearning.ai/t/22398, a lost bracket",
         [("dzf = df * f * (1 - f)",
           "dzf = df * f * (1 - f) + (dc - dh * o * (1 - tc ** 2)) * c * (1 - f * (1 - f))")],
         [r"a_\{f,t\}.*bracket|bracket.*a_\{f,t\}"]),
        ("github.com/deeplearning4j/deeplearning4j/pull/519", [("df = dc * c\n", "df = dc\n")],
         [r"δf_t.*c_\{t−1\}|δf_t without"]),
        ("deeplearning4j/issues/8838",
         [(STARTS, "dh, dc = 0 * bars['h_final'], 0 * bars['c_final']")],
         ["final state h is lost|h_final is ignored", "final state c is lost|c_final is ignored"]),
        ("carried before the sum",
         [("di = dc * g", "dcn = dc - dh * o * (1 - tc ** 2)\n        di = dc * g"),
          ("dc = dc * f\n", "dc = dcn * f\n")],
         [r"δc_\{t−1\} without the share"]),
        ("gates in the order i f g o for the weights",
         [("dW[k] += dz[k].T @ h", "dW[k] += dz[(0, 1, 3, 2)[k]].T @ h")],
         [r"W_o.*W_c|W_c.*W_o|order"]),
        ("memory of the step before", [("tc = np.tanh(new)", "tc = np.tanh(c)")],
         [r"c_\{t−1\} instead of c_t"]),
        ("a gate's slope copied", [("di * i * (1 - i)", "di * f * (1 - f)")],
         [r"a_\{i,t\} with f_t instead of i_t"]),
        ("slope of the candidate taken again", [("(1 - g ** 2)", "(1 - np.tanh(g) ** 2)")],
         [r"tanh\(c̃_t\)|φ′ taken at"]),
        ("one bias overwritten",
         [(BIASES, "db[k] = dz[k].sum(axis=0) + (db[k] if k < 3 else 0)")],
         [r"b_c with only the first step"]),
        ("PaddlePaddle/Paddle/issues/6970",
         [(STARTS, 'dh, dc = 0 * bars["h_final"], bars["c_final"].copy()')],
         ["final state h is lost|h_final is ignored"]),
        ("a gate lost on the way to the input", [("+ dzo @ U_o + dzg @ U_c", "+ dzo @ U_o")],
         [r"x_t without.*U_c"]),
        ("mean over the batch",
         [('out["W_" + names[k]] = dW[k]', 'out["W_" + names[k]] = dW[k] / len(h)'),
          ('out["U_" + names[k]] = dU[k]', 'out["U_" + names[k]] = dU[k] / len(h)'),
          ('out["b_" + names[k]] = db[k]', 'out["b_" + names[k]] = db[k] / len(h)')], ["1/B"]),
        ("carried adjoint clipped", [(CARRY, f"dh = np.clip({CARRY[5:]}, -1, 1)")],
         [r"δh clipped"]),
        ("all weights the wrong way round",
         [(CARRY, "dh = dzi @ W_i.T + dzf @ W_f.T + dzo @ W_o.T + dzg @ W_c.T")],
         [r"all 4 terms alike.*W_i"]),
        ("slope of the output gate missing, and its path to the state",
         [("dzo = do * o * (1 - o)", "dzo = do"), ("+ dzo @ W_o + dzg", "+ dzg")],
         [r"δa_\{o,t\} without", r"W_oᵀ"]),
        ("two copies of one slip", [("di * i * (1 - i)", "di * i"), ("df * f * (1 - f)", "df * f")],
         [r"δa_\{i,t\} without", r"δa_\{f,t\} without"]),
    ],
    "gru": [
        ("cran.r-project.org/web/packages/rnn/vignettes/GRU_units.html, δ6",
         [("dz = dh * (n - h)", "dz = dh * n + 1 - dh * h")], [r"(?!)"]),
        ("the same, δ9", [("dz = dh * (n - h)", "dz = dh * n + dh * z")], [r"(?!)"]),
        ("the same, weights of δ10 and δ18",
         [("gW_r += dar.T @ h", "gW_r += dac.T @ h"),
          ("gW_c += dac.T @ (r * h)", "gW_c += dar.T @ (r * h)")],
         [r"W_r with δa_\{c,t\}", r"W_c with δa_\{r,t\}"]),
        ("PaddlePaddle/issues/5493, z and 1 − z in backward only",
         [("dn = dh * z\n", "dn = dh * (1 - z)\n"), ("dh = dh * (1 - z) +", "dh = dh * z +")],
         [r"δh̃_t with 1 − z_t", r"h_\{t−1\}.*z_t instead of 1 − z_t"]),
        ("the reset gate gets nothing", [("dr = drh * h", "dr = 0 * drh")], [r"δr_t without"]),
        ("a sign in the update gate", [("dz = dh * (n - h)", "dz = dh * (n + h)")],
         [r"δz_t.*sign"]),
        ("reset after the product, in one gradient",
         [("gW_c += dac.T @ (r * h)", "gW_c += (r * dac).T @ h")], [r"(?!)"]),
        ("tanh′ for a gate", [("daz = dz * z * (1 - z)", "daz = dz * (1 - z ** 2)")],
         [r"a_\{z,t\}.*tanh′"]),
        ("a square lost", [("dac = dn * (1 - n ** 2)", "dac = dn * (1 - n)")],
         [r"δa_\{c,t\} with 1 − h̃_t instead"]),
        ("one bias overwritten", [("gb_c += dac.sum", "gb_c = dac.sum")],
         ["b_c with only the first"]),
        ("r h for h in another gate", [("gW_z += daz.T @ h", "gW_z += daz.T @ (r * h)")],
         [r"W_z with the factor r_t too many"]),
        ("the candidate lost on the way to the input", [("dx[t] = dac @ U_c + ", "dx[t] = ")],
         [r"x_t without.*U_c"]),
        ("a gate lost on the way to the state", [(" + daz @ W_z\n", "\n")], [r"W_zᵀ"]),
        ("a transpose in one gate", [("daz @ W_z\n", "daz @ W_z.T\n")], [r"W_z instead of W_zᵀ"]),
        ("a transpose and a slope",
         [("daz @ W_z\n", "daz @ W_z.T\n"), ("dac = dn * (1 - n ** 2)", "dac = dn")],
         [r"W_z instead of W_zᵀ", r"δa_\{c,t\} without"]),
    ],
}  # fmt: skip


def outcome(cell: str, fault: Fault) -> tuple[str, str, float]:
    """``right``, ``partly``, ``unnamed``, ``WRONG`` or ``missed``; what was said; seconds."""
    _, changes, patterns = fault
    forward, backward = patched(cell, *((old, new, "") for old, new in changes))
    start = time.process_time()
    report: Any = check_model(load(CELLS[cell]), forward=forward, backward=backward)
    seconds = time.process_time() - start
    if str(report.verdict) != "fail":
        return "missed", str(report.verdict), seconds
    if report.diagnosis is None or not report.diagnosis.matches:
        return "unnamed", "", seconds
    said = "; or ".join(m.message for m in report.diagnosis.matches)
    hits = sum(bool(re.search(p, said)) for p in patterns)
    return ("right" if hits == len(patterns) else "partly" if hits else "WRONG"), said, seconds


def main(cells: list[str], wordy: bool) -> None:
    totals: dict[str, dict[str, int]] = {"one": {}, "several": {}}
    times = []
    for cell in cells:
        for fault in FAULTS[cell]:
            result, said, seconds = outcome(cell, fault)
            kind = totals["one" if len(fault[2]) == 1 else "several"]
            kind[result] = kind.get(result, 0) + 1
            times.append(seconds)
            if wordy or result != "right":
                print(f"{result:8} {seconds:4.1f} s {cell}: {fault[0]}: {said[:260]}", flush=True)
    for what, found in totals.items():
        total = sum(found.values())
        shares = ", ".join(f"{k} {n}" for k, n in sorted(found.items()))
        print(f"{what} mistake at once: {total} faults: {shares}")
    print(f"median {sorted(times)[len(times) // 2]:.2f} s, most {max(times):.1f} s")


if __name__ == "__main__":
    chosen = [a for a in sys.argv[1:] if not a.startswith("-")]
    main(chosen or list(CELLS), "-v" in sys.argv)
