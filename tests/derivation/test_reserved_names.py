"""Names that a last value, a start, a loss or an axis would have by itself."""

from __future__ import annotations

import pytest

from gradcheck_rnn import api
from gradcheck_rnn.cells import with_loss
from gradcheck_rnn.derivation import derive
from gradcheck_rnn.errors import DefinitionError, DimensionError
from gradcheck_rnn.language import cell, tanh
from gradcheck_rnn.language.network import Network, as_network


@cell(inputs="x: d", states="h: p", params="W: p p; U: p d")
def local_final(x, h, W, U):
    h_final = tanh(W @ h + U @ x)
    return h_final + 0.5 * h


@cell(inputs="x: d", states="h h_final: p", params="W: p p; U: p d")
def state_final(x, h, h_final, W, U):
    g = tanh(W @ h + U @ x)
    return g, 0.5 * h_final + g * h


@cell(inputs="x: d", states="h h0 h00: p", params="W: p p; U: p d; h_final h0_2: p")
def starts(x, h, h0, h00, W, U, h_final, h0_2):
    h = tanh(W @ h + U @ x + h0 * h_final)
    return h, h00 * h, h0 + h * h0_2


@cell(inputs="target: q", states="h: q", params="W: q q; loss y V b_y error: q")
def losses(target, h, W, loss, y, V, b_y, error):
    return W @ h + target * loss + y * V + b_y * error


@pytest.mark.parametrize("definition", [local_final, state_final, starts, losses])
def test_proved(definition) -> None:
    assert api.prove(definition).proved


def test_a_local_called_like_a_last_value_gets_no_cotangent() -> None:
    derivation = derive(local_final)
    (only,) = derivation.adjoint_terms("h_final")
    assert only.scan == "local_final"
    assert {c.source for c in derivation.adjoint_terms("h")} >= {"output", "final"}


def test_last_values_and_starts_take_free_names() -> None:
    network = as_network(starts)
    assert network.finals == {"h_final_2": "h", "h0_final": "h0", "h00_final": "h00"}
    assert [s.initial[0].ref.name for s in network.scans[0].states] == ["h0_3", "h00_2", "h000"]


def test_a_start_that_is_declared_is_shared() -> None:
    network = Network("shared")
    start = network.input("h0", "p", axis=None)
    network.scan(local_final)
    assert network.scans[0].states[0].initial[0].ref == start


def test_a_loss_on_top_takes_free_names() -> None:
    network = with_loss(losses)
    assert {"target_loss", "V_out", "b_y_out"} <= {*network.inputs, *network.parameters}
    assert network.inputs["target"].kind == "input"


def test_an_output_called_loss_is_the_loss() -> None:
    @cell(inputs="x: p", states="loss: p")
    def cell_of_losses(x, loss):
        return x + loss

    with pytest.raises(DefinitionError, match=r"'loss' .* give it another name"):
        as_network(cell_of_losses)


@pytest.mark.parametrize("dim", ["T", "B", "2*T", "p + B"])
def test_dims_are_not_called_like_axes(dim: str) -> None:
    with pytest.raises(DimensionError, match="another name"):
        cell(lambda x: x, inputs={"x": dim}, outputs="y", name="axes")


def test_a_cotangent_symbol_is_not_the_input_of_its_name() -> None:
    @cell(inputs="g_h: p", states="h: p")
    def given(g_h, h):
        return tanh(g_h * h)

    terms = derive(given).adjoint_terms("h")
    assert [str(c.term) for c in terms if c.source == "output"] != ["g_h"]
