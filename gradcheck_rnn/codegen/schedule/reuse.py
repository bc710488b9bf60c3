"""Products of products: one place for several that are read by the next product and then no more.

Each is made as late as its readers allow, and takes the place of one that has been read. Values
that elementwise work reads keep their own places, so that it can be fused and joined.
"""

from __future__ import annotations

from collections.abc import Collection

from .dependence import conflict
from .inspect import reads, with_buffers, writes
from .ops import Allocate, Buffer, Contract, Loop, Statement

__all__ = ["reuse"]


def reuse(
    statements: list[Statement], allocations: list[Allocate], kept: Collection[Buffer]
) -> None:
    """Change, in place, the statements and allocations of a routine; ``kept``: handed out."""
    barred = _barred(statements, kept)
    lists = [statements, *(s.body for s in statements if isinstance(s, Loop))]
    for body in lists:
        inner = body is not statements
        elsewhere = {b for other in lists if other is not body for b in _owners(other, False)}
        own = [b for b in _owners(body, False) if b not in barred and b not in elsewhere]
        mine = {b for b in own if _made_whole(body, b)}
        _delay(body, mine, inner)
        place = _places(body, mine)
        body[:] = [s if isinstance(s, Loop) else with_buffers(s, place) for s in body]
        unused = {b for b, other in place.items() if b != other}
        allocations[:] = [a for a in allocations if a.buffer not in unused]


def _owners(body: list[Statement], loops: bool = True) -> dict[Buffer, None]:
    """The buffers that a list of statements touches, in order."""
    some = [s for s in body if loops or not isinstance(s, Loop)]
    return dict.fromkeys(a.buffer.base or a.buffer for s in some for a in (*reads(s), *writes(s)))


def _barred(statements: list[Statement], kept: Collection[Buffer]) -> set[Buffer]:
    """Buffers that something else than a product touches, or that are handed out."""
    out = {b.base or b for b in kept}
    flat = [p for s in statements for p in (s.body if isinstance(s, Loop) else [s])]
    for s in flat:
        for a in (*reads(s), *writes(s)):
            b = a.buffer
            plain = b.base is None and a.whole and not a.lag and a.slot is None
            if not (isinstance(s, Contract) and plain and b.lead and b.role in ("work", "value")):
                out.add(b.base or b)
    return out


def _made_whole(body: list[Statement], b: Buffer) -> bool:
    """Whether one product makes a value, before the others read it."""
    makers = [s for s in body if any(a.buffer == b for a in writes(s))]
    return len(makers) == 1 and isinstance(makers[0], Contract) and not makers[0].accumulate


def _delay(body: list[Statement], mine: Collection[Buffer], in_loop: bool) -> None:
    """Put what makes these values just before what cannot come earlier than it."""
    for i in reversed(range(len(body))):
        s = body[i]
        if isinstance(s, Contract) and s.dest.buffer in mine:
            j = i + 1
            while j < len(body) and not conflict(s, body[j], in_loop):
                j += 1
            body[i:j] = [*body[i + 1 : j], s]


def _places(body: list[Statement], mine: Collection[Buffer]) -> dict[Buffer, Buffer]:
    """Value → the one whose place it takes."""
    last = {a.buffer: i for i, s in enumerate(body) for a in reads(s) if a.buffer in mine}
    place: dict[Buffer, Buffer] = {}
    free: dict[object, list[Buffer]] = {}
    for i, s in enumerate(body):
        for a in writes(s):
            if a.buffer in mine:
                waiting = free.get((a.buffer.lead, a.buffer.shape, a.buffer.role), [])
                place[a.buffer] = waiting.pop() if waiting else a.buffer
        for b in dict.fromkeys(a.buffer for a in reads(s)):
            if last.get(b) == i:
                at = place[b]
                free.setdefault((at.lead, at.shape, at.role), []).append(at)
    return place
