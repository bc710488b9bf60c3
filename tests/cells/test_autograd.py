"""Generated kernels beside PyTorch's autograd in double precision, in forms of their own."""

from __future__ import annotations

import numpy as np
import pytest

from gradcheck_rnn import cells
from gradcheck_rnn.language.network import as_network
from tests.codegen.support import Arrays, Case

pytest.importorskip("torch")

import torch

from tests.cells.torch_forms import FORMS

#: Families whose cells all have a form.
WHOLE = (
    "Orthogonal",
    "Convolutional",
    "State spaces",
    "Linear attention",
    "Memories",
    "Sequences and trees",
)


def prepared(name: str) -> Case:
    """A case; data and fixed matrices that a form needs to have their meaning are given it."""
    case, made = Case(cells.get(name)), {}
    if name == "phased_lstm":
        a = case.arrays
        made = {"cycle": np.floor((a["time"][..., None] - a["s"]) / a["tau"])}
    case.arrays |= made
    return case


def agree(found: Arrays, right: Arrays, wanted: set[str]) -> None:
    assert set(found) >= wanted
    for n in wanted:
        scale = 1 + abs(right[n]).max()
        np.testing.assert_allclose(found[n], right[n], rtol=1e-12, atol=1e-12 * scale, err_msg=n)


def test_no_cell_of_these_families_is_missing() -> None:
    families = cells.families()
    names = {n for t, names in families.items() if t.startswith(WHOLE) for n in names}
    headed = {n for n in names if as_network(cells.get(n)).heads}  # tests/heads/test_zoo.py
    assert names - headed == set(FORMS)


@pytest.mark.parametrize("name", FORMS)
def test_kernels_agree_with_autograd(name: str) -> None:
    case = prepared(name)
    arrays = {n: torch.tensor(a, requires_grad=True) for n, a in case.arrays.items()}
    made = FORMS[name](arrays)
    outputs, saved = case.forward()
    assert set(made) == set(outputs)
    agree({n: a.detach().numpy() for n, a in made.items()}, outputs, set(outputs))
    given = case.cotangents()
    sum((made[n] * torch.tensor(g)).sum() for n, g in given.items()).backward()
    gradients = case.backward(saved, given)
    agree({n: arrays[n].grad.numpy() for n in gradients}, gradients, set(gradients))
