"""Layouts of kernels of packages, against reference code written from the equations.

The code is PyTorch in the packages' argument convention: a loop over steps, sequences and heads
side by side, gradients by autograd.
"""

from __future__ import annotations

from typing import Any

import pytest

from gradcheck_rnn import api, check_model
from gradcheck_rnn.errors import UsageError
from gradcheck_rnn.verify.harness.packages import PACKAGES
from gradcheck_rnn.verify.harness.ready import definition, ready
from gradcheck_rnn.verify.verdict import Verdict

torch = pytest.importorskip("torch")
NAMES = [f"{c} {k}" for c, (_, kinds) in PACKAGES.items() for k in kinds]
Given = dict[str, Any]


def attention(
    q: Any, k: Any, v: Any, initial_state: Any, g: Any = None, beta: Any = None, scale: Any = None
) -> Given:
    """``(B, T, H, n)``; g a logarithm, of each key or of the head; beta of the delta rule."""
    S, outputs = initial_state, []
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    for t in range(q.shape[1]):
        key, value = k[:, t], v[:, t]
        if g is not None:
            decay = torch.exp(g[:, t])
            S = S * (decay[..., None] if decay.ndim == 3 else decay[..., None, None])
        if beta is not None:
            value = beta[:, t][..., None] * (value - torch.einsum("bhnm,bhn->bhm", S, key))
        S = S + key[..., None] * value[..., None, :]
        outputs.append(torch.einsum("bhnm,bhn->bhm", S, q[:, t]) * scale)
    return {"o": torch.stack(outputs, 1), "final_state": S}


def retention(q: Any, k: Any, v: Any, initial_state: Any, **given: Any) -> Given:
    """Decays of heads by their numbers."""
    decays = torch.log(1 - 2.0 ** (-5 - torch.arange(q.shape[2], dtype=torch.float64)))
    g = decays.to(q.dtype).expand(q.shape[:3])
    return attention(q, k, v, initial_state, g=g, **given)


def backwards(**given: Any) -> Given:
    """From the last step to the first."""
    turned = {n: x.flip(1) if x.ndim > 2 and n != "initial_state" else x for n, x in given.items()}
    found = (rwkv6 if "u" in given else retention)(**turned)
    return {**found, "o": found["o"].flip(1)}


def rwkv6(r: Any, k: Any, v: Any, w: Any, u: Any, initial_state: Any, scale: Any = 1) -> Given:
    """The present pair counts by u, and is decayed from the next step on."""
    S, outputs = initial_state, []
    for t in range(r.shape[1]):
        pair = k[:, t, :, :, None] * v[:, t, :, None]
        outputs.append(((S + u[None, :, :, None] * pair) * r[:, t, ..., None]).sum(-2) * scale)
        S = torch.exp(w[:, t])[..., None] * S + pair
    return {"o": torch.stack(outputs, 1), "final_state": S}


def rwkv7(r: Any, w: Any, k: Any, v: Any, a: Any, b: Any, initial_state: Any) -> Given:
    """The state times diag(e^w) + b aᵀ, and the new pair."""
    S, outputs = initial_state, []
    for t in range(r.shape[1]):
        moved = torch.diag_embed(torch.exp(w[:, t])) + b[:, t, ..., None] * a[:, t, :, None]
        S = moved @ S + k[:, t, ..., None] * v[:, t, :, None]
        outputs.append((r[:, t, :, None] @ S)[..., 0, :])
    return {"o": torch.stack(outputs, 1), "final_state": S}


