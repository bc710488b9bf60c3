"""The zoo with matrix states: planted faults, cost without size."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gradcheck_rnn import cells
from gradcheck_rnn.calculus.rules import RULES
from gradcheck_rnn.calculus.terms import Hadamard, Neg, Scale, Term, Times, Transpose
from gradcheck_rnn.codegen import generate
from gradcheck_rnn.derivation import derive
from gradcheck_rnn.derivation.proof import prove

# -- a wrong rule is not proved ----------------------------------------------------------------


def _unturned(node: Term, i: int, bar: Term, out: Term) -> Term:
    """A product's pullback whose sign is wrong for the last factor."""
    found = RULES[node].pullback(node, i, bar, out)
    return Neg(found) if i == len(node.operands) - 1 else found


FAULTS: dict[str, tuple[type[Term], Any]] = {
    "sign of a product's last factor": (Times, _unturned),
    "scale forgotten": (Scale, lambda node, i, bar, out: (
        bar if i else RULES[node].pullback(node, i, bar, out))),
    "transpose negated": (Transpose, lambda node, i, bar, out: Neg(Transpose(bar))),
    "factor squared": (Hadamard, lambda node, i, bar, out: Hadamard(
        *(2 * [x for k, x in enumerate(node.operands) if k != i]), bar)),
}  # fmt: skip
MEETS = {"scale forgotten": "delta_net", "factor squared": "gated_linear_attention"}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(fault: str) -> None:
    node, wrong = FAULTS[fault]
    rule = next(r for r in RULES if r.node is node)
    table = RULES.replaced(replace(rule, pullback=wrong))
    network = cells.get(MEETS.get(fault, "delta_net"))
    result = prove(derive(network, table))
    assert not result.proved
    assert prove(derive(network)).proved


# -- nothing grows with the size ---------------------------------------------------------------


def test_page_and_kernel_do_not_know_the_size() -> None:
    text = generate(derive(cells.get("delta_net")))
    assert len(text.splitlines()) < 380
    assert prove(derive(cells.get("delta_net")), sizes={"n": 5, "m": 7}).proved
