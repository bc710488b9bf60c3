"""Test vectors out, results in: verification of code that is not Python.

Here derivation and verification meet: gradients to 30 digits are those of the derivation, and the
definition certifies them.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from gradcheck_rnn.checks import (
    check_choice,
    check_names,
    check_path,
    check_sizes,
    check_text,
    check_whole,
)
from gradcheck_rnn.errors import UsageError
from gradcheck_rnn.memory_limits import check_memory

from .definitions import derive, layers, load
from .verification import Undecided

if TYPE_CHECKING:
    from gradcheck_rnn.language.network import Network
    from gradcheck_rnn.verify.points import Point
    from gradcheck_rnn.verify.session import Verification
    from gradcheck_rnn.verify.vectors import Pull, Vectors

__all__ = ["judge_results", "vectors", "write_vectors"]


def vectors(
    target: Any,
    *,
    seed: int = 0,
    sizes: Mapping[str, int] | None = None,
    loss: str | None = None,
    layout: str | None = None,
) -> Vectors:
    """Test vectors of a cell: inputs, cotangents, gradients to 30 digits, bounds by format.

    Parameters
    ----------
    target, loss
        As in `api.load`.
    seed : int
        Of the values.
    sizes : mapping, optional
        Sizes of dims and time axes, and of the batch as ``"B"``.
    layout : str, optional
        A ready layout: arrays, cotangents and gradients are then as that library holds them. Of one
        with ``num_layers`` or ``bidirectional`` the target is the cell of a layer.

    Raises
    ------
    UsageError
        An unknown cell, size or layout.
    """
    from gradcheck_rnn.verify.against import laid_out, left_out
    from gradcheck_rnn.verify.harness.ready import ready
    from gradcheck_rnn.verify.points import draw_point
    from gradcheck_rnn.verify.vectors import make_vectors

    check_whole(seed, "seed")
    wanted = check_sizes(sizes)
    network = _stacked(target, loss, layout)
    _check_cost(network, wanted)
    if layout is None:
        return make_vectors(network, _puller(network), seed=seed, sizes=wanted)
    known = ready(check_text(layout, "layout", LAYOUT), network)
    without = left_out(network, known, draw_point(network, seed, sizes=wanted))
    made = make_vectors(network, _puller(network), seed=seed, sizes=wanted, without=without)
    return laid_out(made, network, known, layout)


def _stacked(target: Any, loss: str | None, layout: str | None) -> Network:
    """What a layout is of: a cell, or layers of it where the layout has some."""
    from gradcheck_rnn.verify.harness.ready import depth

    network = load(target)
    number, both = (1, False) if layout is None else depth(check_text(layout, "layout", LAYOUT))
    if (number > 1 or both) and len(network.scans) == 1:
        network = layers(network, number, bidirectional=both)
    return load(network, loss=loss)


LAYOUT = 'the name of a ready layout, as "cudnn lstm"'
#: Numbers in 60 digits that one set of vectors may take to compute: some hours.
MOST_OPERATIONS = 10**9


def _check_cost(network: Network, sizes: Mapping[str, int]) -> None:
    """Refuse sizes at which numbers of 60 digits would take hours, or more memory than there is."""
    from gradcheck_rnn.language.running import array_shape
    from gradcheck_rnn.verify.points import draw_point

    point = draw_point(network, 0)
    dims = {n: sizes.get(n, size) for n, size in point.sizes.items()}
    lengths = {n: sizes.get(n, steps) for n, steps in point.lengths.items()}
    batch = sizes.get("B", point.batch)
    entries = {
        n: math.prod(array_shape(point.ref(n), dims, batch=batch, lengths=lengths))
        for n in point.values
    }
    weights = sum(entries[n] for n in network.parameters)
    steps = max(lengths.values(), default=1)
    # A probe is a pass back; outputs have one each, and one for (up to nine of) their steps.
    probes = 1 if network.loss_terms else sum(1 + min(steps, 9) for _ in network.outputs)
    operations = (weights * batch * steps + sum(entries.values())) * (1 + 2 * probes)
    check_memory(
        NUMBER * sum(entries.values()) * (1 + probes),
        f"vectors of {network.name!r} at these sizes",
        "give smaller sizes",
    )
    if operations > MOST_OPERATIONS:
        raise UsageError(
            f"vectors of {network.name!r} at these sizes take about {operations:.1e} operations on "
            f"numbers of 60 digits, at most {MOST_OPERATIONS:.0e} make sense; give smaller sizes"
        )


#: Bytes of a number of 60 digits, with its bounds in every format.
NUMBER = 300


def _puller(network: Network) -> Any:
    from gradcheck_rnn.derivation.precise import pull_precise, run_rounded
    from gradcheck_rnn.verify.vectors import Pull

    derivation = derive(network)

    def at(point: Point) -> Pull:
        shape = point.sizes, point.lengths
        return Pull(
            lambda values, given: pull_precise(derivation, values, given, *shape),
            lambda values, slip: run_rounded(derivation, values, *shape, slip),
        )

    return at


def write_vectors(target: Any, path: str | os.PathLike[str], **options: Any) -> Path:
    """Write the vectors of a cell to a ``.npz`` or ``.json`` file, or to a folder; see `vectors`.

    A name without a suffix is a folder of plain numbers, with a header for C++ (docs/vectors.md).

    Raises
    ------
    UsageError
        Another suffix, or the file cannot be written; no file is half-written.
    """
    from gradcheck_rnn.files import check_writable, write_bytes
    from gradcheck_rnn.verify.vectorfiles import SUFFIXES, dump
    from gradcheck_rnn.verify.vectorfolder import write_folder

    file = check_path(path, "the file")
    if not os.fspath(path):
        raise UsageError("vectors need a name to be written to: .npz, .json or that of a folder")
    suffix = file.suffix.lower()
    if not suffix:
        check_writable(file / "any" if os.path.isdir(file) else file)
        return write_folder(vectors(target, **options), file)
    if suffix not in SUFFIXES:
        raise UsageError(
            f"cannot write {file}: give a name that ends in {' or '.join(SUFFIXES)}, or that of a "
            "folder"
        )
    check_writable(file)
    return write_bytes(file, dump(vectors(target, **options), suffix))


def judge_results(
    results: str | os.PathLike[str],
    against: str | os.PathLike[str] | None = None,
    *,
    dtype: str | None = None,
    select: Iterable[str] | None = None,
    undecided: Undecided = "fail",
    definition: Any = None,
    loss: str | None = None,
) -> Verification:
    """Judge a file of results of foreign code by the vectors it is for, and name the mistake.

    Parameters
    ----------
    results, against : path
        ``.npz`` or ``.json``: what was computed, and what `write_vectors` wrote. A folder that
        `write_vectors` made holds both: it is judged by itself.
    dtype : {"float64", "float32", "tf32", "float16", "bfloat16"}, optional
        The number format; by default that of the results.
    select, undecided
        As in `api.verify`.
    definition, loss
        What the vectors were made of, as in `api.load`, where it is not a cell of the zoo: the
        mistake is looked for in its derivation.

    Returns
    -------
    Verification
        A report for the outputs and for each probe; the first that fails has the diagnosis.

    Raises
    ------
    UsageError, DimensionError
        Files that cannot be read or do not fit together.
    """
    from gradcheck_rnn.verify.against import judge_vectors
    from gradcheck_rnn.verify.session import Verification
    from gradcheck_rnn.verify.vectorfiles import read_results, read_vectors
    from gradcheck_rnn.verify.vectorfolder import VECTORS, is_folder, read_folder
    from gradcheck_rnn.verify.vectorvalues import OUTPUTS
    from gradcheck_rnn.verify.verdict import Finding, Verdict

    check_choice(undecided, "undecided", get_args(Undecided))
    if dtype is not None:
        check_text(dtype, "dtype", "the name of a number format")
    select = None if select is None else check_names(select, "select")
    given = check_path(results, "results")
    if against is None and not is_folder(given):
        raise UsageError(f"{given} is no folder of vectors; give those that the results are for")
    known = read_vectors(given / VECTORS if against is None else _file(against))
    found = read_folder(given, known) if is_folder(given) else read_results(given, known)
    words = [] if against is None else ["--against", os.fspath(against)]
    words += ["--dtype", dtype] if dtype else []
    reports = judge_vectors(known, found, dtype=dtype, select=select)
    network = _definition(known.cell, known.layout or None, definition, loss)
    form = dtype or found.dtype
    bad = [r for r in reports if r.verdict is Verdict.FAIL]
    finite = all(math.isfinite(row.analytic) for r in bad for row in r.rows if row.failing)
    if network is not None and form and bad and bad[0].part != OUTPUTS and finite:
        from gradcheck_rnn.verify.diagnosis.foreign import diagnose_results

        said = diagnose_results(network, known, found, form)
        if said is not None:
            bad[0].findings.insert(0, Finding("diagnosis", str(said)))
    if network is None and bad:
        bad[0].findings.append(Finding("no-diagnosis", WHOSE.format(known.cell)))
    return Verification(
        reports, target=os.fspath(results), kind="vectors", undecided=undecided, options=words
    )


def _file(path: str | os.PathLike[str]) -> Path:
    """The file of vectors, which may be that of a folder."""
    from gradcheck_rnn.verify.vectorfolder import VECTORS, is_folder

    given = check_path(path, "against")
    return given / VECTORS if is_folder(given) else given


#: What is said of vectors whose definition is not known here.
WHOSE = (
    "which term is wrong is looked for when the definition is given, that of {0!r}: "
    "--definition FILE.py:{0}"
)


def _definition(cell: str, layout: str | None, given: Any, loss: str | None) -> Network | None:
    """What vectors of this name, in this layout, were made of; None where nobody says."""
    from gradcheck_rnn import cells
    from gradcheck_rnn.verify.harness.ready import definition as cell_of
    from gradcheck_rnn.verify.harness.ready import depth

    if given is not None:
        return _stacked(given, loss, layout)
    if cell in cells.names():
        return load(cell, loss=loss)
    if layout is None or depth(layout) == (1, False):
        return None
    network = _stacked(cell_of(layout), loss, layout)
    return network if network.name == cell else None
