"""Random definitions in numbers: ``python -m tests.property.thorough --cells 10000 --jobs 2``.

Prints progress, the time of every stage, which pairs of rules occurred together, and every
failure with its seed; the sources of failures and small versions of them are written to a folder.
With ``--record FOLDER`` every block that passed is kept, and the same command started again takes
up only the rest: after a fault is mended, the blocks that met it and those not yet begun.
"""

from __future__ import annotations

import argparse
import pickle
import sys
import tempfile
import time
import warnings
from collections import Counter
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from pathlib import Path

from tests.cuda_shim import compiler

from .blocks import Failure, Report, run_block, shrink

BLOCK = 25


def _own_folder(parent: str) -> None:
    """Compiled kernels go to a folder of the worker's own, so that they can be thrown away."""
    tempfile.tempdir = tempfile.mkdtemp(dir=parent)


def _block(start: int, count: int, size: int, networks: int, device: bool) -> Report:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        report = run_block(range(start, start + count), size=size, networks=networks, device=device)
    for used in compiler.cache_folder().glob("*"):
        if used.stem != "runtime":  # the library that all kernels refer to stays loaded
            used.unlink(missing_ok=True)
    return report


def main(arguments: list[str] | None = None) -> int:
    """Run; the exit code is 1 if anything failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.property.thorough", description=__doc__)
    parser.add_argument("--cells", type=int, default=10_000, help="how many definitions")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--size", type=int, default=6, help="most intermediate values of a cell")
    parser.add_argument("--networks", type=int, default=25, help="networks in a hundred")
    parser.add_argument("--shrink", type=int, default=1, help="failures of a kind to make small")
    parser.add_argument("--no-device", action="store_true", help="leave out the CuPy modules")
    parser.add_argument(
        "--device-every", type=int, default=1, help="CuPy modules in every Nth block only"
    )
    parser.add_argument("--record", type=Path, help="folder of blocks done, to go on from")
    parser.add_argument(
        "--failures", type=Path, default=Path(tempfile.gettempdir()) / "gradcheck-thorough",
        help="folder for sources that failed",
    )  # fmt: skip
    given = parser.parse_args(arguments)
    began = time.perf_counter()
    total = _run(given, began)
    print(f"\n{total.cells} definitions passed, {total.networks} of them networks", end="")
    print(f", {sum(total.equations)} equations, in {time.perf_counter() - began:.0f} s")
    if total.fragile:
        print(f"{total.fragile} of them proved only: they compare a number with itself, rounded")
    if total.misled:
        print(f"{total.misled} directions where the differences first stated too small an error")
    print("\n".join(total.stage_lines()))
    print("\nrules, in how many definitions, and together with which other:")
    print("\n".join(total.pair_table()))
    missing = total.missing_pairs()
    print(f"\n{len(missing)} pairs of rules never occurred together" + (":" if missing else ""))
    for a, b in missing:
        print(f"  {a} and {b}")
    print(f"\nvec identities: {', '.join(f'{n} {k}' for n, k in total.identities.most_common())}")
    _report_failures(total.failures, given)
    return 1 if total.failures else 0


def _kept(path: Path | None) -> Report | None:
    """What a block gave in an earlier run, if it passed."""
    if path is None or not path.is_file():
        return None
    report: Report = pickle.loads(path.read_bytes())  # our own file
    return None if report.failures else report


def _run(given: argparse.Namespace, began: float) -> Report:
    total = Report()
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(given.jobs, initializer=_own_folder, initargs=(folder,)) as pool,
    ):
        pending: dict[Future[Report], Path | None] = {}
        for number, start in enumerate(range(given.seed, given.seed + given.cells, BLOCK)):
            count = min(BLOCK, given.seed + given.cells - start)
            device = not given.no_device and number % given.device_every == 0
            name = f"{start}_{count}_{given.size}_{given.networks}_{int(device)}.pickle"
            path = given.record / name if given.record else None
            if (kept := _kept(path)) is not None:
                total.merge(kept)
                continue
            job = pool.submit(_block, start, count, given.size, given.networks, device)
            pending[job] = path
        for done, future in enumerate(as_completed(pending), 1):
            report = future.result()
            if (path := pending[future]) is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(pickle.dumps(report))
            total.merge(report)
            for failure in report.failures:
                first = failure.what.splitlines()[0][:120]
                print(f"  seed {failure.seed}: {first}", file=sys.stderr, flush=True)
            if done % max(1, len(pending) // 40) == 0 or done == len(pending):
                spent = time.perf_counter() - began
                made = total.cells + len(total.failures)
                print(
                    f"{made:6} of {given.cells}, {len(total.failures)} failed, {spent:.0f} s",
                    file=sys.stderr,
                    flush=True,
                )
    return total


def _report_failures(failures: list[Failure], given: argparse.Namespace) -> None:
    if not failures:
        return
    given.failures.mkdir(parents=True, exist_ok=True)
    print(f"\n{len(failures)} failures; sources in {given.failures}")
    kinds: Counter[str] = Counter()
    for failure in sorted(failures, key=lambda f: (f.kind, f.seed)):
        kinds[failure.kind] += 1
        (given.failures / f"seed_{failure.seed}.py").write_text(
            f"# seed {failure.seed}: {failure.what.splitlines()[0]}\n{failure.source}",
            encoding="utf-8",
        )
        print(f"  seed {failure.seed}: {failure.what.splitlines()[0][:160]}")
        if kinds[failure.kind] <= given.shrink:
            small = shrink(failure, size=given.size, networks=given.networks)
            path = given.failures / f"small_{failure.seed}.py"
            path.write_text(f"# {failure.what.splitlines()[0]}\n{small}", encoding="utf-8")
            print("    small: " + small.replace("\n", "\n    "))


if __name__ == "__main__":
    raise SystemExit(main())
