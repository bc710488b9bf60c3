"""`Cell`: one Python function in NumPy notation is the definition of a recurrent cell.

Called with arrays it is one step of the forward pass (the oracle); called by the tracer it gives
the equations. Nothing is reserved for the zoo.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from ..errors import DefinitionError, DimensionError
from .dims import ONE, Dim, Shape, current_dims, sequences_in_front
from .domains import Domain
from .notebooks import cell_html
from .stacks import to_back, to_front
from .values import ArrayValue

__all__ = ["Cell", "Delays"]

#: What traces a cell; entered by `tracing`.
TRACERS: list[Callable[[Cell], Any]] = []


class Delays(Mapping[int, Any]):
    """A state or input read at several lags: ``h[1]`` is h_{t−1}, ``h[3]`` is h_{t−3}."""

    def __init__(self, name: str, values: Mapping[int, Any]) -> None:
        self._name, self._values = name, dict(values)

    def __getitem__(self, lag: int) -> Any:
        try:
            return self._values[lag]
        except (KeyError, TypeError):
            what = "input" if 0 in self._values else "state"
            raise DefinitionError(
                f"{what} {self._name!r} is declared with lags {tuple(self._values)}, not {lag}"
            ) from None

    def __iter__(self) -> Any:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


@dataclass(frozen=True)
class Cell:
    """A declared cell.

    Attributes
    ----------
    function : callable
        The definition, called with the declared names as keywords.
    shapes : mapping
        Name → Shape of every declared name (the batch flag set for what differs by sequence).
    kinds : mapping
        Name → one of input, data, state, param, fixed.
    lags : mapping
        State → the lags at which it is read.
    outputs : tuple of str
        What a step hands out, in order; states unless declared otherwise.
    domains : mapping
        Name → the set that its values lie in, where one is declared (τ ≥ 1 in a leaky unit).
    heads : Dim
        How many heads there are; one where the cell declares none.
    kept : mapping
        State that keeps the past of an input or data → which (see `input_lags`).
    """

    name: str
    function: Callable[..., Any]
    shapes: Mapping[str, Shape]
    kinds: Mapping[str, str]
    lags: Mapping[str, tuple[int, ...]]
    outputs: tuple[str, ...]
    what: str = ""
    source: str = ""
    domains: Mapping[str, Domain] = field(default_factory=dict)
    heads: Dim = ONE
    kept: Mapping[str, str] = field(default_factory=dict)
    # Array shapes seen → sizes of dims: a scan checks the same shapes at every step.
    _seen: dict[tuple[Any, ...], dict[str, int]] = field(
        default_factory=dict, compare=False, repr=False
    )

    def _repr_html_(self) -> str:
        return cell_html(self)

    def of_kind(self, *kinds: str) -> tuple[str, ...]:
        return tuple(n for n, k in self.kinds.items() if k in kinds)

    @property
    def states(self) -> tuple[str, ...]:
        return self.of_kind("state")

    @property
    def params(self) -> tuple[str, ...]:
        return self.of_kind("param")

    @property
    def keeps_data(self) -> frozenset[str]:
        """States that keep the past of data: nothing is differentiated there."""
        return frozenset(s for s, own in self.kept.items() if self.kinds[own] == "data")

    @property
    def matrices(self) -> tuple[str, ...]:
        """Inputs, data and states that are a matrix for every sequence."""
        return tuple(n for n, shape in self.shapes.items() if shape.stack)

    @cached_property
    def front(self) -> bool:
        """Whether a definition takes the batch in front (see `stacks`).

        With vectors that have a product of dims too, as `unvec` makes matrices of them.
        """
        folded = any(s.batch and s.rows.product for s in self.shapes.values())
        return self.heads != ONE or folded or bool(self.matrices)

    @cached_property
    def headed(self) -> frozenset[str]:
        """States and outputs that every head has for itself."""
        made = TRACERS[0](self).equations if self.heads != ONE else ()
        return frozenset(e.name for e in made if e.shape.headed)

    @property
    def dims(self) -> tuple[str, ...]:
        """Names of all dims in order of first mention."""
        seen: dict[str, None] = {}
        for shape in self.shapes.values():
            names = (*shape.heads.names, *shape.rows.names, *shape.cols.names)
            seen.update(dict.fromkeys(names))
        return tuple(seen)

    @property
    def place(self) -> str:
        """File and line of the definition."""
        code = inspect.unwrap(self.function).__code__
        return f"{code.co_filename}:{code.co_firstlineno}"

    def collect(self, returned: Any) -> dict[str, Any]:
        """Bring what the definition returned to name → value; raises if a state is missing."""
        wanted = tuple(dict.fromkeys((*self.states, *self.outputs)))
        if isinstance(returned, Mapping):
            out = dict(returned)
        elif isinstance(returned, tuple | list):
            if len(returned) != len(wanted):
                raise DefinitionError(
                    f"cell {self.name!r} ({self.place}) returns {len(returned)} values; expected "
                    f"{len(wanted)}: {', '.join(wanted)}"
                )
            out = dict(zip(wanted, returned, strict=True))
        elif returned is None:
            out = {}
        else:
            out = {wanted[0]: returned} if len(wanted) == 1 else {}
            if not out:
                raise DefinitionError(
                    f"cell {self.name!r} ({self.place}) returns one value; expected "
                    f"{', '.join(wanted)} as a tuple or a dict"
                )
        for missing in (n for n in wanted if n not in out):
            what = "state" if missing in self.states else "output"
            raise DefinitionError(
                f"cell {self.name!r} ({self.place}): {what} {missing!r} is never assigned; "
                f"return it, as in return {{{missing!r}: ...}}"
            )
        for extra in (n for n in out if n not in wanted):
            raise DefinitionError(
                f"cell {self.name!r} ({self.place}) returns {extra!r}, which is neither a state "
                f"nor an output; declare it with outputs='{' '.join((*self.outputs, extra))}'"
            )
        return out

    @contextmanager
    def running(self, sizes: Mapping[str, int]) -> Iterator[None]:
        """While the definition runs on arrays: the sizes of its dims, and where the batch is."""
        dims, front = current_dims.set(sizes), sequences_in_front.set(self.front)
        try:
            yield
        finally:
            current_dims.reset(dims)
            sequences_in_front.reset(front)

    def step(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """One step of the forward pass on arrays in ``(…, n, B)``, matrices ``(…, n, m, B)``.

        What every head has for itself has their axis before its own, ``(…, H, n, B)``.

        Parameters
        ----------
        values : mapping
            Every declared name; a state read at several lags is a mapping lag → array.
            Parameters of one dim are columns ``(n, 1)``.

        Returns
        -------
        dict
            The new states and the outputs by name.

        Raises
        ------
        DimensionError
            A missing name, or arrays that do not fit the declared dims (named).
        """
        arguments: dict[str, Any] = {}
        shapes: list[tuple[str, tuple[int, ...]]] = []
        front, heads = self.front, self.heads != ONE
        for name, declared in self.shapes.items():
            if name not in values:
                raise DimensionError(
                    f"cell {self.name!r}: no array for {self.kinds[name]} {name!r}"
                )
            given = values[name]
            if name in self.lags and self.lags[name] != (1,):
                shapes += [(name, np.shape(v)) for v in given.values()]
                line = {k: to_front(v, declared, heads) if front else v for k, v in given.items()}
                arguments[name] = Delays(name, {k: ArrayValue(v) for k, v in line.items()})
            else:
                shapes.append((name, np.shape(given)))
                arguments[name] = ArrayValue(to_front(given, declared, heads) if front else given)
        key = tuple(shapes)
        sizes = self._seen.get(key)
        if sizes is None:
            sizes = self._seen[key] = self._sizes(shapes)
        with self.running(sizes):
            returned = self.collect(self.function(**arguments))
        made = {
            n: v.array if isinstance(v, ArrayValue) else np.asarray(v) for n, v in returned.items()
        }
        if not front:
            return made
        return {n: to_back(a, n in self.matrices, heads, n in self.headed) for n, a in made.items()}

    def _sizes(self, shapes: list[tuple[str, tuple[int, ...]]]) -> dict[str, int]:
        """Sizes of the dims from arrays; raises where they disagree."""
        sizes: dict[str, tuple[int, str]] = {}
        sums, before = False, -1
        # p + q tells q, but only if no array tells it alone; and then d + p + q may tell d.
        while not sums or len(sizes) > before:
            before = len(sizes) if sums else -1
            for name, actual in shapes:
                self._measure(name, self.shapes[name], actual, sizes, sums)
            sums = True
        return {n: size for n, (size, _) in sizes.items()}

    def _measure(
        self,
        name: str,
        shape: Shape,
        actual: tuple[int, ...],
        sizes: dict[str, tuple[int, str]],
        sums: bool,
    ) -> None:
        axes = 2 + shape.stack + shape.headed
        if len(actual) < axes:
            wanted = "(…, n, m, B)" if shape.stack else "(…, n, B), parameters of one dim (n, 1)"
            if shape.headed:
                wanted = wanted.replace("(…, ", "(…, H, ").replace("(n, 1)", "(H, n, 1)")
            raise DimensionError(
                f"cell {self.name!r}: {name!r} has array shape {actual}; inside a definition "
                f"arrays are {wanted}"
            )
        checks = [(shape.rows, actual[-3 if shape.stack else -2])]
        if shape.headed:
            checks.append((shape.heads, actual[-axes]))
        if shape.stack:
            checks.append((shape.cols, actual[-2]))
        elif not shape.batch:
            checks.append((shape.cols, actual[-1]))
        for dim, size in checks:
            self._match(name, shape, dim, size, actual, sizes, sums)

    def _match(
        self,
        name: str,
        shape: Shape,
        dim: Dim,
        size: int,
        actual: tuple[int, ...],
        sizes: dict[str, tuple[int, str]],
        sums: bool,
    ) -> None:
        unknown = [n for n in dim.names if n not in sizes]
        if len(unknown) == 1 and (sums or len(dim.names) == 1):
            told = dim.solved(unknown[0], {n: s for n, (s, _) in sizes.items()}, size)
            if told is not None:
                sizes[unknown[0]] = (told, name)
                return
            raise DimensionError(
                f"cell {self.name!r}: {name!r} is declared {shape} but its array has shape "
                f"{actual}: no size of {unknown[0]} makes {dim} equal to {size}"
            )
        if unknown:
            return  # a sum of dims, of which more than one has no size yet
        expected = dim.size({n: s for n, (s, _) in sizes.items()})
        if expected != size:
            first = (
                sizes[dim.names[0]][1] if dim.names and dim.names[0] in sizes else "the definition"
            )
            raise DimensionError(
                f"cell {self.name!r}: {name!r} is declared {shape} but its array has shape "
                f"{actual}: {dim} is {expected} by {first!r}"
            )

    def __call__(self, **values: Any) -> dict[str, Any]:
        """`step` with keywords."""
        return self.step(values)

    def __repr__(self) -> str:
        return f"<cell {self.name}>"
