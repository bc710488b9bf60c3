"""The formats in which a PyTorch function computes, and what rounding to one does to its gradient.

Both look at every operation that the library runs, forward and backward, through its dispatcher.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["coarsest", "rounding"]


def _tensors(torch: Any, value: Any) -> Iterator[Any]:
    for leaf in torch.utils._pytree.tree_leaves(value):
        if isinstance(leaf, torch.Tensor):
            yield leaf


@contextmanager
def coarsest(torch: Any) -> Iterator[set[Any]]:
    """A context that collects the floating-point dtypes of all results computed in it."""
    from torch.utils._python_dispatch import TorchDispatchMode

    found: set[Any] = set()

    class Looking(TorchDispatchMode):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            made = func(*args, **(kwargs or {}))
            found.update(x.dtype for x in _tensors(torch, made) if x.is_floating_point())
            return made

    with Looking():
        yield found


#: Operations that add products or terms up, and the position of an operand of these.
SUMS = {"mm": 0, "bmm": 0, "mv": 0, "dot": 0, "addmm": 1, "baddbmm": 1, "addmv": 1, "sum": 0}
#: Whose results libraries give to one unit in the last place, not to half of one.
FUNCTIONS = {"sigmoid", "tanh", "exp", "log", "softplus", "erf", "silu", "gelu", "sin", "cos"}


@contextmanager
def rounding(
    torch: Any, bits: int, least: float, generator: Any, sums: bool = False
) -> Iterator[None]:
    """A context in which every float64 result on the CPU is rounded to a coarser format.

    Stochastic rounding: up or down in proportion, unbiased. Views and what makes no new number
    are left alone.

    Parameters
    ----------
    bits, least
        Of the format's mantissa, and its smallest positive number.
    generator : torch.Generator
        Of the directions.
    sums : bool
        Partial sums are rounded, too: the format adds up in itself. Rounding n sums, each of up to
        n terms, is what √n half units in every term come to.
    """
    from torch.utils._python_dispatch import TorchDispatchMode

    def round_(x: Any, units: int) -> None:
        unit = units * torch.ldexp(torch.ones_like(x), torch.frexp(x).exponent - 1 - bits)
        unit = unit.clamp_min(least)
        chance = torch.rand(x.shape, generator=generator, dtype=x.dtype)
        moved = torch.floor(x / unit + chance) * unit
        x.copy_(torch.where(torch.isfinite(moved), moved, x))

    def terms(name: str, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Arguments with the rounding of partial sums in what is added up."""
        at = SUMS.get(name)
        if at is None or args[at].dtype != torch.float64 or not args[at].ndim:
            return args
        x = args[at]
        chance = torch.rand(x.shape, generator=generator, dtype=x.dtype) - 0.5
        moved = x * (1 + 2.0**-bits * x.shape[-1] ** 0.5 * chance)
        return (*args[:at], moved, *args[at + 1 :])

    class Rounding(TorchDispatchMode):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            name = str(func.overloadpacket).rpartition(".")[2]
            args = terms(name, args) if sums else args
            made = func(*args, **(kwargs or {}))
            aliases = [r.alias_info for r in func._schema.returns]
            if any(a is not None and not a.is_write for a in aliases):
                return made  # a view
            for x in _tensors(torch, made):
                if x.dtype == torch.float64 and x.numel():
                    round_(x, 2 if name in FUNCTIONS else 1)
            return made

    with Rounding():
        yield
