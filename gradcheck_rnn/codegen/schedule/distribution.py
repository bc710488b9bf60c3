"""Loop distribution: only values that form a recurrence stay in a loop over time.

A value is in a loop when it depends on itself at an earlier step. In terms of graphs: when it lies
in a strongly connected component once the reading of a state at a lag counts as a dependence.
Everything else is computed for all steps at once, before the loops or after them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from .nodes import Node

__all__ = ["LoopDistribution", "components"]

Dependencies = Callable[[Node], Sequence[Node]]
#: What is never drawn into a loop: what is made of all steps at once, and states and adjoints of
#: scans without a recurrence, whose other steps a loop in another direction has not made yet.
_OF_OTHER_STEPS = frozenset({"whole", "steps", "state", "adjoint"})


def components(roots: Iterable[Node], deps: Dependencies) -> list[list[Node]]:
    """Strongly connected components, each after those it depends on (Tarjan 1972, iterative)."""
    index: dict[Node, int] = {}
    low: dict[Node, int] = {}
    held: set[Node] = set()
    path: list[Node] = []
    out: list[list[Node]] = []
    for root in roots:
        if root in index:
            continue
        work: list[tuple[Node, int]] = [(root, 0)]
        while work:
            node, i = work.pop()
            if i == 0:
                index[node] = low[node] = len(index)
                path.append(node)
                held.add(node)
            children = deps(node)
            descended = False
            for j in range(i, len(children)):
                child = children[j]
                if child not in index:
                    work.append((node, j + 1))
                    work.append((child, 0))
                    descended = True
                    break
                if child in held:
                    low[node] = min(low[node], index[child])
            if descended:
                continue
            if low[node] == index[node]:
                component: list[Node] = []
                while True:
                    member = path.pop()
                    held.discard(member)
                    component.append(member)
                    if member is node:
                        break
                out.append(component[::-1])
            if work:
                parent = work[-1][0]
                low[parent] = min(low[parent], low[node])
    return out


@dataclass
class LoopDistribution:
    """Components in order, and for each value in a recurrence the number of its component."""

    order: list[list[Node]]
    loop: dict[Node, int]

    @classmethod
    def of(cls, roots: Iterable[Node], deps: Dependencies) -> LoopDistribution:
        """Find the recurrences among all values the roots need."""
        order = components(roots, deps)
        loop: dict[Node, int] = {}
        for number, component in enumerate(order):
            alone = component[0]
            if len(component) > 1 or alone in deps(alone):
                loop.update((n, number) for n in component)
        return cls(order, loop)

    def only(self, roots: Iterable[Node], deps: Dependencies) -> LoopDistribution:
        """The same without values that no root needs."""
        needed = {n for component in components(roots, deps) for n in component}
        order = [[n for n in component if n in needed] for component in self.order]
        loop = {n: k for n, k in self.loop.items() if n in needed}
        return LoopDistribution([c for c in order if c], loop)

    def drawn_in(
        self, deps: Dependencies, wanted: Callable[[Node], bool], read_later: bool = False
    ) -> LoopDistribution:
        """The same with wanted values computed step by step, in the only loop that reads them.

        ``read_later``: what comes after the loop may read them as well; and what is made of them
        for every step, and read by the loop, is drawn in with them.
        """
        readers: dict[Node, set[int | None]] = {}
        leads: dict[Node, set[int]] = {}  # loops that a value leads to
        ahead: dict[Node, set[int]] = {}  # those before which something else reads it
        loop = dict(self.loop)
        drawable = {n for n in self.nodes if wanted(n)}
        if read_later:
            drawable |= self._made_of(drawable - {*loop}, deps)
        drawable = {n for n in drawable if n.op not in _OF_OTHER_STEPS}
        for component in reversed(self.order):  # readers first
            n = component[0]
            found = readers.get(n, set())
            if read_later and not ahead.get(n):  # so that no loop has to wait for another
                found = found - {None}
            if n not in loop and n in drawable and len(found) == 1:
                (where,) = found
                if where is not None:
                    loop[n] = where
            onward = set().union(*(leads.get(m, ()) for m in component))
            for member in component:
                for a in deps(member):
                    readers.setdefault(a, set()).add(where := loop.get(member))
                    to = onward | ({where} if where is not None else set())
                    leads.setdefault(a, set()).update(to)
                    if where is None:
                        ahead.setdefault(a, set()).update(to)
        order: list[list[Node]] = []
        waiting: dict[int, list[Node]] = {}
        for component in self.order:
            n = component[0]
            if n in self.loop:
                order.append([*waiting.pop(loop[n], []), *component])
            elif n in loop:
                waiting.setdefault(loop[n], []).append(n)
            else:
                order.append(component)
        return LoopDistribution(_ordered(order, loop, deps) if read_later else order, loop)

    def _made_of(self, some: set[Node], deps: Dependencies) -> set[Node]:
        """Values of every step outside the loops that some values are used for."""
        made = set(some)
        for n in self.nodes:
            if n not in self.loop and len(n.lead) == 2 and not made.isdisjoint(deps(n)):
                made.add(n)
        return made

    def with_readers(
        self, deps: Dependencies, wide: Callable[[Node], bool], also: Iterable[Node] = (),
        entries: Callable[[Node], bool] = lambda n: False,
    ) -> LoopDistribution:  # fmt: skip
        """The same with wide values that come after a loop, and what reads those, in the loop.

        A sum over steps that reads them becomes one that every step adds to: a value without
        leading axes in a loop. ``also``: values in loops whose readers are drawn in as well;
        ``entries``: what else is, where all that it reads is there.
        """
        loop, near = dict(self.loop), {*also, *(n for n in self.loop if wide(n))}
        wanted: set[Node] = set()  # wide values, and all that they are made of
        for n in reversed(self.nodes):
            if n not in loop and (wide(n) or n in wanted):
                wanted.update((n, *deps(n)))
        behind: dict[Node, set[int]] = {}
        before: dict[int, set[int]] = {}  # the loops that one comes after
        for component in self.order:
            after: set[int] = set()
            for d in (d for n in component for d in deps(n)):
                after |= behind.get(d, set()) | ({loop[d]} if d in loop else set())
            n = component[0]
            behind.update(dict.fromkeys(component, after - {loop.get(n, -1)}))
            if n in loop:
                before.setdefault(loop[n], set()).update(behind[n])
            read = deps(n)
            drawn = n in wanted or _reads_steps(n, near) or entries(n)
            if n in loop or not drawn or n.op in _OF_OTHER_STEPS:
                continue
            for k in sorted(after):
                # All that it reads is of a step of the loop, or comes before it in any case; a sum
                # that every step adds to is there after the last one.
                if all(
                    (loop.get(d) == k and len(d.lead) == 2) or before[k] >= _loops(d, loop, behind)
                    for d in read
                ):
                    loop[n] = k
                    near |= {n} if wide(n) else set()
                    break
        return LoopDistribution(_ordered(self.order, loop, deps), loop)

    @property
    def nodes(self) -> list[Node]:
        return [n for component in self.order for n in component]


def _reads_steps(n: Node, near: set[Node]) -> bool:
    """Whether a value over steps, or a sum of all, reads one of some values.

    A product with what no step changes is made once, of the sum of the other factor.
    """
    if near.isdisjoint(n.args):
        return False
    if len(n.lead) == 2:
        return True
    moving = [a for a in n.args if len(a.lead) == 2]
    return n.op in ("contract", "outer", "reduce") and len(moving) == len(n.args)


def _loops(n: Node, loop: dict[Node, int], behind: dict[Node, set[int]]) -> set[int]:
    """The loops that a value comes after, its own among them."""
    return behind[n] | ({loop[n]} if n in loop else set())


def _ordered(
    order: list[list[Node]], loop: dict[Node, int], deps: Dependencies
) -> list[list[Node]]:
    """Components with those of one loop joined, each after those it depends on."""
    joined: dict[object, list[Node]] = {}
    for component in order:
        joined.setdefault(loop.get(component[0], component[0]), []).extend(component)
    where = {n: key for key, members in joined.items() for n in members}
    out: list[list[Node]] = []
    done: set[object] = set()
    stack: list[tuple[object, bool]] = [(key, False) for key in reversed(joined)]
    while stack:
        key, ready = stack.pop()
        if ready:
            out.append(joined[key])
        elif key not in done:
            done.add(key)
            stack.append((key, True))
            needed = dict.fromkeys(where[d] for n in joined[key] for d in deps(n))
            stack.extend((k, False) for k in reversed(needed) if k not in done)
    return out
