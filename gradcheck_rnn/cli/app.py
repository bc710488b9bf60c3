"""The commands of `gradcheck-rnn`; each imports what it needs when it runs, so --help is quick."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from gradcheck_rnn._version import __version__
from gradcheck_rnn.api import Backend, Form, Format, Layout, Undecided
from gradcheck_rnn.cli import completion
from gradcheck_rnn.cli.parsing import Once, Verify

__all__ = ["app"]


app = typer.Typer(
    name="gradcheck-rnn",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Gradient verification for recurrent networks: derive, prove, generate, verify.",
    epilog="Exit codes: 0 pass, 1 fail, 2 misuse, 3 undecided. Example: gradcheck-rnn verify lstm",
)


CELL = typer.Argument(metavar="CELL", help="A cell of the zoo (see `cells`), or file.py:name.")
OUTPUT = typer.Option("--output", "-o", metavar="PATH", help="Write here, not to the terminal.")
LOSS = typer.Option(metavar="NAME", help="Put this loss on top, with a readout if there is none.")
JSON = typer.Option("--json", help="Print JSON for programs.")


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"gradcheck-rnn {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
    shell: Annotated[
        str | None,
        typer.Option(
            "--completion",
            metavar="bash|zsh|fish",
            callback=completion.script,
            is_eager=True,
            help="Print a script that completes commands in a shell.",
        ),
    ] = None,
) -> None:
    pass


@app.command(cls=Once, epilog="Example: gradcheck-rnn cells gru")
def cells(cell: Annotated[str | None, CELL] = None, as_json: Annotated[bool, JSON] = False) -> int:
    """List the cells and networks of the zoo, or show one: arrays, shapes and equations."""
    from gradcheck_rnn.cli import printing

    return printing.show_zoo(as_json) if cell is None else printing.show_cell(cell, as_json)


@app.command(cls=Once, epilog="Example: gradcheck-rnn layouts 'pytorch lstm'")
def layouts(
    layout: Annotated[
        str | None,
        typer.Argument(
            metavar="LAYOUT",
            help="One of them, to print as Python.",
        ),
    ] = None,
    definition: Annotated[
        str | None, typer.Option(metavar="CELL", help="What the layout `own` is of.")
    ] = None,
    as_json: Annotated[bool, JSON] = False,
) -> int:
    """List the ready layouts of libraries and lectures, or print one to change and keep."""
    from gradcheck_rnn.cli import printing

    return printing.show_layouts(layout, as_json, definition)


@app.command(
    cls=Once,
    epilog="Example: gradcheck-rnn derive lstm --format latex --standalone -o lstm.tex",
)
def derive(
    cell: Annotated[str, CELL],
    wrt: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only the gradient of this; may be repeated."),
    ] = None,
    form: Annotated[
        Form, typer.Option(help="Matrix gradients or vec/Kronecker Jacobians.")
    ] = "matrix",
    layout: Annotated[Layout, typer.Option(help="Layout of the Jacobians.")] = "numerator",
    fmt: Annotated[Format, typer.Option("--format", help="What to print.")] = "text",
    notation: Annotated[
        Path | None, typer.Option(metavar="FILE.toml", help="Your own names for the symbols.")
    ] = None,
    steps: Annotated[bool, typer.Option("--steps", help="Show every rule, cited.")] = False,
    rtrl: Annotated[bool, typer.Option("--rtrl", help="Show the tangent recursion too.")] = False,
    truncate: Annotated[
        int | None, typer.Option(metavar="K", min=1, help="BPTT truncated to the last K steps.")
    ] = None,
    standalone: Annotated[
        bool, typer.Option("--standalone", help="With --format latex: a document to compile.")
    ] = False,
    loss: Annotated[str | None, LOSS] = None,
    output: Annotated[Path | None, OUTPUT] = None,
) -> int:
    """Derive the gradient of a cell: adjoints, BPTT, Jacobians, RTRL."""
    from gradcheck_rnn import api
    from gradcheck_rnn.cli import printing

    text = api.render(
        api.derive(cell, loss=loss),
        fmt,
        form=form,
        layout=layout,
        wrt=wrt or (),
        notation=notation,
        steps=steps,
        rtrl=rtrl,
        truncate=truncate,
        standalone=standalone,
    )
    return printing.emit(text, output)


@app.command(
    cls=Once,
    epilog="Example: gradcheck-rnn prove gru --exact",
)
def prove(
    cell: Annotated[str | None, CELL] = None,
    every: Annotated[bool, typer.Option("--all", help="Prove the whole zoo.")] = False,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Seed of the random points.")] = 0,
    exact: Annotated[
        bool, typer.Option("--exact", help="Also certify without any probability of error.")
    ] = False,
    as_json: Annotated[bool, JSON] = False,
) -> int:
    """Prove a derivation against an independent scalar oracle, entry by entry."""
    from gradcheck_rnn.cli import commands

    return commands.prove(cell, every=every, seed=seed, exact=exact, as_json=as_json)


@app.command(
    "check-equations",
    cls=Once,
    epilog="Example: gradcheck-rnn check-equations notes.tex lstm --name g=c_tilde",
)
def check_equations(
    note: Annotated[
        Path,
        typer.Argument(metavar="NOTE", help="A .tex, .md, .ipynb or text file with equations."),
    ],
    cell: Annotated[str, CELL],
    name: Annotated[
        list[str] | None,
        typer.Option(metavar="THEIRS=OURS", help="The note's name for one of the cell's."),
    ] = None,
    notation: Annotated[
        Path | None,
        typer.Option(metavar="FILE.toml", help="The note's names, as derive takes them."),
    ] = None,
    loss: Annotated[str | None, LOSS] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random points.")] = 0,
    as_json: Annotated[bool, JSON] = False,
    report: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Write it as .html or .pdf too; may be repeated."),
    ] = None,
) -> int:
    """Judge the backward equations that somebody wrote, line by line."""
    from gradcheck_rnn.cli import commands

    return commands.check_equations(
        note, cell, names=name or (), notation=notation, loss=loss, seed=seed, as_json=as_json,
        report=report or (),
    )  # fmt: skip


@app.command(
    cls=Once,
    epilog="Example: gradcheck-rnn generate lstm --backend numpy -o lstm_kernel.py",
)
def generate(
    cell: Annotated[str, CELL],
    backend: Annotated[
        Literal["numpy", "cupy", "c"], typer.Option(help="What it computes with.")
    ] = "numpy",
    loss: Annotated[str | None, LOSS] = None,
    output: Annotated[Path | None, OUTPUT] = None,
    python: Annotated[
        bool, typer.Option("--python", help="With --backend c: a NumPy module over it, too.")
    ] = False,
    with_vectors: Annotated[
        bool, typer.Option("--vectors", help="With --backend c: test vectors beside it.")
    ] = False,
) -> int:
    """Generate a standalone module with forward and backward pass; in C, a folder of files."""
    from gradcheck_rnn.cli import commands

    return commands.generate(
        cell, backend, loss=loss, output=output, python=python, vectors=with_vectors
    )


@app.command(
    cls=Verify,
    epilog="Example: gradcheck-rnn verify gradcheck_mine.py --seed 7 --report found.html",
)
def verify(
    target: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TARGET...",
            help="A cell of the zoo or file.py:name (its kernel is generated and checked), "
            "a generated file, a Python file or notebook with gradient cases, or a folder of "
            "vectors with results.",
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Verify the whole zoo.")] = False,
    select: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only this gradient; may be repeated."),
    ] = None,
    seed: Annotated[
        str | None,
        typer.Option(metavar="N|fresh", help="Of the random points and directions."),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(metavar="10s|N", help="Time or loss evaluations, for all checks together."),
    ] = None,
    undecided: Annotated[
        Undecided, typer.Option(help="Whether what cannot be decided fails.")
    ] = "fail",
    definition: Annotated[
        str | None,
        typer.Option(metavar="CELL", help="What the file's forward and backward are to compute."),
    ] = None,
    layout: Annotated[
        str | None,
        typer.Option(
            metavar="LAYOUT",
            help="TARGET is file.py:NAME, a class with forward and backward or a module whose "
            "arrays are in this ready layout (see `layouts`).",
        ),
    ] = None,
    loss: Annotated[str | None, LOSS] = None,
    against: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Vectors that TARGET, a file of results, is for."),
    ] = None,
    dtype: Annotated[
        str | None, typer.Option(metavar="NAME", help="The results' number format.")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(metavar="N", help="Worker processes; 0 for one a core.")
    ] = None,
    dask: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="A Dask cluster: tcp://host:8786.")
    ] = None,
    shapes: Annotated[
        int, typer.Option(metavar="N", min=1, max=10_000, help="Check kernels at this many shapes.")
    ] = 1,
    shape: Annotated[
        int, typer.Option(metavar="K", min=0, help="Repeat the check at shape K only.")
    ] = 0,
    timeout: Annotated[
        str | None,
        typer.Option(metavar="SECONDS", help="A case, kernel or file that takes longer fails."),
    ] = None,
    memory: Annotated[
        str | None, typer.Option(metavar="4GB", help="Private memory of each process at work.")
    ] = None,
    github: Annotated[
        bool | None,
        typer.Option("--github/--no-github", help="Annotations; by default in a workflow."),
    ] = None,
    report: Annotated[
        list[Path] | None,
        typer.Option(metavar="PATH", help="Write it as .html or .pdf, too; may be repeated."),
    ] = None,
    pythonpath: Annotated[
        list[Path] | None,
        typer.Option(metavar="FOLDER", help="Import from there, too; may be repeated."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only what did not pass.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="All rows, all notes.")] = False,
    as_json: Annotated[bool, JSON] = False,
) -> int:
    """Verify gradients against finite differences that know their own error."""
    from gradcheck_rnn.cli import verifying
    from gradcheck_rnn.project import import_from

    import_from(pythonpath or [])
    folder = "" if against is not None else verifying.holds_results(target or [])
    if against is not None or folder:
        verifying.refuse_beside_against(
            folder, every=every, seed=seed, budget=budget, jobs=jobs, dask=dask, shapes=shapes - 1,
            shape=shape, timeout=timeout, memory=memory, layout=layout,
        )  # fmt: skip
        return verifying.judge(
            target or [], against, dtype=dtype, select=select, undecided=undecided,
            definition=definition, loss=loss, github=github, as_json=as_json, report=report or [],
            quiet=quiet, verbose=verbose,
        )  # fmt: skip
    verifying.refuse_without_against(dtype=dtype)
    return verifying.verify(
        target or [], every=every, select=select, seed=seed, budget=budget, undecided=undecided,
        definition=definition, loss=loss, layout=layout, shape=shape, shapes=shapes, jobs=jobs,
        dask=dask, timeout=timeout, memory=memory, github=github, as_json=as_json,
        report=report or [], quiet=quiet, verbose=verbose,
    )  # fmt: skip


@app.command(
    cls=Once,
    epilog="Example: gradcheck-rnn vectors lstm --size p=4 --size T=3 -o lstm.json",
)
def vectors(
    cell: Annotated[str, CELL],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="PATH", help="Where to: .npz, .json or a folder."),
    ],
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Of the values.")] = 0,
    size: Annotated[
        list[str] | None,
        typer.Option(metavar="p=8", help="Size of a dim, of T or of B; may be repeated."),
    ] = None,
    loss: Annotated[str | None, LOSS] = None,
    layout: Annotated[
        str | None,
        typer.Option(metavar="LAYOUT", help="As this library holds its arrays (see `layouts`)."),
    ] = None,
) -> int:
    """Write inputs, cotangents and gradients to 30 digits, for code that is not Python."""
    from gradcheck_rnn import api
    from gradcheck_rnn.cli import printing

    sizes = printing.read_sizes(size or [])
    api.write_vectors(cell, output, seed=seed, sizes=sizes, loss=loss, layout=layout)
    return 0


@app.command(
    cls=Once,
    epilog="Example: gradcheck-rnn decay elman lstm --size p=8 --steps 50",
)
def decay(
    cell: Annotated[
        list[str],
        typer.Argument(metavar="CELL...", help="Of the zoo, or file.py:name; several compare."),
    ],
    weights: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help=".npz, .safetensors or .pt; may be repeated."),
    ] = None,
    inputs: Annotated[
        Path | None,
        typer.Option("--input", metavar="FILE", help="A .txt or .csv file; random if left out."),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(metavar="T", help="Steps; 500, or as long as the input is.")
    ] = None,
    init: Annotated[
        str,
        typer.Option(help="How weights are drawn: normal, uniform, orthogonal, identity, zero."),
    ] = "normal",
    start: Annotated[
        str,
        typer.Option(
            metavar="zeros|drawn|FILE",
            help="Where the trajectory starts; FILE has arrays by state.",
        ),
    ] = "zeros",
    draws: Annotated[
        int, typer.Option(metavar="N", min=1, help="Also λ₁ over so many draws of weights.")
    ] = 1,
    gain: Annotated[float, typer.Option(help="Factor on drawn weights.")] = 1.0,
    size: Annotated[
        list[str] | None, typer.Option(metavar="p=64", help="Size of a dim; may be repeated.")
    ] = None,
    burn_in: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="Steps before exponents count.")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Of drawn weights and inputs.")] = 0,
    loss: Annotated[str | None, LOSS] = None,
    remedies: Annotated[
        bool, typer.Option("--remedies/--no-remedies", help="Try what usually helps.")
    ] = True,
    device: Annotated[Backend, typer.Option(help="Where products are computed.")] = "numpy",
    as_json: Annotated[bool, JSON] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="PATH", help="A report (.html, .pdf) or picture (.png, .svg)."
        ),
    ] = None,
) -> int:
    """See where the gradient goes: decay against lag, Lyapunov exponents, causes, remedies."""
    from gradcheck_rnn.cli import decaying

    return decaying.decay(
        cell, weights=weights or [], inputs=inputs, steps=steps, init=init, gain=gain,
        start=start, draws=draws,
        sizes=size or [], burn_in=burn_in, seed=seed, loss=loss, remedies=remedies,
        device=device, as_json=as_json, output=output,
    )  # fmt: skip


@app.command(
    cls=Once,
    epilog="Example: gradcheck-rnn report gru -o gru.html",
)
def report(
    cell: Annotated[str, CELL],
    output: Annotated[
        list[Path],
        typer.Option(
            "--output", "-o", metavar="PATH", help="out.html, out.pdf or out.typ; may be repeated."
        ),
    ],
    notation: Annotated[
        Path | None, typer.Option(metavar="FILE.toml", help="Your own names for the symbols.")
    ] = None,
    loss: Annotated[str | None, LOSS] = None,
    slides: Annotated[
        bool, typer.Option("--slides", help="The equations on slides for a lecture, as .pdf.")
    ] = False,
) -> int:
    """Write how the gradient of a cell is derived, proved and verified, as HTML or PDF."""
    from gradcheck_rnn.cli import commands

    return commands.report(cell, output, notation=notation, loss=loss, slides=slides)
