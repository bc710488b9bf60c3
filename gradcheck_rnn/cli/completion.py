"""Completion of commands, options, cells and layouts in a shell.

The shell asks by an environment variable that holds the words after the program's name, one a
line, the last one unfinished, and a line with a full stop at the end.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, get_args

import typer

from gradcheck_rnn.api import Backend, Form, Format, Layout, Undecided
from gradcheck_rnn.errors import UsageError

__all__ = ["answer", "complete", "script"]

VARIABLE = "_GRADCHECK_RNN_COMPLETE"
#: Options that take one of a few words.
CHOICES = {
    "--form": Form, "--format": Format, "--layout": Layout, "--backend": Backend,
    "--undecided": Undecided,
}  # fmt: skip
SCRIPTS = {
    "bash": """_gradcheck_rnn() {
    local asked=$(printf '%s\\n' "${COMP_WORDS[@]:1:COMP_CWORD}"; echo .)
    mapfile -t COMPREPLY < <(VARIABLE="$asked" "$1")
    COMPREPLY=("${COMPREPLY[@]// /\\\\ }")
}
complete -o default -F _gradcheck_rnn gradcheck-rnn""",
    "zsh": """#compdef gradcheck-rnn
_gradcheck_rnn() {
    local -a found
    found=("${(@f)$(VARIABLE="$(print -rl -- "${(@)words[2,CURRENT]}"; echo .)" gradcheck-rnn)}")
    compadd -a found
    _files
}
compdef _gradcheck_rnn gradcheck-rnn""",
    "fish": """function _gradcheck_rnn
    set -l words (commandline -opc)[2..] (string unescape -- (commandline -ct)) .
    env VARIABLE=(string join \\n -- $words | string collect) gradcheck-rnn
end
complete -c gradcheck-rnn -a '(_gradcheck_rnn)'""",
}


def script(shell: str | None) -> None:
    """Print what a shell has to run to complete our commands.

    Raises
    ------
    UsageError
        Another shell.
    """
    if shell is None:
        return
    if shell not in SCRIPTS:
        raise UsageError(f"no completion for {shell!r}; there is one for {', '.join(SCRIPTS)}")
    typer.echo(SCRIPTS[shell].replace("VARIABLE", VARIABLE))
    raise typer.Exit


def complete(group: Any) -> bool:
    """Answer a shell that asks; whether one did."""
    asked = os.environ.get(VARIABLE)
    if asked is None:
        return False
    *before, unfinished = asked.split("\n")[:-1] or [""]
    for word in answer(group, before, unfinished):
        typer.echo(word)
    return True


def answer(group: Any, before: list[str], unfinished: str) -> list[str]:
    """What the unfinished word can become after those before it."""
    command = group.commands.get(before[0]) if before else None
    if command is None:
        found: Iterable[str] = [*([] if before else group.commands), *_options(group)]
    elif unfinished.startswith("-"):
        found = _options(command)
    else:
        found = _values(command, before[-1])
    return [word for word in found if word.startswith(unfinished)]


def _options(command: Any) -> list[str]:
    return ["--help", *(o for p in command.params for o in p.opts if o.startswith("--"))]


def _values(command: Any, last: str) -> Iterable[str]:
    """Choices of an option that comes last, or what the arguments of the command can be."""
    from gradcheck_rnn import api

    option = next((p for p in command.params if last in p.opts and last.startswith("-")), None)
    if option is not None and not getattr(option, "is_flag", False):
        known = {"LAYOUT": _layouts, "CELL": api.names}
        if option.metavar in known:
            return known[option.metavar]()
        return [str(c) for c in get_args(CHOICES.get(last))]
    names = {p.name for p in command.params if p.param_type_name == "argument"}
    if names & {"cell", "target"}:
        return api.names()
    return _layouts() if "layout" in names else []


def _layouts() -> list[str]:
    from gradcheck_rnn import api

    return [row["name"] for row in api.layouts()]
