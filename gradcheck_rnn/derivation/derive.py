"""The pipeline from a network to its derivation, as one visible list of passes.

1. lower: every right-hand side becomes a term;
2. find leaves: each occurrence of a variable gets a path from the root;
3. pull back: along each path the rules are applied, outermost first, and every step is kept.

Kronecker forms and tangents are made from the same paths when they are asked for.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..calculus.rules import RULES, RuleTable
from ..calculus.terms import Sym, Term
from ..language.cell import Cell
from ..language.network import Network, Scan, as_network
from .program import Derivation, Edge, EquationProgram, ScanProgram, Step, over_heads
from .to_terms import lower, symbol_for

__all__ = ["derive"]

_ACTIVE = {"param", "input", "sequence", "static", "state", "equation"}


def derive(target: Cell | Network, rules: RuleTable = RULES) -> Derivation:
    """Derive BPTT and RTRL for a cell or a network.

    Parameters
    ----------
    rules : RuleTable
        The calculus; tests pass tables with a planted fault.

    Raises
    ------
    DefinitionError
        The definition is malformed.
    MissingRule
        The definition uses a node without a rule.
    """
    network = as_network(target)
    return Derivation(network, tuple(_scan(s, rules) for s in network.scans), rules)


def _scan(scan: Scan, rules: RuleTable) -> ScanProgram:
    equations = []
    for e in scan.equations:
        symbol = symbol_for(e.name, e.shape, "equation", 0 if scan.axis else None)
        rhs = lower(e.rhs, scan)
        equations.append(
            EquationProgram(symbol, rhs, tuple(_edges(scan, symbol, rhs, rules)), e.named_by)
        )
    return ScanProgram(scan, tuple(equations))


def _leaves(
    node: Term, rules: RuleTable, path: tuple[int, ...] = ()
) -> Iterator[tuple[tuple[int, ...], Sym]]:
    """Occurrences of differentiable variables, left to right, with their paths."""
    if isinstance(node, Sym):
        if node.kind in _ACTIVE:
            yield path, node
        return
    if not node.operands:
        return
    passive = rules[node].passive
    for i, operand in enumerate(node.operands):
        if i not in passive:
            yield from _leaves(operand, rules, (*path, i))


def _edges(scan: Scan, symbol: Sym, rhs: Term, rules: RuleTable) -> Iterator[Edge]:
    seen: dict[str, int] = {}
    for path, leaf in _leaves(rhs, rules):
        identity = f"{scan.name}/{symbol.name}<-{leaf.name}"
        if leaf.kind == "state":
            identity += f"@{leaf.lag}"
        count = seen[identity] = seen.get(identity, -1) + 1
        if count:
            identity += f"#{count}"
        pullback, steps = _pull_back(symbol, rhs, path, rules)
        yield Edge(identity, scan.name, symbol, rhs, leaf, path, pullback, steps, rules)


def _pull_back(
    symbol: Sym, rhs: Term, path: tuple[int, ...], rules: RuleTable
) -> tuple[Term, tuple[Step, ...]]:
    bar: Term = symbol.with_(mark="bar")
    node: Term = rhs
    steps: list[Step] = []
    for depth, i in enumerate(path):
        rule = rules[node]
        out = symbol if depth == 0 else node
        after = rule.pullback(node, i, bar, out)
        steps.append(Step(rule.name, path[:depth], node, bar, after, rule.citation))
        bar, node = after, node.operands[i]
    total = over_heads(bar, node) if isinstance(node, Sym) else bar
    if total is not bar:
        rule = rules[total]
        steps.append(Step(rule.name, path, node, bar, total, rule.citation))
    return total, tuple(steps)
