"""The zoo with heads: kernels beside PyTorch, sequences at once and in other forms."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gradcheck_rnn import cells
from gradcheck_rnn.codegen import generate
from gradcheck_rnn.derivation import derive
from gradcheck_rnn.derivation.proof import prove
from gradcheck_rnn.language.network import as_network
from tests.codegen.support import Case
from tests.heads import definitions

NAMES = (*(n for n in cells.names() if cells.get(n).heads), "gated")


@functools.cache
def case(name: str) -> Case:
    return Case(as_network(definitions.gated) if name == "gated" else cells.get(name))


def _decayed(torch: Any, q: Any, k: Any, v: Any, logs: Any, S: Any) -> tuple[Any, Any]:
    """Retention as a masked product over all pairs of steps; ``logs`` (T, B, H) of the decays."""
    total = torch.cumsum(logs, 0)
    gaps = total[:, None] - total[None]
    kept = torch.tril(torch.ones(len(q), len(q), dtype=q.dtype))[:, :, None, None]
    weights = torch.einsum("tbhn,sbhn->tsbh", q, k) * torch.exp(gaps * kept) * kept
    o = torch.einsum("tsbh,sbhm->tbhm", weights, v)
    o = o + torch.einsum("tbhn,tbh,bhnm->tbhm", q, torch.exp(total), S)
    left = torch.exp(total[-1] - total)
    last = torch.exp(total[-1])[..., None, None] * S
    return o, last + torch.einsum("tbh,tbhn,tbhm->bhnm", left, k, v)


def _projected(torch: Any, a: dict[str, Any], name: str) -> Any:
    return torch.einsum("hnd,tbd->tbhn", a[name], a["x"])


def _attention(torch: Any, a: dict[str, Any]) -> dict[str, Any]:
    q, k, v = (_projected(torch, a, n) for n in ("W_q", "W_k", "W_v"))
    f, g = (torch.nn.functional.elu(u) + 1 for u in (q, k))
    o, S = _decayed(torch, f, g, v, torch.zeros(q.shape[:3], dtype=q.dtype), a["S0"])
    z = a["z0"] + torch.cumsum(g, 0)
    o = o / (z * f).sum(-1, keepdim=True)
    merged = torch.movedim(a["W_o"], 0, 1).flatten(1)
    return {"y": o.flatten(2) @ merged.T, "S_final": S, "z_final": z[-1]}


def _retention(torch: Any, a: dict[str, Any]) -> dict[str, Any]:
    q, k, v, gate = (_projected(torch, a, n) for n in ("W_q", "W_k", "W_v", "W_g"))
    logs = torch.log(a["gamma"]).expand(q.shape[:3])
    o, S = _decayed(torch, q, k, v, logs, a["S0"])
    flat = o.flatten(0, 1)  # sequences and steps, heads, units: a group a head
    normed = torch.nn.functional.group_norm(flat.flatten(1), flat.shape[1], eps=1e-5)
    o = torch.nn.functional.silu(gate).flatten(2) * normed.reshape(*o.shape[:2], -1)
    return {"y": o @ torch.movedim(a["W_o"], 0, 1).flatten(1).T, "S_final": S}


def _slstm(torch: Any, a: dict[str, Any]) -> dict[str, Any]:
    """Not stabilised, heads as one block-diagonal matrix; sums that are carried start at scale."""
    R = {g: torch.block_diag(*a["R_" + g]) for g in "zifo"}
    W = {g: a["W_" + g].flatten(0, 1) for g in "zifo"}
    h, m = a["h0"].flatten(1), a["m0"].flatten(1)
    c, n = (a[s].flatten(1) * torch.exp(m) for s in ("c0", "n0"))
    shape, out = a["h0"].shape, []
    for x in a["x"]:
        raw = {g: x @ W[g].T + h @ R[g].T + a["b_" + g].flatten() for g in "zifo"}
        c = torch.exp(raw["f"]) * c + torch.exp(raw["i"]) * torch.tanh(raw["z"])
        n = torch.exp(raw["f"]) * n + torch.exp(raw["i"])
        m = torch.maximum(raw["f"] + m, raw["i"])
        h = torch.sigmoid(raw["o"]) * c / n
        out.append(torch.nn.functional.group_norm(h, shape[1], a["gamma"].flatten(), eps=1e-5))
    last = {"h": h, "c": c * torch.exp(-m), "n": n * torch.exp(-m), "m": m}
    made = {f"{s}_final": last[s].reshape(shape) for s in last}
    merged = torch.movedim(a["W_y"], 0, 1).flatten(1)
    return {"y": torch.stack(out) @ merged.T, **made}


def _gated(torch: Any, a: dict[str, Any]) -> dict[str, Any]:
    S, out = a["S0"], []
    for q, k, v, g in zip(*(a[n] for n in ("q", "k", "v", "g")), strict=True):
        S = g[..., None, None] * S + k[..., None] @ v[..., None, :]
        out.append((q[..., None, :] @ S)[..., 0, :])
    return {"o": torch.stack(out), "S_final": S}


TORCH: dict[str, Callable[..., dict[str, Any]]] = {
    "multihead_linear_attention": _attention, "multihead_retention": _retention,
    "multihead_slstm": _slstm, "gated": _gated,
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_kernels_agree_with_autograd(name: str) -> None:
    torch = pytest.importorskip("torch")
    agrees_with_autograd(torch, name, case(name))


@pytest.mark.parametrize("zeros", ["x", "W_q", "W_k"])
def test_zeros_have_the_slopes_of_elu(zeros: str) -> None:
    """A padded step, and a head with a row of zeros: q and k are 0, where elu has slope 1."""
    c = Case(cells.get("multihead_linear_attention"))
    c.arrays[zeros][1, 0] = 0.0
    _, saved = c.forward()
    given = c.cotangents()
    direction = {zeros: np.zeros_like(c.arrays[zeros])}
    direction[zeros][1, 0] = c.rng.normal(size=direction[zeros][1, 0].shape)
    along = np.sum(c.backward(saved, given)[zeros] * direction[zeros])

    def loss(step: float) -> float:
        made, _ = c.forward({**c.arrays, zeros: c.arrays[zeros] + step * direction[zeros]})
        return float(sum(np.sum(g * made[n]) for n, g in given.items()))

    for side in (1, -1):  # from both sides: it is no kink
        near, far = ((loss(side * h) - loss(0)) / (side * h) for h in (1e-5, 2e-5))
        np.testing.assert_allclose(along, 2 * near - far, rtol=1e-7)
    np.testing.assert_allclose(along, c.slope(given, direction), rtol=1e-12)
    agrees_with_autograd(pytest.importorskip("torch"), "multihead_linear_attention", c)


def test_queries_far_below_zero_keep_their_digits() -> None:
    """elu(q) + 1 is 0 below −37 in floating point, and y then 0 / 0; exp(q) is not."""
    c = Case(cells.get("multihead_linear_attention"))
    c.arrays["x"] = 1 + abs(c.arrays["x"])
    c.arrays["W_q"] = -20 - abs(c.arrays["W_q"])
    outputs, saved = c.forward()
    assert np.max(np.einsum("hnd,tbd->tbhn", c.arrays["W_q"], c.arrays["x"])) < -37
    assert np.isfinite(outputs["y"]).all()
    given = c.cotangents()
    gradients = c.backward(saved, given)
    for n in ("W_q", "W_k", "x"):
        direction = {n: c.rng.normal(size=c.arrays[n].shape)}
        along = np.sum(gradients[n] * direction[n])
        np.testing.assert_allclose(along, c.slope(given, direction), rtol=1e-9, err_msg=n)


def agrees_with_autograd(torch: Any, name: str, c: Case) -> None:
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


def test_page_and_kernel_do_not_know_the_sizes() -> None:
    text = generate(derive(cells.get("multihead_retention")))
    assert len(text.splitlines()) < 480
    sizes = {"H": 4, "n": 2, "m": 3, "d": 5}
    assert prove(derive(cells.get("multihead_retention")), sizes=sizes).proved
