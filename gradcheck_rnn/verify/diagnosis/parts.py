"""Parts of a long adjoint program, in the order in which it is run, and the mistakes within each.

In a deep network what is wrong in the first wrong layer, seen from the loss, has its mistake there:
all that lies above is right. A part is a scan, or some equations of a long one, with the gradients
that are complete once it has been run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from ...derivation import Derivation
from ...derivation.program import Edge, EquationProgram, ScanProgram
from ..harness.layout import Fitted
from .candidates import Candidate, derived_candidates
from .groups import grouped
from .own_layout import with_own_signs

__all__ = ["PassPart", "alike", "alike_in_all", "parts_of"]

#: Equations of a scan that are taken as one part, and how many a part of a longer one has.
WHOLE, SOME = 48, 24


@dataclass(frozen=True, eq=False)
class PassPart:
    """Equations whose adjoints, and gradients which, come out of one part of the backward pass.

    Attributes
    ----------
    scan : str
        The scan that the part belongs to.
    nodes : frozenset of str
        Its equations, their final values among them.
    names : frozenset of str
        Parameters, inputs and starts to which nothing is added after this part.
    """

    derivation: Derivation
    scan: str
    equations: tuple[EquationProgram, ...]
    nodes: frozenset[str]
    names: frozenset[str]
    _known: dict[int, list[Candidate]] = field(default_factory=dict, repr=False)

    @cached_property
    def edges(self) -> tuple[Edge, ...]:
        """The readings that end in this part, in forward order."""
        ends = self.nodes | self.names
        return tuple(e for e in self.derivation.edges if e.operand.name in ends)

    @cached_property
    def view(self) -> Derivation:
        """The derivation with the equations of this part, and those that read them, alone."""
        met = {e.equation.name for e in self.edges} | self.nodes
        scans = [
            replace(p, equations=tuple(e for e in p.equations if e.name in met))
            for p in self.derivation.scans
        ]
        return replace(self.derivation, scans=tuple(p for p in scans if p.equations))

    def candidates(self, fitted: Fitted) -> list[Candidate]:
        """The mistakes within this part, those of packed code among them."""
        if id(fitted) not in self._known:
            own = {self.scan, *self.nodes}
            network = self.derivation.network
            own |= {n for n, r in network.outputs.items() if {r.name, r.state} & self.nodes}
            single = derived_candidates(self.view, self.edges, own)
            single = with_own_signs(self.view, single, fitted)
            self._known[id(fitted)] = single + grouped(single, fitted, self.view)
        return self._known[id(fitted)]


def parts_of(derivation: Derivation) -> list[PassPart]:
    """The parts of a derivation, in the order in which the backward pass meets them."""
    pieces: list[tuple[ScanProgram, tuple[EquationProgram, ...]]] = []
    for program in reversed(derivation.scans):
        equations, size = program.equations, len(program.equations)
        step = size if size <= WHOLE else SOME
        for end in range(size, 0, -max(step, 1)):
            pieces.append((program, equations[max(end - step, 0) : end]))
    place = {e.name: k for k, (_, some) in enumerate(pieces) for e in some}
    last: dict[str, int] = {}
    for name, reader in _readings(derivation):
        last[name] = max(last.get(name, 0), place[reader])
    names = {r.name for r in derivation.differentiated()}
    handed_on = derivation.network.handed_on
    out = []
    for k, (program, some) in enumerate(pieces):
        made = {e.name for e in some}
        made |= {n for n, base in handed_on.items() if base in made}
        own = frozenset(n for n in names if last.get(n) == k)
        out.append(PassPart(derivation, program.scan.name, some, frozenset(made), own))
    return out


def _readings(derivation: Derivation) -> Iterator[tuple[str, str]]:
    """Names with a gradient and the equations that give it to them, starts by their states."""
    wholes = derivation.network.wholes
    for edge in derivation.edges:
        yield edge.operand.name, edge.equation.name
        if (ref := wholes.get(edge.operand.name)) is not None:
            yield str(ref.sequence), edge.equation.name
    for program in derivation.scans:
        for state in program.scan.states:
            for start in state.initial:
                if start.ref is not None:
                    for edge in derivation.readers(state.name):
                        yield start.ref.name, edge.equation.name


def alike(
    candidate: Candidate,
    derivation: Derivation,
    known: Mapping[str, Candidate],
    twins: Mapping[tuple[str, str], _Names] | None = None,
) -> Candidate | None:
    """The same mistake in all scans that are built like its own: code that every layer calls.

    ``known`` has the single mistakes of all scans by their ids, ``twins`` is what `_twins` makes.
    """
    twins = _twins(derivation) if twins is None else twins
    ids = candidate.members or (candidate.id,)
    scans = {m.group(1) for m in (re.search(r":(\w+)[/:]", f"{i}:") for i in ids) if m}
    if len(scans) != 1 or not scans <= {p.scan.name for p in derivation.scans}:
        return None
    (scan,) = scans
    both, count, turned = candidate, 1, False
    for other in derivation.scans:
        renamed = twins.get((scan, other.scan.name))
        if renamed is None:
            continue
        found = [known.get(_renamed(i, renamed)) for i in ids]
        if None not in found:
            count, turned = count + 1, turned or renamed.turned
            for c in found:
                both = replace(both, edits=both.edits | c.edits)  # type: ignore[union-attr]
    if count == 1:
        return None
    where = "both directions" if turned and count == 2 else f"{count} scans" if turned else (
        f"{count} layers"
    )  # fmt: skip
    return replace(
        both, id=f"alike:{candidate.id}", touches=None, members=(), where="",
        says=f"in {where} alike: {candidate.says}",
    )  # fmt: skip


def alike_in_all(derivation: Derivation, single: Sequence[Candidate]) -> list[Candidate]:
    """All mistakes that can be the same in several scans, each once."""
    if len(derivation.scans) < 2:
        return []
    known, twins = {c.id: c for c in single if not c.members}, _twins(derivation)
    first: dict[str, str] = {}  # scan → the first that is built like it
    for program in derivation.scans:
        same = (n for n in first.values() if (n, program.scan.name) in twins)
        first[program.scan.name] = next(same, program.scan.name)
    leaders = {n for n in first.values() if list(first.values()).count(n) > 1}
    out = []
    for c in single if leaders else ():
        ids = c.members or (c.id,)
        if all(any(f":{n}/" in i or f":{n}:" in i for n in leaders) for i in ids):
            found = alike(c, derivation, known, twins)
            if found is not None:
                out.append(found)
    return out


def _renamed(identity: str, names: _Names) -> str:
    if names.turned:  # what one scan reads of the step before the other reads of the step after
        identity = re.sub(r"(<-\w+@)(\d)", r"\1-\2", identity)
    return re.sub(r"[A-Za-z_]\w*", lambda m: _name(m.group(), names), identity)


def _name(word: str, names: _Names) -> str:
    """A name renamed; a value's own is followed by digits of its lags."""
    if word in names:
        return names[word]
    for k in range(len(word) - 1, 0, -1):
        if not word[k:].isdigit():
            break
        if word[:k] in names:
            lags = word[k:]
            return names[word[:k]] + (re.sub("([1-9])", r"-\1", lags) if names.turned else lags)
    return word


