"""From a definition to named equations.

The definition is called once with symbols. Its locals at return give the intermediates their
names (by object identity, captured while tracing only); `name` overrides. Then the expression
graph is cut into equations, in the order in which the definition computed them:

1. what has a name, is a state or an output;
2. what is used twice (so that every right-hand side is a tree), or split into heads or merged;
3. the argument of an elementwise function or a softmax (a pre-activation: BPTT needs its adjoint);
4. a product of parameters inside something that differs by sequence (``W @ b`` in ``W @ b + h``):
   its adjoint is one for all sequences, so the sum over the batch has to happen there;
5. a sum over heads inside something that every head has: its adjoint is one for all heads;
6. the largest operands of what would be longer than `LONGEST` operations, so that every
   right-hand side is small enough to be read, and to be walked recursively.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..errors import DefinitionError, GradcheckError
from .cell import TRACERS, Cell, Delays
from .dims import Shape, declared_dims, sequences_in_front
from .expression_nodes import nodes_of, split_or_merged
from .loops import NotAlone, Repeated, recorded_loops, substeps_of, written_out
from .primitives import given_names
from .source_lines import noting
from .values import Expr, Symbol

__all__ = ["Equation", "TracedCell", "trace"]


@dataclass(frozen=True)
class Equation:
    """``name_t = rhs``: the right-hand side is a tree whose leaves are symbols and numbers."""

    name: str
    rhs: Expr
    shape: Shape
    named_by: str = "user"


@dataclass(frozen=True)
class TracedCell:
    """A cell's equations in definition order, and which of them are its states and outputs.

    They are those of one of the ``substeps`` that a step has (see `loops`).
    """

    cell: Cell
    equations: tuple[Equation, ...]
    states: Mapping[str, str]
    outputs: Mapping[str, str]
    substeps: int = 1


def _call_with_locals(
    function: Callable[..., Any], arguments: Mapping[str, Any]
) -> tuple[Any, dict[str, Any]]:
    """Call and also give the function's locals at return."""
    captured: dict[str, Any] = {}
    code = getattr(function, "__wrapped__", function).__code__

    def watch(frame: Any, event: str, _: Any) -> None:
        if event == "return" and frame.f_code is code:
            captured.clear()
            captured.update(frame.f_locals)

    before: Any = sys.getprofile()
    sys.setprofile(watch)
    try:
        return function(**arguments), captured
    finally:
        # cProfile installs itself in C: what getprofile() gives then is switched on, not set.
        if before is not None and not callable(before):
            sys.setprofile(None)
            before.enable()
        else:
            sys.setprofile(before)


def _place(cell: Cell, problem: BaseException) -> str:
    """File and line inside the user's file where the definition failed."""
    file = cell.place.rsplit(":", 1)[0]
    frames = [f for f in traceback.extract_tb(problem.__traceback__) if f.filename == file]
    return f"{file}:{frames[-1].lineno}" if frames else cell.place


def trace(cell: Cell) -> TracedCell:
    """The equations of a cell.

    The definition is called twice: what it gives must not depend on random numbers or a clock.

    Raises
    ------
    DefinitionError
        A state is never assigned, a parameter or an input is never used, an operation of the
        definition is not in the language, or a constant is another one in the second call; the
        message names the place.
    """
    try:
        results, table, local, substeps = _called(cell)
    except NotAlone:
        with written_out():
            return trace(cell)
    for n, value in results.items():
        if not isinstance(value, Expr):
            raise DefinitionError(
                f"cell {cell.name!r} ({cell.place}): {n!r} is {type(value).__name__}, not a value "
                "computed from the cell's arguments"
            )
        _check_result(cell, n, value)
    _check_steady(cell, results)
    return replace(_Cutter(cell, results, table, local).cut(), substeps=substeps)


