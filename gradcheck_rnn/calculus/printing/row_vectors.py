"""Row-vector convention: the transpose of a term, with the transposes pushed to the leaves."""

from __future__ import annotations

from collections.abc import Callable

from gradcheck_rnn.calculus.terms import (
    Abs,
    Apply,
    Block,
    Broadcast,
    ChooseUnits,
    Commutation,
    Concat,
    CrossEntropy,
    Diag,
    Divide,
    Dot,
    Eye,
    Frozen,
    Greater,
    Hadamard,
    HeadBlock,
    HeadSum,
    Kron,
    LogSoftmax,
    MapUnits,
    Maximum,
    Neg,
    Num,
    Ones,
    Pad,
    PerHead,
    Plus,
    Power,
    Scale,
    Sign,
    Size,
    Slice,
    Softmax,
    Solve,
    Surrogate,
    Sym,
    Term,
    Times,
    TimeSum,
    Transpose,
    UnitSum,
    Unvec,
    Vec,
    Where,
    Zeros,
)
from gradcheck_rnn.errors import MissingRule

__all__ = ["transpose_equation"]

_ELEMENTWISE = (Plus, Neg, Hadamard, Divide, Maximum, Greater, Where, Abs, Sign, Frozen, Surrogate)


def transpose_equation(term: Term) -> Term:
    """Return `term` in the row-vector convention, where ``W h`` reads ``h W``.

    The result is the transpose of `term`, written in row variables: every variable X stands for
    the transpose of the X of `term` and keeps its name, because that is what the row convention
    stores (a state is a row, and a weight matrix W of shape q×p there is the transpose of the p×q
    matrix here). Its shape is the reversed shape of `term`. A Jacobian printed this way therefore
    comes out in denominator layout. Softmax of a row is shown as a function called "softmax".

    Raises
    ------
    MissingRule
        If a term class has no transpose rule.
    """
    rule = _RULES.get(type(term))
    if rule is not None:
        return rule(term)
    if isinstance(term, _ELEMENTWISE):
        return term.func(*[transpose_equation(x) for x in term.operands])
    raise MissingRule(f"the row-vector convention has no rule for {type(term).__name__}.")


_row = transpose_equation


def _sym(x: Term) -> Term:
    rows, cols = x.shape
    return x.with_(rows=cols, cols=rows) if isinstance(x, Sym) else x


def _rearranged(x: Term) -> Term:
    """Slice, Pad, UnitMap, …: the same on the column that the row variable stands for."""
    inner, *rest = x.args
    return Transpose(x.func(Transpose(_row(inner)), *rest))


def _cross_entropy(x: Term) -> Term:
    y, target = x.operands
    return Neg(Times(Apply("log_softmax", _row(y)), Transpose(_row(target))))


def _block(x: Block) -> Term:
    return Block([[_row(t) for t in column] for column in zip(*x.grid, strict=True)])


_RULES: dict[type[Term], Callable[..., Term]] = {
    Sym: _sym,
    Num: lambda x: x,
    Size: lambda x: x,
    Eye: lambda x: x,
    HeadBlock: lambda x: x,
    Ones: lambda x: Ones(*reversed(x.shape)),
    Zeros: lambda x: Zeros(*reversed(x.shape)),
    Commutation: lambda x: Commutation(*reversed(x.args)),
    Times: lambda x: Times(*[_row(t) for t in reversed(x.operands)]),
    Scale: lambda x: Scale(_row(x.args[0]), _row(x.args[1])),
    Power: lambda x: Power(_row(x.args[0]), x.exponent),
    Apply: lambda x: Apply(x.fname, _row(x.x)),
    Broadcast: lambda x: Broadcast(_row(x.args[0]), *reversed(x.shape)),
    Transpose: lambda x: Transpose(_row(x.args[0])),
    Dot: lambda x: Times(_row(x.args[0]), Transpose(_row(x.args[1]))),
    UnitSum: lambda x: Times(_row(x.args[0]), Ones(x.args[0].shape[0])),
    Softmax: lambda x: Apply("softmax", _row(x.x)),
    LogSoftmax: lambda x: Apply("log_softmax", _row(x.x)),
    CrossEntropy: _cross_entropy,
    Diag: lambda x: Diag(Transpose(_row(x.args[0]))),
    Kron: lambda x: Kron(_row(x.args[0]), _row(x.args[1])),
    Concat: lambda x: Block([[_row(t) for t in x.operands]]),
    Slice: _rearranged,
    Pad: _rearranged,
    MapUnits: _rearranged,
    ChooseUnits: _rearranged,
    Unvec: _rearranged,
    Vec: _rearranged,
    Solve: lambda x: Times(_row(x.args[1]), Solve(_row(x.args[0]), Eye(x.args[0].shape[0]))),
    Block: _block,
    TimeSum: lambda x: TimeSum(_row(x.x), *x.args[1:]),
    HeadSum: lambda x: HeadSum(_row(x.x), x.heads),
    PerHead: lambda x: PerHead(_row(x.x), x.heads),
}
