"""Models from a network: sizes, initial weights and inputs by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ..calculus.terms import Diag, subterms
from ..derivation import Derivation, derive
from ..errors import DimensionError, UnsupportedOperation, UsageError
from ..language.dims import ONE
from ..language.network import Network, Ref
from ..language.stacks import entries_of, unflat
from ..language.unrolled import unrolled
from ..memory_limits import check_memory
from .inputs import BLOCK, InputSource, RandomInputs
from .system import Model

__all__ = ["INITS", "build", "draw", "orthogonal", "square_blocks"]

Array = np.ndarray[Any, Any]
#: Arrays of the size of a parameter, and of a Jacobian, that an analysis holds at a time.
COPIES, JACOBIANS = 3, 12
#: The size of a dim of a matrix state, or of a state of every head, that nothing tells.
STACKED = 6
INITS = ("normal", "uniform", "orthogonal", "identity", "zero")


def orthogonal(n: int, rng: np.random.Generator) -> Array:
    """An orthogonal matrix, uniform over the group (QR with the signs of R taken out)."""
    q, r = np.linalg.qr(rng.standard_normal((n, n)))
    return np.asarray(q * np.sign(np.diag(r)))


def square_blocks(matrix: Array) -> list[slice] | None:
    """Row ranges of the square blocks of ``(k p, p)`` packed weights; None for other shapes.

    Of several heads, ``(H, k p, p)``, those of their rows one below the other.
    """
    cols = matrix.shape[-1]
    if matrix.shape[-2] % cols:
        return None
    rows = matrix.size // cols
    return [slice(k, k + cols) for k in range(0, rows, cols)]


def draw(
    ref: Ref, sizes: Mapping[str, int], kind: str, rng: np.random.Generator, gain: float = 1.0
) -> Array:
    """One parameter as ``(n, k)``, or ``(H, n, k)``: vectors are zero, matrices as `kind` says.

    Parameters
    ----------
    kind : str
        ``normal``: N(0, gain²/columns); ``uniform``: U(±1/√rows), the default of PyTorch's
        recurrent layers; ``orthogonal`` and ``identity``: gain times such a matrix in every square
        block, normal elsewhere; ``zero``.
    """
    if kind not in INITS:
        raise UsageError(f"unknown initialisation {kind!r}; there are {', '.join(INITS)}")
    shape = (ref.shape.rows.size(sizes), ref.shape.cols.size(sizes))
    if ref.shape.headed:
        one = replace(ref, shape=replace(ref.shape, heads=ONE))
        heads = ref.shape.heads.size(sizes)
        return np.stack([draw(one, sizes, kind, rng, gain) for _ in range(heads)])
    if kind == "zero" or (ref.shape.column and kind != "uniform"):
        return np.zeros(shape)
    if kind == "uniform":
        return np.asarray(gain * rng.uniform(-1, 1, shape) / np.sqrt(max(shape[0], 1)))
    square = ref.shape.rows.names == ref.shape.cols.names and not shape[0] % shape[1]
    if kind in ("orthogonal", "identity") and square:
        blocks = range(shape[0] // shape[1])
        n = shape[1]
        made = [np.eye(n) if kind == "identity" else orthogonal(n, rng) for _ in blocks]
        return gain * np.concatenate(made)
    return np.asarray(gain * rng.standard_normal(shape) / np.sqrt(shape[1]))


def build(
    network: Network,
    *,
    sizes: Mapping[str, int] | None = None,
    parameters: Mapping[str, Any] | None = None,
    inputs: Mapping[str, InputSource] | None = None,
    init: str = "normal",
    gain: float = 1.0,
    scale: float = 1.0,
    seed: int = 0,
) -> Model:
    """A model of a network.

    Parameters
    ----------
    network : Network
        Repeated steps are written out.
    sizes : mapping, optional
        Dim → size; what parameters or inputs do not settle is 32 (hidden) or 16 (other dims).
    parameters : mapping, optional
        Name → array in the public shapes (``(p, p)``, ``(p,)``); what is left out is drawn.
    inputs : mapping, optional
        Name → source; what is left out is random.
    init, gain, scale, seed
        How weights are drawn (`draw`; vectors that multiply, such as peepholes, the diagonal of an
        IndRNN or the gain of a layer normalisation, are one), and the standard deviation of random
        inputs.

    Raises
    ------
    UsageError
        A name the network does not have.
    DimensionError
        An array that does not fit its declared dims.
    """
    network = unrolled(network)
    given = dict(parameters or {})
    feeds = dict(inputs or {})
    for name, ref in network.inputs.items():
        if steps := [d for d in ref.shape.axes if d.lone in network.axes]:
            raise UnsupportedOperation(
                f"{network.name!r}: decay draws no {name!r}, which has as many entries as "
                f"{steps[0]} has steps; make it a sequence and hand that on with whole()"
            )
    _known(network, given, feeds)
    settled = _sizes(network, given, feeds, dict(sizes or {}))
    _check_memory(network, settled)
    rng = np.random.default_rng(seed)
    derivation = derive(network)
    factors = _factors(derivation)
    values: dict[str, Array] = {}
    domains = network.domains
    for name, ref in network.parameters.items():
        made = draw(ref, settled, init, rng, gain)
        if name in factors and init != "zero":
            made = np.ones_like(made)
        if name in domains and name not in given:
            made = domains[name].draw_columns(rng, made.shape, data=False)
        if name in given:
            made = _checked(name, ref, np.asarray(given[name], dtype=float), settled)
        values[name] = made
    sources: dict[str, InputSource] = {}
    for k, (name, ref) in enumerate(network.inputs.items()):
        width = entries_of(ref.shape, settled)
        domain = domains.get(name)
        if ref.axis is None:
            start_value = np.zeros((width, 1))
            if domain is not None and domain.kind == "interval":
                start_value = domain.clip(start_value)
            elif domain is not None:
                start_value = domain.draw(rng, (1, width), data=False).T
            if name in given:
                start_value = np.asarray(given[name], dtype=float).reshape(width, 1)
            values[name] = unflat(start_value, ref.shape, settled)
        elif name in feeds:
            if feeds[name].width != width:
                raise DimensionError(
                    f"{network.name!r}: the input sequence {name!r} has {feeds[name].width} "
                    f"numbers a step, expected {width}"
                )
            sources[name] = feeds[name]
        else:
            # Data that say nothing of where they lie are real numbers, as inputs are.
            sources[name] = RandomInputs(width, scale=scale, seed=seed + 7919 * k, domain=domain)
    model = Model(network, settled, values, sources)
    model.__dict__["derivation"] = derivation
    return model


def _check_memory(network: Network, sizes: Mapping[str, int]) -> None:
    """Refuse sizes whose parameters and Jacobians do not fit into memory."""
    parameters = sum(entries_of(r.shape, sizes) for r in network.parameters.values())
    widths = sum(entries_of(r.shape, sizes) for r in network.inputs.values())
    joint = sum(
        entries_of(st.shape, sizes) * max(st.lags) for scan in network.scans for st in scan.states
    )
    check_memory(
        8 * (COPIES * parameters + BLOCK * widths + JACOBIANS * joint**2),
        f"{network.name!r} with {', '.join(f'{n} = {size}' for n, size in sizes.items())}",
        f"give smaller sizes; Jacobians of the {joint} entries of all states are held dense, "
        f"{joint} × {joint}",
    )


def _factors(derivation: Derivation) -> set[str]:
    """Vectors of parameters that multiply something: zero would cut it, one is neutral."""
    return {
        e.operand.name
        for e in derivation.edges
        if e.kind in ("param", "fixed")
        and e.operand.shape[1] == 1
        and any(isinstance(x, Diag) for x in subterms(e.jacobian))
    }


def _known(network: Network, given: Mapping[str, Any], feeds: Mapping[str, InputSource]) -> None:
    moving = [n for n, r in network.inputs.items() if r.axis is not None]
    still = [n for n in network.inputs if n not in moving]
    for name in given:
        if name not in network.parameters and name not in still:
            raise UsageError(
                f"{network.name!r} has no parameter {name!r}; it has "
                f"{', '.join([*network.parameters, *still])}"
            )
    for name in feeds:
        if name not in moving:
            raise UsageError(
                f"{network.name!r} has no input sequence {name!r}; it has "
                f"{', '.join(moving) or 'none'}"
            )


def _sizes(
    network: Network,
    given: Mapping[str, Any],
    feeds: Mapping[str, InputSource],
    asked: dict[str, int],
) -> dict[str, int]:
    """Sizes of all dims: from arrays, then what was asked for, then defaults."""
    found = dict(asked)
    facts: list[tuple[str, Any, int]] = []
    for name, array in given.items():
        ref = network.parameters.get(name) or network.inputs[name]
        shape = np.shape(array)
        dims = ref.shape.axes
        if len(shape) == len(dims):
            facts += [(name, d, n) for d, n in zip(dims, shape, strict=True)]
    # Of a matrix, or of heads, a source knows the product of the dims only.
    axes = {n: network.inputs[n].shape.axes or (ONE,) for n in feeds}
    facts += [(n, axes[n][0], source.width) for n, source in feeds.items() if len(axes[n]) == 1]
    for name, d, n in sorted(facts, key=lambda f: f[1].lone is None):
        unknown = [x for x in d.names if x not in found]
        if len(d.names) == 1 and unknown:
            told = d.solved(unknown[0], found, n)
            if told is not None:
                found[unknown[0]] = told
        if not [x for x in d.names if x not in found] and d.size(found) != n:
            raise DimensionError(
                f"{network.name!r}: {name!r} has a dim of {n} where {d} is {d.size(found)}"
            )
    states = [st.shape for s in network.scans for st in s.states]
    hidden = {n for shape in states for n in shape.rows.names}
    stacked = {
        n for shape in states if shape.stack or shape.headed
        for d in shape.axes for n in d.names
    }  # fmt: skip
    for dim in asked:
        if dim not in network.dims:
            raise UsageError(
                f"{network.name!r} has no dim {dim!r}; it has {', '.join(network.dims)}"
            )
    for dim in network.dims:
        small = dim in stacked
        found.setdefault(dim, STACKED if small else 32 if dim in hidden else 16)
    for dim, size in found.items():
        if size < 1:
            raise DimensionError(f"{network.name!r}: dim {dim} is {size}; sizes start at 1")
    return found


def _checked(name: str, ref: Ref, array: Array, sizes: Mapping[str, int]) -> Array:
    headed = (ref.shape.heads,) if ref.shape.headed else ()
    shape = tuple(d.size(sizes) for d in (*headed, ref.shape.rows, ref.shape.cols))
    declared = tuple(d.size(sizes) for d in ref.shape.axes)
    lone = not headed and ref.shape.scalar and array.size == 1
    if array.shape not in (declared, shape, shape[:-1] if ref.shape.column else shape) and not lone:
        raise DimensionError(f"{name!r} has shape {array.shape}, expected {declared}")
    if not np.isfinite(array).all():
        raise UsageError(f"{name!r} holds {int((~np.isfinite(array)).sum())} values not finite")
    return array.reshape(shape)
