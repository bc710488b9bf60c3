"""Runs every hostile input of tests/hostile/grammar.py and counts the endings by class.

    python benchmarks/hostile_inputs.py [GROUP ...] [--every N | --of-each N] [--spawn N]

Each input runs in a process of its own, forked from this one (every N-th in a fresh interpreter),
in a folder of its own, with a limit of memory and of time.
"""

from __future__ import annotations

import argparse
import collections
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.hostile import grammar
from tests.hostile.running import FAULTS, Ending, Hostile, run


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("groups", nargs="*", default=list(grammar.ALL), metavar="GROUP")
    parser.add_argument("--every", type=int, default=1, help="only every N-th input")
    parser.add_argument("--of-each", type=int, help="only about N inputs of each group")
    parser.add_argument("--spawn", type=int, default=10, help="every N-th in a fresh interpreter")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds an input may take")
    parser.add_argument("--bombs", action="store_true", help="also a zip bomb of 2 GB")
    options = parser.parse_args()
    grammar.BOMBS = options.bombs
    import gradcheck_rnn.api
    import gradcheck_rnn.calculus.terms
    import gradcheck_rnn.cli.app  # noqa: F401

    items = [(g, h) for g in options.groups for h in some(list(grammar.ALL[g]()), options.of_each)]
    items = items[:: options.every]
    counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    faults = 0
    for k, (group, item) in enumerate(items):
        ended = run(item, limit=options.limit, spawn=k % options.spawn == options.spawn - 1)
        counts[group][ended.kind] += 1
        if ended.kind in FAULTS:
            faults += 1
            _tell(item, ended)
    total: collections.Counter[str] = collections.Counter()
    for group, found in counts.items():
        total += found
        print(f"{group}: {dict(found)}")
    print(f"{sum(total.values())} inputs: {dict(total)}")
    return 1 if faults else 0


def some(items: list[Hostile], count: int | None) -> list[Hostile]:
    """About so many inputs of a group, all over it; the same at every run."""
    return items if count is None else items[:: max(1, len(items) // count)]


def _tell(item: Hostile, ended: Ending) -> None:
    last = [x for x in ended.err.splitlines() if x.strip()][-2:]
    words = " ".join(repr(a) if len(a) < 80 else repr(a[:80]) + "…" for a in item.argv)
    print(f"{ended.kind:15} {ended.code} {ended.seconds:.1f} s  {item.kind}: {words}")
    for line in last:
        print(f"    {line[:220]}")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