def rwkv4(w: Any, u: Any, k: Any, v: Any, state: Any) -> Given:
    """Not stabilised: sums of e^k v and e^k, which the state has as multiples of e^m."""
    a, b, m = state[:, :, 0].unbind(1)
    a, b, outputs = a * torch.exp(m), b * torch.exp(m), []
    for t in range(k.shape[1]):
        now = torch.exp(u + k[:, t])
        outputs.append((a + now * v[:, t]) / (b + now))
        kept, new = torch.exp(-torch.exp(w)), torch.exp(k[:, t])
        a, b = kept * a + new * v[:, t], kept * b + new
        m = torch.maximum(m - torch.exp(w), k[:, t])
    last = torch.stack([a * torch.exp(-m), b * torch.exp(-m), m], 1)
    return {"o": torch.stack(outputs, 1), "final_state": last[:, :, None]}


def head_first(**given: Any) -> Given:
    """The same with ``(B, H, T, n)``."""
    moved = {n: x if n == "initial_state" else x.transpose(1, 2) for n, x in given.items()}
    found = attention(**moved)
    return {**found, "o": found["o"].transpose(1, 2)}


def mamba(
    u: Any, delta: Any, A: Any, B: Any, C: Any, D: Any = None, z: Any = None, delta_bias: Any = None
) -> Given:
    """``(B, d, T)``, B and C ``(B, n, T)`` or in groups of channels; no state is handed in."""
    if delta_bias is not None:
        delta = torch.nn.functional.softplus(delta + delta_bias[None, :, None])
    if B.ndim == 4:
        B, C = (x.repeat_interleave(len(A) // x.shape[1], 1) for x in (B, C))
    else:
        B, C = B[:, None], C[:, None]
    x, outputs = torch.zeros(len(u), *A.shape, dtype=u.dtype), []
    for t in range(u.shape[2]):
        x = x * torch.exp(delta[:, :, t, None] * A)
        x = x + (delta[:, :, t] * u[:, :, t])[..., None] * B[..., t]
        outputs.append((x * C[..., t]).sum(-1))
    y = torch.stack(outputs, 2)
    y = y if D is None else y + D[None, :, None] * u
    return {"out": y if z is None else y * torch.nn.functional.silu(z), "last_state": x}


def lstm(Wx: Any, R: Any, b: Any, states: Any) -> Given:
    """``(B, T, gates, H, n)``; gates i, f, z, o and states h, c, or one of each for Elman."""
    s, outputs = states[:, :, 0], []
    for t in range(Wx.shape[1]):
        of_h = torch.einsum("ghij,bhj->bghi", R, s[0])
        if Wx.shape[2] == 3:  # GRU
            g, r, z = (of_h + b[:3]).unbind(1)
            r, z = torch.sigmoid(Wx[:, t, 0] + r), torch.sigmoid(Wx[:, t, 1] + z)
            s = (z * s[0] + (1 - z) * torch.tanh(Wx[:, t, 2] + b[3] + r * g))[None]
            outputs.append(s)
            continue
        raw = Wx[:, t] + of_h + b
        if len(s) == 4:
            i, f, z, o = raw.unbind(1)
            f = s[3] - torch.nn.functional.softplus(-f)
            m = torch.maximum(i, f)
            i, f = torch.exp(i - m), torch.exp(f - m)
            c, n = f * s[1] + i * torch.tanh(z), torch.clamp(f * s[2] + i, min=1)
            s = torch.stack([torch.sigmoid(o) * c / n, c, n, m])
        elif len(b) == 1:
            s = torch.tanh(raw[:, 0])[None]
        else:
            i, f, o = (torch.sigmoid(raw[:, k]) for k in (0, 1, 3))
            c = f * s[1] + i * torch.tanh(raw[:, 2])
            s = torch.stack([o * torch.tanh(c), c])
        outputs.append(s)
    return {"h": torch.stack(outputs, 2), "last_h": s[:, :, None]}


CODE = {
    "linear-attention": attention, "selective-scan": mamba, "flashrnn": lstm, "rwkv": rwkv4,
    "linear-attention retention": retention, "linear-attention rwkv6": rwkv6,
    "linear-attention rwkv7": rwkv7,
}  # fmt: skip


def named(name: str, code: Any) -> Any:
    """A function with the layout's own arguments, which `check_model` reads from it."""
    layout = ready(name)
    arguments = ", ".join([*layout.inputs, *layout.parameters])
    space: Given = {"code": code}
    exec(f"def kernel({arguments}):\n    return code(**locals())", space)
    return space["kernel"]


def check(name: str, code: Any, **options: Any) -> Any:
    return check_model(
        api.load(definition(name)), module=named(name, code), layout=name, array="torch",
        plan="point", **options,
    )  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_reference_code_passes(name: str) -> None:
    report = check(name, CODE.get(name) or CODE[name.split()[0]])
    assert report.passed, str(report)


OPTIONS = [
    ("linear-attention gated_delta_rule head_first", head_first),
    ("linear-attention delta_rule without=initial_state", attention),
    ("linear-attention gla without=final_state", attention),
    ("linear-attention delta_rule scale", attention),
    ("linear-attention retention reverse", backwards),
    ("linear-attention rwkv6 scale reverse", backwards),
    ("selective-scan grouped without=last_state", mamba),
    ("selective-scan mamba D=False", mamba),
]


@pytest.mark.parametrize(("name", "code"), OPTIONS)
def test_options_pass(name: str, code: Any) -> None:
    def started(**given: Any) -> Given:
        k, v = given.get("k"), given.get("v")
        if k is not None and "initial_state" not in given:
            given["initial_state"] = torch.zeros(
                len(k), k.shape[2], k.shape[-1], v.shape[-1], dtype=k.dtype
            )
        found = code(**given)
        return {n: x for n, x in found.items() if n in ready(name).outputs}

    report = check(name, started)
    assert report.passed, str(report)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("name", ["linear-attention gated_delta_rule", "selective-scan mamba"])
def test_coarser_formats_pass(name: str, dtype: str) -> None:
    report = check(name, CODE[name.split()[0]], dtype=dtype)
    assert report.passed, str(report)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize(
    ("name", "argument"),
    [("rwkv rwkv4", "k"), ("linear-attention rwkv6", "u"), ("linear-attention rwkv7", "a"),
     ("linear-attention retention", "v"), ("flashrnn slstm", "R"), ("flashrnn gru", "b")],
)  # fmt: skip
def test_right_and_wrong_in_coarser_formats(name: str, argument: str, dtype: str) -> None:
    code = CODE.get(name) or CODE[name.split()[0]]

    def wrong(**given: Any) -> Given:
        return code(**{**given, argument: Halved.apply(given[argument])})

    report = check(name, code, dtype=dtype)
    assert report.passed, str(report)
    rows = check(name, wrong, dtype=dtype, diagnose=False).rows
    assert {r.name for r in rows if r.verdict is Verdict.FAIL} == {argument}


def test_a_decay_that_is_applied_too_late_is_found() -> None:
    def late(g: Any, **given: Any) -> Given:
        return attention(g=torch.roll(g, 1, 1), **given)

    assert not check("linear-attention simple_gla", late).passed


class Halved(torch.autograd.Function):
    """The identity, of which half a gradient comes back."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, g: Any) -> Any:
        return g / 2


@pytest.mark.parametrize(
    ("name", "argument"),
    [("linear-attention delta_rule", "beta"), ("linear-attention gla", "initial_state"),
     ("selective-scan mamba", "z"), ("flashrnn lstm", "R")],
)  # fmt: skip
def test_a_wrong_gradient_is_found(name: str, argument: str) -> None:
    code = CODE[name.split()[0]]

    def wrong(**given: Any) -> Given:
        return code(**{**given, argument: Halved.apply(given[argument])})

    report = check(name, wrong)
    assert not report.passed
    assert {r.name for r in report.rows if r.verdict is Verdict.FAIL} == {argument}


def test_unknown_kinds_and_options_are_refused() -> None:
    for text in ("linear-attention lstm", "selective-scan mamba groups", "rwkv rwkv6"):
        with pytest.raises(UsageError, match="no ready layout"):
            ready(text)
