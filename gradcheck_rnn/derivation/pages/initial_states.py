"""Initial states: their symbols, h_0, and what reaches them, at the times of their reads."""

from __future__ import annotations

from collections.abc import Iterator

from ...calculus.terms import Plus, Sym, Term, shift, symbols_in
from ...language.network import Ref
from ..program import Derivation, ScanProgram
from ..simplification import replaced, tidy
from ..to_terms import symbol_for

__all__ = ["adjoint_of_start", "inner_starts", "start_terms", "symbol_of"]


def symbol_of(derivation: Derivation, ref: Ref) -> Sym:
    """The symbol of an input or parameter; a start named after its state is the state at its time.

    ``h0`` is h_0, ``h0_2``, the step before it, h_{−1}.
    """
    symbol = symbol_for(ref.name, ref.shape, ref.kind, 0 if ref.axis else None)
    for program in derivation.scans:
        for state in program.scan.states:
            for start in state.initial:
                named = {f"{state.name}0_{start.lag}", f"{state.name}0" * (start.lag == 1)}
                if start.ref is not None and start.ref.name == ref.name and ref.name in named:
                    return symbol.with_(name=state.name, lag=program.time_before(start.lag))
    return symbol


def start_terms(derivation: Derivation, name: str, form: str) -> list[Term]:
    """What reaches an initial state: the recursion of its state's adjoint at the start's time."""
    out: list[Term] = []
    for program in derivation.scans:
        for state in program.scan.states:
            for start in state.initial:
                if start.ref is not None and start.ref.name == name:
                    out += adjoint_of_start(derivation, program, state.name, start.lag, form)
    return out


def adjoint_of_start(
    derivation: Derivation, program: ScanProgram, state: str, lag: int, form: str = "matrix"
) -> list[Term]:
    """The adjoint of a state `lag` steps before the first: only reads that go so far back."""
    out: list[Term] = []
    for edge in derivation.readers(state):
        if edge.kind == "state" and abs(edge.lag or 0) >= lag:
            term = edge.vec_pullback if form == "kronecker" else edge.pullback
            out.append(_at_start(program, shift(tidy(term), edge.lag or 0), lag))
    return out


def inner_starts(derivation: Derivation, program: ScanProgram) -> Iterator[tuple[Sym, Term]]:
    """The adjoints of the starts that other scans hand to this one, which refer to them."""
    given = {**derivation.network.inputs, **derivation.network.parameters}
    for state in program.scan.states:
        for start in state.initial:
            if start.ref is None or start.ref.name in given:
                continue
            terms = adjoint_of_start(derivation, program, state.name, start.lag)
            symbol = next(e.symbol for e in program.equations if e.name == state.name)
            if terms:
                time = program.time_before(start.lag)
                yield symbol.with_(mark="bar", lag=time), Plus(*terms)


def _at_start(program: ScanProgram, term: Term, lag: int) -> Term:
    """The term with every time written out, t being that of the start."""
    times = {
        s: s.with_(lag=program.time_before(lag, s.lag))
        for s in symbols_in(term)
        if s.lag is not None
    }
    return replaced(term, times)
