"""The report of a derivation: a chapter that leads from a definition to its proved gradient."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ..calculus.printing.notation import Notation
from ..derivation import Derivation
from ..derivation.pages import document
from ..derivation.proof import ProofResult
from ..derivation.reader_names import read_notation
from ..verify.outcome import Report
from .chapters import definition, evidence, example, steps
from .listing import titled
from .manuscript import Manuscript
from .typst_mathematics import Mathematics

__all__ = ["derivation_report", "notation_of"]


def derivation_report(
    derivation: Derivation,
    *,
    notation: Notation | None = None,
    proof: ProofResult | None = None,
    reports: Sequence[Report] = (),
    kernel: str = "",
) -> Manuscript:
    """Write the report of a derivation.

    Parameters
    ----------
    derivation : Derivation
        Of a cell or network.
    notation : Notation, optional
        The reader's names.
    proof : ProofResult, optional
        The result of its proof, for a chapter about it.
    reports : sequence of Report
        What the verification of its kernel found.
    kernel : str
        The generated module.

    Returns
    -------
    Manuscript
        For `typesetting.write`.
    """
    network = derivation.network
    m = Manuscript(
        title=f"{titled(network.name)}: derivation of the gradient",
        subtitle=network.what,
        description=f"Derivation, proof and verification of the gradient of {titled(network.name)}.",
        maths=Mathematics(notation),
    )
    pages = document(derivation, form="kronecker")
    matrix = document(derivation)
    tangent = document(derivation, rtrl=True)
    m.say(_abstract(derivation, proof, kernel))
    numbers = definition.definition(m, derivation, matrix)
    definition.conventions(m, derivation)
    steps.sum_over_time(m, derivation)
    steps.local(m, derivation, pages, numbers)
    steps.backward(m, derivation, matrix, pages)
    steps.forward_mode(m, derivation, pages, tangent)
    example.example(m, derivation, numbers)
    if proof is not None:
        evidence.proof(m, proof)
    evidence.differences(m, derivation, reports)
    if kernel:
        evidence.kernel(m, kernel)
    m.sources()
    return m


def _abstract(derivation: Derivation, proof: ProofResult | None, kernel: str) -> str:
    recurrent = any(p.scan.states for p in derivation.scans)
    text = (
        "This chapter derives the gradient of the loss with respect to every parameter, input and "
        "initial state: first through one step, by matrix calculus, then through the whole "
        "sequence, "
        + ("by backpropagation through time and by real-time recurrent learning."
           if recurrent else "where each step stands on its own.")
    )  # fmt: skip
    more = ["A small example is worked through in numbers"]
    if proof is not None:
        more.append("the result is proved against an independent scalar derivation")
    more.append("finite differences are shown beside it")
    if kernel:
        more.append("the code generated from it is listed")
    return text + " " + ", ".join(more[:-1]) + f", and {more[-1]}."


def notation_of(derivation: Derivation, path: str | os.PathLike[str] | None) -> Notation | None:
    """The reader's notation from a TOML file.

    Raises
    ------
    NotationError
        The file cannot be read, or names what is no symbol here.
    """
    return None if path is None else read_notation(derivation, path)
