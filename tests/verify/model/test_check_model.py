"""Model mode: right code passes, a wrong term is named."""

from __future__ import annotations

from typing import Any

import pytest

from gradcheck_rnn import api
from gradcheck_rnn.derivation import evaluate
from gradcheck_rnn.derivation.mutants import mutants
from gradcheck_rnn.errors import UsageError
from gradcheck_rnn.language.running import to_columns, to_rows
from gradcheck_rnn.verify.diagnosis.check import check_model
from tests.verify.diagnosis.study import DerivedCode


class WrongCode(DerivedCode):
    """The derivation as code, with one mistake."""

    def __init__(self, name: str, mistake: str) -> None:
        super().__init__(api.load(name))
        self.edits = next(m for m in mutants(self.derivation) if m.id == mistake).edits

    def backward(self, cotangents: dict[str, Any], run: Any) -> dict[str, Any]:
        given = {n: to_columns(self.network.outputs[n], g) for n, g in cotangents.items()}
        found = evaluate.bptt(run, given, edits=self.edits)
        return {n: to_rows(self.refs[n], g) for n, g in found.items()}


@pytest.mark.parametrize("name", ["elman", "lstm"])
def test_right_code_passes(name: str) -> None:
    code = DerivedCode(api.load(name))
    report = check_model(code.network, forward=code.forward, backward=code.backward, seed=1)
    assert report.passed, str(report)


@pytest.mark.parametrize(
    ("name", "mistake", "words"),
    [
        ("lstm", "step:lstm/f<-a_f:0", "φ′ of σ(a_{f,t})"),
        ("lstm", "final:c", "final state c is lost"),
        ("elman", "transpose:elman/i<-h@1:0", "W instead of Wᵀ"),
        ("gru", "dropped:gru/h<-h@1:", "without the term δh_t ⊙ (1 − z_t)"),
    ],
)
def test_the_wrong_term_is_named(name: str, mistake: str, words: str) -> None:
    code = WrongCode(name, mistake)
    report = check_model(code.network, forward=code.forward, backward=code.backward, seed=1)
    assert not report.passed
    assert words in str(report)


def test_a_scalar_parameter_has_no_axis() -> None:
    code = DerivedCode(api.load("elmo"))  # its gamma is a scalar

    def backward(cotangents: dict[str, Any], run: Any) -> dict[str, Any]:
        found = code.backward(cotangents, run)
        assert found["gamma"].shape == ()
        return found | {"gamma": 2 * found["gamma"]}

    for wrong, function in ((False, code.backward), (True, backward)):
        report = check_model(
            code.network, forward=code.forward, backward=function, plan="point", diagnose=False
        )
        assert [r.name for r in report.rows if r.verdict.name != "PASS"] == ["gamma"] * wrong


def test_arguments_by_other_names_are_a_usage_error() -> None:
    code = DerivedCode(api.load("elman"))

    def forward(x, h_start, W, U, V, b_i, b_y):  # type: ignore[no-untyped-def]
        raise NotImplementedError

    with pytest.raises(UsageError, match=r"forward takes \(x, h_start.*passes W, U, .*h0 by name"):
        check_model(code.network, forward=forward, backward=code.backward)
