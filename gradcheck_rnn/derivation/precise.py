"""A derivation run in many digits, or with an error put on every operation.

For test vectors: the first gives gradients to 30 digits, the second shows how far a careful
implementation in a number format may stray from them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..calculus import terms as T
from .evaluate import Run, bptt
from .numeric_terms import TermEvaluator
from .program import Derivation

__all__ = ["pull_precise", "run_rounded"]

Arrays = dict[str, Any]


class _Precise(TermEvaluator):
    """Constants as mpmath numbers, which do not divide fractions."""

    def number(self, value: Any) -> Any:
        import mpmath

        return mpmath.mpf(int(value.p)) / int(value.q)


def pull_precise(
    derivation: Derivation,
    values: Mapping[str, Any],
    cotangents: Mapping[str, Any],
    sizes: Mapping[str, int],
    lengths: Mapping[str, int],
) -> Arrays:
    """Gradients of <cotangents, outputs> plus the loss, in mpmath's working precision.

    Parameters
    ----------
    values, cotangents : mapping
        Object arrays of `mpmath.mpf` in columns, ``(n, B)``, sequences with time first.

    Returns
    -------
    dict
        Name → object array like the value's.
    """
    return bptt(Run(derivation, values, sizes, lengths, _Precise), cotangents)


def run_rounded(
    derivation: Derivation,
    values: Mapping[str, Any],
    sizes: Mapping[str, int],
    lengths: Mapping[str, int],
    slip: Callable[[Any], Any],
) -> tuple[Arrays, Callable[[Mapping[str, Any]], Arrays]]:
    """Outputs, and the pullback of cotangents, with an error put on every operation.

    A matrix product gets one error, as on hardware that accumulates in a wider format.

    Parameters
    ----------
    slip : callable
        From the exact result of an operation, float64, to what a number format makes of it.
    """

    class RandomlyRounded(TermEvaluator):
        def __call__(self, term: T.Term, lookup: Callable[[T.Sym], Any]) -> Any:
            found = super().__call__(term, lookup)
            return found if isinstance(term, T.Sym) else slip(found)

    with np.errstate(all="ignore"):
        run = Run(derivation, values, sizes, lengths, RandomlyRounded)

    def pull(cotangents: Mapping[str, Any]) -> Arrays:
        with np.errstate(all="ignore"):
            return {n: slip(g) for n, g in bptt(run, cotangents).items()}

    return {n: run.output(n) for n in derivation.network.outputs}, pull