def _called(
    cell: Cell,
) -> tuple[dict[str, Any], list[tuple[Expr, str]], dict[str, Any], int]:
    """What the definition returns on symbols, the names it gives, its locals and substeps."""
    arguments: dict[str, Any] = {}
    for n, kind in cell.kinds.items():
        shape = cell.shapes[n]
        if kind == "state":
            steps = {
                k: Expr("symbol", (), shape, {"symbol": Symbol(n, "state", k)})
                for k in cell.lags[n]
            }
            arguments[n] = steps[1] if cell.lags[n] == (1,) else Delays(n, steps)
        else:
            lag = 0 if kind in ("input", "data") else None
            arguments[n] = Expr("symbol", (), shape, {"symbol": Symbol(n, kind, lag)})
    table: list[tuple[Expr, str]] = []
    loops: list[Repeated] = []
    token, repeated = given_names.set(table), recorded_loops.set(loops)
    dims = declared_dims.set(cell.dims)
    front = sequences_in_front.set(cell.front)
    try:
        returned, local = _call_with_locals(cell.function, arguments)
        results = cell.collect(returned)
        inner = {n: arguments[n] for n in cell.states}
        substeps = substeps_of(cell.name, loops, inner, results)
    except GradcheckError as problem:
        if cell.place in str(problem):
            raise
        raise type(problem)(
            f"{_place(cell, problem)}: in cell {cell.name!r}: {problem}"
        ) from problem
    except Exception as problem:
        raise DefinitionError(
            f"{_place(cell, problem)}: in cell {cell.name!r}: {type(problem).__name__}: "
            + str(problem).replace("'Expr'", "a value of the cell")
        ) from problem
    finally:
        given_names.reset(token)
        recorded_loops.reset(repeated)
        declared_dims.reset(dims)
        sequences_in_front.reset(front)
    return results, table, local, substeps


def _check_steady(cell: Cell, results: Mapping[str, Expr]) -> None:
    """Raise where a second call gives other constants or other equations."""
    token = noting.set(cell.place.rsplit(":", 1)[0])
    try:
        again, *_ = _called(cell)
    finally:
        noting.reset(token)
    draws = "it must not draw random numbers or read a clock; draw outside, and declare the value "
    draws += "under data (per step) or fixed"
    for n, first in results.items():
        second = again[n]
        if not isinstance(second, Expr):
            raise DefinitionError(_other_equations(cell, draws))
        nodes, others = list(nodes_of(first)), list(nodes_of(second))
        where = {id(e): k for k, e in enumerate(nodes)}
        elsewhere = {id(e): k for k, e in enumerate(others)}
        for one, two in zip(nodes, others, strict=False):
            if one.op == two.op == "literal" and one.data["value"] != two.data["value"]:
                raise DefinitionError(
                    f"{two.data.get('place', cell.place)}: in cell {cell.name!r}: a constant is "
                    f"{one.data['value']:.12g} when the definition is called and "
                    f"{two.data['value']:.12g} when it is called again: {draws}"
                )
            links = [where[id(a)] for a in one.args], [elsewhere[id(a)] for a in two.args]
            data = [{k: v for k, v in e.data.items() if k != "place"} for e in (one, two)]
            if one.op != two.op or links[0] != links[1] or data[0] != data[1]:
                raise DefinitionError(_other_equations(cell, draws))
        if len(nodes) != len(others):
            raise DefinitionError(_other_equations(cell, draws))


def _other_equations(cell: Cell, draws: str) -> str:
    return (
        f"{cell.place}: in cell {cell.name!r}: the definition gives other equations when it is "
        f"called again: {draws}"
    )


def _check_result(cell: Cell, n: str, value: Expr) -> None:
    if n in cell.states:
        declared = cell.shapes[n]
        wanted = (declared.rows, declared.cols, declared.heads)
        if (value.shape.rows, value.shape.cols, value.shape.heads) != wanted:
            summed = value.shape.headed and not declared.headed
            raise DefinitionError(
                f"cell {cell.name!r} ({cell.place}): state {n!r} is declared {declared} but the "
                f"new value has shape {value.shape}" + "; sum_heads sums over heads" * summed
            )
    if not value.shape.column and n not in cell.states:
        raise DefinitionError(
            f"cell {cell.name!r} ({cell.place}): {n!r} has shape {value.shape}; "
            "outputs that are no states are vectors"
        )


#: Operations and leaves of a right-hand side at most; the zoo's have 21.
LONGEST = 60

_PREACTIVATED = {"apply", "softmax", "log_softmax", "cross_entropy"}
_LIGHT = {"symbol", "literal", "size", "eye", "ones", "broadcast", "greater", "head_block"}


