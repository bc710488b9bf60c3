"""The command `decay`: where the gradient of one or several models goes, in words and pictures."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradcheck_rnn.cli.codes import PASS
from gradcheck_rnn.cli.printing import console, emit_json, read_sizes
from gradcheck_rnn.errors import UsageError
from gradcheck_rnn.files import check_writable, write_bytes

if TYPE_CHECKING:
    from gradcheck_rnn.dynamics.analysis import Analysis

__all__ = ["decay"]

PICTURES, SUFFIXES = (".png", ".svg"), (".html", ".pdf", ".png", ".svg")
#: Called with the stage, the steps done in it, and how many there are.
Tell = Callable[[str, int, int], None]


def decay(
    cells: list[str],
    *,
    weights: list[Path],
    sizes: list[str],
    output: Path | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Analyse every cell (with its weight file) and print, picture or dump the results.

    Raises
    ------
    UsageError
        Cells and weight files do not pair up, or the picture cannot be written; both are said
        before anything is computed.
    """
    pairs = _pairs(cells, weights)
    wanted = read_sizes(sizes)
    if output is not None:
        _check_output(output)
    from gradcheck_rnn import api

    found: list[Analysis] = []
    with _progress() as tell:
        for cell, file, name in pairs:
            shown = _titled(tell, name or cell)
            found += api.decay(
                cell, weights=file, sizes=wanted, name=name, progress=shown,
                announce=_announcer(name or cell), **options,
            )  # fmt: skip
    if output is not None:
        if output.suffix.lower() in PICTURES:
            _picture(found, output)
        else:
            api.report(found, output)
    if as_json:
        from gradcheck_rnn.dynamics.analysis import as_plain

        emit_json([as_plain(a) for a in found])
    else:
        _print(found)
    return PASS


#: Seconds from which on an estimate is worth a line, and beyond which nobody waits.
WORTH_SAYING, LONGEST = 60.0, 86_400.0


def _announcer(name: str) -> Callable[[float], None]:
    def announce(seconds: float) -> None:
        advice = "fewer --steps, a smaller --size and --no-remedies take less"
        if seconds > LONGEST:
            raise UsageError(
                f"decay of {name} would take about {seconds / 86_400:.3g} days; {advice}"
            )
        if seconds > WORTH_SAYING:
            sys.stderr.write(f"decay of {name} takes about {seconds / 60:.0f} minutes; {advice}\n")

    return announce


def _titled(tell: Tell, name: str) -> Tell:
    return lambda stage, done, total: tell(f"{name}: {stage}", done, total)


def _pairs(cells: list[str], weights: list[Path]) -> list[tuple[str, Path | None, str]]:
    """Every cell with its weight file: one cell with several files, or one file each."""
    if not weights:
        return [(c, None, "") for c in cells]
    if len(cells) == 1:
        named = [f"{cells[0]}, {w.name}" for w in weights]
        return [(cells[0], w, n) for w, n in zip(weights, named, strict=True)]
    if len(cells) != len(weights):
        raise UsageError(
            f"{len(cells)} cells and {len(weights)} weight files: give one file a cell, or one "
            "cell with several files"
        )
    return [(c, w, f"{c}, {w.name}") for c, w in zip(cells, weights, strict=True)]


def _check_output(path: Path) -> None:
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(
            f"cannot write {path}: the suffix is {path.suffix!r}, give {', '.join(SUFFIXES)}"
        )
    if path.suffix.lower() not in PICTURES:
        from gradcheck_rnn.report.typesetting import need_extra

        need_extra()
    check_writable(path)


def _picture(found: list[Analysis], path: Path) -> None:
    """Draw into memory, then write in one step: never half a picture."""
    from gradcheck_rnn.dynamics.figures import overview

    held = io.BytesIO()
    kind = path.suffix.lower()[1:]
    # A date in the file would make equal pictures differ.
    metadata: dict[str, Any] = {"Date": None} if kind == "svg" else {}
    import matplotlib

    # Titles hold names of files, in which a dollar is a dollar.
    with matplotlib.rc_context({"text.parse_math": False}):
        overview(found).savefig(held, format=kind, dpi=150, metadata=metadata)
    write_bytes(path, held.getvalue())


@contextlib.contextmanager
def _progress() -> Iterator[Tell]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    err = console(stderr=True)
    columns: list[Any] = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()]
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task("", total=None)

        def tell(stage: str, done: int, total: int) -> None:
            bar.update(task, description=stage, completed=done, total=total or None)

        yield tell


def _print(found: list[Analysis]) -> None:
    from rich import box
    from rich.table import Table

    from gradcheck_rnn.dynamics.decay_verdict import power_of_ten

    out = console()
    if len(found) > 1:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for title in ("model", "verdict", "λ₁", "from lag", "norm at the last lag"):
            table.add_column(title, no_wrap=title == "λ₁")
        for a in found:
            v = a.verdict
            last = power_of_ten(float(a.decay.norm[-1]))
            lag = "–" if v.lag is None else str(v.lag)
            table.add_row(a.name, v.kind, f"{v.rate:+.4f}", lag, last)
        out.print(table)
    for a in found:
        out.print(f"{a.name} ({a.system}), {a.size} state entries, {a.steps} steps", markup=False)
        for sentence in a.verdict.sentences:
            out.print(f"  {sentence}", markup=False, soft_wrap=True)
        for text in a.verdict.because:
            out.print(f"  Cause: {text}", markup=False, soft_wrap=True)
        for line in _lines(a):
            out.print(f"  {line}", markup=False, soft_wrap=True)
        if a.remedies:
            out.print(_remedies(a))


def _lines(a: Analysis) -> Iterator[str]:
    for s in a.spectra:
        yield (
            f"{s.name}: spectral radius {s.radius:.4g}, σ_max {s.norm:.4g}, departure from "
            f"normality {s.departure:.2f}"
        )
    for b in a.bounds.rates:
        yield f"bound {b.rate:+.4f} a step: {b.name} ({b.says})"
    for e in a.expansions:
        yield (
            f"∂s_T/∂{e.parameter}: {e.carrying()} terms carry 99 %; two terms are off by "
            f"{100 * e.two_term_error:.2g} %"
        )
    for c in a.carousels:
        if c.constant:
            yield f"{c.state}: constant error carousel, nothing is lost on the direct path"
        else:
            yield f"{c.state}: mean factor {c.mean_gate:.3g} a step on the direct path (∏ f_t)"
    whole = a.exponents
    parts = [f"memory horizon 1/|λ₁| = {whole.horizons[0]:.3g} steps"]
    if whole.dimension is not None:
        parts.append(f"Kaplan–Yorke dimension {whole.dimension:.3g}")
    if whole.entropy_rate is not None:
        parts.append(f"entropy rate at most {whole.entropy_rate:.3g} nats a step")
    yield "; ".join(parts)


def _remedies(a: Analysis) -> Any:
    from rich import box
    from rich.table import Table

    from gradcheck_rnn.dynamics.decay_verdict import power_of_ten

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("remedy", "what was changed", "λ₁ then", "norm then"):
        table.add_column(title, overflow="fold", no_wrap=title == "λ₁ then")
    for r in a.remedies:
        if r.applies:
            change = f"{r.change}; {r.note}" if r.note else r.change
            table.add_row(r.name, change, f"{r.rate:+.4f}", power_of_ten(r.log_norm))
        else:
            table.add_row(r.name, r.note, "–", "–")
    return table
