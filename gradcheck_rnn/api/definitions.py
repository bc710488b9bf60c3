"""What a user names, brought to a network, derived, proved, printed and generated."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from gradcheck_rnn.checks import (
    check_choice,
    check_flag,
    check_names,
    check_path,
    check_text,
    check_whole,
    shown,
)
from gradcheck_rnn.errors import UsageError

if TYPE_CHECKING:
    from gradcheck_rnn.derivation import Derivation
    from gradcheck_rnn.derivation.proof import ProofResult
    from gradcheck_rnn.language.cell import Cell
    from gradcheck_rnn.language.network import Network

__all__ = [
    "Backend",
    "Form",
    "Format",
    "Layout",
    "catalogue",
    "derive",
    "generate",
    "load",
    "names",
    "origin_of",
    "prove",
    "render",
]

Format = Literal["text", "latex", "typst", "markdown", "json"]
Form = Literal["matrix", "kronecker"]
Layout = Literal["numerator", "denominator"]
Backend = Literal["numpy", "cupy"]


def names() -> tuple[str, ...]:
    """Names of the zoo, in the order of its catalogue."""
    from gradcheck_rnn import cells

    return tuple(cells.names())


def catalogue() -> list[dict[str, str]]:
    """The zoo as rows with the keys name, kind, what, source (equation numbers) and family."""
    from gradcheck_rnn import cells

    keys = ("name", "kind", "what", "source", "family")
    return [dict(zip(keys, row, strict=True)) for row in cells.describe()]


def load(target: str | os.PathLike[str] | Cell | Network, *, loss: str | None = None) -> Network:
    """Bring what a user names to a network.

    Parameters
    ----------
    target : str, os.PathLike, Cell or Network
        A name of the zoo (``"lstm"``), ``"path/to/file.py:name"`` (the name may be left out when
        the file defines one only), or the object itself. A bare cell becomes a network of one scan.
    loss : str, optional
        Put this loss of the zoo on top (``"softmax_cross_entropy"``), with a readout if there is
        no output ``y``.

    Returns
    -------
    Network
        The network.

    Raises
    ------
    UsageError
        An unknown name (the nearest are suggested), or a file that does not run.
    """
    network = _find(target)
    if loss is None:
        return network
    check_text(loss, "loss", "the name of a loss of the zoo")
    from gradcheck_rnn.cells.losses import with_loss

    return with_loss(network, loss)


def layers(
    target: str | os.PathLike[str] | Cell | Network,
    num_layers: int = 1,
    *,
    bidirectional: bool = False,
) -> Network:
    """Layers of a cell, as ``num_layers`` and ``bidirectional`` of the libraries make them.

    The layout ``"pytorch lstm num_layers=2 bidirectional"`` is of ``layers("lstm", 2,
    bidirectional=True)``.

    Parameters
    ----------
    target : str, os.PathLike, Cell or Network
        One cell with an input x and a state h, as in `load`.
    num_layers : int
        Each reads the state of the one below, of both directions if there are two.
    bidirectional : bool
        Each layer also runs from the last step to the first.

    Returns
    -------
    Network
        Names of layer k, from 0 on, end in ``_lk``, backwards ``_lk_reverse``. Its outputs are
        the states of the last layer, and the last states of all layers.

    Raises
    ------
    UsageError
        Not one cell, or one without x and h.
    """
    from gradcheck_rnn.cells.bidirectional import join
    from gradcheck_rnn.cells.stacked import layers

    check_whole(num_layers, "num_layers", least=1)
    network = load(target)
    cell = network.scans[0].cell
    if len(network.scans) != 1 or "x" not in cell.shapes or "h" not in cell.states:
        raise UsageError(f"layers: {network.name!r} is not one cell with an input x and a state h")
    return layers(cell, num_layers, bool(bidirectional), join)


def _find(target: str | os.PathLike[str] | Cell | Network) -> Network:
    from gradcheck_rnn import cells, loading
    from gradcheck_rnn.language.cell import Cell
    from gradcheck_rnn.language.network import Network, as_network

    if isinstance(target, Cell | Network):
        return as_network(target)
    if not isinstance(target, str | os.PathLike):
        raise UsageError(
            f"{shown(target)} is not a cell: give a name of the zoo, 'file.py:name', a "
            "Cell or a Network"
        )
    text = os.fspath(target)
    if loading.is_file_target(text):
        return as_network(loading.find(text, (Cell, Network), "cell or network"))
    if not cells.known(text):
        loading.refuse_folder(text)
        raise loading.suggest(text, cells.names(), "cell")
    return cells.get(text)


def derive(
    target: str | os.PathLike[str] | Cell | Network, *, loss: str | None = None
) -> Derivation:
    """Derive BPTT and RTRL of a cell or network; nothing is proved here.

    Parameters
    ----------
    target, loss
        As in `load`.

    Returns
    -------
    Derivation
        The adjoint and tangent programs over the named equations.

    Raises
    ------
    GradcheckError
        The target is unknown, its definition malformed, or an operation has no rule.
    """
    from gradcheck_rnn.derivation import derive as derive_network

    return derive_network(load(target, loss=loss))


def render(
    derivation: Derivation,
    fmt: Format = "text",
    *,
    form: Form = "matrix",
    layout: Layout = "numerator",
    wrt: Sequence[str] = (),
    notation: str | os.PathLike[str] | None = None,
    steps: bool = False,
    rtrl: bool = False,
    truncate: int | None = None,
    standalone: bool = False,
) -> str:
    """Print a derivation.

    Parameters
    ----------
    derivation : Derivation
        From `derive`.
    fmt : {"text", "latex", "typst", "markdown", "json"}
        The format.
    form : {"matrix", "kronecker"}
        Gradients as matrices of the parameter's shape, or as rows of vec/Kronecker Jacobians.
    layout : {"numerator", "denominator"}
        Layout of the Jacobians (`form="kronecker"`).
    wrt : sequence of str
        Only the gradients of these parameters, inputs and initial states; all when empty.
    notation : path, optional
        A TOML file with the reader's own names.
    steps : bool
        Show every rule applied, with its citation.
    rtrl : bool
        Show the tangent recursion too.
    truncate : int, optional
        Print BPTT truncated to the last `truncate` steps.
    standalone : bool
        With ``fmt="latex"``: a document that compiles as it is, not sections for one.

    Returns
    -------
    str
        The text, ending with a line end.

    Raises
    ------
    UsageError
        `wrt` names something the derivation has no gradient for; `standalone` without LaTeX.
    NotationError
        The notation file cannot be read or names an unknown symbol.
    """
    from gradcheck_rnn.derivation import Derivation
    from gradcheck_rnn.derivation import render as render_derivation

    if not isinstance(derivation, Derivation):
        raise UsageError(f"{shown(derivation)} is no derivation: give what derive(cell) returns")
    check_choice(fmt, "fmt", get_args(Format))
    check_choice(form, "form", get_args(Form))
    check_choice(layout, "layout", get_args(Layout))
    text: str = render_derivation(
        derivation,
        fmt,
        form=form,
        layout=layout,
        wrt=tuple(check_names(wrt, "wrt")),
        notation=None if notation is None else check_path(notation, "notation"),
        steps=check_flag(steps, "steps"),
        rtrl=check_flag(rtrl, "rtrl"),
        truncate=None if truncate is None else check_whole(truncate, "truncate", 1),
        standalone=check_flag(standalone, "standalone"),
    )
    return text if text.endswith("\n") else text + "\n"


def prove(
    target: str | os.PathLike[str] | Cell | Network, *, seed: int = 0, exact: bool = False
) -> ProofResult:
    """Prove a derivation against the independent scalar oracle, entry by entry.

    The loss is the network's own, or else softmax cross-entropy on its readout (one is added where
    there is none); to it comes a random cotangent on every output, final states included.

    Parameters
    ----------
    target : str, os.PathLike, Cell or Network
        As in `load`.
    seed : int
        Seed of the random points of the prime field.
    exact : bool
        Also certify, without any probability of error, every entry for which that can be decided
        in a minute.

    Returns
    -------
    ProofResult
        What was proved, with the bound on the error probability.
    """
    from gradcheck_rnn.cells.losses import with_loss
    from gradcheck_rnn.derivation.proof import prove as prove_derivation

    check_whole(seed, "seed")
    check_flag(exact, "exact")
    network = load(target)
    whole = with_loss(network)
    result = prove_derivation(derive(whole), seed=seed, exact=exact)
    return replace(result, added=_added(network, whole))


def _added(network: Network, whole: Network) -> str:
    """What `with_loss` put on a network, in words; empty where it has a loss of its own."""
    if network.loss_terms:
        return ""
    readout = [n for n in whole.parameters if n not in network.parameters]
    if not readout:
        return "softmax cross-entropy on y"
    dims = [n for n in whole.dims if n not in network.dims]
    units = f" of {dims[0]} units" if dims else ""
    return f"softmax cross-entropy on a linear readout{units} ({', '.join(readout)})"


def generate(
    target: str | os.PathLike[str] | Cell | Network,
    backend: Backend = "numpy",
    *,
    loss: str | None = None,
) -> str:
    """Generate a standalone module with the forward and backward pass.

    Parameters
    ----------
    target, loss
        As in `load`.
    backend : {"numpy", "cupy"}
        What the module computes with.

    Returns
    -------
    str
        The source text of the module; it imports nothing of this package.
    """
    from gradcheck_rnn.codegen import generate as generate_module

    check_choice(backend, "backend", get_args(Backend))
    return generate_module(derive(target, loss=loss), backend, origin_of(target))


def origin_of(target: object) -> str:
    """The file a definition stands in, as generated text may name it; empty for the zoo."""
    from gradcheck_rnn import loading

    if not isinstance(target, str | os.PathLike) or not loading.is_file_target(os.fspath(target)):
        return ""
    origin = Path(os.fspath(target)).as_posix()
    # It could not stand in a docstring.
    return origin if set(origin).isdisjoint('"\\\n') else ""
