"""A step that is repeated within a time step: substeps of a solver, layers that share weights.

On arrays the repeated step runs as often as it is written. Traced, it is met once: the cell's
equations are those of one substep, its states go from substep to substep, and what hands them
their values at the next time step is the last one. That is the same if states enter the loop as
they are, are read in it only, and leave it as they are. A loop with other work beside it is written
out: the equations are those of all of its substeps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from ..errors import DefinitionError, UnsupportedOperation
from .expression_nodes import nodes_of
from .primitives import name
from .values import Expr

__all__ = [
    "NotAlone", "Repeated", "at_most", "count_of", "recorded_loops", "repeat", "substeps_of",
    "written_out",
]  # fmt: skip

#: Substeps of a loop that is written out, at most.
MOST = 20


class NotAlone(DefinitionError):
    """There is other work beside a loop, so that its equations cannot be those of one substep."""


@dataclass(frozen=True)
class Repeated:
    """A traced loop: how often, the values that enter it, and those of one substep behind it."""

    count: int
    starts: tuple[Expr, ...]
    results: tuple[Any, ...]


#: Loops of the definition being traced; ``None`` outside a trace.
recorded_loops: ContextVar[list[Repeated] | None] = ContextVar("recorded_loops", default=None)

_limit: ContextVar[int | None] = ContextVar("substeps", default=None)


_written_out: ContextVar[bool] = ContextVar("written_out", default=False)


@contextmanager
def written_out() -> Iterator[None]:
    """Inside the block traced loops are written out."""
    token = _written_out.set(True)
    try:
        yield
    finally:
        _written_out.reset(token)


@contextmanager
def at_most(count: int) -> Iterator[None]:
    """Inside the block loops run so often at most, in definitions and in derived programs."""
    token = _limit.set(count)
    try:
        yield
    finally:
        _limit.reset(token)


def count_of(written: int) -> int:
    """How often a loop runs that is written with this count."""
    limit = _limit.get()
    return written if limit is None else min(written, limit)


def repeat(count: int, step: Callable[..., Any], *states: Any) -> Any:
    """Apply a step to states several times: ``h = repeat(10, euler, h)``.

    Parameters
    ----------
    count : int
        How often. Equations, pages, proofs and the text of kernels do not depend on it.
    step : callable
        Takes the states and returns them anew, several as a tuple. What else it reads (inputs,
        parameters, what is made of them) is the same in all substeps.
    *states : value of a cell
        What goes from substep to substep: where it is not all states of the cell, as the definition
        gets them and returns them, the loop is written out, of 20 substeps at most.

    Returns
    -------
    value or tuple
        The values after the last substep.

    Raises
    ------
    UnsupportedOperation
        The count is no positive integer, or the step returns another number of values; a loop to
        be written out is too long.
    """
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise UnsupportedOperation(f"repeat: the count is {count!r}; write a positive integer")
    if not states:
        raise UnsupportedOperation("repeat: write the states behind the step, repeat(10, f, h)")
    if any(isinstance(s, Expr) for s in states) and not _written_out.get():
        return _traced(count, step, states)
    if _written_out.get():
        return _unrolled(count, step, states)
    made = states
    for _ in range(count_of(count)):
        made = _returned(step(*made), len(states))
    return made[0] if len(made) == 1 else made


def _returned(made: Any, count: int) -> tuple[Any, ...]:
    values = tuple(made) if isinstance(made, tuple | list) else (made,)
    if len(values) != count:
        raise UnsupportedOperation(
            f"repeat: the step takes {count} states and returns {len(values)} values"
        )
    return values


def _traced(count: int, step: Callable[..., Any], states: tuple[Any, ...]) -> Any:
    loops = recorded_loops.get()
    for s in states:
        if not isinstance(s, Expr) or s.op != "symbol" or s.symbol.kind != "state":
            raise NotAlone("repeat takes what is no state as the definition gets it")
    # Copies: what reads a state itself reads it outside of the loop.
    inside = [Expr(s.op, (), s.shape, s.data) for s in states]
    made = _returned(step(*inside), len(states))
    if loops is not None:
        loops.append(Repeated(count, states, made))
    return made[0] if len(made) == 1 else made


def _unrolled(count: int, step: Callable[..., Any], states: tuple[Any, ...]) -> Any:
    """The loop written out; states between substeps have their names with a number."""
    if count > MOST:
        raise UnsupportedOperation(
            f"repeat: {count} substeps would have to be written out here, which is done up to "
            f"{MOST}: beside other work in a step, backwards, in decay and in kernels of networks. "
            "States that enter the loop as they are and leave it as they are stay a loop"
        )
    names = [s.symbol.name if isinstance(s, Expr) and s.op == "symbol" else "" for s in states]
    made = states
    for k in range(1, count + 1):
        made = _returned(step(*made), len(states))
        if k < count:
            made = tuple(name(x, f"{n}_{k}") if n else x for x, n in zip(made, names, strict=True))
    return made[0] if len(made) == 1 else made


def substeps_of(
    title: str,
    loops: list[Repeated],
    states: Mapping[str, Any],
    results: Mapping[str, Expr],
) -> int:
    """How many substeps a step of a traced cell has.

    Parameters
    ----------
    states : mapping
        State → what the definition got as it.
    results : mapping
        What it returned by name.

    Raises
    ------
    NotAlone
        There is other work beside the loop.
    """
    if not loops:
        return 1
    if len(loops) > 1:
        raise NotAlone(f"cell {title!r}: {len(loops)} loops in a step")
    (loop,) = loops
    behind = {id(s): made for s, made in zip(loop.starts, loop.results, strict=True)}
    for n, s in states.items():
        if id(s) not in behind:
            raise NotAlone(f"cell {title!r}: state {n!r} does not go through repeat")
        if results[n] is not behind[id(s)]:
            raise NotAlone(f"cell {title!r}: state {n!r} is changed behind repeat")
    names = {id(s): n for n, s in states.items()}
    for result in results.values():
        for e in nodes_of(result):
            if id(e) in names:
                raise NotAlone(f"cell {title!r}: state {names[id(e)]!r} is read beside the loop")
    return loop.count
