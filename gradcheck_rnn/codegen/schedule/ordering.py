"""Statements in order: components one after another, the steps of a recurrence in a loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from .buffers import BufferAssignment, last_step
from .emit import Emitter
from .graphs import Graphs
from .nodes import Node
from .ops import Access, Loop, Statement

__all__ = ["Ordering"]


class Ordering:
    """Writes the statements of a routine."""

    def __init__(self, graphs: Graphs, buffers: BufferAssignment) -> None:
        self.graphs, self.buffers, self.eq = graphs, buffers, graphs.eq

    def statements(self, emitter: Emitter, *, backward: bool) -> list[Statement]:
        """All statements of the routine whose values the emitter has placed."""
        distribution = emitter.distribution
        out: list[Statement] = []
        done: set[str] = set()
        for component in distribution.order:
            if component[0] not in distribution.loop:
                n = component[0]
                if not backward:
                    out += self.buffers.late_initial_values([n], done, emitter.access)
                out += self._emit(emitter, n)
                continue
            if not backward:
                out += self.buffers.late_initial_values(component, done, emitter.access)
            out.append(self._loop(emitter, component, backward=backward))
        return out

    def _emit(self, emitter: Emitter, n: Node) -> Iterator[Statement]:
        if n.op == "accumulate":
            name, lag = n.data
            buffer = self.buffers.adjoint(name)
            scan = self.eq.states[name][1]
            dest = Access(buffer, slot=last_step(scan)) if lag == "final" else Access(buffer, lag)
            yield from emitter.store(dest, n.args[0], True, f"d_{name}")
        elif n in emitter.assigned and n not in emitter.given:
            yield from emitter.store(emitter.assigned[n], n)

    def _loop(self, emitter: Emitter, component: list[Node], *, backward: bool) -> Loop:
        members = set(component)
        leaf = next(n for n in component if n.op in ("state", "adjoint"))
        name = leaf.data if backward else leaf.data[0]
        scan = self.eq.states[name][1]
        loop = Loop(self.eq.scan_lead(scan)[0], scan.reverse != backward)
        first: list[Node] = []
        last: list[Node] = []
        for n in component:
            (last if n.op == "accumulate" and n.data[1] != 0 else first).append(n)
        order = {n: i for i, n in enumerate(self.eq.forward.values())}
        if not backward:
            first.sort(key=lambda n: (order.get(n, len(order)), n.serial))

        def deps(n: Node) -> Sequence[Node]:
            if n.op == "adjoint":
                return [s for s in self.graphs.sinks_of(n.data) if s in members and s.data[1] == 0]
            if n.op == "state" or n in emitter.given:
                return ()
            return [a for a in n.args if a in members]

        seen: set[Node] = set()
        for root in (*first, *last):
            for n in _postorder(root, deps, seen):
                loop.body += self._emit(emitter, n)
        return loop


def _postorder(
    root: Node, deps: Callable[[Node], Sequence[Node]], seen: set[Node]
) -> Iterator[Node]:
    stack = [(root, False)]
    while stack:
        node, ready = stack.pop()
        if ready:
            yield node
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            stack.extend((a, False) for a in reversed(list(deps(node))))
