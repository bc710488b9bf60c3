"""From what a user names (a network, a weight file, an input file) to a model."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..checks import check_choice, check_flag, check_real, check_sizes, check_whole, shown
from ..errors import UsageError
from ..language.cell import Cell
from ..language.network import Network
from .accumulate import QRProduct, array_module
from .analysis import Analysis, analyse, check_steps
from .draws import spread
from .initial_conditions import read_start, started
from .initialisation import INITS, build
from .inputs import InputSource, OneHot, Rows, from_file, loss_data
from .system import Model, System
from .threads import few_threads
from .torch_layout import Layers, find_layers, network_of
from .trajectory import forward
from .weights import match_names, read_weights

__all__ = ["follow", "model_of", "with_weight_file"]

Array = np.ndarray[Any, Any]
MOST_STEPS, MOST_DRAWS = 10**12, 10_000


def follow(
    network: Network,
    weights: Path | None,
    layers: Mapping[str, Cell],
    join: Cell,
    *,
    inputs: str | os.PathLike[str] | Mapping[str, InputSource] | None = None,
    steps: int | None = None,
    sizes: Mapping[str, int] | None = None,
    init: str = "normal",
    gain: float = 1.0,
    seed: int = 0,
    start: str | os.PathLike[str] | Mapping[str, Any] = "zeros",
    draws: int = 1,
    burn_in: int | None = None,
    remedies: bool = True,
    device: str = "numpy",
    name: str = "",
    progress: Callable[[str, int, int], None] | None = None,
    announce: Callable[[float], None] = lambda seconds: None,
) -> list[Analysis]:
    """Analyse every recurrence of a network.

    Parameters
    ----------
    weights, layers, join
        As in `with_weight_file`; None draws the weights.
    inputs : path or mapping, optional
        A ``.txt`` or ``.csv`` file, or name → source; random when left out.
    steps : int, optional
        Length of the trajectory; 500, or as long as the input is.
    sizes : mapping, optional
        Dim → size.
    init : {"normal", "uniform", "orthogonal", "identity", "zero"}
        How weights are drawn, times `gain`.
    start : {"zeros", "drawn"}, path or mapping
        Where the trajectory starts: as the definition says (zeros, or what the weight file has for
        an initial state), at normal random numbers, or at arrays by state (`starting.read`).
    draws : int
        Also measure λ₁ for so many draws of weights, inputs and drawn starts in all, this one
        counted: seed, seed + 1, …
    burn_in : int, optional
        Steps before the exponents count; a tenth when left out.
    remedies : bool
        Also try the usual remedies.
    device : {"numpy", "cupy"}
        Where products and QR are computed.
    name : str
        What the model is called.
    progress : callable, optional
        Called with the stage, the steps done in it, and how many there are (0: not known).
    announce : callable, optional
        Called before the work with a rough estimate of the seconds that it will take.

    Raises
    ------
    UsageError, DimensionError
        Files, sizes and weights cannot be read or do not fit together.
    """
    sizes = check_sizes(sizes)
    check_choice(init, "init", INITS)
    check_choice(device, "device", ("numpy", "cupy"))
    check_real(gain, "gain")
    check_whole(seed, "seed")
    check_whole(draws, "draws", 1, MOST_DRAWS)
    check_flag(remedies, "remedies")
    _check_inputs(inputs)
    if steps is not None:
        check_whole(steps, "steps", 1, MOST_STEPS)
    if burn_in is not None:
        check_whole(burn_in, "burn_in")
    if draws > 1 and weights is not None:
        raise UsageError("draws are of weights; with a weight file there is nothing to draw")
    xp = array_module(device)
    parameters: Mapping[str, Any] = {}
    others: Mapping[str, Any] = {}
    if weights is not None:
        network, parameters, _, others = with_weight_file(network, weights, layers, join)
    given = read_start(start)

    def drawn(number: int) -> Model:
        model = model_of(
            network,
            parameters=parameters,
            others=others,
            inputs=Path(inputs) if isinstance(inputs, str | os.PathLike) else inputs,
            sizes=sizes,
            init=init,
            gain=gain,
            seed=seed + number,
        )
        return started(model, given, seed + number)

    model = drawn(0)
    if steps is None:
        steps = 500 if model.longest is None else min(500, model.longest)
    check_steps(model, steps, burn_in)
    systems = model.systems(steps=min(steps, SHORT))
    announce(sum(estimate(s, steps, remedies, draws) for s in systems))
    titles = [s.name for s in systems]
    whole = name or network.name
    found = [
        analyse(
            model,
            steps,
            index=k,
            name=whole if len(titles) == 1 else f"{whole}: {one}",
            burn_in=burn_in,
            with_remedies=remedies,
            seed=seed,
            xp=xp,
            progress=progress,
        )
        for k, one in enumerate(titles)
    ]
    first = [(a.exponents, a.steps) for a in found]
    spreads = spread(first, drawn, draws, burn_in, xp, progress)
    return [a.explained(s, weights is None) for a, s in zip(found, spreads, strict=True)]


def _check_inputs(inputs: Any) -> None:
    """Inputs are a file, or sources by name.

    Raises
    ------
    UsageError
        They are something else.
    """
    if inputs is None or isinstance(inputs, str | os.PathLike):
        return
    if not isinstance(inputs, Mapping):
        raise UsageError(f"inputs is {shown(inputs)}; give a file, or sources by name")
    for name, source in inputs.items():
        if not all(hasattr(source, key) for key in ("block", "width", "steps")):
            raise UsageError(
                f"inputs[{shown(name)}] is {shown(source)}; give a source, such as Given(array)"
            )


def with_weight_file(
    network: Network, path: Path, layers: Mapping[str, Cell], join: Cell
) -> tuple[Network, dict[str, Array], Layers | None, dict[str, Array]]:
    """Read a weight file for a network.

    Parameters
    ----------
    layers : mapping
        Kind of a PyTorch layer (``"rnn"``, ``"gru"``, ``"lstm"``) → the cell that is one step.

    Returns
    -------
    network, parameters
        The network of the file's layers if it is in PyTorch's layout, else `network` itself.
    layers : Layers or None
        What was recognised.
    others : dict
        Arrays of the file that belong to other modules.

    Raises
    ------
    UsageError
        The file cannot be read, or fits neither the network's own names nor PyTorch's layout.
    """
    arrays = read_weights(path)
    found = find_layers(arrays, path)
    if found is None:
        return network, match_names(network, arrays, path), None, {}
    definition = layers[found.kind]
    asked = [s.cell for s in network.scans if s.states]
    parameters = {frozenset(c.of_kind("param")) for c in asked}
    if not asked or parameters != {frozenset(definition.of_kind("param"))}:
        names = {"rnn": "elman_hidden"}
        raise UsageError(
            f"{path} is {found}: examine it as {names.get(found.kind, definition.name)!r}, not as "
            f"{network.name!r}"
        )
    made, values = network_of(found, arrays, asked[0], join, path)
    return made, values, found, {n: arrays[n] for n in found.others}


def model_of(
    network: Network,
    *,
    parameters: Mapping[str, Any] | None = None,
    others: Mapping[str, Array] | None = None,
    inputs: Path | Mapping[str, Any] | None = None,
    sizes: Mapping[str, int] | None = None,
    init: str = "normal",
    gain: float = 1.0,
    seed: int = 0,
) -> Model:
    """A model of a network with inputs from a file.

    Parameters
    ----------
    others : mapping, optional
        Arrays that came with the weights; an embedding among them feeds a text's characters.
    inputs : path or mapping, optional
        A ``.txt`` or ``.csv`` file, or name → source; random when left out.

    Raises
    ------
    UsageError, DimensionError
        Files, sizes and weights do not fit together.
    """
    given: Mapping[str, InputSource] = {}
    if isinstance(inputs, Path):
        given = _from_file(network, inputs, parameters or {}, others or {}, sizes or {})
    elif inputs is not None:
        given = inputs
    return build(
        network,
        sizes=sizes,
        parameters=parameters,
        inputs=given,
        init=init,
        gain=gain,
        seed=seed,
    )


def _from_file(
    network: Network,
    path: Path,
    parameters: Mapping[str, Any],
    others: Mapping[str, Array],
    sizes: Mapping[str, int],
) -> dict[str, InputSource]:
    moving = [n for n, r in network.inputs.items() if r.axis is not None]
    targets = loss_data(network)
    read = [n for n in moving if n not in targets]
    first = "x" if "x" in read else next(iter(read), None)
    if first is None:
        raise UsageError(f"{network.name!r} reads no input sequence; leave {path} out")
    if network.inputs[first].shape.stack or network.inputs[first].shape.headed:
        raise UsageError(
            f"{network.name!r} reads {first!r} {network.inputs[first].shape} at every step, which "
            f"the rows of {path} are not; leave it out, or give arrays from Python"
        )
    dim = network.inputs[first].shape.rows
    width = _width(network, dim, parameters, sizes)
    table = _embedding(others, width)
    made = dict(from_file(path, None if table is not None else width))
    x = made["x"]
    if table is not None and isinstance(x, OneHot):
        if x.width > len(table):
            raise UsageError(
                f"{path} has {x.width} different characters, the embedding has {len(table)} rows"
            )
        made["x"] = Rows(x.ids, table)
    elif width is not None and x.width != width:
        raise UsageError(f"{path} gives vectors of {x.width}, the model reads {width}")
    out = {first: made["x"]}
    if len(targets) == 1:
        wide = _width(network, network.inputs[targets[0]].shape.rows, parameters, sizes)
        if wide is None or wide == made["target"].width:
            out[targets[0]] = made["target"]
    return out


def _width(
    network: Network, dim: Any, parameters: Mapping[str, Any], sizes: Mapping[str, int]
) -> int | None:
    """The size of an input's dim as far as weights or the caller settle it."""
    if not dim.names:
        return int(dim.const)
    if dim.lone in sizes:
        return sizes[dim.lone]
    for name, array in parameters.items():
        ref = network.parameters.get(name)
        if ref is None:
            continue
        shape = np.shape(array)
        for declared, size in zip((ref.shape.rows, ref.shape.cols), shape, strict=False):
            if declared == dim:
                return int(size)
    return None


