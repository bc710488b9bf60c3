"""What the function of a gradient case returned, sorted: a loss with its gradient, or a model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UsageError
from ..notebook import file_of
from ..reading import read_bytes
from .blackbox import check_gradient
from .factories import largest
from .harness.jax_passes import is_jax
from .harness.modules import is_torch
from .harness.objects import is_object_code
from .oracle.directions import content_seed
from .outcome import Report
from .trees import Tree
from .verdict import Finding

if TYPE_CHECKING:
    from ..language.cell import Cell
    from ..language.network import Network
    from .harness.layout import Layout
    from .harness.plan import Hint, Shapes

__all__ = ["Implements", "ModelProblem", "Problem", "sort_model", "sort_problem"]

OPTIONS = ("mode", "seed", "budget", "select", "resolve", "shapes")
NEEDED = ("loss", "gradient", "parameters")
FUNCTIONS = ("forward", "backward", "gradient", "loss", "module")


@dataclass(frozen=True)
class Problem:
    """The arguments of `check_gradient`."""

    loss: Callable[..., Any]
    gradient: Callable[..., Any] | None
    parameters: Any
    options: Mapping[str, Any] = field(default_factory=dict)

    def entries(self) -> dict[str, int]:
        """Parameters that have a gradient, and how many entries each has."""
        tree = Tree.of(largest(self.parameters, self.options.get("shapes")))
        return {tree.names[i]: tree.leaves[i].size for i in tree.real}

    def chosen(self) -> dict[str, int]:
        """Those of `entries` that the case itself selects."""
        own = self.options.get("select")
        names = [own] if isinstance(own, str) else own
        return {n: s for n, s in self.entries().items() if names is None or n in names}

    def check(
        self,
        title: str,
        seed: int | str | None,
        budget: int | str | None,
        select: str | Iterable[str] | None,
    ) -> Report:
        """Run `check_gradient`; what is given here wins over the case's own options."""
        asked = {"seed": seed, "budget": budget, "select": select}
        options = {**self.options, **{k: v for k, v in asked.items() if v is not None}}
        return check_gradient(self.loss, self.gradient, self.parameters, title=title, **options)


@dataclass(frozen=True)
class Implements:
    """What a model case says its code implements, and how; see `check_model`.

    Attributes
    ----------
    model : Cell or Network
        The definition.
    layout, dtype, accumulate, shapes, chunk, tile, array, repeats
        As in `check_model`.
    """

    model: Cell | Network
    layout: Layout | str | None = None
    dtype: Any = "float64"
    shapes: Shapes | None = None
    array: str | Callable[[Any], Any] = "numpy"
    accumulate: Any = None
    chunk: Hint | None = None
    tile: Hint | None = None
    repeats: int = 0


@dataclass(frozen=True)
class ModelProblem:
    """The arguments of `check_model`; `path` is the file whose text the default seed is made of."""

    implements: Implements
    functions: Mapping[str, Callable[..., Any]]
    path: str

    def definition(self) -> Network:
        """The definition as a network."""
        from ..language.network import as_network

        return as_network(self.implements.model)

    def entries(self) -> dict[str, int]:
        """Arrays that have a gradient; sizes are the plan's, so each counts as one."""
        from .harness.layout import Layout
        from .harness.ready import ready

        layout = self.implements.layout
        if layout is None:
            layout = Layout.of(self.definition())
        elif isinstance(layout, str):
            layout = ready(layout, self.definition())
        return dict.fromkeys([*layout.parameters, *layout.inputs], 1)

    chosen = entries

    def check(
        self,
        title: str,
        seed: int | str | None,
        budget: int | str | None,
        select: str | Iterable[str] | None,
    ) -> Report:
        """Run `check_model`; with a budget, at one point instead of all of its plan."""
        from .diagnosis.check import check_model

        said = self.implements
        functions: dict[str, Any] = dict(self.functions)
        report = check_model(
            self.definition(), **functions, layout=said.layout, dtype=said.dtype,
            accumulate=said.accumulate, shapes=said.shapes, chunk=said.chunk, tile=said.tile,
            array=said.array, repeats=said.repeats, plan="full" if budget is None else "point",
            seed=self._seed() if seed is None else seed, select=select, title=title,
        )  # fmt: skip
        if budget is not None:
            report.findings.append(
                Finding(
                    "budget",
                    "with a budget, model mode looks at one ordinary point: other shapes, "
                    "saturation and long sequences went unseen",
                )
            )
        return report

    def _seed(self) -> int:
        """From the file under test: a rerun repeats, a changed file gets other points."""
        path = Path(file_of(self.path))
        text = read_bytes(path, "file") if path.is_file() else self.path.encode()
        return content_seed([np.frombuffer(text, dtype=np.uint8)])


def sort_problem(name: str, made: Any) -> Problem:
    """Sort what a case returned: (loss, gradient, parameters), or a dict with these and options.

    Raises
    ------
    UsageError
        It is something else; the message names the case.
    """
    if isinstance(made, Mapping):
        for needed in NEEDED:
            if needed not in made:
                raise UsageError(
                    f"case {name!r} returned a dict without {needed!r}; it needs "
                    f"{', '.join(NEEDED)} (gradient None if the loss returns both)"
                )
        options = {k: v for k, v in made.items() if k not in NEEDED}
        for option in options:
            if option not in OPTIONS:
                raise UsageError(
                    f"case {name!r} has the option {option!r}, which does not exist; there are "
                    f"{', '.join(OPTIONS)}"
                )
        loss, gradient, parameters = (made[n] for n in NEEDED)
    elif isinstance(made, tuple) and len(made) == len(NEEDED):
        loss, gradient, parameters = made
        options = {}
    else:
        raise UsageError(
            f"case {name!r} returned {_kind(made)}; return (loss, gradient, parameters), or a "
            "dict with these names and options"
        )
    _functions(name, {"loss": loss, "gradient": gradient} if gradient else {"loss": loss})
    return Problem(loss, gradient, parameters, options)


def sort_model(name: str, made: Any, implements: Implements, path: str) -> ModelProblem:
    """Sort what a model case returned: (forward, backward), a class, a module, or a dict by name.

    Raises
    ------
    UsageError
        It is something else; the message names the case.
    """
    if is_torch(made) or is_jax(made) or is_object_code(made):
        made = {"module": made}
    if isinstance(made, tuple) and len(made) == 2:
        made = dict(zip(("forward", "backward"), made, strict=True))
    if not isinstance(made, Mapping) or not set(made) <= set(FUNCTIONS) or not made:
        raise UsageError(
            f"case {name!r} returned {_kind(made)}; a case with model= returns (forward, "
            "backward), a class with these methods, a PyTorch module, a JAX function made by "
            f"jax.custom_vjp or jax.jit, or a dict of {', '.join(FUNCTIONS)}"
        )
    _functions(name, made)
    return ModelProblem(implements, dict(made), path)


def _kind(made: Any) -> str:
    size = f" of {len(made)}" if isinstance(made, tuple) else ""
    named = f" with {', '.join(map(repr, made))}" if isinstance(made, Mapping) else ""
    return f"{_a(made)}{size}{named}"


def _a(value: Any) -> str:
    kind = type(value).__name__
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def _functions(name: str, functions: Mapping[str, Any]) -> None:
    for what, value in functions.items():
        if not callable(value):
            raise UsageError(
                f"case {name!r}: its {what} is {_a(value)}, not a function; return "
                "the function itself, not its value"
            )
