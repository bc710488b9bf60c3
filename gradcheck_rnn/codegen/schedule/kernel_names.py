"""The names of a generated module: what a person would call things, and never a name twice.

A `Names` object belongs to one module. It knows what the backend's text uses itself, Python's
keywords and builtins, and what dims and time axes are called as local variables; every buffer and
scratch array asks it for a name. What the user sees (keys of dictionaries, ``SHAPES``, messages)
keeps the user's names: they are strings there and collide with nothing.
"""

from __future__ import annotations

import builtins
import keyword
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from ...language.dims import ONE, Dim
from ...language.network import Network
from .nodes import Node
from .ops import BATCH, Access, Lead

__all__ = ["PYTHON_WORDS", "Namer", "Names"]

#: What no local variable of generated Python may be called.
PYTHON_WORDS = frozenset(
    {*keyword.kwlist, *keyword.softkwlist, *(n for n in dir(builtins) if not n.startswith("_"))}
)


class Namer:
    """Hands out names that are free."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self.taken = {_normal(n) for n in taken}
        self._counts: dict[str, int] = {}

    def fresh(self, wanted: str) -> str:
        """``wanted``, or ``wanted_2``, ``wanted_3``, … if it is taken."""
        name = wanted = _normal(wanted)
        count = self._counts.get(wanted, 1)
        while name in self.taken or name in PYTHON_WORDS:
            count += 1
            name = f"{wanted}_{count}"
        self._counts[wanted] = count
        self.taken.add(name)
        return name

    def release(self, names: Iterable[str]) -> None:
        """Make names free again."""
        self.taken.difference_update(names)
        self._counts.clear()

    def scope(self) -> Namer:
        """Names of one function of the module: what the module has is taken in it."""
        return Namer(self.taken)

    def value(
        self,
        n: Node,
        labels: Mapping[Node, str],
        assigned: Mapping[Node, Access],
        purpose: str = "",
    ) -> str:
        """A name for the buffer of a node."""
        if n in labels:
            return self.fresh(labels[n])
        guess = self._guess(n, labels, assigned)
        if guess in _VAGUE and purpose:
            guess = f"{purpose}_{guess}"
        return self.fresh(guess)

    def _guess(self, n: Node, labels: Mapping[Node, str], assigned: Mapping[Node, Access]) -> str:
        def name(a: Node) -> str:
            if a in labels:
                return labels[a]
            if a in assigned:
                return assigned[a].buffer.name
            if a.op in ("state", "adjoint", "start"):
                return ("d_" if a.op != "state" else "") + str(
                    a.data[0] if a.op != "adjoint" else a.data
                )
            if a.op in ("given", "final", "cotangent"):
                return str(a.data)
            return ""

        if n.op in ("apply", "unit_map") and name(n.args[0]):
            called = n.data[0] if n.op == "unit_map" else n.data
            return f"{called}_{name(n.args[0])}"
        if n.op == "gemm" and name(n.args[1]) and name(n.args[0]):
            return f"{name(n.args[1])}_{name(n.args[0])}"
        if n.op in ("whole", "steps"):
            return f"{'d_' * (n.op == 'steps')}{n.data[0]}{'_steps' * (n.op == 'steps')}"
        if n.op in ("softmax", "log_softmax") and name(n.args[0]):
            return f"{n.op}_{name(n.args[0])}"
        return _KINDS.get(n.op, "value")


class Names(Namer):
    """Names of one module.

    Parameters
    ----------
    reserved : iterable of str
        Names that the backend's text uses itself.
    dims, axes : iterable of str
        Dims and time axes as the user calls them.

    Attributes
    ----------
    sizes : dict
        ``B``, time axis or dim → the local variable that holds its size.
    """

    def __init__(
        self, reserved: Iterable[str] = (), dims: Iterable[str] = (), axes: Iterable[str] = ()
    ) -> None:
        super().__init__(reserved)
        self.sizes = {n: self.fresh(n) for n in (BATCH, *axes, *dims)}
        self._renamed = {n: Dim.of({v: 1}) for n, v in self.sizes.items() if n != v}
        #: Local variable → the dims whose product it is: of a matrix's entries, or with heads.
        self.entries: dict[str, tuple[Dim, ...]] = {}
        self._products: dict[str, Dim] = {}

    def dim(self, d: Dim) -> Dim:
        """A dim in terms of the local variables; a product of them is one of its own."""
        d = self.local(d)
        return self._of_products(d, ()) if d.product else d

    def local(self, d: Dim) -> Dim:
        """A dim in terms of the variables of its factors."""
        return d.rename(self._renamed) if self._renamed else d

    def flat(self, *axes: Dim) -> Dim:
        """The number of entries of a matrix, or of one for every head, as a dim of its own."""
        dims = tuple(d for d in axes if d != ONE)
        if len(dims) < 2:
            return dims[0] if dims else ONE
        entries = ONE
        for d in dims:
            entries = entries * d.rename(self._products)
        return self._of_products(entries, [d.lone for d in dims if d.lone])

    def _of_products(self, d: Dim, order: Sequence[str]) -> Dim:
        """A dim in which every product is a local variable of its own.

        ``order``: in which names stand in that of a variable, as far as they are among them.
        """
        out = Dim((), d.const)
        for product, coefficient in d.terms:
            out = out + Dim.of({self._variable(product, order): coefficient})
        return out

    def _variable(self, product: str, order: Sequence[str]) -> str:
        """The local variable of a product of names."""
        if "*" not in product:
            return product
        for name, known in self._products.items():
            if known == Dim.of({product: 1}):
                return name
        factors = product.split("*")
        if sorted(order) == factors:
            factors = list(order)
        name = self.fresh("_".join(factors))
        self.entries[name] = tuple(Dim.of({f: 1}) for f in factors)
        self._products[name] = Dim.of({product: 1})
        return name

    def matrices(self, network: Network, in_heads: bool) -> set[str]:
        """Variables with the numbers of entries of matrices of the sequences.

        ``in_heads``: of vectors in heads where no state is a matrix.
        """
        heads = {self.dim(scan.cell.heads.rename(scan.dims)) for scan in network.scans}
        own = {n: len([d for d in dims if d not in heads]) for n, dims in self.entries.items()}
        vectors = all(s.shape.column for scan in network.scans for s in scan.states)
        least = 0 if in_heads and vectors else 1
        return {n for n, count in own.items() if count > least}

    def lead(self, axis: str | None) -> Lead:
        """The leading axes of a value along ``axis``, or of one value a sequence."""
        return (self.sizes[axis], BATCH) if axis else (BATCH,)


def _normal(name: str) -> str:
    """The identifier as Python reads it: ``ﬁ`` is ``fi``."""
    return name if name.isascii() else unicodedata.normalize("NFKC", name)


_KINDS = {
    "mul": "factor", "add": "part", "div": "ratio", "sum": "unit_sum", "total": "entry_sum",
    "reduce": "over_time", "outer": "d_weight", "transpose": "transposed", "neg": "minus",
    "contract": "product", "arrange": "rows",
}  # fmt: skip
_VAGUE = {*_KINDS.values(), "value"}
