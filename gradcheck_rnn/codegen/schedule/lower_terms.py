"""From terms (columns, one sequence) to nodes (rows, all steps and sequences).

``W h`` becomes ``h Wᵀ``; a product column · row is an outer product summed over steps and
sequences, because only gradients of what all of them share have that form.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from typing import Any

from sympy import Expr as Scalar
from sympy import Rational

from ...calculus import terms as T
from ...calculus.derivatives import user_definition
from ...errors import MissingRule, UnsupportedOperation
from ...language.dims import ONE, Dim
from .kernel_names import Names
from .nodes import Graph, Node, join
from .ops import Lead

__all__ = ["Lowering", "entries", "to_dim"]


@lru_cache(maxsize=4096)
def to_dim(e: Scalar) -> Dim:
    """A SymPy dim as a form of named dims."""
    out = Dim()
    for monomial, coefficient in e.expand().as_coefficients_dict().items():
        one = Dim((), int(coefficient))
        for name, power in monomial.as_powers_dict().items() if monomial != 1 else ():
            for _ in range(int(power)):
                one = one * Dim.of({name.name: 1})
        out = out + one
    return out


def _fraction(value: Rational) -> Fraction:
    return Fraction(int(value.p), int(value.q))


def entries(*terms: T.Term) -> tuple[T.Term, ...]:
    """Matrices in place of their vec's, where the order of the entries says nothing."""
    if all(isinstance(x, T.Vec) for x in terms):
        return tuple(x.operands[0] for x in terms)
    return terms


class Lowering:
    """Lowers terms of one scan.

    Parameters
    ----------
    resolve : callable
        Symbol → node.
    lead : Lead
        The leading axes of the equation whose adjoint the term pulls back (what sums range over).
    names : Names
        The module's names: what a dim of the definition is called there.
    """

    def __init__(
        self,
        graph: Graph,
        resolve: Callable[[T.Sym], Node],
        lead: Lead,
        names: Names,
    ) -> None:
        self.g, self.resolve, self.lead, self.names = graph, resolve, lead, names

    def dim(self, e: Scalar) -> Dim:
        """A SymPy dim by the names of the module's local variables."""
        return self.names.dim(to_dim(e))

    def shape(self, term: T.Term) -> tuple[Dim, Dim]:
        """Rows and columns of a term."""
        return self.dim(term.shape[0]), self.dim(term.shape[1])

    def shared(self, term: T.Term) -> Node:
        """What a term gives to an adjoint that all sequences share."""
        return self(term)

    def __call__(self, term: T.Term) -> Node:
        rule = _RULES.get(type(term))
        if rule is None:
            raise MissingRule(f"code generation has no operation for {type(term).__name__}: {term}")
        return rule(self, term)

    def _all(self, term: T.Term) -> list[Node]:
        return [self(a) for a in term.operands]

    def times(self, term: T.Term) -> Node:
        """A chain of parameters around at most one column and one row of the sequences."""
        g = self.g
        items: list[tuple[Node, bool]] = []
        for factor in term.operands:
            if isinstance(factor, T.Transpose):
                inner = self(factor.operands[0])
                if inner.lead and not inner.scalar:
                    items.append((inner, True))
                else:
                    items.append((inner if inner.lead else g.transpose(inner), False))
            else:
                items.append((self(factor), False))
        moving = [i for i, (n, _) in enumerate(items) if n.lead]
        if len(moving) == 1:
            i = moving[0]
            value, is_row = items[i]
            if not is_row and i == len(items) - 1:
                for weight, _ in reversed(items[:-1]):
                    value = g.gemm(value, weight)
                return value
            total = g.reduce(value, self.lead, ())
            items[i] = (g.transpose(total) if is_row else total, False)
        elif len(moving) == 2 and moving[1] == moving[0] + 1 and not items[moving[0]][1]:
            i = moving[0]
            items[i : i + 2] = [(g.outer(items[i][0], items[i + 1][0], self.lead), False)]
        elif moving:
            raise UnsupportedOperation(f"no kernel for the product {term}")
        return g.parameter_product([n for n, _ in items])

    def dot(self, term: T.Term) -> Node:
        return self.g.unit_sum(self.g.mul([self(x) for x in entries(*term.operands)]))

    def apply(self, term: T.Term) -> Node:
        assert_term: Any = term
        definition = user_definition(assert_term.fname, assert_term.x)
        if definition is not None:
            return self(definition)
        return self.g.pointwise("apply", [self(assert_term.x)], assert_term.fname)

    def cross_entropy(self, term: T.Term) -> Node:
        y, target = self._all(term)
        logs = self.g.softmax("log_softmax", y)
        return self.g.neg(self.g.unit_sum(self.g.mul([target, logs])))

    def transpose(self, term: T.Term) -> Node:
        inner = self(term.operands[0])
        if inner.lead and not inner.scalar:
            raise UnsupportedOperation(f"no kernel transposes {term}, which differs by sequence")
        return self.g.transpose(inner)

    def solve(self, term: T.Term) -> Node:
        """A linear system; its matrix may stand turned."""
        a, b = term.operands
        turned = isinstance(a, T.Transpose)
        matrix = self(a.operands[0] if turned else a)
        if matrix.scalar:
            return self.g.div(self(b), matrix)
        (size, _), (_, columns) = self.shape(a), self.shape(b)
        return self.system(matrix, self(b), (size, columns, turned, (ONE, ONE)), size)

    def system(
        self, a: Node, b: Node, data: tuple[Dim, Dim, bool, tuple[Dim, Dim]], rows: Dim
    ) -> Node:
        """A system; ``data`` as in `ops.LinearSystem`, ``rows``: entries of all heads."""
        if a.op == "eye":
            return b
        if b.op == "neg":
            return self.g.neg(self.system(a, b.args[0], data, rows))
        ours, theirs = data[-1]
        plain = not (a.lead or b.lead) and ours in (ONE, theirs)
        return self.g.make(
            "solve", (a, b), b.rows if plain else rows, b.cols if plain else ONE, join((a, b)), data
        )

    def where(self, term: T.Term) -> Node:
        condition, a, b = self._all(term)
        return self.g.pointwise("where", [condition, a, b])


