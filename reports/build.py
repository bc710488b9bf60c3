"""Build the gallery: ``python -m reports.build`` (``make gallery``).

One HTML file a system of the zoo, two comparisons of gradient decay, the audit and an index, in
``build/gallery``. Every number in them is computed anew, from fixed seeds. What is committed, in
``reports``, is an excerpt: the pages of `PUBLISHED` with an index of their own, which the command
rewrites too; ``--published`` builds nothing else.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path

from gradcheck_rnn import api

HERE = Path(__file__).parent
WHOLE = HERE.parent / "build" / "gallery"
#: Systems whose pages are committed: each shows something that the others do not.
PUBLISHED = (
    "elman", "lstm", "gru", "slstm", "ltc", "lru", "mamba2", "delta_net", "ntm_head",
    "bidirectional_elman", "encoder_decoder", "softmax_cross_entropy",
)  # fmt: skip
STEPS = 300
#: Hides rows of the index, and families of which no row is left; says so where none is.
FIND = """
document.addEventListener("input", () => {
  const words = document.getElementById("find").value.toLowerCase().split(/\\s+/);
  let found = 0;
  for (const list of document.querySelectorAll("main table, main ul")) {
    const box = list.closest("figure, div") || list;
    const head = box.previousElementSibling;
    let left = 0;
    for (const row of list.querySelectorAll("tbody tr, li")) {
      const text = (head.textContent + " " + row.textContent).toLowerCase();
      row.hidden = !words.every(w => text.includes(w));
      left += !row.hidden;
    }
    box.hidden = head.hidden = !left;
    found += left;
  }
  document.getElementById("found").textContent = found ? "" : "nothing here has these words";
});
"""
#: Decay comparisons: file → (what is compared, cells with the start of their weights and what is
#: added to a bias).
COMPARISONS: dict[str, tuple[str, list[tuple[str, str, Mapping[str, float]]]]] = {
    "decay_cells": (
        "Gradient decay of five cells from the same kind of start",
        [(name, "normal", {}) for name in ("elman", "elman_leaky", "lstm", "gru", "mgu")],
    ),
    "decay_starts": (
        "Gradient decay of the Elman network from four starts",
        [("elman", start, {}) for start in ("normal", "uniform", "orthogonal", "identity")],
    ),
    "decay_gates": (
        "Gradient decay with gates opened by their bias",
        [
            ("elman", "normal", {}),
            ("lstm", "normal", {}),
            ("lstm", "normal", {"b_f": 4.0}),
            ("gru", "normal", {"b_z": -4.0}),
        ],
    ),
}


def derivation(name: str, folder: str) -> str:
    """Write the derivation report of a system of the zoo."""
    api.report(name, Path(folder) / f"{name}.html")
    return name


def comparison(name: str, folder: str) -> str:
    """Write one comparison of gradient decay."""
    from gradcheck_rnn.report.decay import decay_report
    from gradcheck_rnn.report.listing import titled
    from gradcheck_rnn.report.typesetting import write

    title, models = COMPARISONS[name]
    starts = len({start for _, start, _ in models}) > 1
    found = []
    for cell, start, added in models:
        label = f"{titled(cell)}, {start} start" if starts else cell
        if added:
            biases = ", ".join(f"{n} = {x:g}" for n, x in added.items())
            label = f"{titled(cell)}, {biases.replace('-', '−')}"
        weights = shifted(cell, start, added, folder) if added else None
        # Remedies of each model are for its own report: here models are compared.
        found += api.decay(
            cell, steps=STEPS, init=start, name=label, remedies=False, weights=weights
        )
        if weights is not None:
            weights.unlink()
    write(decay_report(found, title), Path(folder) / f"{name}.html")
    return name


def shifted(cell: str, start: str, added: Mapping[str, float], folder: str) -> Path:
    """A file of the weights that are drawn for a cell, with numbers added to some of them."""
    import numpy as np

    from gradcheck_rnn.dynamics.model_source import model_of

    values = model_of(api.load(cell), init=start).values
    path = Path(folder) / f"{cell}_shifted.npz"
    np.savez(path, **{n: values[n] + added.get(n, 0.0) for n in api.load(cell).parameters})
    return path


def index(folder: str, names: Sequence[str]) -> str:
    """Write the page that leads to those of some systems and to the other ones."""
    from gradcheck_rnn.report.formulas import prose
    from gradcheck_rnn.report.listing import titled
    from gradcheck_rnn.report.manuscript import Manuscript
    from gradcheck_rnn.report.typesetting import write
    from gradcheck_rnn.report.typst_mathematics import plain

    m = Manuscript(
        "Gradients of recurrent networks",
        "Derived, proved and verified, one chapter a system",
        "Gallery of derivation reports and comparisons of gradient decay.",
    )
    m.say(
        "Each chapter leads from the definition of a cell or network to the gradients of all its "
        "parameters: matrix calculus with every rule named, backpropagation through time and "
        "real-time recurrent learning, an example in numbers, an exact proof, and finite "
        "differences beside the generated code."
    )
    left = len(api.names()) - len(names)
    if left:
        m.say(
            f"An excerpt: `make gallery` writes the pages of the other {left} systems, too, and "
            "`gradcheck-rnn report NAME -o NAME.html` the page of one."
        )
    families: dict[str, list[list[str]]] = {}
    for row in api.catalogue():
        if row["name"] in names:
            link = f'*#link("{row["name"]}.html")[{plain(titled(row["name"]))}]*'
            line = [link, prose(row["what"]), f"`{row['name']}`"]
            families.setdefault(row["family"], []).append(line)
    for family, lines in families.items():
        m.heading(family)
        m.table(("System", "What it is", "Name in commands"), lines, "(auto, 1fr, auto)")
    m.heading("Gradient decay")
    m.items(f'#link("{name}.html")[{plain(title)}]' for name, (title, _) in COMPARISONS.items())
    m.heading("Published derivations")
    m.items(['#link("audit.html")[An audit of published derivations]'])
    page = write(m, Path(folder) / "index.html")
    page.write_text(searchable(page.read_text(encoding="utf-8")), encoding="utf-8")
    return "index"


def searchable(html: str) -> str:
    """The index with a field that leaves the rows in which all of its words stand."""
    at = html.index("<h2", html.index("<main"))
    field = '<search><label>Search <input type="search" id="find"></label> '
    field += '<output id="found" for="find"></output></search>'
    return f"{html[:at]}{field}<script>{FIND}</script>{html[at:]}"


def files(names: Sequence[str]) -> set[str]:
    """Names of the files of a gallery of these systems."""
    return {f"{n}.html" for n in (*names, *COMPARISONS, "audit", "index")}


def remove_others(folder: Path, names: Sequence[str]) -> None:
    """Remove pages of systems that are not, or no longer, in a gallery."""
    wanted = files(names)
    for old in folder.glob("*.html"):
        if old.name not in wanted:
            old.unlink()


def build(
    folder: Path = WHOLE,
    names: Sequence[str] | None = None,
    workers: int = 0,
    tell: Callable[[str, int, int], None] = lambda *_: None,
) -> int:
    """Write a gallery and return the number of files.

    Parameters
    ----------
    folder : Path
        Where to; files of other systems are removed.
    names : sequence of str, optional
        The systems; all of them by default.
    workers : int
        Processes; one a core when 0.
    tell : callable
        Called with the name of each file as it is done, how many are, and how many there will be.
    """
    names = api.names() if names is None else names
    folder.mkdir(parents=True, exist_ok=True)
    remove_others(folder, names)
    if folder != HERE:  # `make audit` writes it
        shutil.copyfile(HERE / "audit.html", folder / "audit.html")
    where = str(folder)
    with ProcessPoolExecutor(workers or os.cpu_count() or 1) as pool:
        # The long ones first, so that no worker is left with one of them at the end.
        jobs: list[Future[str]] = [pool.submit(comparison, n, where) for n in COMPARISONS]
        jobs += [pool.submit(derivation, n, where) for n in reversed(names)]
        jobs.append(pool.submit(index, where, names))
        for done, job in enumerate(as_completed(jobs), 1):
            tell(job.result(), done, len(jobs))
    return len(jobs)


@contextmanager
def progress() -> Iterator[Callable[[str, int, int], None]]:
    """A bar on the terminal; nothing in a pipe."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description:<28}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns, TimeElapsedColumn(), console=console, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("gallery", total=None)
        yield lambda name, done, total: bar.update(
            task, description=name, completed=done, total=total
        )


def publish(whole: Path = WHOLE, folder: Path = HERE) -> None:
    """Take the excerpt that is committed out of a gallery that is there."""
    remove_others(folder, PUBLISHED)
    for file in files(PUBLISHED) - {"index.html"}:
        shutil.copyfile(whole / file, folder / file)
    index(str(folder), PUBLISHED)


def main() -> int:
    """Build the gallery and its excerpt, and say how long it took."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--published", action="store_true", help="only what is committed")
    excerpt = parser.parse_args().published
    begun = time.perf_counter()
    folder = HERE if excerpt else WHOLE
    with progress() as tell:
        count = build(folder, PUBLISHED if excerpt else None, tell=tell)
    if not excerpt:
        publish()
    size = sum(p.stat().st_size for p in folder.glob("*.html")) / 1e6
    sys.stdout.write(
        f"{count} reports, {size:.1f} MB, in {time.perf_counter() - begun:.0f} s: "
        f"{folder.relative_to(HERE.parent)}/index.html\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
