"""Reference pages that are made from the code: commands, layouts, cells, the API."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradcheck_rnn

__all__ = ["write"]


def write(folder: Path) -> None:
    """Write all pages; a page that has not changed is left alone."""
    folder.mkdir(exist_ok=True)
    pages = {
        "notebook": notebook,
        "commands": commands,
        "layouts": layouts,
        "cells": cells,
        "api": api,
        "language": language,
    }
    for name, make in pages.items():
        text, path = "\n".join(make()) + "\n", folder / f"{name}.md"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def notebook() -> Iterator[str]:
    """The tutorial that is a notebook: its text and its code."""
    from gradcheck_rnn.notebook import cells_of

    for cell in cells_of(Path(__file__).parent / "tutorials" / "notebook.ipynb"):
        yield f"```python\n{cell.text}\n```\n" if cell.kind == "code" else f"{cell.text}\n"
    yield "{download}`The notebook <../tutorials/notebook.ipynb>`"


def commands() -> Iterator[str]:
    """Every command with its arguments and options."""
    import click
    import typer.main

    from gradcheck_rnn.cli.app import app

    group: Any = typer.main.get_command(app)
    yield "# Commands\n"
    yield "Exit codes: 0 pass, 1 fail, 2 misuse, 3 undecided.\n"
    for name, command in group.commands.items():
        yield f"## gradcheck-rnn {name}\n"
        context = click.Context(command, info_name=f"gradcheck-rnn {name}")
        yield f"```text\n{command.get_help(context)}\n```\n"


def layouts() -> Iterator[str]:
    """The ready layouts, as Python to start from."""
    from gradcheck_rnn import api

    yield "# Layouts\n"
    yield (
        "What a layout can say is told in [the guide](../verifying.md); these are ready, as "
        '`layout="pytorch lstm"`. Axes: T steps, B sequences, n units.\n'
    )
    for title, name in (("Notation", "layout"), ("Names and options", "ready")):
        module = importlib.import_module(f"gradcheck_rnn.verify.harness.{name}")
        yield f"## {title}\n\n```{{eval-rst}}\n{inspect.getdoc(module)}\n```\n"
    for row in api.layouts():
        yield f"## {row['name']}\n\n{row['what']} Cell: `{row['cell']}`.\n"
        of = "gru" if row["cell"] == "any" else None
        yield f"```python\n{api.layout_source(row['name'], of).strip()}\n```\n"


def cells() -> Iterator[str]:
    """The zoo, with equations."""
    from gradcheck_rnn import api

    yield "# Cells and networks\n"
    yield "`gradcheck-rnn derive NAME` derives each, `gradcheck-rnn cells NAME` shows its arrays.\n"
    for name in api.names():
        shown = api.describe_cell(name)
        yield f"## {name}\n\n```text\n{shown['text'].strip()}\n```\n"


def api() -> Iterator[str]:
    """Everything that can be imported from the package."""
    import inspect

    yield "# API\n"
    for name in gradcheck_rnn.__all__:
        if name.startswith("__"):
            continue
        value = getattr(gradcheck_rnn, name)
        kind, members = ("class", "\n   :members:") if inspect.isclass(value) else ("function", "")
        yield f"## {name}\n"
        yield f"```{{eval-rst}}\n.. auto{kind}:: gradcheck_rnn.{name}{members}\n```\n"


def language() -> Iterator[str]:
    """What a definition of a cell may call, and what a network hands from scan to scan."""
    from gradcheck_rnn import language as names

    yield "# Functions of a definition\n"
    yield "All are imported from `gradcheck_rnn.language`.\n"
    values = {name: getattr(names, name) for name in names.__all__}
    table = {n: v for n, v in values.items() if not inspect.isroutine(v) and not inspect.isclass(v)}
    yield "```{list-table}\n:header-rows: 1\n\n* - name\n  - value"
    for name, value in table.items():
        yield f"* - `{name}`\n  - {(inspect.getdoc(value) or '').splitlines()[0]}"
    yield "```\n"
    for name, value in values.items():
        if inspect.isroutine(value) and name != "cell":
            yield f"## {name}\n"
            yield f"```{{eval-rst}}\n.. autofunction:: gradcheck_rnn.language.{name}\n```\n"
    yield "## Values of a network\n"
    yield "```{eval-rst}\n.. autoclass:: gradcheck_rnn.language.network.Ref\n   :members:\n```\n"
