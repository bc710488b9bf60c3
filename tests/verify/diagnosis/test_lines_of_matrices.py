"""Adjoints of matrix states and of what every head has, handed over: judged as vectors are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks.blind_second_more import gated_forward
from benchmarks.line_study import one
from gradcheck_rnn import Layout, check_model, load, record
from gradcheck_rnn.errors import DimensionError, UsageError
from gradcheck_rnn.verify.wording import line_verdict
from tests.heads import definitions

Arrays = dict[str, Any]
#: Fault → the lines that it makes wrong, and words of the first of them.
GATED = {
    "twice": ({"δS_t"}, "δS_t with 2 times"),
    "query": ({"dq"}, "δq_t with S_{t−1} instead of S_t"),
    "value": ({"dv"}, "δv_t with q_t instead of k_t"),
    "decay": ({"dalpha"}, "δα_t with S_t instead of S_{t−1}"),
    "carry": ({"δS_t", "dS0"}, "δS_{t−1} without the factor α_t 1_mᵀ"),
}
MLSTM = {
    "outer": ({"δC⁽ʰ⁾_t"}, "δC⁽ʰ⁾_t"),
    "carry": ({"δC⁽ʰ⁾_t", "dC0"}, "δC⁽ʰ⁾_{t−1} without the factor keep⁽ʰ⁾_t"),
    "slope": ({"δa⁽ʰ⁾_{keep,t}"}, "write⁽ʰ⁾_t"),
    "key": ({"dk"}, "z⁽ʰ⁾"),
}


def wrong(report: Any) -> dict[str, str]:
    found = [line for line in report.lines if line_verdict(line) == "wrong"]
    return {line.name: "".join(line.told("mistake")) for line in found}


def gated(cotangents: Arrays, cache: Any, fault: str, whole: bool) -> Arrays:
    q, k, g, v, S = cache
    do, dS = cotangents["o"], cotangents["S_final"]
    out = {n: np.zeros_like(a) for n, a in (("q", q), ("k", k), ("alpha", g), ("v", v))}
    every = []
    for t in reversed(range(len(q))):
        dS = dS + q[t][:, :, None] * do[t][:, None, :] * (1 + (fault == "twice"))
        every.insert(0, dS.swapaxes(1, 2))
        if not whole:
            record(dS=dS, t=t)
        out["q"][t] = (S[t + (fault != "query")] * do[t][:, None, :]).sum(axis=2)
        out["k"][t] = (dS * v[t][:, None, :]).sum(axis=2)
        out["v"][t] = (dS * (q if fault == "value" else k)[t][:, :, None]).sum(axis=1)
        out["alpha"][t] = (dS * S[t + (fault == "decay")]).sum(axis=2)
        dS = dS if fault == "carry" else dS * g[t][:, :, None]
    return out | {"S0": dS} | ({"dS": np.stack(every)} if whole else {})


def check_gated(fault: str, whole: bool = False, axes: str = "T B m n") -> Any:
    layout = Layout.of(load("gated_linear_attention"))
    if whole:
        layout = Layout(
            layout.parameters, layout.inputs, layout.outputs, adjoints={"dS": f"S: {axes}"}
        )
    return check_model(
        load("gated_linear_attention"), forward=gated_forward, layout=layout, plan="point",
        backward=lambda c, cache: gated(c, cache, fault, whole),
    )  # fmt: skip


@pytest.mark.parametrize("whole", [False, True])
def test_right_matrices_are_right_recorded_and_returned(whole: bool) -> None:
    report = check_gated("", whole)
    assert report.passed
    assert [line.name for line in report.lines] == ["δS_t", "dq", "dk", "dalpha", "dv", "dS0"]
    assert not wrong(report)


@pytest.mark.parametrize("fault", GATED)
def test_the_wrong_line_beside_a_matrix_state_is_named(fault: str) -> None:
    said = wrong(check_gated(fault))
    names, words = GATED[fault]
    assert set(said) == names
    assert words in said[next(n for n in said if n in names)]


def test_an_array_that_does_not_fit_is_refused_with_the_axes() -> None:
    with pytest.raises(DimensionError, match="layout: 'dS' leaves out the axes m"):
        check_gated("", True, "T B n")
    with pytest.raises(UsageError, match="'T B n k'; write an order of T B n m"):
        check_gated("", True, "T B n k")
    with pytest.raises(DimensionError, match=r"\(T B n m\).*adjoints=.*'S: T B n m'"):
        check_gated("", True, "T B n m")


def sigmoid(a: Any) -> Any:
    return 1 / (1 + np.exp(-a))


def mlstm_forward(q: Any, k: Any, v: Any, i: Any, f: Any, C0: Any, z0: Any, s0: Any) -> Any:
    C, z, s, hs, saved = C0, z0, s0, [], []
    for t in range(len(q)):
        kept = s + np.log(sigmoid(f[t]))
        low, s = s, np.maximum(kept, i[t])
        write, keep = np.exp(i[t] - s), np.exp(kept - s)
        before = C, z, low
        C = keep[..., None, None] * C + write[..., None, None] * np.einsum(
            "bhm,bhn->bhmn", v[t], k[t]
        )
        z = keep[..., None] * z + write[..., None] * k[t]
        along = np.einsum("bhn,bhn->bh", z, q[t])
        below = np.maximum(np.abs(along), np.exp(-s))
        h = np.einsum("bhmn,bhn->bhm", C, q[t]) / below[..., None]
        saved.append((before, kept, s, write, keep, C, z, along, below, h))
        hs.append(h)
    outputs = {"h": np.stack(hs), "C_final": C, "z_final": z, "s_final": s}
    return outputs, (q, k, v, i, f, saved)


def mlstm_backward(cotangents: Arrays, cache: Any, fault: str = "") -> Arrays:
    q, k, v, i, f, saved = cache
    out = {n: np.zeros_like(a) for n, a in (("q", q), ("k", k), ("v", v), ("i", i), ("f", f))}
    dC, dz, ds = (cotangents[f"{n}_final"] for n in "Czs")
    for t in reversed(range(len(q))):
        (C_, z_, _), kept, s, write, keep, C, z, along, below, h = saved[t]
        dh = cotangents["h"][t]
        top = dh / below[..., None]
        dbelow = -(top * h).sum(-1)
        large = np.abs(along) > np.exp(-s)
        dalong = dbelow * np.sign(along) * large
        da_h = dbelow * np.exp(-s) * ~large
        more = np.einsum("bhm,bhn->bhmn", dh if fault == "outer" else top, q[t])
        dC, dz = dC + more, dz + dalong[..., None] * q[t]
        out["q"][t] = np.einsum("bhmn,bhm->bhn", C, top) + dalong[..., None] * z
        dwrite = np.einsum("bhmn,bhm,bhn->bh", dC, v[t], k[t]) + (dz * k[t]).sum(-1)
        dkeep = (dC * C_).sum((-2, -1)) + (dz * z_).sum(-1)
        out["v"][t] = write[..., None] * np.einsum("bhmn,bhn->bhm", dC, k[t])
        read = np.einsum("bhmn,bhm->bhn", dC, v[t])
        out["k"][t] = write[..., None] * (read if fault == "key" else read + dz)
        da_write, da_keep = dwrite * write, dkeep * (write if fault == "slope" else keep)
        ds = ds - da_h - da_write - da_keep
        record(dC=dC, dz=dz, ds=ds, dwrite=dwrite, dkeep=dkeep, t=t)
        record(da_write=da_write, da_keep=da_keep, t=t)
        out["i"][t] = da_write + ds * ~(kept > i[t])
        ds = da_keep + ds * (kept > i[t])
        out["f"][t] = ds * sigmoid(-f[t])
        dz = keep[..., None] * dz
        dC = dC if fault == "carry" else keep[..., None, None] * dC
    return out | {"C0": dC, "z0": dz, "s0": ds}


def check_mlstm(fault: str) -> Any:
    return check_model(
        definitions.mlstm, forward=mlstm_forward, plan="point",
        backward=lambda c, cache: mlstm_backward(c, cache, fault),
    )  # fmt: skip


def test_every_right_line_of_a_cell_with_heads_is_cleared() -> None:
    report = check_mlstm("")
    assert report.passed
    assert len(report.lines) == 15
    assert not wrong(report)


@pytest.mark.parametrize("fault", MLSTM)
def test_the_wrong_line_of_a_cell_with_heads_is_named(fault: str) -> None:
    said = wrong(check_mlstm(fault))
    names, words = MLSTM[fault]
    assert set(said) == names
    assert any(words in text for text in said.values())


@pytest.mark.parametrize(
    ("cell", "form"),
    [("delta_net", "float32"), ("mlstm", "float64"), ("multihead_retention", "float32")],
)
def test_random_faults_beside_matrix_states_and_heads_are_found_where_they_are(
    cell: str, form: str
) -> None:
    wanted, named = one(cell, 3, 2, form)
    assert named == wanted
