"""The one place where rooms are wired; every door (shell, pytest, notebook) goes through it.

Rooms are imported inside the functions: what a caller does not use is not paid for.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

from gradcheck_rnn.errors import UsageError

if TYPE_CHECKING:
    from gradcheck_rnn.derivation import Derivation
    from gradcheck_rnn.derivation.proof import ProofResult
    from gradcheck_rnn.dynamics.analysis import Analysis
    from gradcheck_rnn.language.cell import Cell
    from gradcheck_rnn.language.network import Network
    from gradcheck_rnn.report.manuscript import Manuscript
    from gradcheck_rnn.verify.cases import GradientCase
    from gradcheck_rnn.verify.outcome import Report
    from gradcheck_rnn.verify.session import Verification

__all__ = [
    "catalogue",
    "decay",
    "derive",
    "generate",
    "load",
    "names",
    "prove",
    "render",
    "report",
    "verify",
]

Format = Literal["text", "latex", "typst", "markdown", "json"]
Form = Literal["matrix", "kronecker"]
Layout = Literal["numerator", "denominator"]
Backend = Literal["numpy", "cupy"]
Undecided = Literal["fail", "warn"]


def names() -> tuple[str, ...]:
    """Names of the zoo, in the order of its catalogue."""
    from gradcheck_rnn import cells

    return tuple(cells.names())


def catalogue() -> list[dict[str, str]]:
    """The zoo as rows with the keys name, kind, what and source (equation numbers)."""
    from gradcheck_rnn import cells

    keys = ("name", "kind", "what", "source")
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
    from gradcheck_rnn.cells.losses import with_loss

    return with_loss(network, loss)


def _find(target: str | os.PathLike[str] | Cell | Network) -> Network:
    from gradcheck_rnn import cells, loading
    from gradcheck_rnn.language.cell import Cell
    from gradcheck_rnn.language.network import Network, as_network

    if isinstance(target, Cell | Network):
        return as_network(target)
    if not isinstance(target, str | os.PathLike):
        raise UsageError(
            f"a {type(target).__name__} is not a cell: give a name of the zoo, 'file.py:name', a "
            "Cell or a Network"
        )
    text = os.fspath(target)
    if loading.is_file_target(text):
        return as_network(loading.find(text, (Cell, Network), "cell or network"))
    if text not in cells.names():
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

    Returns
    -------
    str
        The text, ending with a line end.

    Raises
    ------
    UsageError
        `wrt` names something the derivation has no gradient for.
    NotationError
        The notation file cannot be read or names an unknown symbol.
    """
    from gradcheck_rnn.derivation import render as render_derivation

    text: str = render_derivation(
        derivation,
        fmt,
        form=form,
        layout=layout,
        wrt=tuple(wrt),
        notation=None if notation is None else Path(notation),
        steps=steps,
        rtrl=rtrl,
        truncate=truncate,
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

    return prove_derivation(derive(with_loss(load(target))), seed=seed, exact=exact)


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

    return generate_module(derive(target, loss=loss), backend)


def verify(
    target: str | os.PathLike[str] | Cell | Network,
    *,
    seed: int | str | None = None,
    select: str | Iterable[str] | None = None,
    budget: int | str | None = None,
    undecided: Undecided = "fail",
    definition: str | os.PathLike[str] | Cell | Network | None = None,
    loss: str | None = None,
    shape: int = 0,
    on_report: Callable[[Report, int], None] = lambda report, left: None,
) -> Verification:
    """Verify gradients against finite differences that know their own error.

    Parameters
    ----------
    target : str, os.PathLike, Cell or Network
        A cell as in `load`: its NumPy kernel is generated and compared with the definition. A
        generated file: that kernel is compared with the definition it was made from. A Python
        file with gradient cases, or ``"file.py:case"`` for one of them.
    seed : int or str, optional
        Of points, cotangents and directions; by default made from what is under test, so that a
        rerun repeats. ``"fresh"`` draws one.
    select : str or iterable of str, optional
        Only the gradients of these.
    budget : int or str, optional
        Loss evaluations, or seconds as ``"10s"``, for all checks together.
    undecided : {"fail", "warn"}
        Whether an undecided check keeps `Verification.passed` from being true.
    definition : str, os.PathLike, Cell or Network, optional
        What a file's ``forward`` and ``backward`` are to compute, as in `load`. A generated file
        says so itself if it was made from the zoo; any module with the same functions can be
        verified with this.
    loss : str, optional
        Put this loss of the zoo on top of the cell or definition.
    shape : int
        Sizes at which a kernel is checked: 0 the smallest that tell dims apart, others drawn.
    on_report : callable, optional
        Called with each report as it is there, and the number of those still to come.

    Returns
    -------
    Verification
        The list of reports, with `.verdict`, `.passed` and `.replay(report)`.

    Raises
    ------
    UsageError
        Nothing there to verify, or an option that makes no sense.
    GradcheckError
        The definition or the gradient case is malformed. Exceptions of the user's own functions
        propagate unchanged.
    """
    from gradcheck_rnn.verify.session import verify_cases, verify_kernel

    name = os.fspath(target) if isinstance(target, str | os.PathLike) else ""
    subject = subject_of(target, definition, loss)
    if isinstance(subject, list) and shape:
        raise UsageError("shape is for kernels; a gradient case has the shapes it returns")
    if isinstance(subject, list):
        return verify_cases(
            subject, target=name, seed=seed, select=select, budget=budget, undecided=undecided,
            on_report=on_report,
        )  # fmt: skip
    network, kernel, text = subject
    if kernel is None:
        kernel, text = kernel_of(network)
    said = {"--definition": definition, "--loss": loss}
    options = [w for k, v in said.items() if isinstance(v, str | os.PathLike) for w in (k, str(v))]
    return verify_kernel(
        network, kernel, text, target=name, seed=seed, select=select, budget=budget,
        undecided=undecided, shape=shape, options=options, on_report=on_report,
    )  # fmt: skip


def subject_of(
    target: str | os.PathLike[str] | Cell | Network,
    definition: str | os.PathLike[str] | Cell | Network | None,
    loss: str | None,
) -> list[GradientCase] | tuple[Network, Any, str]:
    """What is under test: gradient cases, or (definition, kernel, the kernel's text).

    The kernel is None where it is to be generated (see `kernel_of`).
    """
    from gradcheck_rnn import loading
    from gradcheck_rnn.language.cell import Cell
    from gradcheck_rnn.language.network import Network
    from gradcheck_rnn.report.manuscript import Manuscript
    from gradcheck_rnn.verify.cases import GradientCase, collect_cases

    path, name = None, None
    if isinstance(target, str | os.PathLike):
        path, name = loading.split_target(os.fspath(target))
    if definition is not None and (path is None or name is not None):
        raise UsageError("a definition goes with a file that has forward and backward")
    if path is None:
        return load(target, loss=loss), None, ""
    module = loading.run_file(path)
    if definition is not None:
        return load(definition, loss=loss), module, Path(path).read_text(encoding="utf-8")
    cases = collect_cases(module, path)
    if name is None and cases:
        return cases
    for case in cases:
        if case.name == name:
            return [case]
    types = (Cell, Network, GradientCase)
    if name is None and not any(isinstance(v, types) for v in vars(module).values()):
        network = _origin(module, path, loss)
        return network, module, Path(path).read_text(encoding="utf-8")
    found = loading.pick(module, path, name, types, "gradient case or cell")
    return load(found, loss=loss), None, ""


#: The line by which a generated module says what it was made from.
_MADE_FROM = re.compile(r"^Generated by gradcheck_rnn \S+ from the definition of '(.+?)'", re.M)


def _origin(module: ModuleType, path: str, loss: str | None) -> Network:
    """The definition of a generated module, which names it in its docstring."""
    from gradcheck_rnn import cells

    said = _MADE_FROM.search(module.__doc__ or "")
    if said is None:
        if hasattr(module, "backward"):
            raise UsageError(f"{path} does not say what it computes; give its definition")
        raise UsageError(
            f"{path} has no gradient case, no cell and was not generated: write a function that "
            "returns (loss, gradient, parameters) and put @gradient_case above it"
        )
    name = said.group(1)
    if name not in cells.names():
        raise UsageError(
            f"{path} was generated from {name!r}, which is not in the zoo; give its definition "
            f"(file.py:{name})"
        )
    network = load(name, loss=loss)
    # The loss put on top is listed among the scans, and not part of the cell of that name.
    listed = [n for n in cells.LOSSES if f"\n  {n} (" in (module.__doc__ or "")]
    if loss is None and not network.loss_terms and listed:
        return load(network, loss=listed[0])
    return network


def kernel_of(network: Network) -> tuple[Any, str]:
    """The NumPy kernel of a network, generated and run, and its text."""
    text = generate(network)
    kernel = ModuleType(f"{network.name}_kernel")
    exec(compile(text, f"<kernel generated for {network.name}>", "exec"), vars(kernel))
    return kernel, text


def decay(
    target: str | os.PathLike[str] | Cell | Network,
    *,
    weights: str | os.PathLike[str] | None = None,
    loss: str | None = None,
    **options: Any,
) -> list[Analysis]:
    """See where the gradient of a recurrent network goes.

    Parameters
    ----------
    target, loss
        As in `load`.
    weights : path, optional
        ``.npz``, ``.safetensors`` or ``.pt``: parameters by the network's names, or a PyTorch
        state_dict of RNN, LSTM or GRU layers. Drawn when left out.
    **options
        Of `gradcheck_rnn.dynamics.setting.follow`: ``inputs``, ``steps``, ``sizes``, ``start``,
        ``gain``, ``seed``, ``burn_in``, ``remedies``, ``device``, ``name``, ``progress``.

    Returns
    -------
    list of Analysis
        One for each recurrence (time axis and direction) of the network.

    Raises
    ------
    UsageError
        Files that cannot be read or do not fit, inputs that are too short, a trajectory that
        diverges.
    """
    from gradcheck_rnn import cells
    from gradcheck_rnn.cells.bidirectional import join
    from gradcheck_rnn.dynamics.setting import follow

    kinds = {"rnn": "elman_hidden", "gru": "gru_reset_after", "lstm": "lstm"}
    layers = {kind: cells.get(n).scans[0].cell for kind, n in kinds.items()}
    file = None if weights is None else Path(weights)
    return follow(load(target, loss=loss), file, layers, join, **options)


def report(
    subject: str | os.PathLike[str] | Cell | Network | Sequence[Report] | Sequence[Analysis],
    *paths: str | os.PathLike[str],
    notation: str | os.PathLike[str] | None = None,
    loss: str | None = None,
    progress: Callable[[str], None] = lambda stage: None,
) -> list[Path]:
    """Write a report as HTML or PDF, one self-contained file each.

    Parameters
    ----------
    subject : str, os.PathLike, Cell, Network, sequence of Report or of Analysis
        A cell as in `load`: its derivation, proof, verification and kernel. The result of `verify`
        or of `decay`: what was found.
    *paths : str or os.PathLike
        ``.html``, ``.pdf`` or ``.typ`` (the typst source without its pictures); several are made
        from one computation.
    notation : path, optional
        As in `render`.
    loss : str, optional
        As in `load`.
    progress : callable, optional
        Called with the name of each stage as it begins.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    UsageError
        Another suffix, a path that cannot be written, missing packages; before any work.
    GradcheckError
        As `derive`.
    """
    from gradcheck_rnn.report.typesetting import check_output, need_extra, write

    if not paths:
        raise UsageError("a report needs a file to be written to")
    need_extra()
    for path in paths:
        check_output(path)
    manuscript = _manuscript(subject, notation, loss, progress)
    progress("typesetting")
    return [write(manuscript, path) for path in paths]


def _manuscript(
    subject: Any,
    notation: str | os.PathLike[str] | None,
    loss: str | None,
    progress: Callable[[str], None],
) -> Manuscript:
    """The manuscript of a report, not yet typeset."""
    from gradcheck_rnn.verify.outcome import Report

    if isinstance(subject, list | tuple):
        if all(isinstance(r, Report) for r in subject):
            from gradcheck_rnn.report.verification import verification_report

            return verification_report(subject)
        from gradcheck_rnn.report.decay import decay_report

        return decay_report(subject)
    from gradcheck_rnn.report.derivation import derivation_report, notation_of

    progress("derivation")
    network = load(subject, loss=loss)
    derivation = derive(network)
    chosen = notation_of(derivation, notation)
    progress("proof")
    proof = prove(network)
    progress("verification")
    found, kernel = verify(network), generate(network)
    progress("writing")
    return derivation_report(derivation, notation=chosen, proof=proof, reports=found, kernel=kernel)
