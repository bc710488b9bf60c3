"""Products sequence by sequence as one call of ``einsum``, the same in NumPy and in CuPy."""

from __future__ import annotations

from collections.abc import Callable

from ..schedule.ops import Access, Contract, Lead
from .expressions import dim_text

__all__ = ["contraction", "entries"]


def contraction(
    module: str, s: Contract, access: Callable[[Access], str], lead: Callable[[Access], Lead],
    out: Access | None = None,
) -> str:  # fmt: skip
    """The product as text: its entries row by row, or written into ``out``.

    Parameters
    ----------
    module : str
        ``"np"`` or ``"cp"``.
    access : callable
        Place → text.
    lead : callable
        Place → the leading axes that it has where the text stands.
    """

    def letters(a: Access, spec: str) -> str:
        return "tb"[2 - len(lead(a)) :] + spec

    pairs = list(zip(s.operands, s.specs, strict=False))
    first = lead(s.operands[0])
    summed = len(first) - len(lead(s.dest)) if out is None else 0
    product = _matrix_product(s, lead, first if summed > 0 else lead(s.dest))
    if product:
        a, b = (
            entries(access(x), x, lead(x), s, spec) + (".swapaxes(-1, -2)" if turned else "")
            for (x, spec), turned in zip(pairs, product, strict=True)
        )
        if out is not None:
            place = entries(access(out), out, lead(out), s, s.specs[-1])
            return f"{module}.matmul({a}, {b}, out={place})"
        end = ", ".join([*lead(s.dest), dim_text(s.dest.rows)])
        # Added up afterwards: the sums of einsum are no products of matrices for it.
        total = f".sum(axis={('0', '(0, 1)')[summed - 1]})" if summed > 0 else ""
        return f"{module}.matmul({a}, {b}){total}.reshape({end})"
    if out is None and (text := _of_all_steps(s, access, lead)):
        return text
    if module == "np" and (text := _of_vectors(s, access, lead, out)):
        return text
    left = ",".join(letters(a, spec) for a, spec in pairs)
    values = [entries(access(a), a, lead(a), s, spec) for a, spec in pairs]
    rule = f'"{left}->{letters(s.dest, s.specs[-1])}"'
    text = f"{module}.einsum({', '.join([rule, *values])}"
    if out is not None:
        return f"{text}, out={entries(access(out), out, lead(out), s, s.specs[-1])})"
    end = ", ".join([*lead(s.dest), dim_text(s.dest.rows)])
    flat = len(s.specs[-1]) == 1 or not (s.specs[-1] or lead(s.dest))  # one number has no axis
    return text + ")" + ("" if flat else f".reshape({end})")


def _of_all_steps(
    s: Contract, access: Callable[[Access], str], lead: Callable[[Access], Lead]
) -> str:
    """A product with weights of all heads, or what gives their gradient, as one of two matrices.

    Empty where it is none: where a head's result is of that head alone.
    """
    if len(s.operands) != 2:
        return ""
    (a, b), (p, q, made), rows = s.operands, s.specs, dim_text(s.dest.rows)

    def flat(x: Access) -> str:
        return f"{access(x)}.reshape(-1, {dim_text(x.rows)})"

    def ordered(text: str, have: str, want: str) -> str:
        if have == want:
            return text
        return f"{text}.transpose({', '.join(str(have.index(c)) for c in want)})"

    if not lead(s.dest) and lead(a) == lead(b) != () and not set(p) & set(q):
        if len(made) < 3 or len(made) != len(p + q):
            return ""
        sizes = ", ".join(map(dim_text, s.shape(p + q)))
        return ordered(f"({flat(a)}.T @ {flat(b)}).reshape({sizes})", p + q, made) + (
            f".reshape({rows})"
        )
    steps = len(lead(a)) == len(lead(b)) == 2 and len(lead(s.dest)) == 1
    if steps and len(p) == len(q) == 1 and made == p + q:
        return (
            f"({access(a)}.transpose(1, 2, 0) @ {access(b)}.transpose(1, 0, 2))"
            f".reshape({', '.join([*lead(s.dest), rows])})"
        )
    if lead(a) and not lead(b):
        a, b, p, q = b, a, q, p
    if lead(a) or lead(b) != lead(s.dest) or not lead(b) or len(p) < 3:
        return ""
    if set(q) & set(made) or set(p) != set(q + made) or len(p) != len(q + made):
        return ""
    weights = ordered(entries(access(a), a, (), s, p), p, q + made)
    product = f"{flat(b)} @ {weights}.reshape({dim_text(b.rows)}, {rows})"
    return f"({product}).reshape({', '.join([*lead(s.dest), rows])})"


def _matrix_product(
    s: Contract, lead: Callable[[Access], Lead], made_for: Lead
) -> tuple[bool, bool] | None:
    """Which operands are turned, if the whole is a product of two matrices for every sequence."""
    if len(s.operands) != 2 or {lead(a) for a in s.operands} - {(), made_for}:
        return None
    if not made_for or lead(s.operands[0]) != made_for:
        return None
    heads = "h" if all(x.startswith("h") for x in s.specs) else ""
    a, b, made = (x.removeprefix(heads) for x in s.specs)
    if made != "ik" or a not in ("ij", "ji") or b not in ("jk", "kj"):
        return None
    return a == "ji", b == "kj"


def _of_vectors(
    s: Contract, access: Callable[[Access], str], lead: Callable[[Access], Lead],
    out: Access | None,
) -> str:  # fmt: skip
    """A matrix times a vector for every sequence as a product of matrices; empty if it is none.

    NumPy's einsum gives only products of two arrays without leading axes to its BLAS.
    """
    if len(s.operands) != 2 or not lead(s.dest) or {*map(lead, s.operands)} != {lead(s.dest)}:
        return ""
    heads = "h" if all(x.startswith("h") for x in s.specs) else ""
    pairs = sorted(zip(s.operands, s.specs, strict=False), key=lambda pair: -len(pair[1]))
    (matrix, p), (vector, q) = pairs
    axes, summed, made = (x.removeprefix(heads) for x in (p, q, s.specs[-1]))
    if len(summed) != 1 or len(made) != 1 or axes not in (made + summed, summed + made):
        return ""
    turned = axes == summed + made
    m, v = (entries(access(x), x, lead(x), s, spec) for x, spec in ((matrix, p), (vector, q)))
    axis = "[..., None, :]" if turned else "[..., None]"
    factors = f"{v}{axis}, {m}" if turned else f"{m}, {v}{axis}"
    if out is not None:
        place = entries(access(out), out, lead(out), s, s.specs[-1])
        return f"np.matmul({factors}, out={place}{axis})"
    end = ", ".join([*lead(s.dest), dim_text(s.dest.rows)])
    return f"np.matmul({factors}).reshape({end})"


def entries(text: str, a: Access, lead: Lead, s: Contract, spec: str) -> str:
    """A place whose matrices lie in rows, as an array of matrices."""
    if not spec:
        return f"{text}[..., 0]" if lead else text
    if len(spec) < 2 or len(a.buffer.shape) == len(spec):
        return text
    return f"{text}.reshape({', '.join([*lead, *map(dim_text, s.shape(spec))])})"
