"""The commands `prove`, `check-equations`, `generate` and `report`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from gradcheck_rnn.cli import printing
from gradcheck_rnn.cli.codes import FAIL, PASS, UNDECIDED
from gradcheck_rnn.cli.printing import console, emit_json
from gradcheck_rnn.cli.verifying import check_reports
from gradcheck_rnn.errors import UsageError

if TYPE_CHECKING:
    from gradcheck_rnn.derivation.proof import ProofResult

__all__ = ["check_equations", "generate", "prove", "report", "stages"]


def prove(cell: str | None, *, every: bool, seed: int, exact: bool, as_json: bool) -> int:
    """Prove `cell`, or every system of the zoo, and print what was proved.

    With `exact`, also what is certified without any probability of error; that something could
    not be decided is no failure, that it is different is one.

    Returns
    -------
    int
        0 when everything is proved, 1 otherwise.

    Raises
    ------
    UsageError
        Neither or both of `cell` and `every` are given.
    """
    if every == (cell is not None):
        raise UsageError("give a cell to prove, or --all for the whole zoo, not both")
    if cell is not None:
        from gradcheck_rnn import api

        result = api.prove(cell, seed=seed, exact=exact)
        if as_json:
            emit_json(result.to_json())
        else:
            console().print(str(result), markup=False, soft_wrap=True)
        return PASS if result.proved else FAIL
    results = _prove_zoo(seed, exact)
    if as_json:
        emit_json([result.to_json() for _, result, _ in results])
    else:
        _table(results, exact)
    return PASS if all(result.proved for _, result, _ in results) else FAIL


def _prove_zoo(seed: int, exact: bool) -> list[tuple[str, ProofResult, float]]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from gradcheck_rnn import api

    results = []
    names = api.names()
    columns: list[Any] = [
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
    ]
    err = console(stderr=True)
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task("", total=len(names))
        for name in names:
            progress.update(task, description=f"proving {name}")
            start = time.perf_counter()
            result = api.prove(name, seed=seed, exact=exact)
            results.append((name, result, time.perf_counter() - start))
            progress.advance(task)
    return results


def _table(results: list[tuple[str, ProofResult, float]], exact: bool) -> None:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("system", no_wrap=True)
    table.add_column("proof")
    if exact:
        table.add_column("without error")
    table.add_column("seconds", justify="right")
    for name, result, seconds in results:
        verdict = "[green]proved[/]" if result.proved else "[bold red]not proved[/]"
        certified = [_certified(result)] if exact else []
        table.add_row(name, verdict, *certified, f"{seconds:.2f}")
    out = console()
    out.print(table)
    failed = [name for name, result, _ in results if not result.proved]
    for name, result, _ in results:
        if not result.proved:
            out.print(f"{name}\n{result}", markup=False, soft_wrap=True)
    out.print(f"{len(results) - len(failed)} of {len(results)} systems proved", markup=False)
    if exact:
        whole = sum(r.certificate is not None and r.certificate.exact for _, r, _ in results)
        out.print(f"{whole} of {len(results)} certified without any probability of error")


def _certified(result: ProofResult) -> str:
    certificate = result.certificate
    if certificate is None or certificate.exact:
        return "not tried" if certificate is None else "[green]certified[/]"
    colour = "bold red" if certificate.different else "yellow"
    share = f"{certificate.certified} of {certificate.entries} entries"
    return f"[{colour}]{certificate.verdict}[/], {share} certified"


def generate(
    cell: str, backend: Literal["numpy", "cupy", "c"], *, loss: str | None, output: Path | None,
    python: bool, vectors: bool,
) -> int:  # fmt: skip
    """Write the kernel of a cell.

    Raises
    ------
    UsageError
        ``--python`` or ``--vectors`` for another backend than C; C without a folder.
    """
    from gradcheck_rnn import api

    if backend != "c":
        for given, option in ((python, "--python"), (vectors, "--vectors")):
            if given:
                raise UsageError(f"{option} goes with --backend c only")
        return printing.emit(api.generate(cell, backend, loss=loss), output)
    if output is None:
        raise UsageError("--backend c writes several files: give a folder with -o")
    for path in api.write_c(cell, output, loss=loss, python=python, vectors=vectors):
        printing.console(stderr=True).print(f"wrote {path}", markup=False, soft_wrap=True)
    return PASS


def report(
    cell: str,
    paths: Sequence[Path],
    *,
    notation: Path | None,
    loss: str | None,
    slides: bool = False,
) -> int:
    """Write the report of a cell to every path and say where it is.

    Raises
    ------
    UsageError
        A path that cannot be written, another suffix, missing packages; before any work.
    """
    from gradcheck_rnn import api

    with stages(cell) as tell:
        made = api.report(cell, *paths, notation=notation, loss=loss, slides=slides, progress=tell)
    for path in made:
        console(stderr=True).print(f"wrote {path}", markup=False, soft_wrap=True)
    return PASS


@contextlib.contextmanager
def stages(name: str) -> Iterator[Callable[[str], None]]:
    """A line on the terminal that names the stage at work; nothing in a pipe."""
    err = console(stderr=True)
    if not err.is_terminal:
        yield lambda stage: None
        return
    with err.status(name) as line:
        yield lambda stage: line.update(f"{name}: {stage}")


def check_equations(
    note: Path,
    cell: str,
    *,
    names: Sequence[str],
    notation: Path | None,
    loss: str | None,
    seed: int,
    as_json: bool,
    report: Sequence[Path],
) -> int:
    """Judge the lines of a note and print what was found.

    Returns
    -------
    int
        0 all right, 1 a line is wrong, 3 a line is not understood, or none was judged.

    Raises
    ------
    UsageError
        A name that is not ``THEIRS=OURS``; a report that cannot be written.
    """
    from gradcheck_rnn import api

    check_reports(report)
    given = {}
    for text in names:
        theirs, equals, ours = text.partition("=")
        if not equals or not theirs or not ours:
            raise UsageError(f"--name {text!r} is not THEIRS=OURS, such as W_hh=W or delta=d:i")
        given[theirs] = ours
    found = api.check_equations(note, cell, names=given, notation=notation, loss=loss, seed=seed)
    if report:
        api.write_note_report(found, note.name, *report)
    if as_json:
        emit_json(found.to_json())
    else:
        console().print(str(found), markup=False, highlight=False, soft_wrap=True)
    if found.count("wrong"):
        return FAIL
    return PASS if found.passed else UNDECIDED
