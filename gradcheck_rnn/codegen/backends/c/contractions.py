"""Products sequence by sequence as C functions: plain loops over the axes of their matrices.

The loop inside runs along an axis on which entries of the result lie side by side, wherever an
operand has it last too: compilers vectorise it without a sum in another order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from textwrap import wrap

from ....errors import UnsupportedOperation
from ....language.dims import ONE, Dim
from ...schedule.ops import Access, Contract, Lead
from ..wrapping import WIDTH
from .config import CNamer
from .expressions import C99
from .kernels import comment_lines

__all__ = ["Contraction"]

#: Multiplications from which on several cores are used.
_MUCH = 200_000


class Contraction:
    """The text of one product.

    Parameters
    ----------
    lead : callable
        Place → the leading axes that it has where the statement stands.
    sizes : mapping
        Size as the schedule calls it → its name in C.

    Attributes
    ----------
    used : list of str
        Sizes that the function is called with after its arrays, as the schedule calls them.
    """

    def __init__(
        self, s: Contract, lead: Callable[[Access], Lead], sizes: Mapping[str, str]
    ) -> None:
        self.s, self._sizes, self.used = s, sizes, list[str]()
        self.arrays = (s.dest, *s.operands)
        self._leads = [lead(a) for a in self.arrays]
        self._whole = max(self._leads, key=len)
        self._printer = C99(lambda a: a.buffer.name, self._size)
        namer = CNamer(sizes.values())
        self._names = [namer.fresh(a.buffer.name) for a in self.arrays]
        self._rows = [namer.fresh(f"{n}_row") if x else n
                      for n, x in zip(self._names, self._leads, strict=True)]  # fmt: skip
        self._dims = {x: d for x, d in s.sizes if d != ONE}
        self._letters = {x: namer.fresh(x) for x in self._dims}
        self._specs = ["".join(x for x in spec if x in self._dims)
                       for spec in (s.specs[-1], *s.specs[:-1])]  # fmt: skip
        made, *read = self._specs
        self._summed = [x for x in dict.fromkeys("".join(read)) if x not in made]
        #: Whether rows of operands are added up.
        self._over_rows = self._leads[0] != self._whole
        inside = any(x[-1:] == made[-1:] != "" for x in read)
        #: Whether an entry is a sum in a register.
        self._dotted = bool(self._summed) and not inside
        #: Whether something is added to an entry of memory.
        self._adds = s.accumulate or self._over_rows or (bool(self._summed) and not self._dotted)

    def text(self, name: str, comment: Iterable[str]) -> list[str]:
        """The lines of the function."""
        body = self._body()
        arguments = [f"{'const ' if k else ''}real *RESTRICT {n}"
                     for k, n in enumerate(self._names)]  # fmt: skip
        arguments += [f"Index {self._sizes[n]}" for n in self.used]
        head = wrap(", ".join(arguments), WIDTH - 4)
        return [
            *comment_lines(comment), f"static void {name}(", *(f"    {x}" for x in head[:-1]),
            f"    {head[-1]})", "{", *body, "}",
        ]  # fmt: skip

    # -- places ----------------------------------------------------------------------------------

    def _size(self, name: str) -> str:
        if name not in self.used:
            self.used.append(name)
        return self._sizes[name]

    def _dim(self, d: Dim) -> str:
        text = self._printer.dim(d)
        return text if text.isidentifier() or text.isdigit() else f"({text})"

    def _product_of(self, dims: Iterable[Dim | str]) -> str:
        texts = [self._size(d) if isinstance(d, str) else self._dim(d) for d in dims]
        return " * ".join(texts) or "1"

    def _entry(self, k: int) -> str:
        """The entry of an array at the letters of its axes."""
        spec, terms = self._specs[k], []
        for i, letter in enumerate(spec):
            after = [self._dim(self._dims[x]) for x in spec[i + 1 :]]
            terms.append(" * ".join([self._letters[letter], *after]))
        return f"{self._rows[k]}[{' + '.join(terms) or '0'}]"

    def _stride(self, a: Access) -> str:
        return self._dim((a.buffer.base or a.buffer).shape[0])

    # -- lines -----------------------------------------------------------------------------------

    def _body(self) -> list[str]:
        zero = [] if self.s.accumulate or not self._adds else [self._fill()]
        product = self._product()
        if not self._whole:
            return [f"    {x}" for x in (*zero, *product)]
        inner = [*self._row_pointers(), *([] if self._over_rows else zero), *product]
        count = self._product_of(self._whole)
        rows = [f"for (Index row = 0; row < {count}; ++row) {{", *_deeper(inner), "}"]
        if self._over_rows:
            return [f"    {x}" for x in (*zero, *rows)]
        work = f"(double){self._product_of([*self._whole, *self._dims.values()])}"
        return [
            "#ifdef _OPENMP", f"#pragma omp parallel for schedule(static) if ({work} > {_MUCH})",
            "#endif", *(f"    {x}" for x in rows),
        ]  # fmt: skip

    def _row_pointers(self) -> list[str]:
        """Where the matrices of this row begin."""
        out = []
        for k, a in enumerate(self.arrays):
            if self._leads[k]:
                whole = self._leads[k] == self._whole
                row = "row" if whole else f"(row % {self._size(self._whole[-1])})"
                const, name = "const " if k else "", self._names[k]
                out.append(f"{const}real *{self._rows[k]} = {name} + {row} * {self._stride(a)};")
        return out

    def _fill(self) -> str:
        dest, lead = self.s.dest, self._leads[0]
        count = self._product_of(self._dims[x] for x in self._specs[0])
        if not self._over_rows:
            return f"fill({self._rows[0]}, {count}, 0);"
        if lead and dest.rows != (dest.buffer.base or dest.buffer).shape[0]:
            raise UnsupportedOperation("C has no text for a sum into some rows of a sequence")
        return f"fill({self._names[0]}, {' * '.join([*map(self._size, lead), count])}, 0);"

    def _product(self) -> list[str]:
        made, value = list(self._specs[0]), " * ".join(map(self._entry, range(1, len(self._specs))))
        to, sign = self._entry(0), "+=" if self._adds else "="
        if not self._dotted:
            order = [*made[:-1], *self._summed, *made[-1:]] if made else self._summed
            return self._loops(order, [f"{to} {sign} {value};"])
        inside = ["real total = 0;", *self._loops(self._summed, [f"total += {value};"]),
                  f"{to} {sign} total;"]  # fmt: skip
        return self._loops(made, inside) if made else ["{", *_deeper(inside), "}"]

    def _loops(self, letters: Sequence[str], inside: list[str]) -> list[str]:
        lines = inside
        for x in reversed(letters):
            name = self._letters[x]
            head = f"for (Index {name} = 0; {name} < {self._dim(self._dims[x])}; ++{name})"
            one = len(lines) == 1 and len(head) + len(lines[0]) < WIDTH - 16
            one = one and not lines[0].startswith("for")
            lines = [f"{head} {lines[0]}"] if one else [f"{head} {{", *_deeper(lines), "}"]
        return lines


def _deeper(lines: Iterable[str]) -> list[str]:
    return [f"    {line}" for line in lines]
