"""Gradient cases: a function in a Python file that names a loss, its gradient and a point.

from gradcheck_rnn import gradient_case

@gradient_case
def lstm():
    return loss, gradient, {"W": W, "b": b}

``gradcheck-rnn verify file.py`` collects and checks them; so can any other door.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, overload

from ..errors import GradcheckError, UsageError
from .blackbox import check_gradient
from .outcome import Report
from .trees import Tree

__all__ = ["GradientCase", "check_cases", "collect_cases", "gradient_case"]

#: Where the decorator notes the cases of a file, in file order, so that two functions of one name
#: are seen both and not only the later one.
REGISTER = "__gradient_cases__"
OPTIONS = ("mode", "seed", "budget", "select", "resolve")
NEEDED = ("loss", "gradient", "parameters")


@dataclass(frozen=True)
class Problem:
    """What a case returned: the arguments of `check_gradient`."""

    loss: Callable[..., Any]
    gradient: Callable[..., Any] | None
    parameters: Any
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class GradientCase:
    """A function that names a loss, a gradient and parameters; calling it calls the function.

    Attributes
    ----------
    function : callable
        The user's function, without arguments.
    name : str
        Its name in reports and on the command line (``file.py:name``).
    """

    function: Callable[[], Any]
    name: str

    @property
    def line(self) -> int:
        """The line of its definition."""
        return int(inspect.unwrap(self.function).__code__.co_firstlineno)

    @property
    def path(self) -> str:
        """The file of its definition."""
        return str(inspect.unwrap(self.function).__code__.co_filename)

    def __call__(self) -> Any:
        return self.function()

    def build(self) -> Problem:
        """Call the function and sort what it returned.

        Raises
        ------
        UsageError
            It returned something else than (loss, gradient, parameters) or a mapping with these
            and options. Exceptions of the function itself propagate unchanged.
        """
        made = self.function()
        if isinstance(made, Mapping):
            return self._from_mapping(made)
        if not isinstance(made, tuple) or len(made) != len(NEEDED):
            size = f" of {len(made)}" if isinstance(made, tuple) else ""
            raise UsageError(
                f"case {self.name!r} returned a {type(made).__name__}{size}; return "
                "(loss, gradient, parameters), or a dict with these names and options"
            )
        loss, gradient, parameters = made
        return self._problem(loss, gradient, parameters, {})

    def _from_mapping(self, made: Mapping[Any, Any]) -> Problem:
        for name in NEEDED:
            if name not in made:
                raise UsageError(
                    f"case {self.name!r} returned a dict without {name!r}; it needs "
                    f"{', '.join(NEEDED)} (gradient None if the loss returns both)"
                )
        options = {k: v for k, v in made.items() if k not in NEEDED}
        for name in options:
            if name not in OPTIONS:
                raise UsageError(
                    f"case {self.name!r} has the option {name!r}, which does not exist; there are "
                    f"{', '.join(OPTIONS)}"
                )
        return self._problem(made["loss"], made["gradient"], made["parameters"], options)

    def _problem(
        self, loss: Any, gradient: Any, parameters: Any, options: Mapping[str, Any]
    ) -> Problem:
        for what, value in (("loss", loss), ("gradient", gradient)):
            if not callable(value) and not (what == "gradient" and value is None):
                raise UsageError(
                    f"case {self.name!r}: its {what} is a {type(value).__name__}, not a function; "
                    "return the function itself, not its value"
                )
        return Problem(loss, gradient, parameters, options)

    def parameter_names(self) -> list[str]:
        """Names of the parameters that have a gradient."""
        tree = Tree.of(self.build().parameters)
        return [tree.names[i] for i in tree.real]

    def check(
        self,
        *,
        seed: int | str | None = None,
        budget: int | str | None = None,
        select: str | Iterable[str] | None = None,
    ) -> Report:
        """Run the case.

        Parameters
        ----------
        seed, budget, select
            As in `check_gradient`; what is given here wins over the case's own options.

        Returns
        -------
        Report
            Its title is the case's name.

        Raises
        ------
        GradcheckError
            Misuse, with the case's name. Exceptions of the user's functions propagate unchanged.
        """
        asked = {"seed": seed, "budget": budget, "select": select}
        problem = self.build()
        options = {**problem.options, **{k: v for k, v in asked.items() if v is not None}}
        try:
            report = check_gradient(
                problem.loss, problem.gradient, problem.parameters, title=self.name, **options
            )
        except GradcheckError as error:
            # A file has many cases; check_gradient knows the parameter but not whose it is.
            raise type(error)(f"case {self.name!r}: {error}") from error
        report.place = (self.path, self.line)
        return report


@overload
def gradient_case(function: Callable[[], Any], *, name: str = "") -> GradientCase: ...
@overload
def gradient_case(
    function: None = None, *, name: str = ""
) -> Callable[[Callable[[], Any]], GradientCase]: ...
def gradient_case(
    function: Callable[[], Any] | None = None, *, name: str = ""
) -> GradientCase | Callable[[Callable[[], Any]], GradientCase]:
    """Mark a function without arguments as a gradient case.

    Parameters
    ----------
    function : callable
        Returns ``(loss, gradient, parameters)`` as `check_gradient` takes them, or a dict with
        these names and any of the options mode, seed, budget, select, resolve.
    name : str, optional
        Another name than the function's, for cases made in a loop.

    Returns
    -------
    GradientCase
        Still callable like the function.

    Raises
    ------
    UsageError
        What is decorated is not a function, or takes arguments.
    """

    def mark(fn: Callable[[], Any]) -> GradientCase:
        if not inspect.isfunction(fn):
            raise UsageError(
                f"gradient_case marks a function, not a {type(fn).__name__}; write it above a def"
            )
        required = [
            p.name
            for p in inspect.signature(fn).parameters.values()
            if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        ]
        if required:
            raise UsageError(
                f"gradient case {fn.__name__!r} takes {', '.join(required)}; a case has no "
                "arguments, give them defaults"
            )
        case = GradientCase(fn, name or fn.__name__)
        fn.__globals__.setdefault(REGISTER, []).append(case)
        return case

    return mark if function is None else mark(function)


def collect_cases(module: ModuleType, path: str = "") -> list[GradientCase]:
    """The cases of a file that has been run, in file order; those it imports by name follow.

    Parameters
    ----------
    module : ModuleType
        The module.
    path : str, optional
        The file's name for messages.

    Raises
    ------
    UsageError
        Two cases have one name.
    """
    where = path or module.__name__
    found: list[GradientCase] = list(vars(module).get(REGISTER, ()))
    for value in vars(module).values():
        if isinstance(value, GradientCase) and not any(value is case for case in found):
            found.append(value)
    lines: dict[str, int] = {}
    for case in found:
        if case.name in lines:
            raise UsageError(
                f"{where}:{case.line}: a second case is named {case.name!r} (the first is in line "
                f"{lines[case.name]}); rename one, or give name= to gradient_case"
            )
        lines[case.name] = case.line
    return found


def check_cases(
    cases: Sequence[GradientCase],
    *,
    seed: int | str | None = None,
    budget: Callable[[int], int | str | None] = lambda _: None,
    select: str | Iterable[str] | None = None,
) -> Iterator[Report]:
    """Check cases one after the other; each yields its report as soon as it is there.

    Parameters
    ----------
    cases : sequence of GradientCase
        What to check.
    seed : int or str, optional
        As in `check_gradient`, for all cases.
    budget : callable, optional
        Given the number of cases that are left, the budget of the next.
    select : str or iterable of str, optional
        Parameters to check; a case that has none of them is left out.

    Raises
    ------
    UsageError
        `select` names a parameter that no case has, or a case is misused. Exceptions of the
        user's functions propagate unchanged.
    """
    wanted = None if select is None else [select] if isinstance(select, str) else list(select)
    names: dict[str, list[str]] = {}
    if wanted is not None:
        names = {case.name: case.parameter_names() for case in cases}
        known = [n for own in names.values() for n in own]
        for name in wanted:
            if name not in known:
                raise UsageError(
                    f"select names {name!r}, which is no parameter; choose from "
                    f"{', '.join(dict.fromkeys(known))}"
                )
        cases = [case for case in cases if set(wanted) & set(names[case.name])]
    for k, case in enumerate(cases):
        own = None if wanted is None else [n for n in wanted if n in names[case.name]]
        yield case.check(seed=seed, budget=budget(len(cases) - k), select=own)
