"""Lowering where a network has a matrix for every sequence.

Such a matrix lies in its rows entry by entry, so that all that works entry by entry is as for
vectors. Products of what differs by sequence are made sequence by sequence (`ops.Contract`); what
all sequences share gets the sum of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ...calculus import terms as T
from ...errors import UnsupportedOperation
from ...language.dims import ONE, Dim
from .lower_terms import Lowering, entries
from .lowrank import expanded, inner_products
from .nodes import Node, join
from .within import WITHIN, within

__all__ = ["MatrixFactor", "StackLowering"]

#: Nodes that work entry by entry: their operands lie in memory alike.
_ENTRYWISE = (
    T.Plus, T.Neg, T.Hadamard, T.Scale, T.Divide, T.Power, T.Apply, T.Abs, T.Sign, T.Frozen,
    T.Surrogate,
    T.Maximum, T.Greater, T.Where,
)  # fmt: skip
#: Nodes that take vectors, or matrices without a care for the order of their entries.
_PLAIN = (
    T.Sym, T.Num, T.Size, T.Eye, T.Ones, T.Zeros, T.UnitSum, T.Dot, T.Vec, T.Broadcast, T.Times,
    T.Transpose, T.Solve, T.Unvec,
)  # fmt: skip


@dataclass(frozen=True)
class MatrixFactor:
    """A factor of a product: its node, its rows and columns, and whether the node is turned.

    ``heads``: of how many heads each has one; one where they share it.
    """

    node: Node
    rows: Dim
    cols: Dim
    turned: bool = False
    heads: Dim = ONE

    @property
    def moves(self) -> bool:
        return bool(self.node.lead)

    @property
    def scalar(self) -> bool:
        return self.rows == ONE and self.cols == ONE


def _cost(a: MatrixFactor, b: MatrixFactor) -> tuple[int, int]:
    """Axes that a product runs over, and axes that it has."""
    if a.scalar or b.scalar:
        x = b if a.scalar else a
        axes = (x.rows != ONE) + (x.cols != ONE)
        return axes, axes
    made = (a.rows != ONE) + (b.cols != ONE)
    return made + (a.cols != ONE), made


def _vector(x: T.Term) -> tuple[T.Term, str] | None:
    """The vector beside every column, or every row, of a matrix, and the letter of its axis."""
    if not isinstance(x, T.Times) or len(x.operands) != 2:
        return None
    a, b = x.operands
    if a.shape[1] != 1 or b.shape[0] != 1 or (x.shape[0] == 1 or x.shape[1] == 1):
        return None
    if isinstance(b, T.Transpose) and isinstance(b.operands[0], T.Ones):
        return a, "i"
    if isinstance(a, T.Ones):
        return (b.operands[0] if isinstance(b, T.Transpose) else T.Transpose(b)), "k"
    return None


def _turned(f: MatrixFactor) -> MatrixFactor:
    """The transpose of a factor."""
    return replace(f, rows=f.cols, cols=f.rows, turned=not f.turned)


class StackLowering(Lowering):
    """Lowers terms of a scan whose network has a matrix for every sequence."""

    def __call__(self, term: T.Term) -> Node:
        if not isinstance(term, (*_ENTRYWISE, *_PLAIN)) and ONE not in self.shape(term):
            inner = [super(StackLowering, self).__call__(x) for x in term.operands]
            if any(n.lead for n in inner) and isinstance(term, WITHIN):
                return within(self, term, ONE)
            if any(n.lead for n in inner):
                raise UnsupportedOperation(
                    f"no kernel has {type(term).__name__} of a matrix per sequence: {term}"
                )
        if isinstance(term, T.Vec):
            return self.vec(term)
        if isinstance(term, T.Unvec):
            return self._upright(self.unvec(term, False)).node
        if isinstance(term, T.Hadamard) and (made := self.spread(term)) is not None:
            return made
        if isinstance(term, T.Broadcast):
            inner_node = self(term.operands[0])
            rows, cols = self.shape(term)
            if inner_node.lead:
                return self.g.broadcast(inner_node, self.names.flat(rows, cols), ONE)
        return super().__call__(term)

    def _all(self, term: T.Term) -> list[Node]:
        """The operands; parameters beside matrices of the sequences lie as these do."""
        made = super()._all(term)
        if not any(n.lead and not n.scalar for n in made) and not (
            isinstance(term, T.Scale) and made[0].lead
        ):
            return made
        return [self._entries(n) for n in made]

    def heads(self, term: T.Term) -> Dim:
        """Of how many heads the node of a term has a value each."""
        return ONE

    def vec(self, term: T.Term) -> Node:
        """The columns of a matrix in a row: the entries of its transpose, as these lie."""
        return self.row(T.Transpose(term.operands[0]), self.heads(term))

    def unvec(self, term: T.Term, turned: bool) -> MatrixFactor:
        """A matrix of which a vector has the columns, or the transpose of it."""
        node, (rows, cols) = self(term.operands[0]), self.shape(term)
        heads = self.heads(term)
        if not node.lead and heads == ONE:
            node = self.g.reshaped(node, cols, rows)
            node = node if turned else self.g.transpose(node)
            return MatrixFactor(node, *((cols, rows) if turned else (rows, cols)))
        if turned:
            return MatrixFactor(node, cols, rows, heads=heads)
        return MatrixFactor(node, rows, cols, True, heads)

    def row(self, term: T.Term, heads: Dim) -> Node:
        """All entries of a term in a row."""
        n, count = self(term), self.names.flat(*self.shape(term))
        value = self.g.value_of(n)
        if value is not None:
            return self.g.broadcast(self.g.const(value), count, ONE)
        return self._entries(n)

    def _entries(self, n: Node) -> Node:
        if n.lead or n.cols == ONE:
            return n
        return self.g.reshaped(n, self.names.flat(n.rows, n.cols), ONE)

    def shared(self, term: T.Term) -> Node:
        """A sum over steps and sequences where the term is one product δ xᵀ, as for weights."""
        if isinstance(term, T.Neg):
            return self.g.neg(self.shared(term.operands[0]))
        if isinstance(term, T.Times) and len(term.operands) == 2:
            delta, x = term.operands
            if delta.shape[1] == 1 and isinstance(x, T.Transpose) and x.operands[0].shape[1] == 1:
                left, right = self(delta), self(x.operands[0])
                if left.lead and right.lead:
                    return self.g.outer(left, right, self.lead)
        made = self.spread(term, total=True) if isinstance(term, T.Hadamard) else None
        return self(term) if made is None else made

    def spread(self, term: T.Hadamard, total: bool = False) -> Node | None:
        """(a 1ᵀ) ⊙ (1 bᵀ) ⊙ X as one product, or None where there is no such factor.

        ``total``: summed over steps and sequences.
        """
        vectors = [(x, v) for x in term.operands if (v := _vector(x)) is not None]
        rest = [x for x in term.operands if _vector(x) is None]
        if not vectors or not rest or any(isinstance(x, T.Broadcast) for x in rest):
            return None
        x = self._factor(T.Hadamard(*rest) if len(rest) > 1 else rest[0], False)
        factors = [self._factor(v, False) for _, (v, _) in vectors]
        if ONE in (x.rows, x.cols) or self.g.value_of(x.node) is not None:
            return None
        args = [*(f.node for f in factors), x.node]
        if not any(n.lead for n in args) or (total and join(args) != self.lead):
            return None
        heads = next((f.heads for f in (*factors, x) if f.heads != ONE), ONE)
        letters = [*(letter for _, (_, letter) in vectors), "ik"]
        specs = ["h" * (f.heads != ONE) + s for f, s in zip((*factors, x), letters, strict=True)]
        out = "h" * (heads != ONE) + "ik"
        sizes = (("h", heads), ("i", x.rows), ("k", x.cols))
        used = tuple((s, d) for s, d in sizes if s in out)
        flat = self.names.flat(heads, x.rows, x.cols)
        return self.g.contract(args, (*specs, out), used, flat, total)

    # -- products ----------------------------------------------------------------------------

    def times(self, term: T.Term) -> Node:
        """A product, sequence by sequence."""
        sum_ = expanded(term)
        if sum_ is not None:
            return self(sum_)
        factors = list(self._factors(term, False))
        if not any(f.moves for f in factors):
            return super().times(term)
        return self._chain(factors)

    def _chain(self, factors: list[MatrixFactor]) -> Node:
        return self._upright(self._joined(factors, 1)[0]).node

    def _joined(self, factors: list[MatrixFactor], count: int) -> list[MatrixFactor]:
        """Products of neighbours, the cheapest first, until so many are left."""
        while len(factors) > count:
            i = min(range(len(factors) - 1), key=lambda i: _cost(*factors[i : i + 2]))
            factors[i : i + 2] = [self._product(factors[i], factors[i + 1])]
        return factors

    def transpose(self, term: T.Term) -> Node:
        """A transpose outside a product."""
        factors = list(self._factors(term, False))
        if not any(f.moves for f in factors):
            return super().transpose(term)
        return self._chain(factors)

    def _factors(self, term: T.Term, turned: bool, narrow: bool = False) -> Iterator[MatrixFactor]:
        """The factors of a product, or of its transpose: (A B)ᵀ = Bᵀ Aᵀ.

        ``narrow``: a vector is in it, which is multiplied by matrices before these are scaled.
        """
        if isinstance(term, T.Transpose):
            yield from self._factors(term.operands[0], not turned, narrow)
        elif isinstance(term, T.Times):
            narrow = narrow or ONE in self.shape(term)
            for x in reversed(term.operands) if turned else term.operands:
                yield from self._factors(x, turned, narrow)
        elif narrow and isinstance(term, T.Neg) and ONE not in self.shape(term):
            yield MatrixFactor(self.g.const(-1), ONE, ONE)
            yield from self._factors(term.operands[0], turned, narrow)
        elif narrow and isinstance(term, T.Scale) and ONE not in self.shape(term):
            yield self._factor(term.operands[0], False)
            yield from self._factors(term.operands[1], turned, narrow)
        elif isinstance(term, T.Unvec):
            yield self.unvec(term, turned)
        else:
            yield self._factor(term, turned)

    def _factor(self, term: T.Term, turned: bool) -> MatrixFactor:
        node, (rows, cols) = self(term), self.shape(term)
        if not turned:
            return MatrixFactor(node, rows, cols)
        if node.lead:
            return MatrixFactor(node, cols, rows, True)
        node = self._shared(MatrixFactor(node, rows, cols))
        plain = self.g.value_of(node)
        turned_node = self.g.transpose(node) if plain is None else self.g.reshaped(node, cols, rows)
        return MatrixFactor(turned_node, cols, rows)

    def _shared(self, f: MatrixFactor) -> Node:
        """What all sequences share as the matrix that it is, not entry by entry."""
        flat = f.node.cols == ONE and f.cols != ONE and self.g.value_of(f.node) is None
        return self.g.reshaped(f.node, f.rows, f.cols) if flat else f.node

    def solve(self, term: T.Term) -> Node:
        """A linear system, sequence by sequence and head by head."""
        a, b = (self._joined(list(self._factors(x, False)), 1)[0] for x in term.operands)
        b = self._upright(b)
        if a.scalar and a.heads == ONE:
            return self.g.div(b.node, a.node)
        heads = next((f.heads for f in (a, b) if f.heads != ONE), ONE)
        rows = self.names.flat(heads, b.rows, b.cols)
        matrix, value = (f.node if f.moves or f.heads != ONE else self._shared(f) for f in (a, b))
        return self.system(matrix, value, (a.rows, b.cols, a.turned, (a.heads, b.heads)), rows)

    def inner(self, term: T.Term) -> T.Term | None:
        """⟨u vᵀ, X⟩ as uᵀ X v, ⟨A (I − u vᵀ), X⟩ as ⟨A, X⟩ − (A u)ᵀ X v, or None."""
        a, b = entries(*term.operands)
        for outer, x in ((a, b), (b, a)):
            if ONE not in self.shape(x) and (sum_ := inner_products(outer, x)) is not None:
                return sum_
            if isinstance(outer, T.Times) and isinstance(outer.operands[-1], T.Transpose):
                *rest, v = outer.operands
                u = T.Times(*rest) if len(rest) > 1 else rest[0]
                if u.shape[1] == 1 and ONE not in self.shape(x):
                    return T.Times(T.Transpose(u), x, v.operands[0])
        return None

    def dot(self, term: T.Term) -> Node:
        """An inner product; of an outer product without making it."""
        product = self.inner(term)
        if product is not None:
            return self(product)
        a, b = (self._entries(self(x)) for x in entries(*term.operands))
        if a.rows == ONE or a.rows != b.rows or a.rows.lone not in self.names.entries:
            return super().dot(term)
        return self.g.contract([a, b], ("i", "i", ""), (("i", a.rows),), ONE)

    def _upright(self, f: MatrixFactor) -> MatrixFactor:
        if not f.turned:
            return f
        if not f.moves:
            return MatrixFactor(self.g.transpose(f.node), f.rows, f.cols)
        if ONE in (f.rows, f.cols):
            return MatrixFactor(f.node, f.rows, f.cols)
        return self._contracted([f.node], ("ji", "ij"), {"i": f.rows, "j": f.cols}, f.rows, f.cols)

    def _product(self, a: MatrixFactor, b: MatrixFactor) -> MatrixFactor:
        g, rows, cols = self.g, a.rows, b.cols
        if not (a.moves or b.moves):
            shape = (b.rows, b.cols) if a.scalar else (a.rows, a.cols) if b.scalar else (rows, cols)
            return MatrixFactor(g.parameter_product([self._shared(f) for f in (a, b)]), *shape)
        if a.scalar or b.scalar:
            s, x = (a, b) if a.scalar else (b, a)
            return MatrixFactor(g.mul([s.node, self._entries(x.node)]), x.rows, x.cols, x.turned)
        if a.node.op == "eye":
            return b
        if b.node.op == "eye":
            return a
        if not a.moves and cols == ONE:
            return MatrixFactor(g.gemm(b.node, self._shared(a)), rows, cols)
        if not b.moves and rows == ONE:
            return MatrixFactor(g.gemm(a.node, g.transpose(self._shared(b))), rows, cols)
        if rows == ONE and cols == ONE:
            turned = [self._entries(f.node) if f.node.cols != ONE else f.node for f in (a, b)]
            return MatrixFactor(g.unit_sum(g.mul(turned)), rows, cols)
        sizes = {"i": rows, "j": a.cols, "k": cols}
        if self.g.value_of(b.node) == 1 and cols == ONE and a.moves:
            return self._contracted([a.node], ("ji" if a.turned else "ij", "i"), sizes, rows, cols)
        if self.g.value_of(a.node) == 1 and rows == ONE and b.moves:
            return self._contracted([b.node], ("kj" if b.turned else "jk", "k"), sizes, rows, cols)
        if rows == ONE:  # xᵀ A as Aᵀ x, so that the two are one
            made = self._product(_turned(b), _turned(a))
            return MatrixFactor(made.node, rows, cols)
        specs = []
        for f, letters in ((a, "ij"), (b, "jk")):
            order = letters[::-1] if f.turned else letters
            specs.append("".join(x for x in order if sizes[x] != ONE))
        return self._contracted(
            [self._plain(a.node), self._plain(b.node)],
            (*specs, "".join(x for x in "ik" if sizes[x] != ONE)), sizes, rows, cols,
        )  # fmt: skip

    def _plain(self, n: Node) -> Node:
        """A row of parameters as the vector it is."""
        return self.g.transpose(n) if not n.lead and n.rows == ONE else n

    def _contracted(
        self, args: list[Node], specs: tuple[str, ...], sizes: dict[str, Dim], rows: Dim, cols: Dim
    ) -> MatrixFactor:
        used = tuple((x, d) for x, d in sizes.items() if any(x in s for s in specs))
        flat = self.names.flat(rows, cols)
        return MatrixFactor(self.g.contract(args, specs, used, flat), rows, cols)
