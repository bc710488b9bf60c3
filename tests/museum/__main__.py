"""The table: what was found of every exhibit, where, whether it was named, and at what cost."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

from tests.museum.exhibits import Outcome, judge, load_all


def _outcome(name: str) -> Outcome:
    return judge(load_all()[name])


def _mark(value: bool | None) -> str:
    return "–" if value is None else "yes" if value else "NO"


def totals(outcomes: Sequence[Outcome]) -> dict[str, int | float]:
    """Counts over all exhibits; names over those that implement a definition."""
    named = [o.named for o in outcomes if o.named is not None]
    return {
        "exhibits": len(outcomes),
        "found": sum(o.found for o in outcomes),
        "right versions without alarm": sum(o.clean for o in outcomes),
        "right versions passed": sum(o.right == "pass" for o in outcomes),
        "located": sum(o.located for o in outcomes),
        "named": sum(named),
        "of": len(named),
        "seconds wrong": round(sum(o.seconds_wrong for o in outcomes), 1),
        "seconds right": round(sum(o.seconds_right for o in outcomes), 1),
        "lines a user writes (median)": sorted(o.lines for o in outcomes)[len(outcomes) // 2],
    }


def main() -> None:
    """Run all exhibits or those named."""
    parser = argparse.ArgumentParser(prog="python -m tests.museum", description=__doc__)
    parser.add_argument("names", nargs="*", help="exhibits, or parts of their names")
    parser.add_argument("--json", action="store_true", help="everything as JSON")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    args = parser.parse_args()
    names = [n for n in load_all() if not args.names or any(part in n for part in args.names)]
    if not names:
        parser.error(f"no exhibit is called {' or '.join(args.names)}")
    if args.jobs > 1:
        with ProcessPoolExecutor(args.jobs) as pool:
            outcomes = list(pool.map(_outcome, names))
    else:
        outcomes = [_outcome(name) for name in names]
    if args.json:
        rows = [outcome.to_json() for outcome in outcomes]
        print(json.dumps({"exhibits": rows, "totals": totals(outcomes)}, indent=1))
        return
    width = max(len(n) for n in names)
    head = (
        f"{'exhibit':{width}}  entry           found  right      located  named    s (w, r)   lines"
    )
    print(head)
    for o in outcomes:
        print(
            f"{o.name:{width}}  {o.entry:14}  {_mark(o.found):5}  {o.right[:9]:9}  "
            f"{_mark(o.located):7}  {_mark(o.named):5}  {o.seconds_wrong:5.1f} "
            f"{o.seconds_right:5.1f}  {o.lines:5}"
        )
        if not o.found:
            print(f"{'':{width}}    said of the wrong version: {o.wrong}")
        if not o.clean:
            print(f"{'':{width}}    said of the right version: {o.right}")
        for text in o.missing:
            print(f"{'':{width}}    not told: {text}; failing: {', '.join(o.failing)}")
    print("; ".join(f"{key}: {value}" for key, value in totals(outcomes).items()))


if __name__ == "__main__":
    main()
