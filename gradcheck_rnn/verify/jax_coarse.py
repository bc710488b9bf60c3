"""JAX code in bfloat16 and float16 that differences cannot decide, with float64 arrays."""

from __future__ import annotations

from typing import Any

from .harness.aggregates import COARSE
from .jax_pair import JaxPair
from .outcome import Report
from .verdict import Finding, Verdict
from .vjp import check_pair

__all__ = ["check_jax_pair"]


def check_jax_pair(pair: JaxPair, **options: Any) -> Report:
    """`check_pair`; what stays undecided in a coarse format fails if it is wrong in float64.

    Where the same function is right with float64 arrays it stays undecided: what rounding adds in
    the coarse format has not been judged.
    """
    report = check_pair(pair, **options)
    if report.verdict is not Verdict.UNDECIDED or pair.unit <= COARSE:
        return report
    try:
        with _wide(pair.jax):
            wide = pair.widened()
            found = check_pair(wide, **options)
    except Exception:  # it does not take float64 arrays
        return report
    if wide.unit > COARSE:  # it casts by itself
        return report
    if found.verdict is Verdict.FAIL:
        text = "compared with float64 arrays, since differences in the coarse format decide nothing"
        found.findings.append(Finding("widened", text))
        return found
    if found.verdict is Verdict.PASS:
        text = "with float64 arrays the same function passes; what rounding adds was not judged"
        report.findings.append(Finding("widened", text))
    return report


def _wide(jax: Any) -> Any:
    """Where arrays can be float64."""
    known = getattr(jax, "enable_x64", None)
    return known(True) if known is not None else jax.experimental.enable_x64(True)