class _Cutter:
    def __init__(
        self,
        cell: Cell,
        results: Mapping[str, Expr],
        given: Sequence[tuple[Expr, str]],
        local: Mapping[str, Any],
    ) -> None:
        self.cell = cell
        self.results = results
        self.nodes: dict[int, Expr] = {}
        for result in results.values():
            self.nodes.update((id(e), e) for e in nodes_of(result))
        self.taken = set(cell.shapes) | set(results)
        self.counts: dict[str, int] = {}
        self.names: dict[int, str] = {}
        self.auto: set[int] = set()
        self.copies: dict[str, Expr] = {}
        self.symbolic = self._symbolic()
        self._check_used()
        self._name_results()
        for value, n in given:
            self._name(id(value), n)
        for n, value in local.items():
            if isinstance(value, Expr):
                self._name(id(value), n)

    def _check_used(self) -> None:
        used = {e.symbol.name for e in self.nodes.values() if e.op == "symbol"}
        for kind, word in (
            ("param", "parameter"),
            ("fixed", "fixed parameter"),
            ("input", "input"),
            ("data", "data"),
        ):
            for n in self.cell.of_kind(kind):
                if n not in used:
                    raise DefinitionError(
                        f"cell {self.cell.name!r} ({self.cell.place}): {word} {n!r} is never used"
                    )

    def _name_results(self) -> None:
        # States first: the adjoint of a state is the one people know by name.
        order = [*self.cell.states, *(n for n in self.results if n not in self.cell.states)]
        for n in order:
            e = self.results[n]
            if e.op in ("symbol", "literal", "broadcast") or id(e) in self.names:
                self.copies[n] = e
            else:
                self.names[id(e)] = n

    def _name(self, identity: int, wanted: str) -> None:
        e = self.nodes.get(identity)
        if e is None or e.op in _LIGHT or identity in self.names:
            return
        self.names[identity] = self._fresh(wanted)

    def _fresh(self, wanted: str) -> str:
        n, count = wanted, self.counts.get(wanted, 1)
        while n in self.taken:
            n, count = f"{wanted}_{count}", count + 1
        self.counts[wanted] = count
        self.taken.add(n)
        return n

    def _name_shared(self) -> None:
        uses: dict[int, int] = {}
        copied = split_or_merged(self.nodes.values())
        for e in self.nodes.values():
            for a in e.args:
                uses[id(a)] = uses.get(id(a), 0) + 1
        for e in sorted(self.nodes.values(), key=lambda e: e.serial):
            wanted = uses.get(id(e), 0) > 1 or id(e) in copied
            if wanted and e.op not in _LIGHT and id(e) not in self.names:
                if e not in self.symbolic:
                    continue
                self.names[id(e)] = self._fresh("v")
                self.auto.add(id(e))

    def _symbolic(self) -> set[Expr]:
        """The nodes with a symbol in them."""
        out: set[Expr] = set()
        for e in sorted(self.nodes.values(), key=lambda e: e.serial):
            if e.op == "symbol" or any(a in out for a in e.args):
                out.add(e)
        return out

    def _name_preactivations(self) -> None:
        owners = self._owners()
        for e in sorted(self.nodes.values(), key=lambda e: e.serial):
            if e.op not in _PREACTIVATED:
                continue
            a = e.args[0]
            if id(a) in self.names or self._simple(a):
                continue
            owner = owners[id(e)]
            letter = self._letter(a) if owner.endswith("_tilde") else ""
            stem = letter or owner.removesuffix("_tilde").removeprefix("a_")
            self.names[id(a)] = self._fresh(f"a_{stem}")
            self.auto.add(id(a))

    def _letter(self, e: Expr) -> str:
        """The letter of a gate, c, where all its parameters have it: W_c, U_c, b_c."""
        found, stack = set(), [e]
        while stack:
            node = stack.pop()
            if node.op == "symbol" and not node.shape.batch:
                found.add(node.symbol.name.rpartition("_")[2])
            elif node is e or id(node) not in self.names:
                stack.extend(node.args)
        return found.pop() if len(found) == 1 else ""

    def _name_shared_products(self) -> None:
        for e in sorted(self.nodes.values(), key=lambda e: e.serial):
            if not e.shape.batch:
                continue
            stack = [a for a in e.args if not a.shape.batch]
            while stack:
                a = stack.pop()
                if id(a) in self.names:
                    continue
                if a.op == "matmul" and a.shape.column:
                    self.names[id(a)] = self._fresh("v")
                    self.auto.add(id(a))
                else:
                    stack.extend(a.args)

    def _name_sums_over_heads(self) -> None:
        for e in sorted(self.nodes.values(), key=lambda e: e.serial):
            stack = [a for a in e.args if not a.shape.headed] if e.shape.headed else []
            while stack:
                a = stack.pop()
                if id(a) in self.names:
                    continue
                if a.op == "sum_heads":
                    self.names[id(a)] = self._fresh("v")
                    self.auto.add(id(a))
                else:
                    stack.extend(a.args)

    @staticmethod
    def _simple(e: Expr) -> bool:
        while e.op in ("neg", "broadcast", "spread", "transpose"):
            e = e.args[0]
        return e.op in _LIGHT

    def _owners(self) -> dict[int, str]:
        """For every node the name of the equation whose right-hand side holds it."""
        users: dict[int, Expr] = {}
        ordered = sorted(self.nodes.values(), key=lambda e: e.serial)
        for e in ordered:
            for a in e.args:
                users.setdefault(id(a), e)
        owners: dict[int, str] = {}
        for e in reversed(ordered):
            user = users.get(id(e))
            held = "v" if user is None else owners[id(user)]
            owners[id(e)] = self.names.get(id(e), held)
        return owners

    def _largest(
        self, e: Expr, sizes: Mapping[int, int], rebuilt: Mapping[int, Expr]
    ) -> Iterator[Expr]:
        """The operands that have to become equations so that ``e`` is not too long."""
        total = sum((sizes[id(a)] for a in e.args), 1)
        for a in sorted(dict.fromkeys(e.args), key=lambda a: -sizes[id(a)]):
            if total <= LONGEST or rebuilt[id(a)].op in _LIGHT:
                return
            if a in self.symbolic:
                total -= sizes[id(a)] - 1
                yield a

    def cut(self) -> TracedCell:
        self._name_shared()
        self._name_preactivations()
        self._name_shared_products()
        self._name_sums_over_heads()
        rebuilt: dict[int, Expr] = {}
        sizes: dict[int, int] = {}
        equations: list[Equation] = []
        for e in sorted(self.nodes.values(), key=lambda e: e.serial):
            if sum((sizes[id(a)] for a in e.args), 1) > LONGEST:
                for a in self._largest(e, sizes, rebuilt):
                    equations.append(Equation(self._fresh("v"), rebuilt[id(a)], a.shape, "auto"))
                    rebuilt[id(a)] = _symbol(equations[-1])
                    sizes[id(a)] = 1
            args = tuple(rebuilt[id(a)] for a in e.args)
            fresh = _flat(Expr(e.op, args, e.shape, e.data)) if args else e
            sizes[id(e)] = sum((sizes[id(a)] for a in e.args), 1)
            n = self.names.get(id(e))
            if n is None:
                rebuilt[id(e)] = fresh
                continue
            equations.append(Equation(n, fresh, e.shape, "auto" if id(e) in self.auto else "user"))
            rebuilt[id(e)], sizes[id(e)] = _symbol(equations[-1]), 1
        for n, e in self.copies.items():
            equations.append(Equation(n, rebuilt[id(e)], replace(e.shape, batch=True)))
        return TracedCell(
            self.cell,
            tuple(equations),
            {s: s for s in self.cell.states},
            {o: o for o in self.cell.outputs},
        )


def _symbol(e: Equation) -> Expr:
    return Expr("symbol", (), e.shape, {"symbol": Symbol(e.name, "equation", 0)})


def _flat(e: Expr) -> Expr:
    """a + b + c as one sum of three, a * b * c as one product of three."""
    if e.op not in ("add", "mul"):
        return e
    args: list[Expr] = []
    for a in e.args:
        args.extend(a.args if a.op == e.op else (a,))
    return Expr(e.op, tuple(args), e.shape, e.data) if len(args) != len(e.args) else e


TRACERS.append(trace)
