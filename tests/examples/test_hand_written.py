"""The hand-written gradients are right, and every plausible slip in them is found."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

from gradcheck_rnn import api, check_model

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SLIPS = [
    ("char_rnn.py", "dh = Why.T @ dy + dhnext", "dh = Why.T @ dy"),
    ("char_rnn.py", "dhnext = Whh.T @ draw", "dhnext = Whh @ draw"),
    ("char_rnn.py", "dWhh += draw @ hs[t - 1].T", "dWhh += draw @ hs[t].T"),
    ("char_rnn.py", "(1 - hs[t] * hs[t]) * dh", "(1 - hs[t]) * dh"),
    ("char_rnn.py", "dy[targets[t]] -= 1", "dy[inputs[t]] -= 1"),
    ("char_rnn.py", "dWxh += draw @ xs[t].T", "dWxh = draw @ xs[t].T"),
    ("lstm_caches.py", "dprev_c = dc * f", "dprev_c = dc"),
    ("lstm_caches.py", "np.zeros_like(prev_h), dc_last", "np.zeros_like(prev_h), 0 * dc_last"),
    ("lstm_caches.py", "do = dnext_h * tanh_c", "do = dnext_h * i"),
    ("lstm_caches.py", "dnext_h * o * (1 - tanh_c**2)", "dnext_h * o"),
    ("lstm_caches.py", "dprev_h = da @ Wh.T", "dprev_h = 0 * (da @ Wh.T)"),
    ("lstm_caches.py", "db += step[5]", "db = step[5]"),
    ("batched_gru.py", "[dr, dz, dn * r]", "[dr, dz, dn]"),
    ("batched_gru.py", "dh = dh * z + dah", "dh = dah"),
    ("batched_gru.py", "dz = dh * (hs[t] - n)", "dz = dh * (hs[t + 1] - n)"),
    ("batched_gru.py", "dr = dn * m * r", "dr = dn * n * r"),
    ("batched_gru.py", 'Wh": hs[:-1]', 'Wh": hs[1:]'),
    ("batched_gru.py", '"bh": dah2.sum', '"bh": dax2.sum'),
    ("multihead_retention.py", "        dS = gamma[:, None, None] * dS\n", ""),
    ("multihead_retention.py", "(1 + g * (1 - s))", "(1 + (1 - s))"),
    ("multihead_retention.py", "dS, v[:, t])", "dS, v[:, t, ::-1])"),
    ("multihead_retention.py", " - normed * (dn * normed)", " - (dn * normed)"),
    ("multihead_slstm.py", "np.where(kept, 0, dm)", "0"),
    ("selective_scan.py", "da = dx * a * xs[t]", "da = dx * xs[t]"),
    ("selective_scan.py", "dx = dlast.copy()", "dx = 0 * dlast"),
    ("delta_rule.py", '        dk[:, t] -= np.einsum("bkv,bv->bk", kept, derror)\n', ""),
    ("delta_rule.py", "dkept = dS - k[:, t, :, None] * derror[:, None]", "dkept = dS"),
    ("lru_complex.py", "dx = dx * lam.conj()", "dx = dx * lam"),
    ("wkv.py", "np.where(carried, 0, dm)", "0"),
    ("attention_decoder.py", "        carry += de.sum(axis=1) @ Wa\n", ""),
    ("attention_decoder.py", "    dH += dkeys @ Ua\n", ""),
    ("attention_decoder.py", " + dc[t]", ""),
    ("kv_cache.py", " * mask[:, t]", ""),
    ("kv_cache.py", "dkeys += dscores", "dkeys = dscores"),
    ("kv_cache.py", "dvalues[every, rows[:, t]]", "dvalues[every, rows[:, 0]]"),
    ("tree_lstm.py", "dH[s, below] += U[:n].T @ diou + df @ U[n:]", "dH[s, below] += df @ U[n:]"),
    ("tree_lstm.py", "dC[s, below] += gc * f", "dC[s, below] = gc * f"),
    ("tree_lstm.py", "np.outer(diou, ha.sum(axis=0))", "np.outer(diou, ha.mean(axis=0))"),
]


@pytest.mark.parametrize("name", sorted({name for name, *_ in SLIPS}))
def test_a_hand_written_gradient_is_right(name: str) -> None:
    for report in api.verify(EXAMPLES / name):
        assert report.passed, str(report)


@pytest.mark.parametrize(("name", "right", "wrong"), SLIPS)
def test_a_slip_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, right: str, wrong: str
) -> None:
    # Found, not named: the search for the name is most of the time.
    quick = functools.partial(check_model, diagnose=False)
    monkeypatch.setattr("gradcheck_rnn.verify.diagnosis.check.check_model", quick)
    text = (EXAMPLES / name).read_text(encoding="utf-8")
    assert text.count(right) == 1
    (tmp_path / name).write_text(text.replace(right, wrong), encoding="utf-8")
    for report in api.verify(tmp_path / name):
        assert str(report.verdict) == "fail"
