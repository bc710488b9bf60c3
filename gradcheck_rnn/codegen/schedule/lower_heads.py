"""Lowering where a network has heads.

What every head has lies in its rows head after head, so that all that works entry by entry is as
for vectors of ``H_n = H * n`` units, and weights with a block a head are one matrix of ``H_n`` rows
for what the heads share. Products head by head are `ops.Contract` with one axis more.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...calculus import terms as T
from ...language.dims import ONE, Dim
from .lower_stacks import MatrixFactor, StackLowering
from .lower_terms import entries
from .lowrank import expanded
from .nodes import Node, join
from .within import WITHIN, within

__all__ = ["HeadLowering"]


def _of_block(term: T.Term) -> T.Term | None:
    """The vector that a term splits into heads, or of which it merges those; None for others."""
    merged = isinstance(term, T.HeadSum)
    x = term.x if isinstance(term, T.HeadSum) else term
    if not isinstance(x, T.Times) or len(x.operands) != 2:
        return None
    first, vector = x.operands
    block = first if merged else first.operands[0] if isinstance(first, T.Transpose) else None
    return vector if isinstance(block, T.HeadBlock) else None


class HeadLowering(StackLowering):
    """Lowers terms of a scan whose network has heads."""

    def heads(self, term: T.Term) -> Dim:
        """Of how many heads the node of a term has a value each."""
        if isinstance(term, T.Sym):
            return self.dim(term.heads)
        if isinstance(term, T.HeadSum):
            return ONE
        if isinstance(term, T.HeadBlock):
            return self.dim(term.heads)
        return next((h for h in map(self.heads, term.operands) if h != ONE), ONE)

    def __call__(self, term: T.Term) -> Node:
        if isinstance(term, T.PerHead):
            return self(term.x)
        block = _of_block(term)
        if block is not None:  # the units of all heads lie as those of one vector
            return self.row(block, self.heads(block))
        if isinstance(term, T.HeadSum):
            return self._over_heads(term)
        heads = self.heads(term)
        if heads == ONE:
            return super().__call__(term)
        if isinstance(term, T.Hadamard) and (made := self.spread(term)) is not None:
            return made
        if isinstance(term, WITHIN):
            return within(self, term, heads)
        if isinstance(term, T.CrossEntropy):
            y, target = term.operands
            return self.g.neg(self._inner(heads, target, T.LogSoftmax(y)))
        if isinstance(term, T.Scale) and self.heads(term.operands[0]) != ONE:
            s, x = (self._factor(o, False) for o in term.operands)
            return self._upright(self._product(s, x)).node
        if isinstance(term, T.Dot):
            product = self.inner(term)
            return self._inner(heads, *term.operands) if product is None else self(product)
        if isinstance(term, T.UnitSum):
            return self._inner(heads, term.operands[0])
        if isinstance(term, T.Broadcast):
            return self._aligned(term.operands[0], heads, self.names.flat(*self.shape(term)))
        return super().__call__(term)

    def given_to(self, operand: T.Sym, term: T.Term, part: Node) -> Node:
        """A contribution with one for each head where the operand has one."""
        heads = self.dim(operand.heads)
        if heads == ONE or self.heads(term) != ONE:
            return part
        rows, cols = self.shape(operand)
        return self._spread(part, heads, self.names.flat(rows, cols))

    # -- entry by entry ------------------------------------------------------------------------

    def _all(self, term: T.Term) -> list[Node]:
        heads = self.heads(term)
        if heads == ONE:
            return super()._all(term)
        count = self.names.flat(*self.shape(term))
        return [self._aligned(x, heads, count) for x in term.operands]

    def _aligned(self, term: T.Term, heads: Dim, count: Dim) -> Node:
        """A term as ``count`` entries of every head, or as the scalar of all that it is."""
        f = self._factor(term, False)
        value = self.g.value_of(f.node)
        if value is not None:
            return self.g.const(value)
        if f.heads == ONE:
            return f.node if f.scalar else self._spread(self._row(f), heads, count)
        if f.scalar and count != ONE:
            specs, sizes = ("h", "e", "he"), {"h": heads, "e": count}
            return self._contract([f.node, self._ones(count)], specs, sizes)
        return self._row(f)

    def row(self, term: T.Term, heads: Dim) -> Node:
        """All entries of a term in a row, for each head."""
        if heads == ONE:
            return super().row(term, heads)
        count = self.names.flat(*self.shape(term))
        made = self._aligned(term, heads, count)
        value = self.g.value_of(made)
        if value is not None:
            return self.g.broadcast(self.g.const(value), self._with(heads, count), ONE)
        return self._spread(made, heads, count) if self.heads(term) == ONE and made.scalar else made

    def _spread(self, n: Node, heads: Dim, count: Dim) -> Node:
        """What the heads share, for each of them."""
        if n.scalar and count != ONE:
            n = self.g.broadcast(n, count, ONE)
        if count == ONE:
            return self.g.mul([n, self._ones(heads)])
        specs, sizes = ("e", "h", "he"), {"h": heads, "e": count}
        return self._contract([n, self._ones(heads)], specs, sizes)

    def _ones(self, count: Dim) -> Node:
        return self.g.broadcast(self.g.const(1), count, ONE)

    def _row(self, f: MatrixFactor) -> Node:
        """All entries in a row."""
        n = f.node
        if n.lead or n.cols == ONE:
            return n
        shape = (f.cols, f.rows) if f.turned else (f.rows, f.cols)
        return self.g.reshaped(n, self.names.flat(f.heads, *shape), ONE)

    def _inner(self, heads: Dim, *terms: T.Term) -> Node:
        """The sum over the entries of every head of a product of one or two terms."""
        factors = [self._factor(x, False) for x in entries(*terms)]
        count = self.names.flat(factors[0].rows, factors[0].cols)
        rows = [self._row(f) for f in factors]
        if count == ONE:
            return self.g.mul(rows)
        specs = ["e" if f.heads == ONE else "he" for f in factors]
        return self._contract(rows, (*specs, "h"), {"h": heads, "e": count})

    def _contract(
        self, args: Sequence[Node], specs: tuple[str, ...], sizes: dict[str, Dim],
        total: bool = False,
    ) -> Node:  # fmt: skip
        used = tuple((x, d) for x, d in sizes.items() if any(x in s for s in specs))
        rows = self.names.flat(*(sizes[x] for x in specs[-1]))
        if specs[-1] == "he":  # the dims of a matrix that lies in a row
            rows = self._with(sizes["h"], sizes["e"])
        return self.g.contract(args, specs, used, rows, total)

    def _with(self, heads: Dim, count: Dim) -> Dim:
        """The number of entries of all heads."""
        dims = self.names.entries.get(count.lone or "", (count,))
        return self.names.flat(heads, *dims)

    # -- sums over heads -----------------------------------------------------------------------

    def _over_heads(self, term: T.HeadSum) -> Node:
        g, x, heads = self.g, term.x, self.dim(term.heads)
        if isinstance(x, T.Neg):
            return g.neg(self(T.HeadSum(x.operands[0], term.heads)))
        if isinstance(x, T.Plus):
            return g.add([self(T.HeadSum(part, term.heads)) for part in x.operands])
        if self.heads(x) == ONE:
            return g.mul([g.make("size", (), ONE, ONE, (), (heads, ONE)), self(x)])
        if isinstance(x, T.Times):
            sum_ = expanded(x)
            if sum_ is not None:
                return self(T.HeadSum(sum_, term.heads))
            a, b = self._joined(list(self._factors(x, False)), 2)
            return self._upright(self._summed_product(a, b)).node
        return self._summed(self._factor(x, False)).node

    def _summed(self, f: MatrixFactor) -> MatrixFactor:
        """The sum of a factor over heads."""
        if f.heads == ONE:
            raise ValueError("a factor that the heads share has no sum over them")
        f = self._upright(f)
        out = self._letters(f, "ij").removeprefix("h")
        sizes = {"h": f.heads, "i": f.rows, "j": f.cols}
        if not out:
            return MatrixFactor(self.g.unit_sum(f.node), f.rows, f.cols)
        return MatrixFactor(self._contract([f.node], ("h" + out, out), sizes), f.rows, f.cols)

    def _summed_product(self, a: MatrixFactor, b: MatrixFactor) -> MatrixFactor:
        """Σ_h a b."""
        if a.scalar or b.scalar:
            return self._summed(self._product(a, b))
        if b.heads == ONE:
            return super()._product(self._summed(a), b)
        if a.heads == ONE:
            return super()._product(a, self._summed(b))
        if not a.moves and a.turned and b.moves and b.cols == ONE and a.rows != ONE:
            # Wᵀ δ of blocks one below the other.
            weight = self.g.transpose(self._weight(a))
            return MatrixFactor(self.g.gemm(b.node, weight), a.rows, ONE)
        sizes = {"h": a.heads, "i": a.rows, "j": a.cols, "k": b.cols}
        out = "".join(x for x in "ik" if sizes[x] != ONE)
        specs = (self._letters(a, "ij"), self._letters(b, "jk"), out)
        if not out:
            rows = [self._row(f) for f in (a, b)]
            return MatrixFactor(self.g.unit_sum(self.g.mul(rows)), ONE, ONE)
        return MatrixFactor(self._contract([a.node, b.node], specs, sizes), a.rows, b.cols)

    # -- products ------------------------------------------------------------------------------

    def times(self, term: T.Term) -> Node:
        """A product, head by head."""
        return self._heads_or(term) or super().times(term)

    def transpose(self, term: T.Term) -> Node:
        """A transpose outside a product."""
        return self._heads_or(term) or super().transpose(term)

    def _heads_or(self, term: T.Term) -> Node | None:
        sum_ = expanded(term) if self.heads(term) != ONE else None
        if sum_ is not None:
            return self(sum_)
        factors = list(self._factors(term, False)) if self.heads(term) != ONE else []
        return self._chain(factors) if factors else None

    def _factor(self, term: T.Term, turned: bool) -> MatrixFactor:
        heads = self.heads(term)
        if heads == ONE:
            return super()._factor(term, turned)
        rows, cols = self.shape(term)
        node = self(term)
        return (
            MatrixFactor(node, cols, rows, True, heads)
            if turned
            else MatrixFactor(node, rows, cols, False, heads)
        )

    def _upright(self, f: MatrixFactor) -> MatrixFactor:
        if f.heads == ONE or not f.turned:
            return super()._upright(f)
        if ONE in (f.rows, f.cols):
            return MatrixFactor(f.node, f.rows, f.cols, False, f.heads)
        sizes = {"h": f.heads, "i": f.rows, "j": f.cols}
        node = self._contract([f.node], ("hji", "hij"), sizes)
        return MatrixFactor(node, f.rows, f.cols, False, f.heads)

    def _weight(self, f: MatrixFactor) -> Node:
        """Parameters with a block a head as one matrix, the blocks one below the other."""
        rows, cols = (f.cols, f.rows) if f.turned else (f.rows, f.cols)
        return self.g.reshaped(f.node, self.names.flat(f.heads, rows), cols)

    @staticmethod
    def _letters(f: MatrixFactor, letters: str) -> str:
        """The axes of a factor by letters, those of length one left out."""
        known = {letters[0]: f.rows, letters[1]: f.cols}
        order = letters[::-1] if f.turned else letters
        return "h" * (f.heads != ONE) + "".join(x for x in order if known[x] != ONE)

    def _product(self, a: MatrixFactor, b: MatrixFactor) -> MatrixFactor:
        heads = a.heads if a.heads != ONE else b.heads
        if heads == ONE:
            return super()._product(a, b)
        g, rows, cols = self.g, a.rows, b.cols
        if a.node.op == "eye" or b.node.op == "eye":
            return b if a.node.op == "eye" else a
        if a.scalar or b.scalar:
            return self._scaled(*((a, b) if a.scalar else (b, a)))
        if not a.moves and not a.turned and b.moves and b.heads == ONE and cols == ONE:
            return MatrixFactor(g.gemm(b.node, self._weight(a)), rows, cols, False, heads)
        if not b.moves and b.turned and a.moves and a.heads == ONE and rows == ONE:
            return MatrixFactor(g.gemm(a.node, self._weight(b)), rows, cols, False, heads)
        sizes = {"h": heads, "i": rows, "j": a.cols, "k": cols}
        out = "h" + "".join(x for x in "ik" if sizes[x] != ONE)
        operands = [(self._plain(a.node), self._letters(a, "ij"))]
        operands.append((self._plain(b.node), self._letters(b, "jk")))
        summed = [(n, s) for n, s in operands if g.value_of(n) == 1 and s == "j"]
        if len(summed) == 1:  # a product with ones is a sum
            operands.remove(summed[0])
        made = self._contract([n for n, _ in operands], (*(s for _, s in operands), out), sizes)
        return MatrixFactor(made, rows, cols, False, heads)

    def _scaled(self, s: MatrixFactor, x: MatrixFactor) -> MatrixFactor:
        """A scalar, of the heads or of each, times a factor."""
        heads = s.heads if s.heads != ONE else x.heads
        plain = x.scalar or (s.heads == ONE)
        if plain:
            node = self.g.mul([s.node, self._row(x)])
            return MatrixFactor(node, x.rows, x.cols, x.turned, heads)
        shape = (x.cols, x.rows) if x.turned else (x.rows, x.cols)
        sizes = {"h": heads, "e": self.names.flat(*shape)}
        spec = "e" if x.heads == ONE else "he"
        value = self.g.value_of(x.node)
        row = (
            self._row(x)
            if value is None
            else self.g.broadcast(self.g.const(value), sizes["e"], ONE)
        )
        node = self._contract([s.node, row], ("h", spec, "he"), sizes)
        return MatrixFactor(node, x.rows, x.cols, x.turned, heads)

    # -- sums over steps and sequences ------------------------------------------------------------

    def shared(self, term: T.Term) -> Node:
        """A sum over steps and sequences where the term is one product δ xᵀ, as for weights."""
        if isinstance(term, T.Neg):
            return self.g.neg(self.shared(term.operands[0]))
        if _of_block(term) is not None:
            return self(term)
        summed = isinstance(term, T.HeadSum)
        x = term.x if isinstance(term, T.HeadSum) else term
        if not isinstance(x, T.Times) or self.heads(x) == ONE:
            return super().shared(term)
        *first, b = self._factors(x, False)
        (a,) = self._joined(first, 1)
        column = a.cols == ONE and a.moves and b.moves and not (a.scalar or b.scalar)
        if not column or join([a.node, b.node]) != self.lead:
            return self(term)
        if summed and ONE in (a.heads, b.heads):
            a, b = (self._summed(f) if f.heads != ONE else f for f in (a, b))
        if b.heads == ONE:
            return self.g.outer(a.node, b.node, self.lead)
        sizes = {"h": b.heads, "i": a.rows, "j": ONE, "k": b.cols}
        out = "ik" if summed else "hik"
        specs = (self._letters(a, "ij"), self._letters(b, "jk"), out)
        return self._contract([a.node, b.node], specs, sizes, total=True)