def _embedding(others: Mapping[str, Array], width: int | None) -> Array | None:
    """The one table among other modules' weights that makes inputs of this width."""
    found = [
        a
        for n, a in others.items()
        if a.ndim == 2 and a.shape[1] == width and ("emb" in n.lower() or "encoder" in n.lower())
    ]
    return found[0] if len(found) == 1 else None


#: Steps that are measured.
SHORT = 8
#: Passes over the whole trajectory (exponents, products, bounds, expansions), over its first steps
#: (causes), and with remedies, each in units of one pass that also orthogonalises.
WHOLE, CAUSES, REMEDIES = 5, 8, 20
#: Steps that causes and remedies see at most, and steps whose Jacobian's eigenvalues are taken,
#: in units of one step.
PROBE, SPECTRA = 1000, 64 * 10


def estimate(system: System, steps: int, remedies: bool, draws: int) -> float:
    """Seconds that the analysis of a system takes, to a factor of about three.

    Parameters
    ----------
    steps : int
        T.
    remedies : bool
        Whether they are tried.
    draws : int
        Draws of weights in all.
    """
    short = min(SHORT, steps, system.segment_length)
    with few_threads(system.n):
        _pass(system, 1)
        started = time.perf_counter()
        _pass(system, short)
        step = (time.perf_counter() - started) / short
    some = min(steps, PROBE) * (CAUSES + REMEDIES * remedies) + SPECTRA
    return step * (WHOLE * steps + some + (draws - 1) * steps)


def _pass(system: System, steps: int) -> None:
    product = QRProduct(system.n)
    for segment in forward(system, steps):
        product.feed(segment.jacobian())
