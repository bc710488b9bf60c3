"""The zoo with matrix states: kernels beside PyTorch, planted faults, cost without size."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gradcheck_rnn import cells
from gradcheck_rnn.calculus.rules import RULES
from gradcheck_rnn.calculus.terms import Hadamard, Neg, Scale, Term, Times, Transpose
from gradcheck_rnn.codegen import generate
from gradcheck_rnn.derivation import derive
from gradcheck_rnn.derivation.proof import prove
from gradcheck_rnn.language.network import as_network
from tests.codegen.support import Case
from tests.matrices import definitions

NAMES = (*(n for n in cells.names() if cells.get(n).matrices), "mlstm")


@functools.cache
def case(name: str) -> Case:
    return Case(as_network(definitions.mlstm) if name == "mlstm" else cells.get(name))


# -- PyTorch, sequences at once, in other forms ------------------------------------------------


def _attention(torch: Any, a: dict[str, Any]) -> dict[str, Any]:
    """As a masked product over all pairs of steps."""
    q, k, v = a["q"], a["k"], a["v"]
    kept = torch.tril(torch.ones(len(q), len(q), dtype=q.dtype))
    weights = torch.einsum("tbn,sbn->bts", q, k) * kept
    total = a["z0"] + torch.cumsum(k, 0)
    o = torch.einsum("bts,sbm->tbm", weights, v) + torch.einsum("tbn,bnm->tbm", q, a["S0"])
    S = a["S0"] + torch.einsum("tbn,tbm->bnm", k, v)
    return {"o": o / (total * q).sum(-1, keepdim=True), "S_final": S, "z_final": total[-1]}


def _gated(torch: Any, a: dict[str, Any]) -> dict[str, Any]:
    S, out = a["S0"], []
    for q, k, v, alpha in zip(a["q"], a["k"], a["v"], a["alpha"], strict=True):
        S = torch.diag_embed(alpha) @ S + k[:, :, None] * v[:, None]
        out.append((q[:, None] @ S)[:, 0])
    return {"o": torch.stack(out), "S_final": S}


def _delta(torch: Any, a: dict[str, Any]) -> dict[str, Any]:
    S, out = a["S0"], []
    for q, k, v, alpha, beta in zip(*(a[n] for n in ("q", "k", "v", "alpha", "beta")), strict=True):
        S = alpha[:, None, None] * S
        read = (S @ k[:, :, None])[:, :, 0]
        S = S + beta[:, None, None] * (v - read)[:, :, None] * k[:, None]
        out.append((S @ q[:, :, None])[:, :, 0])
    return {"o": torch.stack(out), "S_final": S}


def _mlstm(torch: Any, a: dict[str, Any]) -> dict[str, Any]:
    C, z, s, out = a["C0"], a["z0"], a["s0"], []
    for q, k, v, i, f in zip(*(a[n] for n in ("q", "k", "v", "i", "f")), strict=True):
        kept = torch.nn.functional.logsigmoid(f) + s
        s = torch.maximum(kept, i)
        keep, write = torch.exp(kept - s), torch.exp(i - s)
        C = keep[:, None, None] * C + torch.einsum("b,bm,bn->bmn", write, v, k)
        z = keep[:, None] * z + write[:, None] * k
        below = torch.maximum((z * q).sum(-1).abs(), torch.exp(-s))
        out.append(torch.einsum("bmn,bn->bm", C, q) / below[:, None])
    return {"h": torch.stack(out), "C_final": C, "z_final": z, "s_final": s}


def _selective(torch: Any, a: dict[str, Any]) -> dict[str, Any]:
    S, out = a["S0"], []
    for u, delta, B, C in zip(a["u"], a["delta"], a["B"], a["C"], strict=True):
        S = torch.exp(delta[:, :, None] * a["A"]) * S + (delta * u)[:, :, None] * B[:, None]
        out.append(torch.einsum("bnm,bm->bn", S, C) + a["D"] * u)
    return {"y": torch.stack(out), "S_final": S}


TORCH: dict[str, Callable[..., dict[str, Any]]] = {
    "linear_attention": _attention, "gated_linear_attention": _gated,
    "delta_net": _delta, "mlstm": _mlstm, "selective_scan": _selective,
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_kernels_agree_with_autograd(name: str) -> None:
    torch = pytest.importorskip("torch")
    c = case(name)
    arrays = {n: torch.tensor(a, requires_grad=True) for n, a in c.arrays.items()}
    made = TORCH[name](torch, arrays)
    outputs, saved = c.forward()
    assert set(made) == set(outputs)
    for n, a in outputs.items():
        scale = 1 + abs(a).max()
        np.testing.assert_allclose(a, made[n].detach().numpy(), rtol=1e-12, atol=1e-12 * scale)
    given = c.cotangents()
    sum((made[n] * torch.tensor(g)).sum() for n, g in given.items()).backward()
    for n, a in c.backward(saved, given).items():
        scale = 1 + abs(a).max()
        theirs = arrays[n].grad.numpy()
        np.testing.assert_allclose(a, theirs, rtol=1e-12, atol=1e-12 * scale, err_msg=n)


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
    assert len(text.splitlines()) < 300
    assert prove(derive(cells.get("delta_net")), sizes={"n": 5, "m": 7}).proved