class _Names(dict[str, str]):
    """What the names of one scan are called in another, and whether it runs the other way."""

    turned = False


def _twins(derivation: Derivation) -> dict[tuple[str, str], _Names]:
    """By two scans that are built alike, what the names of one are called in the other."""
    return {
        (a.scan.name, b.scan.name): names
        for a in derivation.scans for b in derivation.scans
        if a is not b and (names := _between(a, b)) is not None
    }  # fmt: skip


def _between(one: ScanProgram, other: ScanProgram) -> _Names | None:
    """What the names of one scan are called in another; None if they are not built alike."""
    if len(one.equations) != len(other.equations) or not one.scan.states:
        return None
    if one.scan.reverse and not other.scan.reverse:
        return None  # names are made from the scan that runs forward
    out = _Names({one.scan.name: other.scan.name})
    out.turned = one.scan.reverse != other.scan.reverse
    sign = -1 if out.turned else 1
    for a, b in zip(one.equations, other.equations, strict=True):
        out[a.name] = b.name
        if len(a.edges) != len(b.edges) or type(a.rhs) is not type(b.rhs):
            return None
        for x, y in zip(a.edges, b.edges, strict=True):
            lag = x.operand.lag
            if y.operand.lag != (lag and sign * lag) or x.path != y.path:
                return None
            out.setdefault(x.operand.name, y.operand.name)
    for s, u in zip(one.scan.states, other.scan.states, strict=True):
        out[s.final] = u.final
    return out
