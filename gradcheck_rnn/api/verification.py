"""Kernels and gradient cases brought to the checks that judge them."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, Literal, get_args

from gradcheck_rnn.checks import check_choice, check_names, check_path, check_whole
from gradcheck_rnn.errors import UsageError
from gradcheck_rnn.reading import read_text

from .definitions import generate, layers, load

if TYPE_CHECKING:
    from gradcheck_rnn.language.cell import Cell
    from gradcheck_rnn.language.network import Network
    from gradcheck_rnn.verify.cases import GradientCase
    from gradcheck_rnn.verify.outcome import Report
    from gradcheck_rnn.verify.session import Verification

__all__ = ["Undecided", "kernel_of", "subject_of", "verify"]

Undecided = Literal["fail", "warn"]


def verify(
    target: str | os.PathLike[str] | Cell | Network,
    *,
    seed: int | str | None = None,
    select: str | Iterable[str] | None = None,
    budget: int | str | None = None,
    undecided: Undecided = "fail",
    definition: str | os.PathLike[str] | Cell | Network | None = None,
    loss: str | None = None,
    layout: str | None = None,
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
    layout : str, optional
        A ready layout in which a file's code holds its arrays: ``"file.py:NAME"`` is then a class
        with forward and backward, an object of one, or PyTorch code, as `check_model` takes them
        as ``module``; a file by itself has these two as functions. `definition` is by default the
        cell of the zoo that the layout is of.
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

    check_choice(undecided, "undecided", get_args(Undecided))
    check_whole(shape, "shape")
    select = None if select is None else check_names(select, "select")
    name = os.fspath(target) if isinstance(target, str | os.PathLike) else ""
    subject = subject_of(target, definition, loss, layout)
    if isinstance(subject, list) and shape:
        raise UsageError("shape is for kernels; a gradient case has the shapes it returns")
    said = {"--layout": layout, "--definition": definition, "--loss": loss}
    options = [w for k, v in said.items() if isinstance(v, str | os.PathLike) for w in (k, str(v))]
    if isinstance(subject, list):
        return verify_cases(
            subject, target=name, seed=seed, select=select, budget=budget, undecided=undecided,
            options=options, on_report=on_report,
        )  # fmt: skip
    network, kernel, text = subject
    if kernel is None:
        kernel, text = kernel_of(network)
    return verify_kernel(
        network, kernel, text, target=name, seed=seed, select=select, budget=budget,
        undecided=undecided, shape=shape, options=options, on_report=on_report,
    )  # fmt: skip


def subject_of(
    target: str | os.PathLike[str] | Cell | Network,
    definition: str | os.PathLike[str] | Cell | Network | None,
    loss: str | None,
    layout: str | None = None,
) -> list[GradientCase] | tuple[Network, Any, str]:
    """What is under test: gradient cases, or (definition, kernel, the kernel's text).

    The kernel is None where it is to be generated (see `kernel_of`).
    """
    from gradcheck_rnn import loading
    from gradcheck_rnn.language.cell import Cell
    from gradcheck_rnn.language.network import Network
    from gradcheck_rnn.verify.cases import GradientCase, collect_cases

    path, name = None, None
    if isinstance(target, str | os.PathLike):
        path, name = loading.split_target(str(check_path(target, "the target")))
    if layout is not None:
        return [_laid_out(path, name, definition, loss, layout)]
    if definition is not None and (path is None or name is not None):
        raise UsageError(
            "a definition goes with a file that has forward and backward; for a class or object "
            "in it give a layout, too"
        )
    if path is None:
        return load(target, loss=loss), None, ""
    module = loading.run_file(path)
    if definition is not None:
        return load(definition, loss=loss), module, read_text(Path(path), "file")
    cases = collect_cases(module, path)
    if name is None and cases:
        return cases
    for case in cases:
        if case.name == name:
            return [case]
    types = (Cell, Network, GradientCase)
    alone = name is None and not any(isinstance(v, types) for v in vars(module).values())
    if name is not None or alone:
        _refuse_code(module, path, name)
    if alone:
        network = _origin(module, path, loss)
        return network, module, read_text(Path(path), "file")
    found = loading.pick(module, path, name, types, "gradient case or cell")
    return load(found, loss=loss), None, ""


def _refuse_code(module: ModuleType, path: str, name: str | None) -> None:
    """Say that code under test, named or the only thing there is, needs a layout.

    Raises
    ------
    UsageError
        It is such code.
    """
    from gradcheck_rnn.verify.harness.jax_passes import is_jax
    from gradcheck_rnn.verify.harness.modules import is_torch
    from gradcheck_rnn.verify.harness.objects import is_object_code

    def is_code(value: Any) -> bool:
        return is_object_code(value) or is_torch(value) or is_jax(value)

    own = vars(module)
    here = [n for n, v in own.items() if getattr(v, "__module__", "") == module.__name__]
    found = [n for n in here if is_code(own[n])]
    if name is None and (hasattr(module, "backward") or len(found) != 1):
        return
    name = name or found[0]
    if name in own and is_code(own[name]):
        raise UsageError(
            f"{path}:{name} is code under test: say whose arrays it holds, --layout 'pytorch lstm' "
            "(`gradcheck-rnn layouts` lists them), or of which cell it is, --definition "
            "FILE.py:CELL --layout own"
        )


def _laid_out(
    path: str | None,
    name: str | None,
    definition: str | os.PathLike[str] | Cell | Network | None,
    loss: str | None,
    layout: str,
) -> GradientCase:
    """Code of a file whose arrays are in a ready layout, as a gradient case.

    Raises
    ------
    UsageError
        No file, nothing in it that has a forward and a backward pass, no such layout.
    """
    from gradcheck_rnn import loading
    from gradcheck_rnn.verify.cases import GradientCase
    from gradcheck_rnn.verify.harness.objects import is_object_code
    from gradcheck_rnn.verify.harness.ready import definition as cell_of
    from gradcheck_rnn.verify.harness.ready import depth, ready
    from gradcheck_rnn.verify.problems import Implements

    if definition is None:
        number, both = depth(layout)
        cell = cell_of(layout)
        network = load(cell, loss=loss)
        if number > 1 or both:
            network = layers(network, number, bidirectional=both)
    else:
        network = load(definition, loss=loss)
    known = ready(layout, network)
    if path is None:
        raise UsageError("a layout goes with code of yours: give file.py:NAME")
    module = loading.run_file(path)
    own = vars(module)
    made: Any
    if name is None and all(callable(own.get(n)) for n in ("forward", "backward")):
        name, made = Path(path).stem, (own["forward"], own["backward"])
    else:
        found = [
            n for n, v in own.items()
            if is_object_code(v) and getattr(v, "__module__", "") == module.__name__
        ]  # fmt: skip
        if name is None and len(found) == 1:
            name = found[0]
        if name is None:
            several = f"; say which: {', '.join(f'{path}:{n}' for n in found)}" if found else ""
            raise UsageError(
                f"{path} has {'several' if found else 'no'} classes with forward and backward, and "
                f"not these two functions{several}"
            )
        if name not in own:
            raise UsageError(f"{path}: {loading.suggest(name, found or list(own), 'class')}")
        made = own[name]
    said = Implements(network, layout=known)
    return GradientCase(lambda: made, name, said, (path, _line_of(made)))


def _line_of(made: Any) -> int:
    """The line at which a class or function, or the class of an object, is defined."""
    thing = made[1] if isinstance(made, tuple) else made
    thing = thing if isinstance(thing, type | FunctionType) else type(thing)
    try:
        return inspect.getsourcelines(thing)[1]
    except (OSError, TypeError):  # it is not from a file
        return 1


#: The line by which a generated module says what it was made from.
_MADE_FROM = re.compile(
    r"^Generated by gradcheck_rnn \S+ from the definition of '(.+?)'(?: in (.+))?;$", re.M
)


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
    name, origin = said.groups()
    if origin is not None:
        network = load(_found(origin, path, name), loss=loss)
    elif name in cells.names():
        network = load(name, loss=loss)
    else:
        raise UsageError(
            f"{path} was generated from {name!r}, which is not in the zoo; give its definition "
            f"(file.py:{name})"
        )
    # The loss put on top is listed among the scans, and not part of the cell of that name.
    listed = [n for n in cells.LOSSES if f"\n  {n} (" in (module.__doc__ or "")]
    if loss is None and not network.loss_terms and listed:
        return load(network, loss=listed[0])
    return network


def _found(origin: str, path: str, name: str) -> str:
    """Where the definition of a generated module stands: ``file.py:name`` that can be loaded.

    The file is looked for from the working directory, where it was when the module was generated,
    then from the folder of the module, then in that folder itself.
    """
    from gradcheck_rnn import loading

    file, wanted = loading.split_target(origin)
    given, beside = Path(file or origin), Path(path).parent
    for place in (given, beside / given, beside / given.name):
        if os.path.isfile(place):
            return f"{place}:{wanted}" if wanted else str(place)
    raise UsageError(
        f"{path} was generated from {name!r} in {origin}, which is not there any more; give its "
        f"definition (file.py:{wanted or name})"
    )


def kernel_of(network: Network) -> tuple[Any, str]:
    """The NumPy kernel of a network, generated and run, and its text."""
    text = generate(network)
    kernel = ModuleType(f"{network.name}_kernel")
    exec(compile(text, f"<kernel generated for {network.name}>", "exec"), vars(kernel))
    return kernel, text
