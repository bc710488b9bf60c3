"""The plan of probes: at which points, with which cotangents, so that faults cannot hide.

A fault shows only where its effect survives. Hence: a single step (the pattern of what is wrong is
sharpest there), every output's cotangent alone (the path through a last state is not lost in a
sum), single time steps, recurrent weights of spectral radius one over many steps (nothing
vanishes, long lags count; drawn anew where nothing comes through all the same), saturated units,
exact zeros, other batch sizes, and dims that tell rows from columns, in the other order of their
sizes, too: code may take one for another where it is the smaller one. (Where code raises at that
point alone, it is left out and the report says so.) Then every size that is declared, one axis at a
time, and the sizes around a declared chunk or tile. Shapes that the code does not take are declared
and then left out, which the report says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import UsageError
from ...language.domains import Domain
from ...language.network import Network, Ref, Scan
from ...language.running import array_shape, run, to_columns
from ...streams import Stream, generator
from ..declared_sizes import around, listed_sizes
from ..oracle.directions import draw_direction
from ..points import Point, Role, draw_point
from .zero_values import with_zeros

__all__ = ["Case", "Hint", "Shapes", "answer", "plan_points", "wanted_sizes"]

Array = NDArray[Any]
Shapes = Mapping[str, int | Sequence[int]]
#: One block size for all axes (or dims), or one for each.
Hint = int | Mapping[str, int]
#: Steps of the points that are there for long lags.
LONG = 24
#: Steps up to which each has a cotangent of its own: a case costs as much as a step is long.
FEW = 12
#: Further draws of their point, if the end of the sequence answers its beginning by less, or not.
DRAWS, DEAD_DRAWS, LEAST = 12, 60, 1e-12
#: Factor on weights that saturates gates without leaving the domain of any function.
LARGE = 4.0
#: Factor on cotangents that wakes clipping inside a backward pass.
LOUD = 1024.0
LARGE_COTANGENTS = "large cotangents"


@dataclass(frozen=True)
class Case:
    """One set of cotangents: the definition's outputs that have one, in the public layout.

    ``step`` is the only time step with a cotangent (from 0), None for all.
    """

    label: str
    cotangents: Mapping[str, Array]
    step: int | None = None

    @property
    def loud(self) -> bool:
        """Whether the cotangents are large, to wake clipping."""
        return self.label.endswith(LARGE_COTANGENTS)


def _allowed(shapes: Shapes, name: str, wanted: int) -> int:
    """The allowed size that is nearest to the wanted one, not larger where possible, 0 last."""
    given = shapes.get(name)
    if given is None:
        return wanted
    if isinstance(given, range) and len(given):  # of a range every size is allowed
        return min(given, key=lambda n: (n == 0, abs(n - wanted), n))
    return min(listed_sizes(given), key=lambda n: (n == 0, abs(n - wanted), n))


def _listed(name: str, given: int | Sequence[int], least: int) -> list[int]:
    try:
        return listed_sizes(given, least=least)
    except UsageError as error:
        raise UsageError(f"shapes of {name!r}: {error}") from None


def wanted_sizes(
    network: Network, shapes: Shapes, chunk: Hint | None, tile: Hint | None
) -> dict[str, list[int]]:
    """Sizes to run by dim, time axis and ``"B"``: all that is declared, and those around blocks.

    Around a block only what the declaration allows.
    """
    countable = {*network.axes, "B"}  # a sequence of no steps, a batch of no sequences
    out = {n: _listed(n, given, 0 if n in countable else 1) for n, given in shapes.items()}
    for what, hint, names in (
        ("chunk", chunk, network.axes),
        ("tile", tile, tuple(network.dims)),
    ):
        if hint is None:
            continue
        if isinstance(hint, Mapping):
            for stranger in (n for n in hint if n not in names):
                raise UsageError(
                    f"{what} names {stranger!r}; {network.name!r} has {', '.join(names)}"
                )
        blocks = dict(hint) if isinstance(hint, Mapping) else dict.fromkeys(names, hint)
        for name, block in blocks.items():
            given = shapes.get(name)
            allowed = None if given is None else ([given] if isinstance(given, int) else given)
            more = [n for n in around(block) if allowed is None or n in allowed]
            out[name] = sorted({*out.get(name, []), *more})
    return out


def plan_points(
    network: Network,
    seed: int,
    shapes: Shapes | None = None,
    *,
    batch: int | None = None,
    full: bool = True,
    few: bool = False,
    chunk: Hint | None = None,
    tile: Hint | None = None,
) -> Iterator[Point]:
    """The points of a plan: the regimes, the smallest first, then all sizes that are asked for.

    Parameters
    ----------
    shapes : mapping, optional
        What the code takes: dim, time axis or ``"B"`` → one size, or the sizes allowed. Every
        size of a list is run; of a range its ends, the powers of two and their neighbours.
    batch : int, optional
        The only batch size of the layout.
    full : bool
        False: only one ordinary point, of the declared shapes.
    few : bool
        Only the three points of few steps: enough for the name of what is known to be wrong.
    chunk, tile : int or mapping, optional
        Sizes of the blocks that the code works in, along time and along dims: 1, C − 1, C, C + 1
        and 2C + 1 are run.

    Raises
    ------
    UsageError
        A name that the network does not have, or no size.
    """
    shapes = dict(shapes or {})
    if batch is not None:
        shapes["B"] = batch
    base = draw_point(network, seed)
    known = {*network.dims, *network.axes, "B"}
    for stranger in (n for n in shapes if n not in known):
        raise UsageError(f"shapes name {stranger!r}; {network.name!r} has {', '.join(known)}")
    wanted = wanted_sizes(network, shapes, chunk, tile)
    sizes = {n: _allowed(shapes, n, s) for n, s in base.sizes.items()}
    deepest = max(
        [max(s.lags) for scan in network.scans for s in scan.states] or [1]
    )  # fmt: skip
    recipes: list[tuple[Role, int, int, str, bool]] = [
        (Role.ONE_STEP, 1, 2, "ordinary", False),
        (Role.SHORT, max(3, deepest + 1), 2, "ordinary", True),
        (Role.ORDINARY, max(6, deepest + 3), 3, "ordinary", False),
        (Role.LONG, LONG, 2, "lasting", False),
        (Role.ONE_SEQUENCE, 4, 1, "lasting", False),
        (Role.SATURATED, 5, 2, "saturated", False),
        (Role.ZEROS, 4, 2, "zeros", False),
    ]
    if few:
        recipes = recipes[:3]
    elif not full:
        recipes = [(Role.ORDINARY, max(6, deepest + 3), 2, "ordinary", False)]
    seen: set[tuple[Any, ...]] = set()
    reached: set[tuple[str, int]] = set()
    for number, (role, steps, columns, regime, single) in enumerate(recipes):
        lengths = {
            a: _allowed(shapes, a, steps + (k if steps > 1 else 0))
            for k, a in enumerate(network.axes)
        }
        B = _allowed(shapes, "B", columns)
        key = (*lengths.values(), B, regime)
        if key in seen:
            continue
        seen.add(key)
        reached |= {*sizes.items(), *lengths.items(), ("B", B)}
        rng = generator(seed, Stream.PLAN, number)
        values = draw_values(network, sizes, B, lengths, regime, rng)
        if role is Role.LONG and B and all(lengths.values()):
            values = _alive(network, sizes, B, lengths, rng, values)
        left: dict[str, str] = {}
        if role is Role.ZEROS:
            values, left = with_zeros(network, values, lengths, rng)
        single = single and max(lengths.values(), default=1) <= FEW
        yield Point(
            network, values, dict(sizes), lengths, B, role,
            single_steps=single, without_zeros=left,
        )  # fmt: skip
    if few or not full:
        return
    least = max(3, deepest + 1)
    others = zip(sizes, reversed(sizes.values()), strict=True)
    turned = {n: _allowed(shapes, n, s) for n, s in others}
    changed = [f"{n} = {s}" for n, s in turned.items() if s != sizes[n]]
    if changed:
        reached |= set(turned.items())
        lengths = {a: _allowed(shapes, a, least + k) for k, a in enumerate(network.axes)}
        rng, B = generator(seed, Stream.PLAN, len(recipes)), _allowed(shapes, "B", 2)
        values = draw_values(network, turned, B, lengths, "ordinary", rng)
        label = ", ".join(changed)
        yield Point(network, values, turned, lengths, B, Role.REVERSED, label)
    for number, (name, size) in enumerate((n, s) for n, all_ in wanted.items() for s in all_):
        if (name, size) in reached:
            continue
        lengths = {a: _allowed(shapes, a, least + k) for k, a in enumerate(network.axes)}
        own, B = dict(sizes), _allowed(shapes, "B", 2)
        if name == "B":
            B = size
        elif name in lengths:
            lengths[name] = size
        else:
            own[name] = size
        rng = generator(seed, Stream.PLAN_SIZES, number)
        values = draw_values(network, own, B, lengths, "lasting", rng)
        yield Point(network, values, own, lengths, B, Role.SIZE, f"{name} = {size}")


def _alive(
    network: Network,
    sizes: Mapping[str, int],
    batch: int,
    lengths: Mapping[str, int],
    rng: np.random.Generator,
    values: dict[str, Array],
) -> dict[str, Array]:
    """These values, or others drawn until the end of the sequence answers its beginning."""
    best = answer(network, values, lengths)
    for count in range(DEAD_DRAWS):
        if best > LEAST or (best > 0 and count >= DRAWS):
            break
        others = draw_values(network, sizes, batch, lengths, "lasting", rng)
        if (now := answer(network, others, lengths)) > best:
            values, best = others, now
    return values


def draw_values(
    network: Network,
    sizes: Mapping[str, int],
    batch: int,
    lengths: Mapping[str, int],
    regime: str,
    rng: np.random.Generator,
) -> dict[str, Array]:
    """Values of everything a network is given, in one of the regimes."""
    out, domains = {}, network.domains
    for ref in (*network.parameters.values(), *network.inputs.values()):
        shape = array_shape(ref, sizes, batch=batch, lengths=lengths)
        out[ref.name] = _draw(ref, shape, domains.get(ref.name), regime, rng)
    return out


def _draw(
    ref: Ref, shape: tuple[int, ...], domain: Domain | None, regime: str, rng: np.random.Generator
) -> Array:
    if domain is not None:
        return domain.draw(rng, shape, data=ref.kind in ("data", "static_data"))
    array = np.asarray(rng.standard_normal(shape))
    if ref.kind in ("param", "fixed"):
        factor = LARGE if regime == "saturated" else 1.0
        if ref.shape.column:
            return 0.5 * factor * array
        if regime == "lasting" and shape[-2] == shape[-1]:
            radius = np.abs(np.linalg.eigvals(array)).max(axis=-1)[..., None, None]
            return np.asarray(array / np.maximum(radius, 1e-3))
        return factor * array / np.sqrt(shape[-1])
    if ref.kind in ("data", "static_data"):
        return array * (rng.random(shape) >= 0.25)
    return 0.5 * array if regime == "lasting" else array


def cases_of(point: Point, outputs: Mapping[str, Array], seed: int) -> list[Case]:
    """The cotangents of a point: all together, each output alone, each step alone.

    ``outputs`` are the outputs that the code hands out, in the public layout.
    """
    whole = {}
    for n, a in outputs.items():
        direction = draw_direction(a.shape, seed, f"{point.label}: cotangent of {n}")
        whole[n] = np.asarray(direction * np.sqrt(direction.size))
    cases = []
    if len(outputs) > 1 or not any(g.size for g in whole.values()):
        cases.append(Case("all outputs", whole))
    if point.role is Role.ORDINARY:
        # Clipping inside a backward pass sleeps until something is large.
        large = {n: LOUD * g for n, g in whole.items()}
        cases.append(Case(f"all outputs, {LARGE_COTANGENTS}", large))
    for n, g in whole.items():
        if not g.size:
            continue  # no step, no sequence: nothing comes in there
        cases.append(Case(f"{n} alone", {n: g}))
        sequence = point.network.outputs[n].axis is not None
        if sequence and len(g) > 1:
            # The first step's cotangent alone reaches the start only, the last one's everything.
            steps = range(len(g)) if point.single_steps else sorted({0, len(g) - 1})
            for t in steps:
                only = np.zeros_like(g)
                only[t] = g[t]
                cases.append(Case(f"{n} at step {t + 1} alone", {n: only}, t))
    if point.role is Role.ORDINARY:
        cases.append(Case("no cotangent", {n: np.zeros_like(g) for n, g in whole.items()}))
    return cases


#: A complex step: the answer is exact, however small.
STEP = 1e-100


def answer(network: Network, values: Mapping[str, Array], lengths: Mapping[str, int]) -> float:
    """The least that a recurrent scan's last state moves with its start and first inputs.

    Parameters
    ----------
    values, lengths
        Arrays in the public layout, and steps along each axis.

    Returns
    -------
    The largest derivative of an entry of the last state, of that scan where it is smallest; 1 for
    a network without recurrence.
    """
    refs = {**network.parameters, **network.inputs}
    columns = {n: to_columns(refs[n], a) for n, a in values.items()}
    least = 1.0
    for reverse in (False, True):
        scans = [s for s in network.scans if s.states and s.reverse is reverse]
        if not scans:
            continue
        with np.errstate(all="ignore"):
            nudged = _nudged(network, scans, columns)
            made = run(network, nudged, lengths, everything=True)["everything"]
        last = 0 if reverse else -1
        for scan in scans:
            felt = (np.max(np.abs(np.imag(made[s.name][last])), initial=0.0) for s in scan.states)
            least = min(least, float(max(felt)) / STEP)
    return least


def _nudged(network: Network, scans: list[Scan], columns: Mapping[str, Array]) -> dict[str, Array]:
    """The values with the starts of those scans and what they are given first moved a little."""
    starts = {s.name: _starts([s]) for s in network.scans}
    others = set().union(*starts.values()) - _starts(scans)
    out, first = dict(columns), -1 if scans[0].reverse else 0
    for n, ref in {**network.inputs, **network.parameters}.items():
        moves = ref.kind in ("input", "static") or n in _starts(scans)
        if not moves or n in others:
            continue
        out[n] = columns[n].astype(np.complex128)
        if ref.axis is None:
            out[n] += 1j * STEP
        else:
            out[n][first] += 1j * STEP
    return out


def _starts(scans: list[Scan]) -> set[str]:
    return {i.ref.name for s in scans for state in s.states for i in state.initial if i.ref}
