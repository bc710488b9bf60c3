"""The command `prove`: one system in full, or the whole zoo as a table with a progress bar."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from gradcheck_rnn.cli.codes import FAIL, PASS
from gradcheck_rnn.cli.printing import console, emit_json
from gradcheck_rnn.errors import UsageError

if TYPE_CHECKING:
    from gradcheck_rnn.derivation.proof import ProofResult

__all__ = ["prove"]


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
