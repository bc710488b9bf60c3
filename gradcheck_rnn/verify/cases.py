"""Gradient cases: a function in a Python file that names a loss, its gradient and a point.

from gradcheck_rnn import gradient_case

@gradient_case
def lstm():
    return loss, gradient, {"W": W, "b": b}

@gradient_case(model=load("lstm"), layout="lecture lstm")
def lstm_term_by_term():
    return forward, backward

``gradcheck-rnn verify file.py`` collects and checks them; so can any other door.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from types import ModuleType
from typing import TYPE_CHECKING, Any, overload

from ..errors import GradcheckError, UsageError
from .outcome import Report
from .problems import Implements, ModelProblem, Problem, sort_model, sort_problem

if TYPE_CHECKING:
    from ..language.cell import Cell
    from ..language.network import Network

__all__ = ["GradientCase", "check_cases", "collect_cases", "gradient_case"]

#: Where the decorator notes the cases of a file, in file order, so that two functions of one name
#: are seen both and not only the later one.
REGISTER = "__gradient_cases__"
#: Functions that do not run when they are called.
WAITING = {
    inspect.iscoroutinefunction: "an async def", inspect.isasyncgenfunction: "an async def",
    inspect.isgeneratorfunction: "a generator (it has a yield)",
}  # fmt: skip


@dataclass(eq=False)
class GradientCase:
    """A function that names a loss, a gradient and parameters; calling it calls the function.

    Attributes
    ----------
    function : callable
        The user's function, without arguments.
    name : str
        Its name in reports and on the command line (``file.py:name``).
    implements : Implements or None
        The definition that the code implements, in model mode.
    place : (str, int), optional
        File and line of what is under test, where that is not the function.
    pytestmark : list
        What pytest's marks (``@pytest.mark.xfail``) put on a test, written above or below.
    """

    function: Callable[[], Any]
    name: str
    implements: Implements | None = None
    place: tuple[str, int] | None = None
    pytestmark: list[Any] = field(default_factory=list, repr=False)

    @property
    def __name__(self) -> str:
        """The function's name: what pytest's marks ask for before they mark something."""
        return self.function.__name__

    @property
    def line(self) -> int:
        """The line of its definition."""
        if self.place is not None:
            return self.place[1]
        return int(inspect.unwrap(self.function).__code__.co_firstlineno)

    @property
    def path(self) -> str:
        """The file of its definition."""
        if self.place is not None:
            return self.place[0]
        return str(inspect.unwrap(self.function).__code__.co_filename)

    def __call__(self) -> Any:
        return self.function()

    def build(self) -> Problem | ModelProblem:
        """Call the function and sort what it returned.

        Raises
        ------
        UsageError
            It returned something else than a case returns. Exceptions of the function itself
            propagate unchanged.
        """
        made = self.function()
        if self.implements is None:
            return sort_problem(self.name, made)
        return sort_model(self.name, made, self.implements, self.path)

    def parameter_names(self) -> list[str]:
        """Names of the parameters that have a gradient."""
        return list(self.build().entries())

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
            As in `check_gradient`; what is given here wins over the case's own options. Model
            mode has a plan of its own: any budget makes it one point.

        Returns
        -------
        Report
            Its title is the case's name.

        Raises
        ------
        GradcheckError
            Misuse, with the case's name. Exceptions of the user's functions propagate unchanged.
        """
        try:
            report = self.build().check(self.name, seed, budget, select)
        except GradcheckError as error:
            # A file has many cases; the check knows the parameter but not whose it is.
            text = str(error)
            named = text if text.startswith("case ") else f"case {self.name!r}: {text}"
            raise type(error)(named) from error
        report.place = (self.path, self.line)
        return report


@overload
def gradient_case(function: Callable[[], Any], *, name: str = "") -> GradientCase: ...
@overload
def gradient_case(
    function: None = None,
    *,
    name: str = "",
    model: Cell | Network | None = None,
    **implements: Any,
) -> Callable[[Callable[[], Any]], GradientCase]: ...
def gradient_case(
    function: Callable[[], Any] | None = None,
    *,
    name: str = "",
    model: Cell | Network | None = None,
    **implements: Any,
) -> GradientCase | Callable[[Callable[[], Any]], GradientCase]:
    """Mark a function without arguments as a gradient case.

    Parameters
    ----------
    function : callable
        Returns ``(loss, gradient, parameters)`` as `check_gradient` takes them, or a dict with
        these names and any of the options mode, seed, budget, select, resolve. With `model` it
        returns ``(forward, backward)`` as `check_model` takes them, a class or object with these
        methods, a PyTorch module or function class, or a dict with any of forward, backward,
        gradient, loss, module.
    name : str, optional
        Another name than the function's, for cases made in a loop.
    model : Cell or Network, optional
        What the code implements (``load("lstm")``): a wrong term is then named.
    **implements
        ``layout``, ``dtype``, ``accumulate``, ``shapes``, ``chunk``, ``tile``, ``array`` and
        ``repeats`` of `check_model`, beside `model`.

    Returns
    -------
    GradientCase
        Still callable like the function.

    Raises
    ------
    UsageError
        What is decorated is not a function, is an ``async def`` or a generator, or takes
        arguments; an option that does not exist or that goes with `model` alone.
    """
    if isinstance(model, str):
        raise UsageError(
            f"gradient_case: model={model!r} is a name; give the definition, load({model!r}) "
            "(from gradcheck_rnn import load)"
        )
    known = [f.name for f in fields(Implements)][1:]
    for option in implements:
        if option not in known or model is None:
            raise UsageError(
                f"gradient_case has no option {option!r}"
                + (f"; beside model= there are {', '.join(known)}" if option not in known else "")
                + (" without model=" if option in known else "")
            )
    said = None if model is None else Implements(model, **implements)

    def mark(fn: Callable[[], Any]) -> GradientCase:
        if not inspect.isfunction(fn):
            raise UsageError(
                f"gradient_case marks a function, not a {type(fn).__name__}; write it above a def"
            )
        for asks, what in WAITING.items():
            if asks(fn):
                raise UsageError(
                    f"gradient case {fn.__name__!r} is {what}, which gives nothing when it is "
                    "called; write a plain def that returns what is to be checked"
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
        case = GradientCase(fn, name or fn.__name__, said)
        case.pytestmark = list(getattr(fn, "pytestmark", ()))
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
