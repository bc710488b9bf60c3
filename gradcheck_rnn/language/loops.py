"""A step that is repeated within a time step: substeps of a solver, layers that share weights.

On arrays the repeated step runs as often as it is written. Traced, it is met once: the cell's
equations are those of one substep, its states go from substep to substep, and what hands them
their values at the next time step is the last one. So that this is the same, states enter the
loop as they are, are read in it only, and leave it as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from ..errors import DefinitionError, UnsupportedOperation
from .expression_nodes import nodes_of
from .values import Expr

__all__ = ["Repeated", "at_most", "count_of", "recorded_loops", "repeat", "substeps_of"]


@dataclass(frozen=True)
class Repeated:
    """A traced loop: how often, the values that enter it, and those of one substep behind it."""

    count: int
    starts: tuple[Expr, ...]
    results: tuple[Any, ...]


#: Loops of the definition being traced; ``None`` outside a trace.
recorded_loops: ContextVar[list[Repeated] | None] = ContextVar("recorded_loops", default=None)

_limit: ContextVar[int | None] = ContextVar("substeps", default=None)


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
        All states of the cell, as the definition gets them.

    Returns
    -------
    value or tuple
        The states after the last substep, which the definition returns as they are.

    Raises
    ------
    UnsupportedOperation
        The count is no positive integer, or the step returns another number of values.
    """
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise UnsupportedOperation(f"repeat: the count is {count!r}; write a positive integer")
    if not states:
        raise UnsupportedOperation("repeat: write the states behind the step, repeat(10, f, h)")
    if any(isinstance(s, Expr) for s in states):
        return _traced(count, step, states)
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
            raise UnsupportedOperation(
                "repeat takes the states as the definition gets them; carry what else changes from "
                "substep to substep as a state, and write what enters once in a cell of its own"
            )
    # Copies: what reads a state itself reads it outside of the loop.
    inside = [Expr(s.op, (), s.shape, s.data) for s in states]
    made = _returned(step(*inside), len(states))
    if loops is not None:
        loops.append(Repeated(count, states, made))
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
    DefinitionError
        A state does not go through the loop alone; the message names it.
    """
    if not loops:
        return 1
    if len(loops) > 1:
        raise DefinitionError(
            f"cell {title!r}: {len(loops)} loops in a step; put the second one in a cell of its own"
        )
    (loop,) = loops
    behind = {id(s): made for s, made in zip(loop.starts, loop.results, strict=True)}
    for n, s in states.items():
        if id(s) not in behind:
            raise DefinitionError(
                f"cell {title!r}: state {n!r} does not go through repeat; hand all states to it, "
                "one that stays as it is returned unchanged by the step"
            )
        if results[n] is not behind[id(s)]:
            raise DefinitionError(
                f"cell {title!r}: state {n!r} is changed behind repeat; it leaves the loop as it "
                "is: put the change in the repeated step, or in a cell of its own"
            )
    names = {id(s): n for n, s in states.items()}
    for result in results.values():
        for e in nodes_of(result):
            if id(e) in names:
                raise DefinitionError(
                    f"cell {title!r}: state {names[id(e)]!r} is read outside of the repeated step; "
                    "read the argument of the step, or put it in a cell of its own"
                )
    return loop.count
