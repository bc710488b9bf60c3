"""Scans that have the same equations are written once."""

from dataclasses import replace

import pytest

from gradcheck_rnn import api
from gradcheck_rnn.derivation.pages import Section, document
from gradcheck_rnn.derivation.pages.repeated import written_once


def forward_sections(name: str) -> list[Section]:
    return [s for s in document(api.derive(name)).sections if s.key.startswith("forward:")]


def test_layers_and_directions_refer_to_the_first() -> None:
    text = api.render(api.derive("elmo"))
    assert text.count("tanh(a_{c,") == 1
    assert "As in scan lstm_fwd_1, with subscript fwd,1 → fwd,2, x_t → h_{1,t}." in text
    assert "fwd,1 → bwd,1 and the steps in the opposite order." in text


@pytest.mark.parametrize("kind", ["adjoint", "tangent"])
def test_backward_pass_and_tangents_too(kind: str) -> None:
    pages = document(api.derive("elmo"), rtrl=True)
    found = [s for s in pages.sections if s.key.startswith(kind) and len(s.lines) > 2]
    assert sum(bool(s.like) for s in written_once(found)) >= 2


def test_a_scan_that_differs_in_one_factor_is_written_out() -> None:
    first, second = forward_sections("stacked_lstm")[:2]
    assert next(s for s in written_once([first, second]) if s.key == second.key).like == first.key
    k = next(i for i, line in enumerate(second.lines) if str(line.left.name).startswith("h_"))  # type: ignore[union-attr]
    lines = list(second.lines)
    lines[k] = replace(lines[k], right=lines[k].right + lines[k].left)  # type: ignore[operator]
    changed = replace(second, lines=tuple(lines))
    assert not any(s.like for s in written_once([first, changed]))


def test_a_symbol_renamed_by_the_reader_is_not_hidden() -> None:
    first, second = forward_sections("stacked_lstm")[:2]
    assert not any(s.like for s in written_once([first, second], ["c_2"]))


def test_machines_get_all_lines() -> None:
    import json

    sections = json.loads(api.render(api.derive("stacked_lstm"), fmt="json"))["sections"]
    assert all(s["lines"] for s in sections if s["key"].startswith("forward:"))