_RULES: dict[type[T.Term], Callable[[Lowering, Any], Node]] = {
    T.Sym: lambda low, t: low.resolve(t),
    T.Num: lambda low, t: low.g.const(_fraction(t.value)),
    T.Size: lambda low, t: low.g.make("size", (), ONE, ONE, (), (low.dim(t.size), ONE)),
    T.Eye: lambda low, t: low.g.make("eye", (), *low.shape(t), ()),
    T.Ones: lambda low, t: low.g.broadcast(low.g.const(1), *low.shape(t)),
    T.Zeros: lambda low, t: low.g.zero(*low.shape(t)),
    T.Plus: lambda low, t: low.g.add(low._all(t)),
    T.Neg: lambda low, t: low.g.neg(low(t.operands[0])),
    T.Hadamard: lambda low, t: low.g.mul(low._all(t)),
    T.Scale: lambda low, t: low.g.mul(low._all(t)),
    T.Divide: lambda low, t: low.g.div(*low._all(t)),
    T.Power: lambda low, t: low.g.power(low(t.operands[0]), _fraction(t.exponent)),
    T.Times: lambda low, t: low.times(t),
    T.Transpose: lambda low, t: low.transpose(t),
    T.Broadcast: lambda low, t: low.g.broadcast(low(t.operands[0]), *low.shape(t)),
    T.Dot: lambda low, t: low.dot(t),
    T.UnitSum: lambda low, t: low.g.unit_sum(low(*entries(t.operands[0]))),
    T.Apply: Lowering.apply,
    T.Abs: lambda low, t: low.g.pointwise("abs", low._all(t)),
    T.Sign: lambda low, t: low.g.pointwise("sign", low._all(t)),
    T.Frozen: lambda low, t: low(t.operands[0]),
    T.ChooseUnits: lambda low, t: low.g.unit_map(t.map.name, low(t.x)),
    T.MapUnits: lambda low, t: low.g.unit_map(t.map.name, low(t.x)),
    T.Softmax: lambda low, t: low.g.softmax("softmax", low(t.operands[0])),
    T.LogSoftmax: lambda low, t: low.g.softmax("log_softmax", low(t.operands[0])),
    T.CrossEntropy: Lowering.cross_entropy,
    T.Maximum: lambda low, t: low.g.pointwise("maximum", low._all(t)),
    T.Greater: lambda low, t: low.g.pointwise("greater", low._all(t)),
    T.Where: Lowering.where,
    T.Surrogate: lambda low, t: low(t.operands[0]),
    T.Solve: lambda low, t: low.solve(t),
    T.Concat: lambda low, t: low.g.concat(low._all(t)),
    T.Slice: lambda low, t: low.g.slice(low(t.operands[0]), low.dim(t.args[1]), low.dim(t.args[2])),
    T.Pad: lambda low, t: low.g.pad(low(t.operands[0]), low.dim(t.args[1]), low.dim(t.args[2])),
}
