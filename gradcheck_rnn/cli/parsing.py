"""Commands as they read their arguments: options once, and a project's own."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import typer.core

from gradcheck_rnn.errors import UsageError

__all__ = ["Once", "Verify", "defaults"]


class Once(typer.core.TyperCommand):
    """A command that refuses an option that is given twice: the last would win silently.

    And one whose path is empty, as that of a variable that is not set: it means this folder.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse as usual, after a look at how often each option comes, and with which path."""
        values, _, order = self.make_parser(ctx).parse_args(args=list(args))
        seen = set()
        for parameter in order:
            if parameter.param_type_name == "option" and not (
                parameter.multiple or parameter.is_eager
            ):
                if parameter.name in seen:
                    raise UsageError(f"{_names(parameter)} is given twice; give it once")
                seen.add(parameter.name)
            if _is_path(parameter):
                given = values[parameter.name]
                if "" in (given if parameter.multiple else [given]):
                    raise UsageError(f"{_names(parameter)} is empty; give a path")
        if not any(parameter.is_eager for parameter in order):
            given = {parameter.name for parameter in order}
            self.project(ctx, given, values.get("target") or ())
        return list(super().parse_args(ctx, args))

    def project(self, ctx: Any, given: set[Any], targets: Sequence[str]) -> None:
        """Take what the user's project says; most commands have no options there."""


def _names(parameter: Any) -> str:
    return "/".join((*parameter.opts, *parameter.secondary_opts))


def _is_path(parameter: Any) -> bool:
    """Whether it is an option that takes a path: its word for one in the help says so."""
    return parameter.param_type_name == "option" and any(
        word in (parameter.metavar or "") for word in ("PATH", "FILE", "FOLDER")
    )


class Verify(Once):
    """The command whose options a project may have in its pyproject.toml."""

    def project(self, ctx: Any, given: set[Any], targets: Sequence[str]) -> None:
        """Options of the table stand where the command line gives none."""
        from gradcheck_rnn.cli.verifying import holds_results

        if holds_results(targets):  # a folder of vectors is judged, as a file with --against is
            given = {*given, "against"}
        parameters = {parameter.name: parameter for parameter in self.params}
        ctx.default_map = defaults(
            given, lambda name, value: parameters[name].process_value(ctx, value)
        )


#: An option of the command line -> those of the table that make no sense beside it.
BESIDE = {
    "against": ("seed", "budget", "jobs", "shapes", "timeout", "memory"),
    "dask": ("jobs", "timeout", "memory"),
    "shape": ("jobs", "shapes"),
}


def defaults(given: Collection[str], convert: Callable[[str, Any], Any]) -> dict[str, Any]:
    """Values for the options that are not given on the command line.

    Parameters
    ----------
    given : collection of str
        Names of the options that are.
    convert : callable
        ``convert(name, value)`` as the command line would; raises what it would.

    Raises
    ------
    UsageError
        As `read_options`.
    """
    from gradcheck_rnn.verify.project_options import read_options

    silent = {name for option in given for name in BESIDE.get(option, ())}
    return {k: v for k, v in read_options(convert=convert).items() if k not in silent}
