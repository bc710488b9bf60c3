"""Results of the study as Markdown: ``python -m benchmarks.fault_study.table FILE… > TABLE``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from gradcheck_rnn.cells import names

__all__ = ["written"]

Lines = Sequence[dict[str, Any]]
#: A quick study runs so few systems that the others are counted only.
MOST_NAMED = 30


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    out = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    out += ["| " + " | ".join(f"{c:,}" if isinstance(c, int) else str(c) for c in r) + " |"
            for r in rows]  # fmt: skip
    return [*out, ""]


def _sum(lines: Lines, key: str) -> int:
    return sum(int(r[key]) for r in lines)


def _model(lines: Lines) -> list[str]:
    keys = ("alone", "equals", "ambiguous", "wrong", "unnamed", "missed")
    rows = []
    for r in sorted(lines, key=lambda r: (r["system"], r["loss"])):
        rows.append(
            [r["system"] + (", its loss" if r["loss"] else ""), _part(r["every"]),
             r["mutants"] - r["equal"], r["equal"], *(r[k] for k in keys)]
        )  # fmt: skip
    faults = _sum(lines, "mutants") - _sum(lines, "equal")
    rows.append(["**all**", "", faults, _sum(lines, "equal"), *(_sum(lines, k) for k in keys)])
    right = _sum(lines, "alone") + _sum(lines, "equals")
    said = f"Named rightly: {right:,} of {faults:,} ({100 * right / max(faults, 1):.2f} %), a wrong"
    said += f" name for {_sum(lines, 'wrong')}, not seen {_sum(lines, 'missed')}."
    return [
        "## Automatic mutants in model mode", "", said, "",
        ("*Alone*: only the right mistake is named. *With equals*: others are named too, all of "
        "which give the same gradients on all probes (to 1e-9 of the largest entry). *Ambiguous*: "
        "another one that is named differs by more. *Equal* mutants compute the right gradient "
        "(decided in extended precision at random points, not by the checker), no faults."), "",
        *_table(["system", "mutants", "faults", "equal", "alone", "with equals", "ambiguous",
                 "wrong name", "no name", "missed"], rows),
    ]  # fmt: skip


def _part(every: int) -> str:
    return "all" if every == 1 else f"every {every}."


def _black_box(lines: Lines) -> list[str]:
    rows = []
    for r in sorted(lines, key=lambda r: r["system"]):
        v = r["verdicts"]
        rows.append([r["system"], _part(r["every"]), r["mutants"], r["asleep"], v["fail"],
                     v["undecided"], v["pass"], r["right"]["pass"],
                     r["right"]["fail"] + r["right"]["undecided"]])  # fmt: skip
    rows.append(["**all**", "", *(sum(int(r[k]) for r in rows) for k in range(2, 9))])
    return [
        "## The same mutants in the black box", "",
        ("`check_gradient` in float64 at one point a system (eight steps, two sequences, recurrent "
        "weights of spectral radius one; as many steps as a cut carry needs). Mistakes that change "
        "nothing at that point are checked at up to three others; *asleep* are those that none "
        "of them wakes."), "",
        *_table(["system", "mutants", "faults", "asleep", "fail", "undecided", "missed",
                 "right: pass", "right: not"], rows),
    ]  # fmt: skip


def _own(lines: Lines) -> list[str]:
    rows = [
        [r["system"], r["faults"], r["black box"], r["model"], r["model seen"], r["named"],
         len(r["alarms"])] for r in lines
    ]  # fmt: skip
    rows.append(["**all**", *(sum(int(r[k]) for r in rows) for k in range(1, 7))])
    return [
        "## Our own faults in hand-written code", "",
        "One line of source exchanged, outside the mutant grammar (`own_faults.py`).", "",
        *_table(["code", "faults", "seen in the black box", "run in model mode", "seen there",
                 "given a name", "alarms on the right code"], rows),
    ]  # fmt: skip


def _correct(lines: Lines) -> list[str]:
    regimes: dict[str, dict[str, list[int]]] = {}
    forms: dict[str, list[int]] = {}
    for r in lines:
        total = forms.setdefault(r["format"], [0, 0, 0, 0])
        total[0] += 1
        for row in r["rows"]:
            mode = "black box" if r["kind"] == "box" else "model mode"
            cell = regimes.setdefault(f"{mode}: {row['regime']}", {}).setdefault("n", [0, 0, 0])
            for k, value in enumerate((row["checks"], row["alarms"], row.get("undecided", 0))):
                cell[k] += value
                total[k + 1] += value
    systems = len({r["system"] for r in lines if r["kind"] != "box"})
    return [
        "## Right gradients", "",
        (f"A check is the verdict on one array in one run (in model mode: for one cotangent). "
        f"{systems} systems."), "",
        *_table(["format", "runs", "checks", "false alarms", "undecided"],
                [[f, *forms[f]] for f in forms]),
        *_table(["regime", "checks", "false alarms", "undecided"],
                [[n, *c["n"]] for n, c in regimes.items()]),
    ]  # fmt: skip


def _others(lines: Lines) -> list[str]:
    counts = lines[0]["counts"]
    groups = list(dict.fromkeys(g for t in counts.values() for g in t))

    def said(table: dict[str, int]) -> str:
        return ", ".join(f"{v} {k}" for k, v in sorted(table.items()))

    rows = [[name, *(said(table.get(g, {})) for g in groups)] for name, table in counts.items()]
    missing = lines[0]["missing"]
    return [
        "## Other checkers on a subset, with their defaults", "",
        ("Hand-written Elman networks and LSTMs in the regimes of the black box, right and with "
        "known faults, and own faults. SciPy's `check_grad` gives a distance; it counts as "
        "accepted below 1e-5."), "",
        *([f"Not installed: {', '.join(missing)}.", ""] if missing else []),
        *_table(["checker", *groups], rows),
    ]  # fmt: skip


def _ends(lines: Lines) -> list[str]:
    keys = ("faulty", "named", "several", "otherwise", "unnamed", "missed", "equal", "alarms")
    return [
        "## Mutants end to end", "",
        "`check_model` on code that makes the mistake, its own rounding measured.", "",
        *_table(["systems", "faults", "named", "among several", "other name", "no name", "missed",
                 "equal mutants", "alarms on these"],
                [[len(lines), *(_sum(lines, k) for k in keys)]]),
    ]  # fmt: skip


PARTS = {"model": _model, "ends": _ends, "black box": _black_box, "own": _own,
         "correct": _correct, "others": _others}  # fmt: skip


def written(lines: Lines, *, command: str, notes: str = "") -> str:
    """The whole text; `notes` say how to read it."""
    seeds = sorted({int(r["seed"]) for r in lines})
    seconds = sum(float(r["seconds"]) for r in lines)
    out = [
        "# Fault study", "",
        (f"Written by `python -m benchmarks.fault_study.table` from `{command}`; seeds "
        f"{', '.join(map(str, seeds))}; {seconds:,.0f} s of one core. All measured."), "",
    ]  # fmt: skip
    out += [notes.strip(), ""] if notes else []
    for name, part in PARTS.items():
        chosen = [r for r in lines if r["part"] == name]
        if chosen:
            out += part(chosen)
            out += _not_run(chosen) if name in ("model", "black box", "correct") else []
    bad = [n for r in lines for n in _notes(r)]
    if bad:
        out += ["## What went otherwise", "", *(f"- {n}" for n in bad), ""]
    return "\n".join(out)


def _not_run(lines: Lines) -> list[str]:
    left = [n for n in names() if n not in {r["system"] for r in lines}]
    said = ", ".join(left) if len(left) <= MOST_NAMED else f"{len(left)} systems"
    return [f"Not run in this part: {said}.", ""] if left else []


def _notes(line: dict[str, Any]) -> list[str]:
    where = line["system"]
    if line["part"] == "others":
        return []
    if line["part"] == "correct":
        return [
            f"{where}, {line['format']}, seed {line['seed']}, {row['regime']}: {note}"
            for row in line["rows"] for note in row["notes"]
        ]  # fmt: skip
    return [f"{where}: {' · '.join(n)}"[:300] for n in line["notes"]]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--command", default="python -m benchmarks.fault_study -o FILE")
    parser.add_argument("--notes", type=Path, help="Markdown that says how to read the tables")
    given = parser.parse_args()
    read = [
        json.loads(text)
        for file in given.files for text in file.read_text(encoding="utf-8").splitlines()
    ]  # fmt: skip
    notes = given.notes.read_text(encoding="utf-8") if given.notes else ""
    print(written(read, command=given.command, notes=notes))
