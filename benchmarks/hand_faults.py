"""Faults that people make, in backward passes written by hand: named, and rightly?

    python -m benchmarks.hand_faults [elman|lstm|gru]

Each fault is a change of the text of one right backward pass, with a pattern for the right term;
they were written down before the list of mistakes was made, and not from it. Doubles are drawn
from the singles of a cell, such that they change different lines. A name is right if every fault's
pattern is found in the diagnosis, partly right if one of two is, and wrong if none is.
"""

from __future__ import annotations

import random
import re
import sys
import time
from typing import Any

from gradcheck_rnn import load
from gradcheck_rnn.verify.diagnosis.check import check_model

from .hand_faults_code import FAULTS, SOURCES

__all__ = ["doubles", "outcome", "patched"]

CELLS = {"elman": "elman_hidden", "lstm": "lstm", "gru": "gru"}
Fault = tuple[str, str, str]
#: z ⊙ (h̃ − (1 − z) ⊙ h − z ⊙ h̃) is z ⊙ (1 − z) ⊙ (h̃ − h): together these two are right.
CANCEL = {"dz = dh * (n - (1 - z) * h - z * n)", "daz = dz * z"}


def patched(cell: str, *faults: Fault) -> Any:
    """Forward and backward of a cell, with the lines of these faults exchanged."""
    text = SOURCES[cell]
    for old, new, _ in faults:
        if text.count(old) != 1:
            raise ValueError(f"{cell}: {old!r} is there {text.count(old)} times")
        text = text.replace(old, new)
    names: dict[str, Any] = {}
    exec(compile(text, f"{cell} by hand", "exec"), names)
    return names["forward"], names["backward"]


def doubles(cell: str, count: int, seed: int = 0) -> list[tuple[Fault, Fault]]:
    """Pairs of faults on different lines, always the same ones."""
    draw, found = random.Random(f"{cell} {seed}"), []
    while len(found) < count:
        a, b = draw.sample(FAULTS[cell], 2)
        if {a[1], b[1]} == CANCEL:
            continue
        lines = [{n for n, t in enumerate(SOURCES[cell].splitlines()) if f[0].splitlines()[0] in t}
                 for f in (a, b)]  # fmt: skip
        try:
            patched(cell, a, b)
        except ValueError:
            continue
        if not lines[0] & lines[1] and (a, b) not in found and (b, a) not in found:
            found.append((a, b))
    return found


def outcome(cell: str, *faults: Fault) -> tuple[str, str, float]:
    """``right``, ``partly``, ``unnamed``, ``WRONG`` or ``missed``; what was said; seconds."""
    forward, backward = patched(cell, *faults)
    start = time.process_time()
    report = check_model(load(CELLS[cell]), forward=forward, backward=backward)
    seconds = time.process_time() - start
    if str(report.verdict) != "fail":
        return "missed", str(report.verdict), seconds
    found = report.diagnosis
    if found is None or not found.matches:
        return "unnamed", "", seconds
    said = "; or ".join(m.message for m in found.matches)
    hits = sum(bool(re.search(f[2], said)) for f in faults)
    return ("right" if hits == len(faults) else "partly" if hits else "WRONG"), said, seconds


def main(cells: list[str], wordy: bool) -> None:
    for what in ("single", "double"):
        totals: dict[str, int] = {}
        times: list[float] = []
        for cell in cells:
            chosen: list[tuple[Fault, ...]] = [(f,) for f in FAULTS[cell]]
            if what == "double":
                chosen = list(doubles(cell, {"elman": 8, "lstm": 18, "gru": 14}[cell]))
            for faults in chosen:
                result, said, seconds = outcome(cell, *faults)
                totals[result] = totals.get(result, 0) + 1
                times.append(seconds)
                if wordy or result in ("WRONG", "partly", "unnamed", "missed"):
                    texts = " & ".join(f"{old!r} -> {new!r}" for old, new, _ in faults)
                    print(f"{result:8} {seconds:4.1f} s {cell}: {texts}", flush=True)
                    if said:
                        print(f"           {said[:300]}")
        total, middle = sum(totals.values()), sorted(times)[len(times) // 2]
        shares = ", ".join(f"{k} {n} ({100 * n / total:.0f} %)" for k, n in sorted(totals.items()))
        print(f"{what}: {total} faults: {shares}; median {middle:.2f} s, most {max(times):.1f} s")


if __name__ == "__main__":
    chosen = [a for a in sys.argv[1:] if not a.startswith("-")]
    main(chosen or list(CELLS), "-v" in sys.argv)
