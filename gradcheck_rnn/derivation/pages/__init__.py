"""A derivation as sections of equations, in no particular format.

Writers (text, LaTeX, typst, Markdown, JSON) and reports read these; nothing here prints.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from ...errors import UsageError
from ..program import Derivation
from .adjoints import adjoint, dims, forward, gathered, gradients
from .assuming import assuming
from .elements import Document, PageLine, Partial, Prose, Section
from .initial_states import inner_starts, start_terms, symbol_of
from .jacobians import immediates, jacobians, passage, tangents, transitions

__all__ = [
    "Document", "PageLine", "Partial", "Prose", "Section", "document", "gathered", "inner_starts",
    "start_terms", "symbol_of",
]  # fmt: skip


def document(
    derivation: Derivation,
    *,
    form: Literal["matrix", "kronecker"] = "matrix",
    layout: Literal["numerator", "denominator"] = "numerator",
    wrt: Sequence[str] = (),
    steps: bool = False,
    rtrl: bool = False,
    truncate: int | None = None,
    rows: bool = False,
) -> Document:
    """Lay a derivation out; see `gradcheck_rnn.api.render` for the options.

    ``rows``: it will be printed in the row-vector convention, of which the words then speak.

    Raises
    ------
    UsageError
        ``wrt`` names nothing that can be differentiated by.
    """
    known = [r.name for r in derivation.differentiated()]
    for name in wrt:
        if name not in known:
            raise UsageError(
                f"{derivation.network.name!r} has no parameter, input or start {name!r} to "
                f"differentiate by; it has {', '.join(known)}"
            )
    chosen = tuple(wrt) or tuple(known)
    sections = [dims(derivation, rows)]
    several = len(derivation.scans) > 1
    for program in derivation.scans:
        sections.append(forward(program, several))
    if steps:
        sections += [passage(e) for p in derivation.scans for e in p.equations]
    for program in reversed(derivation.scans):
        sections.append(adjoint(derivation, program, several, truncate, rows))
    sections.append(gradients(derivation, chosen, form))
    if form == "kronecker":
        sections.append(jacobians(derivation, chosen if wrt else (), layout, rows))
        sections += transitions(derivation, several, layout)
    if rtrl:
        sections += [tangents(p, several) for p in derivation.scans]
        sections.append(immediates(derivation, chosen))
    network = derivation.network
    sections = [assuming(s, network) for s in sections]
    return Document(
        network.name, network.what, network.source, tuple(s for s in sections if s.lines or s.text)
    )
