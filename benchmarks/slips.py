"""Ordinary slips in cells of seven kinds: which are named, which located, which found only?

``python -m benchmarks.slips`` makes each slip of slips.txt in the right code of the blind corpora
(wherever the cell has such a line), runs the tool without adjoints and prints a table, slips by
cells, and what the report said of each slip that it did not name. ``--only CELL`` runs one cell.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from .blind_faults import Outcome, corpus, outcome_of

__all__ = ["CELLS", "SLIPS", "mark", "table"]

CELLS = {
    "elman": "Elman",
    "lstm": "LSTM",
    "gru": "GRU",
    "peephole": "peephole LSTM",
    "lnlstm": "layer-norm LSTM",
    "deep": "two LSTM layers",
    "wkv": "matrix state (RWKV-6)",
}
SLIPS = corpus(Path(__file__).with_name("slips.txt").read_text(encoding="utf-8")).faults
SIGNS = {"right": "named", "half": "half", "wrong": "?"}


def mark(one: Outcome) -> str:
    """What a cell of the table says: ``?`` where a name stands that the words do not cover."""
    if not one.found:
        return "missed"
    return SIGNS.get(one.named, "located" if one.located else "found")


def table(outcomes: dict[str, Outcome], cells: list[str]) -> str:
    """The table in Markdown: a row a slip, and last the counts."""
    marks = {name: mark(one) for name, one in outcomes.items()}
    lines = ["| slip | " + " | ".join(CELLS[cell] for cell in cells) + " |"]
    lines.append("|---" * (len(cells) + 1) + "|")
    titles = {name.split("/")[1]: slip.truth for name, slip in SLIPS.items()}
    for number, title in sorted(titles.items()):
        row = [marks.get(f"{cell}/{number}", "–") for cell in cells]
        lines.append(f"| {title} | " + " | ".join(row) + " |")
    counts = []
    for cell in cells:
        mine = [said for name, said in marks.items() if name.split("/")[0] == cell]
        found, located = (
            sum(m not in bad for m in mine) for bad in (["missed"], ["missed", "found"])
        )
        named = mine.count("named")
        counts.append(f"{named} / {located} / {found} of {len(mine)}")
    return "\n".join([*lines, "| **named / located / found** | " + " | ".join(counts) + " |"])


def main(arguments: list[str] | None = None) -> None:
    """Run the slips and print the table and what was not named."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", choices=list(CELLS), help="one cell")
    parser.add_argument("--text", action="store_true", help="print every report's diagnosis")
    options = parser.parse_args(arguments)
    cells = [options.only] if options.only else list(CELLS)
    outcomes = {}
    for name, slip in SLIPS.items():
        if name.split("/")[0] in cells:
            outcomes[name] = one = outcome_of([slip])
            if options.text or mark(one) != "named":
                print(f"{name} {slip.truth}: {mark(one)}, {one.seconds:.1f} s", flush=True)
                print("    " + one.said.replace("\n", "\n    "), flush=True)
    print(table(outcomes, cells))
    print(f"{sum(one.seconds for one in outcomes.values()):.0f} s of processor time")


if __name__ == "__main__":
    main()
