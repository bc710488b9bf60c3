"""How much memory a C kernel asks for: the history of its states, and little besides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradcheck_rnn import cells
from tests.codegen.c.support import built, needs_compiler
from tests.codegen.support import Case
from tests.matrices.test_memory import SIZES

pytestmark = needs_compiler
#: One value a step of each product is a small part of this many steps.
STEPS = 256


def held(name: str, folder: Path, sizes: dict[str, int]) -> float:
    """The workspace of both passes in units of state history plus inputs."""
    network = cells.get(name)
    module = built(Case(network), folder, short=False)
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {
        n: rng.uniform(0.1, 1, size=[sizes[a] for a in axes]) for n, axes in module.SHAPES.items()
    }
    states = [arrays[i.ref.name] for s in network.scans for st in s.states for i in st.initial
              if i.ref is not None]  # fmt: skip
    unit = sum(a.nbytes for a in arrays.values()) + sizes["T"] * sum(a.nbytes for a in states)
    parameters = {n: arrays[n] for n in network.parameters}
    _, saved = module.forward(parameters, {n: arrays[n] for n in network.inputs})
    return float(saved["memory"].nbytes / unit)


@pytest.mark.parametrize("name", ["delta_net", "selective_scan", "conv_lstm"])
def test_both_passes_hold_a_history_of_the_states(name: str, tmp_path: Path) -> None:
    assert held(name, tmp_path / "c", {**SIZES, "T": STEPS, "S": STEPS}) < 1.5
