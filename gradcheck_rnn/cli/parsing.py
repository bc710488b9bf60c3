"""Commands as they read their arguments: options once, and a project's own."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import typer.core

from gradcheck_rnn.errors import GradcheckError, UsageError

__all__ = ["Once", "Verify", "defaults"]


class Once(typer.core.TyperCommand):
    """A command that refuses an option that is given twice: the last would win silently."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse as usual, after a look at how often each option comes."""
        _, _, order = self.make_parser(ctx).parse_args(args=list(args))
        seen = set()
        for parameter in order:
            if parameter.param_type_name == "option" and not (
                parameter.multiple or parameter.is_eager
            ):
                if parameter.name in seen:
                    names = "/".join((*parameter.opts, *parameter.secondary_opts))
                    raise UsageError(f"{names} is given twice; give it once")
                seen.add(parameter.name)
        if not any(parameter.is_eager for parameter in order):
            self.project(ctx, {parameter.name for parameter in order})
        return list(super().parse_args(ctx, args))

    def project(self, ctx: Any, given: set[Any]) -> None:
        """Take what the user's project says; most commands have no options there."""


class Verify(Once):
    """The command whose options a project may have in its pyproject.toml."""

    def project(self, ctx: Any, given: set[Any]) -> None:
        """Options of the table stand where the command line gives none."""
        parameters = {parameter.name: parameter for parameter in self.params}
        ctx.default_map = defaults(
            given, lambda name, value: parameters[name].process_value(ctx, value)
        )


OPTIONS = ("seed", "budget", "undecided", "jobs", "shapes", "timeout", "memory", "github", "report")
#: An option of the command line -> those of the table that make no sense beside it.
BESIDE = {
    "against": ("seed", "budget", "jobs", "shapes", "timeout", "memory"),
    "dask": ("jobs", "timeout", "memory"),
    "shape": ("jobs", "shapes"),
}


def defaults(
    given: Collection[str], convert: Callable[[str, Any], Any], folder: Path | None = None
) -> dict[str, Any]:
    """Values for the options that are not given on the command line.

    Parameters
    ----------
    given : collection of str
        Names of the options that are.
    convert : callable
        ``convert(name, value)`` as the command line would; raises what it would.
    folder : Path, optional
        Where to look for the project; by default the working folder.

    Raises
    ------
    UsageError
        A key that is no option, or a value that the option does not take; names file and key.
    """
    from gradcheck_rnn.loading import suggest
    from gradcheck_rnn.project import TABLE, find_options

    found = find_options(Path.cwd() if folder is None else folder)
    if found is None:
        return {}
    path, table = found
    shown = path.name if path.parent == Path.cwd() else str(path)
    values = {}
    for key, value in table.items():
        if key == "pythonpath":
            continue
        if key not in OPTIONS:
            raise UsageError(
                f"{shown}: [tool.{TABLE}] {suggest(key, (*OPTIONS, 'pythonpath'), 'key')}"
            )
        try:
            values[key] = _plain(key, value)
            _check(key, convert(key, values[key]))
        except Exception as error:
            if not isinstance(error, GradcheckError) and not hasattr(error, "format_message"):
                raise
            told = getattr(error, "message", None) or str(error)
            raise UsageError(f"{shown}: [tool.{TABLE}] {key}: {told}") from None
    silent = {name for option in given for name in BESIDE.get(option, ())}
    return {key: value for key, value in values.items() if key not in silent}


def _plain(key: str, value: Any) -> Any:
    """The value as a command line has it.

    Raises
    ------
    UsageError
        It has a type that the option does not have.
    """
    if key == "github":
        if not isinstance(value, bool):
            raise UsageError("write true or false")
        return value
    if key == "report":
        names = [value] if isinstance(value, str) else value
        if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
            raise UsageError('write a file or a list of files, as ["found.html"]')
        return names
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise UsageError(f"{value!r} is neither a text nor a number")
    return str(value)


def _check(key: str, value: Any) -> None:
    """What the command would say later, without the name of the file."""
    from gradcheck_rnn.cli.verifying import read_budget
    from gradcheck_rnn.verify.blackbox import parse_seed
    from gradcheck_rnn.verify.limits import Limits
    from gradcheck_rnn.verify.target import Budget

    if key == "seed" and value != "fresh":
        parse_seed(value)
    elif key == "budget":
        Budget(read_budget(value))
    elif key in ("timeout", "memory"):
        Limits.parse(**{"timeout": None, "memory": None, key: value})
