"""Notes on cells with matrix states and heads, as people write them: text, NumPy, LaTeX."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

from gradcheck_rnn import api
from gradcheck_rnn.audit.difference_quotients import Differences
from gradcheck_rnn.audit.extraction import read_lines
from gradcheck_rnn.audit.judge import judge_at
from gradcheck_rnn.audit.note import RIGHT, Note
from gradcheck_rnn.audit.truth import Source
from gradcheck_rnn.audit.vocabulary import Vocabulary
from gradcheck_rnn.derivation import derive
from gradcheck_rnn.language import cell, eye, solve, tanh, unvec, vec


@functools.cache
def source(cell: str, *, measured: bool = False) -> Source:
    derivation = api.derive(cell)
    return Source(derivation, make=Differences.of) if measured else Source(derivation)


def judged(cell: str, note: str, *, measured: bool = False) -> Note:
    at = source(cell, measured=measured)
    lines = [x for x in note.strip().splitlines() if x.strip()]
    return judge_at(at, read_lines(lines, Vocabulary.of(at.known())), explain=not measured)


LINEAR_ATTENTION = """
S[t] = S[t-1] + k[t][:, None] * v[t][None, :]
z[t] = z[t-1] + k[t]
den = z[t] @ q[t]
o[t] = q[t] @ S[t] / den
dS[t] = dS[t+1] + np.outer(q[t], do[t]) / den
dz[t] = dz[t+1] - q[t] * np.dot(do[t], o[t]) / den
dq[t] = (S[t] @ do[t] - z[t] * np.dot(do[t], o[t])) / den
dk[t] = dS[t] @ v[t] + dz[t]
dv[t] = dS[t].T @ k[t]
"""
# A loop as it runs: what is handed back is defined at its end.
DELTA_LOOP = """
do = g_o[t]
dS = dS_next + np.outer(do, q)
dq = S.T @ do
dv = beta * dS @ k
dk = beta * dS.T @ v - alpha * beta * (S_prev.T @ dS + dS.T @ S_prev) @ k
dbeta = v @ dS @ k - k @ (alpha * S_prev.T @ dS) @ k
dalpha = np.sum(dS * (S_prev - beta * np.outer(S_prev @ k, k)))
dS_next = alpha * (dS - beta * np.outer(dS @ k, k))
"""
DELTA_TEXT = """
S_t = α_t S_{t-1} (I − β_t k_t k_tᵀ) + β_t v_t k_tᵀ
δS_t = α_{t+1} (δS_{t+1} − β_{t+1} δS_{t+1} k_{t+1} k_{t+1}ᵀ) + δo_t q_tᵀ
δβ_t = tr(δS_tᵀ (v_t − α_t S_{t-1} k_t) k_tᵀ)
δα_t = ⟨δS_t, S_{t-1} (I − β_t k_t k_tᵀ)⟩_F
∂vec(S_t)/∂vec(S_{t-1}) = α_t (I_n − β_t k_t k_tᵀ) ⊗ I_m
"""
DELTA_LATEX = r"""
\delta S_t = \alpha_{t+1}\, \delta S_{t+1} (I - \beta_{t+1} k_{t+1} k_{t+1}^\top) + \delta o_t q_t^\top
\frac{\partial L}{\partial \beta_t} = \langle \delta S_t, (v_t - \alpha_t S_{t-1} k_t) k_t^\top \rangle
"""  # noqa: E501
GATED = """
δS_t = diag(α_{t+1}) δS_{t+1} + q_t δo_tᵀ
δα_t = (δS_t ⊙ S_{t-1}) 1_m
δk_t = δS_t v_t
δv_t = δS_tᵀ k_t
δq_t = S_t δo_t
"""
MAMBA = """
dC[t] = S[t].T @ dy[t]
dS[t] = dS[t+1] * np.exp(delta[t+1][:, None] * A) + np.outer(dy[t], C[t])
dB[t] = (dS[t] * (delta[t] * u[t])[:, None]).sum(axis=0)
dA += dS[t] * S[t-1] * np.exp(delta[t][:, None] * A) * delta[t][:, None]
du[t] = (dS[t] @ B[t]) * delta[t] + D * dy[t]
dD += dy[t] * u[t]
ddelta[t] = (dS[t] * S[t-1] * np.exp(delta[t][:, None] * A) * A).sum(-1) + (dS[t] @ B[t]) * u[t]
"""
HEADS = """
S⁽ʰ⁾_t = γ⁽ʰ⁾ S⁽ʰ⁾_{t−1} + k⁽ʰ⁾_t v⁽ʰ⁾_tᵀ
δS⁽ʰ⁾_t = γ⁽ʰ⁾ δS⁽ʰ⁾_{t+1} + q⁽ʰ⁾_t δo⁽ʰ⁾_tᵀ
∇W⁽ʰ⁾_q = Σ_t δq⁽ʰ⁾_t x_tᵀ
δx_t = Σ_h (W⁽ʰ⁾_qᵀ δq⁽ʰ⁾_t + W⁽ʰ⁾_kᵀ δk⁽ʰ⁾_t + W⁽ʰ⁾_vᵀ δv⁽ʰ⁾_t + W⁽ʰ⁾_gᵀ δa⁽ʰ⁾_t)
"""
NOTES = {
    "linear_attention": LINEAR_ATTENTION, "delta_net": DELTA_LOOP, "delta_net 2": DELTA_TEXT,
    "delta_net 3": DELTA_LATEX, "gated_linear_attention": GATED, "selective_scan": MAMBA,
    "multihead_retention": HEADS,
}  # fmt: skip


@pytest.mark.parametrize("name", NOTES)
def test_a_right_note_is_right(name: str) -> None:
    note = judged(name.split()[0], NOTES[name])
    assert note.passed, str(note)
    assert note.convention == "columns"


# Cell, what is written instead in its note, what is said of it.
FAULTS = [
    ("linear_attention", "np.outer(q[t], do[t])", "np.outer(do[t], q[t])", "q_t δo_tᵀ"),
    ("linear_attention", "dS[t] @ v[t] + dz[t]", "dS[t] @ v[t]", "the term δz_t is missing"),
    ("linear_attention", "dS[t].T @ k[t]", "dS[t+1].T @ k[t]", "δS_t+1 where δS_t belongs"),
    ("linear_attention", "dz[t+1] - q", "dz[t+1] + q", "the sign"),
    ("delta_net 2", "tr(δS_tᵀ (v_t − α_t", "tr(δS_tᵀ (v_t − β_t", "beta_t where alpha_t belongs"),
    ("delta_net 2", "⟨δS_t, S_{t-1}", "⟨δS_t, S_t", "S_t where S_t−1 belongs"),
    ("delta_net 2", "k_tᵀ) ⊗ I_m", "k_tᵀ) ⊗ I_n", ""),
    ("delta_net", "(S_prev.T @ dS + dS.T @ S_prev)", "(S_prev.T @ dS)", ""),
    ("gated_linear_attention", "diag(α_{t+1})", "diag(α_t)", "alpha_t where alpha_t+1 belongs"),
    ("gated_linear_attention", "δS_tᵀ k_t", "δS_{t+1}ᵀ k_t", "δS_t+1 where δS_t belongs"),
    ("selective_scan", "A).sum(-1)", "A).sum(0)", ""),
    ("selective_scan", "dD += dy[t] * u[t]", "dD += dy[t] * u[t-1]", "u_t−1 where u_t belongs"),
    ("multihead_retention", "q⁽ʰ⁾_t δo⁽ʰ⁾_tᵀ", "δo⁽ʰ⁾_t q⁽ʰ⁾_tᵀ", "q_t δo_tᵀ belongs"),
    ("multihead_retention", " + W⁽ʰ⁾_gᵀ δa⁽ʰ⁾_t", "", ""),
]  # fmt: skip


@pytest.mark.parametrize(("name", "right", "wrong", "said"), FAULTS)
def test_a_fault_is_found_where_it_is(name: str, right: str, wrong: str, said: str) -> None:
    text = NOTES[name]
    assert text.count(right) == 1
    note = judged(name.split()[0], text.replace(right, wrong))
    bad = [j for j in note.lines if j.status in ("wrong", "not understood")]
    assert [wrong in j.text if wrong else "δx" in j.text for j in bad] == [True]
    assert said in bad[0].why, bad[0].why


def test_a_transposed_state_is_a_convention() -> None:
    note = judged(
        "gated_linear_attention",
        "S_t = S_{t-1} diag(α_t) + v_t k_tᵀ\no_t = S_t q_t\n"
        "δS_t = δS_{t+1} diag(α_{t+1}) + δo_t q_tᵀ\nδα_t = (δS_t ⊙ S_{t-1})ᵀ 1_m",
    )
    assert note.passed
    assert note.convention == "columns, states transposed"


def test_what_one_head_gives_is_a_convention() -> None:
    (line,) = judged("multihead_linear_attention", "δx_t = W_qᵀ δq_t + W_kᵀ δk_t + W_vᵀ δv_t").lines
    assert line.status == "convention"
    assert "sum over the heads" in line.why


def test_differences_judge_matrices_alike() -> None:
    lines = (
        GATED + "∂S_t/∂S_{t-1} = I_m ⊗ diag(α_t)\nδv_t = δS_{t+1}ᵀ k_t\nδS_0 = diag(α_1) δS_1 v_1"
    )
    for measured in (False, True):
        note = judged("gated_linear_attention", lines, measured=measured)
        assert [j.status in RIGHT for j in note.lines] == [True] * 6 + [False] * 2


def test_a_file_is_judged_by_the_command(tmp_path: Path) -> None:
    path = tmp_path / "note.txt"
    path.write_text(GATED, encoding="utf-8")
    assert api.check_equations(path, "gated_linear_attention").count("right") == 5


@cell(inputs="x: p*q; t: p", states="S: p q; h: p", params="A: p p; U: q p")
def solved(x, t, S, h, A, U):
    h = tanh(solve(A + 3 * eye("p"), t * h))
    return {"S": tanh(unvec(x * vec(S), "p q")) + h @ (U @ h).T, "h": h}


def test_inverses_and_vec_are_read_as_derive_prints_them() -> None:
    derivation = derive(solved)
    at, text = Source(derivation), api.render(derivation)
    for form in ("^(−1)", "unvec(", "p×q)"):
        assert form in text

    def passes(written: str) -> bool:
        lines = [line for line in written.splitlines() if line.startswith("  ")]
        return judge_at(at, read_lines(lines, Vocabulary.of(at.known()))).passed

    assert passes(text)
    assert not passes(text.replace("ᵀ)^(−1)", ")^(−1)"))
    assert not passes(text.replace("vec(S_{t−1})", "vec(S_t)"))
