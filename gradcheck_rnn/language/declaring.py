"""`@cell`: a Python function with its declared names becomes a `Cell`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from ..errors import DefinitionError
from .cell import Cell
from .dims import ONE, Dim, Shape, parse_dim, parse_group
from .domains import parse_domains
from .given import split_given
from .input_lags import with_input_lags

__all__ = ["cell"]


def _heads(title: str, heads: str) -> Dim:
    """The dim of the axis of heads."""
    if not heads:
        return ONE
    number = parse_dim(heads)
    if number.lone is None:
        raise DefinitionError(f"cell {title!r}: heads={heads!r} is no name of a dim; write H")
    return number


def _lags_of(
    title: str, own: str, wanted: Any, kind: str | None, into: dict[str, tuple[int, ...]]
) -> None:
    """Enter the lags of a state, or those of an input."""
    if kind not in ("state", "input", "data"):
        raise DefinitionError(
            f"cell {title!r}: lags name {own!r}, which is not a state, an input or data"
        )
    first = 1 if kind == "state" else 0
    wanted = (wanted,) if isinstance(wanted, int) else tuple(wanted)
    if not any(wanted) or any(not isinstance(k, int) or k < first for k in wanted):
        which = "integers from 0 on, one of them positive" if first == 0 else "positive integers"
        raise DefinitionError(f"cell {title!r}: lags of {own!r} must be {which}")
    into[own] = tuple(sorted(set(wanted)))


def cell(
    function: Callable[..., Any] | None = None,
    *,
    inputs: str | Mapping[str, str] = "",
    states: str | Mapping[str, str] = "",
    params: str | Mapping[str, str] = "",
    data: str | Mapping[str, str] = "",
    fixed: str | Mapping[str, Any] = "",
    outputs: str = "",
    heads: str = "",
    lags: Mapping[str, tuple[int, ...]] | None = None,
    name: str = "",
    what: str = "",
    source: str = "",
    domains: Mapping[str, str] | None = None,
    at_least: Mapping[str, float] | None = None,
    at_most: Mapping[str, float] | None = None,
) -> Any:
    """Declare a cell.

    Parameters
    ----------
    inputs, data : str
        Per-step vectors, differentiated or not: ``"x: d"``. Scalars have an empty shape.
        ``"A: n m"`` is a matrix for every sequence; with one, and with a matrix state, vectors
        are columns that ``k @ v.T`` and ``S.T @ q`` take as NumPy takes a stack of matrices.
    states : str
        Recurrent states, ``"h c: p"`` or ``"S: n m"``; the definition gets h_{t−1} as ``h``.
    params, fixed : str
        Parameters, trained or not: ``"W: p p; U: p d; b: p"``. Fixed ones may have given values:
        ``{"P": array}``, or ``{"P": ("n n", np.eye)}`` with a function of the sizes. Checks,
        vectors and decay use them; in generated modules arrays and functions of NumPy, alone or as
        ``partial(np.eye, k=-1)``, are constants that need not be passed; other functions' values
        are arguments. Proofs hold for any values.
    outputs : str
        Names a step hands out, ``"h y"``; by default the states.
    heads : str
        The axis of heads, ``"H"``: ``"S: H n m"``, ``"W: H n d"`` and ``"g: H"`` are a matrix, a
        block of weights and a scalar for every head. The definition is that of one head, with
        what the heads share beside it, and `sum_heads` sums over them.
    lags : mapping, optional
        ``{"h": (1, 3)}``: the definition gets ``h[1]`` and ``h[3]``. ``{"x": (0, 1)}`` of an
        input or data: ``x[0]`` is that of the step, ``x[1]`` that of the step before, which a
        state ``x_last`` keeps; its start is what comes before the first step.
    what, source : str
        One line for the catalogue, and where the equations are from.
    domains : mapping, optional
        Where values lie, ``{"target": "one-hot", "mask": "0/1", "tau": ">= 1"}``; see
        `gradcheck_rnn.language.domains` for the texts. Values drawn for checks are inside; of a
        state it is the domain of its start.
    at_least, at_most : mapping, optional
        Short for one end alone: ``at_least={"tau": 1.0}`` is the domain ``">= 1"``.

    A last argument ``**rest`` of the function receives the declared names it does not list.

    Returns
    -------
    Cell
        The definition returns the new states and the outputs: a dict by name, or a tuple in the
        order states, then outputs.

    Raises
    ------
    DefinitionError
        The function's arguments and the declared names differ, or a lag is not positive.
    """

    def declare(fn: Callable[..., Any]) -> Cell:
        shapes: dict[str, Shape] = {}
        kinds: dict[str, str] = {}
        title = name or fn.__name__
        shaped, given = split_given(title, fixed)
        groups = {"input": inputs, "data": data, "state": states, "param": params, "fixed": shaped}
        number = _heads(title, heads)
        for kind, spec in groups.items():
            for key, shape in parse_group(spec, heads).items():
                if key in shapes:
                    raise DefinitionError(
                        f"cell {title!r}: {key!r} is both {kinds[key]} and {kind}"
                    )
                if kind in ("input", "data", "state"):
                    shape = replace(shape, batch=True)
                shapes[key], kinds[key] = shape, kind
        signature = inspect.signature(fn).parameters.values()
        order = tuple(a.name for a in signature if a.kind is not a.VAR_KEYWORD)
        open_ended = any(a.kind is a.VAR_KEYWORD for a in signature)
        for missing in (n for n in order if n not in shapes):
            raise DefinitionError(
                f"cell {title!r}: argument {missing!r} is not declared; add it to inputs, states, "
                "params, data or fixed with its dims"
            )
        for extra in (n for n in shapes if n not in order and not open_ended):
            raise DefinitionError(
                f"cell {title!r}: {kinds[extra]} {extra!r} is declared but not an argument of "
                "the function"
            )
        state_names = [n for n, k in kinds.items() if k == "state"]
        read: dict[str, tuple[int, ...]] = dict.fromkeys(state_names, (1,))
        earlier: dict[str, tuple[int, ...]] = {}
        for own, wanted in (lags or {}).items():
            _lags_of(title, own, wanted, kinds.get(own), earlier if own not in read else read)
        where = parse_domains(f"cell {title!r}", shapes, kinds, domains, at_least, at_most)
        for both in (n for n in given if n in where):
            raise DefinitionError(f"cell {title!r}: {both!r} has given values and a domain")
        if not state_names and not outputs:
            raise DefinitionError(f"cell {title!r} has neither a state nor an output")
        made = Cell(
            title,
            fn,
            shapes,
            kinds,
            read,
            tuple(outputs.split()) or tuple(state_names),
            what or (inspect.getdoc(fn) or "").split("\n")[0],
            source,
            {**where, **given},
            number,
        )
        return with_input_lags(made, earlier) if earlier else made

    return declare(function) if function is not None else declare
